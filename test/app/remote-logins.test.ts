/** Entries of `logins:` that ask another server: what is wrong with them, and that they let people in. */
import { createHmac } from 'node:crypto';
import t from 'tap';
import { loginFaults, loginPlans } from '../../src/app/config-logins.js';
import { err, ok } from '../../src/base/result.js';
import { certify } from '../support/certificate.js';
import { Dovecot } from '../support/dovecot.js';
import { Exim } from '../support/exim.js';
import { noPackages } from '../support/packages.js';
import { folder, SekishoProcess } from '../support/process.js';
import { SmtpClient } from '../support/smtp-client.js';

const USER = 'alice@example.org';
const PASSWORD = 'Correct "Horse" 7';
const skip = noPackages() ?? false;

const TOOLS = {
  resolve: (file: string): string => `/etc/sekisho/${file}`,
  read: (file: string) => (file.endsWith('ca.pem') ? ok(CA.cert) : err('no such file')),
  upstream: { host: '192.0.2.25', port: 25 },
};
const CA = certify(['ca.test']);

t.test('entries of logins:', async (t) => {
  const faultsOf = (entry: Record<string, unknown>): readonly string[] => {
    const shape = loginFaults([entry]).map(({ path, message }) => `${path.slice(2).join('.')} ${message}`);
    if (shape.length > 0) return shape;
    const faults: string[] = [];
    loginPlans([entry], TOOLS, faults);
    return faults;
  };
  const print = `sha256:${'AB:'.repeat(31)}AB`;
  const good: readonly Record<string, unknown>[] = [
    { dovecot: '/run/dovecot/auth-client' },
    { dovecot: './auth-client', timeout: '5s', max_attempts: 1, domain: 'example.org' },
    { dovecot: '127.0.0.1:12345' },
    { dovecot: '[::1]:12345' },
    { dovecot: 'mail.example.org:12345', tls: 'none' },
    { dovecot: 'mail.example.org:12345', tls: 'implicit', tls_ca: 'ca.pem', tls_name: 'x.example' },
    { pop3: 'mail.example.org:110', ask: 'address', domain: 'example.org' },
    { pop3: '127.0.0.1:110' },
    { imap: 'mail.example.org:993', tls_fingerprint: print },
    { imap: 'mail.example.org:143', tls: 'none' },
    { imap: '10.0.0.1:143', tls_verify: false, tls_floor: '1.0' },
    { upstream: true },
    { upstream: true, tls_ca: 'ca.pem' },
    { upstream: 'mail.example.org:587', tls_fingerprint: [print, print] },
    { http: 'https://auth.example.org/mail?x=1', headers: { 'X-Auth-Key': 'k' } },
    { http: 'http://localhost:8080/', proves: ['password', 'cram-md5', 'external'] },
    { http: 'http://auth.example.org/', tls: 'none' },
  ];
  for (const entry of good) t.same(faultsOf(entry), [], JSON.stringify(entry));
  const bad: readonly [Record<string, unknown>, RegExp][] = [
    [{ dovecot: 'auth-client' }, /path of Dovecot's/],
    [{ dovecot: 'mail.example.org:12345' }, /clear text/],
    [{ dovecot: '/run/x', tls: 'none' }, /UNIX socket/],
    [{ dovecot: '/run/x', tls: 'starttls' }, /none or implicit/],
    [{ dovecot: '/run/x', ask: 'name' }, /ask/],
    [{ pop3: 'mail.example.org' }, /host and a port/],
    [{ pop3: ':110' }, /host and a port/],
    [{ pop3: 'a:0' }, /host and a port/],
    [{ pop3: 'a:110', max_attempts: 0 }, /1 to 10000/],
    [{ pop3: 'a:110', max_at_once: 1 }, /max_at_once/],
    [{ pop3: 'a:110', ask: 'name' }, /domain/],
    [{ pop3: '127.0.0.1:110', tls_ca: 'ca.pem' }, /there is no TLS/],
    [{ imap: 'a:993', tls_fingerprint: 'ab' }, /sha256:/],
    [{ imap: 'a:993', tls_fingerprint: print, tls_ca: 'ca.pem' }, /which certificate it is/],
    [{ imap: 'a:993', tls_verify: false, tls_name: 'b.example' }, /checks nothing/],
    [{ imap: 'a:993', tls_ca: 'none.pem' }, /none\.pem: cannot read it: no such file/],
    [{ upstream: false }, /must be true/],
    [{ upstream: true, pop3: 'a:110' }, /exactly one/],
    [{ http: 'ftp://a/' }, /URL/],
    [{ http: 'https://user:secret@a/' }, /without a user/],
    [{ http: 'http://auth.example.org/' }, /clear text/],
    [{ http: 'https://a/', tls: 'none' }, /contradict/],
    [{ http: 'https://a/', headers: { 'Auth-User': 'x' } }, /Auth-/],
    [{ http: 'https://a/', headers: { X: 'a\r\nb' } }, /one line/],
    [{ http: 'https://a/', proves: [] }, /list of/],
  ];
  for (const [entry, expected] of bad) {
    const faults = faultsOf(entry).join('\n');
    t.match(faults, expected, JSON.stringify(entry));
    t.notMatch(faults, /secret/);
  }
});

t.test(
  'by configuration, from a client to Dovecot, POP3, IMAP and the mail server itself',
  { skip },
  async (t) => {
    const users = [{ user: USER, password: PASSWORD }];
    const [dovecot, exim] = await Promise.all([Dovecot.start({ users }), Exim.start({ users })]);
    t.teardown(() => Promise.all([dovecot.stop(), exim.stop()]));
    const serve = async (entry: string): Promise<SekishoProcess> => {
      const dir = folder(t, {
        'sekisho.yaml': `listen: [{ host: 127.0.0.1, port: 0, tls: none }]
upstream: { host: 127.0.0.1, port: ${exim.port} }
local_domains: [local.example]
devices: [{ name: old, networks: [127.0.0.1/32], plaintext_auth: true }]
logins: [${entry}]
`,
      });
      const sekisho = await SekishoProcess.serve(['--config', `${dir}/sekisho.yaml`]);
      t.teardown(() => sekisho.kill());
      return sekisho;
    };
    const begin = async (sekisho: SekishoProcess): Promise<{ client: SmtpClient; hello: string }> => {
      const client = await SmtpClient.connect(sekisho.port);
      t.teardown(() => client.destroy());
      await client.reply();
      return { client, hello: await client.say('EHLO client.example') };
    };
    const plain = (password: string): string =>
      `AUTH PLAIN ${Buffer.from(`\0${USER}\0${password}`).toString('base64')}`;

    const entries = [
      `{ dovecot: ${dovecot.socket} }`,
      `{ pop3: 127.0.0.1:${dovecot.ports.pop3} }`,
      `{ imap: 127.0.0.1:${dovecot.ports.imaps}, tls: implicit, tls_fingerprint: "sha256:${dovecot.certified.fingerprint}" }`,
      '{ upstream: true, tls: starttls, tls_verify: false }',
    ];
    for (const entry of entries) {
      const sekisho = await serve(entry);
      const { client } = await begin(sekisho);
      t.match(await client.say(plain('Never-Right')), /^535 5\.7\.8 /, entry);
      t.match(await client.say(plain(PASSWORD)), /^235 2\.7\.0 /, entry);
      t.notMatch(sekisho.out + sekisho.err, /Never-Right|Horse/);
      if (entry === entries[0]) {
        const { client: other, hello } = await begin(sekisho);
        t.match(hello, /AUTH .*CRAM-MD5/, 'what Dovecot alone can carry out is on offer');
        const challenge = Buffer.from((await other.say('AUTH CRAM-MD5')).slice(4), 'base64');
        const digest = createHmac('md5', PASSWORD).update(challenge).digest('hex');
        t.match(await other.say(Buffer.from(`${USER} ${digest}`).toString('base64')), /^235 /);
        await dovecot.halt();
        const { client: last } = await begin(sekisho);
        t.match(await last.say(plain(PASSWORD)), /^454 4\.7\.0 /, 'Dovecot is away');
        await dovecot.resume();
        t.match(await last.say(plain(PASSWORD)), /^235 /, 'and back');
      }
      await sekisho.kill();
    }
  },
);
