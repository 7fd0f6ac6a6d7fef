/** The store in a file: the contract, and what processes that share it see of one another. */
import { execFileSync, fork, spawn } from 'node:child_process';
import { randomFillSync, randomInt } from 'node:crypto';
import { once } from 'node:events';
import {
  existsSync,
  readdirSync,
  readFileSync,
  rmSync,
  statSync,
  truncateSync,
  writeFileSync,
} from 'node:fs';
import path from 'node:path';
import t, { type Test } from 'tap';
import type { SekishoEvent } from '../../src/base/events.js';
import { StoreError } from '../../src/windows/store.js';
import { LmdbStore } from '../../src/windows/stores/lmdb.js';
import { compactFile } from '../../src/windows/stores/lmdb-compact.js';
import { LmdbEnv } from '../../src/windows/stores/lmdb-env.js';
import { LmdbCounts } from '../../src/windows/stores/lmdb-marks.js';
import { aWindow, stateStoreContract } from '../contract/state-store.js';
import { folder } from '../support/process.js';
import { eventually } from '../support/sekisho.js';

// Its processes take their time on a busy machine.
t.setTimeout(900_000);

const openStore = (t: Test, dir: string, events: SekishoEvent[] = []): LmdbStore => {
  const store = LmdbStore.open(dir, (event) => events.push(event));
  if (!store.ok) throw new Error(store.error);
  t.teardown(() => store.value.dispose());
  return store.value;
};

/** Fills a store so that its trees have branches and some of its values pages of their own. */
const fill = async (dir: string, now: number): Promise<void> => {
  const made = LmdbStore.open(dir, () => undefined);
  if (!made.ok) throw new Error(made.error);
  const store = made.value;
  const long = 'x'.repeat(3_000);
  await Promise.all(
    Array.from({ length: 600 }, (_, i) => store.open(aWindow(now, { key: `k${i}`, login: `l${i}` }), 3, now)),
  );
  const until = now + 600_000;
  for (let i = 0; i < 40; i++) await store.mark('greylist', { key: `m${i}`, value: long, until }, now);
  for (let i = 0; i < 40; i++) await store.count(`c${i}`, 1, 600_000);
  await store.dispose();
};

/** Asks files everything in a process of its own, which may die of them. */
const damaged = (dirs: readonly string[]): Promise<{ code: number | null; out: string }> =>
  new Promise((resolve) => {
    const env = { ...process.env, SEKISHO_TEST_DAMAGED: dirs.join(':') };
    const child = fork(import.meta.filename ?? '', { env, silent: true });
    let out = '';
    for (const stream of [child.stdout, child.stderr]) stream?.on('data', (chunk) => (out += String(chunk)));
    child.on('close', (code, signal) => resolve({ code, out: `${out}${signal ?? ''}` }));
  });

/** What the process says that sees its folder read-only, and then full. */
const mounted = (dir: string): Promise<string> =>
  new Promise((resolve) => {
    const env = { ...process.env, SEKISHO_TEST_FULL: dir };
    const args = ['-m', process.execPath, ...process.execArgv, import.meta.filename ?? ''];
    const child = spawn('unshare', args, { env, stdio: ['ignore', 'pipe', 'pipe'] });
    let out = '';
    for (const stream of [child.stdout, child.stderr]) stream.on('data', (chunk) => (out += String(chunk)));
    child.on('close', (_, signal) => resolve(signal === null ? out : `${out}\nsignal ${signal}`));
  });

/** Every question that there is: each is answered, or rejects with StoreError. */
const useAll = async (dir: string): Promise<string> => {
  const warnings: string[] = [];
  const opened = LmdbStore.open(dir, (event) => warnings.push(JSON.stringify(event)));
  if (!opened.ok) return opened.error;
  const store = opened.value;
  const now = Date.now();
  const asked = [
    ...Array.from({ length: 600 }, (_, i) => store.lookup(`k${i}`, now)),
    ...Array.from({ length: 40 }, (_, i) => store.marked('greylist', `m${i}`, now)),
    ...Array.from({ length: 40 }, (_, i) => store.count(`c${i}`, 0, 600_000)),
    ...[store.list(1_000, now), store.size(now), store.marks('greylist', 1_000, now), store.ping()],
    ...Array.from({ length: 80 }, (_, i) => store.open(aWindow(now, { key: `k${i * 7}` }), 3, now)),
    ...[store.mark('greylist', { key: 'm3', value: '', until: now + 1 }, now), store.count('c3', 1, 1_000)],
    ...[store.close({ login: 'l5' }, now), store.unmark('greylist', 'm4', now)],
  ];
  const settled = await Promise.allSettled<unknown>(asked);
  const failed = settled.flatMap((each) => (each.status === 'rejected' ? [each.reason] : []));
  const odd = failed.filter((each) => !(each instanceof StoreError));
  await store.dispose();
  if (odd.length > 0) return `odd: ${odd.map(String).join()}`;
  return warnings.length > 0 ? 'set aside' : failed.length > 0 ? 'unknown' : 'sound';
};

/** Counts to 500, 25 at once, and says what each was told. */
const countOn = async (store: LmdbStore): Promise<number[]> => {
  const told: number[] = [];
  for (let i = 0; i < 20; i += 1) {
    const counts = await Promise.all(Array.from({ length: 25 }, () => store.count('shared', 1, 600_000)));
    told.push(...counts.map(({ used }) => used));
  }
  return told;
};

if (process.env.SEKISHO_TEST_COUNTS !== undefined) {
  // One more: counts along with the first, once both are ready.
  const store = LmdbStore.open(process.env.SEKISHO_TEST_COUNTS, () => undefined);
  process.send?.('ready');
  await once(process, 'message');
  process.send?.({ told: store.ok ? await countOn(store.value) : store.error });
  process.exit(0);
} else if (process.env.SEKISHO_TEST_FILLS !== undefined) {
  // The other process: opens windows until it is killed, and tells of each one that was acknowledged.
  process.once('disconnect', () => process.exit(1));
  const store = LmdbStore.open(process.env.SEKISHO_TEST_FILLS, () => undefined);
  const now = Date.now();
  for (let i = 0; store.ok; i += 50) {
    const opened = Array.from({ length: 50 }, async (_, n) => {
      const key = `k${i + n}`;
      await store.value.open(aWindow(now, { key, address: key }), 3, now);
      process.send?.(key);
    });
    await Promise.all(opened);
  }
} else if (process.env.SEKISHO_TEST_DAMAGED !== undefined) {
  // Another one: asks a file everything, and says what came of it.
  for (const dir of process.env.SEKISHO_TEST_DAMAGED.split(':')) console.log(`said: ${await useAll(dir)}`);
  process.exit(0);
} else if (process.env.SEKISHO_TEST_FULL !== undefined) {
  // A third one, in a mount namespace of its own.
  const dir = process.env.SEKISHO_TEST_FULL;
  const now = Date.now();
  execFileSync('mount', ['-t', 'tmpfs', '-o', 'size=2m,ro', 'tmpfs', dir]);
  const refused = LmdbStore.open(dir, () => undefined);
  console.log(`read-only: ${refused.ok ? 'opened' : refused.error}`);
  execFileSync('mount', ['-o', 'remount,rw', dir]);
  writeFileSync(path.join(dir, 'filler'), Buffer.alloc(1_000_000));
  const store = LmdbStore.open(dir, () => undefined);
  if (!store.ok) throw new Error(store.error);
  await store.value.open(aWindow(now, { key: 'first' }), 3, now);
  try {
    for (let i = 0; i < 3_000; i++)
      await store.value.open(aWindow(now, { key: `k${i}`, login: 'x'.repeat(250) }), 3, now);
    console.log('full: never');
  } catch (error) {
    const said =
      error instanceof StoreError ? `StoreError ${error.operation}: ${error.message}` : String(error);
    console.log(`full: ${said}`);
  }
  console.log(`still there: ${(await store.value.lookup('first', now)).length}`);
  rmSync(path.join(dir, 'filler'));
  console.log(`with room again: ${await store.value.open(aWindow(now, { key: 'last' }), 3, now)}`);
  process.exit(0);
} else {
  stateStoreContract(t, 'lmdb', (t) => openStore(t, folder(t)));

  t.test('another process sees what is acknowledged, and a kill -9 loses none of it', async (t) => {
    const dir = folder(t);
    const store = openStore(t, dir);
    const child = fork(import.meta.filename ?? '', { env: { ...process.env, SEKISHO_TEST_FILLS: dir } });
    t.teardown(() => child.kill('SIGKILL'));
    const acknowledged: string[] = [];
    const unseen: string[] = [];
    child.on('message', (key) => {
      // The test runner sends messages of its own.
      if (typeof key !== 'string') return;
      acknowledged.push(key);
      void store.lookup(key, Date.now()).then(({ length }) => {
        if (length === 0) unseen.push(key);
      });
    });
    await eventually('2,000 openings', () => acknowledged.length >= 2_000, 120_000);
    child.kill('SIGKILL');
    await eventually('it is gone', () => child.signalCode !== null);
    t.equal(child.signalCode, 'SIGKILL', `it was killed in the middle, after ${acknowledged.length}`);
    t.strictSame(unseen, [], 'each is seen by the time it is acknowledged');
    const again = openStore(t, dir);
    for (const reader of [store, again]) {
      const lost: string[] = [];
      for (const key of acknowledged) if ((await reader.lookup(key, Date.now())).length !== 1) lost.push(key);
      t.strictSame(lost, [], 'none is lost');
    }
    t.equal(await store.open(aWindow(Date.now()), 3, Date.now()), 'opened', 'the dead hold no lock');
  });

  t.test('two processes that change one entry at once miss nothing of each other', async (t) => {
    const dir = folder(t);
    const store = openStore(t, dir);
    const child = fork(import.meta.filename ?? '', { env: { ...process.env, SEKISHO_TEST_COUNTS: dir } });
    t.teardown(() => child.kill('SIGKILL'));
    let others: number[] | undefined;
    const ready = new Promise((resolve) => {
      // The test runner sends messages of its own.
      child.on('message', (said: 'ready' | { told?: number[] }) => {
        if (said === 'ready') resolve(said);
        else others ??= said.told;
      });
    });
    await ready;
    child.send('go');
    const ours = await countOn(store);
    await eventually('the other has counted', () => others !== undefined, 120_000);
    const all = [...ours, ...(others ?? [])].sort((a, b) => a - b);
    t.strictSame(
      all,
      Array.from({ length: 1_000 }, (_, i) => i + 1),
      'each is told another number',
    );
  });

  t.test('changes of one entry that come together are written together', async (t) => {
    const env = LmdbEnv.open(folder(t), () => undefined);
    if (!env.ok) throw new Error(env.error);
    t.teardown(() => env.value.close());
    const written = (): number => (env.value.root.getStats() as { lastTxnId: number }).lastTxnId;
    const counts = new LmdbCounts(env.value);
    await counts.count('a', 1, 600_000);
    const before = written();
    const told = await Promise.all(Array.from({ length: 200 }, () => counts.count('a', 1, 600_000)));
    t.strictSame(
      told.map(({ used }) => used),
      Array.from({ length: 200 }, (_, i) => i + 2),
      'in the order in which they came',
    );
    t.ok(written() - before < 10, `${written() - before} commits for 200`);
  });

  t.test('a file that is damaged or not ours is put aside, and service goes on', async (t) => {
    const spoil: Readonly<Record<string, (file: string) => void>> = {
      foreign: (file) => writeFileSync(file, 'x'.repeat(100_000)),
      short: (file) => truncateSync(file, 9_000),
      tiny: (file) => writeFileSync(file, 'x'),
    };
    for (const [what, spoilIt] of Object.entries(spoil)) {
      const dir = folder(t);
      const made = LmdbStore.open(dir, () => undefined);
      if (made.ok) {
        await made.value.open(aWindow(Date.now()), 3, Date.now());
        await made.value.dispose();
      }
      spoilIt(path.join(dir, 'state.mdb'));
      const events: SekishoEvent[] = [];
      const store = openStore(t, dir, events);
      t.match(events, [{ type: 'warning', text: /cannot be used .* begin anew/ }], what);
      t.ok(
        readdirSync(dir).some((each) => each.startsWith('state.mdb.bad-')),
        what,
      );
      t.equal(await store.open(aWindow(Date.now()), 3, Date.now()), 'opened', what);
    }
  });

  t.test('damage inside', async (t) => {
    const now = Date.now();
    const dir = folder(t);
    await fill(dir, now);
    const whole = readFileSync(path.join(dir, 'state.mdb'));
    t.equal(await useAll(dir), 'sound');
    const pages = whole.length / 4_096;
    const spoil = Array.from(
      { length: 30 },
      (_, i): readonly [what: string, spoil: (file: Buffer) => void] => {
        const page = 2 + randomInt(pages - 2);
        const [from, to] = [page * 4_096, (page + 1) * 4_096];
        if (i % 6 === 0) return [`page ${page} empty`, (file) => file.fill(0, from, to)];
        if (i % 6 === 1) return [`page ${page} noise`, (file) => randomFillSync(file, from, 4_096)];
        // Half of them where the page says what it is.
        const octets = Array.from(
          { length: 8 },
          (_, n) => [randomInt(n < 4 ? 64 : 4_096), randomInt(256)] as const,
        );
        return [
          `page ${page} ${octets.join(' ')}`,
          (file) => {
            for (const [at, octet] of octets) file[from + at] = octet;
          },
        ];
      },
    );
    // One process for several files: what kills it names the first that it had no answer for.
    const dirs = spoil.map(([, spoilIt]) => {
      const file = Buffer.from(whole);
      spoilIt(file);
      const each = folder(t);
      writeFileSync(path.join(each, 'state.mdb'), file);
      return each;
    });
    const { code, out } = await damaged(dirs);
    const outcomes: string[] = [...out.matchAll(/^said: (.*)$/gm)].map(([, said = '']) => said);
    t.equal(code, 0, `no damage ends the process (${spoil[outcomes.length]?.[0]}: ${out.slice(-2_000)})`);
    t.strictSame(new Set(outcomes.filter((each) => !/^(set aside|unknown|sound)$/.test(each))), new Set());
    t.ok(outcomes.includes('set aside'));
  });

  t.test('a folder that cannot be used is a clear error', async (t) => {
    const dir = folder(t, { file: '' });
    const store = LmdbStore.open(path.join(dir, 'file', 'x'), () => undefined);
    t.match(store, { ok: false, error: /file\/x: .*It must be a folder in which this user may write/ });
    t.ok(existsSync(path.join(dir, 'file')));
  });

  const root = process.getuid?.() === 0;
  t.test('a folder that is read-only, or full', { skip: root ? false : 'needs root to mount' }, async (t) => {
    const dir = folder(t);
    const said = await mounted(dir);
    t.match(said, /^read-only: store: .*It must be a folder in which this user may write/m);
    t.match(said, /^full: StoreError open: \S/m);
    t.match(said, /^still there: 1$/m);
    t.match(said, /^with room again: opened$/m);
    t.notMatch(said, /Uncaught|Unhandled|signal/);
  });

  t.test('compaction', async (t) => {
    const dir = folder(t);
    const file = path.join(dir, 'state.mdb');
    const now = Date.now();
    const until = now + 600_000;
    const made = openStore(t, dir);
    await made.open(aWindow(now, { key: 'k', login: 'l' }), 3, now);
    await made.mark('suspended', { key: 'bob', value: 'stolen', until }, now);
    const keys = Array.from({ length: 1_000 }, (_, i) => `m${i}`);
    const value = 'x'.repeat(1_000);
    await Promise.all(keys.map((key) => made.mark('greylist', { key, value, until }, now)));
    await Promise.all(keys.map((key) => made.unmark('greylist', key, now)));
    await made.count('c', 3, 600_000);
    await made.dispose();
    writeFileSync(`${file}.compact`, 'of one that was cut off');
    const large = statSync(file).size;

    const program = `import { open } from 'lmdb';
    open({ path: ${JSON.stringify(file)}, maxDbs: 8, maxReaders: 256 }).openDB({ name: 'meta' }).get('format');
    console.log('open'); setInterval(() => {}, 1000);`;
    let stop = (): unknown => undefined;
    const newcomer = await compactFile(dir, async () => {
      const child = spawn(process.execPath, ['--input-type=module', '-e', program], {
        stdio: ['ignore', 'pipe', 'inherit'],
      });
      t.teardown(() => child.kill('SIGKILL'));
      await new Promise((resolve) => child.stdout.once('data', resolve));
      stop = () => child.kill('SIGKILL');
    });
    t.match(newcomer, { ok: false, error: /process \d+ has opened it meanwhile\. Nothing was changed/ });
    t.equal(statSync(file).size, large);
    t.strictSame(readdirSync(dir).sort(), ['state.mdb', 'state.mdb-lock']);
    stop();

    await eventually('the other has ended', async () => (await compactFile(dir)).ok);
    t.ok(statSync(file).size < large / 4, `${large} octets are now ${statSync(file).size}`);
    const store = openStore(t, dir);
    t.match(await store.lookup('k', now), [{ login: 'l' }]);
    t.match(await store.marked('suspended', 'bob', now), { value: 'stolen', until });
    t.equal((await store.count('c', 1, 600_000)).used, 4);
    t.equal(await store.size(now), 1);
    t.equal(await store.open(aWindow(now, { key: 'k', login: 'l' }), 3, now), 'renewed', 'it takes changes');
  });
}
