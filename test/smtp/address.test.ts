import fc from 'fast-check';
import t from 'tap';
import { strictName, toAscii } from '../../src/base/idn.js';
import {
  MAX_HOPS,
  type PathFault,
  parsePath,
  pathText,
  printPath,
  senderDomain,
} from '../../src/smtp/address.js';
import { describeAddress } from '../../src/smtp/describe-address.js';
import { parseDomainName } from '../../src/smtp/domain.js';
import type { Path } from '../../src/smtp/path.js';

const wire = (text: string): string => Buffer.from(text, 'utf8').toString('latin1');
const parse = (text: string, utf8 = false, nullAllowed = false) =>
  parsePath(wire(text), { utf8, nullAllowed });

const path = (text: string, utf8 = false): Path => {
  const parsed = parse(text, utf8, true);
  if (!parsed.ok) throw new Error(`${text}: ${parsed.error}`);
  return parsed.value;
};

const fault = (text: string, utf8 = false): PathFault | undefined => {
  const parsed = parse(text, utf8);
  return parsed.ok ? undefined : parsed.error;
};

t.test('kinds of paths', async (t) => {
  const name = (ascii: string) => ({ kind: 'name', ascii, text: ascii });
  t.same(path('<>'), { kind: 'null' });
  t.equal(fault('<>'), 'empty', 'null only where it is allowed');
  for (const text of ['<postmaster>', '<PostMaster>', '<"POSTMASTER">'])
    t.same(path(text), { kind: 'postmaster' });
  t.same(path('<bob>'), { kind: 'unqualified', local: 'bob' });
  t.same(path('<Bob@Local.EXAMPLE.>'), { kind: 'mailbox', local: 'Bob', domain: name('local.example') });
  t.same(path('<postmaster@local.example>'), {
    kind: 'mailbox',
    local: 'postmaster',
    domain: name('local.example'),
  });
  const final = { kind: 'mailbox', local: 'c', domain: name('d.example') };
  const routed = { kind: 'routed', hops: [name('a.example'), name('b.example')], final };
  t.same(path('<@a.example,@b.example:c@d.example>'), routed);
  t.same(path('<@a.example:@b.example:c@d.example>'), routed, 'chained with colons');
  t.same(path('<@[IPv6:2001:db8::1],@[192.0.2.1]:c>'), {
    kind: 'routed',
    hops: [
      { kind: 'literal', ip: '2001:db8::1' },
      { kind: 'literal', ip: '192.0.2.1' },
    ],
    final: { kind: 'unqualified', local: 'c' },
  });
});

t.test('literals', async (t) => {
  for (const [text, printed] of [
    ['[192.0.2.1]', '[192.0.2.1]'],
    ['[IPv6:2001:DB8:0:0::1]', '[IPv6:2001:db8::1]'],
    ['[ipv6:2001:db8::1]', '[IPv6:2001:db8::1]'],
    ['[IPv6:::ffff:192.0.2.99]', '[192.0.2.99]'],
    ['[IPv6:::ffff:c000:0263]', '[192.0.2.99]'],
  ] as const)
    t.equal(printPath(path(`<a@${text}>`)), `<a@${printed}>`, text);
  for (const text of [
    '[127.1]',
    '[2130706433]',
    '[0x7f000001]',
    '[0300.0.02.0143]',
    '[192.0.2.099]',
    '[::1]',
    '[2001:db8::1]',
    '[::ffff:192.0.2.99]',
    '[IPv6:192.0.2.1]',
    '[IPv6:fe80::1%eth0]',
    '[IPv6:]',
    '[]',
    '[victim.example]',
    '[192.0.2.1',
    '192.0.2.1]',
    '[[192.0.2.1]]',
    '[192.0.2.1].',
    '[192.0.2.1]x',
    '[X-foo:bar]',
    '[192.0.2.1]@local.example',
  ])
    t.ok(fault(`<a@${text}>`), text);
});

t.test('domains', async (t) => {
  for (const text of [
    'a_b.example',
    '_x.example',
    'localhost',
    '1st.example',
    'a--b.example',
    '0x7g.example',
  ])
    t.equal(fault(`<a@${text}>`), undefined, text);
  for (const text of [
    '',
    '.',
    '.a',
    'a..b',
    'a.example..',
    '-a.example',
    'a-.example',
    'a b',
    'a.example:',
    'a/b',
    '$j',
    '(x)local.example',
    'local.example(x)',
    '"local.example"',
    'victim.example\\.local.example',
    'local.example;x',
    'local.example,x',
    'a%b.example',
    'a!b.example',
  ])
    t.equal(fault(`<a@${text}>`), 'domain', text);
  const numeric = [
    '192.0.2.99',
    '3221226083',
    '0300.0.02.0143',
    '0x7f.1',
    '127.0x1',
    '0xc0000263',
    '1.2.3.0x',
  ];
  for (const text of [...numeric, ...numeric.map((text) => `${text}.`), 'host.123', '0X7F.0X1'])
    t.equal(fault(`<a@${text}>`), 'domain', text);
});

t.test('a name is the same with a dot at its end', async () => {
  const label = fc.oneof(
    fc.stringMatching(/^[A-Za-z0-9_-]{0,4}$/),
    fc.constantFrom(
      'xn--a',
      'xn--bcher-kva',
      'a--b',
      '0x1f',
      '12',
      'a'.repeat(63),
      'a'.repeat(64),
      'b\u00fccher',
    ),
  );
  fc.assert(
    fc.property(fc.array(label, { minLength: 1, maxLength: 5 }), (labels) => {
      const name = labels.join('.');
      if (name.endsWith('.')) return;
      const [plain, dotted] = [parseDomainName(name), parseDomainName(`${name}.`)];
      if (JSON.stringify(plain) !== JSON.stringify(dotted)) throw new Error(name);
    }),
    { numRuns: 5000 },
  );
});

t.test('local parts', async (t) => {
  for (const local of [
    "o'hara",
    'bob+tag',
    'bob-x_y=z',
    'a&b',
    'first.last',
    '#1',
    '*',
    '{x}',
    'a/b',
    'bob?',
    "!#$%&'*+-/=?^_`{|}~",
    '"john doe"',
    '" "',
    '"a@b"',
    '"\\"\\\\"',
    '".a"',
    '""',
  ])
    t.equal(printPath(path(`<${local}@a.example>`)), `<${local}@a.example>`, local);
  t.equal(printPath(path('<"bob"@a.example>')), '<bob@a.example>', 'needless quotes go');
  t.equal(printPath(path('<"b\\o\\b.x"@a.example>')), '<bob.x@a.example>', 'needless escapes go');
  for (const local of [
    '.a',
    'a.',
    'a..b',
    'a b',
    'a\\@b',
    'a(x)',
    'a,b',
    'a;b',
    'a:b',
    'a[b]',
    'a"b"',
    'a"@"b',
    '',
    'list:x',
    'uuvictim::x',
    '"a".b',
    '"a""b"',
    '"a" ',
    '"a',
    '"a\\"',
    '"',
  ])
    t.ok(fault(`<${local}@a.example>`), local);
  t.equal(fault('<a@b.example@c.example>'), 'several-ats');
  t.equal(fault('<a@@c.example>'), 'several-ats');
});

t.test('brackets', async (t) => {
  for (const text of [
    '',
    '<',
    '>',
    '<a@b.example',
    'a@b.example>',
    'a@b.example',
    ' <a@b.example>',
    '<a@b.example> ',
  ])
    t.equal(fault(text), 'brackets', JSON.stringify(text));
  for (const text of [
    '<<a@b.example>>',
    '<a@b.example><c@d.example>',
    '<a<b@c.example>',
    '<a@b.example>x>',
    '<@>',
  ])
    t.ok(fault(text), text);
});

t.test('source routes that are none', async (t) => {
  for (const text of [
    '@:a@b.example',
    '@a.example:',
    '@a.example',
    '@a.example,:x@b.example',
    '@a.example,x@b.example',
    '@a.example,,@b.example:x@c.example',
    '@a.example;x@b.example',
    '@a.example:@b.example',
    '@a.example: x@b.example',
    '@a.example :x@b.example',
    '@192.0.2.1:x@b.example',
    '@a.example::x@b.example',
    '@[127.1]:x@b.example',
    '@a.example:b.example:x',
  ])
    t.ok(fault(`<${text}>`), text);
  const route = (hops: number): string => `<${Array(hops).fill('@a.example').join(',')}:x@b.example>`;
  t.equal(fault(route(MAX_HOPS)), undefined);
  t.equal(fault(route(MAX_HOPS + 1)), 'too-many-hops');
});

t.test('limits, at and one past', async (t) => {
  const a = (n: number): string => 'a'.repeat(n);
  t.equal(fault(`<${a(64)}@b.example>`), undefined);
  t.equal(fault(`<${a(65)}@b.example>`), 'local-part-too-long');
  t.equal(fault(`<${a(64)}>`), undefined);
  t.equal(fault(`<${a(65)}>`), 'local-part-too-long');
  t.equal(fault(`<"${a(60)} ."@b.example>`), undefined, 'quotes count');
  t.equal(fault(`<"${a(61)} ."@b.example>`), 'local-part-too-long');
  t.equal(fault(`<${'é'.repeat(32)}@b.example>`, true), undefined, 'octets count');
  t.equal(fault(`<${'é'.repeat(32)}a@b.example>`, true), 'local-part-too-long');
  t.equal(fault(`<a@${a(63)}.example>`), undefined);
  t.equal(fault(`<a@${a(64)}.example>`), 'domain');
  const long = (n: number): string => `<a@${`${a(63)}.`.repeat(3)}${a(n)}>`;
  t.equal(long(60).length, 256);
  t.equal(fault(long(60)), undefined);
  t.equal(fault(long(61)), 'too-long');
});

t.test('octets that are not printable ASCII', async (t) => {
  for (let octet = 0; octet < 256; octet++) {
    if (octet >= 0x20 && octet < 0x7f) continue;
    const c = String.fromCharCode(octet);
    const expected = octet < 0x80 ? 'control-character' : 'non-ascii';
    for (const text of [
      `<a${c}@b.example>`,
      `<"${c}"@b.example>`,
      `<a@b${c}.example>`,
      `<@b${c}.example:c@d.example>`,
    ]) {
      const parsed = parsePath(text, { utf8: false, nullAllowed: false });
      t.equal(parsed.ok ? undefined : parsed.error, expected, `${octet}`);
      t.notOk(parsePath(text, { utf8: true, nullAllowed: false }).ok, `${octet} is no UTF-8 by itself`);
    }
  }
  t.equal(fault('<bøb@local.example>'), 'non-ascii');
  const beyond = parsePath('<b\u{140}b@local.example>', { utf8: true, nullAllowed: false });
  t.same(beyond, { ok: false, error: 'utf-8' }, 'characters are octets here');
});

t.test('SMTPUTF8', async (t) => {
  t.same(path('<bøb@Bücher.example>', true), {
    kind: 'mailbox',
    local: 'bøb',
    domain: { kind: 'name', ascii: 'xn--bcher-kva.example', text: 'bücher.example' },
  });
  t.equal(printPath(path('<bøb@bücher.example>', true)), '<bøb@bücher.example>');
  t.equal(pathText(path('<bøb@bücher.example>', true)), 'bøb@xn--bcher-kva.example');
  t.equal(senderDomain(path('<a@日本.example>', true)), 'xn--wgv71a.example');
  t.equal(
    senderDomain(path('<a@l\u043ecal.example>', true)),
    'xn--lcal-55d.example',
    'a homoglyph is another name',
  );
  for (const text of [
    'a@ｌｏｃａｌ.example',
    'a@locaⅼ.example',
    'a@BÜCHER.example',
    'a@local。example',
    'a@l\u00adocal.example',
    'a@lo\u200bcal.example',
    'a@lo\u200dcal.example',
    'a@\u202elocal.example',
    'a@bu\u0308cher.example',
    'a＠local.example',
    'a\uff05victim.example@local.example',
    'a\uff01b@local.example',
    'ｄecode@local.example',
    '\u212aelvin@local.example',
    'a\u037eb@local.example',
    'a\u0085@local.example',
    'a\u200b@local.example',
    'a\u202e@local.example',
    'a\ufeff@local.example',
    'a\u00a0@local.example',
    'a\u3000@local.example',
    'a\ue000@local.example',
    'e\u0301@local.example',
    '"\\é"@local.example',
  ])
    t.ok(fault(`<${text}>`, true), JSON.stringify(text));
  for (const octets of ['\xc3', '\xff', '\xc0\x80', '\xed\xa0\x80', '\xf4\x90\x80\x80', '\xc0\xaf', '\x80'])
    t.notOk(parsePath(`<a${octets}@b.example>`, { utf8: true, nullAllowed: false }).ok, octets);
});

t.test('A-labels must be real', async (t) => {
  t.equal(senderDomain(path('<a@XN--BCHER-KVA.example>')), 'xn--bcher-kva.example');
  for (const label of ['xn--local-', 'xn--a', 'xn--', 'xn--0000h', 'xn--xn--a', 'a.xn--local-'])
    t.equal(fault(`<a@${label}.example>`), 'domain', label);
  t.equal(strictName('bücher.example'), 'xn--bcher-kva.example');
  t.equal(strictName('ｌocal.example'), undefined);
  t.equal(toAscii('ｌocal.example'), 'local.example', 'a list may be written in any form');
  t.equal(toAscii('a..b'), undefined);
});

t.test('texts', async (t) => {
  t.equal(pathText(path('<>')), '');
  t.equal(senderDomain(path('<>')), '');
  t.equal(senderDomain(path('<bob>')), '');
  t.equal(senderDomain(path('<a@[IPv6:2001:db8::1]>')), '[IPv6:2001:db8::1]');
  t.equal(senderDomain(path('<@a.example:b@c.example>')), 'c.example');
  t.equal(pathText(path('<@a.example:@b.example:"x y"@c.example>')), '@a.example,@b.example:"x y"@c.example');
});

t.test('describeAddress', async (t) => {
  t.same(describeAddress('a b@c.example'), { outcome: 'fault', fault: 'local-part' });
  t.match(describeAddress(' "bob"@Local.example '), {
    outcome: 'address',
    canonical: '<bob@local.example>',
    text: 'bob@local.example',
    hazard: undefined,
    readings: [{ kind: 'domain', domain: 'local.example', via: 'plain' }],
    routedSender: false,
  });
  t.match(describeAddress('<x%victim.example@local.example>'), {
    readings: [{ domain: 'local.example' }, { domain: 'victim.example', via: 'percent' }],
    routedSender: true,
  });
  t.match(describeAddress('"|x"@local.example'), { outcome: 'hazard', hazard: 'pipe' });
  t.match(describeAddress('<>'), { outcome: 'address', canonical: '<>', readings: [] });
});

const piece = fc.constantFrom(
  ...[
    'a',
    'bob',
    '@',
    '.',
    '..',
    '"',
    '\\',
    '<',
    '>',
    ' ',
    ',',
    ':',
    '%',
    '!',
    '^',
    '[',
    ']',
    '(',
    ')',
    ';',
    '|',
  ],
  ...[
    'a.example',
    'local.example',
    '[192.0.2.1]',
    '[IPv6:2001:db8::1]',
    'postmaster',
    'xn--bcher-kva',
    '\r',
    '\n',
  ],
  ...['é', '日本', '＠', '\u0301', '\0', '1', '-', '_', '$', 'bücher', '@a.example:'],
);

t.test('parse after print is identity, and print has no control octets', async (t) => {
  const texts = fc.array(piece, { maxLength: 12 }).map((pieces) => pieces.join(''));
  const locals = fc.string({ unit: 'grapheme', maxLength: 20 }).map((local) => {
    return `"${local.replace(/["\\]/g, '\\$&')}"@a.example`;
  });
  let parsed = 0;
  fc.assert(
    fc.property(fc.oneof(texts, locals), (text) => {
      const first = parse(`<${text}>`, true, true);
      if (!first.ok) return;
      parsed += 1;
      const printed = printPath(first.value);
      if (/[\x00-\x1f\x7f-\x9f]/.test(printed)) throw new Error(`control: ${JSON.stringify(printed)}`);
      const second = parse(printed, true, true);
      if (JSON.stringify(second) !== JSON.stringify(first)) throw new Error(`another path: ${printed}`);
      if (!second.ok || printPath(second.value) !== printed) throw new Error(`not stable: ${printed}`);
    }),
    { numRuns: 3000 },
  );
  t.ok(parsed > 300, `${parsed} of them parse`);
});
