/** Logging in on real sockets: who may do what afterwards, guessers, suspended logins, a window by SMTP AUTH. */
import t, { type Test } from 'tap';
import { passwdFile } from '../../src/app/logins/passwd-file.js';
import { readTextFile } from '../../src/app/policy-file.js';
import { parseCidr } from '../../src/base/ip.js';
import type { CredentialStore } from '../../src/identity/credentials.js';
import { unavailable } from '../../src/identity/credentials.js';
import { Suspensions } from '../../src/identity/suspensions.js';
import type { DeviceRule } from '../../src/proxy/devices.js';
import { MemoryStore } from '../../src/windows/stores/memory.js';
import { windowKey } from '../../src/windows/window.js';
import { startLegacyMta } from '../support/legacy-mta.js';
import { folder } from '../support/process.js';
import { policyOf, type Running, type Setting, startSekisho } from '../support/sekisho.js';
import { codeOf, SmtpClient } from '../support/smtp-client.js';

const POLICY = policyOf(`version: 1
rules:
  - { name: inbound, allow: { to: local.example } }
  - { name: roaming, allow: { login: any } }
  - { name: by window, allow: { window: smtp-auth } }
senders:
  - { login: boss@local.example, from: [own, office.example] }
`);

const USERS = `hoge@local.example:{PLAIN}secret
boss@local.example:{PLAIN}secret
listed@local.example:{PLAIN}secret::::::senders=press@news.example,@talks.example
`;

const network = (text: string) => {
  const cidr = parseCidr(text);
  if (!cidr.ok) throw new Error(cidr.error);
  return cidr.value;
};
/** All loopback addresses may say passwords in clear text, so that the tests need no TLS. */
const DEVICES: readonly DeviceRule[] = [
  {
    name: 'tests',
    networks: [network('127.0.0.0/8')],
    tlsFloor: undefined,
    starttls: true,
    plaintextAuth: true,
  },
];

const users = (t: Test, text = USERS): CredentialStore => {
  const dir = folder(t, { users: text });
  const tools = { resolve: (file: string) => file, read: readTextFile, note: () => {} };
  return passwdFile.create(
    { passwd_file: `${dir}/users` },
    { ...tools, upstream: { host: '127.0.0.1', port: 1 } },
  );
};

const house = async (
  t: Test,
  setting: Partial<Setting> = {},
): Promise<Running & { mta: Awaited<ReturnType<typeof startLegacyMta>> }> => {
  const mta = await startLegacyMta({ ehlo: ['8BITMIME'] });
  const sekisho = await startSekisho({
    upstreams: [{ port: mta.port }],
    policy: POLICY,
    devices: DEVICES,
    logins: [users(t)],
    ...setting,
  });
  t.teardown(async () => {
    await sekisho.stop();
    await mta.close();
  });
  return { ...sekisho, mta };
};

const greeted = async (port: number, from = '127.0.0.2'): Promise<SmtpClient> => {
  const client = await SmtpClient.connect(port, from);
  await client.reply();
  await client.say('EHLO c.example');
  return client;
};

const plain = (user: string, password = 'secret'): string =>
  `AUTH PLAIN ${Buffer.from(`\0${user}\0${password}`).toString('base64')}`;

/** The codes of MAIL, and of RCPT if it came to that. */
const relay = async (client: SmtpClient, from = 'hoge@local.example'): Promise<number[]> => {
  const mail = codeOf(await client.say(`MAIL FROM:<${from}>`));
  if (mail !== 250) return [mail];
  const rcpt = codeOf(await client.say('RCPT TO:<y@victim.example>'));
  await client.say('RSET');
  return [mail, rcpt];
};

t.test('a login opens the relay, for its own addresses', async (t) => {
  const { port, mta, of } = await house(t);
  const client = await greeted(port);
  t.match(await client.say('EHLO c.example'), /^250[ -]AUTH SCRAM-SHA-256 CRAM-MD5 PLAIN LOGIN$/m);
  await client.say('MAIL FROM:<x@y.example>');
  t.match(
    await client.say('RCPT TO:<y@victim.example>'),
    /^550 5\.7\.1 <y@victim\.example>\.\.\. Relaying denied\. Proper authentication required$/,
  );
  await client.say('RSET');
  t.equal(codeOf(await client.say(plain('hoge@local.example'))), 235);
  t.same(await relay(client), [250, 250]);
  t.same(await relay(client, ''), [250, 250], 'the null sender is everybody’s');
  t.match(await client.say('MAIL FROM:<boss@local.example>'), /^553 5\.7\.1 <boss@local\.example>\.\.\. /);
  await client.say('MAIL FROM:<hoge@local.example>');
  await client.say('RCPT TO:<y@victim.example>');
  await client.say('DATA');
  t.equal(codeOf(await client.say('Subject: x\r\n\r\nx\r\n.')), 250);
  t.match(
    mta.messages[0]?.data,
    /\(authenticated as hoge@local\.example\)\r\n\tby \S+ \(Sekisho\) with ESMTPA id/,
  );
  t.match(of('message')[0]?.peer.login, 'hoge@local.example');
  t.match(of('sender-refused'), [{ from: 'boss@local.example' }]);
  client.destroy();
  const senders = async (login: string, from: string): Promise<number> => {
    const session = await greeted(port);
    await session.say(plain(login));
    const [code = 0] = await relay(session, from);
    session.destroy();
    return code;
  };
  t.equal(await senders('boss@local.example', 'x@office.example'), 250, 'a domain, by the policy');
  t.equal(await senders('boss@local.example', 'x@elsewhere.example'), 553);
  t.equal(await senders('listed@local.example', 'press@news.example'), 250, 'a list, by the file of users');
  t.equal(await senders('listed@local.example', 'anybody@talks.example'), 250);
  t.equal(await senders('listed@local.example', 'listed@local.example'), 553, 'which says all');
});

t.test('the login may be kept out of the Received line', async (t) => {
  const { port, mta } = await house(t, { receivedLogin: false });
  const client = await greeted(port);
  await client.say(plain('hoge@local.example'));
  await client.say('MAIL FROM:<hoge@local.example>');
  await client.say('RCPT TO:<y@victim.example>');
  await client.say('DATA');
  t.equal(codeOf(await client.say('Subject: x\r\n\r\nx\r\n.')), 250);
  t.notMatch(mta.messages[0]?.data, /hoge@local/);
  t.match(mta.messages[0]?.data, /with ESMTPA id/, 'that somebody did is told');
  client.destroy();
});

t.test('guessers are slowed down, then sent away; the owner is not', async (t) => {
  const { port, of } = await house(t, { throttle: { perAddress: 3, perLogin: 5 }, limits: { errors: 100 } });
  const owner = await greeted(port, '127.0.0.9');
  t.equal(codeOf(await owner.say(plain('hoge@local.example'))), 235, 'its owner logs in at home');
  owner.destroy();
  const guess = async (from: string, password: string): Promise<number> => {
    const client = await greeted(port, from);
    const code = codeOf(await client.say(plain('hoge@local.example', password)));
    client.destroy();
    return code;
  };
  for (const password of ['a1', 'a2', 'a3']) t.equal(await guess('127.0.0.2', password), 535);
  t.equal(await guess('127.0.0.2', 'secret'), 421, 'past the limit not even the right one is looked at');
  t.match(of('auth').at(-1), { result: 'locked' });
  for (let i = 0; i < 4; i += 1) t.equal(await guess('127.0.0.3', 'stale'), 535, 'a forgetful program');
  t.equal(await guess('127.0.0.3', 'b2'), 535, 'counts once');
  t.equal(await guess('127.0.0.4', 'secret'), 421, 'the name is guessed too often for strangers');
  t.equal(await guess('127.0.0.9', 'secret'), 235, 'and not for its owner');
  const failed = of('auth').filter(({ result }) => result === 'wrong');
  t.equal(failed.length, 8, 'one event for each');
  for (const { why, login } of failed) {
    t.equal(login, 'hoge@local.example');
    t.notMatch(why, /a1|a2|a3|stale|b2|secret/);
  }
});

t.test('a hundred guesses at once are as many as one after the other', async (t) => {
  const { port, of } = await house(t, { throttle: { perAddress: 5, perLogin: 1_000, delay: 1 } });
  const clients = await Promise.all(Array.from({ length: 100 }, () => greeted(port)));
  const replies = await Promise.all(
    clients.map((client, i) => client.say(plain('hoge@local.example', `guess ${i}`), 60_000)),
  );
  for (const client of clients) client.destroy();
  const results = of('auth').map(({ result }) => result);
  t.equal(results.filter((result) => result === 'wrong').length, 5, 'at the limit, and none past it');
  t.equal(results.filter((result) => result === 'locked').length, 95);
  t.equal(replies.filter((reply) => codeOf(reply) === 535).length, 5);
  // Good logins, many at once from one place, all come through.
  const owners = await Promise.all(Array.from({ length: 30 }, () => greeted(port, '127.0.0.3')));
  const answers = await Promise.all(owners.map((client) => client.say(plain('hoge@local.example'), 60_000)));
  t.same([...new Set(answers.map(codeOf))], [235]);
  for (const client of owners) client.destroy();
});

t.test('a suspended login learns nothing, and loses what it had', async (t) => {
  const state = new MemoryStore();
  const { port, of } = await house(t, { state });
  const open = await greeted(port);
  t.equal(codeOf(await open.say(plain('hoge@local.example'))), 235);
  t.same(await relay(open), [250, 250]);
  const suspensions = new Suspensions(state, () => {});
  await suspensions.suspend('hoge@local.example', Number.POSITIVE_INFINITY, 'stolen', Date.now());
  t.same(await relay(open), [250, 550], 'an open session');
  open.destroy();
  const again = await greeted(port);
  t.match(await again.say(plain('hoge@local.example')), /^535 5\.7\.8 Authentication credentials invalid$/);
  t.match(of('auth').at(-1), { result: 'suspended', login: 'hoge@local.example' });
  await suspensions.lift('hoge@local.example', 'by hand', Date.now());
  t.equal(codeOf(await again.say(plain('hoge@local.example'))), 235);
  again.destroy();
});

t.test('several stores in order; one that cannot tell is no no', async (t) => {
  const down: CredentialStore = {
    name: 'down',
    proves: new Set(['password'] as const),
    verify: async () => unavailable('down'),
    close: async () => {},
  };
  const { port } = await house(t, { logins: [down, users(t)] });
  const client = await greeted(port);
  t.equal(
    codeOf(await client.say(plain('hoge@local.example', 'wrong'))),
    454,
    'the one that is down might know it',
  );
  t.equal(codeOf(await client.say(plain('hoge@local.example'))), 235, 'another says yes');
  client.destroy();
});

t.test('require: login', async (t) => {
  const { port } = await house(t, { listener: { requireLogin: true } });
  const client = await greeted(port);
  t.match(await client.say('MAIL FROM:<hoge@local.example>'), /^530 5\.7\.0 /, 'not even for local mail');
  await client.say(plain('hoge@local.example'));
  t.same(await relay(client), [250, 250]);
  client.destroy();
});

t.test('SMTP AUTH may open a window for its address', async (t) => {
  const state = new MemoryStore();
  const { port, mta } = await house(t, {
    state,
    onLogin: (login, client) => {
      const now = Date.now();
      const window = { key: windowKey(client), address: client.text, login, source: 'smtp-auth' as const };
      void state.open({ ...window, since: now, until: now + 60_000, used: 0, budget: 0 }, 3, now);
    },
  });
  const before = await greeted(port);
  t.same(await relay(before), [250, 550]);
  before.destroy();
  const login = await greeted(port);
  await login.say(plain('hoge@local.example'));
  login.destroy();
  const second = await greeted(port);
  await second.say('MAIL FROM:<hoge@local.example>');
  t.equal(
    codeOf(await second.say('RCPT TO:<y@victim.example>')),
    250,
    'another connection of the same address',
  );
  await second.say('DATA');
  t.equal(codeOf(await second.say('Subject: x\r\n\r\nx\r\n.')), 250);
  t.match(mta.messages[0]?.data, /\(window of hoge@local\.example\)/);
  second.destroy();
  const stranger = await greeted(port, '127.0.0.3');
  t.same(await relay(stranger), [250, 550], 'and of no other');
  stranger.destroy();
});
