/**
 * Two `sekisho serve` over one LMDB folder, and two over one real Redis: who fetched mail at one may send at the other.
 * Then Redis hangs, dies and comes back with nothing.
 */
import path from 'node:path';
import t, { type Test } from 'tap';
import { Dovecot } from '../support/dovecot.js';
import { fetchMail as logIn } from '../support/fetch-mail.js';
import { type LegacyMta, startLegacyMta } from '../support/legacy-mta.js';
import { install, noPackages } from '../support/packages.js';
import { folder, runSekisho, SekishoProcess } from '../support/process.js';
import { RedisServer } from '../support/redis-server.js';
import { eventually } from '../support/sekisho.js';
import { codeOf, SmtpClient } from '../support/smtp-client.js';

t.setTimeout(900_000);

/** Where users are; 127.0.0.5 never fetches mail. */
const [BOB, CAROL, DAVE, STRANGER] = ['127.0.0.2', '127.0.0.3', '127.0.0.4', '127.0.0.5'];
/** Milliseconds that a window may take to the other process, on the busiest machine; 100 are meant, and are told. */
const MOST = 30_000;

const POLICY = `version: 1
rules:
  - { name: inbound, allow: { to: local.example } }
  - { name: who fetched mail, allow: { window: any } }
`;

/** Both read one configuration; every port is free for each to choose. */
interface Pair {
  readonly config: string;
  readonly processes: readonly [SekishoProcess, SekishoProcess];
}

const pairOf = async (t: Test, mta: LegacyMta, dovecot: Dovecot, store: string): Promise<Pair> => {
  const dir = folder(t, {
    'policy.yaml': POLICY,
    'sekisho.yaml': `listen: [{ host: 127.0.0.1, port: 0 }]
upstream: { host: 127.0.0.1, port: ${mta.port} }
policy: policy.yaml
limits: { errors: 100000, idle_commands: 100000 }
roaming:
  window: 10m
  proxies: [{ protocol: pop3, host: 127.0.0.1, port: 0, upstream: "127.0.0.1:${dovecot.ports.pop3}" }]
store: ${store}
`,
  });
  const config = path.join(dir, 'sekisho.yaml');
  const serve = async (): Promise<SekishoProcess> => {
    const process = await SekishoProcess.serve(['--config', config]);
    t.teardown(() => process.kill());
    return process;
  };
  return { config, processes: [await serve(), await serve()] };
};

const greeted = async (t: Test, { port }: SekishoProcess, from: string): Promise<SmtpClient> => {
  const client = await SmtpClient.connect(port, from);
  t.teardown(() => client.destroy());
  t.equal(codeOf(await client.reply()), 220);
  t.equal(codeOf(await client.say('EHLO c.example')), 250);
  return client;
};

/** What a recipient elsewhere gets. */
const relay = async (client: SmtpClient): Promise<number> => {
  await client.say('MAIL FROM:<bob@local.example>');
  const code = codeOf(await client.say('RCPT TO:<y@victim.example>'));
  await client.say('RSET');
  if (client.closed) throw new Error(`the session has ended: ${client.transcript.slice(-200)}`);
  return code;
};

/** A message to a local user, from the connection to its end. */
const localMail = async (t: Test, process: SekishoProcess, mta: LegacyMta): Promise<void> => {
  const before = mta.messages.length;
  const client = await greeted(t, process, STRANGER);
  for (const line of ['MAIL FROM:<x@elsewhere.example>', 'RCPT TO:<bob@local.example>'])
    t.equal(codeOf(await client.say(line)), 250, line);
  t.equal(codeOf(await client.say('DATA')), 354);
  t.equal(codeOf(await client.say('Subject: in\r\n\r\nhello\r\n.')), 250, 'local mail flows on');
  t.equal(mta.messages.length, before + 1);
  client.destroy();
};

/** Logs in through the mail proxy of a process. */
const fetchMail = (
  { ports: [, port = 0] }: SekishoProcess,
  from: string,
  password?: string,
): Promise<boolean> => logIn(port, from, password);

/** Milliseconds until a recipient elsewhere is let pass. */
const untilAllowed = async (client: SmtpClient): Promise<number> => {
  const begun = performance.now();
  await eventually('the window holds', async () => (await relay(client)) === 250);
  return performance.now() - begun;
};

const shared = async (t: Test, { config, processes }: Pair, what: string): Promise<void> => {
  const [one, other] = processes;
  const run = (...args: string[]) => runSekisho([...args, '--config', config]);
  const both = (from: string) => Promise.all([greeted(t, one, from), greeted(t, other, from)]);
  const [bobs, carols, strangers] = await Promise.all([both(BOB), both(CAROL), both(STRANGER)]);
  const codes = (clients: readonly SmtpClient[]) => Promise.all(clients.map(relay));

  t.notOk(await fetchMail(one, BOB, 'wrong'));
  t.strictSame(await codes(bobs), [550, 550], 'a wrong password opens nothing');
  t.ok(await fetchMail(one, BOB), 'a login at the first');
  const taken = await untilAllowed(bobs[1]);
  t.comment(`${what}: a window holds at the other process after ${taken.toFixed(1)} ms`);
  t.ok(taken < MOST, 'and a window at the second');
  t.strictSame(await codes(bobs), [250, 250]);
  t.strictSame(await codes(strangers), [550, 550], 'at no other address');

  // The command says so when it is done; asking goes on meanwhile.
  const opening = run('windows', 'open', 'carol', CAROL).then(({ code, err }) => {
    t.same([code, err], [0, '']);
    return performance.now();
  });
  const seen = carols.map(async (client) => {
    await untilAllowed(client);
    return performance.now();
  });
  const [opened, ...held] = await Promise.all([opening, ...seen]);
  const late = Math.max(0, ...held.map((each) => each - opened));
  t.comment(`${what}: one by command holds at both ${late.toFixed(1)} ms after that has ended`);
  t.ok(late < MOST);

  const listed = (await run('windows', 'list')).out;
  for (const each of [/^\[127\.0\.0\.2\] <bob> by pop3/m, /^\[127\.0\.0\.3\] <carol> by api/m])
    t.match(listed, each);
  t.match(await run('windows', 'close', '--login', 'bob'), { code: 0, out: '1 closed\n' });
  t.strictSame(await codes(bobs), [550, 550], 'closed, it holds nowhere');
  t.strictSame(await codes(carols), [250, 250], 'the other is not touched');
  t.match(await run('windows', 'close', '--address', CAROL), { code: 0, out: '1 closed\n' });
  t.strictSame(await codes(carols), [550, 550]);
};

const skip = noPackages() ?? false;

t.test('two processes share windows', { skip }, async (t) => {
  await install(['redis-server']);
  const dovecot = await Dovecot.start({ users: [{ user: 'bob', password: 'secret' }] });
  t.teardown(() => dovecot.stop());
  const mta = await startLegacyMta();
  t.teardown(() => mta.close());

  await t.test('over an LMDB folder', async (t) => {
    const pair = await pairOf(t, mta, dovecot, '{ lmdb: state }');
    await shared(t, pair, 'LMDB');
    const [one, other] = pair.processes;
    t.ok(await fetchMail(other, DAVE));
    await other.kill('SIGKILL');
    t.equal(await relay(await greeted(t, one, DAVE)), 250, 'it outlives the process that opened it');
    await one.kill('SIGTERM');
    t.equal(one.code, 0);
  });

  await t.test('over Redis', async (t) => {
    const redis = await RedisServer.start(t);
    const store = `{ redis: "redis://127.0.0.1:${redis.port}", timeout: 1s }`;
    const pair = await pairOf(t, mta, dovecot, store);
    await shared(t, pair, 'Redis');

    const { processes } = pair;
    t.ok(await fetchMail(processes[0], DAVE));
    const daves = await Promise.all(processes.map((each) => greeted(t, each, DAVE)));
    const codes = () => Promise.all(daves.map(relay));
    t.strictSame(await codes(), [250, 250]);
    /** Windows are unknown now. */
    const cannotAnswer = async (how: string): Promise<void> => {
      const before = processes.map(({ out }) => out.length);
      t.strictSame(await codes(), [451, 451], `${how}: who may relay is not known`);
      for (const [i, process] of processes.entries()) {
        await process.until('the fault is in the log', () =>
          /"event":"store-error","operation":"lookup"/.test(process.out.slice(before[i])),
        );
        await localMail(t, process, mta);
      }
    };

    redis.signal('SIGSTOP');
    await cannotAnswer('hung');
    redis.signal('SIGCONT');
    const all = (code: number) => async () => (await codes()).every((each) => each === code);
    await eventually('the window holds again', all(250));

    await redis.kill();
    await cannotAnswer('dead');
    await redis.restart();
    await eventually('it is known that there is none', all(550));
    for (const process of processes) {
      await process.until('a warning', () => /it has lost what it knew: windows/.test(process.out));
      await localMail(t, process, mta);
      t.equal(process.code, undefined, 'it goes on');
    }
    t.ok(await fetchMail(processes[1], DAVE));
    await untilAllowed(daves[0] ?? (await greeted(t, processes[0], DAVE)));
    for (const process of processes) {
      await process.kill('SIGTERM');
      t.equal(process.code, 0);
      t.notMatch(process.out + process.err, /internal-error|\n\s+at /);
    }
  });
});
