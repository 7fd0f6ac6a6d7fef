import t from 'tap';
import { parseIp } from '../../src/base/ip.js';
import { err } from '../../src/base/result.js';
import { runTests } from '../../src/policy/check.js';
import { loadPolicy, type Policy, renderError } from '../../src/policy/compile.js';
import { decide } from '../../src/policy/decide.js';
import { explain, renderExplanation } from '../../src/policy/explain.js';
import type { Facts, WindowFact } from '../../src/policy/facts.js';
import { senderAllowed } from '../../src/policy/senders.js';
import { parsePath } from '../../src/smtp/address.js';

const HEAD = 'version: 1\ndomains: { ours: [example.org] }\nrules:\n';
const load = (text: string) => loadPolicy('x.yaml', `${HEAD}${text}`, () => err('no files here'));
const policy = (text: string): Policy => {
  const loaded = load(text);
  if (!loaded.ok) throw new Error(loaded.error.map(renderError).join('\n'));
  return loaded.value;
};
const errors = (text: string): string[] => {
  const loaded = load(text);
  return loaded.ok ? [] : loaded.error.map(renderError);
};
const rule = (conditions: string): Policy => policy(`  - { name: a, allow: { ${conditions} } }\n`);
const facts = (more: Partial<Facts> = {}): Facts => ({
  client: parseIp('203.0.113.9')!,
  clientName: { known: true, value: undefined },
  listener: '',
  helo: '',
  from: { address: 'u@example.org', domain: 'example.org' },
  to: { address: 'y@far.example', readings: [{ kind: 'domain', domain: 'far.example', via: 'plain' }] },
  ...more,
});
const kind = (law: Policy, more: Partial<Facts> = {}): string => decide(law, facts(more)).kind;
const window = (more: Partial<WindowFact> = {}): WindowFact => ({
  login: 'hoge',
  source: 'pop3',
  until: Date.UTC(2026, 0, 2),
  used: 0,
  budget: 0,
  ...more,
});
const windows = (...value: WindowFact[]): Partial<Facts> => ({ windows: { known: true, value } });
const A = 'ab'.repeat(32);

t.test('login', async (t) => {
  t.equal(kind(rule('login: any')), 'deny', 'nobody');
  t.equal(kind(rule('login: any'), { login: 'x' }), 'allow');
  const some = rule('login: [hoge, Fuga@Example.ORG, "*@lab.example.org"]');
  for (const [login, said] of [
    ['hoge', 'allow'],
    ['Hoge', 'deny'],
    ['hoge@example.org', 'deny'],
    ['Fuga@example.org', 'allow'],
    ['fuga@example.org', 'deny'],
    ['x@LAB.example.org', 'allow'],
    ['x@sub.lab.example.org', 'deny'],
    ['lab.example.org', 'deny'],
  ] as const)
    t.equal(kind(some, { login }), said, login);
  t.match(errors('  - { name: a, allow: { login: "ho*" } }\n'), [
    /a \* stands only for all logins of a domain/,
  ]);
  t.match(errors('  - { name: a, allow: { login: [] } }\n'), [/never matches/]);
});

t.test('window', async (t) => {
  const any = rule('window: any');
  t.same([any.needs.window, rule('login: any').needs.window], [true, false]);
  t.equal(kind(any), 'defer', 'nobody looked');
  t.equal(kind(any, { windows: { known: false, why: 'store down' } }), 'defer');
  t.equal(kind(any, windows()), 'deny');
  t.equal(kind(any, windows(window({ used: 4, budget: 5 }))), 'allow', 'one left');
  t.equal(kind(any, windows(window({ used: 5, budget: 5 }))), 'deny', 'none left');
  const imap = rule('window: [imap, api]');
  t.equal(kind(imap, windows(window())), 'deny');
  const verdict = decide(imap, facts(windows(window(), window({ login: 'fuga', source: 'imap' }))));
  t.equal(verdict.window?.login, 'fuga', 'the verdict bears the window that matched');
  t.match(
    renderExplanation(explain(any, facts(windows(window())))),
    /window of hoge by pop3 holds until 2026-01-02T00:00:00\.000Z/,
  );
  t.match(errors('  - { name: a, allow: { window: pop } }\n'), [/must be any, one of pop3/]);
});

t.test('certificates', async (t) => {
  const certificate = { fingerprint: A, subject: 'CN=printer' };
  const tls = 'TLSv1.3';
  const coloned = A.toUpperCase().match(/../g)!.join(':');
  const byPrint = rule(`tls: "sha256:${coloned}"`);
  t.equal(kind(byPrint, { tls, certificate }), 'allow');
  t.equal(kind(byPrint, { tls }), 'deny');
  t.equal(kind(byPrint, { tls, certificate: { ...certificate, fingerprint: 'cd'.repeat(32) } }), 'deny');
  const bySubject = rule('tls: { least: "1.2", subject: ["CN=printer"] }');
  t.equal(kind(bySubject, { tls, certificate }), 'allow');
  t.equal(kind(bySubject, { tls: 'TLSv1.1', certificate }), 'deny');
  t.equal(
    kind(bySubject, { tls, certificate: { fingerprint: A, subject: undefined } }),
    'deny',
    'unverified',
  );
  t.match(errors('  - { name: a, allow: { tls: { least: "1.2" } } }\n'), [/open relay/]);
  t.not(errors('  - { name: a, allow: { tls: "sha256:12" } }\n').length, 0);
});

t.test('rules that proofs hide', async (t) => {
  const two = (first: string, second: string): string[] =>
    errors(`  - { name: a, allow: { ${first} } }\n  - { name: b, allow: { ${second} } }\n`);
  t.match(two('login: any', 'login: hoge'), [/can never be reached/]);
  t.match(two('login: "*@a.example"', 'login: x@A.example'), [/can never be reached/]);
  t.same(two('login: hoge', 'login: any'), []);
  t.match(two('window: any', 'window: imap'), [/can never be reached/]);
  t.same(two('window: imap', 'window: any'), []);
  t.same(two(`tls: "sha256:${A}"`, 'login: any, tls: true'), []);
});

t.test('tests in a policy', async (t) => {
  const law = policy(`  - { name: in, allow: { login: any, tls: true } }
  - { name: card, allow: { tls: "sha256:${A}" } }
  - { name: roam, allow: { window: pop3 } }
tests:
  - { name: a, client: 203.0.113.9, from: x@example.org, to: y@far.example, login: hoge, tls: "1.2", expect: allow, rule: in }
  - { name: b, client: 203.0.113.9, from: x@example.org, to: y@far.example, window: pop3, expect: allow, rule: roam }
  - { name: c, client: 203.0.113.9, from: x@example.org, to: y@far.example, window: { login: x, source: imap }, expect: deny }
  - { name: d, client: 203.0.113.9, from: x@example.org, to: y@far.example, window: unknown, expect: defer }
  - { name: e, client: 203.0.113.9, from: x@example.org, to: y@far.example, expect: deny }
  - { name: f, client: 203.0.113.9, from: x@example.org, to: y@far.example, tls: "1.3", certificate: "sha256:${A}", expect: allow, rule: card }
`);
  t.same(
    runTests(law).filter(({ ok }) => !ok),
    [],
  );
});

t.test('senders', async (t) => {
  const plain = rule('login: any');
  const ok = (law: Policy, name: string, from: string, senders?: readonly string[]): boolean => {
    const path = parsePath(`<${from}>`, { utf8: true, nullAllowed: true });
    if (!path.ok) throw new Error(from);
    return senderAllowed(law, senders === undefined ? { name } : { name, senders }, path.value).ok;
  };
  const cases: readonly (readonly [string, string, boolean, string[]?])[] = [
    ['hoge', '', true],
    ['hoge', 'Hoge@anywhere.example', true],
    ['hoge', 'fuga@anywhere.example', false],
    ['hoge', 'hoge', true],
    ['hoge@example.org', 'hoge@EXAMPLE.org', true],
    ['hoge@example.org', 'hoge@else.example', false],
    ['@example.org', 'fuga@example.org', false],
    ['hoge', 'sales@example.org', true, ['sales@example.org']],
    ['hoge', 'hoge@example.org', false, ['sales@example.org']],
    ['hoge', 'x@example.org', true, ['@example.org']],
    ['hoge', 'x@sub.example.org', false, ['@example.org']],
    ['hoge', 'x@y.example', true, ['*']],
    ['hoge', '@far.example:fuga@example.org', false],
    ['hoge', '"hoge@x"@example.org', false],
  ];
  for (const [name, from, said, senders] of cases)
    t.equal(ok(plain, name, from, senders), said, `${name} as <${from}> with ${senders}`);
  const law = policy(`  - { name: a, allow: { login: any } }
senders:
  - { login: robot, from: [alerts@example.org, own] }
  - { login: "*@staff.example", from: ours }
  - { login: root, from: any }
`);
  t.ok(ok(law, 'robot', 'alerts@example.org'));
  t.ok(ok(law, 'robot', 'robot@x.example'));
  t.notOk(ok(law, 'robot', 'hoge@example.org'));
  t.ok(ok(law, 'x@staff.example', 'y@example.org'));
  t.notOk(ok(law, 'x@staff.example', 'x@staff.example'), 'own is not said');
  t.ok(ok(law, 'root', 'y@far.example'));
  t.notOk(ok(law, 'hoge', 'fuga@example.org'), 'nothing matched: own');
  const bad = (line: string): string[] =>
    errors(`  - { name: a, allow: { login: any } }\nsenders:\n  - { ${line} }\n`);
  t.match(bad('login: any, from: nowhere'), [/^x\.yaml:6:25: senders\[0\]\.from: no such list/]);
  t.match(bad('login: any, form: own'), [/missing/, /Did you mean "from"/]);
  t.match(bad('login: any, from: []'), [/an empty list/]);
  t.match(bad('login: "a*", from: own'), [/a \* stands only/]);
});
