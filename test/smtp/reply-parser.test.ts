import fc from 'fast-check';
import t from 'tap';
import {
  authKeyword,
  NO_CAPABILITIES,
  offeredKeywords,
  parseCapabilities,
  smallerLimit,
} from '../../src/smtp/capabilities.js';
import { MAX_REPLY_LINE, MAX_REPLY_LINES, ReplyParser } from '../../src/smtp/reply-parser.js';
import { chunkings, cut } from '../support/chunkings.js';

const parse = (chunks: readonly Buffer[]): string[] => {
  const parser = new ReplyParser();
  const seen: string[] = [];
  for (const chunk of chunks) {
    parser.push(chunk);
    for (;;) {
      const found = parser.next();
      if (found.kind === 'need-more') break;
      if (found.kind === 'fault') return [...seen, `fault: ${found.why}`];
      const { code, enhanced, lines } = found.reply;
      seen.push(`${code} ${enhanced ?? '-'} ${lines.join('|')}`);
    }
  }
  return parser.pending > 0 ? [...seen, 'pending'] : seen;
};

const octets = (text: string): Buffer => Buffer.from(text, 'latin1');

const CASES: readonly [string, readonly string[]][] = [
  ['250 ok\r\n', ['250 - ok']],
  ['250 2.1.5 ok\r\n', ['250 2.1.5 ok']],
  ['250 2.1.5\r\n', ['250 2.1.5 ']],
  ['550 2.1.5 no\r\n', ['550 - 2.1.5 no']],
  ['250\r\n', ['250 - ']],
  ['250 ok\n', ['250 - ok']],
  ['220-a\r\n220-b\r\n220 c\r\n', ['220 - a|b|c']],
  ['550-5.1.1 a\r\n550 5.1.1 b\r\n', ['550 5.1.1 a|b']],
  ['250 a\r\n250 b\r\n', ['250 - a', '250 - b']],
  ['250 a\tb\x07c\r\n', ['250 - a b?c']],
  ['250-a\r\n', ['pending']],
  ['25', ['pending']],
  ['250-a\r\n251 b\r\n', ['fault: different codes in one reply']],
  ['hello\r\n', ['fault: a line without a reply code']],
  ['150 x\r\n', ['fault: a line without a reply code']],
  ['2500\r\n', ['fault: a line without a reply code']],
  ['\r\n', ['fault: a line without a reply code']],
];

t.test('upstream replies at every cut', async (t) => {
  for (const [stream, seen] of CASES) {
    for (const chunks of chunkings(octets(stream))) t.strictSame(parse(chunks), seen, JSON.stringify(stream));
  }
});

t.test('limits', async (t) => {
  const line = (length: number): Buffer => octets(`250 ${'x'.repeat(length - 6)}\r\n`);
  t.match(parse([line(MAX_REPLY_LINE)])[0], /^250/);
  t.match(parse([line(MAX_REPLY_LINE + 1)])[0], /^fault: a line longer/);
  t.match(parse([Buffer.alloc(MAX_REPLY_LINE + 1, '2')])[0], /^fault: a line longer/, 'without an end, too');
  const lines = (n: number): Buffer => octets(`${'250-x\r\n'.repeat(n - 1)}250 x\r\n`);
  t.match(parse([lines(MAX_REPLY_LINES)])[0], /^250/);
  t.match(parse([lines(MAX_REPLY_LINES + 1)])[0], /^fault: a reply of more/);
});

t.test('fast-check: no throw, every cut agrees, nothing unprintable', async () => {
  const part = fc.constantFrom('250', '-', ' ', '2.1.0', 'x', '\r\n', '\n', '\r', '\0', '5', '354', '\x1b');
  fc.assert(
    fc.property(fc.array(part, { maxLength: 30 }), fc.array(fc.nat(), { maxLength: 8 }), (parts, at) => {
      const stream = octets(parts.join(''));
      const whole = parse([stream]);
      const clean = whole.every((text) => !/[\x00-\x1f]/.test(text));
      return clean && JSON.stringify(parse(cut(stream, at))) === JSON.stringify(whole);
    }),
    { numRuns: 3_000 },
  );
});

t.test('capabilities: what is understood, and what is offered', async (t) => {
  const caps = parseCapabilities([
    'mta.example Hello',
    'size 1000',
    '8bitmime',
    'SMTPUTF8',
    'DSN',
    'X-EVIL',
    'CHUNKING',
  ]);
  t.same(caps, { esmtp: true, pipelining: false, size: 1000, eightBitMime: true, smtpUtf8: true, dsn: true });
  t.equal(parseCapabilities(['x', 'SMTPUTF8']).smtpUtf8, false, 'RFC 6531 3.1: not without 8BITMIME');
  t.equal(parseCapabilities(['x', 'SIZE']).size, 0);
  t.equal(parseCapabilities(['x', 'SIZE many']).size, 0);
  t.equal(parseCapabilities(['SIZE 5']).size, undefined, 'the first line is a name');
  const own = { maxSize: 0, starttls: false };
  t.same(offeredKeywords(NO_CAPABILITIES, own), ['PIPELINING', 'SIZE', 'ENHANCEDSTATUSCODES']);
  t.same(offeredKeywords(caps, { maxSize: 900, starttls: true }), [
    'PIPELINING',
    'SIZE 900',
    '8BITMIME',
    'SMTPUTF8',
    'DSN',
    'ENHANCEDSTATUSCODES',
    'STARTTLS',
  ]);
  t.same(authKeyword(['PLAIN', 'LOGIN']), ['AUTH PLAIN LOGIN']);
  t.same(authKeyword([]), []);
  t.same(
    [smallerLimit(0, undefined), smallerLimit(5, 0), smallerLimit(0, 7), smallerLimit(5, 7)],
    [0, 5, 7, 5],
  );
});
