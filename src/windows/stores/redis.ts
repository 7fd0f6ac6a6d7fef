/**
 * State in Redis, which several hosts share. Keys: `PREFIX{w:KEY}` the windows of a key, `PREFIX{l:LOGIN}` at which
 * keys a login may have windows, `PREFIX{m:KIND:KEY}` a mark, `PREFIX{c:KEY}` a count, all of which expire by
 * themselves; `PREFIX{epoch}` tells whether the server has forgotten everything.
 */
import type { Note } from '../../base/events.js';
import type { Count, Mark, MarkKind, StateStore, StoreOperation } from '../store.js';
import { isOpen, isWindow, type Opening, openOnes, type Window } from '../window.js';
import { RedisClient } from './redis-client.js';
import type { RedisOptions } from './redis-options.js';
import { CLOSE, COUNT, INDEX, MARK_ONCE, OPEN, SPEND, TAKE } from './redis-scripts.js';

const isRecord = (value: unknown): value is Record<string, unknown> =>
  typeof value === 'object' && value !== null;

const windowOf = (json: unknown): Window => {
  const value: unknown = JSON.parse(String(json));
  if (!isWindow(value)) throw new Error('an entry that is no window of this version of Sekisho');
  return value;
};

const windowsOf = (reply: unknown, now: number): Window[] =>
  (Array.isArray(reply) ? reply : []).map(windowOf).filter((each) => isOpen(each, now));

/** An end of `null` is none. */
const markOf = (json: unknown, now: number): Mark | undefined => {
  if (typeof json !== 'string') return undefined;
  const value: unknown = JSON.parse(json);
  if (!isRecord(value) || typeof value.key !== 'string' || typeof value.value !== 'string')
    throw new Error('an entry that is no mark of this version of Sekisho');
  const until = typeof value.until === 'number' ? value.until : Number.POSITIVE_INFINITY;
  return until > now ? { key: value.key, value: value.value, until } : undefined;
};

/** How `SET` is told when a mark ends. */
const endsOf = (until: number, now: number): readonly (string | number)[] =>
  until === Number.POSITIVE_INFINITY ? [] : ['PX', Math.max(1, Math.ceil(until - now))];

const openingOf = (reply: unknown): Opening => {
  if (reply === 'opened' || reply === 'renewed' || reply === 'full') return reply;
  throw new Error('an answer that makes no sense');
};

export class RedisStore implements StateStore {
  readonly name: string;
  readonly #client: RedisClient;
  readonly #prefix: string;

  /** Connects by and by. Warnings when the connection goes and comes go to `note`. */
  constructor(options: RedisOptions, note: Note) {
    this.#client = new RedisClient(options, note);
    this.name = this.#client.name;
    this.#prefix = options.prefix;
  }

  #key(what: 'w' | 'l' | 'm' | 'c', ...rest: readonly string[]): string {
    return `${this.#prefix}{${[what, ...rest].join(':')}}`;
  }

  open(window: Window, most: number, now: number): Promise<Opening> {
    const { key, login, until } = window;
    return this.#client.ask('open', async () => {
      // First, so that no window is ever missing there.
      await this.#client.run(INDEX, this.#key('l', login), key, until, now);
      const json = JSON.stringify(window);
      return openingOf(await this.#client.run(OPEN, this.#key('w', key), login, json, most, now));
    });
  }

  lookup(key: string, now: number): Promise<readonly Window[]> {
    return this.#client.ask('lookup', async () =>
      openOnes(windowsOf(await this.#client.call('HVALS', this.#key('w', key)), now), now),
    );
  }

  spend(key: string, login: string, amount: number, now: number): Promise<boolean> {
    return this.#client.ask(
      'spend',
      async () => (await this.#client.run(SPEND, this.#key('w', key), login, amount, now)) === 1,
    );
  }

  async close(
    { key, login }: { readonly key?: string; readonly login?: string },
    now: number,
  ): Promise<number> {
    if (key !== undefined) return this.#closeAt([this.#key('w', key)], login, now);
    if (login !== undefined) {
      // Entries stay until they expire: a window that is opened meanwhile must not lose its own.
      const keys = await this.#client.ask('close', () =>
        this.#client.call('ZRANGE', this.#key('l', login), 0, -1),
      );
      const redisKeys = (Array.isArray(keys) ? keys : []).map((each) => this.#key('w', String(each)));
      if (redisKeys.length > 0) return this.#closeAt(redisKeys, login, now);
    }
    // No index: all windows, since a failover may have lost it and a suspended login must not keep any.
    let closed = 0;
    for await (const page of this.#client.scan('close', `${this.#prefix}{w:`, 'HLEN'))
      closed += await this.#closeAt(
        page.map(([each]) => each),
        login,
        now,
      );
    return closed;
  }

  async #closeAt(redisKeys: readonly string[], login: string | undefined, now: number): Promise<number> {
    let closed = 0;
    const whose = login === undefined ? [] : [login];
    for (let i = 0; i < redisKeys.length; i += 500) {
      const some = redisKeys.slice(i, i + 500);
      const counts = await this.#client.ask('close', () =>
        Promise.all(some.map((each) => this.#client.run(CLOSE, each, now, ...whose))),
      );
      closed += counts.reduce<number>((sum, count) => sum + Number(count), 0);
    }
    return closed;
  }

  /** What the pages of a scan hold, decoded. */
  async *#all<T>(
    operation: StoreOperation,
    prefix: string,
    command: string,
    decode: (reply: unknown) => readonly T[],
  ): AsyncGenerator<readonly T[]> {
    for await (const page of this.#client.scan(operation, prefix, command))
      yield await this.#client.ask(operation, async () => page.flatMap(([, reply]) => decode(reply)));
  }

  #windows(now: number): AsyncGenerator<readonly Window[]> {
    return this.#all('list', `${this.#prefix}{w:`, 'HVALS', (reply) => windowsOf(reply, now));
  }

  async list(limit: number, now: number): Promise<readonly Window[]> {
    return firstOf(this.#windows(now), limit);
  }

  async size(now: number): Promise<number> {
    let size = 0;
    for await (const windows of this.#windows(now)) size += windows.length;
    return size;
  }

  async mark(kind: MarkKind, { key, value, until }: Mark, now: number): Promise<void> {
    const json = JSON.stringify({ key, value, until });
    const ends = endsOf(until, now);
    await this.#client.ask('mark', () => this.#client.call('SET', this.#key('m', kind, key), json, ...ends));
  }

  markOnce(kind: MarkKind, { key, value, until }: Mark, now: number): Promise<Mark | undefined> {
    const json = JSON.stringify({ key, value, until });
    const redisKey = this.#key('m', kind, key);
    return this.#client.ask('mark', async () =>
      markOf(await this.#client.run(MARK_ONCE, redisKey, json, now, ...endsOf(until, now)), now),
    );
  }

  marked(kind: MarkKind, key: string, now: number): Promise<Mark | undefined> {
    return this.#client.ask('mark', async () =>
      markOf(await this.#client.call('GET', this.#key('m', kind, key)), now),
    );
  }

  unmark(kind: MarkKind, key: string, now: number): Promise<boolean> {
    return this.#client.ask(
      'mark',
      async () => markOf(await this.#client.run(TAKE, this.#key('m', kind, key)), now) !== undefined,
    );
  }

  async marks(kind: MarkKind, limit: number, now: number): Promise<readonly Mark[]> {
    const decode = (reply: unknown): readonly Mark[] => {
      const mark = markOf(reply, now);
      return mark === undefined ? [] : [mark];
    };
    return firstOf(this.#all('mark', `${this.#prefix}{m:${kind}:`, 'GET', decode), limit);
  }

  /** Not RateLimiterRedis, which knows whole seconds only. */
  count(key: string, amount: number, period: number): Promise<Count> {
    return this.#client.ask('count', async () => {
      const reply = await this.#client.run(
        COUNT,
        this.#key('c', key),
        amount,
        Math.max(1, Math.ceil(period)),
      );
      const [used, resetIn] = Array.isArray(reply) ? reply.map(Number) : [];
      if (used === undefined || resetIn === undefined) throw new Error('an answer that makes no sense');
      return { used, resetIn };
    });
  }

  async uncount(key: string): Promise<void> {
    await this.#client.ask('count', () => this.#client.call('DEL', this.#key('c', key)));
  }

  async ping(): Promise<void> {
    await this.#client.ask('connect', () => this.#client.call('PING'));
  }

  async dispose(): Promise<void> {
    this.#client.dispose();
  }
}

const firstOf = async <T>(pages: AsyncGenerator<readonly T[]>, limit: number): Promise<readonly T[]> => {
  const listed: T[] = [];
  for await (const page of pages) {
    listed.push(...page.slice(0, limit - listed.length));
    if (listed.length >= limit) break;
  }
  return listed;
};
