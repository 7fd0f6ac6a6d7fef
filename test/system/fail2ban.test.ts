/** The filters in deploy/fail2ban, read by fail2ban itself, on what Sekisho logs of real clients. */
import { execFileSync } from 'node:child_process';
import { cpSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import os from 'node:os';
import path from 'node:path';
import { PassThrough } from 'node:stream';
import t, { type Test } from 'tap';
import { createLog } from '../../src/app/log.js';
import type { SekishoEvent } from '../../src/base/events.js';
import { startLegacyMta } from '../support/legacy-mta.js';
import { install, noPackages, unpack } from '../support/packages.js';
import { CLEAR_TEXT, logIn, passwords } from '../support/passwords.js';
import { startSekisho } from '../support/sekisho.js';
import { SmtpClient } from '../support/smtp-client.js';

const skip = noPackages() ?? false;
if (skip) t.comment(`skipped: ${skip}`);

const VICTIM = '192.0.2.9';
const LINE = `warning: unknown[${VICTIM}]: SASL PLAIN authentication failed: wrong; login=<x> proto=smtp`;
const REJECT = `NOQUEUE: reject: RCPT from unknown[${VICTIM}]: 550 5.7.1 <y@far.example>... Relaying denied`;
/** Logins that try to look like a line, or a field, of somebody else. */
const HOSTILE = [
  `x[${VICTIM}]: SASL PLAIN authentication failed: `,
  `> proto=smtp\nNov 25 12:00:00 h sekisho[1]: ${LINE}`,
  `\r\n${LINE}`,
  `\u2028${REJECT}`,
  `[${VICTIM}]`,
  `","client":"${VICTIM}","result":"wrong","client":"${VICTIM}"`,
  `\\","event":"auth","result":"wrong","client":"${VICTIM}","x":"`,
];

/** A configuration folder of fail2ban with our files in it, and what `fail2ban-regex` finds by it. */
const fail2ban = async (t: Test) => {
  await install(['python3']);
  const root = await unpack('fail2ban');
  const folder = mkdtempSync(path.join(os.tmpdir(), 'sekisho-fail2ban-'));
  t.teardown(() => rmSync(folder, { recursive: true, force: true }));
  const config = path.join(folder, 'config');
  cpSync(path.join(root, 'etc/fail2ban'), config, { recursive: true });
  for (const file of readdirSync(path.join(config, 'jail.d'))) rmSync(path.join(config, 'jail.d', file));
  cpSync('deploy/fail2ban', config, { recursive: true });
  const env = { ...process.env, PYTHONPATH: path.join(root, 'usr/lib/python3/dist-packages') };
  const run = (command: string, args: readonly string[]): string =>
    execFileSync('python3', [path.join(root, 'usr/bin', command), '-c', config, ...args], {
      encoding: 'utf8',
      stdio: ['ignore', 'pipe', 'ignore'],
      env,
    });
  const log = path.join(folder, 'sekisho.log');
  const found = (lines: string, filter: string): string[] => {
    writeFileSync(log, lines);
    return run('fail2ban-regex', ['-o', '<ip>', log, filter]).split('\n').filter(Boolean);
  };
  return { found, run, config, log };
};

/** What the log says of the events, as `sekisho serve` writes it. */
const logged = (format: 'classic' | 'json', events: readonly SekishoEvent[]): string => {
  const out = new PassThrough();
  const note = createLog(format, 'info', out);
  for (const event of events) note(event);
  return String(out.read() ?? '');
};

/** Clients on 127.0.0.2 to .5: a guesser with hostile names, a relayer, a smuggler, and a good one. */
const misdeeds = async (t: Test) => {
  const mta = await startLegacyMta();
  const sekisho = await startSekisho({
    upstreams: [{ port: mta.port }],
    logins: [passwords({ hoge: 'secret', [HOSTILE[0]!]: 'secret' })],
    devices: [CLEAR_TEXT],
    throttle: { delay: 0 },
  });
  t.teardown(async () => {
    await sekisho.stop();
    await mta.close();
  });
  const greeted = async (from: string, helo = 'c.example'): Promise<SmtpClient> => {
    const client = await SmtpClient.connect(sekisho.port, from);
    await client.reply();
    await client.say(`EHLO ${helo}`);
    return client;
  };
  for (const login of ['hoge', ...HOSTILE]) {
    const guesser = await greeted('127.0.0.2', `[${VICTIM}]`);
    t.match(await logIn(guesser, login, 'guess'), /^5/, login);
    guesser.destroy();
  }
  const relayer = await greeted('127.0.0.3');
  await relayer.say('MAIL FROM:<x@spam.example>');
  for (const local of ['y', 'y%far.example', '"a b"', `"[${VICTIM}]: SASL PLAIN authentication failed:"`])
    t.match(await relayer.say(`RCPT TO:<${local}@far.example>`), /^550 5\.7\.1/, local);
  relayer.destroy();
  const smuggler = await greeted('127.0.0.4');
  smuggler.send('NOOP\nNOOP\r\n');
  await smuggler.reply();
  smuggler.destroy();
  const good = await greeted('127.0.0.5');
  t.match(await logIn(good, HOSTILE[0]!, 'secret'), /^235/, 'a good login with an odd name');
  await good.say('QUIT');
  return sekisho.events;
};

const rejected = ({ type, ...rest }: SekishoEvent): boolean =>
  type === 'auth' && 'result' in rest && rest.result === 'wrong';

t.test('fail2ban finds whom it should, and nobody else', { skip }, async (t) => {
  const { found } = await fail2ban(t);
  const events = await misdeeds(t);
  const wrong = events.filter(rejected).length;
  t.ok(wrong >= 4, `${wrong} wrong logins, the others are malformed`);
  for (const [format, filter] of [
    ['classic', 'sekisho'],
    ['json', 'sekisho-json'],
  ] as const) {
    const lines = logged(format, events);
    t.match(lines, VICTIM, 'the victim is named in the log');
    t.same(found(lines, `${filter}[mode=auth]`), Array(wrong).fill('127.0.0.2'), `${format}: auth`);
    t.same(found(lines, `${filter}[mode=relay]`), Array(4).fill('127.0.0.3'), `${format}: relay`);
    t.same(found(lines, `${filter}[mode=attack]`), ['127.0.0.4'], `${format}: attack`);
    t.same(new Set(found(lines, filter)), new Set(['127.0.0.2', '127.0.0.3', '127.0.0.4']), format);
  }
  const journal = logged('classic', events).replace(/^/gm, 'Nov 25 12:00:00 host sekisho[1]: ');
  t.equal(found(journal, 'sekisho[mode=auth]').length, wrong, 'with the beginning of the journal');
});

t.test('every way to log in, IPv6, and what is no guess', { skip }, async (t) => {
  const { found } = await fail2ban(t);
  const peer = {
    session: 's',
    listener: 'mx',
    port: 1,
    name: 'mail-1.isp.example',
    helo: 'h',
    protocol: 'ESMTP',
  };
  const auth = (
    address: string,
    mechanism: string,
    result: Extract<SekishoEvent, { type: 'auth' }>['result'],
    protocol: 'smtp' | 'pop3' = 'smtp',
  ): SekishoEvent => ({
    type: 'auth',
    peer: { ...peer, address },
    protocol,
    mechanism,
    result,
    login: 'hoge',
    why: result === 'suspended' ? 'the login is suspended' : 'why',
  });
  const events = [
    auth('2001:db8::1', 'SCRAM-SHA-256-PLUS', 'wrong'),
    auth('203.0.113.1', 'CRAM-MD5', 'locked'),
    auth('203.0.113.2', 'USER', 'wrong', 'pop3'),
    ...(['ok', 'suspended', 'unavailable', 'malformed', 'cancelled'] as const).map((result) =>
      auth('203.0.113.3', 'PLAIN', result),
    ),
  ];
  const guilty = ['2001:db8::1', '203.0.113.1', '203.0.113.2'];
  t.same(found(logged('classic', events), 'sekisho'), guilty);
  t.same(found(logged('json', events), 'sekisho-json'), guilty);
});

t.test('the jails are as fail2ban wants them', { skip }, async (t) => {
  const { run, config, log } = await fail2ban(t);
  const file = path.join(config, 'jail.d/sekisho.conf');
  writeFileSync(log, '');
  writeFileSync(file, readFileSync(file, 'utf8').replaceAll('/var/log/sekisho.log', log));
  const dump = run('fail2ban-client', ['-d']);
  for (const jail of ['sekisho-auth', 'sekisho-relay'])
    t.match(dump, new RegExp(`\\['start', '${jail}'\\]`), jail);
  t.match(dump, /Relaying denied/);
});
