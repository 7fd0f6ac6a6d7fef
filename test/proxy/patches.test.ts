/**
 * What the catalogue of virtual patches says is shown on real sockets, entry by entry: the attack of the corpus that
 * proves a patch is refused with it, passes with it off, is counted alone in shadow; at the limit a message passes, and
 * one past it is refused.
 */
import { existsSync } from 'node:fs';
import t, { type Test } from 'tap';
import { parseCidr } from '../../src/base/ip.js';
import { type CatalogueEntry, catalogue } from '../../src/shield/catalogue.js';
import { type Mode, PATCH_IDS, type PatchId } from '../../src/shield/patches.js';
import relayCases from '../corpus/relay-cases.json' with { type: 'json' };
import corpus from '../corpus/vulnerabilities.json' with { type: 'json' };
import { movesOf, smugglingCases } from '../support/corpus.js';
import { startLegacyMta } from '../support/legacy-mta.js';
import { CLEAR_TEXT, passwords } from '../support/passwords.js';
import { EDGES, nested } from '../support/patch-edges.js';
import { type Running, startSekisho, testPolicy } from '../support/sekisho.js';
import { codeOf, SmtpClient } from '../support/smtp-client.js';

const ONE_FILE = 'test/support/patch-edges.ts';
const isFile = (proof: string): boolean => proof.startsWith('test/');

const sent = (text: string): string =>
  movesOf(text)
    .map((move) => (typeof move === 'object' && 'send' in move ? move.send : ''))
    .join('');

/** Lines that message data itself would not let pass are folded. */
const folded = (message: string): string =>
  message.replace(/[^\r\n]{999,}/g, (line) => line.replace(/.{900}(?=.)/g, '$&\r\n '));

/** The message of a content case, CRLF as it is. */
const contentOf = (id: string): string | undefined => {
  const content = corpus.content_cases.find((each) => each.id === id)?.content;
  if (content?.startsWith('{{NESTED-MULTIPART')) return nested(30).replaceAll('\n', '\r\n');
  return content === undefined ? undefined : folded(sent(content));
};

const IDS = new Set([
  ...corpus.content_cases.map(({ id }) => id),
  ...relayCases.map(({ id }) => id),
  ...smugglingCases.map(({ id }) => id),
]);

t.test('each entry names its proof, and the proof exists', async (t) => {
  for (const { patch, proof } of catalogue()) {
    t.ok(proof.length > 0, `${patch} has a proof`);
    for (const each of proof)
      t.ok(isFile(each) ? existsSync(each) : IDS.has(each), `${patch}: ${each} exists`);
  }
});

const cidr = (text: string) => {
  const parsed = parseCidr(text);
  if (!parsed.ok) throw new Error(parsed.error);
  return parsed.value;
};

const everywhere = (mode: Mode, id?: PatchId, ownMode: Mode = mode): Record<PatchId, Mode> =>
  Object.fromEntries(PATCH_IDS.map((each) => [each, each === id ? ownMode : mode])) as Record<PatchId, Mode>;

/** One door with every patch on, one with this one alone, one with it in shadow, one with it off. */
const FROM = { all: '127.0.0.2', only: '127.0.0.3', shadow: '127.0.0.4', off: '127.0.0.5' } as const;

const modesFor = (id: PatchId): readonly (readonly [from: string, modes: Record<PatchId, Mode>])[] => [
  // Mail from Outlook is no attack: where everything is on, that is not.
  [FROM.all, { ...everywhere('reject'), tnef: id === 'tnef' ? 'reject' : 'off' }],
  [FROM.only, everywhere('off', id, 'reject')],
  [FROM.shadow, everywhere('off', id, 'shadow')],
  [FROM.off, everywhere('off')],
];

const house = async (t: Test, id: PatchId): Promise<{ sekisho: Running; taken: () => number }> => {
  const mta = await startLegacyMta();
  const sekisho = await startSekisho({
    upstreams: [{ port: mta.port, shield: 'strict' }],
    devices: modesFor(id).map(([from, modes]) => ({
      name: `at-${from.at(-1)}`,
      networks: [cidr(`${from}/32`)],
      tlsFloor: undefined,
      starttls: true,
      plaintextAuth: false,
      shield: { modes, lenient: [] },
    })),
  });
  t.teardown(async () => {
    await sekisho.stop();
    await mta.close();
  });
  return { sekisho, taken: () => mta.messages.length };
};

/** Says a message (its lines end in CRLF) and returns the reply to it. */
const deliver = async (port: number, from: string, message: string): Promise<string> => {
  const client = await SmtpClient.connect(port, from);
  await client.reply();
  for (const line of ['EHLO c.example', 'MAIL FROM:<a@b.example>', 'RCPT TO:<bob@local.example>', 'DATA'])
    await client.say(line);
  const reply = await client.say(`${message.replace(/^\./gm, '..')}.`);
  client.destroy();
  return reply;
};

const shieldTest = async (t: Test, id: PatchId, { proof, reply }: CatalogueEntry): Promise<void> => {
  const { sekisho, taken } = await house(t, id);
  const hits = () => sekisho.of('shield-hit').splice(0);
  let seen = 0;
  const hitsSince = () => {
    const all = hits().slice(seen);
    seen += all.length;
    return all;
  };
  const attacks = proof.flatMap((each) => (isFile(each) ? [] : [[each, contentOf(each) ?? ''] as const]));
  const edges = EDGES[id].map(([passes, refused]) =>
    [passes, refused].map((text) => folded(text.replaceAll('\n', '\r\n'))),
  );
  t.ok(proof.includes(ONE_FILE) && edges.length > 0);
  for (const [passes = ''] of edges) {
    t.equal(codeOf(await deliver(sekisho.port, FROM.all, passes)), 250, 'at the limit, with every patch on');
    t.strictSame(hitsSince(), []);
  }
  const refused = [
    ...attacks,
    ...edges.map(([, text = ''], i) => [`one past the limit, ${i}`, text] as const),
  ];
  for (const [name, message] of refused) {
    const before = taken();
    t.match(
      await deliver(sekisho.port, FROM.only, message),
      `${reply} Message content not accepted (${id})`,
      name,
    );
    t.match(hitsSince(), [{ patch: id, enforced: true }], name);
    t.equal(taken(), before, `${name}: the MTA took no message`);
    t.equal(codeOf(await deliver(sekisho.port, FROM.off, message)), 250, `${name}: passes with off`);
    t.strictSame(hitsSince(), [], name);
    t.equal(codeOf(await deliver(sekisho.port, FROM.shadow, message)), 250, `${name}: passes in shadow`);
    t.match(hitsSince(), [{ patch: id, enforced: false }], `${name}: and is counted`);
    t.equal(taken(), before + 2, name);
    t.equal(
      codeOf(await deliver(sekisho.port, FROM.all, message)),
      554,
      `${name}: refused with every patch on`,
    );
    hitsSince();
  }
};

const shieldEntries = catalogue().filter(({ kind }) => kind === 'shield');
const idOf = (patch: string): PatchId => {
  const id = PATCH_IDS.find((each) => each === patch);
  if (id === undefined) throw new Error(patch);
  return id;
};
for (const entry of shieldEntries) t.test(entry.patch, (t) => shieldTest(t, idOf(entry.patch), entry));

/** Plays a case of the corpora; what Sekisho said to its attack. */
const attack = async (port: number, id: string): Promise<string> => {
  const client = await SmtpClient.connect(port, '127.0.0.2');
  const smuggling = smugglingCases.find((each) => each.id === id);
  const relay = relayCases.find((each) => each.id === id);
  await client.reply();
  if (smuggling === undefined && relay !== undefined) {
    await client.say('EHLO probe.example');
    const replies = [await client.say(relay.mail), await client.say(relay.rcpt)];
    client.destroy();
    return replies.join('\r\n');
  }
  for (const write of (smuggling?.setup ?? '').split('|').filter((part) => part !== '')) {
    client.send(sent(write));
    await client.reply();
  }
  client.transcript = '';
  for (const write of (smuggling?.bytes ?? '').split('|')) {
    client.send(sent(write));
    // Behind a last word everything has been answered.
    client.send('\r\n.\r\nQUIT\r\n');
  }
  await client.end();
  return client.transcript;
};

t.test('what has no switch is refused as the catalogue says', async (t) => {
  const logins = [passwords({ bob: 'right' })];
  for (const { patch, kind, proof, reply } of catalogue()) {
    if (kind !== 'engine') continue;
    const cases = proof.filter((each) => !isFile(each));
    const mta = await startLegacyMta({ ehlo: ['8BITMIME', 'SIZE', 'DSN', 'VRFY', 'ETRN', 'EXPN'] });
    const sekisho = await startSekisho({
      upstreams: [{ port: mta.port }],
      policy: testPolicy(['local.example'], []),
      logins,
      devices: [CLEAR_TEXT],
    });
    const codes = [...reply.matchAll(/\b[245]\d\d\b(?= |,|$)/g)].map(String);
    for (const id of cases) {
      const said = await attack(sekisho.port, id);
      const fits = said
        .split('\r\n')
        .some((line) => codes.some((code) => line.startsWith(code)) || line.startsWith('421'));
      t.ok(fits, `${patch}: ${id} is answered ${codes.join(' or ')}`, { said: said.slice(0, 600) });
      t.equal(mta.messages.filter(({ from }) => /smuggled|x@y/.test(from)).length, 0, `${patch}: ${id}`);
    }
    await sekisho.stop();
    await mta.close();
  }
});
