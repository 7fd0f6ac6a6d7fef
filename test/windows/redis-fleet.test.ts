/** The store in a Cluster and behind Sentinels: the contract, and a master that dies. */
import t, { type Test } from 'tap';
import type { SekishoEvent } from '../../src/base/events.js';
import { StoreError } from '../../src/windows/store.js';
import type { RedisStore } from '../../src/windows/stores/redis.js';
import { aWindow, stateStoreContract } from '../contract/state-store.js';
import { freePort, install, noPackages } from '../support/packages.js';
import {
  caughtUp,
  RedisServer,
  ready,
  redisCli,
  redisStore,
  TIMEOUT,
  watchClosely,
} from '../support/redis-server.js';
import { eventually } from '../support/sekisho.js';

const none = noPackages();
if (none !== undefined) console.log(`# the tests of Redis in a fleet are skipped: it ${none}`);
else await install(['redis-server']);

// A failover takes its seconds, more of them on a busy machine.
t.setTimeout(900_000);
const PATIENCE = 60_000;
/** Or else a replica waits for others of its like. */
const AT_ONCE = ['--repl-diskless-sync-delay', '0'];

const KEYS = Array.from({ length: 60 }, (_, i) => `192.0.2.${i}`);

/** Until a replica has all that its master has. */
const follows = ({ port }: RedisServer): Promise<void> =>
  eventually(
    'the replica follows',
    async () => /master_link_status:up/.test(await redisCli(port, ['info', 'replication'])),
    PATIENCE,
  );

const openAll = async (store: RedisStore, now: number): Promise<void> => {
  for (const key of KEYS) await store.open(aWindow(now, { key, address: key }), 3, now);
};

/** Of every key: open, closed, or not known. */
const lookAll = (store: RedisStore, now: number): Promise<('open' | 'closed' | 'unknown')[]> =>
  Promise.all(
    KEYS.map(async (key) => {
      try {
        return (await store.lookup(key, now)).length > 0 ? 'open' : 'closed';
      } catch (error) {
        if (error instanceof StoreError) return 'unknown';
        throw error;
      }
    }),
  );

/** From the death of a master on: never a wrong answer, at last the right one for all. */
const survives = async (
  t: Test,
  store: RedisStore,
  now: number,
  kill: () => Promise<void>,
): Promise<void> => {
  const seen = new Set<string>();
  const all = async (): Promise<boolean> => {
    const answers = await lookAll(store, now);
    for (const each of answers) seen.add(each);
    return answers.every((each) => each === 'open');
  };
  await eventually('every window is open', all, PATIENCE);
  seen.clear();
  await kill();
  await eventually('it is noticed', async () => !(await all()), PATIENCE);
  await eventually('every window is open again', all, PATIENCE);
  t.notOk(seen.has('closed'), 'no window was ever taken for closed');
  t.ok(seen.has('unknown'), 'some were unknown for a while');
  t.equal(await store.open(aWindow(now, { key: 'new' }), 3, now), 'opened');
  t.equal(await store.close({ login: 'alice' }, now), KEYS.length + 1, 'it takes changes');
};

t.test('a Cluster of three masters, one with a replica', { skip: none ?? false }, async (t) => {
  const conf = ['--cluster-enabled', 'yes', '--cluster-node-timeout', '60000', ...AT_ONCE, '--cluster-port'];
  const nodes: RedisServer[] = [];
  for (let i = 0; i < 4; i++) nodes.push(await RedisServer.start(t, [...conf, `${await freePort()}`]));
  const [first, second, third, replica] = nodes;
  if (first === undefined || second === undefined || third === undefined || replica === undefined) return;
  const at = ({ port }: RedisServer): string => `127.0.0.1:${port}`;
  const masters = [first, second, third].map(at);
  await redisCli(first.port, ['--cluster', 'create', ...masters, '--cluster-yes']);
  await redisCli(first.port, ['--cluster', 'add-node', at(replica), at(first), '--cluster-slave']);
  const said = (port: number, what: string, words: RegExp) =>
    eventually(`${words}`, async () => words.test(await redisCli(port, ['cluster', what])), PATIENCE);
  await said(replica.port, 'nodes', /myself,slave .* connected/);
  await follows(replica);
  const cluster = { port: first.port, cluster: true };
  let created = 0;
  stateStoreContract(t, 'cluster', (t) => ready(redisStore(t, { ...cluster, prefix: `t${++created}:` })));

  t.test('a master hangs and its replica takes over', async (t) => {
    const role = await redisCli(replica.port, ['role']);
    const master = nodes.find(({ port }) => role.split('\n').includes(`${port}`));
    const other = nodes.find((each) => each !== master && each !== replica);
    t.ok(master, 'whose replica it is');
    const now = Date.now();
    const events: SekishoEvent[] = [];
    // The first that it is told of is down already.
    const seeds = [{ host: '127.0.0.1', port: other?.port ?? 0 }];
    const store = await ready(
      redisStore(t, { ...cluster, port: 1, prefix: 'fail:', seeds, timeout: TIMEOUT }, events),
    );
    await openAll(store, now);
    if (master !== undefined) await caughtUp(master, replica);
    // So long it was, for on a busy machine a node is silent now and then.
    for (const { port } of nodes) await redisCli(port, ['config', 'set', 'cluster-node-timeout', '1500']);
    await survives(t, store, now, async () => master?.signal('SIGSTOP'));
  });
});

t.test('three Sentinels', { skip: none ?? false }, async (t) => {
  const master = await RedisServer.start(t, AT_ONCE);
  const replica = await RedisServer.start(t, [...AT_ONCE, '--replicaof', '127.0.0.1', `${master.port}`]);
  await follows(replica);
  const watchers = await Promise.all([1, 2, 3].map(() => RedisServer.sentinel(t, master.port, 2)));
  await eventually(
    'the sentinels know one another and the replica',
    async () => {
      const seen = await Promise.all(
        watchers.map(({ port }) => redisCli(port, ['sentinel', 'master', 'mymaster'])),
      );
      return seen.every((each) => /num-slaves\n1\n/.test(each) && /num-other-sentinels\n2\n/.test(each));
    },
    PATIENCE,
  );
  const sentinels = watchers.map(({ port }) => ({ host: '127.0.0.1', port }));
  let created = 0;
  stateStoreContract(t, 'sentinel', (t) => ready(redisStore(t, { sentinels, prefix: `t${++created}:` })));

  t.test('the master hangs, another is made one, and it comes back', async (t) => {
    const now = Date.now();
    const events: SekishoEvent[] = [];
    const store = await ready(redisStore(t, { sentinels, timeout: TIMEOUT }, events));
    await openAll(store, now);
    await caughtUp(master, replica);
    await watchClosely(watchers);
    await survives(t, store, now, async () => master.signal('SIGSTOP'));
    t.equal((await redisCli(replica.port, ['role'])).split('\n')[0], 'master');
    master.signal('SIGCONT');
    await eventually(
      'it follows now',
      // As it becomes one it throws everybody out.
      () =>
        redisCli(master.port, ['role']).then(
          (role) => role.startsWith('slave'),
          () => false,
        ),
      PATIENCE,
    );
    t.strictSame(new Set(await lookAll(store, now)), new Set(['closed']), 'as it was left');
    await openAll(store, now);
    await follows(master);
    await caughtUp(replica, master);
  });

  t.test('the master dies', async (t) => {
    const now = Date.now();
    const store = await ready(redisStore(t, { sentinels, timeout: TIMEOUT }));
    await openAll(store, now);
    await caughtUp(replica, master);
    await survives(t, store, now, () => replica.kill());
    t.equal((await redisCli(master.port, ['role'])).split('\n')[0], 'master');
  });
});
