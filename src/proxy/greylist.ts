/**
 * Greylisting (RFC 6647): a stranger's first mail from a network to a recipient is told to come again, which mail servers
 * do and much of what sends abuse does not.
 *
 * What was seen is kept as marks in the state store, bounded for each network and in all. It only keeps nuisance away and
 * opens nothing, so it lets pass when the store is full or does not answer.
 */
import { createHash } from 'node:crypto';
import type { Note, Peer } from '../base/events.js';
import type { Ip } from '../base/ip.js';
import { type StateStore, StoreError } from '../windows/store.js';
import { windowKey } from '../windows/window.js';

const HOUR = 3_600_000;
const DAY = 24 * HOUR;
/** Whoever does not come again within this time begins anew; RFC 5321 4.5.4.1 has senders try for 4 to 5 days. */
const COME_AGAIN = 2 * DAY;
/** How long one that has passed goes on passing, from its last mail. */
const KEEP = 35 * DAY;
/** A network whose mail has come again so often within this time is a mail server: it waits no more. */
const FAMILIAR = 5;
const FAMILIAR_PERIOD = 20 * DAY;
/** New entries of one network in an hour; what comes past it has to wait as well, and is not remembered. */
const MOST_OF_NETWORK = 1_000;
/** New entries in a day in all; what comes past it passes. */
const MOST_IN_ALL = 200_000;

const PASSED = 'passed';

/** The /24 of an IPv4 address, the /64 of an IPv6 one: the hosts of one sender take turns. */
const networkOf = (ip: Ip): string =>
  ip.family === 4 ? `${ip.text.slice(0, ip.text.lastIndexOf('.'))}.0/24` : windowKey(ip);

export interface GreylistQuestion {
  readonly peer: Peer;
  readonly client: Ip;
  /** Lower case; '' for the null sender. */
  readonly from: string;
  readonly to: string;
  /** Milliseconds to wait. */
  readonly wait: number;
}

export class Greylist {
  readonly #state: StateStore;
  readonly #note: Note;
  readonly #now: () => number;

  constructor(state: StateStore, note: Note, now: () => number) {
    this.#state = state;
    this.#note = note;
    this.#now = now;
  }

  /** Milliseconds for which the mail is still too early; 0: it may pass. Never rejects with StoreError. */
  async early(question: GreylistQuestion): Promise<number> {
    try {
      return await this.#early(question);
    } catch (error) {
      if (!(error instanceof StoreError)) throw error;
      this.#note({ type: 'store-error', operation: error.operation, why: error.message });
      return 0;
    }
  }

  async #early({ peer, client, from, to, wait }: GreylistQuestion): Promise<number> {
    const tell = (result: 'deferred' | 'passed' | 'familiar'): void =>
      this.#note({ type: 'greylist', peer, from, to, result });
    const now = this.#now();
    const network = networkOf(client);
    const successes = `greylist:passed:${network}`;
    if ((await this.#state.count(successes, 0, FAMILIAR_PERIOD, now)).used >= FAMILIAR) {
      tell('familiar');
      return 0;
    }
    const key = createHash('sha256').update(`${network}\0${from}\0${to}`).digest('base64url').slice(0, 24);
    const mark = await this.#state.marked('greylist', key, now);
    if (mark === undefined) {
      const full = !(await this.#remember(key, network, now));
      if (full) return 0;
      tell('deferred');
      return wait;
    }
    const left = mark.value === PASSED ? 0 : Number.parseInt(mark.value, 36) + wait - now;
    // A clock that went back keeps nobody waiting longer than the rule says.
    if (left > 0 && left <= wait) {
      tell('deferred');
      return left;
    }
    await this.#state.mark('greylist', { key, value: PASSED, until: now + KEEP }, now);
    if (mark.value !== PASSED) {
      await this.#state.count(successes, 1, FAMILIAR_PERIOD, now);
      tell('passed');
    }
    return 0;
  }

  /** False: there are so many already that nothing more is kept, and mail passes. */
  async #remember(key: string, network: string, now: number): Promise<boolean> {
    const { used } = await this.#state.count(`greylist:new:${network}`, 1, HOUR, now);
    if (used > MOST_OF_NETWORK) return true;
    const { used: all } = await this.#state.count('greylist:new', 1, DAY, now);
    if (all > MOST_IN_ALL) return false;
    const mark = { key, value: now.toString(36), until: now + COME_AGAIN };
    await this.#state.markOnce('greylist', mark, now);
    return true;
  }
}
