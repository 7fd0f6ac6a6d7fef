/** Recorded decisions judged anew: what changes, what does not, and what cannot be told. */
import fc from 'fast-check';
import t from 'tap';
import type { Policy } from '../../src/policy/compile.js';
import { decide } from '../../src/policy/decide.js';
import { type RecordedDecision, recordedFacts, replay } from '../../src/policy/replay.js';
import { parsePath, pathText } from '../../src/smtp/address.js';
import { policyOf } from '../support/sekisho.js';

const law = (...rules: string[]): Policy =>
  policyOf(
    `version: 1\nnetworks: { campus: [192.0.2.0/24] }\ndomains: { ours: [example.org] }\nrules:\n${rules.map((rule) => `  - ${rule}\n`).join('')}`,
  );

const INBOUND = '{ name: inbound, allow: { to: ours } }';
const CAMPUS = '{ name: campus, allow: { client: campus } }';
const ROAMING = '{ name: roaming, allow: { login: any, tls: true } }';
const WINDOW = '{ name: window, allow: { window: any } }';
const NAMED = '{ name: named, allow: { client_name: .friend.example } }';
const SPAM = '{ name: no spam, deny: { from: spam.example } }';

const seen = (given: Partial<RecordedDecision> = {}): RecordedDecision => ({
  client: '203.0.113.9',
  listener: 'mx',
  helo: 'h.example',
  from: 'x@spam.example',
  to: 'y@victim.example',
  verdict: 'deny',
  reason: 'no-rule',
  ...given,
});

const IN = seen({ to: 'u@example.org', verdict: 'allow', rule: 'inbound', reason: 'rule' });
const OUT = seen({ client: '192.0.2.7', from: 'u@example.org', verdict: 'allow', rule: 'campus' });

t.test('the policy that was in force changes nothing', async (t) => {
  const result = replay([IN, OUT, seen()], law(INBOUND, CAMPUS));
  t.match(result, { total: 3, same: 3, changed: 0, moved: 0, cannot: { count: 0, why: [] } });
  t.strictSame([result.changes, result.moves], [[], []]);
});

t.test('changes are grouped by what decided before and after, the most frequent first', async (t) => {
  const many = [OUT, ...Array.from({ length: 5 }, (_, i) => ({ ...IN, time: i, session: `s${i}` }))];
  const { changed, changes, same, total } = replay([...many, seen()], law(SPAM, INBOUND), { examples: 2 });
  t.strictSame({ changed, same, total }, { changed: 6, same: 0, total: 7 });
  t.strictSame(
    changes.map(({ before, after, count, examples }) => [before, after, count, examples.length]),
    [
      [{ verdict: 'allow', rule: 'inbound' }, { verdict: 'deny', rule: 'no spam' }, 5, 2],
      [{ verdict: 'allow', rule: 'campus' }, { verdict: 'deny', rule: undefined }, 1, 1],
    ],
  );
  t.match(changes[0]?.examples[0], { session: 's0', client: '203.0.113.9', why: /no spam/ });
});

t.test('the same verdict by another rule is no change of verdict', async (t) => {
  const result = replay([IN, seen()], law('{ name: in, allow: { to: ours } }', SPAM));
  t.match(result, { changed: 0, moved: 2, same: 0 });
  t.match(result.moves[0], { before: { rule: 'inbound' }, after: { verdict: 'allow', rule: 'in' } });
});

t.test('against another policy the verdicts on record do not matter', async (t) => {
  const bare = [IN, OUT, seen()].map(({ verdict: _, rule: __, ...rest }) => rest);
  const result = replay(bare, law(INBOUND), { against: law(INBOUND, CAMPUS) });
  t.match(result, { same: 2, changed: 1, cannot: { count: 0 } });
  t.match(replay(bare, law(INBOUND)), { cannot: { count: 3, why: [{ why: 'the verdict', count: 3 }] } });
});

t.test('what the record does not hold is not guessed', async (t) => {
  const named = law(INBOUND, NAMED);
  t.match(replay([seen()], named).cannot, { count: 1, why: [{ why: 'client_name', count: 1 }] });
  t.match(replay([seen({ named: true })], named), { same: 1, cannot: { count: 0 } });
  t.match(replay([seen({ clientName: 'a.friend.example' })], named), { changed: 1 });
  t.match(replay([IN], named), { same: 1 }, 'what an earlier rule decides needs no name');
  const roaming = law(INBOUND, WINDOW);
  t.match(replay([seen()], roaming).cannot, { count: 1, why: [{ why: 'window', count: 1 }] });
  t.match(replay([seen({ windows: [] })], roaming), { same: 1 });
  t.match(replay([seen({ windows: [{ login: 'u', source: 'pop3' }] })], roaming), { changed: 1 });
});

t.test('a fact on which the verdict does not depend may be missing', async (t) => {
  const either = law(NAMED.replace('allow', 'deny'), '{ name: all, deny: { from: spam.example } }');
  t.match(replay([seen()], either), { moved: 1, cannot: { count: 0 } });
  const shadow = law(INBOUND, '{ name: try, allow: { client_name: .friend.example }, shadow: true }');
  t.match(replay([seen()], shadow), { same: 1 }, 'nor does a shadow rule count');
});

t.test('a suspended login is nobody, and a login needs what its rule needs', async (t) => {
  const roaming = law(INBOUND, ROAMING);
  const login = { login: 'u@example.org', tls: 'TLSv1.3' };
  t.match(replay([seen(login)], roaming), { changed: 1 });
  t.match(replay([seen({ ...login, suspended: true })], roaming), { same: 1 });
  t.match(replay([seen({ login: 'u@example.org' })], roaming), { same: 1 }, 'in clear text');
});

t.test('lines that are no decisions are counted, not judged', async (t) => {
  const broken = [seen({ client: 'nobody' }), seen({ to: '' }), seen({ to: 'a@b@c' }), seen({ from: '@' })];
  t.match(replay(broken, law(INBOUND)), { total: 4, cannot: { count: 4 } });
  t.match(replay([seen({ from: '' })], law(INBOUND)), { same: 1 }, 'the null sender is one');
});

t.test('groups are bounded', async (t) => {
  const odd = Array.from({ length: 700 }, (_, i) => ({ ...IN, rule: `r${i}` }));
  const { changed, changes } = replay(odd, law(SPAM));
  t.strictSame([changed, changes.length], [700, 500]);
});

t.test('whatever address the log shows is judged as the mail was', async (t) => {
  const atom = fc.constantFrom('a', 'b%c', 'x!y', '"q q"', '"<"', '"a@b"', 'ü', '"\\""', 'p.q');
  const domain = fc.constantFrom('example.org', 'EXAMPLE.org', 'victim.example', '[192.0.2.1]', 'ü.example');
  const route = fc.constantFrom('', '@relay.example:', '@a.example,@b.example:');
  fc.assert(
    fc.property(route, atom, domain, (hop, local, host) => {
      const wire = Buffer.from(`<${hop}${local}@${host}>`, 'utf8').toString('latin1');
      const to = parsePath(wire, { utf8: true, nullAllowed: false });
      fc.pre(to.ok);
      const facts = recordedFacts(seen({ to: pathText(to.value) }));
      fc.pre(typeof facts !== 'string');
      const direct = recordedFacts(seen({ to: `${hop}${local}@${host}` }));
      if (typeof direct === 'string') throw new Error(direct);
      t.same(facts.to, direct.to);
      t.equal(decide(law(INBOUND), facts).kind, decide(law(INBOUND), direct).kind);
    }),
    { numRuns: 300 },
  );
});
