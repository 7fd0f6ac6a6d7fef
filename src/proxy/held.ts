/** Octets that wait in memory, however finely they were cut. How many there may be is for the user to bound. */

/** So many pieces at most are kept apart: each costs more than its octets. */
const MOST_PIECES = 64;

export class Held {
  #pieces: Buffer[] = [];

  get any(): boolean {
    return this.#pieces.length > 0;
  }

  add(view: Buffer): void {
    if (this.#pieces.length === MOST_PIECES) this.#pieces = [Buffer.concat(this.#pieces)];
    this.#pieces.push(view);
  }

  /** All of it, in order; nothing is left. */
  take(): readonly Buffer[] {
    if (this.#pieces.length === 0) return NOTHING;
    return this.#pieces.splice(0);
  }

  clear(): void {
    this.#pieces.length = 0;
  }
}

const NOTHING: readonly Buffer[] = [];
