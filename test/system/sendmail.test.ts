/** The main job on real input: a real sendmail that relays for anyone, and real clients. */
import { execFile } from 'node:child_process';
import { createRequire } from 'node:module';
import path from 'node:path';
import type nodemailer from 'nodemailer';
import t from 'tap';
import { overheardPort } from '../support/overheard.js';
import { freePort, install, libraryPath, noPackages, unpack } from '../support/packages.js';
import { folder, SekishoProcess } from '../support/process.js';
import { eventually } from '../support/sekisho.js';
import { type QueuedMessage, Sendmail } from '../support/sendmail.js';
import { SmtpClient } from '../support/smtp-client.js';

const run = (
  file: string,
  args: readonly string[],
  input = '',
  env: NodeJS.ProcessEnv = process.env,
): Promise<{ code: number; out: string }> =>
  new Promise((resolve) => {
    const child = execFile(file, args, { env, timeout: 120_000 }, (error, stdout, stderr) => {
      resolve({ code: error === null ? 0 : Number(error.code ?? 1), out: stdout + stderr });
    });
    child.stdin?.end(input);
  });

const MESSAGE = 'Subject: hello\n\nIt works.\n.\nwith a dot\n';
const INSIDE = 'bob@local.example';
const OUTSIDE = 'y@victim.example';

type Client = (port: number, to: string) => Promise<boolean>;

const smtplib = `
import smtplib, sys
try:
    with smtplib.SMTP('127.0.0.1', int(sys.argv[1])) as s:
        s.sendmail('a@sender.example', [sys.argv[2]], 'Subject: hello\\n\\nIt works.\\n.\\nwith a dot\\n')
except smtplib.SMTPException as e:
    print(e); sys.exit(1)
`;

const CLIENTS: Readonly<Record<string, Client>> = {
  swaks: async (port, to) =>
    (
      await run('swaks', [
        '--server',
        `127.0.0.1:${port}`,
        '--from',
        'a@sender.example',
        '--to',
        to,
        '--helo',
        'c.example',
      ])
    ).code === 0,
  msmtp: async (port, to) => {
    const args = [
      '--host=127.0.0.1',
      `--port=${port}`,
      '--from=a@sender.example',
      '--auth=off',
      '--tls=off',
      '--file=/dev/null',
      to,
    ];
    return (await run('msmtp', args, MESSAGE)).code === 0;
  },
  curl: async (port, to) => {
    const args = [
      '-sS',
      `smtp://127.0.0.1:${port}`,
      '--mail-from',
      'a@sender.example',
      '--mail-rcpt',
      to,
      '-T',
      '-',
    ];
    return (await run('curl', args, MESSAGE.replaceAll('\n', '\r\n'))).code === 0;
  },
  smtplib: async (port, to) => (await run('python3', ['-c', smtplib, String(port), to])).code === 0,
  nodemailer: async (port, to) => {
    const mailer = createRequire(import.meta.url)('nodemailer') as typeof nodemailer;
    const transport = mailer.createTransport({ host: '127.0.0.1', port, ignoreTLS: true });
    try {
      await transport.sendMail({
        from: 'a@sender.example',
        to,
        subject: 'hello',
        text: 'It works.\n.\nwith a dot\n',
      });
      return true;
    } catch {
      return false;
    } finally {
      transport.close();
    }
  },
};

const reason = noPackages();
const options = reason === undefined ? {} : { skip: reason };

t.test('real sendmail with promiscuous_relay', options, async (t) => {
  await install(['nmap', 'swaks', 'msmtp', 'curl', 'python3', 'm4']);
  const postfix = await unpack('postfix');
  const tools = { ...process.env, LD_LIBRARY_PATH: libraryPath(postfix) };
  const sendmail = await Sendmail.start();
  const up = `127.0.0.1:${await overheardPort(t, 'sendmail', sendmail.port)}`;
  const base = ['--listen', '127.0.0.1:0', '--local-domain', 'local.example', '--log', 'classic'];
  const strict = await SekishoProcess.serve([...base, '--upstream', up]);
  const trusting = await SekishoProcess.serve([...base, '--upstream', up, '--trust', '127.0.0.1/32']);
  t.teardown(async () => {
    await strict.kill();
    await trusting.kill();
    await sendmail.stop();
  });
  const taken = (to: string): QueuedMessage[] =>
    sendmail.queue().filter(({ recipients }) => recipients.join().includes(to));

  await t.test('nmap finds the relay directly, and none through Sekisho', async (t) => {
    const scan = (port: number): Promise<{ out: string }> =>
      run('nmap', [
        ...['-Pn', '-n', '-p', String(port), '--script', '+smtp-open-relay', '--script-args'],
        'smtp-open-relay.domain=victim.example,smtp-open-relay.from=antispam,smtp-open-relay.to=relaytest',
        '127.0.0.1',
      ]);
    let direct = '';
    // Its script has little patience, so on a busy machine it gives up now and then.
    await eventually('it finds it directly', async () => {
      direct = (await scan(sendmail.port)).out;
      return /Server is an open relay \(\d+\/\d+ tests\)/.test(direct);
    });
    const before = taken('victim.example').length;
    await eventually('and none through Sekisho', async () => {
      const { out } = await scan(strict.port);
      t.notMatch(out, /is an open relay/);
      // After ten refusals the session ends, before nmap has tried all it knows.
      return /smtp-open-relay: (?:Server doesn't seem to be|SMTP: RSET 421)/.test(out);
    });
    t.equal(taken('victim.example').length, before, 'and the queue agrees');
  });

  for (const [name, send] of Object.entries(CLIENTS)) {
    await t.test(name, async (t) => {
      const to = `${name}.${INSIDE}`;
      t.equal(await send(strict.port, to), true, 'local mail is delivered');
      const [message] = taken(to);
      t.same(message?.recipients, [`<${to}>`]);
      t.match(message?.sender, 'a@sender.example');
      t.match(
        message?.header,
        /Received: from \S+ \(unknown \[127\.0\.0\.1\]\) by legacy\.example\.test \(Sekisho\) with ESMTP id \S+ \(sekisho-id=[0-9a-f]{16}\); /,
        'the Received line says who the client was',
      );
      if (name !== 'swaks') t.match(message?.body, /It works\.\r?\n\.\r?\nwith a dot/, 'dots and all');
      t.equal(await send(strict.port, `${name}.${OUTSIDE}`), false, 'a stranger may not relay');
      t.equal(taken(`${name}.${OUTSIDE}`).length, 0);
      t.equal(await send(trusting.port, `${name}.${OUTSIDE}`), true, 'a trusted network may');
      t.equal(taken(`${name}.${OUTSIDE}`).length, 1);
    });
  }

  await t.test('smtp-source, many at once', async (t) => {
    const source = path.join(postfix, 'usr/sbin/smtp-source');
    const args = [
      '-s',
      '8',
      '-m',
      '60',
      '-l',
      '3000',
      '-f',
      'a@sender.example',
      '-t',
      'source@local.example',
    ];
    const sent = await run(source, [...args, `inet:127.0.0.1:${strict.port}`], '', tools);
    t.equal(sent.code, 0, sent.out);
    await eventually('all are in the queue', () => taken('source@local.example').length === 60);
    const relay = await run(
      source,
      ['-m', '1', '-t', 'source@victim.example', `127.0.0.1:${strict.port}`],
      '',
      tools,
    );
    t.not(relay.code, 0);
    t.equal(taken('source@victim.example').length, 0);
  });

  await t.test('a mail for inside and outside reaches the inside only', async (t) => {
    const client = await SmtpClient.connect(strict.port, '127.0.0.2');
    await client.reply();
    for (const line of ['EHLO c.example', 'MAIL FROM:<a@sender.example>', 'RCPT TO:<mixed@victim.example>'])
      await client.say(line);
    const lines = [
      'RCPT TO:<mixed@local.example>',
      'RCPT TO:<mixed%victim.example@local.example>',
      'DATA',
      'Subject: x\r\n\r\nx\r\n.',
    ];
    const replies: string[] = [];
    for (const line of lines) replies.push(await client.say(line));
    t.same(
      replies.map((reply) => reply.slice(0, 3)),
      ['250', '550', '354', '250'],
    );
    t.same(
      taken('mixed').map(({ recipients }) => recipients),
      [['<mixed@local.example>']],
    );
    t.match(taken('mixed')[0]?.header, /\(unknown \[127\.0\.0\.2\]\)/);
    client.destroy();
  });

  await t.test('smtp-sink as a second upstream takes over', async (t) => {
    const port = await freePort();
    const dir = folder(t as never);
    const sinkPath = path.join(postfix, 'usr/sbin/smtp-sink');
    const sink = execFile(sinkPath, ['-u', 'root', '-R', dir, '-d', 'mail.%M', `127.0.0.1:${port}`, '128'], {
      env: tools,
    });
    t.teardown(() => sink.kill());
    const dead = await freePort();
    const sekisho = await SekishoProcess.serve([
      ...base,
      '--upstream',
      `127.0.0.1:${dead}`,
      '--upstream',
      `127.0.0.1:${port}`,
    ]);
    t.teardown(() => sekisho.kill());
    await sekisho.until('smtp-sink is up', () => /is up/.test(sekisho.out));
    t.equal(await (CLIENTS.smtplib as Client)(sekisho.port, INSIDE), true);
    const accepted = new RegExp(`message accepted: .* relay=127\\.0\\.0\\.1:${port} `);
    await sekisho.until('which way it went', () => accepted.test(sekisho.out));
  });
});
