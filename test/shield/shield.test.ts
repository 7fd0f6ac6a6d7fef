/** Each patch by itself: at its limit, one past it, in every mode, and cut at every place. */
import fc from 'fast-check';
import t, { type Test } from 'tap';
import {
  LENIENCY_NAMES,
  type Leniency,
  type Mode,
  PATCH_IDS,
  type PatchId,
} from '../../src/shield/patches.js';
import { type Finding, type ShieldRules, shieldRules } from '../../src/shield/rules.js';
import { Shield } from '../../src/shield/shield.js';
import { chunkings, cut } from '../support/chunkings.js';
import { EDGES, nested } from '../support/patch-edges.js';

const LOOPS = { maxReceived: 25, mark: '(sekisho-id=me)', maxMarked: 3 };

interface Seen {
  readonly finding: string | undefined;
  readonly shadows: readonly string[];
  /** Octets that were fed while the header section was held back. */
  readonly held: number;
}

const look = (chunks: readonly Buffer[], rules: ShieldRules, loops = LOOPS, utf8 = false): Seen => {
  const shadows: Finding[] = [];
  const shield = new Shield(loops, (finding) => shadows.push(finding));
  shield.reset(rules, utf8);
  let held = 0;
  let finding: Finding | 'loop' | undefined;
  for (const chunk of chunks) {
    finding = shield.feed(chunk);
    if (finding !== undefined) break;
    if (shield.holding) held += chunk.length;
  }
  finding ??= shield.finish();
  return {
    finding: typeof finding === 'object' ? finding.patch : finding,
    shadows: shadows.map(({ patch }) => patch),
    held,
  };
};

/** Everything in one mode, save for what is said. */
const all = (
  mode: Mode,
  others: Partial<Record<PatchId, Mode>> = {},
  lenient: readonly Leniency[] = [],
  headerBytes = 32_768,
): ShieldRules => shieldRules(() => mode, headerBytes, [{ modes: others, lenient }]);

const REJECT = all('reject', { tnef: 'off' });
const octets = (text: string): Buffer => Buffer.from(text.replace(/\r?\n/g, '\r\n'), 'latin1');

/** What is found, the same at every chunking: all places for short messages, some for long ones. */
const found = (
  t: Test,
  message: string | Buffer,
  rules = REJECT,
  loops = LOOPS,
  utf8 = false,
): string | undefined => {
  const stream = typeof message === 'string' ? octets(message) : message;
  const ways =
    stream.length < 600
      ? chunkings(stream)
      : [[stream], ...[1, 7, 512, 4_096].map((size) => pieces(stream, size))];
  const outcomes = new Set(ways.map((chunks) => look(chunks, rules, loops, utf8).finding));
  t.equal(outcomes.size, 1, `the same however it is cut: ${[...outcomes].join()}`);
  return [...outcomes][0];
};

const pieces = (stream: Buffer, size: number): Buffer[] =>
  Array.from({ length: Math.ceil(stream.length / size) }, (_, i) =>
    stream.subarray(i * size, (i + 1) * size),
  );

for (const id of PATCH_IDS) {
  t.test(id, async (t) => {
    const only = all('off', { [id]: 'reject' });
    for (const [passes, refused] of EDGES[id]) {
      t.equal(
        found(t, passes, all('reject', { tnef: id === 'tnef' ? 'reject' : 'off' })),
        undefined,
        'at the limit',
      );
      t.equal(found(t, refused, only), id, 'one past it');
      t.equal(found(t, refused, all('off')), undefined, 'off');
      const shadow = look([octets(refused)], all('off', { [id]: 'shadow' }));
      t.strictSame([shadow.finding, shadow.shadows], [undefined, [id]], 'in shadow it is told once');
    }
  });
}

t.test('leniencies let pass what they name, and nothing more', async (t) => {
  const cases: Readonly<Record<Leniency, readonly [passes: string, refused: string]>> = {
    'eight-bit-addresses': ['From: J\xf6rg \xc3\x9cber <a@b>\n\n', 'From: \x81 <a@b>\n\n'],
    'unbalanced-addresses': ['From: "a <b@c>\n\n', `From: "${'<'.repeat(33)}\n\n`],
    'long-comments': [`From: a@b (${'c'.repeat(1_000)})\n\n`, `From: a@b (${'c'.repeat(1_001)})\n\n`],
    'long-boundaries': [
      `Content-Type: multipart/mixed; boundary="${'b'.repeat(200)}"\n\n`,
      `Content-Type: multipart/mixed; boundary="${'b'.repeat(201)}"\n\n`,
    ],
    'many-parameters': [
      `Content-Type: text/plain${'; a=b'.repeat(50)}\n\n`,
      `Content-Type: text/plain${'; a=b'.repeat(51)}\n\n`,
    ],
    'long-parameters': [
      `Content-Type: text/plain; charset="${'c'.repeat(900)}"\n\n`,
      `Content-Type: text/plain; charset="${'c'.repeat(1_025)}"\n\n`,
    ],
    'odd-encodings': [
      'Content-Transfer-Encoding: 8 bit\n\n',
      `Content-Transfer-Encoding: ${'8 bit '.repeat(9)}\n\n`,
    ],
  };
  for (const name of LENIENCY_NAMES) {
    const [passes, refused] = cases[name];
    const lenient = all('reject', {}, [name]);
    // Not UTF-8 as a whole: by itself each is let pass.
    const parts =
      name === 'eight-bit-addresses' ? ['From: J\xf6rg <a@b>\n\n', 'From: \xc3\x9cber <a@b>\n\n'] : [passes];
    for (const each of parts) {
      t.type(found(t, each), 'string', `${name} is off by default`);
      t.equal(found(t, each, lenient), undefined, name);
    }
    t.type(found(t, refused, lenient), 'string', `${name} has a bound`);
  }
  t.equal(found(t, 'From: \xc3\x9cber <a@b>\n\n', REJECT, LOOPS, true), undefined, 'UTF-8 under SMTPUTF8');
  t.equal(found(t, 'From: \xc3 <a@b>\n\n', REJECT, LOOPS, true), 'address-octets', 'what is no UTF-8');
});

t.test('mail loops', async (t) => {
  const loops = { maxReceived: 4, mark: '(sekisho-id=me)', maxMarked: 3 };
  const is = (message: string, verdict: string | undefined, what: string): void => {
    t.equal(found(t, message, REJECT, loops), verdict, what);
  };
  const hop = 'Received: from a\r\n\tby b\r\n';
  const own = 'RECEIVED : from a\r\n\tby b (sekisho-id=me)\r\n';
  is(`${hop.repeat(3)}Subject: x\r\n\r\n`, undefined, 'one less than the limit');
  is(`${hop.repeat(4)}Subject: x\r\n\r\n`, 'loop', 'at the limit');
  is(hop.repeat(4), 'loop', 'and without a body');
  is(`${hop.repeat(3)}\r\n${hop.repeat(9)}`, undefined, 'the body does not count');
  is(`${own.repeat(2)}Subject: (sekisho-id=me)\r\n\r\n`, undefined, 'twice through here, and a subject');
  is(`${own.repeat(2)}${hop}Subject: x\r\n\r\n`, undefined, 'twice through here, and through another');
  is(`${own.repeat(3)}\r\n`, 'loop', 'three times through here');
  is(`${own.repeat(3).replaceAll('=me', '=you')}\r\n`, undefined, 'three times through another one');
  is(`plain text\r\n${hop.repeat(9)}`, undefined, 'a line that is no field ends the header');
  is(`From a@b.example\r\n${hop.repeat(4)}`, 'loop', 'but not the line of an mbox file');
  is(`Received-SPF: x\r\n${'X-Received: x\r\n'.repeat(5)}`, undefined, 'other fields');
  is(`${hop.repeat(4)}Subject: x\r\n\r\n`, 'loop', 'a loop is one in every mode');
});

t.test('the header section is held back until it is over', async (t) => {
  const message = octets('Subject: t\n  \nFrom: a@b\n\nbody\n');
  const head = message.indexOf('\r\n\r\nbody') + 4;
  const { held } = look(
    [...message].map((octet) => Buffer.of(octet)),
    REJECT,
  );
  t.equal(held, head - 1, 'the octet that ends it releases it');
  const long = octets(`${'A: b\n'.repeat(8_000)}\n`);
  const passing = look(pieces(long, 100), all('reject', { 'header-size': 'shadow', 'header-count': 'off' }));
  t.strictSame([passing.finding, passing.shadows], [undefined, ['header-size']]);
  t.ok(passing.held <= 32_768, 'and never more than the bound');
  const spaces = `Subject: t\n \nFrom: ${'<>'.repeat(40)}\n\nx\n`;
  t.equal(found(t, spaces), 'address-brackets', 'a line of spaces does not end it');
  t.equal(
    found(t, `T\xf6st: x\nFrom: ${'<>'.repeat(40)}\n\n`),
    'address-brackets',
    'nor does a strange name',
  );
});

t.test('structure is followed as the most credulous reader follows it', async (t) => {
  const deep = nested(16).slice(nested(1).indexOf('\n\n') + 2);
  const type = 'Content-Type: multipart/mixed; boundary=';
  const ways: Readonly<Record<string, string>> = {
    'two types': `${type}x\n${type}b0\n\n${deep}`,
    'two boundaries in one': `${type}x; boundary=b0\n\n${deep}`,
    'a boundary in pieces': `Content-Type: multipart/mixed; boundary*0=b; boundary*1=0\n\n${deep}`,
    'no empty line': `${type}b0\n${deep}`,
    'a preamble': `${type}b0\n\nThis is MIME.\n${deep}`,
    'white space behind boundaries': `${type}b0\n\n${deep.replace(/^(--b\d+)$/gm, '$1 \t ')}`,
    'a comment': `Content-Type: multipart/(a)mixed ; (b;) boundary=b0\n\n${deep}`,
    'within a message': `Content-Type: message/rfc822\n\n${type}b0\n\n${deep}`,
    'within a digest': `Content-Type: multipart/digest; boundary=d\n\n--d\n\n${type}b0\n\n${deep}`,
  };
  for (const [name, message] of Object.entries(ways)) t.equal(found(t, message), 'mime-depth', name);
  const flat = `${type}a\n\n${Array.from({ length: 40 }, (_, i) => `--a\n${type}i${i}\n\n--i${i}\n\nx\n--i${i}--\n`).join('')}--a--\n`;
  t.equal(found(t, flat), undefined, 'one after the other is not one within the other');
  const unclosed = flat.replace(/^--i\d+--\n/gm, '');
  t.equal(found(t, unclosed), undefined, 'and an outer boundary ends the inner ones');
  const far = `${type}b0\n\n${'x'.repeat(70)}--b0\n -- b0\n--b0x\n--b\n`.repeat(1);
  t.equal(found(t, `${far}--b0\n${type}1\n\n`), undefined);
});

t.test('no cut changes a verdict', async (t) => {
  const line = fc.constantFrom(
    ...['Content-Type: multipart/mixed; boundary=a', 'Content-Type: multipart/digest; boundary="b b"'],
    ...['Content-Type: message/rfc822', '--a', '--a--', '--b b', '--b b-- ', '-', '--', '--ax', '', ' ', 'x'],
    ...['From: "a" <b@c>, (x) d@e', 'To: <<>>', 'Subject: y', 'Content-Transfer-Encoding: base64 x', '-- a'],
  );
  const rules = all('reject', {}, [], 200);
  fc.assert(
    fc.property(fc.array(line, { maxLength: 40 }), fc.array(fc.nat(), { maxLength: 12 }), (lines, places) => {
      const stream = octets(`${lines.join('\n')}\n`);
      const whole = look([stream], rules).finding;
      t.equal(look(cut(stream, places), rules).finding, whole, lines.join('|'));
      t.equal(look(pieces(stream, 1), rules).finding, whole, lines.join('|'));
    }),
    { numRuns: 300 },
  );
});
