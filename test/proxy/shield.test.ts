/** The shield and the spool on real sockets, before an MTA that tells what it heard and when. */
import { mkdtempSync, readdirSync, rmSync } from 'node:fs';
import os from 'node:os';
import path from 'node:path';
import t, { type Test } from 'tap';
import { parseCidr } from '../../src/base/ip.js';
import { DEFAULT_SPOOL, type SpoolOptions } from '../../src/proxy/spool.js';
import { type LegacyMta, type LegacyOptions, startLegacyMta } from '../support/legacy-mta.js';
import { folder } from '../support/process.js';
import { eventually, type Running, type Setting, startSekisho } from '../support/sekisho.js';
import { codeOf, SmtpClient } from '../support/smtp-client.js';

interface House {
  readonly mta: LegacyMta;
  readonly sekisho: Running;
  /** A client whose DATA was answered 354. */
  toData(from?: string): Promise<SmtpClient>;
}

const house = async (
  t: Test,
  setting: Omit<Setting, 'upstreams'>,
  mtaOptions: LegacyOptions = {},
): Promise<House> => {
  const mta = await startLegacyMta(mtaOptions);
  const sekisho = await startSekisho({ upstreams: [{ port: mta.port }], ...setting });
  t.teardown(async () => {
    await sekisho.stop();
    await mta.close();
  });
  const toData = async (from = '127.0.0.1'): Promise<SmtpClient> => {
    const client = await SmtpClient.connect(sekisho.port, from);
    t.teardown(() => client.destroy());
    await client.reply();
    for (const line of ['EHLO c.example', 'MAIL FROM:<a@b.example>', 'RCPT TO:<bob@local.example>'])
      await client.say(line);
    t.equal(codeOf(await client.say('DATA')), 354);
    return client;
  };
  return { mta, sekisho, toData };
};

const CRACKADDR = `To: ${'<>'.repeat(400)}\r\n\r\nx\r\n.`;
const deep = (levels: number): string =>
  `${Array.from({ length: levels }, (_, i) => `Content-Type: multipart/mixed; boundary=b${i}\r\n\r\n--b${i}\r\n`).join('')}\r\nx\r\n.`;

t.test('a header section reaches the MTA only once it has passed', async (t) => {
  const { mta, sekisho, toData } = await house(t, {});
  const client = await toData();
  for (const line of ['Subject: a', 'To: b@c', ' (folded)']) client.send(`${line}\r\n`);
  // The MTA has said 354 and hears nothing: what it hears is certain once the end of the header is there.
  client.send('From: x@y\r\n');
  await eventually('Sekisho has taken it', () => sekisho.proxy.figures.size === 1);
  const raw = (): string => mta.connections.map((each) => each.raw).join('');
  t.notMatch(raw(), /Subject/);
  client.send('\r\nbody\r\n');
  await eventually('now it has come', () =>
    raw().includes('Subject: a\r\nTo: b@c\r\n (folded)\r\nFrom: x@y\r\n\r\nbody'),
  );
  t.equal(codeOf(await client.say('.')), 250);
});

t.test('findings', async (t) => {
  const { mta, sekisho, toData } = await house(t, {});
  const cases: readonly (readonly [patch: string, message: string])[] = [
    ['address-brackets', CRACKADDR],
    ['mime-depth', deep(16)],
    [
      'mime-depth',
      `Content-Type: multipart/mixed; boundary=a\r\n\r\n--a\r\n\r\n${'x'.repeat(900)}\r\n--a\r\n${deep(15)}`,
    ],
  ];
  for (const [patch, message] of cases) {
    const client = await toData();
    const reply = await client.say(message);
    t.equal(reply, `554 5.6.0 Message content not accepted (${patch})`);
    t.equal(codeOf(await client.say('NOOP')), 250, 'the session goes on');
    t.match(sekisho.of('shield-hit').at(-1), { patch, enforced: true });
  }
  t.equal(mta.messages.length, 0, 'no message was completed');
  t.equal(sekisho.of('message').filter(({ result }) => result === 'rejected').length, 3);
});

t.test('modes by listener and by network, and presets by greeting', async (t) => {
  const net = parseCidr('127.0.0.2/32');
  if (!net.ok) throw new Error(net.error);
  const device = {
    name: 'printers',
    networks: [net.value],
    tlsFloor: undefined,
    starttls: true,
    plaintextAuth: false,
  };
  const { mta, sekisho, toData } = await house(t, {
    listener: { shield: { modes: { 'mime-depth': 'shadow' }, lenient: [] } },
    devices: [
      {
        ...device,
        shield: {
          modes: { 'address-brackets': 'off', 'address-tokens': 'off', 'mime-depth': 'reject' },
          lenient: ['unbalanced-addresses'],
        },
      },
    ],
  });
  const say = async (from: string, message: string): Promise<number> =>
    codeOf(await (await toData(from)).say(message));
  t.equal(await say('127.0.0.1', deep(16)), 250, 'in shadow it passes');
  t.match(sekisho.of('shield-hit'), [{ patch: 'mime-depth', enforced: false }]);
  t.equal(await say('127.0.0.1', CRACKADDR), 554);
  t.equal(await say('127.0.0.2', CRACKADDR), 250, 'the device may');
  t.equal(await say('127.0.0.2', 'From: "a <b@c>\r\n\r\nx\r\n.'), 250, 'and this');
  t.equal(await say('127.0.0.1', 'From: "a <b@c>\r\n\r\nx\r\n.'), 554, 'nobody else');
  t.equal(await say('127.0.0.2', deep(16)), 554, 'what the network says goes before the listener');
  t.equal(mta.messages.length, 3);
  const modern = await house(t, {}, { banner: ['mail.example ESMTP Postfix'] });
  t.equal(codeOf(await (await modern.toData()).say(CRACKADDR)), 250, 'Postfix has no crackaddr');
  t.equal(codeOf(await (await modern.toData()).say(deep(16))), 554);
  const old = await house(
    t,
    {},
    { banner: ['mail.example Sendmail 8.6.9/8.6.9 ready', 'ESMTP spoken here'] },
  );
  t.equal(codeOf(await (await old.toData()).say(CRACKADDR)), 554);
});

const spoolIn = (dir: string, more: Partial<SpoolOptions> = {}): SpoolOptions => ({
  ...DEFAULT_SPOOL,
  folder: dir,
  ...more,
});
const heard = ({ mta }: House): string => mta.connections.flatMap(({ commands }) => commands).join(' ');

t.test('spool: the MTA hears of DATA when the message is whole', async (t) => {
  for (const memory of [1_000_000, 3_000]) {
    const dir = folder(t);
    const it = await house(t, { listener: { spool: true }, spool: spoolIn(dir, { memory }) });
    const client = await it.toData();
    const body = `${'0123456789'.repeat(9)}\r\n`.repeat(4_000);
    client.send(`Subject: x\r\n\r\n..dot\r\n${body}`);
    await eventually('the MTA knows the recipient', () => /RCPT TO/.test(heard(it)));
    t.notMatch(heard(it), /DATA/);
    t.match(await client.say('.'), /^250 /, 'and the 250 is its own');
    const [message] = it.mta.messages;
    t.match(message?.data, /^Received: /);
    t.ok(message?.data.endsWith(`Subject: x\r\n\r\n..dot\r\n${body}`), 'octet for octet');
    t.strictSame(readdirSync(dir), [], 'a file has no name');
    t.equal(codeOf(await client.say('MAIL FROM:<a@b.example>')), 250);
    t.equal(codeOf(await client.say('RCPT TO:<bob@local.example>')), 250);
    t.equal(codeOf(await client.say('DATA')), 354);
    t.equal(
      codeOf(await client.say('Subject: second\r\n\r\nx\r\n.')),
      250,
      'and the next one, on the same connection',
    );
    t.equal(it.mta.connections.filter(({ commands }) => /RCPT/.test(commands.join())).length, 1);
  }
});

t.test('spool: what is refused never costs the MTA a message', async (t) => {
  const it = await house(t, {
    listener: { spool: true },
    spool: spoolIn(folder(t), { message: 5_000, memory: 1_000 }),
  });
  const client = await it.toData();
  t.match(await client.say(CRACKADDR), /^554 5\.6\.0/);
  const again = async (message: string): Promise<string> => {
    for (const line of ['MAIL FROM:<a@b.example>', 'RCPT TO:<bob@local.example>', 'DATA'])
      await client.say(line);
    return client.say(message);
  };
  t.match(
    await again(`Subject: x\r\n\r\n${'x'.repeat(980)}\r\n`.repeat(6).concat('.')),
    /^452 4\.3\.1/,
    'past the bound',
  );
  t.match(await again(`Subject: x\r\n\r\n${`${'x'.repeat(980)}\r\n`.repeat(4)}.`), /^250/, 'within it');
  t.notMatch(heard(it).replace(/DATA(?=[^D]*$)/, ''), /DATA/, 'DATA was said once');
  t.match(heard(it), /RSET/, 'and the connection used again');
  t.equal(it.mta.messages.length, 1);
});

t.test('spool: faults', async (t) => {
  const answer = async (
    options: LegacyOptions,
    spool: Partial<SpoolOptions> = {},
    lines = 100,
  ): Promise<[string, House]> => {
    const it = await house(t, { listener: { spool: true }, spool: spoolIn(folder(t), spool) }, options);
    const client = await it.toData();
    return [await client.say(`Subject: x\r\n\r\n${`${'x'.repeat(900)}\r\n`.repeat(lines)}.`), it];
  };
  const at = (step: string, action: object): LegacyOptions => ({
    script: (now) => (now === step ? (action as never) : undefined),
  });
  t.match((await answer(at('DATA', { say: ['554 no'] })))[0], /^554 5\.0\.0 no/, "the MTA's refusal of DATA");
  t.match((await answer(at('DATA', { say: ['250 fine'] })))[0], /^451/, 'a 250 to DATA acknowledges nothing');
  t.match((await answer(at('DATA', { close: 'rst' })))[0], /^451/);
  const [lost, { sekisho }] = await answer(at('body', { close: 'rst' }), {}, 22_000);
  t.match(lost, /^451/);
  t.equal(sekisho.of('message')[0]?.result, 'deferred', 'it is certain that the MTA does not have it');
  t.match((await answer(at('dot', { say: ['451 later'] })))[0], /^451 4\.0\.0 later/);
  const [unknown, second] = await answer(at('dot', { close: 'rst' }));
  t.match(unknown, /^451/);
  t.equal(second.sekisho.of('message')[0]?.result, 'unknown', 'RFC 1047');
  t.match((await answer({}, { total: 50_000 }))[0], /^452 4\.3\.1/, 'all together');
  const gone = mkdtempSync(path.join(os.tmpdir(), 'sekisho-gone-'));
  const it = await house(t, { listener: { spool: true }, spool: spoolIn(gone, { memory: 10 }) });
  rmSync(gone, { recursive: true });
  const client = await it.toData();
  t.match(
    await client.say(`Subject: x\r\n\r\n${`${'x'.repeat(900)}\r\n`.repeat(100)}.`),
    /^452 4\.3\.1/,
    'a disk that fails',
  );
  t.equal(it.mta.messages.length, 0);
  await t.rejects(
    startSekisho({ upstreams: [{ port: it.mta.port }], listener: { spool: true }, spool: spoolIn(gone) }),
    /spool: nothing can be written to .*sekisho-gone/,
    'and a start with it',
  );
});

t.test('spool: a client that leaves, and room that is given back', async (t) => {
  const it = await house(t, {
    listener: { spool: true },
    spool: spoolIn(folder(t), { memory: 100, total: 300_000 }),
  });
  for (let i = 0; i < 4; i += 1) {
    const client = await it.toData();
    client.send(`Subject: x\r\n\r\n${`${'x'.repeat(900)}\r\n`.repeat(250)}`);
    await eventually('most of it came', () => it.sekisho.of('connect').length > i);
    client.destroy();
    await eventually('the session ended', () => it.sekisho.of('disconnect').length === i + 1);
  }
  const last = await it.toData();
  t.match(await last.say(`Subject: x\r\n\r\n${`${'x'.repeat(900)}\r\n`.repeat(250)}.`), /^250/);
  t.equal(it.mta.messages.length, 1);
});
