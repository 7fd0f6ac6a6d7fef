/** TLS towards the mail server: a scripted one for what may go wrong, and a real sendmail. */
import { execFileSync } from 'node:child_process';
import { X509Certificate } from 'node:crypto';
import { readFileSync, writeFileSync } from 'node:fs';
import path from 'node:path';
import t, { type Test } from 'tap';
import { loadSetup } from '../../src/app/config.js';
import { fingerprintOf } from '../../src/proxy/certificates.js';
import { NO_UPSTREAM_TLS, type UpstreamTls } from '../../src/proxy/upstream-tls.js';
import { authority, certify, type Pair, signed } from '../support/certificates.js';
import { noPackages } from '../support/packages.js';
import { folder } from '../support/process.js';
import { eventually, type Running, startSekisho } from '../support/sekisho.js';
import { Sendmail } from '../support/sendmail.js';
import { codeOf, SmtpClient } from '../support/smtp-client.js';
import { startTlsMta, type TlsMta, type TlsMtaOptions } from '../support/tls-mta.js';

const FOR_MTA = { subject: '/CN=mta.example', names: 'DNS:mta.example,IP:127.0.0.1' };

const fingerprint = ({ cert }: Pair): string => fingerprintOf(new X509Certificate(readFileSync(cert)));

interface House extends Running {
  readonly mta: TlsMta;
}

const house = async (
  t: Test,
  rules: Partial<UpstreamTls> & Pick<UpstreamTls, 'mode'>,
  options: TlsMtaOptions,
): Promise<House> => {
  const mta = await startTlsMta(options);
  const tls = { ...NO_UPSTREAM_TLS, ...rules };
  const sekisho = await startSekisho({
    upstreams: [{ port: mta.port, tls }],
    ...(options.mute === true ? { timeouts: { tlsHandshake: 1_000 } } : {}),
  });
  t.teardown(async () => {
    await sekisho.stop();
    await mta.close();
  });
  return { ...sekisho, mta };
};

/** Sends one message; the code of the reply to RCPT, or to the final dot if that was well. */
const send = async (port: number): Promise<number> => {
  const client = await SmtpClient.connect(port);
  await client.reply();
  await client.say('EHLO c.example');
  await client.say('MAIL FROM:<a@b.example>');
  const rcpt = codeOf(await client.say('RCPT TO:<bob@local.example>'));
  if (rcpt !== 250) {
    client.destroy();
    return rcpt;
  }
  await client.say('DATA');
  const end = codeOf(await client.say('Subject: x\r\n\r\nx\r\n.'));
  client.send('QUIT\r\n');
  await client.end();
  return end;
};

const IN_CLEAR = /^(?:MAIL|RCPT|DATA)/;
const SECURE = /^T (?:MAIL|RCPT|DATA)/;

t.test('required: by name, by authority, by fingerprint', async (t) => {
  const dir = folder(t);
  const ca = authority(dir, 'ca');
  const pem = readFileSync(ca.cert, 'utf8');
  const good = signed(dir, 'good', ca, FOR_MTA);
  const expired = signed(dir, 'expired', ca, { ...FOR_MTA, days: -1 });
  const own = certify(dir, 'mta.example');
  const name = 'mta.example';
  const cases: readonly [string, Partial<UpstreamTls>, Pair, RegExp | undefined][] = [
    ['its name and its authority', { name, ca: pem }, good, undefined],
    ['its address, where that is what it is called by', { ca: pem }, good, undefined],
    ['its fingerprint', { fingerprints: ['00'.repeat(32), fingerprint(own)] }, own, undefined],
    ['its fingerprint, expired or not', { fingerprints: [fingerprint(expired)] }, expired, undefined],
    ['no matter who', { verify: false }, own, undefined],
    ['another name', { name: 'other.example', ca: pem }, good, /TLS failed: .*does not match/],
    ['an authority that is not known', { name }, good, /TLS failed: unable to (?:get|verify)/],
    ['nobody vouches for it', { name, ca: pem }, own, /TLS failed: self-signed certificate/],
    ['expired', { name, ca: pem }, expired, /TLS failed: certificate has expired/],
    [
      'another fingerprint',
      { fingerprints: [fingerprint(own)] },
      good,
      /TLS failed: its certificate is not the one in tls_fingerprint: it showed sha256:[0-9a-f]{64}/,
    ],
  ];
  for (const [what, rules, pair, fault] of cases) {
    for (const mode of ['required', 'implicit'] as const) {
      const { port, mta, of } = await house(t, { mode, ...rules }, { pair, implicit: mode === 'implicit' });
      t.equal(await send(port), fault === undefined ? 250 : 451, `${what}, ${mode}`);
      t.notMatch(mta.lines.join('\n'), new RegExp(IN_CLEAR, 'm'), `${what}, ${mode}: no mail in clear text`);
      if (fault === undefined) {
        t.match(of('upstream-up'), [{ tls: 'TLSv1.3' }]);
        t.equal(mta.lines.filter((line) => SECURE.test(line)).length, 3);
        t.equal(mta.names[0], rules.name ?? false, 'an address is no server name');
      } else {
        t.match(of('upstream-down')[0]?.reason, fault, what);
        t.notMatch(mta.lines.join('\n'), /^T /m, `${what}, ${mode}: nothing is said to a stranger`);
      }
    }
  }
});

t.test('what is learnt in clear text is forgotten, and connections are reused', async (t) => {
  const pair = certify(folder(t), 'mta.example');
  const rules = { mode: 'required', verify: false } as const;
  const { port, mta, of } = await house(t, rules, { pair, clear: ['STARTTLS', '8BITMIME', 'SIZE 7'] });
  const client = await SmtpClient.connect(port);
  await client.reply();
  const said = await client.say('EHLO c.example');
  t.match(said, /SIZE 1000000/);
  t.match(said, /DSN/);
  t.notMatch(said, /8BITMIME/);
  client.destroy();
  for (let i = 0; i < 3; i += 1) t.equal(await send(port), 250);
  t.equal(of('upstream-reuse').length, 2);
  // One for the probe at the start, one for the three messages.
  t.equal(mta.lines.filter((line) => line === 'STARTTLS').length, 2);
  t.equal(mta.lines.filter((line) => line.startsWith('T EHLO')).length, 2, 'EHLO again (RFC 3207 4.2)');
});

t.test('required, and TLS cannot be had', async (t) => {
  const pair = certify(folder(t), 'mta.example');
  const cases: readonly [string, Omit<TlsMtaOptions, 'pair'>, RegExp][] = [
    ['not offered', { clear: ['SIZE 50000'] }, /it does not offer STARTTLS, and TLS is required/],
    ['refused', { startTls: '454 4.7.0 not now\r\n' }, /STARTTLS answered 454 not now, and TLS is required/],
    [
      'a reply put in behind the 220',
      { startTls: '220 go\r\n250-mta.example\r\n250 AUTH PLAIN\r\n' },
      /more in clear text behind its reply to STARTTLS/,
    ],
    [
      'half a reply put in',
      { startTls: '220 go\r\n250-mta.exa' },
      /more in clear text behind its reply to STARTTLS/,
    ],
    ['clear text instead of a handshake', { insteadOfHandshake: '250 AUTH PLAIN\r\n' }, /TLS failed: /],
    ['closed in mid-handshake', { insteadOfHandshake: '' }, /TLS failed: the connection was closed/],
    ['silent in the handshake', { mute: true }, /TLS failed: no reply within the deadline/],
    [
      'too old',
      { context: { minVersion: 'TLSv1', maxVersion: 'TLSv1.1', ciphers: 'DEFAULT@SECLEVEL=0' } },
      /TLS failed: .*(?:protocol|alert|unsupported)/i,
    ],
  ];
  for (const [what, options, fault] of cases) {
    const { port, mta, of } = await house(t, { mode: 'required', verify: false }, { pair, ...options });
    await eventually(`${what}: it is down`, () => of('upstream-down').length > 0);
    t.match(of('upstream-down')[0]?.reason, fault, what);
    t.equal(await send(port), 451, what);
    t.notMatch(mta.lines.join('\n'), new RegExp(IN_CLEAR, 'm'), what);
  }
});

t.test('opportunistic: TLS with anybody, clear text where it cannot be had', async (t) => {
  const pair = certify(folder(t), 'whoever.example');
  const old: TlsMtaOptions['context'] = {
    minVersion: 'TLSv1',
    maxVersion: 'TLSv1',
    ciphers: 'DEFAULT@SECLEVEL=0',
  };
  const cases: readonly [string, Omit<TlsMtaOptions, 'pair'>, RegExp, string | undefined, number][] = [
    ['offered', {}, SECURE, 'TLSv1.3', 0],
    ['an old one', { context: old }, SECURE, 'TLSv1', 0],
    ['not offered', { clear: ['SIZE 50000'] }, IN_CLEAR, undefined, 0],
    ['refused', { startTls: '454 4.7.0 not now\r\n' }, IN_CLEAR, undefined, 0],
    ['broken in mid-handshake', { insteadOfHandshake: '500 what\r\n' }, IN_CLEAR, undefined, 1],
    ['silent in the handshake', { mute: true }, IN_CLEAR, undefined, 1],
  ];
  for (const [what, options, expected, version, faults] of cases) {
    const { port, mta, of } = await house(t, { mode: 'opportunistic', floor: '1.0' }, { pair, ...options });
    await eventually(`${what}: it is up`, () => of('upstream-up').length > 0);
    t.equal(of('upstream-up')[0]?.tls, version, what);
    for (let i = 0; i < 2; i += 1) t.equal(await send(port), 250, what);
    t.equal(mta.lines.filter((line) => expected.test(line)).length, 6, what);
    t.equal(of('upstream-fault').length, faults, `${what}: told once`);
    t.equal(of('upstream-down').length, 0, what);
  }
  const options = { pair, startTls: '220 go\r\n250 AUTH PLAIN\r\n' };
  const { of } = await house(t, { mode: 'opportunistic' }, options);
  await eventually('an injection is no reason to go on', () => of('upstream-down').length > 0);
});

t.test('the options', async (t) => {
  const dir = folder(t);
  const { cert } = authority(dir, 'ca');
  const print = 'AB:'.repeat(31);
  const load = (upstream: string) => {
    const file = path.join(dir, 'c.yaml');
    writeFileSync(file, `upstream: { host: mta.example${upstream} }\nlocal_domains: [local.example]\n`);
    return loadSetup({ config: file });
  };
  const tlsOf = (upstream: string): UpstreamTls | undefined => {
    const setup = load(upstream);
    return setup.ok ? setup.value.proxy.upstreams[0]?.tls : undefined;
  };
  t.same(tlsOf(''), NO_UPSTREAM_TLS);
  t.match(tlsOf(', tls: opportunistic'), { mode: 'opportunistic', floor: '1.0' });
  t.match(tlsOf(`, tls: required, tls_fingerprint: "sha256:${print}ab"`), {
    fingerprints: ['ab'.repeat(32)],
  });
  t.match(tlsOf(', tls: implicit, tls_ca: ca.crt, tls_name: x.example, tls_floor: "1.3"'), {
    mode: 'implicit',
    ca: readFileSync(cert, 'utf8'),
    name: 'x.example',
    floor: '1.3',
  });
  const faults: readonly [string, RegExp][] = [
    [', tls: yes', /tls: must be none or opportunistic or required or implicit/],
    [', tls: required, tls_ca: nowhere', /nowhere: cannot read it: no such file/],
    [', tls: required, tls_ca: ca.key', /ca\.key: there is no certificate in it: it must be PEM/],
    [', tls_ca: ca.crt', /upstream mta\.example: tls_ca means nothing without TLS/],
    [', tls: opportunistic, tls_verify: true', /tls_verify means nothing here/],
    [', tls: required, tls_fingerprint: "sha256:ab"', /must be sha256: and 64 hex digits/],
    [`, tls: required, tls_verify: false, tls_fingerprint: "sha256:${print}ab"`, /exclude one another/],
  ];
  for (const [text, fault] of faults) {
    const setup = load(text);
    t.match(setup.ok ? '' : setup.error.lines.join('\n'), fault, text);
  }
});

t.test('a real sendmail behind STARTTLS', { skip: noPackages() ?? false }, async (t) => {
  const dir = folder(t);
  execFileSync('chmod', ['755', dir]);
  const ca = authority(dir, 'ca');
  const pair = signed(dir, 'mta', ca, FOR_MTA);
  execFileSync('chmod', ['600', pair.key]);
  const sendmail = await Sendmail.start({ tls: pair });
  t.teardown(() => sendmail.stop());
  const tls = { ...NO_UPSTREAM_TLS, mode: 'required', ca: readFileSync(ca.cert, 'utf8') } as const;
  const sekisho = await startSekisho({ upstreams: [{ port: sendmail.port, tls }] });
  t.teardown(() => sekisho.stop());
  t.match(sekisho.of('upstream-up'), [{ tls: /^TLSv1\.[23]$/ }]);
  for (let i = 0; i < 2; i += 1) t.equal(await send(sekisho.port), 250);
  t.equal(sekisho.of('upstream-reuse').length, 1);
  const queue = sendmail.queue();
  t.equal(queue.length, 2);
  t.match(queue[0]?.header, /with ESMTPS .*version=TLSv1\.[23] cipher=/, 'sendmail says so itself');
  const stranger = { ...tls, name: 'other.example' };
  const refused = await startSekisho({ upstreams: [{ port: sendmail.port, tls: stranger }] });
  t.teardown(() => refused.stop());
  t.equal(await send(refused.port), 451);
  t.match(refused.of('upstream-down'), [{ reason: /does not match certificate's altnames/ }]);
});
