/** Each part of the trust audit: what it calls fine, and what it calls a fault. */
import { chmodSync, mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import net, { type AddressInfo } from 'node:net';
import path from 'node:path';
import t, { type Test } from 'tap';
import { loadSetup, type Setup } from '../../src/app/config.js';
import { startLegacyMta } from '../../src/demo/legacy-mta.js';
import { certificateFindings } from '../../src/doctor/certificates.js';
import { clientFindings, LogClients } from '../../src/doctor/clients.js';
import { filesFindings } from '../../src/doctor/files.js';
import type { Finding, Here } from '../../src/doctor/finding.js';
import { descriptorsNeeded, limitFindings } from '../../src/doctor/limits.js';
import { policyFindings } from '../../src/doctor/policy.js';
import { resolverFindings } from '../../src/doctor/resolver.js';
import { upstreamFindings } from '../../src/doctor/upstream.js';
import { authority, certify, signed } from '../support/certificates.js';
import { startDns, type Zone } from '../support/dns-server.js';
import { freePort } from '../support/packages.js';
import { folder, runSekisho, SekishoProcess } from '../support/process.js';

const BASIC = 'upstream: { host: 127.0.0.1, port: 2525 }\nlocal_domains: [campus.example]\n';

const setupOf = (t: Test, text: string, dir = folder(t)): Setup => {
  const file = path.join(dir, 'sekisho.yaml');
  writeFileSync(file, text);
  const setup = loadSetup({ config: file });
  if (!setup.ok) throw new Error(setup.error.lines.join('\n'));
  return setup.value;
};

const here = (given: Partial<Here> = {}): Here => ({
  ...{ addresses: [], now: Date.now, patience: 5_000, root: '/' },
  ...given,
});

const told = (found: readonly Finding[]): string[] => found.map(({ level, what }) => `${level}: ${what}`);

t.test('the policy: open forms, observing, and networks that are too wide', async (t) => {
  const closed = policyFindings(setupOf(t, `${BASIC}trust: [192.0.2.0/24]\n`));
  t.match(told(closed)[0], /^ok: 15\d ways of relaying/);
  t.notMatch(told(closed).join('\n'), /fault|warn/);

  const dir = folder(t, {
    'open.yaml': 'version: 1\nrules:\n  - { name: all, allow: {}, i_know: open relay }\n',
  });
  const open = policyFindings(
    setupOf(t, 'upstream: { host: 127.0.0.1 }\npolicy: open.yaml\nobserve: true\n', dir),
  );
  t.match(told(open)[0], /^fault: open relay: \d+ of \d+ ways are open, .* by rule "all"/);
  t.ok(
    told(open).some((line) => /^fault: observe is on/.test(line)),
    'observing is as open as the server',
  );

  const width = (...networks: string[]): string[] =>
    told(policyFindings(setupOf(t, `${BASIC}trust: [${networks.join(', ')}]\n`))).filter((line) =>
      /send anywhere/.test(line),
    );
  t.same(width('198.48.0.0/14'), [], 'as large as a big campus');
  t.match(width('198.48.0.0/14', '203.0.113.9'), [/^warn: networks as large as a \/14 of public IPv4/]);
  t.match(width('198.0.0.0/8'), [/^warn: .* \/8 of public IPv4/]);
  t.match(width('198.0.0.0/8', '203.0.113.9'), [/^fault: /]);
  t.same(width('10.0.0.0/8', '172.16.0.0/12', 'fd00::/8'), [], 'private ones are as wide as they are');
  t.same(width('2001:db0::/28'), []);
  t.match(width('2001:da0::/27'), [/^warn: .* \/27 of public IPv6/]);
  t.match(width('100.64.1.0/24'), [/^warn: addresses of 100\.64/]);
});

t.test('the server behind: ways around, relaying, clocks', async (t) => {
  const mta = await startLegacyMta({ banner: ['old.example ESMTP; Wed, 25 Nov 2026 12:00:00 +0000'] });
  t.teardown(() => mta.close());
  const noon = Date.UTC(2026, 10, 25, 12);
  const config = (more = ''): string =>
    `listen: [{ host: 127.0.0.2, port: 2525 }]\nupstream: { host: 127.0.0.1, port: ${mta.port}${more} }\nlocal_domains: [campus.example]\n`;
  const at = async (now: number, more = ''): Promise<string[]> =>
    told(await upstreamFindings(setupOf(t, config(more)), here({ now: () => now })));

  const lines = await at(noon + 120_000);
  t.match(lines[0], /^note: 127\.0\.0\.1:\d+ relays for whoever connects from Sekisho's address/);
  t.match(lines[1], /^ok: this host and .* agree about the time/);
  t.match(lines[2], /^ok: this host has no address that others could reach/);
  t.equal(mta.messages.length, 0, 'nothing was delivered');
  t.match((await at(noon + 120_001))[1], /^warn: .* 120 s apart/);

  // Another door of the same machine, on the port of the server.
  const door = net.createServer((socket) => socket.end('220 around.example\u001b[31m ESMTP\r\n'));
  await new Promise<void>((resolve) => door.listen(mta.port, '127.0.0.2', resolve));
  t.teardown(() => door.close());
  const around = await upstreamFindings(setupOf(t, config()), here({ addresses: ['127.0.0.2'] }));
  t.match(
    told(around).at(-1),
    /^fault: 127\.0\.0\.2:\d+ greets with "220 around\.example\?\[31m ESMTP": a way around/,
  );
  const own = setupOf(t, config().replace('port: 2525', `port: ${mta.port}`));
  t.match(
    told(await upstreamFindings(own, here({ addresses: ['127.0.0.2'] }))).at(-1),
    /^ok: no other way/,
    "Sekisho's own door is no way around",
  );

  const strict = await startLegacyMta({
    script: (step) => (step === 'RCPT' ? { say: ['550 5.7.1 Relaying denied'] } : undefined),
  });
  t.teardown(() => strict.close());
  const refused = setupOf(t, config().replace(String(mta.port), String(strict.port)));
  t.match(told(await upstreamFindings(refused, here()))[0], /^ok: .* relays for nobody/);
  const gone = setupOf(t, config().replace(String(mta.port), String(await freePort())));
  t.match(told(await upstreamFindings(gone, here()))[0], /^fault: .* does not answer as a mail server does/);
  const nameless = setupOf(t, config().replace('host: 127.0.0.1,', 'host: mta.invalid,'));
  t.match(told(await upstreamFindings(nameless, here()))[0], /^fault: mta\.invalid cannot be found/);

  let head = '';
  const balanced = net.createServer((socket) => {
    socket.on('error', () => undefined);
    socket.on('data', (chunk) => {
      if (head === '') socket.write('220 told.example ESMTP\r\n');
      head += chunk.toString('latin1');
      if (/\nQUIT/.test(head)) socket.end('221 bye\r\n');
      else if (
        /\n(?:EHLO|MAIL|RCPT|RSET)/.test(chunk.toString('latin1')) ||
        /^(?:EHLO|MAIL|RCPT|RSET)/.test(chunk.toString('latin1'))
      )
        socket.write('250 ok\r\n');
    });
  });
  await new Promise<void>((resolve) => balanced.listen(0, '127.0.0.1', resolve));
  t.teardown(() => balanced.close());
  const { port } = balanced.address() as AddressInfo;
  const proxied = setupOf(t, config(', identity: proxy-v1').replace(String(mta.port), String(port)));
  t.match(
    told(await upstreamFindings(proxied, here()))[0],
    /^note: .* relays for strangers though it is told who they are/,
  );
  t.match(head, /^PROXY TCP4 203\.0\.113\.7 127\.0\.0\.1 40000 \d+\r\nEHLO /);
});

const logOf = (lines: readonly object[]): LogClients => {
  const log = new LogClients();
  for (const line of lines) log.add(`Nov 25 12:00:00 host sekisho[1]: ${JSON.stringify(line)}`);
  log.add('no JSON');
  log.add('{"event": broken');
  return log;
};

const sessions = (client: string, count: number, more: object = {}): object[] =>
  Array.from({ length: count }, (_, i) => [
    { event: 'message', session: `${client}-${i}`, client, ...more },
    { event: 'disconnect', session: `${client}-${i}`, client, ...more },
  ]).flat();

t.test('clients that share an address, and a balancer that says nothing', async (t) => {
  const setup = setupOf(
    t,
    `listen: [{ port: 25, proxy_from: [198.51.100.0/24] }]\n${BASIC}trust: [10.1.0.0/16]\n`,
  );
  const say = (lines: readonly object[], given: Partial<Here> = {}): string[] =>
    told(clientFindings(setup, here(given), logOf(lines)));
  t.match(told(clientFindings(setup, here(), undefined)), [/^note: .* none was given/]);
  t.match(say(sessions('10.9.9.9', 49)), [/^note: the log tells of 49 sessions/]);
  t.match(say(sessions('10.9.9.9', 50)), [
    /^warn: 50 of 50 sessions come from 10\.9\.9\.9: the policy takes/,
  ]);
  t.match(say(sessions('10.1.0.1', 50)), [/^fault: 50 of 50 sessions come from 10\.1\.0\.1, which may send/]);
  t.match(say(sessions('203.0.113.5', 50)), [/^note: /]);
  t.match(
    say(sessions('203.0.113.5', 50), { addresses: ['203.0.113.5'] }),
    [/^warn: /],
    'an address of this host',
  );
  const mixed = (count: number): object[] => [
    ...sessions('10.9.9.9', count),
    ...sessions('192.0.2.1', 100 - count),
  ];
  t.match(say(mixed(90)), [/^warn: 90 of 100/]);
  t.match(say(mixed(89)), [/^ok: clients come from 2 addresses; the busiest has 89 of 100/]);

  const silent = (address: string, count: number): object[] =>
    Array.from({ length: count }, () => ({
      ...{ event: 'connection-refused', reason: 'proxy-header', why: 'no header', address, listener: 'mx' },
    }));
  const ok = sessions('192.0.2.1', 50);
  const last = (lines: readonly object[]): string | undefined => say([...ok, ...lines])[1];
  t.match(
    last(silent('198.51.100.7', 3)),
    /^warn: 198\.51\.100\.7 is named under proxy_from .* 3 connections/,
  );
  t.equal(last(silent('198.51.100.7', 2)), undefined);
  t.equal(last(silent('192.0.2.77', 3)), undefined, 'one that is not listed');
  t.equal(
    last([...silent('198.51.100.7', 3), ...sessions('192.0.2.9', 1, { via: '198.51.100.7' })]),
    undefined,
    'one that has sent a header, too',
  );
});

t.test('certificates', async (t) => {
  const dir = folder(t);
  const ca = authority(dir, 'Test CA');
  const pair = signed(dir, 'good', ca, { subject: '/CN=mx', names: 'DNS:mx.campus.example' });
  const own = certify(dir, 'self.example');
  const say = (hostname: string, { cert, key }: { cert: string; key: string }, days = 0): string[] =>
    told(
      certificateFindings(
        setupOf(t, `${BASIC}hostname: ${hostname}\ntls: { cert: ${cert}, key: ${key} }\n`, dir),
        here({ now: () => Date.now() + days * 86_400_000 }),
      ),
    );
  t.match(say('mx.campus.example', pair), [/^ok: the certificate for mx\.campus\.example is good until 20/]);
  t.match(say('mx.campus.example', pair, 17), [/^warn: .* expires on/]);
  t.match(say('mx.campus.example', pair, 31), [/^fault: .* EXPIRED on/]);
  t.match(say('mx.campus.example', pair, -2), [/^fault: .* is not valid before/]);
  t.match(say('mail.campus.example', pair)[1], /^note: no certificate is for mail\.campus\.example/);
  t.match(say('self.example', own), [/^note: .* is signed by itself/]);
  t.match(told(certificateFindings(setupOf(t, BASIC), here())), [/^note: there is no TLS/]);
  const passwd = folder(t, { passwd: 'alice:{PLAIN}secret\n' });
  const users = setupOf(t, `${BASIC}logins: [{ passwd_file: passwd }]\n`, passwd);
  t.match(told(certificateFindings(users, here())), [/^warn: users may log in, and there is no TLS/]);
});

t.test('the resolver, DNS lists, and the MX of the site', async (t) => {
  const dns = async (zone: Zone) => {
    const server = await startDns(zone);
    t.teardown(() => server.stop());
    return server;
  };
  const mx = (exchange: string): never => [{ preference: 10, exchange }] as never;
  const good = await dns({
    'A 2.0.0.127.good.example': ['127.0.0.2'],
    'A 2.0.0.127.parked.example': ['127.0.0.2'],
    'A 1.0.0.127.parked.example': ['127.0.0.2'],
    'A 2.0.0.127.refuses.example': ['127.255.255.254'],
    'A 2.0.0.127.fails.example': 'SERVFAIL',
    'MX campus.example': mx('mta.campus.example'),
    'A mta.campus.example': ['192.0.2.25'],
  });
  const zones = ['good', 'parked', 'refuses', 'fails', 'gone'].map((zone) => `{ zone: ${zone}.example }`);
  const config = (upstream: string): string =>
    `upstream: { host: ${upstream} }\nlocal_domains: [campus.example]\nresolvers: ["${good.server}"]
strangers: { dnsbl: { servers: ["${good.server}"], lists: [${zones.join(', ')}] } }\n`;
  const lines = told(await resolverFindings(setupOf(t, config('192.0.2.25')), here()));
  t.match(lines, [
    /^ok: the resolver 127\.0\.0\.1:\d+ answers/,
    /^ok: the DNS list good\.example .* works/,
    /^fault: the DNS list parked\.example .* has everybody on it/,
    /^warn: the DNS list refuses\.example .* does not serve your resolver/,
    /^warn: the DNS list fails\.example .* does not answer \(ESERVFAIL\)/,
    /^warn: the DNS list gone\.example .* not even its test entry/,
    /^fault: the MX of campus\.example is mta\.campus\.example, the mail server behind \(192\.0\.2\.25\)/,
  ]);
  t.equal(
    told(await resolverFindings(setupOf(t, config('192.0.2.26')), here())).length,
    6,
    'the MX is another',
  );
  good.silent(true);
  const quiet = setupOf(t, `${BASIC}resolvers: ["${good.server}"]\n`);
  t.match(told(await resolverFindings(quiet, here({ patience: 200 }))), [
    /^note: .* does not answer \(ETIMEOUT\)/,
  ]);
  const asking = setupOf(
    t,
    `${BASIC}resolvers: ["${good.server}"]\nstrangers: { dnsbl: { lists: [{ zone: good.example }] } }\n`,
  );
  t.match(told(await resolverFindings(asking, here({ patience: 200 })))[0], /^warn: .* does not answer/);
});

t.test('files and folders that others may write to or read', async (t) => {
  const dir = folder(t);
  const { cert, key } = certify(dir, 'mx.campus.example');
  mkdirSync(path.join(dir, 'state'), { mode: 0o700 });
  const setup = setupOf(t, `${BASIC}tls: { cert: ${cert}, key: ${key} }\nstore: { lmdb: state }\n`, dir);
  chmodSync(key, 0o640);
  t.match(told(filesFindings(setup)), [/^ok: 3 files were looked at/]);
  chmodSync(key, 0o644);
  t.match(told(filesFindings(setup)), [/^warn: everybody on this host may read the secrets in .*\.key/]);
  chmodSync(key, 0o600);
  chmodSync(cert, 0o646);
  t.match(told(filesFindings(setup)), [/^fault: everybody on this host may change .*\.crt/]);
  chmodSync(cert, 0o644);
  chmodSync(path.join(dir, 'state'), 0o1777);
  t.match(told(filesFindings(setup)), [/^fault: everybody on this host may write to .*state/]);
  chmodSync(path.join(dir, 'state'), 0o700);
  chmodSync(dir, 0o777);
  t.match(told(filesFindings(setup)), [/^fault: everybody on this host may write to .*, where a file lies/]);
  chmodSync(dir, 0o1777);
  t.match(told(filesFindings(setup)), [/^ok/], 'as in /tmp, nobody removes what is not his own');
});

t.test('descriptors: just enough, and one too few', async (t) => {
  const setup = setupOf(t, BASIC);
  const needed = descriptorsNeeded(setup);
  const root = folder(t);
  const limits = (pid: string, soft: number | string, hard: number | string): void => {
    mkdirSync(path.join(root, 'proc', pid), { recursive: true });
    writeFileSync(
      path.join(root, 'proc', pid, 'limits'),
      `Limit   Soft Limit  Hard Limit  Units\nMax open files            ${soft}                 ${hard}               files\n`,
    );
  };
  const say = (): string[] => told(limitFindings(setup, here({ root })));
  t.match(say(), [/^note: .* cannot be seen on this system/]);
  limits('self', 1024, needed);
  t.match(say(), [/^ok: a process started from this shell may have/]);
  limits('self', 1024, needed - 1);
  t.match(say(), [/^warn: /]);
  limits('self', 1024, 'unlimited');
  t.match(say(), [/^ok: /]);
  limits('4711', needed - 1, 'unlimited');
  writeFileSync(
    path.join(root, 'proc', '4711', 'cmdline'),
    'node\0/usr/bin/sekisho\0serve\0--config\0/etc/sekisho/sekisho.yaml\0',
  );
  t.match(say(), [/^warn: sekisho serve \(process 4711\) may have/]);
});

t.test('the command: a running Sekisho, its readiness, the exit codes', async (t) => {
  const [port, admin, gone] = [await freePort(), await freePort(), await freePort()];
  const mta = await startLegacyMta();
  t.teardown(() => mta.close());
  const dir = folder(t);
  const file = path.join(dir, 'sekisho.yaml');
  const config = (upstream: number): string =>
    `listen: [{ host: 127.0.0.1, port: ${port} }]\nupstream: { host: 127.0.0.1, port: ${upstream} }
local_domains: [campus.example]\nadmin: { listen: "127.0.0.1:${admin}" }\n`;
  writeFileSync(file, config(gone));
  const sekisho = await SekishoProcess.serve(['--config', file, '--log-level', 'debug']);
  t.teardown(() => sekisho.kill());
  const log = path.join(dir, 'log');
  writeFileSync(log, sekisho.out);
  const sick = await runSekisho(['doctor', '--config', file, '--log', log, '--timeout', '5']);
  t.equal(sick.code, 1, sick.err);
  t.match(sick.out, /mx: 127\.0\.0\.1:\d+ takes connections: 220 /);
  t.match(sick.out, /!! Sekisho says that it is not ready: upstream: no upstream can be reached/);
  t.match(sick.out, /the log tells of \d+ sessions/);
  t.match(sick.out, /^\d+ faults, \d+ warnings, \d+ notes\.$/m);

  writeFileSync(file, config(mta.port));
  await sekisho.kill('SIGTERM');
  const well = await SekishoProcess.serve(['--config', file]);
  t.teardown(() => well.kill());
  const report = await runSekisho(['doctor', '--config', file, '--json']);
  const found: readonly Finding[] = JSON.parse(report.out);
  t.match(
    told(found.filter(({ subject }) => subject === 'listeners'))[1],
    /^ok: Sekisho says that it is ready/,
  );
  const bad = found.some(({ level }) => level === 'fault' || level === 'warn');
  t.equal(report.code, bad ? 1 : 0, 'the exit code is about what was found');
  t.equal(readFileSync(file, 'utf8'), config(mta.port), 'nothing was changed');

  t.equal((await runSekisho(['doctor', '--config', file, '--timeout', '0'])).code, 2);
  t.equal((await runSekisho(['doctor', '--config', path.join(dir, 'none')])).code, 2);
  const noLog = await runSekisho(['doctor', '--config', file, '--log', path.join(dir, 'none')]);
  t.equal(noLog.code, 2);
  t.match(noLog.err, /--log .*none: ENOENT/);
});
