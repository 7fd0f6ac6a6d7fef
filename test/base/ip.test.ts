import { isIP } from 'node:net';
import fc from 'fast-check';
import t from 'tap';
import { type Cidr, type Ip, IpSet, parseCidr, parseIp } from '../../src/base/ip.js';

const ip = (text: string): Ip => {
  const found = parseIp(text);
  if (found === undefined) throw new Error(`not an address: ${text}`);
  return found;
};
const cidr = (text: string): Cidr => {
  const found = parseCidr(text);
  if (!found.ok) throw new Error(`${text}: ${found.error}`);
  return found.value;
};
const set = (...texts: string[]): IpSet => IpSet.of(texts.map(cidr));

t.test('addresses in canonical form', async (t) => {
  const cases: readonly (readonly [string, 4 | 6, string])[] = [
    ['192.0.2.1', 4, '192.0.2.1'],
    ['0.0.0.0', 4, '0.0.0.0'],
    ['255.255.255.255', 4, '255.255.255.255'],
    ['::', 6, '::'],
    ['::1', 6, '::1'],
    ['1::', 6, '1::'],
    ['2001:DB8:0:0:1:0:0:1', 6, '2001:db8::1:0:0:1'],
    ['2001:db8:0:1:1:1:1:1', 6, '2001:db8:0:1:1:1:1:1'],
    ['2001:0db8:0000:0000:0000:0000:0000:0001', 6, '2001:db8::1'],
    ['1:2:3:4:5:6:7::', 6, '1:2:3:4:5:6:7:0'],
    ['1:0:0:2:0:0:0:3', 6, '1:0:0:2::3'],
    ['::192.0.2.1', 6, '::c000:201'],
    // IPv4-mapped in every spelling.
    ['::ffff:192.0.2.1', 4, '192.0.2.1'],
    ['::FFFF:c000:201', 4, '192.0.2.1'],
    ['0:0:0:0:0:ffff:192.0.2.1', 4, '192.0.2.1'],
    ['0000:0000:0000:0000:0000:ffff:c000:0201', 4, '192.0.2.1'],
    ['::0:ffff:c000:201', 4, '192.0.2.1'],
  ];
  for (const [text, family, canonical] of cases)
    t.match(parseIp(text), { family, text: canonical }, `${text} is ${canonical}`);
});

t.test('what is no address', async (t) => {
  const texts = [
    '',
    ' ',
    '1',
    '1.2',
    '1.2.3',
    '1.2.3.4.5',
    '1.2.3.256',
    '01.2.3.4',
    '1.2.3.04',
    '0x7f.0.0.1',
    '1.2.3.4 ',
    '.1.2.3.4',
    '1.2.3.4.',
    '1..3.4',
    '2130706433',
    '-1.2.3.4',
    '1.2.3.4/32',
    ':',
    ':::',
    '1:2:3:4:5:6:7',
    '1:2:3:4:5:6:7:8:9',
    '1::2::3',
    '1:2:3:4:5:6:7::8',
    '12345::',
    'g::',
    'fe80::1%eth0',
    '[::1]',
    ':1',
    '1:',
    '1.2.3.4::',
    '::1.2.3.4:5',
    '::1.2.3',
    '::ffff:01.2.3.4',
    '1:2:3:4:5:6:7:1.2.3.4',
    'IPv6:::1',
    '\u0661.2.3.4',
  ];
  for (const text of texts) t.equal(parseIp(text), undefined, JSON.stringify(text));
});

const v4Text = fc.ipV4();
const v6Text = fc.ipV6();

t.test('agrees with the platform, and canonical text is a fixed point', async (t) => {
  const nearly = fc.string({ unit: fc.constantFrom(...'0123456789abcdefF:./'), maxLength: 24 });
  fc.assert(
    fc.property(fc.oneof(v4Text, v6Text, nearly), (text) => {
      const found = parseIp(text);
      if ((found !== undefined) !== (isIP(text) !== 0)) return false;
      return found === undefined || (ip(found.text).text === found.text && isIP(found.text) === found.family);
    }),
    { numRuns: 1000 },
  );
  t.pass('holds');
});

t.test('CIDR blocks', async (t) => {
  t.equal(cidr('192.0.2.0/24').text, '192.0.2.0/24');
  t.equal(cidr('192.0.2.1').text, '192.0.2.1/32');
  t.equal(cidr('2001:DB8::/32').text, '2001:db8::/32');
  t.equal(cidr('::1').text, '::1/128');
  t.match(cidr('::ffff:10.0.0.0/104'), { family: 4, prefix: 8, text: '10.0.0.0/8' });
  t.match(cidr('::ffff:1.0.0.0/104'), { family: 4, prefix: 8, text: '1.0.0.0/8' });
  t.match(cidr('::ffff:0:0/96'), { family: 4, prefix: 0, text: '0.0.0.0/0' });
  t.match(cidr('::ffff:192.0.2.1'), { family: 4, prefix: 32 });
  t.match(cidr('::/95'), { family: 6, prefix: 95 });
  t.equal(cidr('0.0.0.0/0').prefix, 0);
  t.equal(cidr('1.2.3.4/32').prefix, 32);
  t.equal(cidr('::1/128').prefix, 128);
  t.same(cidr('10.0.0.0/31').last, [0x0a000001]);
  t.same(cidr('2001:db8::/33').last, [0x20010db8, 0x7fffffff, 0xffffffff, 0xffffffff]);
  const wrong: readonly (readonly [string, RegExp])[] = [
    ['192.0.2.1/24', /^host bits set: did you mean 192\.0\.2\.0\/24\?$/],
    ['2001:db8::1/32', /did you mean 2001:db8::\/32\?/],
    ['::ffff:10.0.0.1/104', /did you mean 10\.0\.0\.0\/8\?/],
    ['10.0.0.0/33', /0 to 32 for IPv4/],
    ['::/129', /0 to 128 for IPv6/],
    ['10.0.0.0/08', /prefix length/],
    ['10.0.0.0/', /prefix length/],
    ['10.0.0.0/-1', /prefix length/],
    ['10.0.0.0/8/8', /prefix length/],
    ['10.0.0.0/255.0.0.0', /did you mean 10\.0\.0\.0\/8\?/],
    ['10.1.2.3/255.255.0.0', /did you mean 10\.1\.0\.0\/16\?/],
    ['10.0.0.0/255.0.255.0', /^not an IP address/],
    ['192.168.', /did you mean 192\.168\.0\.0\/16\?/],
    ['192.168.1', /did you mean 192\.168\.1\.0\/24\?/],
    ['10.0.0/24', /did you mean 10\.0\.0\.0\/24\?/],
    ['campus', /^not an IP address/],
    ['', /^not an IP address/],
    ['300.0.0.0/8', /^not an IP address/],
  ];
  for (const [text, error] of wrong) {
    const found = parseCidr(text);
    t.match(found.ok ? found.value.text : found.error, error, JSON.stringify(text));
    t.equal(found.ok, false);
  }
});

t.test('a set knows its first and last addresses and not their neighbours', async (t) => {
  const some = set('10.0.0.0/8', '192.0.2.16/28', '2001:db8::/33', '0.0.0.0', '255.255.255.255');
  const inside = [
    '10.0.0.0',
    '10.255.255.255',
    '192.0.2.16',
    '192.0.2.31',
    '2001:db8::',
    '2001:db8:7fff:ffff:ffff:ffff:ffff:ffff',
  ];
  for (const text of [...inside, '0.0.0.0', '255.255.255.255', '::ffff:10.1.2.3'])
    t.ok(some.has(ip(text)), text);
  const outside = [
    '9.255.255.255',
    '11.0.0.0',
    '192.0.2.15',
    '192.0.2.32',
    '2001:db7:ffff:ffff:ffff:ffff:ffff:ffff',
  ];
  for (const text of [...outside, '2001:db8:8000::', '0.0.0.1', '255.255.255.254', '::'])
    t.notOk(some.has(ip(text)), text);
});

t.test('families never mix', async (t) => {
  t.notOk(set('0.0.0.0/0').has(ip('2001:db8::1')));
  t.notOk(set('32.0.0.0/8').has(ip('2001:db8::1')));
  t.notOk(set('::/0').has(ip('192.0.2.1')));
  t.notOk(set('::/0').has(ip('::ffff:192.0.2.1')));
  t.ok(set('::/0').has(ip('::')));
  t.notOk(IpSet.of([]).has(ip('0.0.0.0')));
});

t.test('merges what overlaps or touches', async (t) => {
  t.equal(set('10.0.0.0/9', '10.128.0.0/9', '10.1.0.0/16').size, 1);
  t.equal(set('10.0.0.0/24', '10.0.2.0/24').size, 2);
  t.equal(set('255.255.255.255', '255.255.255.254', '0.0.0.0').size, 2);
  t.equal(set('::/1', '8000::/1', '::5').size, 1);
  t.equal(IpSet.of([]).size, 0);
  t.ok(set('10.0.0.0/9', '10.128.0.0/9').covers(cidr('10.0.0.0/8')));
  t.notOk(set('10.0.0.0/9', '10.128.0.0/10').covers(cidr('10.0.0.0/8')));
  t.notOk(set('10.0.0.0/24', '10.0.2.0/24').covers(cidr('10.0.0.0/22')));
  t.notOk(set('0.0.0.0/0').covers(cidr('::1')));
});

t.test('share of the address space', async (t) => {
  t.equal(set('0.0.0.0/0').share(4), 1);
  t.equal(set('0.0.0.0/1', '128.0.0.0/1').share(4), 1);
  t.equal(set('0.0.0.0/0').share(6), 0);
  t.equal(set('::/0').share(6), 1);
  t.equal(set('10.0.0.0/8', '11.0.0.0/8').share(4), 1 / 128);
  t.equal(set('2000::/3').share(6), 1 / 8);
  t.equal(set('192.0.2.1').share(4), 2 ** -32);
});

t.test('agrees with a plain search through the blocks', async (t) => {
  const word = fc.integer({ min: 0, max: 0xffffffff });
  // Few high bits, so that blocks and addresses meet often.
  const near = fc
    .tuple(fc.constantFrom(0x0a000000, 0, 0xffffff00), fc.integer({ min: 0, max: 255 }))
    .map(([a, b]) => a + b);
  const quad = (n: number): string => [24, 16, 8, 0].map((bits) => (n >>> bits) & 255).join('.');
  const block = fc.tuple(fc.oneof(near, word), fc.integer({ min: 0, max: 32 })).map(([n, prefix]) => {
    const mask = prefix === 0 ? 0 : (-1 << (32 - prefix)) >>> 0;
    return {
      low: (n & mask) >>> 0,
      high: ((n & mask) | ~mask) >>> 0,
      text: `${quad((n & mask) >>> 0)}/${prefix}`,
    };
  });
  const v6 = (n: number, high: boolean): string =>
    `${high ? `2001:db8:${(n >>> 16).toString(16)}:${(n & 0xffff).toString(16)}::` : `2001:db8::${(n >>> 16).toString(16)}:${(n & 0xffff).toString(16)}`}`;
  fc.assert(
    fc.property(
      fc.array(block, { maxLength: 12 }),
      fc.array(fc.oneof(near, word), { maxLength: 8 }),
      fc.boolean(),
      (blocks, probes, high) => {
        const four = IpSet.of(blocks.map(({ text }) => cidr(text)));
        const shift = high ? 32 : 96;
        const six = IpSet.of(
          blocks.map(({ low, text }) => cidr(`${v6(low, high)}/${shift + Number(text.split('/')[1])}`)),
        );
        return [...probes, ...blocks.flatMap(({ low, high: last }) => [low, last])].every((n) => {
          const expected = blocks.some(({ low, high: last }) => n >= low && n <= last);
          return four.has(ip(quad(n))) === expected && six.has(ip(v6(n, high))) === expected;
        });
      },
    ),
    { numRuns: 300 },
  );
  t.pass('holds');
});
