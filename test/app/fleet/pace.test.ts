/** How long the next process waits for the one that has ended. */
import t from 'tap';
import { Pace } from '../../../src/app/fleet/pace.js';

t.test('after short lives ever longer, and then there is no hope', async (t) => {
  const pace = new Pace();
  t.strictSame(
    [1, 2, 3, 4, 5].map(() => pace.ended(9_999)),
    [100, 200, 400, 800, 1_600],
  );
  t.equal(pace.hopeless, false);
  t.equal(pace.ended(0), 3_200);
  t.equal(pace.hopeless, true);
  t.strictSame(
    [1, 2, 3, 4].map(() => pace.ended(0)),
    [6_400, 12_800, 25_600, 30_000],
    'up to a bound',
  );
  for (let i = 0; i < 2_000; i += 1) pace.ended(0);
  t.equal(pace.ended(0), 30_000, 'however many there were');
});

t.test('after a long life at once, and all is forgotten', async (t) => {
  const pace = new Pace();
  for (let i = 0; i < 6; i += 1) pace.ended(10);
  t.equal(pace.ended(10_000), 0);
  t.equal(pace.hopeless, false);
  t.equal(pace.ended(10), 100);
});
