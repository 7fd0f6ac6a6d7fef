/** A service of systemd: what it is told, the sockets that it hands over, and what is said when something does not fit. */
import { spawn } from 'node:child_process';
import { cpSync, mkdirSync, readdirSync, readFileSync, symlinkSync, writeFileSync } from 'node:fs';
import net from 'node:net';
import path from 'node:path';
import t from 'tap';
import type { SekishoEvent } from '../../src/base/events.js';
import {
  assignSockets,
  type HandedSocket,
  type Looked,
  lookUp,
  takeHandedSockets,
} from '../../src/host/handed-sockets.js';
import { notification, notifyAddress, ServiceManager, watchdogTime } from '../../src/host/service-manager.js';
import { freePort, install, noPackages } from '../support/packages.js';
import { BUILT, folder } from '../support/process.js';
import { eventually } from '../support/sekisho.js';
import { Manager } from '../support/service-manager.js';
import { codeOf, SmtpClient } from '../support/smtp-client.js';

const why = noPackages();
const packages = why === undefined ? {} : { skip: why };

const listens = (address: string, port: number): Looked => ({ socket: true, address, port });
const handed = (fd: number, name: string, address?: string, port?: number): HandedSocket => ({
  fd,
  name,
  address,
  port,
});

t.test('the address, the words and the time', async (t) => {
  const path = notifyAddress('/run/systemd/notify');
  t.ok(path.ok);
  if (path.ok) {
    t.equal(new Uint16Array(new Uint8Array(path.value.subarray(0, 2)).buffer)[0], 1, 'AF_UNIX');
    t.equal(path.value.subarray(2).toString('latin1'), '/run/systemd/notify\0');
  }
  const abstract = notifyAddress('@systemd/notify');
  t.equal(abstract.ok && abstract.value.subarray(2).toString('latin1'), '\0systemd/notify');
  t.ok(notifyAddress(`/${'x'.repeat(106)}`).ok, 'the longest');
  t.notOk(notifyAddress(`/${'x'.repeat(107)}`).ok, 'one longer');
  for (const bad of ['', '/', '@', 'relative', 'vsock:2:1234']) t.notOk(notifyAddress(bad).ok, bad);
  t.equal(
    notification({ READY: 1, STATUS: 'a\r\nWATCHDOG=trigger' }).toString(),
    'READY=1\nSTATUS=a WATCHDOG=trigger',
  );
  t.equal(watchdogTime({ WATCHDOG_USEC: '60000000' }, 7), 60_000);
  t.equal(watchdogTime({ WATCHDOG_USEC: '60000000', WATCHDOG_PID: '7' }, 7), 60_000);
  t.equal(watchdogTime({ WATCHDOG_USEC: '60000000', WATCHDOG_PID: '8' }, 7), undefined, 'meant for another');
  for (const bad of [undefined, '', '0', '1999', '-1', 'soon'])
    t.equal(watchdogTime(bad === undefined ? {} : { WATCHDOG_USEC: bad }, 7), undefined);
});

t.test('the watchdog hears nothing when a listener is gone', async (t) => {
  const sent: Readonly<Record<string, string | number>>[] = [];
  const events: SekishoEvent[] = [];
  let alive = true;
  let status = 'fine';
  const manager = new ServiceManager(
    (fields) => sent.push(fields),
    20,
    (event) => events.push(event),
  );
  const pings = (): number => sent.filter((each) => each.WATCHDOG === 1).length;
  // Only this holds the process here: the manager's own timer must not.
  const hold = setInterval(() => {}, 1_000);
  t.teardown(() => clearInterval(hold));
  manager.ready({ alive: () => alive, status: () => status });
  t.same(sent[0], { READY: 1, STATUS: 'fine', WATCHDOG: 1 });
  await eventually('pings', () => pings() > 3);
  t.equal(sent.filter((each) => 'STATUS' in each).length, 1, 'a status that does not change is not repeated');
  status = 'less so';
  await eventually('the new status', () => sent.some((each) => each.STATUS === 'less so'));
  alive = false;
  const then = pings();
  await eventually('it is noted', () => events.length > 0);
  status = 'still turning';
  await eventually('the status goes on', () => sent.some((each) => each.STATUS === 'still turning'));
  t.equal(pings(), then);
  t.match(events, [{ type: 'internal-error', text: /listener is gone/ }], 'once');
});

t.test('what is handed over, and what cannot be', async (t) => {
  const look = (fd: number): Looked => (fd === 3 ? listens('::', 25) : listens('192.0.2.1', 587));
  const env = { LISTEN_FDS: '2', LISTEN_PID: '7', LISTEN_FDNAMES: 'mx:sekisho.socket', OTHER: '1' };
  const taken = takeHandedSockets(env, 7, look);
  t.same(env, { OTHER: '1' }, 'no child is to believe it');
  t.same(taken, {
    ok: true,
    value: [handed(3, 'mx', '::', 25), handed(4, 'sekisho.socket', '192.0.2.1', 587)],
  });
  t.same(takeHandedSockets({ LISTEN_FDS: '2', LISTEN_PID: '8' }, 7, look), { ok: true, value: [] });
  t.same(takeHandedSockets({}, 7, look), { ok: true, value: [] });
  const refused = (env: NodeJS.ProcessEnv, seen: Looked): string => {
    const result = takeHandedSockets({ LISTEN_PID: '7', ...env }, 7, () => seen);
    return result.ok ? 'taken' : result.error;
  };
  const one = { LISTEN_FDS: '1', LISTEN_FDNAMES: 'mx' };
  t.match(refused({ LISTEN_FDS: 'two' }, listens('::', 25)), /LISTEN_FDS=two/);
  t.match(refused({ LISTEN_FDS: '1025' }, listens('::', 25)), /up to 1024/);
  t.match(refused({ LISTEN_FDS: '2', LISTEN_FDNAMES: 'mx' }, listens('::', 25)), /1 names for 2 descriptors/);
  t.match(refused(one, { socket: false }), /descriptor 3 \(mx\).*is no socket/);
  t.match(refused(one, { socket: true, connected: true }), /Accept=no/);
});

t.test('the kernel’s tables', async (t) => {
  const head =
    '  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode\n';
  const tcp = `${head}   0: 010200C0:0019 00000000:0000 0A 00000000:00000000 00:00000000 00000000     0        0 4711 1 0 100\n   1: 0100007F:0019 0100007F:8000 01 00000000:00000000 00:00000000 00000000     0        0 4712 1 0 100\n`;
  const tcp6 = `${head}   0: B80D0120000000000000000001000000:024B 00000000000000000000000000000000:0000 0A 00000000:00000000 00:00000000 00000000     0        0 4713 1 0 100\n`;
  t.same(lookUp('4711', [tcp, tcp6]), listens('192.0.2.1', 25));
  t.same(lookUp('4712', [tcp, tcp6]), { socket: true, connected: true });
  t.same(lookUp('4713', [tcp, tcp6]), listens('2001:db8::1', 587));
  t.same(lookUp('471', [tcp, tcp6]), { socket: true }, 'an inode is not a prefix of another');
});

t.test('which socket is whose', async (t) => {
  const mx = { name: 'mx', host: '', port: 25 };
  const inside = { name: 'inside', host: '192.0.2.1', port: 25 };
  const submission = { name: 'submission', host: '::', port: 587 };
  const all = [mx, inside, submission];
  const assigned = (...sockets: HandedSocket[]): unknown => {
    const result = assignSockets(sockets, all);
    return result.ok ? Object.fromEntries(result.value) : result.error;
  };
  t.same(assigned(handed(3, 'u.socket', '::', 25), handed(4, 'u.socket', '::', 587)), {
    mx: [3],
    submission: [4],
  });
  t.same(assigned(handed(3, 'u', '192.0.2.1', 25)), { inside: [3] }, 'its own address before all addresses');
  t.same(assigned(handed(3, 'u', '192.0.2.2', 25)), { mx: [3] }, 'one of all addresses');
  t.same(assigned(handed(3, 'u', '0.0.0.0', 25), handed(4, 'u', '::', 25)), { mx: [3, 4] }, 'a pair');
  t.same(assigned(handed(3, 'submission', '::', 2587)), { submission: [3] }, 'a name before an address');
  t.same(assigned(handed(3, 'mx')), { mx: [3] }, 'a name, where the address cannot be seen');
  t.same(assigned(), {});
  const faults = assigned(handed(3, 'u', '::', 465), handed(4, ''), handed(5, 'u', '::', 25));
  t.match(faults, [
    /no listener for the socket \[::\]:465 \(u\).*mx at port 25, inside at 192\.0\.2\.1:25, submission at \[::\]:587/,
    /no listener for the socket descriptor 4 /,
  ]);
});

const configured = (dir: string, listen: string, upstream: number): string => {
  writeFileSync(
    path.join(dir, 'policy.yaml'),
    'version: 1\ndomains: { ours: [local.example] }\nrules:\n  - { name: inbound, allow: { to: ours } }\n',
  );
  const file = path.join(dir, 'sekisho.yaml');
  writeFileSync(
    file,
    `listen: [${listen}]\nupstream: { host: 127.0.0.1, port: ${upstream}, probe_interval: 1h }\npolicy: policy.yaml\ntimeouts: { greet_pause: 0s }\nlog: { level: debug }\n`,
  );
  return file;
};

const TERM = 15;
const HUP = 1;
const STOP = 19;
const CONT = 18;

t.test('a service that says how it is', packages, async (t) => {
  const dir = folder(t);
  const config = configured(dir, '{ name: mx, host: 127.0.0.1, port: 0 }', await freePort());
  const manager = await Manager.run(t, { abstract: true, env: { WATCHDOG_USEC: '400000' } });
  manager.start(['serve', '--config', config]);
  await manager.until('ready', () => manager.count('READY') === 1);
  // What it says comes another way than what it tells.
  for (const event of ['listening', 'self-test'])
    await manager.until(event, () => manager.lines.includes(`"event":"${event}"`));
  t.match(manager.told[0], {
    READY: '1',
    STATUS:
      /^upstream not reachable: 127\.0\.0\.1:\d+; 0 sessions on 127\.0\.0\.1:\d+ \(mx\); policy \S+policy\.yaml$/,
    WATCHDOG: '1',
  });
  await manager.until('the watchdog is fed', () => manager.count('WATCHDOG') > 3);
  const port = Number(/127\.0\.0\.1:(\d+) \(mx\)/.exec(manager.told[0]?.STATUS ?? '')?.[1]);
  const client = await SmtpClient.connect(port);
  t.equal(codeOf(await client.reply(60_000)), 220);
  await manager.until('a session is shown', () =>
    /; 1 session on/.test(manager.told.findLast((each) => each.STATUS)?.STATUS ?? ''),
  );
  client.destroy();

  manager.signal(HUP);
  await manager.until('a reload', () => manager.count('READY') === 2);
  const at = manager.told.findIndex((each) => each.RELOADING === '1');
  t.match(manager.told[at], { MONOTONIC_USEC: /^\d+$/ });
  t.ok(Number(manager.told[at]?.MONOTONIC_USEC) > 1_000_000, 'microseconds');
  t.ok(at > 0 && manager.told.findLastIndex((each) => each.READY === '1') > at, 'in this order');

  writeFileSync(path.join(dir, 'policy.yaml'), 'version: 1\nrules: nonsense\n');
  manager.signal(HUP);
  await manager.until('a reload that fails', () => manager.count('READY') === 3);
  t.match(
    manager.told.findLast((each) => each.READY === '1'),
    { STATUS: /the last reload FAILED and the old policy is in force: \S+policy\.yaml:2/ },
  );

  // Whoever stands still does not say that all is well.
  manager.signal(STOP);
  const state = (): string | undefined =>
    /^State:\s+(\w)/m.exec(
      readFileSync(`/proc/${/"pid":(\d+)/.exec(manager.lines)?.[1]}/status`, 'utf8'),
    )?.[1];
  await manager.until('it stands', () => state() === 'T');
  // What was under way arrives; five times as long as between two of them there comes none.
  let said = -1;
  await eventually('no sign of life', async () => {
    const before = manager.count('WATCHDOG');
    await new Promise((resolve) => setTimeout(resolve, 1_000));
    said = manager.count('WATCHDOG');
    return said === before;
  });
  manager.signal(CONT);
  await manager.until('it goes on', () => manager.count('WATCHDOG') > said + 1);

  manager.signal(TERM);
  await manager.until('the end', () => manager.ended.length === 1);
  t.equal(manager.ended[0], 0);
  await manager.until('it was announced', () => manager.count('STOPPING') === 1);
  t.match(
    manager.told.findLast((each) => each.STOPPING === '1'),
    { EXTEND_TIMEOUT_USEC: '40000000' },
    '30 s to drain, and 10 s',
  );
});

t.test('sockets that stay while the service is restarted', packages, async (t) => {
  const dir = folder(t);
  const manager = await Manager.run(t, { sockets: ['127.0.0.1', '127.0.0.1', '::1'] });
  const [first = 0, second = 0, third = 0] = manager.ports;
  const listen = [first, second, third]
    .map((port, i) => `{ name: l${i}, host: "${i === 2 ? '::1' : '127.0.0.1'}", port: ${port} }`)
    .reverse()
    .join(', ');
  const config = configured(dir, listen, await freePort());
  manager.start(['serve', '--config', config]);
  await manager.until('ready', () => manager.count('READY') === 1);
  for (const [port, name] of [
    [first, 'l0'],
    [second, 'l1'],
  ] as const) {
    const client = await SmtpClient.connect(port);
    t.equal(codeOf(await client.reply(60_000)), 220);
    client.destroy();
    await manager.until(`seen at ${name}`, () =>
      new RegExp(`"event":"connect".*"listener":"${name}"`).test(manager.lines),
    );
  }

  // One after the other, all the time.
  let going = true;
  const refused: string[] = [];
  let greeted = 0;
  const knocking = (async () => {
    while (going) {
      const socket = net.connect({ host: '127.0.0.1', port: first });
      await new Promise<void>((resolve) => {
        socket.once('data', (chunk) => {
          // A drain turns away with a 421 who had come in already.
          if (/^220 /.test(String(chunk))) greeted += 1;
          socket.destroy();
        });
        socket.once('error', (error: NodeJS.ErrnoException) => refused.push(error.code ?? error.message));
        socket.once('close', () => resolve());
      });
      await new Promise((resolve) => setTimeout(resolve, 5));
    }
  })();
  await eventually('greetings', () => greeted > 5, 60_000);
  manager.signal(TERM);
  await manager.until('the end', () => manager.ended.length === 1);
  const before = greeted;
  manager.start(['serve', '--config', config]);
  await manager.until('ready again', () => manager.count('READY') === 2);
  await eventually('greetings of the new one', () => greeted > before + 5, 60_000);
  going = false;
  await knocking;
  t.strictSame(refused, [], 'nobody was refused');
  manager.signal(TERM);
  await manager.until('the end', () => manager.ended.length === 2);

  const other = configured(dir, `{ name: mx, host: 127.0.0.1, port: ${first} }`, await freePort());
  manager.start(['serve', '--config', other]);
  await manager.until('the end', () => manager.ended.length === 3);
  t.equal(manager.ended[2], 2, 'a configuration fault, which no restart mends');
  t.match(
    manager.lines,
    new RegExp(`no listener for the socket 127\\.0\\.0\\.1:${second} .*mx at 127\\.0\\.0\\.1:${first}`),
  );
  t.match(manager.lines, new RegExp(`no listener for the socket \\[::1\\]:${third}`), 'each of them');
});

t.test('systemd’s own hand-over', packages, async (t) => {
  await install(['systemd-socket-activate=systemd']);
  const dir = folder(t);
  const [mx, submission] = [await freePort(), await freePort()];
  // The port of the configuration is another: the name counts.
  const listen = '{ name: mx, host: 127.0.0.1, port: 25 }, { name: submission, host: 127.0.0.1, port: 587 }';
  const config = configured(dir, listen, await freePort());
  const child = spawn(
    'systemd-socket-activate',
    [
      ...['-l', `127.0.0.1:${mx}`, '-l', `127.0.0.1:${submission}`, '--fdname=mx:submission'],
      ...[process.execPath, BUILT, 'serve', '--config', config],
    ],
    { env: { PATH: process.env.PATH }, stdio: ['ignore', 'pipe', 'pipe'] },
  );
  let said = '';
  child.stdout.on('data', (chunk) => (said += String(chunk)));
  child.stderr.on('data', (chunk) => (said += String(chunk)));
  t.teardown(() => {
    child.kill('SIGKILL');
  });
  await eventually('its sockets', () => said.split('Listening on').length === 3, 60_000);
  // The first to come starts it, and is served.
  const client = await SmtpClient.connect(submission);
  t.equal(codeOf(await client.reply(60_000)), 220, said);
  const ready = new RegExp(
    `listening on 127\\.0\\.0\\.1:${mx} \\(mx\\), 127\\.0\\.0\\.1:${submission} \\(submission\\)`,
  );
  await eventually('it says so', () => ready.test(said));
  client.destroy();
});

t.test('without koffi it says so once, and works', packages, async (t) => {
  const dir = folder(t);
  const root = path.resolve(path.dirname(BUILT), '..', '..');
  cpSync(path.join(root, 'dist'), path.join(dir, 'dist'), { recursive: true });
  cpSync(path.join(root, 'package.json'), path.join(dir, 'package.json'));
  mkdirSync(path.join(dir, 'node_modules'));
  for (const name of readdirSync(path.join(root, 'node_modules')).filter((each) => !/^\.|koffi/.test(each)))
    symlinkSync(path.join(root, 'node_modules', name), path.join(dir, 'node_modules', name));
  const config = configured(dir, '{ name: mx, host: 127.0.0.1, port: 0 }', await freePort());
  const manager = await Manager.run(t, { env: { WATCHDOG_USEC: '200000' } });
  manager.start(['serve', '--config', config], path.join(dir, 'dist', 'cli', 'main.js'));
  await manager.until('ready', () => /^sekisho: ready/m.test(manager.lines));
  t.match(
    manager.lines,
    /cannot be told when Sekisho is ready: the optional package koffi is not installed.*Type=exec/,
  );
  const port = Number(/127\.0\.0\.1:(\d+) \(mx\)/.exec(manager.lines)?.[1]);
  const client = await SmtpClient.connect(port);
  t.equal(codeOf(await client.reply(60_000)), 220);
  client.destroy();
  manager.signal(TERM);
  await manager.until('the end', () => manager.ended.length === 1);
  t.equal(manager.ended[0], 0);
  t.equal(manager.told.length, 0);
});
