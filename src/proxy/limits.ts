/** Counts what a limited rule lets through, spends windows, and says when it was too much. */
import type { Note } from '../base/events.js';
import type { Ip } from '../base/ip.js';
import { Suspensions } from '../identity/suspensions.js';
import type { Facts, Verdict } from '../policy/facts.js';
import type { Limit } from '../policy/limit.js';
import type { StateStore } from '../windows/store.js';
import { windowKey } from '../windows/window.js';
import type { Asker } from './judge.js';

/** The /16 of an IPv4 address, the /32 of an IPv6 one. */
export const networkKey = (ip: Ip): string => {
  if (ip.family === 4) return ip.text.split('.').slice(0, 2).join('.');
  const [a = 0] = ip.words;
  return `${(a >>> 16).toString(16)}:${(a & 0xffff).toString(16)}`;
};

/** For whom it is counted; undefined when that is not there, which the loading of policies rules out. */
const subjectOf = (per: Limit['per'], verdict: Pick<Verdict, 'window'>, facts: Facts): string | undefined => {
  switch (per) {
    case 'login':
      return facts.login;
    case 'window':
      return verdict.window && `${windowKey(facts.client)} ${verdict.window.login}`;
    case 'client':
      return windowKey(facts.client);
    case 'network':
      return networkKey(facts.client);
    case 'sender':
      return facts.from.address === '' ? '<>' : facts.from.address;
    case 'listener':
      return facts.listener;
    case 'rule':
      return '';
  }
};

/** Under what it is counted. */
const baseOf = (rule: string, { per }: Limit, subject: string): string => `limit:${rule}:${per}:${subject}`;

/** What of a limit is used. */
export interface LimitUse {
  readonly what: Limit['counts'][number]['what'];
  readonly used: number;
  readonly most: number;
  /** Milliseconds until it begins anew; 0 when nothing is used. */
  readonly resetIn: number;
}

export type Spent = 'ok' | 'defer' | 'deny';

/** Of one transaction: the limits by which its message has been counted. */
export type Counted = Set<string>;

export class LimitKeeper {
  readonly #state: StateStore;
  readonly #note: Note;
  readonly #suspensions: Suspensions;
  /** Whoever comes meanwhile waits for the same suspension. */
  readonly #suspending = new Map<string, Promise<void>>();

  constructor(state: StateStore, note: Note) {
    this.#state = state;
    this.#note = note;
    this.#suspensions = new Suspensions(state, note);
  }

  suspended(login: string, now: number): Promise<boolean> {
    return this.#suspensions.isSuspended(login, now);
  }

  /** Counts one recipient that `verdict` allows. Rejects with StoreError. */
  async spend(asker: Asker, verdict: Verdict, facts: Facts, counted: Counted, now: number): Promise<Spent> {
    const { limit, rule = '', window } = verdict;
    if (limit !== undefined) {
      const subject = subjectOf(limit.per, verdict, facts);
      if (subject === undefined) return 'defer';
      const who = limit.per === 'login' ? facts.login : window?.login;
      const count = (base: string) => this.#over(limit, base, facts, counted, now);
      const over = await this.#afresh(limit, who, baseOf(rule, limit, subject), count, now);
      if (over !== undefined) return this.#exceeded(asker, rule, limit, who, over, now);
    }
    if (window === undefined || window.budget === 0) return 'ok';
    if (await this.#state.spend(windowKey(facts.client), window.login, 1, now)) return 'ok';
    this.#note({
      type: 'limit-exceeded',
      peer: asker.peer,
      limit: 'window',
      why: `window of ${window.login}`,
    });
    return 'defer';
  }

  /** What is used of the limit of a verdict; changes nothing. Rejects with StoreError. */
  async used({ limit, rule = '', ...verdict }: Verdict, facts: Facts, now: number): Promise<LimitUse[]> {
    const subject = limit && subjectOf(limit.per, verdict, facts);
    if (limit === undefined || subject === undefined) return [];
    const who = limit.per === 'login' ? facts.login : verdict.window?.login;
    const base = baseOf(rule, limit, subject);
    const last =
      limit.then === 'suspend' && who !== undefined ? await this.#suspensions.last(who, now) : undefined;
    return Promise.all(
      limit.counts.map(async ({ what, most, period }) => {
        const first = await this.#state.count(`${base}:${what}`, 0, period, now);
        // As in `#afresh`: what led to a suspension is not held against the login again.
        const anew = first.used > most && last !== undefined;
        const { used, resetIn } = anew
          ? await this.#state.count(`${base}:${last}:${what}`, 0, period, now)
          : first;
        return { what, used, most, resetIn };
      }),
    );
  }

  /** What was exceeded, in words. */
  async #over(
    limit: Limit,
    base: string,
    { client }: Facts,
    counted: Counted,
    now: number,
  ): Promise<string | undefined> {
    for (const { what, most, period } of limit.counts) {
      const key = `${base}:${what}`;
      let amount = 1;
      if (counted.has(key)) continue;
      if (what === 'addresses' || what === 'networks') {
        const place = what === 'addresses' ? windowKey(client) : networkKey(client);
        amount = (await this.#state.count(`${key}:${place}`, 1, period, now)).used === 1 ? 1 : 0;
      }
      const { used } = await this.#state.count(key, amount, period, now);
      if (used > most) return `${used} ${what}, ${most} are allowed in ${period / 1000} s`;
      if (what === 'messages') counted.add(key);
    }
    return undefined;
  }

  /** What led to a suspension is not held against the login again once it is over or has been lifted. */
  async #afresh(
    { then }: Limit,
    who: string | undefined,
    base: string,
    count: (base: string) => Promise<string | undefined>,
    now: number,
  ): Promise<string | undefined> {
    const over = await count(base);
    if (over === undefined || then !== 'suspend' || who === undefined) return over;
    const last = await this.#suspensions.last(who, now);
    if (last === undefined || (await this.#suspensions.isSuspended(who, now))) return over;
    return count(`${base}:${last}`);
  }

  async #exceeded(
    { peer }: Asker,
    rule: string,
    { then, lasts }: Limit,
    who: string | undefined,
    why: string,
    now: number,
  ): Promise<Spent> {
    this.#note({ type: 'limit-exceeded', peer, limit: rule, why });
    if (then !== 'suspend') return then;
    if (who === undefined) return 'deny';
    const present =
      this.#suspending.get(who) ?? this.#suspend(who, now + lasts, `rule "${rule}": ${why}`, now);
    this.#suspending.set(who, present);
    await present.finally(() => this.#suspending.delete(who));
    return 'deny';
  }

  async #suspend(login: string, until: number, why: string, now: number): Promise<void> {
    if (!(await this.#suspensions.isSuspended(login, now)))
      await this.#suspensions.suspend(login, until, why, now);
  }
}
