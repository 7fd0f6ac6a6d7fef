/** Answers of several processes as one: what is added up, what is put in order, what the worst of them decides. */
import t from 'tap';
import { PLANS } from '../../../src/app/fleet/merge.js';

type Json = Readonly<Record<string, unknown>>;

/** What all of these say together. */
const together = (route: string, bodies: readonly Json[], query = ''): Json => {
  const plan = PLANS[route];
  if (plan?.kind !== 'all') throw new Error(`${route} is not asked of all`);
  return plan.merge(bodies, new URLSearchParams(query));
};

t.test('sessions: the oldest first, no more than asked for, all of them counted', async (t) => {
  const at = (since: string): Json => ({ since, id: since });
  const bodies = [
    { total: 3, sessions: [at('2026-11-29T10:00:00Z'), at('2026-11-29T10:00:02Z')] },
    { total: 4, sessions: [at('2026-11-29T10:00:01Z')] },
  ];
  t.strictSame(together('GET /api/v1/sessions', bodies, 'limit=2'), {
    total: 7,
    sessions: [at('2026-11-29T10:00:00Z'), at('2026-11-29T10:00:01Z')],
  });
  const many = Array.from({ length: 150 }, (_, i) => at(String(i).padStart(3, '0')));
  const all = together('GET /api/v1/sessions', [{ total: 150, sessions: many }, {}]);
  t.equal(all.total, 150, 'one that answers otherwise has none');
  t.strictSame(all.sessions, many.slice(0, 100));
});

t.test('decisions: the newest first', async (t) => {
  const bodies = [{ decisions: [{ id: 9 }, { id: 2 }] }, { decisions: [{ id: 10 }, { id: 3 }] }];
  t.strictSame(together('GET /api/v1/decisions', bodies, 'limit=3'), {
    decisions: [{ id: 10 }, { id: 9 }, { id: 3 }],
  });
});

t.test('history: minute by minute, on whichever side of its end each was asked', async (t) => {
  const body = (from: string, series: Json): Json => ({ from, stepSeconds: 60, series });
  t.strictSame(
    together('GET /api/v1/history', [
      body('2026-11-29T10:00:00.000Z', { relay: [1, 2, 3], refused: [7, 8, 9] }),
      body('2026-11-29T10:01:00.000Z', { relay: [10, 20, 30] }),
    ]),
    body('2026-11-29T10:01:00.000Z', { relay: [12, 23, 30], refused: [8, 9, 0] }),
  );
});

t.test('limits: who has most by all of them', async (t) => {
  const bodies = [
    {
      since: '2026-11-29T10:00:05Z',
      logins: [{ login: 'bob', accepted: 2, refused: 9 }],
      addresses: [{ address: '192.0.2.1', accepted: 4, refused: 0 }],
    },
    {
      since: '2026-11-29T10:00:00Z',
      logins: [
        { login: 'carol', accepted: 3, refused: 1 },
        { login: 'bob', accepted: 2, refused: 0 },
      ],
      addresses: [],
    },
  ];
  const route = 'GET /api/v1/limits';
  const [bob, carol] = [
    { login: 'bob', accepted: 4, refused: 9 },
    { login: 'carol', accepted: 3, refused: 1 },
  ];
  t.match(together(route, bodies), { since: '2026-11-29T10:00:00Z', logins: [bob, carol] });
  t.strictSame(together(route, bodies, 'limit=1').logins, [bob]);
  const later = [{ logins: [{ login: 'bob', accepted: 9, refused: 0 }] }, { logins: [carol] }];
  t.match(together(route, later, 'by=refused').logins, [{ login: 'carol' }, { login: 'bob' }]);
  t.equal(PLANS[route]?.kind === 'all' && PLANS[route].most, '1000', 'each is asked for more than is shown');
});

t.test('upstreams: no better than the worst of them sees it', async (t) => {
  const upstream = (state: string, busy: number, reason = ''): Json => ({
    ...{ name: 'old', port: 25, state, busy },
    ...(reason === '' ? {} : { reason }),
  });
  const seen = (...all: readonly Json[]): unknown =>
    together(
      'GET /api/v1/upstreams',
      all.map((each) => ({ upstreams: [each] })),
    ).upstreams;
  t.strictSame(seen(upstream('up', 1), upstream('up', 2)), [upstream('up', 3)], 'a port is no count');
  t.strictSame(seen(upstream('up', 1), upstream('down', 2, 'gone')), [upstream('down', 3, 'gone')]);
  t.match(seen(upstream('down', 0), upstream('draining', 0)), [{ state: 'draining' }]);
  t.match(seen(upstream('up', 0), upstream('unknown', 0)), [{ state: 'unknown' }]);
  t.match(
    together('POST /api/v1/upstreams/:name/drain', [upstream('draining', 1), upstream('draining', 2)]),
    upstream('draining', 3),
  );
  const two = [{ upstreams: [upstream('up', 1), { ...upstream('up', 5), name: 'new' }] }];
  t.match(together('GET /api/v1/upstreams', two).upstreams, [{ name: 'old' }, { name: 'new' }]);
});

t.test('a trial: the same change of all, counted together', async (t) => {
  const change = (before: string, count: number): Json => ({ before, after: 'deny', count });
  const body = (changes: readonly Json[], cannot: number): Json => ({
    ok: true,
    differences: {
      ...{ total: 10, changed: 1, changes, moves: [] },
      cannot: { count: cannot, why: [{ why: 'no name', count: cannot }] },
    },
  });
  t.strictSame(
    together('POST /api/v1/policy/test', [
      body([change('allow a', 1), change('allow b', 2)], 1),
      body([change('allow a', 3)], 2),
    ]),
    {
      ok: true,
      differences: {
        ...{ total: 20, changed: 2, changes: [change('allow a', 4), change('allow b', 2)], moves: [] },
        cannot: { count: 3, why: [{ why: 'no name', count: 3 }] },
      },
    },
  );
  const faulty = { ok: false, errors: [{ message: 'no' }] };
  t.strictSame(together('POST /api/v1/policy/test', [faulty, faulty]), faulty, 'a fault is the same at all');
});

t.test('the status: sessions of all, upstreams that all reach, a store that fails anywhere', async (t) => {
  const body = (sessions: number, up: number, ok: boolean): Json => ({
    ...{ pid: sessions, sessions, upstreams: { up, draining: 0, all: 2 }, store: { ok, pid: sessions } },
  });
  t.strictSame(together('GET /api/v1/status', [body(3, 2, true), body(4, 1, false)]), {
    ...{ pid: 3, sessions: 7, upstreams: { up: 1, draining: 0, all: 2 }, store: { ok: false, pid: 4 } },
  });
  t.match(together('GET /api/v1/status', [body(1, 2, true), body(1, 2, true)]), { store: { ok: true } });
});
