/** Octets of one direction until they make a line. LF ends a line, with or without the CR that belongs before it. */

export interface Line {
  /** Latin-1, without the line's end. */
  readonly text: string;
  /** As it came, line end included. */
  readonly raw: Buffer;
}

const EMPTY: Buffer = Buffer.alloc(0);
const LF = 0x0a;

export class LineBuffer {
  #held = EMPTY;
  /** Up to here there is no LF. */
  #scanned = 0;

  get length(): number {
    return this.#held.length;
  }

  push(chunk: Buffer): void {
    this.#held = this.#held.length === 0 ? chunk : Buffer.concat([this.#held, chunk]);
  }

  /** The next line; undefined when it is not complete; `too-long` when it has more than `limit` octets, end included. */
  next(limit: number): Line | undefined | 'too-long' {
    const at = this.#held.indexOf(LF, this.#scanned);
    if (at >= limit || (at < 0 && this.#held.length >= limit)) return 'too-long';
    if (at < 0) {
      this.#scanned = this.#held.length;
      return undefined;
    }
    const raw = this.take(at + 1);
    return { raw, text: raw.toString('latin1').replace(/\r?\n$/, '') };
  }

  /** Takes `most` octets, or all there are. */
  take(most: number): Buffer {
    const taken = this.#held.subarray(0, most);
    this.#held = this.#held.length <= most ? EMPTY : this.#held.subarray(most);
    this.#scanned = 0;
    return taken;
  }
}
