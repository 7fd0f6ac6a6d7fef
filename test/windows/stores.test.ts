/** The state stores against their contract, and what each of them has of its own. */
import fc from 'fast-check';
import t from 'tap';
import type { SekishoEvent } from '../../src/base/events.js';
import { IpSet, parseCidr, parseIp } from '../../src/base/ip.js';
import { Windows } from '../../src/windows/keeper.js';
import { StoreError } from '../../src/windows/store.js';
import { MemoryStore } from '../../src/windows/stores/memory.js';
import { KeysOfLogins } from '../../src/windows/stores/memory-logins.js';
import { openIn, spendIn, type Window, windowKey } from '../../src/windows/window.js';
import { aWindow, stateStoreContract } from '../contract/state-store.js';

const ip = (text: string) => {
  const parsed = parseIp(text);
  if (parsed === undefined) throw new Error(text);
  return parsed;
};

const networks = (...texts: string[]): IpSet =>
  IpSet.of(
    texts.flatMap((text) => {
      const cidr = parseCidr(text);
      return cidr.ok ? [cidr.value] : [];
    }),
  );

stateStoreContract(t, 'memory', (t) => {
  const store = new MemoryStore();
  t.teardown(() => store.dispose());
  return store;
});

t.test('memory: the keys of a login, one and several, and nothing left of those that are gone', async (t) => {
  const keys = new KeysOfLogins();
  const of = (login: string): string[] => [...keys.of(login)].sort();
  t.strictSame(of('alice'), []);
  for (const key of ['192.0.2.1', '192.0.2.1']) keys.add('alice', key);
  keys.delete('alice', '192.0.2.2');
  t.strictSame(of('alice'), ['192.0.2.1']);
  for (const key of ['192.0.2.2', '192.0.2.3', '192.0.2.2']) keys.add('alice', key);
  keys.add('bob', '192.0.2.1');
  t.strictSame(of('alice'), ['192.0.2.1', '192.0.2.2', '192.0.2.3']);
  for (const key of ['192.0.2.1', '192.0.2.3']) keys.delete('alice', key);
  t.strictSame(of('alice'), ['192.0.2.2']);
  for (const login of ['alice', 'bob']) for (const key of ['192.0.2.1', '192.0.2.2']) keys.delete(login, key);
  t.strictSame([of('alice'), of('bob')], [[], []]);
});

t.test('memory: bounds, and one past them', async (t) => {
  const store = new MemoryStore({ windows: 2, marks: 2, counts: 2 });
  t.teardown(() => store.dispose());
  const until = 1_000;
  await store.open(aWindow(0, { key: 'a', until }), 3, 0);
  await store.open(aWindow(0, { key: 'b', until }), 3, 0);
  await t.rejects(store.open(aWindow(0, { key: 'c' }), 3, 0), StoreError);
  t.equal(await store.open(aWindow(0, { key: 'b', until }), 3, 0), 'renewed', 'a full store renews');
  t.equal(await store.open(aWindow(until, { key: 'c' }), 3, until), 'opened', 'expired ones make room');
  for (const key of ['a', 'b']) await store.mark('greylist', { key, value: '', until }, 0);
  await t.rejects(store.mark('greylist', { key: 'c', value: '', until }, 0), StoreError);
  await store.mark('suspended', { key: 'c', value: '', until }, 0);
  await store.mark('greylist', { key: 'b', value: 'again', until }, 0);
  await store.mark('greylist', { key: 'c', value: '', until: 2_000 }, until);
  for (const key of ['a', 'b', 'a', 'c']) await store.count(key, 1, 60_000);
  t.equal((await store.count('a', 0, 60_000)).used, 2, 'what is used stays');
  t.equal((await store.count('b', 0, 60_000)).used, 0, 'the least recently used is forgotten');
});

t.test('windows of one key: nothing that is open is lost, nobody gets past the bounds', async (t) => {
  const step = fc.record({
    login: fc.constantFrom('a', 'b', 'c', 'd'),
    wait: fc.integer({ min: 0, max: 50 }),
    length: fc.integer({ min: 1, max: 100 }),
    spend: fc.integer({ min: 0, max: 4 }),
    budget: fc.integer({ min: 0, max: 5 }),
  });
  fc.assert(
    fc.property(fc.array(step, { maxLength: 30 }), fc.integer({ min: 1, max: 3 }), (steps, most) => {
      let held: readonly Window[] = [];
      let now = 0;
      for (const { login, wait, length, spend, budget } of steps) {
        now += wait;
        const before = held.filter(({ until }) => until > now);
        const window = aWindow(now, { login, until: now + length, budget });
        const { result, windows } = openIn(held, window, most, now);
        const others = before.filter((each) => each.login !== login);
        if (result === 'full') {
          if (others.length < most || windows.length !== before.length) return false;
        } else if (windows.length !== others.length + 1 || others.length > Math.max(most, 2)) return false;
        held = spendIn(windows, login, spend, now) ?? windows;
        if (new Set(held.map((each) => each.login)).size !== held.length) return false;
      }
      return true;
    }),
  );
  t.pass('held');
});

t.test('the keeper opens, renews, refuses and closes, and says so', async (t) => {
  const events: SekishoEvent[] = [];
  const store = new MemoryStore();
  let now = 1_000;
  const options = { length: 900_000, budget: 9, mostLogins: 2, shared: networks('198.51.100.0/24') };
  const windows = new Windows(
    store,
    options,
    (event) => events.push(event),
    () => now,
  );
  const home = ip('2001:db8:0:1::5');
  t.equal(await windows.open('alice', home, 'pop3'), 'opened');
  now += 1_000;
  t.equal(await windows.open('alice', ip('2001:db8:0:1::6'), 'imap'), 'renewed', 'the same /64');
  t.strictSame(await store.lookup(windowKey(home), now), [
    {
      ...{ key: '2001:db8:0:1::/64', address: '2001:db8:0:1::6', login: 'alice', source: 'imap' },
      ...{ since: 1_000, until: 902_000, used: 0, budget: 9 },
    },
  ]);
  for (const [address, login] of [
    ['100.64.0.0', 'alice'],
    ['100.127.255.255', 'alice'],
    ['::ffff:100.64.0.1', 'alice'],
    ['198.51.100.7', 'alice'],
    ['192.0.2.1', ''],
    ['192.0.2.1', 'x'.repeat(256)],
  ] as const)
    t.equal(await windows.open(login, ip(address), 'log'), 'refused', `${login}@${address}`);
  for (const address of ['100.63.255.255', '100.128.0.0', '198.51.101.0'])
    t.equal(await windows.open('x'.repeat(255), ip(address), 'log'), 'opened', address);
  t.equal(await windows.open('bob', home, 'pop3'), 'opened');
  t.equal(await windows.open('carol', home, 'pop3'), 'refused', 'a third login');
  t.match(events.at(-1), { type: 'window-refused', login: 'carol', why: /2 other logins/ });
  await store.mark('suspended', { key: 'bob', value: 'spam', until: Number.POSITIVE_INFINITY }, now);
  t.equal(await windows.open('bob', ip('192.0.2.9'), 'smtp-auth'), 'refused');
  t.match(events.at(-1), { type: 'window-refused', login: 'bob', why: /suspended/ });
  t.equal(await windows.close({ ip: home, login: 'bob' }, 'by hand'), 1);
  t.match(events.at(-1), { type: 'window-closed', login: 'bob', address: home.text, why: 'by hand' });
  t.equal((await windows.list(10))?.length, 4);
  t.equal(await windows.close({ login: 'nobody' }, 'by hand'), 0);
  t.equal(events.filter(({ type }) => type === 'window-closed').length, 1);
});

t.test('the keeper of a store that is down says so and never rejects', async (t) => {
  const events: SekishoEvent[] = [];
  class Down extends MemoryStore {
    override async marked(): Promise<never> {
      throw new StoreError('mark', 'down');
    }
    override async close(): Promise<never> {
      throw new Error('a fault of ours');
    }
  }
  const options = { length: 1, budget: 0, mostLogins: 1, shared: networks() };
  let now = 0;
  // A clock that ticks at every look: a window of one millisecond must not be over before it is opened.
  const windows = new Windows(
    new Down(),
    options,
    (event) => events.push(event),
    () => now++,
  );
  t.equal(await windows.open('alice', ip('192.0.2.1'), 'api'), 'unknown');
  t.equal(await windows.close({}, 'by hand'), undefined);
  t.strictSame(
    events.map(({ type }) => type),
    ['store-error', 'internal-error'],
  );
});
