/** State in the memory of one process: gone after a restart, seen by nobody else. Bounded; expiry is lazy. */
import { RateLimiterMemory } from 'rate-limiter-flexible';
import { type Count, type Mark, type MarkKind, type StateStore, StoreError } from '../store.js';
import { isOpen, type Opening, openIn, openOnes, spendIn, type Window } from '../window.js';
import { KeysOfLogins } from './memory-logins.js';

/** Where a store stops taking more. Counts are forgotten instead, the one that was not used for longest first. */
export interface MemoryBounds {
  readonly windows: number;
  /** Of each kind. */
  readonly marks: number;
  readonly counts: number;
}

const BOUNDS: MemoryBounds = { windows: 2_000_000, marks: 500_000, counts: 500_000 };
/** How many entries each write looks at for what has expired, and each question for the size. */
const SWEEP_ON_WRITE = 4;
const SWEEP_ON_SIZE = 20_000;
/** Milliseconds, 24.8 days. Node's timers, by which the library ends a count, go no further: past it they fire at once. */
const LONGEST_TIMER = 2 ** 31 - 1;

/** A map whose entries are looked at in turn, so that nothing expired stays for long. */
class Swept<V> {
  readonly map = new Map<string, V>();
  #hand = this.map.entries();

  /** Looks at `count` entries from where it stopped. */
  sweep(count: number, look: (key: string, value: V) => void): void {
    for (let i = 0; i < count; i++) {
      const next = this.#hand.next();
      if (next.done) {
        this.#hand = this.map.entries();
        return;
      }
      look(...next.value);
    }
  }
}

/**
 * The windows of a key: nearly always one, and then itself. An array around each of a million would be one more wait for
 * memory in a look-up, which does little else than wait for it.
 */
type Held = Window | readonly Window[];

const isSeveral = (held: Held): held is readonly Window[] => Array.isArray(held);

const NONE: readonly Window[] = [];

const listOf = (held: Held | undefined): readonly Window[] => {
  if (held === undefined) return NONE;
  return isSeveral(held) ? held : [held];
};

/**
 * The same window as one literal makes it. V8 gives an object that a spread began room for fields to come, three times what a
 * window needs, and it would be kept for an hour.
 */
const compact = ({ key, address, login, source, since, until, used, budget }: Window): Window => ({
  key,
  address: address === key ? key : address,
  login,
  source,
  since,
  until,
  used,
  budget,
});

export class MemoryStore implements StateStore {
  readonly name = 'memory';
  readonly #bounds: MemoryBounds;
  readonly #windows = new Swept<Held>();
  readonly #keys = new KeysOfLogins();
  #size = 0;
  readonly #marks = new Map<MarkKind, Swept<Mark>>();
  readonly #limiter = new RateLimiterMemory({ keyPrefix: '', points: Number.MAX_SAFE_INTEGER, duration: 1 });
  /** The least recently used one first; those past LONGEST_TIMER with their end, ms since 1970, the others with Infinity. */
  readonly #counted = new Map<string, number>();

  constructor(bounds: Partial<MemoryBounds> = {}) {
    this.#bounds = { ...BOUNDS, ...bounds };
  }

  #at(key: string): readonly Window[] {
    return listOf(this.#windows.map.get(key));
  }

  /** Replaces the windows of a key. */
  #put(key: string, windows: readonly Window[]): void {
    const before = this.#at(key);
    const stays = (login: string): boolean => windows.some((each) => each.login === login);
    for (const { login } of before) if (!stays(login)) this.#keys.delete(login, key);
    for (const { login } of windows) this.#keys.add(login, key);
    this.#size += windows.length - before.length;
    const [only] = windows;
    if (only === undefined) this.#windows.map.delete(key);
    else this.#windows.map.set(key, windows.length === 1 ? only : windows);
  }

  #sweep(count: number, now: number): void {
    this.#windows.sweep(count, (key, held) => {
      const windows = listOf(held);
      const open = windows.filter((each) => isOpen(each, now));
      if (open.length < windows.length) this.#put(key, open);
    });
  }

  async open(window: Window, most: number, now: number): Promise<Opening> {
    this.#sweep(SWEEP_ON_WRITE, now);
    const held = this.#at(window.key);
    const { result, windows } = openIn(held, compact(window), most, now);
    if (result === 'opened' && this.#size >= this.#bounds.windows) {
      this.#sweep(SWEEP_ON_SIZE, now);
      if (this.#size >= this.#bounds.windows)
        throw new StoreError('open', `full: ${this.#bounds.windows} windows are open`);
    }
    this.#put(window.key, windows);
    return result;
  }

  async lookup(key: string, now: number): Promise<readonly Window[]> {
    return openOnes(this.#at(key), now);
  }

  async spend(key: string, login: string, amount: number, now: number): Promise<boolean> {
    const windows = spendIn(this.#at(key), login, amount, now);
    if (windows !== undefined) this.#put(key, windows);
    return windows !== undefined;
  }

  async close(
    { key, login }: { readonly key?: string; readonly login?: string },
    now: number,
  ): Promise<number> {
    const ofLogin = login === undefined ? this.#windows.map.keys() : this.#keys.of(login);
    let closed = 0;
    for (const each of key === undefined ? [...ofLogin] : [key]) {
      const windows = this.#at(each);
      const goes = (window: Window): boolean => login === undefined || window.login === login;
      closed += windows.filter((window) => goes(window) && isOpen(window, now)).length;
      this.#put(
        each,
        windows.filter((window) => !goes(window)),
      );
    }
    return closed;
  }

  async list(limit: number, now: number): Promise<readonly Window[]> {
    const listed: Window[] = [];
    for (const held of this.#windows.map.values()) {
      for (const window of listOf(held)) {
        if (listed.length >= limit) return listed;
        if (isOpen(window, now)) listed.push(window);
      }
    }
    return listed;
  }

  async size(now: number): Promise<number> {
    this.#sweep(SWEEP_ON_SIZE, now);
    return this.#size;
  }

  #of(kind: MarkKind): Swept<Mark> {
    const held = this.#marks.get(kind) ?? new Swept<Mark>();
    this.#marks.set(kind, held);
    return held;
  }

  async mark(kind: MarkKind, mark: Mark, now: number): Promise<void> {
    const held = this.#of(kind);
    const { marks } = this.#bounds;
    const full = (): boolean => held.map.size >= marks && !held.map.has(mark.key);
    held.sweep(full() ? SWEEP_ON_SIZE : SWEEP_ON_WRITE, (key, { until }) => {
      if (until <= now) held.map.delete(key);
    });
    if (full()) throw new StoreError('mark', `full: there are ${marks} marks of the kind ${kind}`);
    held.map.set(mark.key, mark);
  }

  async markOnce(kind: MarkKind, mark: Mark, now: number): Promise<Mark | undefined> {
    const held = this.#live(kind, mark.key, now);
    if (held === undefined) await this.mark(kind, mark, now);
    return held;
  }

  #live(kind: MarkKind, key: string, now: number): Mark | undefined {
    const mark = this.#of(kind).map.get(key);
    return mark !== undefined && mark.until > now ? mark : undefined;
  }

  async marked(kind: MarkKind, key: string, now: number): Promise<Mark | undefined> {
    return this.#live(kind, key, now);
  }

  async unmark(kind: MarkKind, key: string, now: number): Promise<boolean> {
    const was = this.#live(kind, key, now);
    this.#of(kind).map.delete(key);
    return was !== undefined;
  }

  async marks(kind: MarkKind, limit: number, now: number): Promise<readonly Mark[]> {
    const listed: Mark[] = [];
    for (const mark of this.#of(kind).map.values()) {
      if (listed.length >= limit) break;
      if (mark.until > now) listed.push(mark);
    }
    return listed;
  }

  async count(key: string, amount: number, period: number): Promise<Count> {
    if ((this.#counted.get(key) ?? Number.POSITIVE_INFINITY) <= Date.now()) await this.uncount(key);
    if (amount === 0) {
      const found = await this.#limiter.get(key);
      const resetIn = found === null ? 0 : this.#resetIn(key, found.msBeforeNext);
      return found === null || resetIn <= 0
        ? { used: 0, resetIn: 0 }
        : { used: found.consumedPoints, resetIn };
    }
    const end = this.#counted.get(key) ?? Number.POSITIVE_INFINITY;
    this.#counted.delete(key);
    this.#counted.set(key, end);
    if (this.#counted.size > this.#bounds.counts) {
      const [oldest = ''] = this.#counted.keys();
      await this.uncount(oldest);
    }
    // 0: the library never ends it, and says -1 for the time that is left.
    const customDuration = period > LONGEST_TIMER ? 0 : period / 1_000;
    const { consumedPoints, msBeforeNext } = await this.#limiter.penalty(key, amount, { customDuration });
    if (msBeforeNext < 0 && end === Number.POSITIVE_INFINITY) this.#counted.set(key, Date.now() + period);
    return { used: consumedPoints, resetIn: this.#resetIn(key, msBeforeNext) };
  }

  #resetIn(key: string, byLibrary: number): number {
    const end = this.#counted.get(key) ?? Number.POSITIVE_INFINITY;
    return end === Number.POSITIVE_INFINITY ? byLibrary : end - Date.now();
  }

  async uncount(key: string): Promise<void> {
    this.#counted.delete(key);
    await this.#limiter.delete(key);
  }

  async ping(): Promise<void> {}

  async dispose(): Promise<void> {
    for (const key of this.#counted.keys()) await this.#limiter.delete(key);
    this.#counted.clear();
  }
}
