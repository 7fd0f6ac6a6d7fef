/** What every state store must do, whatever it is made of. Time is the test's own, except in counts. */
import type { Test } from 'tap';
import type { StateStore } from '../../src/windows/store.js';
import type { Window } from '../../src/windows/window.js';
import { eventually } from '../support/sekisho.js';

const MINUTE = 60_000;

export const aWindow = (now: number, given: Partial<Window> = {}): Window => ({
  key: '192.0.2.1',
  address: '192.0.2.1',
  login: 'alice',
  source: 'pop3',
  since: now,
  until: now + 15 * MINUTE,
  used: 0,
  budget: 0,
  ...given,
});

/** Runs every test against a fresh, empty store. `create` sees to it that the store is disposed of. */
export const stateStoreContract = (
  t: Test,
  what: string,
  create: (t: Test) => StateStore | Promise<StateStore>,
): void => {
  // Real time, since stores may let things expire by their own clocks too.
  const now = Date.now();
  const test = (name: string, run: (t: Test, store: StateStore) => Promise<void>): void => {
    t.test(`${what}: ${name}`, async (t) => run(t, await create(t)));
  };

  test('a window is open until its time has come', async (t, store) => {
    t.strictSame(await store.lookup('192.0.2.1', now), []);
    const window = aWindow(now, { login: 'al ice:{}*"\u00e9', address: '192.0.2.1', budget: 7 });
    t.equal(await store.open(window, 3, now), 'opened');
    t.strictSame(await store.lookup('192.0.2.1', now), [window]);
    t.strictSame(await store.lookup('192.0.2.1', window.until - 1), [window]);
    t.strictSame(await store.lookup('192.0.2.1', window.until), []);
    t.strictSame(await store.lookup('192.0.2.10', now), []);
    t.strictSame(await store.list(10, window.until - 1), [window]);
    t.strictSame(await store.list(10, window.until), []);
    await eventually('the count', async () => (await store.size(now)) === 1);
    await eventually('the count', async () => (await store.size(window.until)) === 0);
    t.equal(await store.open(aWindow(window.until, { login: 'carol' }), 1, window.until), 'opened');
  });

  test('renewing keeps what was used and the later end', async (t, store) => {
    await store.open(aWindow(now, { budget: 5 }), 3, now);
    t.equal(await store.spend('192.0.2.1', 'alice', 2, now), true);
    const later = now + MINUTE;
    const newer = aWindow(later, { budget: 6, source: 'imap', address: '192.0.2.1' });
    t.equal(await store.open(newer, 3, later), 'renewed');
    t.strictSame(await store.lookup('192.0.2.1', later), [{ ...newer, since: now, used: 2 }]);
    t.equal(await store.open({ ...newer, until: later + 1 }, 3, later), 'renewed');
    t.equal((await store.lookup('192.0.2.1', later))[0]?.until, newer.until, 'the later end stays');
  });

  test('a key has room for so many logins', async (t, store) => {
    for (const [i, login] of ['a', 'b'].entries())
      t.equal(await store.open(aWindow(now, { login, until: now + MINUTE + i }), 2, now), 'opened');
    t.equal(await store.open(aWindow(now, { login: 'c' }), 2, now), 'full');
    t.strictSame(
      (await store.lookup('192.0.2.1', now)).map(({ login }) => login),
      ['b', 'a'],
      'the longest first',
    );
    t.equal(await store.open(aWindow(now, { login: 'a' }), 2, now), 'renewed');
    t.equal(await store.open(aWindow(now, { login: 'a' }), 1, now), 'renewed', 'its own window is no other');
    t.strictSame(
      (await store.lookup('192.0.2.1', now)).map(({ login }) => login),
      ['a', 'b'],
    );
    const after = now + MINUTE + 1;
    t.equal(await store.open(aWindow(after, { login: 'c' }), 2, after), 'opened', 'b has expired');
  });

  test('a budget is spent to the last recipient and no further', async (t, store) => {
    await store.open(aWindow(now, { budget: 3 }), 3, now);
    t.equal(await store.spend('192.0.2.1', 'alice', 4, now), false);
    t.equal(await store.spend('192.0.2.1', 'alice', 2, now), true);
    t.equal(await store.spend('192.0.2.1', 'alice', 2, now), false, 'nothing is taken');
    t.equal(await store.spend('192.0.2.1', 'alice', 1, now), true);
    t.equal(await store.spend('192.0.2.1', 'alice', 1, now), false);
    t.equal((await store.lookup('192.0.2.1', now))[0]?.used, 3);
    t.equal(await store.spend('192.0.2.1', 'bob', 1, now), false, 'no such window');
    t.equal(await store.spend('192.0.2.2', 'alice', 1, now), false, 'no such key');
    await store.open(aWindow(now, { login: 'bob' }), 3, now);
    t.equal(await store.spend('192.0.2.1', 'bob', 1_000, now), true, 'no bound');
    t.equal(await store.spend('192.0.2.1', 'bob', 1, now + 15 * MINUTE), false, 'closed');
  });

  test('many at once spend exactly the budget', async (t, store) => {
    await store.open(aWindow(now, { budget: 10 }), 3, now);
    const spent = await Promise.all(
      Array.from({ length: 25 }, () => store.spend('192.0.2.1', 'alice', 1, now)),
    );
    t.equal(spent.filter(Boolean).length, 10);
    const opened = await Promise.all(
      Array.from({ length: 10 }, (_, i) => store.open(aWindow(now, { login: `l${i}` }), 4, now)),
    );
    t.equal(opened.filter((each) => each === 'opened').length, 3);
  });

  test('windows are closed by key, by login, by both', async (t, store) => {
    const fill = async (): Promise<void> => {
      for (const key of ['192.0.2.1', '192.0.2.2', '2001:db8:0:1::/64'])
        for (const login of ['alice', 'bob']) await store.open(aWindow(now, { key, login }), 3, now);
    };
    const left = async (): Promise<string[]> =>
      (await store.list(100, now)).map(({ key, login }) => `${login}@${key}`).sort();
    await fill();
    t.equal(await store.close({ key: '192.0.2.1', login: 'alice' }, now), 1);
    t.equal(await store.close({ key: '192.0.2.1', login: 'alice' }, now), 0);
    t.equal((await left()).length, 5);
    t.equal(await store.close({ login: 'bob' }, now), 3);
    t.strictSame(await left(), ['alice@192.0.2.2', 'alice@2001:db8:0:1::/64']);
    t.equal(await store.close({ key: '2001:db8:0:1::/64' }, now), 1);
    t.strictSame(await left(), ['alice@192.0.2.2']);
    t.equal(await store.close({ login: 'nobody' }, now), 0);
    await fill();
    t.equal(await store.close({ login: 'alice' }, now), 3, 'at every key');
    await fill();
    t.equal((await store.list(4, now)).length, 4, 'at most so many');
    t.equal(await store.close({}, now), 6);
    t.strictSame(await left(), []);
  });

  test('marks', async (t, store) => {
    const mark = { key: 'al ice:{}*', value: '{"why":"\u00e9"}', until: now + MINUTE };
    t.equal(await store.marked('suspended', mark.key, now), undefined);
    await store.mark('suspended', mark, now);
    t.strictSame(await store.marked('suspended', mark.key, now), mark);
    t.equal(await store.marked('banned', mark.key, now), undefined, 'kinds are apart');
    t.equal(await store.marked('suspended', mark.key, mark.until), undefined);
    const forever = { key: 'bob', value: '', until: Number.POSITIVE_INFINITY };
    await store.mark('suspended', forever, now);
    t.strictSame(await store.marked('suspended', 'bob', now + 1e12), forever);
    await store.mark('suspended', { ...mark, value: 'new' }, now);
    const sorted = [...(await store.marks('suspended', 10, now))].sort((a, b) => (a.key < b.key ? -1 : 1));
    t.strictSame(sorted, [{ ...mark, value: 'new' }, forever]);
    t.equal((await store.marks('suspended', 1, now)).length, 1);
    t.strictSame(await store.marks('suspended', 10, mark.until), [forever]);
    t.equal(await store.unmark('suspended', 'bob', now), true);
    t.equal(await store.unmark('suspended', 'bob', now), false);
    t.equal(await store.unmark('suspended', mark.key, mark.until), false, 'expired');
  });

  test('a mark that is set once', async (t, store) => {
    const first = { key: 'al ice:{}*', value: 'first', until: now + MINUTE };
    t.equal(await store.markOnce('greylist', first, now), undefined);
    t.strictSame(await store.markOnce('greylist', { ...first, value: 'second' }, now), first);
    t.strictSame(await store.marked('greylist', first.key, now), first);
    const forever = { ...first, value: 'third', until: Number.POSITIVE_INFINITY };
    t.equal(await store.markOnce('greylist', forever, first.until), undefined, 'the first has expired');
    t.strictSame(await store.markOnce('greylist', first, now + 1e12), forever);
    t.equal(await store.markOnce('banned', first, now), undefined, 'kinds are apart');
    const raced = Array.from({ length: 20 }, (_, i) => ({ ...first, key: 'raced', value: `${i}` }));
    const won = await Promise.all(raced.map((each) => store.markOnce('greylist', each, now)));
    t.equal(won.filter((each) => each === undefined).length, 1, 'one of many is the first');
    t.equal(new Set(won.flatMap((each) => each?.value ?? [])).size, 1, 'and all others are told so');
  });

  test('counts', async (t, store) => {
    t.strictSame(await store.count('k', 0, MINUTE, now), { used: 0, resetIn: 0 });
    const first = await store.count('k', 2, MINUTE, now);
    t.equal(first.used, 2);
    t.ok(first.resetIn > MINUTE - 10_000 && first.resetIn <= MINUTE, `resets in ${first.resetIn} ms`);
    t.equal((await store.count('k', 3, MINUTE, now)).used, 5);
    const looked = await store.count('k', 0, MINUTE, now);
    t.equal(looked.used, 5);
    t.ok(looked.resetIn > 0 && looked.resetIn <= first.resetIn, 'the period began with the first');
    t.equal((await store.count('other', 1, MINUTE, now)).used, 1);
    const many = await Promise.all(Array.from({ length: 20 }, () => store.count('k', 1, MINUTE, now)));
    t.equal(Math.max(...many.map(({ used }) => used)), 25, 'none is lost');
    t.equal(new Set(many.map(({ used }) => used)).size, 20, 'each sees its own');
  });

  test('a count of a month', async (t, store) => {
    const month = 30 * 86_400_000;
    const near = (resetIn: number): boolean => resetIn > month - MINUTE && resetIn <= month;
    const first = await store.count('month', 2, month, now);
    t.equal(first.used, 2);
    t.ok(near(first.resetIn), `${first.resetIn} ms`);
    // A timer that overflows would fire within a millisecond or two.
    await new Promise((resolve) => setTimeout(resolve, 20));
    const looked = await store.count('month', 0, month, now);
    t.equal(looked.used, 2);
    t.ok(near(looked.resetIn), `${looked.resetIn} ms`);
    t.equal((await store.count('month', 3, month, now)).used, 5);
    await store.uncount('month');
    t.strictSame(await store.count('month', 0, month, now), { used: 0, resetIn: 0 });
  });

  test('a count begins anew after its period', async (t, store) => {
    t.equal((await store.count('short', 7, 300, now)).used, 7);
    await eventually('the count', async () => (await store.count('short', 0, 300, now)).used === 0);
    t.equal((await store.count('short', 1, 300, now)).used, 1);
    t.equal((await store.count('long', 7, MINUTE, now)).used, 7);
    await store.uncount('long');
    await store.uncount('long');
    t.strictSame(await store.count('long', 0, MINUTE, now), { used: 0, resetIn: 0 });
    t.equal((await store.count('long', 1, MINUTE, now)).used, 1);
  });

  test('it answers', async (t, store) => {
    await t.resolves(store.ping());
    t.match(store.name, /^[\x20-\x7e]+$/);
  });
};
