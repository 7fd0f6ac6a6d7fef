/**
 * Where a client's octets are read into. Commands share one room and are copied out of it: there are few octets, and
 * nobody has to be asked who still needs them. A message that streams has a room of its own, out of which nothing is
 * copied; it is read into again only when nobody can need what is in it, and until then another takes its place.
 */

/** Octets of a room that a message has for itself. A quarter of this takes a fifth more time. */
const OWN_SIZE = 262_144;
/** A read of so many octets is worth such a room: there is more behind it. */
const STREAMS = 16_384;
/** Messages that have one at once. Others come through the shared one, so that no number of them takes more memory. */
const MOST_OWN = 64;
/** Rooms that wait for the next message. */
const MOST_FREE = 16;
/** Rooms of a message that wait until what is in them has gone on; further ones are forgotten. */
const MOST_FULL = 2;

const SHARED = Buffer.allocUnsafeSlow(65_536);
const free: Buffer[] = [];
let owned = 0;

const giveBack = (room: Buffer): void => {
  if (free.length < MOST_FREE) free.push(room);
};

export class ReadRoom {
  #own: Buffer | undefined;
  readonly #full: Buffer[] = [];

  /** For the next read. */
  get buffer(): Buffer {
    return this.#own ?? SHARED;
  }

  /** What was read into the buffer. */
  taken(count: number): Buffer {
    return this.#own === undefined ? Buffer.from(SHARED.subarray(0, count)) : this.#own.subarray(0, count);
  }

  /** Nothing of what was read so far is needed any more. */
  empty(): void {
    for (const room of this.#full.splice(0)) giveBack(room);
  }

  /** What was taken last has been used. `needed`: perhaps not wholly. `streaming`: more of a message is to come. */
  used(count: number, needed: boolean, streaming: boolean): void {
    if (!needed) this.empty();
    if (this.#own !== undefined && needed && streaming) this.#change(this.#own);
    else if (this.#own !== undefined && !streaming) this.#letGo(needed);
    else if (this.#own === undefined && streaming && count >= STREAMS && owned < MOST_OWN) {
      this.#own = free.pop() ?? Buffer.allocUnsafeSlow(OWN_SIZE);
      owned += 1;
    }
  }

  /** Nothing more is read. */
  close(): void {
    this.#letGo(true);
  }

  #change(own: Buffer): void {
    if (this.#full.length < MOST_FULL) this.#full.push(own);
    this.#own = free.pop() ?? Buffer.allocUnsafeSlow(OWN_SIZE);
  }

  #letGo(needed: boolean): void {
    this.#full.length = 0;
    if (this.#own === undefined) return;
    owned -= 1;
    if (!needed) giveBack(this.#own);
    this.#own = undefined;
  }
}
