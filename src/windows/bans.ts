/**
 * Addresses that are not let in for a while, because of what came from there lately. Bans are marks in the state store,
 * so the processes and hosts that share it share them; an IPv6 client is banned with its /64.
 *
 * It hears every event, whatever protocol it came by, and each offence costs points. Whoever is known to the site (its
 * own networks, a login, an open window) is never banned by points.
 */
import type { Note, SekishoEvent } from '../base/events.js';
import { type Ip, type IpSet, parseIp } from '../base/ip.js';
import { type Mark, type StateStore, storeFault } from './store.js';
import { windowKey } from './window.js';

export const OFFENCES = ['framing', 'relay', 'login', 'dnsbl'] as const;
export type Offence = (typeof OFFENCES)[number];

export interface BanOptions {
  /** What an offence costs; 0: nothing. */
  readonly points: Readonly<Record<Offence, number>>;
  /** So many points within `period` ms are one too many. */
  readonly most: number;
  readonly period: number;
  /** How long a ban lasts, ms; it doubles each time that the address is banned again within a week. */
  readonly time: number;
  readonly mostTime: number;
  /** Nothing is said to who is banned. */
  readonly silent: boolean;
  /** Networks that are never banned by points. */
  readonly exempt: IpSet;
}

export const DEFAULT_BANS: Omit<BanOptions, 'exempt'> = {
  points: { framing: 5, relay: 1, login: 2, dnsbl: 1 },
  most: 30,
  period: 600_000,
  time: 3_600_000,
  mostTime: 86_400_000,
  silent: false,
};

const WEEK = 7 * 86_400_000;
/** Offences that wait for the store; what comes past it is not counted. */
const MOST_COUNTING = 1_000;
/** After a store that did not answer, nobody is held up by it again for so long, ms. */
const REST = 1_000;

/** Framing that only a fault or an attack brings forth; long lines and eight bits are merely out of date. */
const HOSTILE = new Set(['bare-cr', 'bare-lf', 'nul', 'pipelining', 'pregreet', 'foreign-protocol', 'bdat']);

/** What an event says against the address it came from. */
const offenceOf = (event: SekishoEvent): Offence | undefined => {
  if (!('peer' in event) || event.peer.login !== undefined || event.peer.window !== undefined)
    return undefined;
  switch (event.type) {
    case 'framing-fault':
      return HOSTILE.has(event.kind) ? 'framing' : undefined;
    case 'auth':
      return event.result === 'wrong' || event.result === 'locked' ? 'login' : undefined;
    case 'decision':
      if (!event.enforced || event.verdict !== 'deny') return undefined;
      return event.reason === 'listed' ? 'dnsbl' : 'relay';
    default:
      return undefined;
  }
};

const WORDS: Readonly<Record<Offence, string>> = {
  framing: 'broken framing',
  relay: 'refused relays',
  login: 'failed logins',
  dnsbl: 'mail from a listed address',
};

export class Bans {
  readonly #state: StateStore;
  readonly #note: Note;
  readonly #now: () => number;
  readonly #options: BanOptions | undefined;
  #counting = 0;
  #restsUntil = 0;
  /** Set once the site's own networks are known. */
  knows: (ip: Ip) => boolean = () => false;

  /** Without `options` nobody is banned but by hand. `now`: milliseconds since 1970. */
  constructor(state: StateStore, options: BanOptions | undefined, note: Note, now: () => number) {
    this.#state = state;
    this.#options = options;
    this.#note = note;
    this.#now = now;
  }

  /** Is an address banned? A store that does not answer bans nobody. Never rejects. */
  async banned(ip: Ip): Promise<boolean> {
    const now = this.#now();
    if (now < this.#restsUntil) return false;
    try {
      return (await this.#state.marked('banned', windowKey(ip), now)) !== undefined;
    } catch (error) {
      this.#failed(error);
      return false;
    }
  }

  /** Who is banned is not let in. Never rejects. */
  refusal(ip: Ip): Promise<{ readonly reason: 'banned'; readonly silent: boolean } | undefined> {
    return this.banned(ip).then((banned) =>
      banned ? { reason: 'banned', silent: this.#options?.silent ?? false } : undefined,
    );
  }

  /** Hears of everything; counts what is an offence. */
  hear(event: SekishoEvent): void {
    if (this.#options === undefined) return;
    const offence = offenceOf(event);
    if (offence === undefined || !('peer' in event)) return;
    const points = this.#options.points[offence];
    const ip = parseIp(event.peer.address);
    if (points === 0 || ip === undefined || this.#counting >= MOST_COUNTING) return;
    if (this.#options.exempt.has(ip) || this.knows(ip)) return;
    this.#counting += 1;
    void this.#count(this.#options, ip, offence, points).finally(() => {
      this.#counting -= 1;
    });
  }

  async #count(options: BanOptions, ip: Ip, offence: Offence, points: number): Promise<void> {
    const key = windowKey(ip);
    const now = this.#now();
    await this.#ask(async () => {
      const { used } = await this.#state.count(`offences:${key}`, points, options.period, now);
      // Once, by the offence that reached it.
      if (used < options.most || used - points >= options.most) return;
      if ((await this.#state.lookup(key, now)).length > 0) return;
      const { used: times } = await this.#state.count(`bans:${key}`, 1, WEEK, now);
      const time = Math.min(options.mostTime, options.time * 2 ** Math.min(times - 1, 20));
      await this.ban(ip, now + time, `${used} points, at last for ${WORDS[offence]}`, now);
      // What led to it is not held against the address again.
      await this.#state.uncount(`offences:${key}`);
    });
  }

  /** `until` in ms since 1970, Infinity: until lifted. Rejects with StoreError. */
  async ban(ip: Ip, until: number, why: string, now = this.#now()): Promise<void> {
    await this.#state.mark('banned', { key: windowKey(ip), value: why.slice(0, 256), until }, now);
    this.#note({ type: 'banned', address: windowKey(ip), until, why });
  }

  /** True if it was banned. Rejects with StoreError. */
  async lift(ip: Ip, why: string): Promise<boolean> {
    const was = await this.#state.unmark('banned', windowKey(ip), this.#now());
    await this.#state.uncount(`offences:${windowKey(ip)}`);
    if (was) this.#note({ type: 'ban-lifted', address: windowKey(ip), why });
    return was;
  }

  /** Rejects with StoreError. */
  list(limit: number): Promise<readonly Mark[]> {
    return this.#state.marks('banned', limit, this.#now());
  }

  async #ask<T>(ask: () => Promise<T>): Promise<T | undefined> {
    try {
      return await ask();
    } catch (error) {
      this.#failed(error);
      return undefined;
    }
  }

  #failed(error: unknown): void {
    this.#restsUntil = this.#now() + REST;
    this.#note(storeFault(error, 'bans'));
  }
}
