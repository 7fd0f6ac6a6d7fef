import fc from 'fast-check';
import t from 'tap';
import { LineScanner } from '../../src/smtp/line-scanner.js';
import { chunkings, cut, hostileOctets } from '../support/chunkings.js';

/** What a scanner makes of a stream, as text; it ends with the fault or with the number of octets left over. */
const scan = (chunks: readonly Buffer[], limit = 512, skipLimit = 65_536): string[] => {
  const scanner = new LineScanner({ limit, skipLimit });
  const seen: string[] = [];
  for (const chunk of chunks) {
    scanner.push(chunk);
    for (;;) {
      const found = scanner.next();
      if (found.kind === 'need-more') break;
      if (found.kind === 'line') seen.push(`line ${found.buffer.toString('latin1', found.start, found.end)}`);
      else if (found.kind === 'too-long') seen.push('too-long');
      else return [...seen, found.kind === 'fault' ? `fault ${found.fault}` : found.kind];
    }
  }
  return [...seen, `pending ${scanner.pending}`];
};

const octets = (text: string): Buffer => Buffer.from(text, 'latin1');

const CASES: readonly [what: string, stream: string, seen: readonly string[]][] = [
  ['a line', 'NOOP\r\n', ['line NOOP', 'pending 0']],
  ['two lines', 'A\r\nBC\r\n', ['line A', 'line BC', 'pending 0']],
  ['an empty line', '\r\n\r\n', ['line ', 'line ', 'pending 0']],
  ['nothing', '', ['pending 0']],
  ['an unfinished line', 'NOO', ['pending 3']],
  ['an unfinished line end', 'NOOP\r', ['pending 5']],
  ['bare LF', 'NOOP\nRSET\r\n', ['fault bare-lf']],
  ['bare LF at the start', '\n', ['fault bare-lf']],
  ['LF CR', 'A\n\r', ['fault bare-lf']],
  ['bare CR', 'NO\rOP\r\n', ['fault bare-cr']],
  ['CR CR LF', 'A\r\r\n', ['fault bare-cr']],
  ['NUL', 'NO\0OP\r\n', ['fault nul']],
  ['NUL behind CR', 'A\r\0', ['fault bare-cr']],
  ['lines before a fault count', 'A\r\nB\nC\r\n', ['line A', 'fault bare-lf']],
  ["eight bits are the parser's affair", 'A\xe9\r\n', ['line A\xe9', 'pending 0']],
];

t.test('command framing, at every cut and with trailing octets', async (t) => {
  for (const [what, stream, seen] of CASES) {
    for (const chunks of chunkings(octets(stream))) t.strictSame(scan(chunks), seen, what);
    if (seen.at(-1) !== 'pending 0') continue;
    for (const chunks of chunkings(octets(`${stream}XY`))) {
      t.strictSame(scan(chunks), [...seen.slice(0, -1), 'pending 2'], `${what}, then more`);
    }
  }
});

t.test('the limit counts CRLF; a longer line is one bad command', async (t) => {
  const line = (length: number): Buffer => octets(`${'x'.repeat(length - 2)}\r\n`);
  for (const limit of [512, 1024, 12_288]) {
    t.strictSame(scan([line(limit)], limit), [`line ${'x'.repeat(limit - 2)}`, 'pending 0']);
    t.strictSame(scan([line(limit + 1)], limit), ['too-long', 'pending 0']);
    t.strictSame(
      scan(
        [...line(limit + 1)].map((x) => Buffer.from([x])),
        limit,
      ),
      ['too-long', 'pending 0'],
    );
  }
  for (const chunks of chunkings(octets('0123456789\r\nNOOP\r\n'))) {
    t.strictSame(scan(chunks, 8), ['too-long', 'line NOOP', 'pending 0'], 'and the next one is read');
  }
  for (const chunks of chunkings(octets('0123456789\n'))) t.strictSame(scan(chunks, 8), ['fault bare-lf']);
});

t.test('a line that never ends is given up', async (t) => {
  for (const chunks of chunkings(octets(`${'x'.repeat(18)}\r\n`))) {
    t.strictSame(scan(chunks, 8, 20), ['too-long', 'pending 0'], 'at the limit');
  }
  for (const chunks of chunkings(octets(`${'x'.repeat(19)}\r\n`))) {
    t.equal(scan(chunks, 8, 20).at(-1), 'far-too-long', 'one past it');
  }
});

t.test('memory does not grow with an over-long line', async (t) => {
  const scanner = new LineScanner({ limit: 512, skipLimit: 1e9 });
  for (let i = 0; i < 1000; i += 1) {
    scanner.push(Buffer.alloc(65_536, 'x'));
    t.equal(scanner.next().kind, 'need-more');
  }
  t.equal(scanner.pending, 65_536_000);
});

t.test('fast-check: every cut agrees, and lines hold no line end', async () => {
  fc.assert(
    fc.property(hostileOctets(30), fc.array(fc.nat(), { maxLength: 8 }), (stream, at) => {
      const whole = scan([stream], 12, 30);
      return (
        JSON.stringify(scan(cut(stream, at), 12, 30)) === JSON.stringify(whole) &&
        whole.every((line) => !/[\r\n\0]/.test(line))
      );
    }),
    { numRuns: 3_000 },
  );
});
