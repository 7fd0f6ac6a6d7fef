/** Every smuggling stream of the corpus through real sockets, against an MTA that would fall for it. */
import t, { type Test } from 'tap';
import { passwdFile } from '../../src/app/logins/passwd-file.js';
import { readTextFile } from '../../src/app/policy-file.js';
import { parseCidr } from '../../src/base/ip.js';
import { type LegacyAction, type LegacyOptions, startLegacyMta } from '../../src/demo/legacy-mta.js';
import { certify, materialOf } from '../support/certificates.js';
import { joined, type Move, movesOf, type SmugglingCase, smugglingCases } from '../support/corpus.js';
import { folder } from '../support/process.js';
import { type Setting, startSekisho } from '../support/sekisho.js';
import { SmtpClient } from '../support/smtp-client.js';
import { disagreement } from '../support/upstream-readers.js';

const STRANGER = '127.0.0.2';
const KEYWORDS = ['8BITMIME', 'SIZE', 'DSN', 'STARTTLS', 'XCLIENT NAME ADDR', 'VRFY', 'ETRN', 'EXPN'];
/** What Sekisho may say to an MTA, in its own hand. */
const CANONICAL =
  /^(?:EHLO sekisho\.local\.example|HELO sekisho\.local\.example|MAIL FROM:<[^<>]*>(?: [A-Z0-9]+(?:=[!-~]+)?)*|RCPT TO:<bob@local\.example>(?: [A-Z]+=[!-~]+)*|DATA|RSET|QUIT)$/;

/** What the MTA does in the cases that are about its replies. */
const BACKENDS: Readonly<Record<string, { at: string; action: LegacyAction }>> = {
  'be-01': { at: 'RCPT', action: { say: ['250-x', '250-y'] } },
  'be-03': { at: 'MAIL', action: { say: ['A'.repeat(100_000)] } },
  'be-04': { at: 'RCPT', action: { say: ['250-a', '550 b'] } },
  'be-07': { at: 'DATA', action: { say: ['354 go', '250 too early'] } },
  'be-08': { at: 'RCPT', action: { say: ['421 closing'] } },
  'be-11': { at: 'connect', action: { say: ['220-mail Sendmail 8.6.9', '220 ESMTP spoken here'] } },
  'be-12': { at: 'RCPT', action: { say: [] } },
};

/** The code that the message or the last command of these gets: legal streams must pass. */
const MUST_PASS = new Set(['eod-crlf-sp-dot-crlf', 'eod-crlf-dot-sp-crlf', 'eod-crlf-dot-tab-crlf']);
for (const id of [
  'eod-crlf-dotdot-crlf',
  'eod-crlf-dot-vt',
  'eod-utf8-nel',
  'eod-ls-dot-ls',
  'eod-hibit-dot',
])
  MUST_PASS.add(id);
for (const id of ['eod-crlf-dot-crlf-real', 'ln-split-eod', 'len-05', 'pl-after-eod', 'be-11'])
  MUST_PASS.add(id);

/** These end the session at once. */
const CLOSES =
  /^(?:xp-|bdat-|pl-(?:helo|ehlo|quit)|tls-(?:cmd|inject)|ln-(?:lf|cr)-command|ln-bare|len-04|len-18|len-20)/;

/** Cases whose `expected` speaks of a service that is not available, or names only one of several ways. */
const OWN_ANSWER = /^(?:tls-|bdat-rset-mid$|pl-after-eod$)/;

const act = async (client: SmtpClient, moves: readonly Move[]): Promise<void> => {
  for (const move of joined(moves)) {
    // TLS is not available, so whatever the client wanted to say inside it comes in clear text.
    const pause = move === 'tls' ? 100 : 'pause' in move ? move.pause : 0;
    if (pause > 0) await new Promise((resolve) => setTimeout(resolve, pause));
    else if (typeof move === 'object' && 'send' in move) client.send(move.send);
  }
};

const BACKEND_DIALOGUE = ['EHLO a', 'MAIL FROM:<a@sender.example>', 'RCPT TO:<bob@local.example>', 'DATA'];

/** Plays the case; the client's transcript from `bytes` on. */
const play = async (each: SmugglingCase, client: SmtpClient): Promise<string> => {
  const early = each.setup.startsWith('{{before-banner}}');
  if (early) await act(client, movesOf(each.bytes));
  await client.reply();
  if (each.category === 'backend-reply' && each.bytes.startsWith('[backend]')) {
    for (const line of BACKEND_DIALOGUE) await client.say(line);
    client.send('Subject: t\r\n\r\nx\r\n.\r\n');
  } else if (!early && each.category !== 'starttls-client') {
    for (const write of each.setup.split('|').filter((part) => part !== '')) {
      await act(client, movesOf(write));
      await client.reply();
    }
    client.transcript = '';
    const writes = each.category === 'auth' ? each.bytes.split('|') : [each.bytes];
    for (const [i, write] of writes.entries()) {
      await act(client, movesOf(write.replace(/ slow: .*/, '')));
      if (i < writes.length - 1) await client.reply();
    }
    if (each.end !== undefined) client.send('\r\n.\r\n');
  }
  await new Promise((resolve) => setTimeout(resolve, 60));
  if (each.id === 'len-20') await client.end();
  if (!client.closed) client.send('QUIT\r\n');
  await client.end();
  return client.transcript;
};

/** Made once and before all else: meanwhile no session would go on. */
const certificate = materialOf(certify(folder(t), 'mail.local.example'));

/** SMTP AUTH as these cases expect it: in clear text for an exempted network, or, in the one about it, under TLS only. */
const loginsFor = async (t: Tap.Test, { id }: SmugglingCase): Promise<Partial<Setting>> => {
  const dir = folder(t as Test, { users: 'a:{PLAIN}secret\n' });
  const store = passwdFile.create(
    { passwd_file: `${dir}/users` },
    { resolve: (file) => file, read: readTextFile, note: () => {}, upstream: { host: '127.0.0.1', port: 1 } },
  );
  const networks = [STRANGER].flatMap((each) => {
    const cidr = parseCidr(each);
    return cidr.ok ? [cidr.value] : [];
  });
  const device = { name: 'old', networks, tlsFloor: undefined, starttls: true, plaintextAuth: true };
  return {
    logins: [store],
    tls: [certificate],
    listener: { tls: 'starttls' },
    devices: id === 'auth-plain-notls' ? [] : [device],
  };
};

/** Where a deadline is what the case is about. */
const TIMEOUTS: Readonly<Record<string, Setting['timeouts']>> = {
  'len-20': { command: 1_000 },
  'be-01': { upstreamRcpt: 1_500 },
  'be-12': { upstreamRcpt: 1_500 },
};

const check = async (t: Tap.Test, each: SmugglingCase): Promise<void> => {
  const backend = BACKENDS[each.id];
  const script: NonNullable<LegacyOptions['script']> = (step) =>
    backend !== undefined && step === backend.at ? backend.action : undefined;
  const mta = await startLegacyMta({ ehlo: KEYWORDS, script, forkReplay: true });
  const sekisho = await startSekisho({
    upstreams: [{ port: mta.port }],
    ...(each.category === 'auth' ? await loginsFor(t, each) : {}),
    timeouts: TIMEOUTS[each.id] ?? {},
  });
  const client = await SmtpClient.connect(sekisho.port, STRANGER);
  try {
    const said = await play(each, client);
    const about = { id: each.id, bytes: each.bytes.slice(0, 300), said: said.slice(0, 500) };
    const raw = mta.connections.map((connection) => connection.raw).join('');
    t.notMatch(raw, /\r(?!\n)|(?<!\r)\n|\0/, `${each.id}: no bare CR, LF or NUL goes up`, about);
    for (const connection of mta.connections)
      t.equal(
        disagreement(connection),
        undefined,
        `${each.id}: strict and lenient servers hear the same`,
        about,
      );
    for (const line of mta.connections.flatMap(({ commands }) => commands)) {
      t.match(line, CANONICAL, `${each.id}: only Sekisho's own words go up`, about);
    }
    t.ok(mta.messages.length <= 1, `${each.id}: one message at most`, about);
    const passed = mta.messages.length === 1 && / AAA00001 /.test(said);
    if (MUST_PASS.has(each.id)) t.ok(passed, `${each.id}: a legal stream passes`, about);
    else t.equal(/ AAA00001 /.test(said), mta.messages.length === 1, `${each.id}: no false 250`, about);
    t.match(
      said,
      /^(?:[2345]\d\d[ -][^\r\n]*\r\n)+$/,
      `${each.id}: an answer, and nothing but replies`,
      about,
    );
    if (CLOSES.test(each.id))
      t.notMatch(said, /closing connection\r\n(?:.*\r\n)*221/, `${each.id}: closed at once`, about);
    const named = [...each.expected.matchAll(/\b([245]\d\d)\b/g)].map((match) => match[1]);
    const codes = [...said.matchAll(/^(\d{3}) /gm)].map((match) => match[1]);
    // What is not available yet is refused in its own way; after the final dot a group may go on (RFC 2920).
    const known = named.length === 0 || OWN_ANSWER.test(each.id);
    // Closing with 421 is always right; so is a refusal by another code of the same class.
    const fits =
      known || codes.some((code) => code === '421' || named.some((name) => name?.[0] === code?.[0]));
    t.ok(fits, `${each.id}: answered as expected`, { ...about, expected: each.expected });
  } finally {
    client.destroy();
    await sekisho.stop();
    await mta.close();
  }
};

declare namespace Tap {
  type Test = typeof t;
}

const byCategory = new Map<string, SmugglingCase[]>();
for (const each of smugglingCases) {
  byCategory.set(each.category, [...(byCategory.get(each.category) ?? []), each]);
}

t.ok(smugglingCases.length >= 120, 'the whole corpus was read');
for (const [category, cases] of byCategory) {
  t.test(category, async (t) => {
    await Promise.all(cases.map((each) => check(t as unknown as Tap.Test, each)));
  });
}
