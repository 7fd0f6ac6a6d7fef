/**
 * Who takes most: counts by login and by address over the last half hour or more, for the one on call and not for labels.
 * Fed by events alone, in bounded memory: where there are too many, those with the lowest counts are forgotten.
 */
import { hearing } from '../base/events.js';
import { parseIp } from '../base/ip.js';
import { windowKey } from '../windows/window.js';

/** What is counted; recipients unless said otherwise. */
export const TOP_COUNTS = [
  'accepted',
  'refused',
  'deferred',
  /** Limits of rules and windows that were exceeded. */
  'limited',
  /** Logins. */
  'loginsFailed',
  /** Connections refused before a word was said. */
  'connectionsRefused',
] as const;
export type TopCount = (typeof TOP_COUNTS)[number];

export type TopCounts = Readonly<Record<TopCount, number>>;

export interface TopEntry extends TopCounts {
  readonly key: string;
}

/** Names in one table at most; half of them are forgotten then. */
const MOST = 10_000;
const HALF = 1_800_000;

const RESULTS = { accepted: 'accepted', rejected: 'refused', deferred: 'deferred' } as const;

const nothing = (): Record<TopCount, number> => ({
  ...{ accepted: 0, refused: 0, deferred: 0, limited: 0, loginsFailed: 0, connectionsRefused: 0 },
});

const total = (counts: TopCounts): number => TOP_COUNTS.reduce((sum, name) => sum + counts[name], 0);

class Table {
  readonly #counts = new Map<string, Record<TopCount, number>>();
  readonly #most: number;

  constructor(most: number) {
    this.#most = most;
  }

  add(key: string, what: TopCount): void {
    const found = this.#counts.get(key);
    if (found !== undefined) {
      found[what] += 1;
      return;
    }
    if (this.#counts.size >= this.#most) this.#forget();
    this.#counts.set(key, { ...nothing(), [what]: 1 });
  }

  /** The half with the lower counts goes, the older ones first: sorting is stable. */
  #forget(): void {
    const lowest = [...this.#counts].sort(([, a], [, b]) => total(a) - total(b));
    for (const [key] of lowest.slice(0, Math.ceil(lowest.length / 2))) this.#counts.delete(key);
  }

  addTo(sums: Map<string, Record<TopCount, number>>): void {
    for (const [key, counts] of this.#counts) {
      const sum = sums.get(key) ?? nothing();
      for (const name of TOP_COUNTS) sum[name] += counts[name];
      sums.set(key, sum);
    }
  }
}

type Kind = 'logins' | 'addresses';
interface Slot extends Readonly<Record<Kind, Table>> {
  readonly since: number;
}

/** An IPv4 address, or the /64 of an IPv6 one: as limits count. */
const placeOf = (address: string): string => {
  if (!address.includes(':')) return address;
  const ip = parseIp(address);
  return ip === undefined ? address : windowKey(ip);
};

export class TopCounters {
  readonly #now: () => number;
  readonly #most: number;
  #slots: readonly [Slot, Slot | undefined];

  constructor(now: () => number = Date.now, most = MOST) {
    this.#now = now;
    this.#most = most;
    this.#slots = [this.#slot(), undefined];
  }

  /** For the list of subscribers. */
  readonly note = hearing(['recipient', 'limit-exceeded', 'auth', 'connection-refused'], (event) => {
    switch (event.type) {
      case 'recipient':
        this.#add(event.peer, RESULTS[event.result]);
        break;
      case 'limit-exceeded':
        this.#add(event.peer, 'limited');
        break;
      case 'auth':
        if (event.result !== 'ok') this.#add({ ...event.peer, login: event.login }, 'loginsFailed');
        break;
      case 'connection-refused':
        this.#add({ address: event.address }, 'connectionsRefused');
        break;
    }
  });

  /** Since when it counts, ms since 1970: half an hour to an hour ago, unless the process is younger. */
  get since(): number {
    this.#turn();
    const [now, before] = this.#slots;
    return (before ?? now).since;
  }

  /** The `limit` with the highest counts of `by`, those with none left out. */
  top(kind: Kind, by: TopCount, limit: number): readonly TopEntry[] {
    this.#turn();
    const sums = new Map<string, Record<TopCount, number>>();
    for (const slot of this.#slots) slot?.[kind].addTo(sums);
    return [...sums]
      .filter(([, counts]) => counts[by] > 0)
      .sort(([, a], [, b]) => b[by] - a[by])
      .slice(0, limit)
      .map(([key, counts]) => ({ key, ...counts }));
  }

  #add(
    { address, login }: { readonly address: string; readonly login?: string | undefined },
    what: TopCount,
  ): void {
    this.#turn();
    const [slot] = this.#slots;
    slot.addresses.add(placeOf(address), what);
    if (login !== undefined) slot.logins.add(login, what);
  }

  #turn(): void {
    const [slot] = this.#slots;
    const age = this.#now() - slot.since;
    if (age >= HALF) this.#slots = [this.#slot(), age >= 2 * HALF ? undefined : slot];
  }

  #slot(): Slot {
    return { since: this.#now(), logins: new Table(this.#most), addresses: new Table(this.#most) };
  }
}
