/** Lines for a stream that makes a system call of each write: what comes in quick succession goes out in one. */

/** Milliseconds of one turn. */
const TURN = 50;
/** Lines of a turn that do not wait: where little happens, each is out at once, and before whatever others write. */
const AT_ONCE = 20;
/** Characters that do not wait any longer. */
const MOST = 16_384;

export class LineGatherer {
  readonly #out: { write(text: string): unknown };
  #text = '';
  #lines = 0;
  #timer: NodeJS.Timeout | undefined;

  constructor(out: { write(text: string): unknown }) {
    this.#out = out;
    // Also when an error ends the process.
    process.on('exit', () => this.flush());
  }

  write(text: string): void {
    this.#timer ??= setTimeout(() => this.#next(), TURN).unref();
    this.#lines += 1;
    if (this.#lines <= AT_ONCE && this.#text === '') {
      this.#out.write(text);
      return;
    }
    this.#text += text;
    if (this.#text.length >= MOST) this.flush();
  }

  /** Writes what waits. */
  flush(): void {
    if (this.#text === '') return;
    const text = this.#text;
    this.#text = '';
    this.#out.write(text);
  }

  #next(): void {
    this.#timer = undefined;
    const busy = this.#lines > AT_ONCE;
    this.#lines = 0;
    this.flush();
    if (!busy) return;
    // The next turn gathers from its first line on.
    this.#lines = AT_ONCE;
    this.#timer = setTimeout(() => this.#next(), TURN).unref();
  }
}
