/**
 * What a million open windows cost in each store: `npm run bench:windows [COUNT] [--json] [STORE…]` prints a Markdown table,
 * or JSON. Each store is filled, and looked into after a start of its own, in processes of their own. Redis: a server of the bench's own, if
 * `redis-server` is there.
 */
import { type ChildProcess, execFileSync, spawn } from 'node:child_process';
import { mkdtempSync, readFileSync, rmSync, statSync } from 'node:fs';
import net from 'node:net';
import os from 'node:os';
import path from 'node:path';
import type { StateStore } from '../../src/windows/store.js';
import type { Window } from '../../src/windows/window.js';

// What is built is what runs: tsx makes slower code of the same source.
const built = (name: string): string => new URL(`../../dist/windows/stores/${name}.js`, import.meta.url).href;
const { LmdbStore }: typeof import('../../src/windows/stores/lmdb.js') = await import(built('lmdb'));
const { MemoryStore }: typeof import('../../src/windows/stores/memory.js') = await import(built('memory'));
const { RedisStore }: typeof import('../../src/windows/stores/redis.js') = await import(built('redis'));

const KINDS = ['memory', 'lmdb', 'redis'] as const;
type Kind = (typeof KINDS)[number];

const [first = '1000000', ...words] = process.argv.slice(2).filter((word) => word !== '--json');
/** In a process of one store: which, and where it is. */
const [kind, place = ''] = process.env.STORE === undefined ? [] : words;
const COUNT = Number(first);
const HOUR = 3_600_000;
const RUN = 200;
const LOOKUPS = { memory: 1_000_000, lmdb: 500_000, redis: 20_000 } as const;

const address = (i: number): string => `10.${(i >>> 16) & 255}.${(i >>> 8) & 255}.${i & 255}`;

/** Text as the wire brings it, in one piece: what a template makes holds on to its parts. */
const flat = (text: string): string => Buffer.from(text, 'latin1').toString('latin1');

/** As the keeper makes it. */
const windowOf = (i: number, now: number): Window => {
  const ip = flat(address(i));
  const said = { login: flat(`user${i}@example.org`), address: ip, source: 'pop3' } as const;
  return { ...said, key: ip, since: now, until: now + HOUR, used: 0, budget: 50 };
};

const REDIS = { host: '127.0.0.1', db: 0, tls: false, sentinels: [], master: '', timeout: 30_000 };

const storeOf = (): StateStore => {
  if (kind === 'memory') return new MemoryStore();
  if (kind === 'redis')
    return new RedisStore(
      { ...REDIS, port: Number(place), prefix: 's:', cluster: false, seeds: [] },
      () => undefined,
    );
  const store = LmdbStore.open(place, (event) => console.error(event));
  if (!store.ok) throw new Error(store.error);
  return store.value;
};

const megabytes = (octets: number): string => `${Math.round(octets / 1e6)} MB`;

const fill = async (store: StateStore): Promise<number> => {
  const now = Date.now();
  const begun = performance.now();
  for (let i = 0; i < COUNT; i += 1_000) {
    const some = Array.from({ length: Math.min(1_000, COUNT - i) }, (_, n) => windowOf(i + n, now));
    await Promise.all(some.map((window) => store.open(window, 3, now)));
  }
  return (performance.now() - begun) / 1_000;
};

/**
 * Microseconds that a lookup takes, one after another, half of them in vain, of addresses that were just made, as each session
 * makes its client's. The median of short runs, so that what else the machine does in between does not count.
 */
const look = async (store: StateStore, many: number): Promise<number> => {
  const now = Date.now();
  const times: number[] = [];
  let open = 0;
  while (times.length < many / RUN) {
    const keys = Array.from({ length: RUN }, () => flat(address(Math.floor(Math.random() * COUNT * 2))));
    const begun = performance.now();
    for (const key of keys) open += (await store.lookup(key, now)).length;
    times.push(((performance.now() - begun) / RUN) * 1_000);
  }
  if (open === 0) throw new Error('nothing was found');
  return times.sort((a, b) => a - b)[times.length >> 1] ?? 0;
};

/** In a process of its own: fills, or starts and looks. Prints JSON. */
const child = async (which: Kind): Promise<void> => {
  globalThis.gc?.();
  const before = process.memoryUsage().rss;
  const begun = performance.now();
  const store = storeOf();
  await store.ping();
  const start = performance.now() - begun;
  const filled = process.env.FILL === undefined ? 0 : await fill(store);
  // What filling left behind is no matter of looking up.
  globalThis.gc?.();
  const lookup = process.env.LOOK === undefined ? 0 : await look(store, LOOKUPS[which]);
  globalThis.gc?.();
  const memory = process.memoryUsage().rss - before;
  await store.dispose();
  console.log(JSON.stringify({ start, filled, lookup, memory }));
  process.exit(0);
};

interface Figures {
  readonly start: number;
  readonly filled: number;
  readonly lookup: number;
  readonly memory: number;
}

const isFigures = (value: unknown): value is Figures =>
  typeof value === 'object' && value !== null && 'start' in value && 'memory' in value;

const run = (which: Kind, at: string, env: Readonly<Record<string, string>>): Figures => {
  const args = ['--expose-gc', '--import=tsx', import.meta.filename ?? '', first, which, at];
  const said = execFileSync(process.execPath, args, {
    encoding: 'utf8',
    env: { ...process.env, STORE: '1', ...env },
  });
  const figures: unknown = JSON.parse(said);
  if (!isFigures(figures)) throw new Error(said);
  return figures;
};

interface Row {
  readonly store: string;
  /** Microseconds. */
  readonly lookup: number;
  readonly memory: string;
  /** Milliseconds. */
  readonly start: number;
  /** In a second. */
  readonly openings: number;
}

const rowOf = (store: string, memory: string, looked: Figures, filled: Figures): Row => ({
  ...{ store, memory, lookup: looked.lookup, start: looked.start },
  openings: Math.round(COUNT / filled.filled),
});

const line = ({ store, lookup, memory, start, openings }: Row): string =>
  `| ${store} | ${lookup.toFixed(2)} µs | ${memory} | ${start.toFixed(0)} ms | ${openings.toLocaleString('en')}/s |`;

const redis = async (dir: string): Promise<{ port: number; server: ChildProcess }> => {
  const port = await new Promise<number>((resolve) => {
    const probe = net.createServer().listen({ host: '127.0.0.1', port: 0 }, () => {
      const where = probe.address();
      probe.close(() => resolve(typeof where === 'object' && where !== null ? where.port : 0));
    });
  });
  const args = ['--port', `${port}`, '--bind', '127.0.0.1', '--dir', dir, '--save', ''];
  const server = spawn('redis-server', args, { stdio: 'ignore' });
  await new Promise((resolve, reject) => {
    server.once('error', reject);
    setTimeout(resolve, 1_000);
  });
  return { port, server };
};

const residentOf = (pid: number | undefined): number =>
  Number(/VmRSS:\s+(\d+)/.exec(readFileSync(`/proc/${pid}/status`, 'utf8'))?.[1]) * 1_024;

const inMemory = async (): Promise<Row> => {
  const memory = run('memory', '', { FILL: '1', LOOK: '1' });
  return rowOf('memory', megabytes(memory.memory), memory, memory);
};

const inLmdb = async (): Promise<Row> => {
  const dir = mkdtempSync(path.join(os.tmpdir(), 'sekisho-bench-'));
  try {
    const filled = run('lmdb', dir, { FILL: '1' });
    const looked = run('lmdb', dir, { LOOK: '1' });
    const file = megabytes(statSync(path.join(dir, 'state.mdb')).size);
    return rowOf('LMDB', `${megabytes(looked.memory)}, file of ${file}`, looked, filled);
  } finally {
    rmSync(dir, { recursive: true, force: true });
  }
};

const inRedis = async (): Promise<Row> => {
  const dir = mkdtempSync(path.join(os.tmpdir(), 'sekisho-bench-'));
  const { port, server } = await redis(dir);
  try {
    const empty = residentOf(server.pid);
    const filled = run('redis', `${port}`, { FILL: '1' });
    const used = megabytes(residentOf(server.pid) - empty);
    const looked = run('redis', `${port}`, { LOOK: '1' });
    return rowOf('Redis', `${megabytes(looked.memory)}, ${used} in Redis`, looked, filled);
  } finally {
    server.kill('SIGKILL');
    rmSync(dir, { recursive: true, force: true });
  }
};

const STORES: Readonly<Record<Kind, () => Promise<Row>>> = { memory: inMemory, lmdb: inLmdb, redis: inRedis };

const all = async (): Promise<void> => {
  const rows: Row[] = [];
  for (const each of KINDS) if (words.length === 0 || words.includes(each)) rows.push(await STORES[each]());
  if (process.argv.includes('--json')) {
    console.log(JSON.stringify(rows));
    return;
  }
  console.log(`| ${COUNT.toLocaleString('en')} open windows | lookup | memory | start | openings |`);
  console.log('|---|---|---|---|---|');
  for (const row of rows) console.log(line(row));
};

const which = KINDS.find((each) => each === kind);
await (which === undefined ? all() : child(which));
