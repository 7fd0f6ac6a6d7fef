/**
 * How much may come, whatever the policy says of each recipient: connections, messages, recipients, octets and refusals in a
 * period of time, and connections at once, counted by client, network, sender, login or listener.
 *
 * Periods are counted in the state store, so the processes that share it share them; connections at once are those of this
 * process. A quota keeps load and nuisance away and opens nothing: it lets pass when the store does not answer. (The
 * `limit` of a policy's rule, which guards a relay, defers.)
 */
import type { Note, Peer, SekishoEvent } from '../base/events.js';
import { type Ip, type IpSet, parseIp } from '../base/ip.js';
import type { Refusal } from '../door/door.js';
import { type StateStore, storeFault } from '../windows/store.js';
import { windowKey } from '../windows/window.js';
import { type Counted, networkKey } from './limits.js';

export const QUOTA_COUNTS = ['connections', 'messages', 'recipients', 'bytes', 'refused'] as const;
export type QuotaWhat = (typeof QUOTA_COUNTS)[number];
export const QUOTA_SUBJECTS = ['client', 'network', 'sender', 'login', 'listener'] as const;

export interface QuotaCount {
  readonly what: QuotaWhat;
  readonly most: number;
  /** Milliseconds. */
  readonly period: number;
}

export interface Quota {
  /** A metric label. */
  readonly name: string;
  /** `client`: an IPv4 address or an IPv6 /64; `network`: a /16 or a /32. */
  readonly per: (typeof QUOTA_SUBJECTS)[number];
  /** Connections at once; undefined: no bound. */
  readonly concurrent: number | undefined;
  readonly counts: readonly QuotaCount[];
  /** Names; undefined: all SMTP listeners. */
  readonly listeners: ReadonlySet<string> | undefined;
  /** Whoever exceeds it is turned away for so long, ms; 0: until the period is over. */
  readonly lasts: number;
  /** What a recipient past it is told; a connection is always told 421. */
  readonly then: 'defer' | 'deny';
  readonly exempt: IpSet;
  /** The site's own networks are exempt too. */
  readonly sparesTrusted: boolean;
}

/** Whose doing is counted. */
interface Actor {
  readonly peer: Peer;
  readonly client: Ip;
  /** The envelope sender in lower case; undefined: not known, or not known yet. */
  readonly from?: string;
}

/** Counts that are still on their way to the store; what comes past it is not counted. */
const MOST_COUNTING = 1_000;
/** After a store that did not answer, nobody is held up by it again for so long, ms. */
const REST = 1_000;
/** A subject that is turned away at the door is told of once in so long, ms, and so many are remembered. */
const TELL_AGAIN = 60_000;
const MOST_TOLD = 10_000;

const AT_THE_DOOR: ReadonlySet<QuotaWhat> = new Set(['connections', 'refused']);
const FAILED_LOGIN = new Set(['wrong', 'locked', 'malformed']);

/** The null sender is nobody in particular: it is counted for each client. */
const senderOf = ({ from, client }: Actor): string | undefined =>
  from === '' || from === '<>' ? `<> ${windowKey(client)}` : from;

const subjectOf = (per: Quota['per'], actor: Actor): string | undefined => {
  switch (per) {
    case 'client':
      return windowKey(actor.client);
    case 'network':
      return networkKey(actor.client);
    case 'sender':
      return senderOf(actor);
    case 'login':
      return actor.peer.login;
    case 'listener':
      return actor.peer.listener;
  }
};

/** What an event adds to which count. */
const amountOf = (event: SekishoEvent, { per }: Quota, what: QuotaWhat): number => {
  if (what === 'bytes') return event.type === 'message' ? event.bytes : 0;
  if (what !== 'refused') return 0;
  switch (event.type) {
    // Who sent it is known of recipients alone.
    case 'recipient':
      return per === 'sender' && event.result === 'rejected' ? 1 : 0;
    case 'sender-refused':
      return per === 'sender' ? 1 : 0;
    // AUTH has its own event, which comes when it is decided.
    case 'command':
      return per !== 'sender' && event.code >= 500 && event.verb !== 'AUTH' ? 1 : 0;
    case 'auth':
      return per !== 'sender' && FAILED_LOGIN.has(event.result) ? 1 : 0;
    case 'message':
      return event.result === 'rejected' ? 1 : 0;
    default:
      return 0;
  }
};

/** Octets are known when they have come, so nothing follows once they are used up; the rest is counted before. */
const isOver = ({ what, most }: QuotaCount, used: number): boolean =>
  what === 'bytes' ? used >= most : used > most;

export class Quotas {
  readonly #quotas: readonly Quota[];
  readonly #state: StateStore;
  readonly #note: Note;
  readonly #now: () => number;
  /** Connections at present. */
  readonly #present = new Map<string, number>();
  /** When it is told again, ms since 1970. */
  readonly #told = new Map<string, number>();
  #counting = 0;
  #restsUntil = 0;
  /** Set once the site's own networks are known. */
  knows: (ip: Ip) => boolean = () => false;

  constructor(quotas: readonly Quota[], state: StateStore, note: Note, now: () => number) {
    this.#quotas = quotas;
    this.#state = state;
    this.#note = note;
    this.#now = now;
  }

  /** There are none: nothing need be asked. */
  get none(): boolean {
    return this.#quotas.length === 0;
  }

  *#of(actor: Actor): Generator<readonly [Quota, string]> {
    for (const quota of this.#quotas) {
      if (quota.listeners?.has(actor.peer.listener) === false) continue;
      if (quota.exempt.has(actor.client) || (quota.sparesTrusted && this.knows(actor.client))) continue;
      const subject = subjectOf(quota.per, actor);
      if (subject !== undefined) yield [quota, subject];
    }
  }

  /** Takes a place for a connection at once, until `onClose` calls back, or says that there is none. */
  takePlace(client: Ip, listener: string, onClose: (leave: () => void) => void): Refusal | undefined {
    if (this.#quotas.length === 0) return undefined;
    const actor = { client, peer: strangerAt(client, listener) };
    for (const [quota, subject] of this.#of(actor)) {
      const { name, concurrent } = quota;
      if (concurrent === undefined) continue;
      const key = `${name}:${subject}`;
      const present = this.#present.get(key) ?? 0;
      if (present >= concurrent)
        return this.#turnAway(actor, quota, subject, `${concurrent} connections at once are allowed`);
      this.#present.set(key, present + 1);
      onClose(() => {
        const left = (this.#present.get(key) ?? 1) - 1;
        if (left > 0) this.#present.set(key, left);
        else this.#present.delete(key);
      });
    }
    return undefined;
  }

  /** Counts a connection. Undefined: it may come in. Never rejects. */
  countConnection(client: Ip, listener: string): undefined | Promise<Refusal | undefined> {
    if (this.#quotas.length === 0) return undefined;
    const actor = { client, peer: strangerAt(client, listener) };
    const asked = [...this.#of(actor)].filter(([{ counts }]) =>
      counts.some(({ what }) => AT_THE_DOOR.has(what)),
    );
    if (asked.length === 0) return undefined;
    return this.#ask(async () => {
      for (const [quota, subject] of asked) {
        for (const count of quota.counts) {
          if (!AT_THE_DOOR.has(count.what)) continue;
          const why = await this.#over(quota, subject, count, count.what === 'connections' ? 1 : 0);
          if (why !== undefined) return this.#turnAway(actor, quota, subject, why);
        }
      }
      return undefined;
    });
  }

  /** A recipient that the policy allows: undefined if it may go on. Never rejects. `counted`: of its transaction. */
  countRecipient(
    actor: Actor & { readonly from: string },
    counted: () => Counted,
  ): undefined | Promise<Quota | undefined> {
    if (this.#quotas.length === 0) return undefined;
    const asked = [...this.#of(actor)].filter(([{ counts }]) =>
      counts.some(({ what }) => what !== 'connections'),
    );
    if (asked.length === 0) return undefined;
    return this.#ask(async () => {
      for (const [quota, subject] of asked) {
        const why = await this.#recipientOver(quota, subject, counted());
        if (why === undefined) continue;
        this.#exceeded(actor, quota, subject, why);
        return quota;
      }
      return undefined;
    });
  }

  async #recipientOver(quota: Quota, subject: string, counted: Counted): Promise<string | undefined> {
    for (const count of quota.counts) {
      const { what } = count;
      const once = keyOf(quota, what, subject);
      if (what === 'connections' || (what === 'messages' && counted.has(once))) continue;
      const amount = what === 'recipients' || what === 'messages' ? 1 : 0;
      const why = await this.#over(quota, subject, count, amount);
      if (why !== undefined) return why;
      if (what === 'messages') counted.add(once);
    }
    return undefined;
  }

  /** Hears of everything; counts octets and what was refused. */
  hear(event: SekishoEvent): void {
    if (this.#quotas.length === 0 || !('peer' in event)) return;
    const client = parseIp(event.peer.address);
    if (client === undefined) return;
    const from = 'from' in event ? { from: event.from.toLowerCase() } : {};
    for (const [quota, subject] of this.#of({ peer: event.peer, client, ...from })) {
      for (const count of quota.counts) {
        const amount = amountOf(event, quota, count.what);
        if (amount === 0 || this.#counting >= MOST_COUNTING) continue;
        this.#counting += 1;
        void this.#ask(() => this.#over(quota, subject, count, amount)).finally(() => {
          this.#counting -= 1;
        });
      }
    }
  }

  /** Adds, and says in words what is exceeded. What has just become too much shuts for as long as the quota says. */
  async #over(quota: Quota, subject: string, count: QuotaCount, amount: number): Promise<string | undefined> {
    const { what, most, period } = count;
    const { lasts } = quota;
    const now = this.#now();
    const shut = keyOf(quota, `shut-${what}`, subject);
    if (lasts > 0 && (await this.#state.count(shut, 0, lasts, now)).used > 0)
      return `turned away for ${lasts / 1000} s for too many ${what}`;
    const { used } = await this.#state.count(keyOf(quota, what, subject), amount, period, now);
    if (!isOver(count, used)) return undefined;
    if (lasts > 0 && !isOver(count, used - amount)) await this.#state.count(shut, 1, lasts, now);
    return `${used} ${what}, ${most} are allowed in ${period / 1000} s`;
  }

  /** Every connection refused is told by itself; whose quota it was, once in a while. */
  #turnAway(actor: Actor, quota: Quota, subject: string, why: string): Refusal {
    const key = `${quota.name}:${subject}`;
    const now = this.#now();
    if ((this.#told.get(key) ?? 0) <= now) {
      if (this.#told.size >= MOST_TOLD) this.#told.clear();
      this.#told.set(key, now + TELL_AGAIN);
      this.#exceeded(actor, quota, subject, why);
    }
    return { reason: 'quota' };
  }

  #exceeded({ peer }: Actor, { name, per }: Quota, subject: string, why: string): void {
    this.#note({ type: 'limit-exceeded', peer, limit: name, why: `${per} ${subject}: ${why}` });
  }

  async #ask<T>(ask: () => Promise<T | undefined>): Promise<T | undefined> {
    if (this.#now() < this.#restsUntil) return undefined;
    try {
      return await ask();
    } catch (error) {
      this.#restsUntil = this.#now() + REST;
      this.#note(storeFault(error, 'quotas'));
      return undefined;
    }
  }
}

const keyOf = ({ name }: Quota, what: string, subject: string): string => `quota:${name}:${what}:${subject}`;

/** Whoever stands at the door has no session yet. */
const strangerAt = (client: Ip, listener: string): Peer => ({
  ...{ session: '', listener, address: client.text, port: 0 },
  ...{ name: undefined, helo: undefined, protocol: 'SMTP' },
});
