/**
 * DNS block and allow lists (RFC 5782): what they say of a client's address, by weights against a threshold.
 *
 * Nobody waits for long and nobody is refused because a list is down: a list that fails, refuses or is too late has
 * nobody on it. One that goes on failing is left alone for a while, so that it does not delay every stranger.
 */
import { Resolver } from 'node:dns/promises';
import { monotonic, secondsSince } from '../base/clock.js';
import type { Note } from '../base/events.js';
import type { Ip } from '../base/ip.js';
import { reverseLabels } from '../base/reverse-name.js';
import { type CodePattern, meaningOf } from './answer-codes.js';

export interface DnsList {
  /** What policies, logs and metrics call it; the zone by default. */
  readonly name: string;
  /** Such as `zen.spamhaus.org`. */
  readonly zone: string;
  /** What being on it adds; less than 0 for an allow-list. */
  readonly weight: number;
  /** The answers that count; empty: all. */
  readonly codes: readonly CodePattern[];
}

export interface DnsblOptions {
  readonly lists: readonly DnsList[];
  /** The sum of weights from which on a client is blocked. */
  readonly threshold: number;
  /** `IP` or `IP:PORT`; empty: those of the system. */
  readonly servers: readonly string[];
  /** Milliseconds for one try, and how many there are; both together are what a client may have to wait. */
  readonly timeout: number;
  readonly tries: number;
  /** Addresses that are remembered. */
  readonly cache: number;
  /** How long "listed" is believed, ms, at most; the list's own TTL where that is less, but at least a minute. */
  readonly mostAge: number;
  /** How long "not listed" is believed, ms. */
  readonly negativeAge: number;
}

export const DEFAULT_DNSBL: Omit<DnsblOptions, 'lists'> = {
  threshold: 1,
  servers: [],
  timeout: 1_500,
  tries: 2,
  cache: 50_000,
  mostAge: 3_600_000,
  negativeAge: 300_000,
};

/** The lists that have the address, and whether that is enough. */
export interface Listing {
  readonly lists: readonly string[];
  readonly blocked: boolean;
}

interface Answer {
  readonly listed: boolean;
  /** Milliseconds for which it is believed. */
  readonly age: number;
}

const LEAST_AGE = 60_000;
/** Failures are believed shortly. */
const FAILURE_AGE = 30_000;
/** Addresses asked about at once; who comes past it is taken for not listed. */
const MOST_ASKING = 1_000;
/** Failures in a row after which a list is left alone, and for how long, ms. */
const PATIENCE = 5;
const REST = 60_000;
const REST_REFUSED = 600_000;

const NOWHERE: Listing = { lists: [], blocked: false };
const ABSENT = new Set(['ENOTFOUND', 'ENODATA']);

const codeOf = (error: unknown): string =>
  error instanceof Error && 'code' in error ? String(error.code) : 'unknown';

/** One list, and how it has been doing. */
class Asked {
  readonly #list: DnsList;
  readonly #options: DnsblOptions;
  readonly #resolver: Resolver;
  readonly #note: Note;
  #failures = 0;
  #restsUntil = 0;

  constructor(list: DnsList, options: DnsblOptions, resolver: Resolver, note: Note) {
    this.#list = list;
    this.#options = options;
    this.#resolver = resolver;
    this.#note = note;
  }

  get list(): DnsList {
    return this.#list;
  }

  async ask(ip: Ip): Promise<Answer> {
    const since = monotonic();
    if (since < this.#restsUntil) return { listed: false, age: FAILURE_AGE };
    const tell = (result: 'listed' | 'clean' | 'refused' | 'failed' | 'timeout', why?: string): void =>
      this.#note({
        type: 'dnsbl-lookup',
        list: this.#list.name,
        address: ip.text,
        result,
        seconds: secondsSince(since),
        ...(why === undefined ? {} : { why }),
      });
    try {
      const answers = await this.#query(`${reverseLabels(ip)}.${this.#list.zone}`);
      const meanings = answers.map(({ address }) => meaningOf(address, this.#list.codes));
      const odd = meanings.findIndex((meaning) => meaning === 'refused' || meaning === 'strange');
      if (odd >= 0) {
        const refused = meanings[odd] === 'refused';
        const said = `it answers ${answers[odd]?.address}`;
        tell('refused', refused ? `${said}: it does not serve this resolver` : `${said}, which no list does`);
        this.#restsUntil = monotonic() + REST_REFUSED;
        return { listed: false, age: FAILURE_AGE };
      }
      this.#failures = 0;
      const listed = meanings.includes('listed');
      tell(listed ? 'listed' : 'clean');
      const ttl = Math.min(...answers.map((answer) => answer.ttl * 1000));
      const { mostAge, negativeAge } = this.#options;
      return { listed, age: listed ? Math.max(LEAST_AGE, Math.min(mostAge, ttl)) : negativeAge };
    } catch (error) {
      const code = codeOf(error);
      if (ABSENT.has(code)) {
        this.#failures = 0;
        tell('clean');
        return { listed: false, age: this.#options.negativeAge };
      }
      tell(code === 'ETIMEOUT' ? 'timeout' : 'failed', code);
      this.#failures += 1;
      if (this.#failures >= PATIENCE) {
        this.#failures = 0;
        this.#restsUntil = monotonic() + REST;
      }
      return { listed: false, age: FAILURE_AGE };
    }
  }

  /** Rejects with ETIMEOUT when all tries together took too long, whatever the resolver makes of its own timeout. */
  async #query(name: string): Promise<readonly { address: string; ttl: number }[]> {
    let timer: NodeJS.Timeout | undefined;
    const late = new Promise<never>((_, reject) => {
      const { timeout, tries } = this.#options;
      timer = setTimeout(
        () => reject(Object.assign(new Error('late'), { code: 'ETIMEOUT' })),
        timeout * tries,
      );
    });
    try {
      return await Promise.race([this.#resolver.resolve4(name, { ttl: true }), late]);
    } finally {
      clearTimeout(timer);
    }
  }
}

export class Dnsbl {
  readonly #options: DnsblOptions;
  readonly #lists: readonly Asked[];
  /** The oldest first. */
  readonly #cache = new Map<string, { readonly listing: Listing; readonly until: number }>();
  readonly #asking = new Map<string, Promise<Listing>>();

  constructor(options: DnsblOptions, note: Note) {
    this.#options = options;
    const { servers, timeout, tries } = options;
    const resolver = new Resolver({ timeout, tries });
    if (servers.length > 0) resolver.setServers(servers);
    this.#lists = options.lists.map((list) => new Asked(list, options, resolver, note));
  }

  /** Never rejects, and takes at most `timeout` × `tries`. */
  lookUp(ip: Ip): Listing | Promise<Listing> {
    const key = ip.text;
    const cached = this.#cache.get(key);
    if (cached !== undefined && cached.until > monotonic()) return cached.listing;
    const present = this.#asking.get(key);
    if (present !== undefined) return present;
    if (this.#asking.size >= MOST_ASKING || this.#lists.length === 0) return NOWHERE;
    const asking = this.#ask(ip).finally(() => this.#asking.delete(key));
    this.#asking.set(key, asking);
    return asking;
  }

  async #ask(ip: Ip): Promise<Listing> {
    const answers = await Promise.all(this.#lists.map((each) => each.ask(ip)));
    const on = this.#lists.filter((_, i) => answers[i]?.listed === true).map(({ list }) => list);
    const score = on.reduce((sum, { weight }) => sum + weight, 0);
    const listing = { lists: on.map(({ name }) => name), blocked: score >= this.#options.threshold };
    const age = Math.min(...answers.map((answer) => answer.age));
    this.#cache.delete(ip.text);
    for (const oldest of this.#cache.keys()) {
      if (this.#cache.size < this.#options.cache) break;
      this.#cache.delete(oldest);
    }
    this.#cache.set(ip.text, { listing, until: monotonic() + age });
    return listing;
  }
}
