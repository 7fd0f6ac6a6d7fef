import fc from 'fast-check';
import t from 'tap';
import { parsePath } from '../../src/smtp/address.js';
import type { Path, Reading } from '../../src/smtp/path.js';
import { hazard, readings } from '../../src/smtp/routes.js';

const parse = (text: string): Path | undefined => {
  const wire = Buffer.from(`<${text}>`, 'utf8').toString('latin1');
  const parsed = parsePath(wire, { utf8: true, nullAllowed: false });
  return parsed.ok ? parsed.value : undefined;
};

const path = (text: string): Path => {
  const parsed = parse(text);
  if (parsed === undefined) throw new Error(`does not parse: ${text}`);
  return parsed;
};

const show = (reading: Reading): string => {
  if (reading.kind === 'domain') return `${reading.domain} ${reading.via}`;
  return reading.kind === 'literal' ? `[${reading.ip}] ${reading.via}` : reading.kind;
};

const read = (text: string): string[] => readings(path(text)).map(show);

const LOCAL = 'local.example plain';

t.test('legal local parts without routing characters have exactly one reading and no hazard', async (t) => {
  for (const local of [
    ...[
      "o'hara",
      'bob+tag',
      'bob-x_y=z',
      'a&b',
      'first.last',
      '#1',
      '*',
      '{x}',
      'a/b',
      '"john doe"',
      '"bob"',
    ],
    ...['bob?', 'a~b', '~user/list', 'x$y', 'SRS0=HHH=TT=victim.example=relaytest', 'a.decode', 'decoder'],
    ...[
      'bounce-12-bob=victim.example',
      'prvs=0123abcdef=bob',
      'a=b/c',
      'b',
      '0',
      'imceaux',
      '"a.b c"',
      'bob--x',
    ],
    ...['bøb', 'bob+victim.example', 'CN=bob/O=victim', '"a  b"', '_', '=x='],
  ]) {
    const parsed = path(`${local}@local.example`);
    t.same(readings(parsed).map(show), [LOCAL], local);
    t.equal(hazard(parsed), undefined, local);
  }
});

t.test('each notation', async (t) => {
  const expect = (text: string, ...others: string[]) => t.same(read(text), others, text);
  expect('postmaster', 'postmaster');
  expect('bob', 'unqualified');
  expect('a@[192.0.2.1]', '[192.0.2.1] literal');
  expect('a@uuvictim.UUCP', 'uuvictim.uucp plain');

  expect('x%victim.example@local.example', LOCAL, 'victim.example percent');
  expect('"x%VICTIM.example."@local.example', LOCAL, 'victim.example percent');
  expect('"x%victim.example"@local.example', LOCAL, 'victim.example percent');
  expect('"x%[192.0.2.99]"@local.example', LOCAL, '[192.0.2.99] percent');
  expect('"x%[127.1]"@local.example', LOCAL, '?127.1?.invalid percent');
  expect('x%192.0.2.99@local.example', LOCAL, '192.0.2.99.invalid percent');
  expect('x%victim.example', 'unqualified', 'victim.example percent');
  expect('x%a.example%b.example@c.example', 'c.example plain', 'a.example percent', 'b.example percent');
  expect('x%local.example@local.example', LOCAL, 'local.example percent');
  expect('victim.example%@local.example', LOCAL, 'empty.invalid percent');
  expect('%x@local.example', LOCAL, 'x percent');
  expect('x%40victim.example@local.example', LOCAL, '40victim.example percent');

  expect('victim.example!x@local.example', LOCAL, 'victim.example bang');
  expect('uuvictim!x@local.example', LOCAL, 'uuvictim.uucp bang');
  expect('local!bob', 'unqualified', 'local.uucp bang');
  expect('a!b.example!x@local.example', LOCAL, 'a.uucp bang', 'b.example bang');
  expect('x^victim.example@local.example', LOCAL, 'x.uucp bang', 'victim.example bang');
  expect('victim.example^x', 'unqualified', 'victim.example bang', 'x.uucp bang');
  expect('a.example!x%b.example@local.example', LOCAL, 'a.example bang', 'b.example percent');
  expect('x%a.example!y@local.example', LOCAL, 'a.example percent', 'a.example bang');

  expect('"x@victim.example"', 'unqualified', 'victim.example quoted');
  expect('"x@victim.example"@local.example', LOCAL, 'victim.example quoted');
  expect('"x @ victim.example"@local.example', LOCAL, 'victim.example quoted');
  expect('"x at victim.example"@local.example', LOCAL, 'victim.example quoted');
  expect('"\\"x@victim.example\\""@local.example', LOCAL, 'victim.example quoted');
  expect('"IN%\\"x@victim.example\\""@local.example', LOCAL, 'x percent', 'victim.example quoted');
  expect('"x\\@victim.example"@local.example', LOCAL, 'victim.example quoted');
  expect('"x\\\\@victim.example"@local.example', LOCAL, 'victim.example quoted');
  expect('"@victim.example:x"@local.example', LOCAL, 'victim.example quoted', 'victim.example source-route');
  expect('"x@local.example,y"', 'unqualified', 'local.example quoted');

  expect('"uuvictim::x"@local.example', LOCAL, 'uuvictim.decnet decnet');
  expect('"victim.example::x"', 'unqualified', 'victim.example decnet');
  expect('"victim:x"@local.example', LOCAL, 'victim source-route');

  expect('@a.example:x@local.example', 'a.example source-route', LOCAL);
  expect(
    '@local.example,@[192.0.2.9]:x%b.example',
    ...['local.example source-route', '[192.0.2.9] source-route', 'unqualified', 'b.example percent'],
  );
  expect('@local.example:postmaster', 'local.example source-route', 'postmaster');

  expect('IMCEASMTP-x+40victim+2Eexample@local.example', LOCAL, 'victim.example encapsulated');
  expect('imceasmtp-x+40victim+2eexample@local.example', LOCAL, 'victim.example encapsulated');
  expect('IMCEASMTP-x+25victim+2Eexample@local.example', LOCAL, 'victim.example encapsulated');
  expect('IMCEASMTP-bob@local.example', LOCAL, 'imceasmtp.invalid encapsulated');
  expect('IMCEAEX-_O=VICTIM_OU=X_CN=x@local.example', LOCAL, 'imceaex.invalid encapsulated');
  expect('IMCEA-x@local.example', LOCAL, 'imcea.invalid encapsulated');
  expect(
    'IMCEASMTP-IMCEAFAX-1+40local+2Eexample@local.example',
    ...[LOCAL, 'local.example encapsulated', 'imceafax.invalid encapsulated'],
  );
  expect(
    'x!IMCEASMTP-y+40victim+2Eexample@local.example',
    LOCAL,
    'x.uucp bang',
    'victim.example encapsulated',
  );
  expect('C=us/ADMD=a/S=x@local.example', LOCAL, 'x400.invalid encapsulated');

  expect('x%bücher.example@local.example', LOCAL, 'xn--bcher-kva.example percent');
  expect('"x%a b.local.example"@local.example', LOCAL, 'a?b.local.example.invalid percent');
});

t.test('the null path is nowhere', async (t) => {
  t.same(readings({ kind: 'null' }).map(show), ['null.invalid plain']);
  t.equal(hazard({ kind: 'null' }), undefined);
});

t.test('a deep chain keeps every host', async (t) => {
  const chain = `x%${Array.from({ length: 9 }, (_, i) => `h${i}.ex`).join('%')}`;
  t.equal(read(`${chain}@local.example`).length, 10);
});

t.test('hazards', async (t) => {
  const expect = (name: string, ...locals: string[]) => {
    for (const local of locals) {
      t.equal(hazard(path(`${local}@local.example`)), name, local);
      t.equal(hazard(path(local)), name, `${local}, unqualified`);
      t.equal(hazard(path(`@local.example:${local}@local.example`)), name, `${local}, routed`);
    }
  };
  expect('pipe', '|/bin/sh', '"|/bin/sh -c id"', '" |x"', 'x|y', '"root+:\\"|cmd\\""', 'a!|x', '|x%b');
  expect('pipe', 'IMCEASMTP-+7Cx+40local+2Eexample');
  expect('include', '":include:/etc/passwd"', '":Include:x"', '"a!:include:x"', '":fail:"', '" :x"');
  expect('shell', '"a;b"', '"a<b"', '"a>b"', '"() { :;}; echo x"');
  expect('expansion', '`id`', `\${run{id}}`, `root+\${run{id}}`, '"$(id)"', 'a`b');
  expect('macro', '$+', '$*', 'a$-', '$=w', '$~w', '$&x', '"$:x"', '$1', '$j', '$$', '$#x', '$?x', '"$[x"');
  expect('comment', '"a(b)"', '"(a"', '"a)"');
  expect('backslash', '"\\\\bob"', '"dec\\\\ode"');
  expect('quote', '"\\"bob\\""');
  expect('traversal', '"bob/../x"', '"../x"', '"bob/.."', '"."', '".."', '"./x"');
  expect(
    'file',
    '/etc/passwd',
    '"/var/spool/x"',
    '" /x"',
    'local!/x',
    '"bob /x"',
    '"a,/x"',
    '~/x',
    '/C=us/A=x',
  );
  expect('file', '/x%local.example', 'IMCEASMTP-_etc_passwd');
  expect('option', '-froot', '"-x"', 'a!-x', '-x%a', '" -x"');
  expect('encoded-word', '=?utf-8?q?x=40victim?=', 'a=?x?b?YQ?=');
  expect('detail-only', '+', '+x', '+1234', '+12345x', '"+x"', 'a!+x');
  expect(
    'program-alias',
    'decode',
    'UUDecode',
    '"decode"',
    'decode+x',
    'a!decode',
    'decode%a',
    '" decode"',
    '"\\decode"',
  );
  expect('empty', '""', '" "');
  t.equal(hazard({ kind: 'unqualified', local: 'a\nb' }), 'control');
  for (const local of ['$', '+12345', '+81-3-1234.5678', 'IMCEAEX-_O=A_CN=x', 'IMCEAX400-c+3DUS+3Ba+3D'])
    t.equal(hazard(path(`${local}@local.example`)), undefined, local);
});

const NOTATIONS: readonly ((victim: string) => string)[] = [
  (v) => `x%${v}@local.example`,
  (v) => `"x%${v}."@local.example`,
  (v) => `x%${v}%local.example@local.example`,
  (v) => `x%local.example%${v}@local.example`,
  (v) => `${v}!x@local.example`,
  (v) => `local.example!${v}!x@local.example`,
  (v) => `${v}!local.example!x@local.example`,
  (v) => `${v}!x%local.example@local.example`,
  (v) => `x^${v}@local.example`,
  (v) => `${v}^x@local.example`,
  (v) => `x%${v}`,
  (v) => `${v}!x`,
  (v) => `"x@${v}"@local.example`,
  (v) => `"x@local.example@${v}"@local.example`,
  (v) => `"x@${v}@local.example"@local.example`,
  (v) => `"\\"x\\"@${v}"@local.example`,
  (v) => `"\\"x@${v}\\""@local.example`,
  (v) => `"x\\@${v}"@local.example`,
  (v) => `"x@${v} "@local.example`,
  (v) => `"x @ ${v}"@local.example`,
  (v) => `"x AT ${v}"@local.example`,
  (v) => `"${v}::x"@local.example`,
  (v) => `"${v}:x"@local.example`,
  (v) => `"@${v}:x@local.example"@local.example`,
  (v) => `"@local.example,@${v}:x"@local.example`,
  (v) => `"y,x@${v}"@local.example`,
  (v) => `@${v}:x@local.example`,
  (v) => `@local.example,@${v}:x@local.example`,
  (v) => `@local.example:@${v}:postmaster`,
  (v) => `@local.example:x%${v}@local.example`,
  (v) => `@local.example:x@${v}`,
  (v) => `IMCEASMTP-x+40${v.replaceAll('.', '+2E')}@local.example`,
  (v) => `IMCEASMTP-${v.replaceAll('.', '+2e')}+21x@local.example`,
];

t.test('two domains in any notation never have only the local reading', async (t) => {
  const label = fc.stringMatching(/^[a-z][a-z0-9]{0,5}$/);
  const victim = fc.oneof(
    fc.tuple(label, label).map(([a, b]) => `${a}.${b}`),
    fc.constantFrom('victim.example', 'VICTIM.example', 'evil.local.example', 'local.example.evil', 'victim'),
  );
  const onlyLocal = (text: string): boolean => {
    const parsed = parse(text);
    if (parsed === undefined) return false;
    return readings(parsed).every(
      (reading) => reading.kind !== 'literal' && show(reading).startsWith('local.example '),
    );
  };
  t.ok(onlyLocal('x%local.example@local.example'), 'the test can tell');
  for (const notation of NOTATIONS) t.ok(parse(notation('a.b')) !== undefined, `${notation('a.b')} parses`);
  fc.assert(
    fc.property(fc.constantFrom(...NOTATIONS), victim, (notation, domain) => !onlyLocal(notation(domain))),
    { numRuns: 1000 },
  );
});

t.test('a local part with a routing character anywhere has more than one reading', async () => {
  const text = fc.stringMatching(/^[a-z .=+-]{0,8}$/);
  fc.assert(
    fc.property(text, fc.constantFrom('@', '%', '!', '^', '::', ':', ','), text, (before, routing, after) => {
      const parsed = parse(`"${before}${routing}${after}"@local.example`);
      if (parsed === undefined) throw new Error('does not parse');
      return readings(parsed).length > 1;
    }),
    { numRuns: 500 },
  );
});
