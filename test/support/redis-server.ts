/** Real Redis and Valkey servers of a test's own, with Sentinels and Clusters of them, on free loopback ports. */
import { type ChildProcess, execFile, spawn } from 'node:child_process';
import net from 'node:net';
import path from 'node:path';
import type { Test } from 'tap';
import type { SekishoEvent } from '../../src/base/events.js';
import { RedisStore } from '../../src/windows/stores/redis.js';
import type { RedisOptions } from '../../src/windows/stores/redis-options.js';
import { freePort, unpackBackports } from './packages.js';
import { folder } from './process.js';
import { eventually } from './sekisho.js';

const listens = (port: number): Promise<boolean> =>
  new Promise((resolve) => {
    const socket = net.connect(port, '127.0.0.1', () => resolve(true)).once('error', () => resolve(false));
    socket.once('connect', () => socket.destroy());
  });

/** The path of Valkey's server; undefined: Debian's backports cannot be had here. */
export const valkeyServer = async (): Promise<string | undefined> => {
  const root = await unpackBackports('valkey-server', ['valkey-tools']);
  return root === undefined ? undefined : path.join(root, 'usr', 'bin', 'valkey-server');
};

/** Runs `redis-cli` and returns what it said. `more`: what makes a TLS server or one with users take it. */
export const redisCli = (
  port: number,
  args: readonly string[],
  more: readonly string[] = [],
): Promise<string> =>
  new Promise((resolve, reject) => {
    execFile('redis-cli', ['-p', `${port}`, ...more, ...args], { timeout: 30_000 }, (error, out) => {
      if (error === null) resolve(out);
      else reject(error);
    });
  });

export class RedisServer {
  private constructor(
    readonly port: number,
    private readonly command: readonly [string, ...string[]],
    private readonly dir: string,
    private child: ChildProcess,
  ) {}

  /** Without a disk. `tls`: listens for nothing else; its files are among `args`. */
  static async start(
    t: Test,
    args: readonly string[] = [],
    { binary = 'redis-server', tls = false }: { readonly binary?: string; readonly tls?: boolean } = {},
  ): Promise<RedisServer> {
    const port = await freePort();
    const dir = folder(t);
    const where = tls ? ['--port', '0', '--tls-port', `${port}`] : ['--port', `${port}`];
    const disk = ['--dir', dir, '--save', '', '--appendonly', 'no'];
    return RedisServer.#run(t, port, [binary, ...where, '--bind', '127.0.0.1', ...disk, ...args], dir);
  }

  /** A sentinel that watches the master at a port; it needs `others` of its like to agree. */
  static async sentinel(t: Test, master: number, quorum: number): Promise<RedisServer> {
    const port = await freePort();
    const lines = [
      `port ${port}`,
      'bind 127.0.0.1',
      `sentinel monitor mymaster 127.0.0.1 ${master} ${quorum}`,
      // On a busy machine a master is silent now and then; see `watchClosely`.
      'sentinel down-after-milliseconds mymaster 60000',
      'sentinel failover-timeout mymaster 5000',
    ];
    const dir = folder(t, { 'sentinel.conf': `${lines.join('\n')}\n` });
    return RedisServer.#run(t, port, ['redis-server', path.join(dir, 'sentinel.conf'), '--sentinel'], dir);
  }

  static async #run(
    t: Test,
    port: number,
    command: readonly [string, ...string[]],
    dir: string,
  ): Promise<RedisServer> {
    const server = new RedisServer(port, command, dir, launch(command, dir));
    t.teardown(() => server.child.kill('SIGKILL'));
    await eventually('it listens', () => listens(port));
    return server;
  }

  /** Stops it where it is, so that it takes connections and says nothing, or lets it go on. */
  signal(signal: 'SIGSTOP' | 'SIGCONT'): void {
    this.child.kill(signal);
  }

  async kill(): Promise<void> {
    const ended = new Promise((resolve) => this.child.once('close', resolve));
    this.child.kill('SIGKILL');
    await ended;
  }

  /** Starts it again after `kill`: it knows nothing. */
  async restart(): Promise<void> {
    this.child = launch(this.command, this.dir);
    await eventually('it listens again', () => listens(this.port));
  }
}

const launch = ([file, ...args]: readonly [string, ...string[]], dir: string): ChildProcess =>
  spawn(file, args, { cwd: dir, stdio: 'ignore' });

/** From now on a master that does not answer for a second is down to these sentinels. */
export const watchClosely = async (sentinels: readonly RedisServer[]): Promise<void> => {
  const set = ['sentinel', 'set', 'mymaster', 'down-after-milliseconds', '1000'];
  await Promise.all(sentinels.map(({ port }) => redisCli(port, set)));
};

/** What a replica has of what its master wrote, as far as `info replication` tells. */
const offsetOf = async ({ port }: RedisServer, whose: 'master' | 'slave'): Promise<number> => {
  const told = await redisCli(port, ['info', 'replication']);
  return Number(new RegExp(`^${whose}_repl_offset:(\\d+)`, 'm').exec(told)?.[1] ?? Number.NaN);
};

/** Until the replica has all that has been written so far: what it lacks is lost with the master. */
export const caughtUp = async (master: RedisServer, replica: RedisServer): Promise<void> => {
  const written = await offsetOf(master, 'master');
  await eventually('the replica has it all', async () => (await offsetOf(replica, 'slave')) >= written);
};

/** Of a store whose server is to hang; one whose server is well has longer. */
export const TIMEOUT = 1_000;

/** A store on a server of the test's own; its warnings go to `events`. */
export const redisStore = (
  t: Test,
  given: Partial<RedisOptions>,
  events: SekishoEvent[] = [],
): RedisStore => {
  const where = { host: '127.0.0.1', port: 1, db: 0, tls: false, sentinels: [], master: 'mymaster' };
  const how = { timeout: 20_000, prefix: 'sekisho:', cluster: false, seeds: [] };
  const store = new RedisStore({ ...where, ...how, ...given }, (event) => events.push(event));
  t.teardown(() => store.dispose());
  return store;
};

export const answers = async (store: RedisStore): Promise<boolean> => {
  try {
    await store.ping();
    return true;
  } catch {
    return false;
  }
};

/** The store, once it answers. */
export const ready = async (store: RedisStore): Promise<RedisStore> => {
  await eventually('the store answers', () => answers(store));
  return store;
};
