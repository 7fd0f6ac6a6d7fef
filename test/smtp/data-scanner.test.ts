import { spawnSync } from 'node:child_process';
import fc from 'fast-check';
import t from 'tap';
import { type DataLimits, DataScanner } from '../../src/smtp/data-scanner.js';
import { WholeLines } from '../../src/smtp/whole-lines.js';
import { chunkings, cut, hostileOctets } from '../support/chunkings.js';

const STRICT: DataLimits = { lineLimit: 998, overLong: 'reject', eightBit: 'pass', bareLf: 'reject' };
const LENIENT: DataLimits = { ...STRICT, bareLf: 'convert' };

interface Seen {
  readonly out: string;
  readonly how: string;
  /** Octets behind the end or behind the fault, over all chunks. */
  readonly rest: number;
  readonly bytes: number;
}

const FAST = WholeLines.make();

const scan = (chunks: readonly Buffer[], limits = STRICT, simd = true): Seen => {
  const scanner = new DataScanner(limits, simd);
  let out = '';
  let left = chunks.reduce((sum, { length }) => sum + length, 0);
  for (const chunk of chunks) {
    const found = scanner.scan(chunk, (view) => {
      out += view.toString('latin1');
    });
    if (found.kind === 'end') return { out, how: 'end', rest: left - found.next, bytes: scanner.bytes };
    if (found.kind === 'fault') return { out, how: found.fault, rest: left - found.at, bytes: scanner.bytes };
    left -= chunk.length;
  }
  return { out, how: 'more', rest: 0, bytes: scanner.bytes };
};

const octets = (text: string): Buffer => Buffer.from(text, 'latin1');

const CASES: readonly [stream: string, limits: DataLimits, out: string, how: string][] = [
  ['.\r\n', STRICT, '', 'end'],
  ['a\r\n.\r\n', STRICT, 'a\r\n', 'end'],
  ['a\r\n\r\n.\r\n', STRICT, 'a\r\n\r\n', 'end'],
  ['a\r\n..\r\n.\r\n', STRICT, 'a\r\n..\r\n', 'end'],
  ['.a\r\n.\r\n', STRICT, '.a\r\n', 'end'],
  ['a.\r\n.\r\n', STRICT, 'a.\r\n', 'end'],
  ['a\tb\x01\r\n.\r\n', STRICT, 'a\tb\x01\r\n', 'end'],
  ['\xff\r\n.\r\n', STRICT, '\xff\r\n', 'end'],
  ['a\r\n.', STRICT, 'a\r\n', 'more'],
  ['a\r\n.\r', STRICT, 'a\r\n', 'more'],
  ['a\r', STRICT, 'a', 'more'],
  ['a\n.\nMAIL\r\n', STRICT, 'a', 'bare-lf'],
  ['a\n.\r\nMAIL\r\n', STRICT, 'a', 'bare-lf'],
  ['a\r\n.\nMAIL\r\n', STRICT, 'a\r\n.', 'bare-lf'],
  ['a\r.\r\n', STRICT, 'a', 'bare-cr'],
  ['a\r\n.\rMAIL', STRICT, 'a\r\n.', 'bare-cr'],
  ['a\r\n.\r\r\n', STRICT, 'a\r\n.', 'bare-cr'],
  ['a\r\r\n.\r\n', STRICT, 'a', 'bare-cr'],
  ['a\0b\r\n.\r\n', STRICT, 'a', 'nul'],
  ['a\r\n\0.\r\n', STRICT, 'a\r\n', 'nul'],
  ['a\r\n.\0\r\n', STRICT, 'a\r\n.', 'nul'],
  ['\xff\r\n.\r\n', { ...STRICT, eightBit: 'reject' }, '', 'eight-bit'],
  ['a\n.\nb\r\n.\r\n', LENIENT, 'a\r\n..\r\nb\r\n', 'end'],
  ['a\n.\r\nb\r\n.\r\n', LENIENT, 'a\r\n..\r\nb\r\n', 'end'],
  ['a\r\n.\nb\r\n.\r\n', LENIENT, 'a\r\n..\r\nb\r\n', 'end'],
  ['.\n.\r\n.\r\n', LENIENT, '..\r\n..\r\n', 'end'],
  ['a\n.b\n\n.\r\n.\r\n', LENIENT, 'a\r\n.b\r\n\r\n..\r\n', 'end'],
  ['a\n.\r\r\n', LENIENT, 'a\r\n.', 'bare-cr'],
  ['a\rb', LENIENT, 'a', 'bare-cr'],
];

t.test('data framing, at every cut and with trailing octets', async (t) => {
  for (const [stream, limits, out, how] of CASES) {
    const name = JSON.stringify(stream);
    const whole = scan([octets(stream)], limits);
    t.equal(whole.out, out, name);
    t.equal(whole.how, how, name);
    for (const chunks of chunkings(octets(stream))) t.strictSame(scan(chunks, limits), whole, name);
    if (how !== 'end') continue;
    t.equal(whole.rest, 0);
    for (const chunks of chunkings(octets(`${stream}QUIT\r\n`))) {
      t.strictSame(scan(chunks, limits), { ...whole, rest: 6 }, `${name}, then more`);
    }
  }
});

t.test('998 octets a line, without CRLF and the stuffed dot', async (t) => {
  const message = (length: number, dot = ''): Buffer => octets(`x\r\n${dot}${'y'.repeat(length)}\r\n.\r\n`);
  t.equal(scan([message(998)]).how, 'end');
  t.equal(scan([message(998, '.')]).how, 'end');
  t.equal(scan([message(999)]).how, 'data-line-too-long');
  t.equal(scan([message(999, '.')]).how, 'data-line-too-long');
  t.equal(scan([message(50_000)], { ...STRICT, overLong: 'pass' }).how, 'end');
  const small: DataLimits = { ...STRICT, lineLimit: 5 };
  for (const stream of [
    'ab\r\n123456\r\n.\r\n',
    '123456',
    '123456\n',
    '.123456\r\n',
    '12345\x006',
    '123456\r7',
  ]) {
    const whole = scan([octets(stream)], small);
    t.equal(whole.how, stream.includes('\0') ? 'nul' : 'data-line-too-long', JSON.stringify(stream));
    for (const chunks of chunkings(octets(stream))) t.strictSame(scan(chunks, small), whole, stream);
  }
});

t.test('after a fault of measure one may read on to the end', async (t) => {
  const stream = octets(`${'y'.repeat(7)}\r\n\xe9${'z'.repeat(9)}\r\n.\r\nQUIT`);
  for (const chunks of chunkings(stream)) {
    const scanner = new DataScanner({ ...STRICT, lineLimit: 5, eightBit: 'reject' });
    let ended = -1;
    let seen = 0;
    let faults = 0;
    for (const chunk of chunks) {
      let found = scanner.scan(chunk, () => {});
      let at = 0;
      while (found.kind === 'fault') {
        faults += 1;
        at += found.at;
        scanner.relax();
        found = scanner.scan(chunk.subarray(at), () => {});
      }
      if (found.kind === 'end') {
        ended = seen + at + found.next;
        break;
      }
      seen += chunk.length;
    }
    t.equal(ended, stream.length - 4);
    t.equal(faults, 1);
  }
});

t.test('size counts neither stuffing nor the final dot', async (t) => {
  t.equal(scan([octets('ab\r\n..\r\n.c\r\n.\r\n')]).bytes, 4 + 3 + 3);
  const scanner = new DataScanner({ ...STRICT, eightBit: 'reject' });
  scanner.reset(true);
  t.equal(scanner.scan(octets('\xe9\r\n.\r\n'), () => {}).kind, 'end', 'declared octets pass');
  scanner.reset();
  t.equal(scanner.scan(octets('\xe9\r\n.\r\n'), () => {}).kind, 'fault');
});

/** An independent, slow reading of the rule: lines end by CRLF, `.` alone ends the data. */
const model = (stream: string): { out: string; how: string } => {
  let out = '';
  let i = 0;
  for (;;) {
    const end = stream.indexOf('\r\n', i);
    const line = end < 0 ? stream.slice(i) : stream.slice(i, end);
    const bad = /\r(?!$)|\n|\0|\r$/.exec(line);
    if (bad !== null && !(end < 0 && bad[0] === '\r' && bad.index === line.length - 1)) {
      const how = bad[0] === '\n' ? 'bare-lf' : bad[0] === '\0' ? 'nul' : 'bare-cr';
      return { out: out + line.slice(0, bad.index), how };
    }
    if (end < 0) {
      const held = line === '.' || line === '.\r' ? line.length : line.endsWith('\r') ? 1 : 0;
      return { out: out + line.slice(0, line.length - held), how: 'more' };
    }
    if (line === '.') return { out, how: 'end' };
    out += `${line}\r\n`;
    i = end + 2;
  }
};

t.test('fast-check: agrees with the slow reading at every cut; nothing bare goes out', async () => {
  fc.assert(
    fc.property(hostileOctets(40), fc.array(fc.nat(), { maxLength: 8 }), (stream, at) => {
      const { out, how } = scan(cut(stream, at));
      const expected = model(stream.toString('latin1'));
      return out === expected.out && how === expected.how;
    }),
    { numRuns: 5_000 },
  );
  fc.assert(
    fc.property(hostileOctets(40), fc.array(fc.nat(), { maxLength: 8 }), (stream, at) => {
      const seen = scan(cut(stream, at), LENIENT);
      const whole = scan([stream], LENIENT);
      const bare = /\r(?!\n)|(?<!\r)\n|\0/.test(seen.out);
      const ends = /(?:^|\n)\.\r\n/.test(seen.out);
      return !bare && !ends && JSON.stringify(seen) === JSON.stringify(whole);
    }),
    { numRuns: 5_000 },
  );
});

/** Long enough to be looked at by SIMD, with what framing turns on at any place of its sixty-four octets. */
const longStreams: fc.Arbitrary<Buffer> = fc
  .array(
    fc.oneof(
      { weight: 6, arbitrary: fc.nat(90).map((n) => `${'x'.repeat(n)}\r\n`) },
      { weight: 1, arbitrary: fc.nat(40).map((n) => 'y'.repeat(n)) },
      { weight: 1, arbitrary: hostileOctets(3).map((octets) => octets.toString('latin1')) },
      { weight: 1, arbitrary: fc.nat(255).map((octet) => String.fromCharCode(octet)) },
      { weight: 1, arbitrary: fc.constantFrom('.', '..\r\n', '.x\r\n') },
    ),
    { minLength: 8, maxLength: 40 },
  )
  .map((parts) => Buffer.from(parts.join(''), 'latin1'));

t.test('by SIMD and octet by octet it is the same, whatever comes and however it is cut', async (t) => {
  if (FAST === undefined) {
    t.pass('this machine has no SIMD');
    return;
  }
  const limits = fc.record<DataLimits>({
    lineLimit: fc.constantFrom(998, 80, 65, 64, 63, 20),
    overLong: fc.constantFrom('reject', 'pass'),
    eightBit: fc.constantFrom('reject', 'pass'),
    bareLf: fc.constantFrom('reject', 'convert'),
  });
  let skipped = 0;
  fc.assert(
    fc.property(longStreams, limits, fc.array(fc.nat(), { maxLength: 4 }), (stream, limit, at) => {
      if (FAST.load(stream)) skipped += FAST.skip(0, 255, 998);
      const chunks = cut(stream, at);
      t.strictSame(scan(chunks, limit), scan(chunks, limit, false));
    }),
    { numRuns: 3_000 },
  );
  t.ok(skipped > 100_000, 'much was passed over');
  for (const octet of Array.from({ length: 256 }, (_, i) => i))
    for (let place = 0; place < 140; place += 1) {
      const stream = Buffer.from(`${'z'.repeat(30)}\r\n`.repeat(10), 'latin1');
      stream[place + 40] = octet;
      const both = [scan([stream]), scan([stream], STRICT, false)];
      if (JSON.stringify(both[0]) !== JSON.stringify(both[1])) t.fail(`octet ${octet} at ${place}`);
    }
});

t.test('what passes over lines is what its source says', async (t) => {
  const { status, stderr } = spawnSync(process.execPath, ['.ci/wasm.mjs', '--check'], { encoding: 'utf8' });
  t.equal(status, 0, stderr);
});
