/**
 * Guessers are slowed down and then sent away: each failed login costs its address and its name a growing delay,
 * and past a number of them within the period nothing more is looked at. SMTP, POP3 and IMAP count together.
 *
 * The address is what a guesser has least of. A name is refused for addresses that it never logged in from, so that
 * guessers elsewhere cannot lock its owner out. The same guess again (a program with an old password that tries each
 * minute) is delayed, but counted once.
 */
import { createHmac, randomBytes } from 'node:crypto';
import type { Note } from '../base/events.js';
import { type StateStore, StoreError } from '../windows/store.js';

export interface ThrottleOptions {
  /** Failed logins of one address (IPv4, or IPv6 /64) in a period; the next attempts are refused. */
  readonly perAddress: number;
  /** Failed logins of one name in a period; then only addresses from which it has logged in before may try. */
  readonly perLogin: number;
  /** Milliseconds. */
  readonly period: number;
  /** Milliseconds that the first failure costs; each further one costs twice as much. 0: no delay. */
  readonly delay: number;
  /** The longest delay, ms. */
  readonly mostDelay: number;
}

export const DEFAULT_THROTTLE: ThrottleOptions = {
  perAddress: 20,
  perLogin: 100,
  period: 3_600_000,
  delay: 250,
  mostDelay: 10_000,
};

/** How long an address from which a login succeeded is known to be its own, ms. */
const FAMILIAR = 30 * 86_400_000;

/** Proofs of one address that are being looked at. */
interface InHand {
  count: number;
  /** How many have been done with. */
  left: number;
  readonly waiting: (() => void)[];
}

export class Throttle {
  readonly #state: StateStore;
  readonly #options: ThrottleOptions;
  readonly #note: Note;
  readonly #now: () => number;
  readonly #inHand = new Map<string, InHand>();
  /** Guesses are told apart by what nobody can turn back into a password. */
  readonly #secret = randomBytes(32);

  constructor(state: StateStore, options: ThrottleOptions, note: Note, now: () => number = Date.now) {
    this.#state = state;
    this.#options = options;
    this.#note = note;
    this.#now = now;
  }

  /**
   * Waits until the proofs of this address that are in hand, this one with them, are no more than it may still fail:
   * guesses made all at once would otherwise pass the count together. Returns what gives the place back, once.
   */
  async enter(key: string): Promise<() => void> {
    for (;;) {
      const place = this.#inHand.get(key) ?? { count: 0, left: 0, waiting: [] };
      this.#inHand.set(key, place);
      place.count += 1;
      // Taken before the count is read: whoever fails meanwhile is in one of the two.
      const [inHand, left] = [place.count, place.left];
      const used = await this.#guarded(0, () => this.#count(`fail:address:${key}`, 0));
      const { perAddress } = this.#options;
      // With nothing left to fail `refusal` says so; and one at a time may always go on.
      if (inHand === 1 || used >= perAddress || inHand + used <= perAddress) return this.#leaving(key, place);
      place.count -= 1;
      if (place.left === left) await new Promise<void>((resolve) => place.waiting.push(resolve));
    }
  }

  #leaving(key: string, place: InHand): () => void {
    let over = false;
    return () => {
      if (over) return;
      over = true;
      place.count -= 1;
      place.left += 1;
      for (const resume of place.waiting.splice(0)) resume();
      if (place.count === 0 && this.#inHand.get(key) === place) this.#inHand.delete(key);
    };
  }

  /** Why an attempt is not even looked at, or undefined. `key`: `windowKey` of the address. */
  async refusal(key: string, login?: string): Promise<string | undefined> {
    const { perAddress, perLogin } = this.#options;
    return this.#guarded<string | undefined>(undefined, async () => {
      if ((await this.#count(`fail:address:${key}`, 0)) >= perAddress)
        return 'too many failed logins from this address';
      if (login === undefined || (await this.#count(`fail:login:${login}`, 0)) < perLogin) return undefined;
      const familiar = await this.#state.marked('seen', this.#place(key, login), this.#now());
      return familiar === undefined
        ? 'too many failed logins with this name, and none good from here'
        : undefined;
    });
  }

  /** Counts a failure; returns the delay in ms that the answer should take. `guess`: what was tried, never kept. */
  async failed(key: string, login: string | undefined, guess?: string): Promise<number> {
    const { delay, mostDelay } = this.#options;
    return this.#guarded(mostDelay / 4, async () => {
      const fresh = guess === undefined || (await this.#count(this.#guessKey(login, guess), 1)) === 1;
      const amount = fresh ? 1 : 0;
      const address = await this.#count(`fail:address:${key}`, amount);
      const name = login === undefined ? 0 : await this.#count(`fail:login:${login}`, amount);
      const failures = Math.max(address, name, 1);
      return Math.min(mostDelay, delay * 2 ** Math.min(failures - 1, 30));
    });
  }

  /** The address is familiar to the login from now on. */
  async succeeded(key: string, login: string): Promise<void> {
    const now = this.#now();
    const mark = { key: this.#place(key, login), value: '', until: now + FAMILIAR };
    await this.#guarded(undefined, () => this.#state.mark('seen', mark, now));
  }

  #place(key: string, login: string): string {
    return `login:${login}|${key}`;
  }

  #guessKey(login: string | undefined, guess: string): string {
    const mac = createHmac('sha256', this.#secret)
      .update(`${login ?? ''}\0${guess}`)
      .digest('base64url');
    return `guess:${mac}`;
  }

  async #count(key: string, amount: number): Promise<number> {
    return (await this.#state.count(key, amount, this.#options.period, this.#now())).used;
  }

  /** Without its store the throttle slows everybody a little, and keeps nobody out: logins go on. */
  async #guarded<T>(otherwise: T, work: () => Promise<T>): Promise<T> {
    try {
      return await work();
    } catch (error) {
      if (!(error instanceof StoreError)) throw error;
      this.#note({ type: 'store-error', operation: error.operation, why: error.message });
      return otherwise;
    }
  }
}
