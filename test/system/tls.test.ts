/** TLS towards clients, with real certificates and OpenSSL's own client. */
import { readFileSync, writeFileSync } from 'node:fs';
import path from 'node:path';
import { type ConnectionOptions, connect, type TLSSocket } from 'node:tls';
import t, { type Test } from 'tap';
import { certify, materialOf } from '../support/certificates.js';
import { startLegacyMta } from '../support/legacy-mta.js';
import { folder, runSekisho, SekishoProcess } from '../support/process.js';
import { eventually, policyOf, type Running, type Setting, startSekisho } from '../support/sekisho.js';
import { codeOf, SmtpClient } from '../support/smtp-client.js';

const house = async (
  t: Test,
  setting: Partial<Setting>,
): Promise<Running & { mta: Awaited<ReturnType<typeof startLegacyMta>> }> => {
  const mta = await startLegacyMta({ ehlo: ['8BITMIME'] });
  const sekisho = await startSekisho({ upstreams: [{ port: mta.port }], ...setting });
  t.teardown(async () => {
    await sekisho.stop();
    await mta.close();
  });
  return { ...sekisho, mta };
};

const handshake = (options: ConnectionOptions): Promise<TLSSocket> =>
  new Promise((resolve, reject) => {
    const socket = connect({ rejectUnauthorized: false, ...options }, () => resolve(socket));
    socket.once('error', reject);
  });

/** Says EHLO and STARTTLS, and goes on over TLS. */
const startTls = async (
  port: number,
  options: ConnectionOptions = {},
): Promise<{ client: SmtpClient; socket: TLSSocket }> => {
  const clear = await SmtpClient.connect(port, '127.0.0.2');
  await clear.reply();
  await clear.say('EHLO c.example');
  if (codeOf(await clear.say('STARTTLS')) !== 220) throw new Error('no STARTTLS');
  clear.socket.removeAllListeners();
  const socket = await handshake({ socket: clear.socket, ...options });
  return { client: SmtpClient.over(socket), socket };
};

const POLICY = `
version: 1
rules:
  - { name: secure, allow: { to: secure.example, tls: "1.2" } }
  - { name: any, allow: { to: local.example } }
`;

t.test('a session that went over to TLS gives its place back', async (t) => {
  const { port, proxy } = await house(t, {
    tls: [materialOf(certify(folder(t), 'mail.example.org'))],
    listener: { tls: 'starttls' },
    limits: { connections: 3, connectionsPerAddress: 3 },
  });
  for (const farewell of ['quit', 'gone', 'quit', 'gone', 'quit', 'gone', 'quit', 'gone']) {
    const { client } = await startTls(port);
    t.match(await client.say('EHLO c.example'), /^250/, farewell);
    if (farewell === 'quit') t.equal(codeOf(await client.say('QUIT')), 221);
    client.destroy();
    await eventually('it has ended', () => proxy.sessions === 0);
  }
  const last = await SmtpClient.connect(port, '127.0.0.2');
  t.equal(codeOf(await last.reply()), 220);
  last.destroy();
});

t.test('STARTTLS keeps nothing, and the policy sees it', async (t) => {
  const dir = folder(t);
  const tls = [materialOf(certify(dir, 'mail.example.org')), materialOf(certify(dir, 'other.example'))];
  const { port, mta, of, proxy } = await house(t, {
    tls,
    listener: { tls: 'starttls' },
    policy: policyOf(POLICY),
  });
  const clear = await SmtpClient.connect(port, '127.0.0.2');
  await clear.reply();
  t.match(await clear.say('EHLO c.example'), /^250[- ]STARTTLS$/m);
  await clear.say('MAIL FROM:<a@b.example>');
  t.equal(codeOf(await clear.say('RCPT TO:<x@secure.example>')), 550, 'in clear text');
  t.equal(codeOf(await clear.say('RCPT TO:<x@local.example>')), 250);
  t.equal(codeOf(await clear.say('STARTTLS')), 220);
  clear.socket.removeAllListeners();
  const client = SmtpClient.over(await handshake({ socket: clear.socket }));
  t.match(await client.say('RCPT TO:<x@local.example>'), /^503/, 'the transaction is gone');
  t.match(await client.say('MAIL FROM:<a@b.example>'), /^503 5\.5\.1 Send HELO/, 'and so is the greeting');
  t.notMatch(await client.say('EHLO c.example'), /STARTTLS/);
  t.match(await client.say('STARTTLS'), /^503 5\.5\.1 TLS is already in force/);
  await client.say('MAIL FROM:<a@b.example>');
  t.equal(codeOf(await client.say('RCPT TO:<x@secure.example>')), 250);
  await client.say('DATA');
  t.equal(codeOf(await client.say('x\r\n.')), 250);
  t.match(mta.messages[0]?.data, /with ESMTPS id/);
  t.match(of('tls-handshake'), [{ result: 'ok', version: 'TLSv1.3' }]);
  client.send('QUIT\r\n');
  await client.end();
  await eventually('the session ended', () => proxy.sessions === 0);
});

t.test('certificates by name', async (t) => {
  const dir = folder(t);
  const tls = [materialOf(certify(dir, 'mail.example.org')), materialOf(certify(dir, 'other.example'))];
  const { port } = await house(t, { tls, listener: { tls: 'implicit' } });
  for (const [asked, got] of [
    ['mail.example.org', 'mail.example.org'],
    ['OTHER.example', 'other.example'],
    ['x.example', 'mail.example.org'],
  ]) {
    const socket = await handshake({ port, host: '127.0.0.1', servername: asked as string });
    t.equal(socket.getPeerCertificate().subject.CN, got);
    socket.destroy();
  }
});

t.test('plaintext injection', async (t) => {
  const tls = [materialOf(certify(folder(t), 'mail.example.org'))];
  const { port, of, proxy, mta } = await house(t, { tls, listener: { tls: 'starttls' } });
  const same = await SmtpClient.connect(port, '127.0.0.2');
  await same.reply();
  await same.say('EHLO c.example');
  same.send('STARTTLS\r\nMAIL FROM:<x@y.example>\r\n');
  t.match(await same.reply(), /^421 4\.5\.1/, 'in the same segment');
  await same.end();
  const later = await SmtpClient.connect(port, '127.0.0.2');
  await later.reply();
  await later.say('EHLO c.example');
  t.equal(codeOf(await later.say('STARTTLS')), 220);
  later.send('MAIL FROM:<x@y.example>\r\nRCPT TO:<bob@local.example>\r\n');
  await later.end();
  t.match(of('tls-handshake'), [{ result: 'failed' }], 'in a later one, before the handshake');
  t.notMatch(later.transcript, /^250 2\.1/m);
  await eventually('both sessions ended', () => proxy.sessions === 0);
  t.equal(mta.connections.flatMap(({ commands }) => commands).filter((line) => /^MAIL/.test(line)).length, 0);
});

t.test('implicit TLS, versions, limits and silence', async (t) => {
  const tls = [materialOf(certify(folder(t), 'mail.example.org'))];
  const setting = { tls, limits: { connectionsPerAddress: 1 }, timeouts: { tlsHandshake: 3_000 } };
  const { port, of, mta, proxy } = await house(t, { ...setting, listener: { tls: 'implicit' } });
  for (let i = 0; i < 3; i += 1) {
    const client = SmtpClient.over(await handshake({ port, host: '127.0.0.1' }));
    t.match(await client.reply(), /^220 legacy/);
    t.notMatch(await client.say('EHLO c.example'), /STARTTLS/);
    await client.say('MAIL FROM:<a@b.example>');
    await client.say('RCPT TO:<bob@local.example>');
    await client.say('DATA');
    t.equal(codeOf(await client.say('x\r\n.')), 250);
    client.send('QUIT\r\n');
    await client.end();
    await eventually('its place is free again', () => proxy.sessions === 0);
    t.equal(of('disconnect').length, i + 1);
  }
  t.equal(mta.messages.length, 3);
  const old = { minVersion: 'TLSv1.1', maxVersion: 'TLSv1.1', ciphers: 'DEFAULT@SECLEVEL=0' } as const;
  await t.rejects(handshake({ port, host: '127.0.0.1', ...old }), 'TLS 1.1 is refused');
  await eventually('and gone', () => proxy.sessions === 0);
  const mute = await SmtpClient.connect(port);
  await mute.end();
  t.match(of('tls-handshake').at(-1), { result: 'failed', reason: 'no handshake within the deadline' });
  const exempt = await house(t, { tls, listener: { tls: 'implicit', tlsFloor: '1.0' } });
  const device = await handshake({ port: exempt.port, host: '127.0.0.1', ...old });
  t.equal(device.getProtocol(), 'TLSv1.1', 'where the floor is lower it is served');
  device.destroy();
  const silent = await house(t, { tls, timeouts: { tlsHandshake: 3_000 }, listener: { tls: 'starttls' } });
  const waits = await SmtpClient.connect(silent.port);
  await waits.reply();
  await waits.say('EHLO c.example');
  await waits.say('STARTTLS');
  await waits.end();
  await eventually('no session left', () => silent.proxy.sessions === 0);
});

t.test('sessions are resumed by another process with the same certificate', async (t) => {
  const tls = [materialOf(certify(folder(t), 'mail.example.org'))];
  const [one, two] = [
    await house(t, { tls, listener: { tls: 'implicit' } }),
    await house(t, { tls, listener: { tls: 'implicit' } }),
  ];
  const first = await handshake({ port: one.port, host: '127.0.0.1', maxVersion: 'TLSv1.2' });
  const session = first.getSession();
  first.destroy();
  const again = await handshake({
    port: two.port,
    host: '127.0.0.1',
    maxVersion: 'TLSv1.2',
    ...(session === undefined ? {} : { session }),
  });
  t.equal(again.isSessionReused(), true);
  again.destroy();
});

t.test('the real process: files, faults, replacement without dropping a session', async (t) => {
  const mta = await startLegacyMta();
  t.teardown(() => mta.close());
  const dir = folder(t);
  const first = certify(dir, 'first.example');
  const second = certify(dir, 'second.example');
  const config = path.join(dir, 'sekisho.yaml');
  const write = (tls: string, listen = '{ host: 127.0.0.1, port: 0 }'): void =>
    writeFileSync(
      config,
      `listen: [${listen}]\nupstream: { host: 127.0.0.1, port: ${mta.port} }\nlocal_domains: [local.example]\n${tls}`,
    );
  const fault = async (): Promise<string> => (await runSekisho(['check', '--config', config])).err;
  write(`tls: { cert: first.example.crt, key: second.example.key }\n`);
  t.match(
    await fault(),
    /first\.example\.crt, .*second\.example\.key: the key does not belong to the certificate/,
  );
  write('tls: { cert: nowhere.crt, key: first.example.key }\n');
  t.match(await fault(), /nowhere\.crt: cannot read it: no such file/);
  write('tls: { cert: first.example.key, key: first.example.key }\n');
  t.match(await fault(), /the certificate cannot be read: it must be PEM/);
  write('tls: { cert: first.example.crt, key: first.example.crt }\n');
  t.match(await fault(), /the key cannot be read: it must be PEM, without a passphrase/);
  write('', '{ host: 127.0.0.1, port: 0, tls: implicit }');
  t.match(await fault(), /listener mx: tls: implicit needs a certificate/);
  write('tls: { cert: first.example.crt, key: first.example.key }\n');
  const sekisho = await SekishoProcess.serve(['--config', config, '--log', 'classic']);
  t.teardown(() => sekisho.kill());
  const before = await startTls(sekisho.port);
  t.equal(before.socket.getPeerCertificate().subject.CN, 'first.example');
  writeFileSync(first.cert, readFileSync(second.cert));
  sekisho.child.kill('SIGHUP');
  await sekisho.until('half a pair is refused', () => /reload failed.*does not belong/.test(sekisho.out));
  writeFileSync(first.key, readFileSync(second.key));
  await sekisho.until('the new pair by itself', () => /reload: .* is in force/.test(sekisho.out));
  const after = await startTls(sekisho.port);
  t.equal(after.socket.getPeerCertificate().subject.CN, 'second.example');
  t.equal(codeOf(await before.client.say('EHLO c.example')), 250, 'the old session goes on');
  before.socket.destroy();
  after.socket.destroy();
  const expired = { ...materialOf(second), expires: Date.now() - 86_400_000 };
  const { expiryWarnings } = await import('../../src/app/config-tls.js');
  t.match(expiryWarnings([expired], Date.now()), [/EXPIRED on/]);
  t.same(expiryWarnings([materialOf(second)], Date.now()), []);
});

t.test('tls in policies: versions, tests in the file, and what is dangerous or out of reach', async (t) => {
  const rule = (conditions: string): string =>
    `  - { name: "${conditions.replace(/[":]/g, '')}", allow: { to: a.example, ${conditions} } }\n`;
  const cases = [
    ['tls: true', '1.0', 'allow'],
    ['tls: true', '', 'deny'],
    ['tls: false', '', 'allow'],
    ['tls: false', '1.3', 'deny'],
    ['tls: "1.2"', '1.2', 'allow'],
    ['tls: "1.2"', '1.1', 'deny'],
    ['tls: "1.2"', '', 'deny'],
  ] as const;
  for (const [conditions, version, expected] of cases) {
    const dir = folder(t, {
      'p.yaml': `version: 1\nrules:\n${rule(conditions)}tests:\n  - { name: x, client: 192.0.2.1, from: b@b.example, to: c@a.example, ${version === '' ? '' : `tls: "${version}", `}expect: ${expected} }\n`,
    });
    const { code, err } = await runSekisho(['check', '--policy', path.join(dir, 'p.yaml')]);
    t.equal(code, 0, `${conditions}, ${version}: ${err}`);
  }
  const check = async (rules: string): Promise<string> =>
    (
      await runSekisho([
        'check',
        '--policy',
        path.join(folder(t, { 'p.yaml': `version: 1\nrules:\n${rules}` }), 'p.yaml'),
      ])
    ).err;
  t.match(
    await check('  - { name: x, allow: { tls: true } }\n'),
    /open relay: it lets everybody send anywhere/,
  );
  t.match(await check(rule('tls: true') + rule('tls: "1.2"')), /can never be reached/);
  t.match(await check(rule('tls: "1.2"') + rule('tls: "1.3"')), /can never be reached/);
  t.equal(await check(rule('tls: "1.3"') + rule('tls: "1.2"') + rule('tls: true') + rule('tls: false')), '');
  t.match(await check(rule('tls: "1.4"')), /least version/);
});
