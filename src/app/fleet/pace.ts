/** How long the next process waits after one has ended: at once after a long life, ever longer after short ones. */

/** Milliseconds of service after which a process is sound. */
const SOUND = 10_000;
const FIRST = 100;
const LONGEST = 30_000;
/** Short lives in a row after which there is no hope. */
const HOPELESS = 6;

export class Pace {
  #short = 0;

  /** One ended after it had served for so many ms; gives how many ms the next has to wait. */
  ended(served: number): number {
    if (served >= SOUND) {
      this.#short = 0;
      return 0;
    }
    this.#short += 1;
    return Math.min(LONGEST, FIRST * 2 ** (this.#short - 1));
  }

  get hopeless(): boolean {
    return this.#short >= HOPELESS;
  }
}
