/**
 * Fetch mail, then send it: real Dovecot and real Courier write what they write into their logs, real programs fetch and
 * send, and real sendmail gets what Sekisho lets pass.
 */
import { execFile } from 'node:child_process';
import { readFileSync } from 'node:fs';
import path from 'node:path';
import t, { type Test } from 'tap';
import { Courier } from '../support/courier.js';
import { Dovecot } from '../support/dovecot.js';
import { overheardPort } from '../support/overheard.js';
import { install, noPackages } from '../support/packages.js';
import { folder, SekishoProcess } from '../support/process.js';
import { eventually } from '../support/sekisho.js';
import { Sendmail } from '../support/sendmail.js';

const run = (file: string, args: readonly string[], input = ''): Promise<{ code: number; out: string }> =>
  new Promise((resolve) => {
    const child = execFile(file, args, { timeout: 180_000 }, (error, stdout, stderr) =>
      resolve({ code: error === null ? 0 : Number(error.code ?? 1), out: stdout + stderr }),
    );
    child.stdin?.end(input);
  });

const POLICY = `
version: 1
domains:
  ours: [local.example]
rules:
  - { name: inbound, allow: { to: ours } }
  - { name: who fetched mail, allow: { window: any, from: ours } }
`;

/** Where the user is, at another place each time. */
const homeOf = (nth: number): string => `127.0.0.${3 + nth}`;

const send = async (port: number, address: string, sender = 'bob@local.example'): Promise<boolean> => {
  const args = ['--host=127.0.0.1', `--port=${port}`, `--from=${sender}`, `--source-ip=${address}`];
  const off = ['--auth=off', '--tls=off', '--file=/dev/null', 'y@victim.example'];
  return (await run('msmtp', [...args, ...off], 'Subject: out\n\nhello\n')).code === 0;
};

/** mpop puts a new file in place of the one it is given: never a device. */
const uidls = folder(t);

const fetchBy = {
  curl: (home: string, protocol: string, port: number, password: string) =>
    run('curl', ['-sS', '--interface', home, '-u', `bob:${password}`, `${protocol}://127.0.0.1:${port}/`]),
  mpop: (home: string, _: string, port: number, password: string) =>
    run('mpop', [
      ...[
        '--host=127.0.0.1',
        `--port=${port}`,
        `--source-ip=${home}`,
        '--user=bob',
        '--tls=off',
        '--auth=user',
      ],
      ...[
        `--passwordeval=echo ${password}`,
        '--keep=on',
        `--delivery=mbox,${uidls}/box`,
        `--uidls-file=${uidls}/uidls`,
      ],
    ]),
};

interface Server {
  readonly log: string;
  readonly format: string;
  readonly ways: readonly (readonly [keyof typeof fetchBy, string, number])[];
}

/** Longer than it takes to fetch and to send, on the busiest machine; the end of the first is waited for. */
const WINDOW = '12s';

const journey = async (t: Test, sendmail: Sendmail, { log, format, ways }: Server): Promise<void> => {
  const dir = folder(t, {
    'p.yaml': POLICY,
    'sekisho.yaml': `
listen: [{ host: 127.0.0.1, port: 0 }]
upstream: { host: 127.0.0.1, port: ${await overheardPort(t, 'sendmail', sendmail.port)} }
policy: p.yaml
roaming: { window: ${WINDOW}, logs: [{ file: ${log}, format: ${format} }] }
`,
  });
  const sekisho = await SekishoProcess.serve(['--config', path.join(dir, 'sekisho.yaml')]);
  t.teardown(() => sekisho.kill());
  const opened = (): number => sekisho.out.match(/"event":"window-opened"/g)?.length ?? 0;
  const lines = (): number => readFileSync(log, 'utf8').split('\n').length;
  for (const [i, [program, protocol, port]] of ways.entries()) {
    const home = homeOf(i);
    const [before, queued] = [opened(), sendmail.queue().length];
    const said = lines();
    await fetchBy[program](home, protocol, port, 'wrong');
    await eventually('the failure is in the log', () => lines() > said);
    t.notOk(await send(sekisho.port, home), `${program}: a wrong password opens nothing`);
    t.equal(opened(), before);
    const fetched = await fetchBy[program](home, protocol, port, 'secret');
    t.equal(fetched.code, 0, fetched.out);
    await sekisho.until('a window', () => opened() > before);
    t.ok(await send(sekisho.port, home), `${program}: who has fetched may send`);
    t.notOk(await send(sekisho.port, '127.0.0.2'), 'another address may not');
    t.notOk(await send(sekisho.port, home, 'x@spam.example'), 'nor under a foreign name');
    t.equal(sendmail.queue().length, queued + 1, 'sendmail has it');
    t.ok(
      sendmail.queue().some(({ recipients }) => recipients.some((each) => /y@victim\.example/.test(each))),
    );
    t.equal(opened(), before + 1);
  }
  await eventually('its end', async () => !(await send(sekisho.port, homeOf(0))));
  await sekisho.kill('SIGTERM');
  t.equal(sekisho.code, 0);
  t.match(sekisho.out, /"event":"window-opened","login":"bob","address":"127\.0\.0\.3","source":"log"/);
};

const skip = noPackages() ?? false;

t.test('through the logs of real servers, to a real sendmail', { skip }, async (t) => {
  await install(['curl', 'mpop', 'msmtp']);
  const sendmail = await Sendmail.start();
  t.teardown(() => sendmail.stop());
  await t.test('dovecot', async (t) => {
    const dovecot = await Dovecot.start({ users: [{ user: 'bob', password: 'secret' }] });
    t.teardown(() => dovecot.stop());
    const { pop3, imap } = dovecot.ports;
    await journey(t, sendmail, {
      log: dovecot.log,
      format: 'dovecot',
      ways: [
        ['mpop', 'pop3', pop3],
        ['curl', 'imap', imap],
      ],
    });
  });
  await t.test('courier', async (t) => {
    const courier = await Courier.start('bob', 'secret');
    t.teardown(() => courier.stop());
    await journey(t, sendmail, {
      log: courier.log,
      format: 'courier',
      ways: [['curl', 'pop3', courier.port]],
    });
  });
});
