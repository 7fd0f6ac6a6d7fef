/** The connection to Redis: one server, the master that sentinels know, or a Cluster. Comes back by itself. */
import { randomBytes } from 'node:crypto';
import { Cluster, Redis } from 'ioredis';
import type { Note } from '../../base/events.js';
import { StoreError, type StoreOperation } from '../store.js';
import type { RedisOptions } from './redis-options.js';
import { EPOCH, type Script } from './redis-scripts.js';

/** At first after 50 ms, then ever later, at most every 2 s. */
const backoff = (times: number): number => Math.min(25 * 2 ** Math.min(times, 10), 2_000);
/** How long a connection may take, ms. */
const CONNECT = 2_000;
/** A server that takes commands and says nothing for so many timeouts is hung up on. */
const SILENT = 4;

type Argument = string | number;

const tlsOf = ({ ca, identity }: RedisOptions) => ({ ...(ca === undefined ? {} : { ca }), ...identity });

const connect = (options: RedisOptions): Redis | Cluster => {
  const { host, port, db, username, password, timeout, sentinels, master, sentinelPassword } = options;
  const tls = options.tls ? { tls: tlsOf(options) } : {};
  const common = {
    ...(username === undefined ? {} : { username }),
    ...(password === undefined ? {} : { password }),
    ...tls,
    // RESP2, which every server speaks; nothing is sent that an old one does not know.
    protocol: 2 as const,
    disableClientInfo: true,
    commandTimeout: timeout,
    socketTimeout: timeout * SILENT,
    connectTimeout: CONNECT,
    maxRetriesPerRequest: 0,
    // What timed out must not be done later, behind the caller's back.
    autoResendUnfulfilledCommands: false,
    // A server that was the master and is no more: look for the new one.
    reconnectOnError: ({ message }: Error) => message.startsWith('READONLY'),
  };
  if (options.cluster) {
    return new Cluster([{ host, port }, ...options.seeds.map((each) => ({ ...each }))], {
      redisOptions: common,
      // The names in certificates are those by which the nodes are known.
      dnsLookup: (address, callback) => callback(null, address),
      enableOfflineQueue: false,
      clusterRetryStrategy: backoff,
      clusterNodeRetryStrategy: backoff,
      maxRedirections: 3,
      slotsRefreshTimeout: CONNECT,
    });
  }
  const single = { ...common, db, enableOfflineQueue: false, retryStrategy: backoff };
  if (sentinels.length === 0) return new Redis({ ...single, host, port });
  return new Redis({
    ...single,
    name: master,
    sentinels: sentinels.map((each) => ({ ...each })),
    sentinelRetryStrategy: backoff,
    sentinelCommandTimeout: CONNECT,
    failoverDetector: true,
    ...(sentinelPassword === undefined ? {} : { sentinelPassword }),
    ...(options.tls ? { enableTLSForSentinelMode: true, sentinelTLS: tls.tls ?? {} } : {}),
  });
};

const nameOf = ({ cluster, sentinels, master, host, port, db }: RedisOptions): string => {
  if (cluster) return `redis cluster ${host}:${port}`;
  if (sentinels.length === 0) return `redis ${host}:${port}/${db}`;
  return `redis ${master} of ${sentinels.map((each) => `${each.host}:${each.port}`).join(', ')}`;
};

export class RedisClient {
  /** Without secrets. */
  readonly name: string;
  readonly #options: RedisOptions;
  readonly #client: Redis | Cluster;
  readonly #begun: Promise<void>;
  /** Why there is no connection. */
  #why: string | undefined;
  /** What the server was told at first: it knows it for as long as it knows anything. */
  #epoch: unknown;
  #disposed = false;

  constructor(options: RedisOptions, note: Note) {
    this.name = nameOf(options);
    this.#options = options;
    this.#client = connect(options);
    // The first to ask wait for the connection, but not for ever; later, who comes while there is none is told at once.
    this.#begun = new Promise((resolve) => {
      setTimeout(resolve, options.timeout).unref();
      this.#client.once('ready', () => resolve());
      this.#client.once('error', () => resolve());
    });
    this.#client.on('error', (error: unknown) => this.#lost(error, note));
    this.#client.on('close', () => this.#lost('the connection was closed', note));
    this.#client.on('ready', () => {
      if (this.#why !== undefined)
        note({ type: 'warning', text: `store: ${this.name}: connected, after: ${this.#why}` });
      this.#why = undefined;
      // Who asks will be told what is wrong.
      this.#recall(note).catch(() => undefined);
    });
  }

  /** That suspended logins are so no more must not pass in silence. */
  async #recall(note: Note): Promise<void> {
    const fresh = randomBytes(9).toString('base64');
    const epoch = await this.run(EPOCH, `${this.#options.prefix}{epoch}`, fresh);
    if (this.#epoch !== undefined && epoch !== this.#epoch) {
      const text = `store: ${this.name}: it has lost what it knew: windows, suspensions and counts begin anew`;
      note({ type: 'warning', text });
    }
    this.#epoch = epoch;
  }

  #lost(error: unknown, note: Note): void {
    if (this.#disposed) return;
    const first = this.#why === undefined;
    // That it was closed says less than the reason before.
    if (first || typeof error !== 'string') this.#why = this.#say(error);
    if (first) note({ type: 'warning', text: `store: ${this.name}: no connection: ${this.#why}` });
  }

  /** What an error says; a Cluster's hides the reason in another. The error's own fields have the command: AUTH's too. */
  #say(error: unknown): string {
    const inner = error instanceof Error && 'lastNodeError' in error ? (error.lastNodeError ?? error) : error;
    const said = inner instanceof Error ? inner.message : String(inner);
    const { password, sentinelPassword } = this.#options;
    const secrets = [password, sentinelPassword].filter((each) => each !== undefined);
    return secrets.reduce((text, secret) => text.replaceAll(secret, '…'), said);
  }

  /** Runs what `ask` does with the connection: done within the timeout, or a StoreError. */
  async ask<T>(operation: StoreOperation, ask: () => Promise<T>): Promise<T> {
    let timer: NodeJS.Timeout | undefined;
    try {
      await this.#begun;
      if (this.#client.status !== 'ready') throw new Error(`no connection: ${this.#why ?? 'not yet'}`);
      const late = new Promise<never>((_, reject) => {
        const { timeout } = this.#options;
        timer = setTimeout(() => reject(new Error(`no answer within ${timeout} ms`)), timeout);
      });
      return await Promise.race([ask(), late]);
    } catch (error) {
      throw new StoreError(operation, `${this.name}: ${this.#say(error)}`);
    } finally {
      clearTimeout(timer);
    }
  }

  call(command: string, ...given: readonly Argument[]): Promise<unknown> {
    const client = this.#client;
    return client instanceof Cluster ? client.call(command, [...given]) : client.call(command, [...given]);
  }

  /** Runs a script on its one key. */
  async run({ sha, lua }: Script, key: string, ...given: readonly Argument[]): Promise<unknown> {
    try {
      return await this.call('EVALSHA', sha, 1, key, ...given);
    } catch (error) {
      // A server that was started anew does not know it.
      if (!(error instanceof Error && error.message.startsWith('NOSCRIPT'))) throw error;
      return this.call('EVAL', lua, 1, key, ...given);
    }
  }

  /**
   * All keys that begin with a prefix, in pages, with what a command says of each; each key once. A key that comes or
   * goes meanwhile may be there or not.
   */
  async *scan(
    operation: StoreOperation,
    prefix: string,
    command: string,
  ): AsyncGenerator<readonly (readonly [key: string, reply: unknown])[]> {
    const pattern = `${prefix.replace(/[*?[\]\\^]/g, '\\$&')}*`;
    const seen = new Set<string>();
    const client = this.#client;
    for (const node of client instanceof Cluster ? client.nodes('master') : [client]) {
      let cursor = '0';
      do {
        const page = await this.ask(operation, async () => {
          const [next, found] = await node.scan(cursor, 'MATCH', pattern, 'COUNT', 500);
          cursor = next;
          const keys = found.filter((key) => !seen.has(key));
          return Promise.all(
            [...new Set(keys)].map(async (key) => [key, await node.call(command, [key])] as const),
          );
        });
        for (const [key] of page) seen.add(key);
        if (page.length > 0) yield page;
      } while (cursor !== '0');
    }
  }

  dispose(): void {
    this.#disposed = true;
    this.#client.disconnect();
  }
}
