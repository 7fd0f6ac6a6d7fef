/** Places for connections: in all and for each client, with those that other processes have. */
import t from 'tap';
import { Admission } from '../../src/base/admission.js';

const ONE = '192.0.2.1';
const TWO = '2001:db8:0:1::/64';

const admission = (connections: number, connectionsPerAddress: number): Admission =>
  new Admission({ connections, connectionsPerAddress });

t.test('at the limit of each, and one past it', async (t) => {
  const places = admission(3, 2);
  t.strictSame(
    [ONE, ONE, ONE].map((key) => places.enter(key)),
    [undefined, undefined, 'per-address'],
  );
  t.equal(places.enter(TWO), undefined, 'who was turned away has taken no place');
  t.equal(places.enter(TWO), 'total');
  t.strictSame(places.present(2), {
    total: 3,
    addresses: [
      [ONE, 2],
      [TWO, 1],
    ],
  });
});

t.test('a place is given back to both', async (t) => {
  const places = admission(2, 1);
  t.equal(places.enter(ONE), undefined);
  t.equal(places.enter(ONE), 'per-address');
  places.leave(ONE);
  t.strictSame(places.present(1), { total: 0, addresses: [] }, 'nothing is kept of whoever is gone');
  t.equal(places.enter(ONE), undefined);
  const many = admission(9, 3);
  for (let i = 0; i < 3; i += 1) many.enter(ONE);
  for (let i = 0; i < 2; i += 1) many.leave(ONE);
  for (let i = 0; i < 2; i += 1) t.equal(many.enter(ONE), undefined, 'two places of three');
  t.equal(many.enter(ONE), 'per-address');
});

t.test('whose a place is may come to light later', async (t) => {
  const places = admission(2, 1);
  t.strictSame([places.enter(undefined), places.enter(undefined)], [undefined, undefined]);
  t.equal(places.enter(undefined), 'total');
  t.equal(places.name(ONE), undefined);
  t.equal(places.name(ONE), 'per-address');
  // Who cannot be named leaves without a name.
  places.leave(undefined);
  t.strictSame(places.present(1), { total: 1, addresses: [[ONE, 1]] });
  places.leave(ONE);
  t.strictSame(places.present(1), { total: 0, addresses: [] });
});

t.test('what others have counts, as they told last', async (t) => {
  const places = admission(4, 2);
  places.elsewhere({ total: 3, addresses: [[ONE, 1]] });
  t.equal(places.enter(ONE), undefined);
  t.equal(places.enter(TWO), 'total');
  places.elsewhere({ total: 1, addresses: [[ONE, 1]] });
  t.equal(places.enter(ONE), 'per-address');
  t.equal(places.enter(TWO), undefined);
  places.elsewhere({ total: 0, addresses: [] });
  t.equal(places.enter(ONE), undefined, 'what they had is no more');
  t.strictSame(
    places.present(1),
    {
      total: 3,
      addresses: [[ONE, 2]],
    },
    'only the own ones are told on',
  );
});

t.test('of those with few connections others are not told', async (t) => {
  const places = admission(5_000, 10);
  for (let i = 0; i < 5; i += 1) places.enter(ONE);
  for (let i = 0; i < 4; i += 1) places.enter(TWO);
  t.strictSame(places.present(2), { total: 9, addresses: [[ONE, 5]] }, 'half of what they may');
  t.equal(places.present(100).addresses.length, 2, 'one at least');
  for (let i = 0; i < 1_001; i += 1) places.enter(`198.51.100.${i}`);
  t.equal(places.present(100).addresses.length, 1_000, 'nor of more than so many');
});
