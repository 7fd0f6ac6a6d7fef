import { readdirSync, readFileSync } from 'node:fs';
import t from 'tap';
import { err, ok } from '../../src/base/result.js';
import { runTests } from '../../src/policy/check.js';
import { loadPolicy, renderError } from '../../src/policy/compile.js';

const folder = new URL('../../policies/', import.meta.url);
const shipped = readdirSync(folder).filter((name) => name.endsWith('.yaml'));

t.test('the policies that ship', async (t) => {
  t.ok(shipped.length >= 5, shipped.join(', '));
  for (const name of shipped) {
    const loaded = loadPolicy(name, readFileSync(new URL(name, folder), 'utf8'), () =>
      err('examples name no files'),
    );
    t.same(loaded.ok ? [] : loaded.error.map(renderError), [], `${name} loads`);
    if (!loaded.ok) continue;
    const results = runTests(loaded.value);
    t.same(
      results.filter(({ ok }) => !ok),
      [],
      `${name}: all of its tests hold`,
    );
    const kinds = new Set(results.map(({ expected }) => expected.kind));
    t.ok(kinds.has('allow') && kinds.has('deny'), `${name} tests both what it allows and what it denies`);
    t.ok(
      loaded.value.tests.some(({ to, expect }) => to.includes('%') && expect === 'deny'),
      `${name} tests the percent hack`,
    );
  }
});

const run = (tests: string) => {
  const text = `version: 1\ndomains: { ours: [example.org] }\nrules:\n  - { name: n, allow: { client_name: .b.example } }\n  - { name: in, allow: { to: ours } }\ntests:\n${tests}`;
  const loaded = loadPolicy('p.yaml', text, () => ok(''));
  if (!loaded.ok) throw new Error(loaded.error.map(renderError).join('\n'));
  return runTests(loaded.value);
};

t.test('a test that does not hold says what came instead', async (t) => {
  const [wrong, otherRule, right] =
    run(`  - { name: a, client: 203.0.113.9, from: x@a.example, to: u@example.org, expect: deny }
  - { name: b, client: 203.0.113.9, from: x@a.example, to: u@example.org, expect: allow, rule: n }
  - { name: c, client: 203.0.113.9, from: x@a.example, to: u@example.org, expect: allow, rule: in }
`);
  t.match(wrong, {
    ok: false,
    got: { kind: 'allow', rule: 'in' },
    expected: { kind: 'deny' },
    line: 7,
    column: 5,
    why: /rule "in"/,
  });
  t.match(otherRule, { ok: false, got: { rule: 'in' }, expected: { rule: 'n' }, line: 8 });
  t.match(right, { ok: true, got: { rule: 'in' } });
});

t.test('names, null senders, brackets and addresses that do not parse', async (t) => {
  const results =
    run(`  - { name: named, client: 203.0.113.9, client_name: mx.B.example, from: x@a.example, to: y@v.example, expect: allow, rule: n }
  - { name: unnamed, client: 203.0.113.9, from: x@a.example, to: y@v.example, expect: deny }
  - { name: resolver down, client: 203.0.113.9, client_name: unknown, from: x@a.example, to: y@v.example, expect: defer, rule: n }
  - { name: null sender, client: 203.0.113.9, from: "", to: "<u@example.org>", expect: allow, rule: in }
  - { name: null sender in brackets, client: 203.0.113.9, from: "<>", to: u@example.org, expect: allow, rule: in }
  - { name: two words, client: 203.0.113.9, from: x@a.example, to: "u v@example.org", expect: deny }
  - { name: a pipe, client: 203.0.113.9, from: x@a.example, to: "|sh@example.org", expect: deny }
  - { name: a bad sender, client: 203.0.113.9, from: "x y@a.example", to: u@example.org, expect: deny }
`);
  t.same(
    results.filter(({ ok }) => !ok),
    [],
  );
  t.match(results[5], { got: { rule: undefined }, why: /the recipient .*before any rule/ });
  t.match(results[7], { why: /the sender .*before any rule/ });
});
