import fc from 'fast-check';
import t from 'tap';
import { parseIp } from '../../src/base/ip.js';
import { err } from '../../src/base/result.js';
import { loadPolicy, type Policy, renderError } from '../../src/policy/compile.js';
import { decide } from '../../src/policy/decide.js';
import { type DomainEntry, DomainSet } from '../../src/policy/domain-set.js';
import { explain, renderExplanation } from '../../src/policy/explain.js';
import type { Facts, Verdict } from '../../src/policy/facts.js';
import type { Reading } from '../../src/smtp/path.js';

const policy = (...rules: string[]): Policy => {
  const head =
    'version: 1\nnetworks: { campus: [192.0.2.0/24] }\ndomains: { ours: [example.org, .lab.example.org], boxes: [boss@example.org, "[192.0.2.1]"] }\nrules:\n';
  const loaded = loadPolicy('p.yaml', head + rules.map((rule) => `  - ${rule}\n`).join(''), () =>
    err('no files'),
  );
  if (!loaded.ok) throw new Error(loaded.error.map(renderError).join('\n'));
  return loaded.value;
};

const at = (domain: string, via: 'plain' | 'percent' | 'quoted' = 'plain'): Reading => ({
  kind: 'domain',
  domain,
  via,
});

interface Case {
  client?: string;
  clientName?: Facts['clientName'];
  listener?: string;
  helo?: string;
  from?: string;
  to?: string;
  readings?: readonly Reading[];
}

/** Facts of a stranger who sends plain mail, but for what is given. */
const facts = (given: Case = {}): Facts => {
  const {
    client = '203.0.113.9',
    clientName = { known: true, value: undefined },
    listener = 'mx',
    helo = 'h.example',
  } = given;
  const { from = 'x@spam.example', to = 'u@example.org' } = given;
  const domainOf = (address: string): string => address.slice(address.lastIndexOf('@') + 1);
  return {
    client: parseIp(client)!,
    clientName,
    listener,
    helo,
    from: { address: from, domain: from === '' ? '' : domainOf(from) },
    to: { address: to, readings: given.readings ?? [at(domainOf(to))] },
  };
};
const say = (law: Policy, given: Case = {}): string => {
  const { kind, rule } = decide(law, facts(given));
  return rule === undefined ? kind : `${kind} ${rule}`;
};

t.test('the first rule that matches decides; none denies', async (t) => {
  const law = policy(
    '{ name: block, deny: { client: 192.0.2.66 } }',
    '{ name: in, allow: { to: ours } }',
    '{ name: out, allow: { client: campus } }',
  );
  t.equal(say(law), 'allow in');
  t.equal(say(law, { to: 'y@victim.example' }), 'deny');
  t.equal(say(law, { client: '192.0.2.66' }), 'deny block');
  t.equal(say(law, { client: '192.0.2.65', to: 'y@victim.example' }), 'allow out');
  t.equal(say(law, { client: '::ffff:192.0.2.65', to: 'y@victim.example' }), 'allow out');
  t.equal(say(law, { to: 'u@a.b.lab.example.org' }), 'allow in');
  t.equal(say(law, { to: 'u@lab.example.org' }), 'allow in');
  t.equal(say(law, { to: 'u@sub.example.org' }), 'deny');
  t.equal(say(law, { to: 'u@notexample.org' }), 'deny');
  const none = decide(law, facts({ to: 'y@victim.example' }));
  t.match(none, { kind: 'deny', rule: undefined, reason: 'no-rule', reply: undefined, shadows: [] });
  t.match(decide(law, facts()), { reason: 'rule', why: 'rule "in": allow { to: ours }' });
});

t.test('allow needs every reading, deny and defer need one', async (t) => {
  const allow = policy('{ name: a, allow: { to: ours } }');
  const deny = policy('{ name: d, deny: { to: ours } }', '{ name: rest, allow: { client: campus } }');
  const defer = policy('{ name: f, defer: { to: ours } }');
  const hack = {
    to: 'y%victim.example@example.org',
    readings: [at('example.org'), at('victim.example', 'percent')],
  };
  t.equal(say(allow, hack), 'deny');
  t.equal(say(allow, { ...hack, readings: [...hack.readings].reverse() }), 'deny');
  t.equal(
    say(allow, { ...hack, readings: [at('example.org'), at('lab.example.org', 'percent')] }),
    'allow a',
  );
  t.equal(say(deny, { ...hack, client: '192.0.2.1' }), 'deny d');
  t.equal(say(deny, { client: '192.0.2.1', to: 'y@victim.example' }), 'allow rest');
  t.equal(say(defer, hack), 'defer f');
  t.equal(say(allow, { readings: [] }), 'deny', 'no reading at all is none that matches');
  t.equal(say(defer, { readings: [] }), 'deny');
});

t.test('postmaster, unqualified and literal recipients', async (t) => {
  const law = policy(
    '{ name: d, deny: { to: [ours, boxes], listener: strict } }',
    '{ name: a, allow: { to: [ours, boxes] } }',
    '{ name: out, allow: { client: campus } }',
  );
  const postmaster = { to: 'postmaster', readings: [{ kind: 'postmaster' } as const] };
  t.equal(say(law, postmaster), 'allow a');
  t.equal(say(law, { ...postmaster, listener: 'strict' }), 'allow a', 'no deny rule names the postmaster');
  const bob = { to: 'bob', readings: [{ kind: 'unqualified' } as const] };
  t.equal(say(law, bob), 'deny');
  t.equal(say(law, { ...bob, client: '192.0.2.1' }), 'allow out', 'a rule without to takes any reading');
  const literal = (ip: string): Case => ({
    to: `u@[${ip}]`,
    readings: [{ kind: 'literal', ip, via: 'literal' }],
  });
  t.equal(say(law, literal('192.0.2.1')), 'allow a');
  t.equal(say(law, literal('192.0.2.2')), 'deny');
  t.equal(say(law, { ...literal('192.0.2.1'), listener: 'strict' }), 'deny d');
});

t.test('mailboxes', async (t) => {
  const allow = policy('{ name: a, allow: { to: boxes } }');
  t.equal(say(allow, { to: 'boss@example.org' }), 'allow a');
  t.equal(say(allow, { to: 'BOSS@example.org', readings: [at('example.org')] }), 'allow a');
  t.equal(say(allow, { to: 'clerk@example.org' }), 'deny');
  t.equal(say(allow, { to: 'boss@example.net' }), 'deny');
  t.equal(
    say(allow, {
      to: 'boss%victim.example@example.org',
      readings: [at('example.org'), at('victim.example', 'percent')],
    }),
    'deny',
  );
  t.equal(
    say(allow, {
      to: 'boss%example.org@example.org',
      readings: [at('example.org'), at('example.org', 'percent')],
    }),
    'deny',
  );
  const deny = policy('{ name: d, deny: { to: boxes } }', '{ name: a, allow: { to: ours } }');
  t.equal(say(deny, { to: 'boss@example.org' }), 'deny d');
  t.equal(say(deny, { to: 'clerk@example.org' }), 'allow a');
  t.equal(
    say(deny, {
      to: 'boss%example.org@example.org',
      readings: [at('example.org'), at('example.org', 'percent')],
    }),
    'deny d',
    'no way around by routing',
  );
  t.equal(
    say(deny, {
      to: '"boss@example.org"@example.org',
      readings: [at('example.org'), at('example.org', 'quoted')],
    }),
    'deny d',
  );
  const sender = policy('{ name: s, allow: { client: campus, from: boxes } }');
  t.equal(say(sender, { client: '192.0.2.1', from: 'boss@example.org', to: 'y@victim.example' }), 'allow s');
  t.equal(say(sender, { client: '192.0.2.1', from: 'clerk@example.org', to: 'y@victim.example' }), 'deny');
});

t.test('senders: the null sender is in no list', async (t) => {
  const law = policy(
    '{ name: n, deny: { from: "<>", listener: submission } }',
    '{ name: f, allow: { client: campus, from: ours } }',
    '{ name: w, allow: { client: campus, from: ["null"] } }',
  );
  const inside = { client: '192.0.2.1', to: 'y@victim.example' };
  t.equal(say(law, { ...inside, from: 'u@example.org' }), 'allow f');
  t.equal(say(law, { ...inside, from: 'u@spam.example' }), 'deny');
  t.equal(say(law, { ...inside, from: '' }), 'allow w');
  t.equal(say(law, { ...inside, from: '', listener: 'submission' }), 'deny n');
  t.equal(say(law, { from: '', to: 'y@victim.example' }), 'deny');
});

t.test('listeners and HELO', async (t) => {
  const law = policy(
    '{ name: l, deny: { listener: [inside, lab] } }',
    '{ name: h, deny: { helo: [printer, .bad.example, "[192.0.2.9]"] } }',
    '{ name: a, allow: { to: ours } }',
  );
  t.equal(say(law), 'allow a');
  t.equal(say(law, { listener: 'lab' }), 'deny l');
  for (const helo of [
    'printer',
    'bad.example',
    'x.bad.example',
    'X.BAD.EXAMPLE.',
    '[192.0.2.9]',
    '[IPv6:::ffff:192.0.2.9]',
  ])
    t.equal(say(law, { helo }), 'deny h', helo);
  for (const helo of ['', 'printer.example', 'xbad.example', '[192.0.2.8]', '[', '.'])
    t.equal(say(law, { helo }), 'allow a', helo);
});

t.test('what is not known defers, if it is all that is missing', async (t) => {
  const law = policy(
    '{ name: n, allow: { client_name: .friend.example, to: relayed.example } }',
    '{ name: a, allow: { to: ours } }',
  );
  const unknown = { clientName: { known: false, why: 'the resolver is down' } } as const;
  const named = (value: string): Case => ({ clientName: { known: true, value }, to: 'y@relayed.example' });
  t.equal(say(law, named('mx.friend.example')), 'allow n');
  t.equal(say(law, named('friend.example')), 'allow n');
  t.equal(say(law, named('mx.enemy.example')), 'deny');
  t.equal(say(law, { to: 'y@relayed.example' }), 'deny', 'no name is no match');
  t.equal(say(law, { ...unknown, to: 'y@relayed.example' }), 'defer n');
  t.equal(say(law, unknown), 'allow a', 'mail for local domains goes on');
  t.equal(say(law, { ...unknown, to: 'y@victim.example' }), 'deny');
  t.match(decide(law, facts({ ...unknown, to: 'y@relayed.example' })), {
    reason: 'unknown-fact',
    reply: undefined,
    why: /the resolver is down/,
  });
  t.equal(law.needs.clientName, true);
  t.equal(policy('{ name: a, allow: { to: ours } }').needs.clientName, false);
  const denied = policy(
    '{ name: n, deny: { client_name: .spam.example } }',
    '{ name: a, allow: { to: ours } }',
  );
  t.equal(say(denied, unknown), 'defer n');
});

t.test('shadow rules are told of and decide nothing', async (t) => {
  const law = policy(
    '{ name: s1, deny: { from: spam.example }, shadow: true }',
    '{ name: s2, allow: { client_name: a.example }, shadow: true }',
    '{ name: s3, defer: { from: other.example }, shadow: true }',
    '{ name: a, allow: { to: ours } }',
    '{ name: s4, deny: { client: campus }, shadow: true }',
  );
  const shadows = (given: Case): Verdict['shadows'] => decide(law, facts(given)).shadows;
  t.equal(say(law), 'allow a');
  t.same(shadows({}), [{ rule: 's1', would: 'deny' }]);
  t.same(shadows({ clientName: { known: false, why: 'x' } }), [
    { rule: 's1', would: 'deny' },
    { rule: 's2', would: 'defer' },
  ]);
  t.same(shadows({ from: 'u@good.example' }), []);
  t.same(
    shadows({ client: '192.0.2.1', from: 'u@other.example' }),
    [{ rule: 's3', would: 'defer' }],
    'none behind the rule that decided',
  );
  t.same(shadows({ client: '192.0.2.1', from: 'u@good.example', to: 'y@victim.example' }), [
    { rule: 's4', would: 'deny' },
  ]);
  t.same(shadows({}), [{ rule: 's1', would: 'deny' }], 'a verdict keeps nothing of the one before');
});

t.test('words of a rule', async (t) => {
  const law = policy('{ name: d, deny: { client: campus }, reply: Not you }', '{ name: f, defer: {} }');
  t.same(decide(law, facts({ client: '192.0.2.1' })).reply, {
    code: 550,
    enhanced: '5.7.1',
    text: 'Not you',
  });
  t.match(decide(law, facts()), {
    kind: 'defer',
    rule: 'f',
    reply: undefined,
    why: 'rule "f": defer always',
  });
});

t.test('an explanation tells every rule that was judged', async (t) => {
  const law = policy(
    '{ name: try, deny: { client_name: .spam.example }, shadow: true }',
    '{ name: in, allow: { to: ours } }',
    '{ name: out, allow: { client: campus, from: ours } }',
    '{ name: rest, deny: {}, reply: No }',
  );
  const hack = {
    to: 'y%v.example@example.org',
    readings: [at('example.org'), at('v.example', 'percent')],
    clientName: { known: false, why: 'down\r\nFORGED' },
  } as const;
  const told = explain(law, facts(hack));
  t.same(
    told.rules.map(({ rule, truth }) => [rule, truth]),
    [
      ['try', 'unknown'],
      ['in', 'no'],
      ['out', 'no'],
      ['rest', 'yes'],
    ],
  );
  t.same(
    told.rules[2]?.conditions.map(({ key, truth }) => [key, truth]),
    [
      ['client', 'no'],
      ['from', 'no'],
    ],
  );
  t.same(told.verdict, decide(law, facts(hack)));
  const text = renderExplanation(told);
  t.equal(
    text,
    [
      '? try: deny (shadow, not enforced): not known',
      '    ? client_name: client_name is not known: down\\x0d\\x0aFORGED',
      '- in: allow: does not match',
      '    - to: <y%v.example@example.org> may be read as v.example (percent), which is not in ours',
      '- out: allow: does not match',
      '    - client: 203.0.113.9 is not in campus',
      '    - from: <x@spam.example> is not in ours',
      '+ rest: deny: matches',
      '    + always',
      '=> deny: rule "rest": deny always',
      '',
    ].join('\n'),
  );
  t.match(
    renderExplanation(explain(law, facts())),
    /\+ in: allow: matches\n.*is in ours\n {2}not reached: out, rest\n=> allow/,
  );
});

/** Rules over few networks and domains, so that facts meet them often. */
const DOMAINS = ['example.org', 'a.example.org', 'example.net', 'victim.example'];
const CLIENTS = ['192.0.2.1', '192.0.2.130', '203.0.113.9', '2001:db8::1'];
const someOf = (words: readonly string[]) =>
  fc
    .subarray([...words], { minLength: 1 })
    .map((list) => `[${list.map((w) => JSON.stringify(w)).join(', ')}]`);
const anyRule = fc
  .record({
    verb: fc.constantFrom('allow', 'deny', 'defer'),
    shadow: fc.boolean(),
    client: fc.option(someOf(['192.0.2.0/25', '192.0.2.0/24', '2001:db8::/32', '203.0.113.9'])),
    to: fc.option(someOf([...DOMAINS, '.example.org'])),
    from: fc.option(someOf([...DOMAINS, '<>'])),
    name: fc.option(someOf(['a.example.org', '.example.net'])),
  })
  .map(({ verb, shadow, client, to, from, name }) => {
    const given = Object.entries({ client, to, from, client_name: name }).filter(
      ([, value]) => value !== null,
    );
    return `${verb}: { ${given.map(([key, value]) => `${key}: ${value}`).join(', ')} }, shadow: ${shadow}, i_know: open relay`;
  });
const anyFacts = fc
  .record({
    client: fc.constantFrom(...CLIENTS),
    from: fc.constantFrom('', ...DOMAINS.map((domain) => `u@${domain}`)),
    readings: fc.array(fc.constantFrom(...DOMAINS.map((domain) => at(domain, 'percent'))), {
      minLength: 1,
      maxLength: 3,
    }),
    clientName: fc.constantFrom<Facts['clientName']>(
      { known: false, why: 'w' },
      { known: true, value: undefined },
      ...DOMAINS.map((value) => ({ known: true as const, value })),
    ),
  })
  .map((given) => facts(given));
const loadAny = (rules: readonly string[]): Policy | undefined => {
  const text = `version: 1\nrules:\n${rules.map((rule, i) => `  - { name: r${i}, ${rule} }\n`).join('')}`;
  const loaded = loadPolicy('p.yaml', text, () => err('no files'));
  return loaded.ok ? loaded.value : undefined;
};

t.test('decide and explain never disagree; more readings never allow more by recipient', async (t) => {
  let loaded = 0;
  fc.assert(
    fc.property(fc.array(anyRule, { minLength: 1, maxLength: 4 }), anyFacts, (rules, given) => {
      const law = loadAny(rules);
      if (law === undefined) return true;
      loaded++;
      const verdict = decide(law, given);
      const last = explain(law, given).rules.at(-1);
      if (verdict.rule !== undefined && last?.rule !== verdict.rule) return false;
      return JSON.stringify(explain(law, given).verdict) === JSON.stringify(verdict);
    }),
    { numRuns: 300 },
  );
  t.ok(loaded > 50, `${loaded} policies judged`);
  const law = policy('{ name: a, allow: { to: ours } }', '{ name: b, allow: { to: [example.net] } }');
  fc.assert(
    fc.property(fc.subarray(DOMAINS, { minLength: 1 }), fc.constantFrom(...DOMAINS), (domains, more) => {
      const readings = domains.map((domain) => at(domain));
      const before = decide(law, facts({ readings })).kind;
      return before === 'allow' || decide(law, facts({ readings: [...readings, at(more)] })).kind !== 'allow';
    }),
  );
});

t.test('a rule reported as out of reach is never the one that decides', async (t) => {
  let hidden = 0;
  fc.assert(
    fc.property(anyRule, anyRule, anyFacts, (first, second, given) => {
      const both = `version: 1\nrules:\n  - { name: r0, ${first} }\n  - { name: r1, ${second} }\n`;
      const loaded = loadPolicy('p.yaml', both, () => err('no files'));
      if (loaded.ok) return true;
      hidden++;
      const alone = loadAny([first]);
      const other = loadAny([second]);
      if (alone === undefined || other === undefined) return false;
      // Whatever the second one would decide, the first has decided already.
      return (
        decide(other, given).rule === undefined ||
        decide(alone, given).rule !== undefined ||
        second.includes('shadow: true')
      );
    }),
    { numRuns: 2_400 },
  );
  t.ok(hidden > 10, `${hidden} hidden rules`);
});

t.test('domain sets agree with a plain search', async (t) => {
  const label = fc.constantFrom('a', 'b', 'org');
  const domain = fc.array(label, { minLength: 1, maxLength: 4 }).map((labels) => labels.join('.'));
  const entry = fc.record({
    kind: fc.constant('domain' as const),
    domain,
    itself: fc.boolean(),
    below: fc.boolean(),
  });
  const covers = (e: DomainEntry & { kind: 'domain' }, d: string): boolean =>
    (e.itself && d === e.domain) || (e.below && d.endsWith(`.${e.domain}`));
  fc.assert(
    fc.property(fc.array(entry, { maxLength: 5 }), domain, (entries, probe) => {
      const set = DomainSet.of(entries);
      return (
        set.has(probe) === entries.some((e) => covers(e, probe)) &&
        set.hasBelow(probe) ===
          entries.some((e) => e.below && (e.domain === probe || probe.endsWith(`.${e.domain}`)))
      );
    }),
  );
  t.notOk(DomainSet.of([{ kind: 'domain', domain: 'org', itself: true, below: true }]).has(''));
});
