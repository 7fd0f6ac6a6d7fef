/**
 * Every state that a session can come to, whatever client, upstream, policy, TLS, logins and timers do and in
 * whatever order. SEKISHO_MODEL=full explores listeners with larger limits, for minutes.
 */
import t from 'tap';
import { step } from '../../src/smtp/session/machine.js';
import { KINDS_OF_EVENT, SITES } from './alphabet.js';
import { BROKEN } from './broken.js';
import { type Explored, explore, type Finding } from './explore.js';
import { INVARIANTS } from './world.js';

const FULL = process.env.SEKISHO_MODEL === 'full';
const BOUNDS = { depth: 1_000, states: 5_000_000, findings: 3 };

const told = ({ invariant, what, trace }: Finding): string =>
  `${invariant}: ${what}\n    ${trace.join('\n    ')}`;

const figures = ({ states, steps, depth, complete }: Explored): string =>
  `${states} states, ${steps} steps, depth ${depth}, ${complete ? 'nothing left to explore' : 'cut off'}`;

const heard = new Set<string>();

for (const [name, { small, large }] of Object.entries(SITES)) {
  t.test(name, async (t) => {
    const explored = explore(step, FULL ? large : small, BOUNDS);
    for (const kind of explored.heard) heard.add(kind);
    t.comment(`${name}: ${figures(explored)}`);
    t.strictSame(explored.findings.map(told), [], 'what must always hold holds');
    t.ok(explored.complete, 'in every state that can be reached');
    t.ok(explored.states > 4_000, figures(explored));
  });
}

t.test('every kind of event has a letter', async (t) => {
  t.strictSame(
    Object.keys(KINDS_OF_EVENT).filter((kind) => !heard.has(kind)),
    [],
    'an event that the search never tries is not covered: add letters to alphabet.ts',
  );
});

t.test('each invariant catches the machine that breaks it', async (t) => {
  for (const { what, breaks, site, step } of BROKEN) {
    const settings = SITES[site]?.small;
    if (settings === undefined) throw new Error(`no such listener: ${site}`);
    const { findings } = explore(step, settings, { ...BOUNDS, findings: 10_000, until: breaks });
    const caught = findings.find(({ invariant }) => invariant === breaks);
    const where = caught === undefined ? 'never' : `after ${caught.trace.length} events`;
    t.ok(caught, `${breaks}: a machine that ${what} (${where})`, { findings: findings.slice(0, 2) });
  }
  const broken = new Set(BROKEN.map(({ breaks }) => breaks));
  t.strictSame(
    Object.keys(INVARIANTS).filter((name) => !broken.has(name as keyof typeof INVARIANTS)),
    [],
    'each has its machine',
  );
});
