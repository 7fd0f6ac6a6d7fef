/** Logging in with real clients: each with each mechanism it knows, over 25 with STARTTLS, 587 and 465. */
import { execFile } from 'node:child_process';
import { writeFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import path from 'node:path';
import type nodemailer from 'nodemailer';
import t from 'tap';
import { authority, certify, signed } from '../support/certificates.js';
import { Issuer, makeKey } from '../support/issuer.js';
import { startLegacyMta } from '../support/legacy-mta.js';
import { install, noPackages } from '../support/packages.js';
import { folder, SekishoProcess } from '../support/process.js';

const USER = 'hoge@local.example';
const PASSWORD = 'open sesame =1';
const OUTSIDE = 'y@victim.example';
const MESSAGE = 'Subject: hello\n\nIt works.\n';

const run = (file: string, args: readonly string[], input = ''): Promise<{ code: number; out: string }> =>
  new Promise((resolve) => {
    const child = execFile(file, args, { timeout: 120_000 }, (error, stdout, stderr) => {
      resolve({ code: error === null ? 0 : Number(error.code ?? 1), out: stdout + stderr });
    });
    child.stdin?.on('error', () => {});
    child.stdin?.end(input);
  });

type Way = 'starttls' | 'implicit';
interface Attempt {
  readonly port: number;
  readonly way: Way;
  readonly mechanism: string;
  readonly password: string;
}
type Client = (attempt: Attempt) => Promise<{ code: number; out: string }>;

const smtplib = `
import smtplib, ssl, sys
port, way, mechanism, user, password, to = sys.argv[1:]
context = ssl._create_unverified_context()
try:
    s = smtplib.SMTP_SSL('127.0.0.1', int(port), context=context) if way == 'implicit' else smtplib.SMTP('127.0.0.1', int(port))
    if way == 'starttls':
        s.starttls(context=context)
    s.ehlo()
    s.user, s.password = user, password
    method = {'PLAIN': s.auth_plain, 'LOGIN': s.auth_login, 'CRAM-MD5': s.auth_cram_md5}[mechanism]
    s.auth(mechanism, method, initial_response_ok=mechanism != 'LOGIN')
    s.sendmail(user, [to], 'Subject: hello\\n\\nIt works.\\n')
    s.quit()
except smtplib.SMTPException as e:
    print(e); sys.exit(1)
`;

const CLIENTS: Readonly<Record<string, { mechanisms: readonly string[]; send: Client }>> = {
  swaks: {
    mechanisms: ['PLAIN', 'LOGIN', 'CRAM-MD5'],
    send: ({ port, way, mechanism, password }) =>
      run('swaks', [
        ...['--server', `127.0.0.1:${port}`, '--from', USER, '--to', OUTSIDE, '--helo', 'c.example'],
        ...[way === 'implicit' ? '--tls-on-connect' : '--tls', '--auth', mechanism],
        ...['--auth-user', USER, '--auth-password', password],
      ]),
  },
  msmtp: {
    mechanisms: ['plain', 'login', 'cram-md5', 'scram-sha-256'],
    send: ({ port, way, mechanism, password }) =>
      run(
        'msmtp',
        [
          ...[
            '--file=/dev/null',
            '--host=127.0.0.1',
            `--port=${port}`,
            `--from=${USER}`,
            `--auth=${mechanism}`,
          ],
          ...[
            `--user=${USER}`,
            `--passwordeval=printf '%s' '${password}'`,
            '--tls=on',
            '--tls-certcheck=off',
          ],
          ...[`--tls-starttls=${way === 'starttls' ? 'on' : 'off'}`, OUTSIDE],
        ],
        MESSAGE,
      ),
  },
  curl: {
    mechanisms: ['PLAIN', 'LOGIN', 'CRAM-MD5'],
    send: ({ port, way, mechanism, password }) =>
      run(
        'curl',
        [
          ...['-sSk', '--ssl-reqd', `${way === 'implicit' ? 'smtps' : 'smtp'}://127.0.0.1:${port}`],
          ...['--user', `${USER}:${password}`, '--login-options', `AUTH=${mechanism}`],
          ...['--mail-from', USER, '--mail-rcpt', OUTSIDE, '-T', '-'],
        ],
        MESSAGE.replaceAll('\n', '\r\n'),
      ),
  },
  smtplib: {
    mechanisms: ['PLAIN', 'LOGIN', 'CRAM-MD5'],
    send: ({ port, way, mechanism, password }) =>
      run('python3', ['-c', smtplib, String(port), way, mechanism, USER, password, OUTSIDE]),
  },
  nodemailer: {
    mechanisms: ['PLAIN', 'LOGIN', 'CRAM-MD5'],
    send: async ({ port, way, mechanism, password }) => {
      const mailer = createRequire(import.meta.url)('nodemailer') as typeof nodemailer;
      const transport = mailer.createTransport({
        ...{ host: '127.0.0.1', port, secure: way === 'implicit', requireTLS: true, authMethod: mechanism },
        ...{ auth: { user: USER, pass: password }, tls: { rejectUnauthorized: false } },
      });
      try {
        await transport.sendMail({ from: USER, to: OUTSIDE, subject: 'hello', text: 'It works.\n' });
        return { code: 0, out: '' };
      } catch (error) {
        return { code: 1, out: String(error) };
      } finally {
        transport.close();
      }
    },
  },
  mutt: {
    // What mutt calls its mechanisms; it asks GNU SASL or Cyrus SASL for all but PLAIN and LOGIN.
    mechanisms: ['plain', 'login'],
    send: ({ port, way, mechanism, password }) => {
      const scheme = way === 'implicit' ? 'smtps' : 'smtp';
      const settings = [
        `set smtp_url="${scheme}://${USER.replace('@', '%40')}@127.0.0.1:${port}/"`,
        `set smtp_pass="${password}"`,
        `set smtp_authenticators="${mechanism}"`,
        'set ssl_force_tls=yes ssl_starttls=yes ssl_verify_host=no ssl_verify_dates=no',
        `set from="${USER}" use_envelope_from=yes envelope_from_address="${USER}" copy=no`,
        'set certificate_file="$CERTIFICATE"',
      ];
      const commands = settings.flatMap((each) => ['-e', each.replace('$CERTIFICATE', muttCertificate)]);
      return run('mutt', ['-n', '-F', '/dev/null', ...commands, '-s', 'hello', '--', OUTSIDE], 'It works.\n');
    },
  },
};
let muttCertificate = '';

const reason = noPackages() ?? false;
t.test('every client, every mechanism, every port', { skip: reason }, async (t) => {
  await install(['swaks', 'msmtp', 'curl', 'mutt', 'python3']);
  const mta = await startLegacyMta({ ehlo: ['8BITMIME'] });
  t.teardown(() => mta.close());
  const dir = folder(t, {
    users: `${USER}:{PLAIN}${PASSWORD}\n`,
    'policy.yaml': `version: 1
rules:
  - { name: inbound, allow: { to: local.example } }
  - { name: roaming, allow: { login: any, tls: true } }
`,
  });
  const { cert, key } = certify(dir, 'mail.local.example');
  muttCertificate = cert;
  const config = path.join(folder(t), 'sekisho.yaml');
  writeFileSync(
    config,
    `listen:
  - { name: mx, host: 127.0.0.1, port: 0 }
  - { name: submission, host: 127.0.0.1, port: 0, require: login }
  - { name: smtps, host: 127.0.0.1, port: 0, tls: implicit, require: login }
upstream: { host: 127.0.0.1, port: ${mta.port} }
policy: ${dir}/policy.yaml
tls: { cert: ${cert}, key: ${key} }
logins: [{ passwd_file: ${dir}/users }]
failed_logins: { per_address: 1000, per_login: 1000, delay: 1ms }
`,
  );
  const sekisho = await SekishoProcess.serve(['--config', config, '--log', 'classic']);
  t.teardown(() => sekisho.kill());
  const [mx = 0, submission = 0, smtps = 0] = sekisho.ports;
  const doors = [
    ['25 with STARTTLS', mx, 'starttls'],
    ['587', submission, 'starttls'],
    ['465', smtps, 'implicit'],
  ] as const;
  await Promise.all(
    Object.entries(CLIENTS).map(async ([name, { mechanisms, send }]) => {
      for (const mechanism of mechanisms) {
        for (const [door, port, way] of doors) {
          const { code, out } = await send({ port, way, mechanism, password: PASSWORD });
          t.equal(code, 0, `${name}, ${mechanism}, ${door}: ${code === 0 ? '' : out}`);
        }
        const wrong = await send({ port: smtps, way: 'implicit', mechanism, password: 'open sesame =2' });
        t.not(wrong.code, 0, `${name}, ${mechanism}: a wrong password does not`);
      }
    }),
  );
  const sent = Object.values(CLIENTS).reduce((sum, { mechanisms }) => sum + mechanisms.length * 3, 0);
  t.equal(mta.messages.length, sent, 'all arrived, and nothing else');
  for (const { data } of mta.messages) {
    t.match(data, /\r\n\t\(authenticated as hoge@local\.example\)\r\n\tby \S+ \(Sekisho\) with ESMTPSA id /);
    t.match(data, /It works\.|This is a test mailing/);
  }
  const failures = (): number =>
    sekisho.out.match(/SASL \S+ authentication failed: .*; login=<[^>]*> proto=smtp/g)?.length ?? 0;
  await sekisho.until('one line for each failed login', () => failures() >= sent / 3);
  t.notMatch(sekisho.out + sekisho.err, /sesame/, 'no password in the log');
});

t.test('a certificate is a login', { skip: reason }, async (t) => {
  await install(['msmtp']);
  const mta = await startLegacyMta({ ehlo: ['8BITMIME'] });
  t.teardown(() => mta.close());
  const dir = folder(t);
  const ours = authority(dir, 'our authority');
  const theirs = authority(dir, 'their authority');
  const server = certify(dir, 'mail.local.example');
  const subject = { subject: '/CN=Hoge', names: 'email:hoge@local.example' };
  const [good, bad] = [signed(dir, 'good', ours, subject), signed(dir, 'bad', theirs, subject)];
  const config = path.join(dir, 'sekisho.yaml');
  writeFileSync(
    path.join(dir, 'policy.yaml'),
    'version: 1\nrules:\n  - { name: roaming, allow: { login: any } }\n',
  );
  writeFileSync(
    config,
    `listen: [{ host: 127.0.0.1, port: 0, require: login }]
upstream: { host: 127.0.0.1, port: ${mta.port} }
policy: policy.yaml
tls: { cert: ${server.cert}, key: ${server.key}, client_ca: ${ours.cert}, client_certs: ask }
logins: [{ certificates: true }]
`,
  );
  const sekisho = await SekishoProcess.serve(['--config', config, '--log', 'classic']);
  t.teardown(() => sekisho.kill());
  const send = (pair: { cert: string; key: string }, user: string): Promise<{ code: number; out: string }> =>
    run(
      'msmtp',
      [
        ...['--file=/dev/null', '--host=127.0.0.1', `--port=${sekisho.port}`, `--from=${USER}`],
        ...['--auth=external', `--user=${user}`, '--tls=on', '--tls-certcheck=off'],
        ...[`--tls-cert-file=${pair.cert}`, `--tls-key-file=${pair.key}`, OUTSIDE],
      ],
      MESSAGE,
    );
  const sent = await send(good, USER);
  t.equal(sent.code, 0, sent.out);
  t.match(mta.messages[0]?.data, /authenticated as hoge@local\.example/);
  t.not((await send(good, 'other@local.example')).code, 0, 'not as somebody else');
  t.not((await send(bad, USER)).code, 0, 'not with a certificate of another authority');
  t.equal(mta.messages.length, 1);
});

t.test('bearer tokens of an issuer', { skip: reason }, async (t) => {
  await install(['msmtp', 'curl']);
  const mta = await startLegacyMta({ ehlo: ['8BITMIME'] });
  t.teardown(() => mta.close());
  const issuer = await Issuer.start();
  t.teardown(() => issuer.stop());
  const dir = folder(t, {
    'policy.yaml': 'version: 1\nrules:\n  - { name: roaming, allow: { login: any, tls: true } }\n',
  });
  const { cert, key } = certify(dir, 'mail.local.example');
  const config = path.join(dir, 'sekisho.yaml');
  writeFileSync(
    config,
    `listen: [{ host: 127.0.0.1, port: 0, require: login }]
upstream: { host: 127.0.0.1, port: ${mta.port} }
policy: policy.yaml
tls: { cert: ${cert}, key: ${key} }
logins: [{ oauth: "${issuer.url}", audience: mail }]
failed_logins: { delay: 1ms }
`,
  );
  const sekisho = await SekishoProcess.serve(['--config', config, '--log', 'classic']);
  t.teardown(() => sekisho.kill());
  issuer.keys = [await makeKey('one')];
  const good = await issuer.token({ email: USER, email_verified: true });
  const others = await issuer.token({ email: USER, email_verified: true }, { key: await makeKey('one') });
  const msmtp = (mechanism: string, token: string): Promise<{ code: number; out: string }> =>
    run(
      'msmtp',
      [
        ...['--file=/dev/null', '--host=127.0.0.1', `--port=${sekisho.port}`, `--from=${USER}`],
        ...[`--auth=${mechanism}`, `--user=${USER}`, `--passwordeval=printf '%s' '${token}'`],
        ...['--tls=on', '--tls-certcheck=off', OUTSIDE],
      ],
      MESSAGE,
    );
  const curl = (mechanism: string, token: string): Promise<{ code: number; out: string }> =>
    run(
      'curl',
      [
        ...['-sSk', '--ssl-reqd', `smtp://127.0.0.1:${sekisho.port}`, '--user', `${USER}:`],
        ...['--oauth2-bearer', token, '--login-options', `AUTH=${mechanism}`],
        ...['--mail-from', USER, '--mail-rcpt', OUTSIDE, '-T', '-'],
      ],
      MESSAGE.replaceAll('\n', '\r\n'),
    );
  const mailer = async (_mechanism: string, token: string): Promise<{ code: number; out: string }> => {
    const nodemailerModule = createRequire(import.meta.url)('nodemailer') as typeof nodemailer;
    const transport = nodemailerModule.createTransport({
      ...{ host: '127.0.0.1', port: sekisho.port, requireTLS: true, tls: { rejectUnauthorized: false } },
      auth: { type: 'OAuth2', user: USER, accessToken: token },
    });
    try {
      await transport.sendMail({ from: USER, to: OUTSIDE, subject: 'hello', text: 'It works.\n' });
      return { code: 0, out: '' };
    } catch (error) {
      return { code: 1, out: String(error) };
    } finally {
      transport.close();
    }
  };
  const ways = [
    ['msmtp', msmtp, 'oauthbearer'],
    ['msmtp', msmtp, 'xoauth2'],
    ['curl', curl, 'OAUTHBEARER'],
    ['curl', curl, 'XOAUTH2'],
    ['nodemailer', mailer, 'XOAUTH2'],
  ] as const;
  for (const [name, send, mechanism] of ways) {
    const { code, out } = await send(mechanism, good);
    t.equal(code, 0, `${name}, ${mechanism}: ${out}`);
    t.not((await send(mechanism, others)).code, 0, `${name}, ${mechanism}: not with another's signature`);
  }
  t.equal(mta.messages.length, ways.length);
  t.match(mta.messages[0]?.data, /authenticated as hoge@local\.example/);
  t.notMatch(sekisho.out, new RegExp(good.slice(-40)), 'no token in the log');
});
