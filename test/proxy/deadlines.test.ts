/** Which deadline a client has missed, and the one ticker of all that have some. */
import t from 'tap';
import { Deadlines, overdue } from '../../src/proxy/deadlines.js';
import { REPLIES } from '../../src/smtp/reply.js';
import { eventually } from '../support/sekisho.js';

const TIMEOUTS = { command: 10, idle: 20, session: 30 };

t.test('each deadline to the millisecond, the nearest cause first', async (t) => {
  const begun = { command: 100, idle: 100, session: 100 };
  const missed = (now: number, more: Partial<typeof begun> = {}, inTransaction = false) =>
    overdue(now, { ...begun, ...more }, TIMEOUTS, inTransaction);
  t.equal(missed(109), undefined);
  t.equal(missed(110), REPLIES.commandTimeout);
  t.equal(missed(119, { command: 119 }), undefined);
  t.equal(missed(120, { command: 120 }), REPLIES.idleTimeout);
  t.equal(missed(120), REPLIES.commandTimeout, 'a half line before the silence');
  const busy = { command: 130, idle: 130 };
  t.equal(missed(129, busy), undefined);
  t.equal(missed(130, busy), REPLIES.sessionTimeout);
  t.equal(missed(130, busy, true), undefined, 'a transaction is let finish');
  t.equal(missed(130, { command: 120 }, true), REPLIES.commandTimeout, 'not one that stands still');
});

t.test('whoever has deadlines is ticked, until it has none', async (t) => {
  const deadlines = new Deadlines(5);
  t.teardown(() => deadlines.stop());
  const ticks: number[] = [];
  const one = { tick: (now: number) => ticks.push(now) };
  let left = 0;
  const other = {
    tick: () => {
      left += 1;
      deadlines.delete(other);
    },
  };
  deadlines.add(one);
  deadlines.add(other);
  deadlines.add(one);
  t.equal(deadlines.size, 2);
  // The ticker keeps no process alive; the test does.
  await eventually('ticks', () => ticks.length >= 3);
  t.equal(left, 1, 'one may go in its own tick');
  t.strictSame(
    ticks,
    [...ticks].sort((a, b) => a - b),
    'by a clock that never goes back',
  );
  deadlines.stop();
  const then = ticks.length;
  await new Promise((resolve) => setTimeout(resolve, 50));
  t.equal(ticks.length, then, 'and no more after the end');
  deadlines.add(one);
  await eventually('it begins anew with the next', () => ticks.length > then);
});
