/** Real mail servers and real mailers: what is hostile never gets into a queue, what is not does. */
import { execFile } from 'node:child_process';
import { createRequire } from 'node:module';
import path from 'node:path';
import type nodemailer from 'nodemailer';
import t from 'tap';
import corpus from '../corpus/vulnerabilities.json' with { type: 'json' };
import { movesOf } from '../support/corpus.js';
import { Exim } from '../support/exim.js';
import { overheardPort } from '../support/overheard.js';
import { install, noPackages } from '../support/packages.js';
import { folder, runSekisho } from '../support/process.js';
import { startSekisho } from '../support/sekisho.js';
import { Sendmail } from '../support/sendmail.js';
import { codeOf, SmtpClient } from '../support/smtp-client.js';

const reason = noPackages();
const options = reason === undefined ? {} : { skip: reason };

const run = (file: string, args: readonly string[], input = ''): Promise<{ code: number; out: string }> =>
  new Promise((resolve) => {
    const env = { ...process.env, HOME: '/nonexistent', LC_ALL: 'C.UTF-8' };
    const child = execFile(file, args, { env, timeout: 180_000 }, (error, stdout, stderr) => {
      resolve({ code: error === null ? 0 : Number(error.code ?? 1), out: stdout + stderr });
    });
    child.stdin?.on('error', () => {});
    child.stdin?.end(input);
  });

const NESTED = Array.from(
  { length: 30 },
  (_, i) => `Content-Type: multipart/mixed; boundary=b${i}\r\n\r\n--b${i}\r\n`,
);
const FILLER = `${'0123456789'.repeat(7)}\r\n`.repeat(40_000);

/** The messages of the corpus that must be refused, and what is found in the middle of a body. */
const HOSTILE: readonly (readonly [id: string, message: string])[] = [
  ...corpus.content_cases
    .filter(({ expected }) => expected.startsWith('554'))
    .map(({ id, content }): readonly [string, string] => [
      id,
      content.startsWith('{{NESTED')
        ? `MIME-Version: 1.0\r\n${NESTED.join('')}\r\nx\r\n`
        : movesOf(content)
            .map((move) => (typeof move === 'object' && 'send' in move ? move.send : ''))
            .join(''),
    ]),
  [
    'mid-depth',
    `MIME-Version: 1.0\r\nContent-Type: multipart/mixed; boundary=m\r\n\r\n--m\r\n\r\n${FILLER}--m\r\n${NESTED.join('')}\r\nx\r\n`,
  ],
  [
    'mid-parts',
    `MIME-Version: 1.0\r\nContent-Type: multipart/mixed; boundary=m\r\n\r\n${FILLER}${'--m\r\n\r\nx\r\n'.repeat(1_001)}--m--\r\n`,
  ],
];

const send = async (port: number, to: string, message: string): Promise<string> => {
  const client = await SmtpClient.connect(port);
  await client.reply();
  for (const line of ['EHLO c.example', 'MAIL FROM:<a@sender.example>', `RCPT TO:<${to}>`, 'DATA']) {
    const reply = await client.say(line, 30_000);
    if (codeOf(reply) >= 400) return reply;
  }
  const reply = await client.say(`${message}.`, 60_000);
  client.destroy();
  return reply;
};

const python = `
import smtplib, sys
from email.message import EmailMessage
from email.mime.message import MIMEMessage
m = EmailMessage()
m['From'] = 'Jörg Müller <a@sender.example>'
m['To'] = ', '.join('"Doe, J%d" <j%d@local.example>' % (i, i) for i in range(60))
m['Subject'] = 'Grüße und 日本語 ' * 9
m.set_content('Grüße\\n' * 20)
m.add_alternative('<p>Grüße</p>', subtype='html')
m.add_attachment(bytes(range(256)) * 40, maintype='application', subtype='octet-stream', filename='会議資料の名前が長い.bin' * 4)
inner = EmailMessage(); inner['Subject'] = 'inner'; inner.set_content('x')
m.add_attachment(inner)
with smtplib.SMTP('127.0.0.1', int(sys.argv[1])) as s:
    s.send_message(m, 'a@sender.example', [sys.argv[2]])
`;

t.test('real sendmail', options, async (t) => {
  await install(['swaks', 'python3', 's-nail', 'mutt']);
  const sendmail = await Sendmail.start();
  const setting = {
    upstreams: [{ port: await overheardPort(t, 'sendmail', sendmail.port), shield: 'strict' as const }],
  };
  const sekisho = await startSekisho(setting);
  const spooling = await startSekisho({ ...setting, listener: { spool: true } });
  t.teardown(async () => {
    await Promise.all([sekisho.stop(), spooling.stop()]);
    await sendmail.stop();
  });
  const queued = (to: string): number =>
    sendmail.queue().filter(({ recipients }) => recipients.join().includes(`<${to}>`)).length;

  await t.test('what is hostile', async (t) => {
    for (const [id, message] of HOSTILE) {
      const alone = await send(sendmail.port, `${id}-alone@local.example`, message);
      const through = await send(sekisho.port, `${id}-through@local.example`, message);
      const spooled = await send(spooling.port, `${id}-spooled@local.example`, message);
      t.comment(`${id}: alone ${codeOf(alone)}, behind Sekisho ${through.slice(0, 60)}`);
      t.match(through, /^554 5\.(?:6\.0|4\.6) /, id);
      t.match(spooled, /^554 5\.(?:6\.0|4\.6) /, `${id}, spooled`);
    }
    for (const [id] of HOSTILE) {
      t.equal(queued(`${id}-through@local.example`), 0, `${id} is not in the queue`);
      t.equal(queued(`${id}-spooled@local.example`), 0, `${id}, spooled, neither`);
    }
    const taken = HOSTILE.filter(([id]) => queued(`${id}-alone@local.example`) > 0);
    t.ok(taken.length > 0, `alone, it takes ${taken.map(([id]) => id).join(', ')}`);
  });

  await t.test('what real mailers write', async (t) => {
    const dir = folder(t, { 'a.bin': 'x'.repeat(5_000), muttrc: '' });
    const file = path.join(dir, 'a.bin');
    const mailer = createRequire(import.meta.url)('nodemailer') as typeof nodemailer;
    const mailers: Readonly<Record<string, (port: number, to: string) => Promise<string>>> = {
      python: async (port, to) => (await run('python3', ['-c', python, String(port), to])).out,
      swaks: async (port, to) =>
        (
          await run('swaks', [
            '--server',
            `127.0.0.1:${port}`,
            '--from',
            'a@sender.example',
            '--to',
            to,
            '--attach',
            `@${file}`,
            '--hide-all',
          ])
        ).out,
      's-nail': async (port, to) =>
        (
          await run(
            's-nail',
            [
              '-:/',
              '-S',
              'v15-compat',
              '-S',
              `mta=smtp://127.0.0.1:${port}`,
              '-S',
              'smtp-config=-all',
              '-S',
              'smtp-auth=none',
              '-S',
              'from=J\xf6rg <a@sender.example>',
              '-a',
              file,
              '-s',
              'Größe',
              to,
            ],
            'Hallo\n',
          )
        ).out,
      mutt: async (port, to) =>
        (
          await run(
            'mutt',
            [
              '-F',
              path.join(dir, 'muttrc'),
              '-n',
              '-e',
              `set smtp_url=smtp://127.0.0.1:${port} from=a@sender.example ssl_starttls=no ssl_force_tls=no copy=no`,
              '-s',
              'Größe',
              '-a',
              file,
              '--',
              to,
            ],
            'Hallo\n',
          )
        ).out,
      nodemailer: async (port, to) => {
        const transport = mailer.createTransport({ host: '127.0.0.1', port, ignoreTLS: true });
        await transport.sendMail({
          from: '"Müller, Jörg" <a@sender.example>',
          to: [to, ...Array.from({ length: 50 }, (_, i) => `Person ${i} <p${i}@local.example>`)],
          envelope: { from: 'a@sender.example', to },
          subject: 'Grüße '.repeat(40),
          text: 'x',
          html: '<p>x</p><img src="cid:a">',
          attachments: [{ filename: '名前'.repeat(40), content: 'y'.repeat(9_000), cid: 'a' }],
          icalEvent: { method: 'REQUEST', content: 'BEGIN:VCALENDAR\r\nEND:VCALENDAR\r\n' },
        });
        transport.close();
        return '';
      },
    };
    for (const [name, write] of Object.entries(mailers)) {
      for (const { port } of [sekisho, spooling]) {
        const to = `${name}-${port}@local.example`;
        const out = await write(port, to);
        t.equal(queued(to), 1, `${name}: ${out.slice(-300)}`);
      }
    }
    t.strictSame(
      sekisho.of('shield-hit').filter(({ peer }) => peer.helo !== 'c.example'),
      [],
      'nothing was found',
    );
  });

  await t.test('sekisho upstream', async (t) => {
    const { out, code } = await runSekisho(['upstream', `127.0.0.1:${sendmail.port}`]);
    t.equal(code, 0);
    t.match(out, /is: {6}sendmail 8\.\d+\.\d[\w.]*, configuration 8\.\d+/);
    t.match(out, /CVE-2023-51765: .*end-of-data/);
    t.match(out, /Upgrade to sendmail 8\.18\.1 or later\./);
    const json = JSON.parse((await runSekisho(['upstream', `127.0.0.1:${sendmail.port}`, '--json'])).out);
    t.match(json, { product: { name: 'sendmail' }, preset: 'sendmail-8.12', upgradeTo: '8.18.1' });
    t.ok(json.ehlo.includes('8BITMIME'));
  });
});

t.test('sekisho upstream on Exim, and where nothing is', options, async (t) => {
  const exim = await Exim.start({ users: [] });
  t.teardown(() => exim.stop());
  const { out, code } = await runSekisho(['upstream', `127.0.0.1:${exim.port}`]);
  t.equal(code, 0);
  t.match(out, /is: {6}Exim 4\.\d+/, out);
  const nobody = await runSekisho(['upstream', '127.0.0.1:1']);
  t.equal(nobody.code, 1);
  t.match(nobody.err, /^sekisho: 127\.0\.0\.1:1: .*ECONNREFUSED/);
  t.equal((await runSekisho(['upstream', '25'])).code, 2);
});
