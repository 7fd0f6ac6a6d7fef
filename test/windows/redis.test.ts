/** The store in Redis and in Valkey, against real servers: the contract, and what happens when the server is ill. */
import { readFileSync } from 'node:fs';
import t, { type Test } from 'tap';
import type { SekishoEvent } from '../../src/base/events.js';
import { StoreError } from '../../src/windows/store.js';
import type { RedisStore } from '../../src/windows/stores/redis.js';
import { aWindow, stateStoreContract } from '../contract/state-store.js';
import { authority, signed } from '../support/certificates.js';
import { install, noPackages } from '../support/packages.js';
import { folder } from '../support/process.js';
import { RedisServer, ready, redisCli, redisStore, TIMEOUT, valkeyServer } from '../support/redis-server.js';
import { eventually } from '../support/sekisho.js';

const none = noPackages();
if (none !== undefined) console.log(`# the tests of Redis are skipped: it ${none}`);
else await install(['redis-server']);

t.setTimeout(900_000);

/** Asks everything, and returns how each question failed and how long the slowest took, ms. */
const askAll = async (store: RedisStore): Promise<{ errors: unknown[]; took: number }> => {
  const now = Date.now();
  const begun = performance.now();
  const mark = { key: 'k', value: '', until: now + 60_000 };
  const asked = await Promise.allSettled<unknown>([
    ...[store.open(aWindow(now), 3, now), store.lookup('k', now), store.spend('k', 'alice', 1, now)],
    ...[store.close({}, now), store.close({ login: 'a' }, now), store.list(1, now), store.size(now)],
    ...[store.mark('banned', mark, now), store.marked('banned', 'k', now), store.unmark('banned', 'k', now)],
    ...[store.markOnce('banned', mark, now), store.marks('banned', 1, now)],
    ...[store.count('k', 1, 1_000), store.uncount('k'), store.ping()],
  ]);
  const errors = asked.map((each) => (each.status === 'rejected' ? each.reason : each.value));
  return { errors, took: performance.now() - begun };
};

const OPERATIONS = [
  ...['open', 'lookup', 'spend', 'close', 'close', 'list', 'list', 'mark', 'mark', 'mark', 'mark'],
  ...['mark', 'count', 'count', 'connect'],
];

const allFail = (t: Test, errors: readonly unknown[], what: string): void =>
  void t.strictSame(
    errors.map((each) => (each instanceof StoreError ? each.operation : each)),
    OPERATIONS,
    what,
  );

t.test('against a real server', { skip: none ?? false }, async (t) => {
  const { port } = await RedisServer.start(t);
  let created = 0;
  // The * must not find the others' keys.
  const fresh = (t: Test): Promise<RedisStore> => ready(redisStore(t, { port, prefix: `t${++created}[*:` }));
  stateStoreContract(t, 'redis', fresh);

  t.test('hosts see one another at once, and other prefixes and databases not', async (t) => {
    const [one, two] = [await ready(redisStore(t, { port })), await ready(redisStore(t, { port }))];
    const now = Date.now();
    await one.open(aWindow(now), 3, now);
    t.equal((await two.lookup('192.0.2.1', now)).length, 1, 'by the time it is acknowledged');
    t.equal(await two.close({ login: 'alice' }, now), 1);
    t.strictSame(await one.lookup('192.0.2.1', now), []);
    await one.open(aWindow(now), 3, now);
    t.equal(await two.size(now), 1);
    for (const given of [{ prefix: 'sekish?:' }, { db: 1 }, { prefix: '' }]) {
      const other = await ready(redisStore(t, { port, ...given }));
      t.equal(await other.size(now), 0);
      t.strictSame(await other.lookup('192.0.2.1', now), []);
    }
  });

  t.test('more than a page of windows', async (t) => {
    const store = await ready(redisStore(t, { port, prefix: 'many:' }));
    const now = Date.now();
    const keys = Array.from({ length: 1_200 }, (_, i) => `k${i}`);
    await Promise.all(keys.map((key) => store.open(aWindow(now, { key }), 3, now)));
    t.equal(await store.size(now), 1_200);
    t.equal((await store.list(700, now)).length, 700);
    t.equal(await store.close({ login: 'alice' }, now), 1_200);
    t.equal(await store.size(now), 0);
  });
});

t.test('a server that hangs, dies and comes back empty', { skip: none ?? false }, async (t) => {
  const server = await RedisServer.start(t);
  const events: SekishoEvent[] = [];
  const store = await ready(redisStore(t, { port: server.port, timeout: TIMEOUT }, events));
  const now = Date.now();
  await store.open(aWindow(now), 3, now);

  server.signal('SIGSTOP');
  const hung = await askAll(store);
  allFail(t, hung.errors, 'it hangs');
  t.ok(hung.took >= TIMEOUT && hung.took < 20 * TIMEOUT, `it took ${hung.took} ms`);
  // For so long that the client hangs up and tries anew, in vain.
  await eventually('it is told', () => events.some((each) => each.type === 'warning'));
  allFail(t, (await askAll(store)).errors, 'it still hangs');
  server.signal('SIGCONT');
  await ready(store);
  t.equal((await store.lookup('192.0.2.1', now)).length, 1, 'it goes on');
  t.match(events.at(-1), { type: 'warning', text: /connected, after: / }, 'nothing was lost');

  await server.kill();
  // A question may fail on the dead connection before its end is told.
  await eventually('it is gone', () =>
    store.ping().then(
      () => false,
      (error) => /no connection/.test(String(error)),
    ),
  );
  const dead = await askAll(store);
  allFail(t, dead.errors, 'it is dead');
  t.ok(
    dead.errors.every((each) => /no connection/.test(String(each))),
    'told at once, without a wait for an answer',
  );
  await server.restart();
  await ready(store);
  t.strictSame(await store.lookup('192.0.2.1', now), [], 'it is empty');
  t.equal(await store.open(aWindow(now), 3, now), 'opened', 'the scripts are sent anew');
  const lost = /it has lost what it knew: windows, suspensions and counts begin anew/;
  await eventually('it is told', () =>
    events.some((each) => each.type === 'warning' && lost.test(each.text)),
  );
});

/** As the README has it. */
const RIGHTS = /^user sekisho on (.*) >PASSWORD$/m
  .exec(readFileSync('README.md', 'utf8'))?.[1]
  ?.split(' ') ?? ['the README has no such line'];

t.test('users, passwords and secrets', { skip: none ?? false }, async (t) => {
  const user = ['--user', 'sekisho', 'on', '>s3cret', ...RIGHTS];
  const { port } = await RedisServer.start(t, [...user, '--user', 'default', 'on', '>4dmin', '~*', '+@all']);
  const events: SekishoEvent[] = [];
  const login = { port, username: 'sekisho' };
  for (const db of [0, 1]) {
    const good = await ready(redisStore(t, { ...login, password: 's3cret', db }));
    const { errors } = await askAll(good);
    t.strictSame(
      errors.filter((each) => each instanceof Error),
      [],
      'the rights that the README lists are enough',
    );
  }
  const denied = await redisCli(port, ['acl', 'log'], ['--no-auth-warning', '-a', '4dmin']);
  t.equal(denied.trim(), '', 'and nothing else was tried');
  const asSekisho = ['--no-auth-warning', '--user', 'sekisho', '-a', 's3cret'];
  for (const command of ['flushall', 'keys *', 'config get *', 'get other', 'client list'])
    t.match(await redisCli(port, command.split(' '), asSekisho), /NOPERM/, command);

  const bad = redisStore(t, { ...login, password: 'wr0ng' }, events);
  await eventually('it is told', () => events.length > 0);
  const failed = await askAll(bad);
  allFail(t, failed.errors, 'a wrong password');
  const said = [
    ...failed.errors.map((each) => JSON.stringify(each) + String(each)),
    JSON.stringify(events),
  ].join();
  t.match(said, /WRONGPASS/);
  t.notMatch(said + bad.name, /wr0ng/);
});

t.test('TLS both ways, an ACL, and Valkey', { skip: none ?? false }, async (t) => {
  const dir = folder(t);
  const ca = authority(dir, 'ca');
  const names = { subject: '/CN=redis', names: 'IP:127.0.0.1' };
  const server = signed(dir, 'server', ca, names);
  const own = signed(dir, 'own', ca, { subject: '/CN=sekisho', names: 'DNS:sekisho' });
  const stranger = authority(dir, 'stranger');
  const foreign = signed(dir, 'foreign', stranger, { subject: '/CN=sekisho', names: 'DNS:sekisho' });
  const pem = (file: string): string => readFileSync(file, 'utf8');
  const identity = { cert: pem(own.cert), key: pem(own.key) };
  const files = ['--tls-cert-file', server.cert, '--tls-key-file', server.key, '--tls-ca-cert-file', ca.cert];
  const user = ['--user', 'default', 'off', '--user', 'sekisho', 'on', '>s3cret', ...RIGHTS];
  const valkey = await valkeyServer();
  if (valkey === undefined) t.comment('Valkey cannot be had here: Redis in its place');
  const { port } = await RedisServer.start(t, [...files, ...user], {
    binary: valkey ?? 'redis-server',
    tls: true,
  });
  const good = { port, tls: true, ca: pem(ca.cert), identity, username: 'sekisho', password: 's3cret' };
  let created = 0;
  stateStoreContract(t, valkey === undefined ? 'redis over TLS' : 'valkey over TLS', (t) =>
    ready(redisStore(t, { ...good, prefix: `sekisho:t${++created}:` })),
  );

  t.test('who is not vouched for', async (t) => {
    const cases: Readonly<Record<string, [Parameters<typeof redisStore>[1], RegExp]>> = {
      'a server of an unknown authority': [{ ...good, ca: pem(stranger.cert) }, /certificate/],
      'a server of another name': [{ ...good, host: 'localhost' }, /Hostname.*does not match|altnames/],
      'clear text': [{ ...good, tls: false }, /./],
    };
    for (const [what, [given, why]] of Object.entries(cases)) {
      const events: SekishoEvent[] = [];
      const store = redisStore(t, given, events);
      await eventually(what, () => events.length > 0);
      t.match(events[0], { type: 'warning', text: why }, what);
      allFail(t, (await askAll(store)).errors, what);
    }
    const { identity: _, ...nobody } = good;
    const strangers = [nobody, { ...good, identity: { cert: pem(foreign.cert), key: pem(foreign.key) } }];
    for (const given of strangers) {
      const store = redisStore(t, given);
      allFail(t, (await askAll(store)).errors, 'a client without a certificate that counts');
    }
  });
});
