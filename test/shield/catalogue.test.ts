/** The tables are whole, and what the vulnerability corpus asks for is done. */
import t from 'tap';
import { catalogue } from '../../src/shield/catalogue.js';
import { HOLES } from '../../src/shield/holes.js';
import { ENGINE_PATCHES, PATCH_IDS } from '../../src/shield/patches.js';
import { PRESET_NAMES, presetFor, presetMode } from '../../src/shield/presets.js';
import { compareVersions, type Product, productOf } from '../../src/shield/product.js';
import { shieldRules } from '../../src/shield/rules.js';
import { Shield } from '../../src/shield/shield.js';
import corpus from '../corpus/vulnerabilities.json' with { type: 'json' };
import { movesOf } from '../support/corpus.js';

t.test('every hole of the corpus is in the table, and closed if it can be', async (t) => {
  for (const { id, cve, shieldable } of corpus.vulnerabilities) {
    const hole = HOLES.find((each) => each.id === id);
    t.strictSame([...(hole?.cve ?? [])].sort(), [...cve].sort(), `${id}: its CVEs`);
    if (shieldable.startsWith('none')) {
      t.equal(hole?.closedBy.length, 0, id);
      t.ok(hole?.why, `${id}: and why not`);
    } else t.ok((hole?.closedBy.length ?? 0) > 0, `${id} is closed`);
  }
  t.equal(HOLES.length, corpus.vulnerabilities.length, 'and no other');
});

t.test('every patch guards something, and every mode of it is counted', async (t) => {
  for (const { patch, guards, metric, modes, kind } of catalogue()) {
    t.ok(guards.length > 0, `${patch} guards against a hole`);
    t.ok(metric.length > 0 && /^[a-z-]+$/.test(patch), patch);
    t.equal(modes === undefined, kind === 'engine', patch);
  }
  t.equal(catalogue().length, PATCH_IDS.length + Object.keys(ENGINE_PATCHES).length);
  for (const id of PATCH_IDS)
    t.ok(id === 'tnef' || presetMode('strict')(id) === 'reject', `${id} is on where nothing is known`);
});

/** What the generator of the corpus calls so. */
const NESTED =
  'MIME-Version: 1.0\r\n' +
  Array.from(
    { length: 30 },
    (_, i) => `Content-Type: multipart/mixed; boundary=b${i}\r\n\r\n--b${i}\r\n`,
  ).join('') +
  '\r\nx\r\n';

t.test('the messages of the corpus', async (t) => {
  const rules = shieldRules(presetMode('strict'), 32_768);
  for (const { id, content, expected } of corpus.content_cases) {
    const text = content.startsWith('{{NESTED-MULTIPART')
      ? NESTED
      : movesOf(content)
          .map((move) => (typeof move === 'object' && 'send' in move ? move.send : ''))
          .join('');
    const shield = new Shield({ maxReceived: 25, mark: '(x)', maxMarked: 3 }, () => {});
    shield.reset(rules);
    const finding = shield.feed(Buffer.from(text, 'latin1')) ?? shield.finish();
    const code = finding === undefined ? '250' : finding === 'loop' ? '554 5.4.6' : '554 5.6.0';
    t.ok(expected.startsWith(code), `${id}: ${code} for ${expected}`);
  }
});

t.test('greetings', async (t) => {
  const greetings: readonly (readonly [greeting: string, product: Product, preset: string])[] = [
    [
      'mail.example.org Sendmail 8.6.9/8.6.9 ready at Sat, 1 Jan 1994 00:00:00 GMT ESMTP spoken here',
      { name: 'sendmail', version: '8.6.9', configuration: '8.6.9' },
      'sendmail-8.6',
    ],
    [
      'h Sendmail 5.65/1.1 ready',
      { name: 'sendmail', version: '5.65', configuration: '1.1' },
      'sendmail-8.6',
    ],
    [
      'h Sendmail SMI-8.6/SMI-SVR4 ready',
      { name: 'sendmail', version: '8.6', vendor: 'SMI' },
      'sendmail-8.6',
    ],
    [
      'h Sendmail AIX4.2/UCB 8.7/8.7; Mon',
      { name: 'sendmail', version: '8.7', configuration: '8.7', vendor: 'AIX' },
      'sendmail-8.6',
    ],
    [
      'h ESMTP Sendmail 8.11.7p1+Sun/8.11.7; Mon',
      { name: 'sendmail', version: '8.11.7p1+Sun', configuration: '8.11.7', vendor: 'Sun' },
      'sendmail-8.12',
    ],
    [
      'h ESMTP Sendmail 8.9.3 (PHNE_18546)/8.9.3; Mon',
      { name: 'sendmail', version: '8.9.3', vendor: 'PHNE' },
      'sendmail-8.12',
    ],
    [
      'h ESMTP Sendmail 8.17.1.9/8.17.1.9/Debian-2+deb12u2; Mon',
      { name: 'sendmail', version: '8.17.1.9', configuration: '8.17.1.9', vendor: 'Debian' },
      'sendmail-8.12',
    ],
    [
      'h ESMTP Sendmail 8.18.1/8.18.1; Mon',
      { name: 'sendmail', version: '8.18.1', configuration: '8.18.1' },
      'modern',
    ],
    ['h ESMTP Sendmail; Mon', { name: 'sendmail', version: undefined }, 'strict'],
    ['h ESMTP Postfix', { name: 'Postfix', version: undefined }, 'modern'],
    ['h ESMTP Postfix (Debian/GNU)', { name: 'Postfix', version: undefined, vendor: 'Debian' }, 'modern'],
    ['h ESMTP Postfix 2.7.1', { name: 'Postfix', version: '2.7.1' }, 'strict'],
    ['h ESMTP Exim 4.96 Mon, 1 Jan 2024', { name: 'Exim', version: '4.96' }, 'modern'],
    ['exim.sendmail.postfix.example ESMTP Exim 4.96 Mon', { name: 'Exim', version: '4.96' }, 'modern'],
    ['h ESMTP Exim 4.69 Mon', { name: 'Exim', version: '4.69' }, 'strict'],
    ['h ESMTP OpenSMTPD', { name: 'OpenSMTPD', version: undefined }, 'strict'],
    [
      'h Microsoft ESMTP MAIL Service, Version: 6.0.3790.4675 ready at  Mon',
      { name: 'Exchange', version: '6.0.3790.4675' },
      'exchange',
    ],
    ['h Microsoft ESMTP MAIL Service ready at Mon', { name: 'Exchange', version: undefined }, 'exchange'],
    ['h ESMTP', { name: undefined, version: undefined }, 'strict'],
    ['h ESMTP netqmail 1.06', { name: 'qmail', version: '1.06' }, 'qmail'],
    [
      'h ESMTP Service (Lotus Domino Release 5.0.8) ready',
      { name: 'Lotus Domino', version: '5.0.8' },
      'strict',
    ],
  ];
  for (const [greeting, product, preset] of greetings) {
    t.strictSame(productOf(greeting), product, greeting);
    t.equal(presetFor(productOf(greeting)), preset, greeting);
  }
  t.ok(compareVersions('8.12.9', '8.12.10') < 0);
  t.ok(compareVersions('8.9', '8.12') < 0);
  t.equal(compareVersions('8.12', '8.12.0'), 0);
  t.ok(compareVersions('8.11.7p1+Sun', '8.11.7') > 0);
  t.equal(PRESET_NAMES.length, 6);
});
