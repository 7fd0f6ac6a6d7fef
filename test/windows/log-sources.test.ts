/** Log files through all that happens to them, journals, and Whoson: real files, real logrotate, a real journald. */
import { execFileSync, spawn, spawnSync } from 'node:child_process';
import dgram from 'node:dgram';
import {
  appendFileSync,
  existsSync,
  mkdirSync,
  readdirSync,
  renameSync,
  rmSync,
  truncateSync,
  writeFileSync,
} from 'node:fs';
import path from 'node:path';
import t, { type Test } from 'tap';
import type { SekishoEvent } from '../../src/base/events.js';
import { IpSet, parseCidr } from '../../src/base/ip.js';
import { Windows } from '../../src/windows/keeper.js';
import { LogFollower, TAIL } from '../../src/windows/sources/log-follower.js';
import { journalEntry, UNIT_NAME } from '../../src/windows/sources/log-journal.js';
import { type LogOptions, WindowSources } from '../../src/windows/sources/sources.js';
import { parseWhoson, type WhosonOptions } from '../../src/windows/sources/whoson.js';
import { StoreError } from '../../src/windows/store.js';
import { MemoryStore } from '../../src/windows/stores/memory.js';
import { install, noPackages } from '../support/packages.js';
import { folder } from '../support/process.js';
import { eventually } from '../support/sekisho.js';

const cidrs = (...texts: string[]) =>
  texts.flatMap((text) => {
    const cidr = parseCidr(text);
    return cidr.ok ? [cidr.value] : [];
  });

interface House {
  readonly events: SekishoEvent[];
  readonly sources: WindowSources;
  readonly port: number;
  readonly store: MemoryStore;
  windows(): Promise<string[]>;
}

const house = async (
  t: Test,
  logs: readonly LogOptions[],
  whoson?: Partial<WhosonOptions>,
): Promise<House> => {
  const events: SekishoEvent[] = [];
  const note = (event: SekishoEvent): void => void events.push(event);
  const store = new MemoryStore();
  const rules = { length: 900_000, budget: 0, mostLogins: 3, shared: IpSet.of(cidrs('198.51.100.0/24')) };
  const windows = new Windows(store, rules, note, Date.now);
  const local = { host: '127.0.0.1', port: 0, peers: cidrs('127.0.0.1') };
  const sources = new WindowSources(
    { logs, whoson: whoson === undefined ? undefined : { ...local, ...whoson } },
    { note, now: Date.now, windowLength: rules.length, windows },
  );
  const listening = await sources.start();
  t.teardown(async () => {
    await sources.stop();
    await store.dispose();
  });
  return {
    events,
    sources,
    port: listening[0]?.port ?? 0,
    store,
    windows: async () =>
      ((await windows.list(1_000)) ?? []).map(({ login, address }) => `${login} ${address}`).sort(),
  };
};

const MONTHS = ['Jan', 'Feb', 'Mar', 'Apr', 'May', 'Jun', 'Jul', 'Aug', 'Sep', 'Oct', 'Nov', 'Dec'];
/** In this host's zone, as syslog has it. */
const stamp = (ago: number): string => {
  const at = new Date(Date.now() - ago * 1_000);
  const clock = at.toTimeString().slice(0, 8);
  return `${MONTHS[at.getMonth()]} ${String(at.getDate()).padStart(2)} ${clock}`;
};
const login = (user: string, ago = 0, address = '192.0.2.7'): string =>
  `${stamp(ago)} mail pop3d: LOGIN, user=${user}, ip=[::ffff:${address}], port=[50111]\n`;

const courier = (file: string): LogOptions => ({ place: { file }, format: 'courier', zone: undefined });

/** A follower of its own, and what it has read. */
const follow = (t: Test, file: string): { lines: string[]; warnings: string[] } => {
  const heard = { lines: [] as string[], warnings: [] as string[] };
  const follower = new LogFollower(
    file,
    (line) => {
      heard.lines.push(line);
      return Promise.resolve();
    },
    (event) => void (event.type === 'warning' && heard.warnings.push(event.text)),
  );
  follower.start();
  t.teardown(() => follower.stop());
  return heard;
};

t.test('from lines to windows', async (t) => {
  const dir = folder(t);
  const file = path.join(dir, 'mail.log');
  writeFileSync(file, login('old', 901) + login('backlog', 600) + login('shared', 0, '198.51.100.7'));
  const { windows, events, store } = await house(t, [courier(file)]);
  await eventually('the backlog', async () => (await windows()).length === 1);
  t.strictSame(await windows(), ['backlog 192.0.2.7']);
  const [window] = await store.list(10, Date.now());
  t.equal(window?.source, 'log');
  t.ok(window !== undefined && window.until < Date.now() + 301_000, 'it ends ten minutes sooner');
  t.ok(window !== undefined && window.since < Date.now() - 599_000);
  t.match(
    events.filter(({ type }) => type === 'window-refused'),
    [{ login: 'shared', address: '198.51.100.7', source: 'log', why: /listed as shared/ }],
  );
  appendFileSync(file, login('live').slice(0, 30));
  appendFileSync(file, login('live').slice(30) + login('third') + login('fourth'));
  await eventually('the cap', () =>
    events.some((each) => each.type === 'window-refused' && each.login === 'fourth'),
  );
  t.strictSame(await windows(), ['backlog 192.0.2.7', 'live 192.0.2.7', 'third 192.0.2.7']);
  appendFileSync(
    file,
    `${login('evil', 0, '6.6.6.6').replace('LOGIN,', 'LOGIN FAILED,')}${login('x, ip=[6.6.6.6]')}`,
  );
  await eventually('it is refused', () =>
    events.some((each) => each.type === 'window-refused' && /forged/.test(each.why)),
  );
  t.equal((await windows()).length, 3);
});

t.test('a file through its life', async (t) => {
  const dir = folder(t);
  const file = path.join(dir, 'log');
  const { lines, warnings } = follow(t, file);
  await eventually('it is waited for', () => warnings.length === 1);
  t.match(warnings, [/log: it is not there yet; waiting for it$/]);
  writeFileSync(file, 'one\n');
  await eventually('it is there', () => lines.length === 1);
  t.match(warnings, [/not there/, /can be read again/]);
  appendFileSync(file, 'two\npart');
  await eventually('two', () => lines.length === 2);
  appendFileSync(file, 'ly\n');
  await eventually('the rest of a line', () => lines.at(-1) === 'partly');

  // Renamed, while its writer still writes, and then a new one.
  renameSync(file, `${file}.1`);
  appendFileSync(`${file}.1`, 'late\n');
  await eventually('after the rename', () => lines.at(-1) === 'late');
  writeFileSync(file, 'new\n');
  await eventually('the new file', () => lines.at(-1) === 'new');
  appendFileSync(`${file}.1`, 'later\n');
  await eventually('the old file, on', () => lines.at(-1) === 'later');

  // Cut short: to nothing, to less, and at once longer than before.
  truncateSync(file);
  await new Promise((resolve) => setTimeout(resolve, 600));
  appendFileSync(file, 'x\n');
  await eventually('cut', () => lines.at(-1) === 'x');
  appendFileSync(file, 'a long line before it is cut\n');
  await eventually('long', () => lines.at(-1)?.startsWith('a long') === true);
  writeFileSync(file, 'short\n');
  await eventually('shorter', () => lines.at(-1) === 'short');
  writeFileSync(file, `${'filled again at once and longer than before '.repeat(20)}\nend\n`);
  await eventually('longer', () => lines.at(-1) === 'end');
  t.match(lines.at(-2), /^filled again at once/, 'from its beginning');
  t.equal(lines.length, 11);

  appendFileSync(file, `${'y'.repeat(8_193)}\n${'z'.repeat(8_192)}\n`);
  await eventually('a long line', () => lines.at(-1) === 'z'.repeat(8_192));
  t.equal(lines.length, 12, 'one octet more is left out');
  const endless = Buffer.alloc(4 * TAIL, 'e');
  appendFileSync(file, endless);
  appendFileSync(file, '\nafter\n');
  await eventually('the end of an endless line', () => lines.at(-1) === 'after', 30_000);
  t.equal(lines.length, 13);

  rmSync(file);
  mkdirSync(file);
  await eventually('no file', () => warnings.some((each) => /it is not a file; trying again/.test(each)));
  rmSync(file, { recursive: true });
  writeFileSync(file, 'back\n');
  await eventually('a file again', () => lines.at(-1) === 'back');
  execFileSync('mkfifo', [path.join(dir, 'fifo')]);
  const fifo = follow(t, path.join(dir, 'fifo'));
  await eventually('a fifo', () => fifo.warnings.some((each) => /not a file/.test(each)));
});

t.test('a large file is read from near its end', async (t) => {
  const file = path.join(folder(t), 'log');
  const lines = 'filler, filler, filler, filler, filler, filler\n'.repeat(200_000);
  writeFileSync(file, `first\n${lines}last\n`);
  const heard = follow(t, file);
  await eventually('the last line', () => heard.lines.at(-1) === 'last', 30_000);
  t.not(heard.lines[0], 'first');
  t.ok(heard.lines.join('\n').length <= TAIL);
  t.ok(heard.lines.slice(0, -1).every((line) => line === 'filler, filler, filler, filler, filler, filler'));
});

const skip = noPackages() ?? false;

t.test('real logrotate, both ways', { skip }, async (t) => {
  await install(['logrotate']);
  const dir = folder(t);
  for (const way of ['copytruncate', 'create 0600', 'create 0600\n compress']) {
    const file = path.join(dir, `${way.replaceAll(/\W+/g, '-')}.log`);
    const conf = `${file}.conf`;
    // Other group-writable parents make logrotate demand su.
    writeFileSync(conf, `${file} {\n rotate 5\n size 1\n su root root\n ${way}\n}\n`, { mode: 0o600 });
    writeFileSync(file, login('u0'));
    const { windows, store } = await house(t, [courier(file)]);
    for (let i = 1; i <= 4; i += 1) {
      appendFileSync(file, login(`u${i}`, 0, `192.0.2.${i}`));
      // The line is there before it rotates; copytruncate may lose what comes within its copy, as its manual says.
      await eventually(`u${i} with ${way}`, async () => (await windows()).includes(`u${i} 192.0.2.${i}`));
      const { status, stderr } = spawnSync('logrotate', ['-f', '-s', `${file}.state`, conf], {
        encoding: 'utf8',
      });
      t.equal(status, 0, stderr);
      appendFileSync(file, login(`v${i}`, 0, `192.0.2.${i}`));
      await eventually(`v${i} with ${way}`, async () => (await windows()).includes(`v${i} 192.0.2.${i}`));
    }
    t.ok(readdirSync(dir).some((name) => name.startsWith(`${path.basename(file)}.`) && /\.[1-4]/.test(name)));
    t.equal(await store.size(Date.now()), 9);
  }
});

t.test('a file without permission', { skip: process.getuid?.() === 0 ? false : 'needs root' }, async (t) => {
  const dir = folder(t);
  const file = path.join(dir, 'log');
  execFileSync('chmod', ['755', dir]);
  writeFileSync(file, 'one\n', { mode: 0o600 });
  // Only another user is refused: the effective one, for a while.
  process.seteuid?.(65_534);
  let heard: ReturnType<typeof follow>;
  try {
    heard = follow(t, file);
    await eventually('it is said', () => heard.warnings.length > 0);
  } finally {
    process.seteuid?.(0);
  }
  t.match(heard.warnings, [/no permission to read it; trying again/]);
  await eventually('and tried again', () => heard.lines.length === 1);
});

t.test('journal entries', async (t) => {
  const entry = {
    __REALTIME_TIMESTAMP: '1795616340000000',
    _SYSTEMD_UNIT: 'dovecot.service',
    SYSLOG_IDENTIFIER: 'dovecot',
    _PID: '12',
    MESSAGE: 'hello',
  };
  const read = (change: object): unknown =>
    journalEntry(JSON.stringify({ ...entry, ...change }), 'dovecot.service');
  t.strictSame(read({}), { time: 1_795_616_340_000, program: 'dovecot', pid: '12', message: 'hello' });
  t.match(read({ MESSAGE: [...Buffer.from('a\u0001ö')] }), { message: 'a\u0001ö' }, 'octets');
  t.match(read({ SYSLOG_PID: '13' }), { pid: '13' });
  for (const bad of [
    { _SYSTEMD_UNIT: 'evil.service' },
    { _SYSTEMD_UNIT: undefined },
    { MESSAGE: null },
    { MESSAGE: ['x'] },
    { MESSAGE: {} },
    { __REALTIME_TIMESTAMP: 'x' },
  ])
    t.equal(read(bad), undefined, JSON.stringify(bad));
  for (const line of ['', '{', '[]', 'null', '"x"']) t.equal(journalEntry(line, 'x'), undefined);
  for (const unit of ['dovecot.service', 'a@b.service', 'system-x\\x2dy.slice']) t.match(unit, UNIT_NAME);
  for (const unit of ['dovecot', '--file=x.service', 'a b.service', 'a.service\n', ''])
    t.notMatch(unit, UNIT_NAME);
});

const JOURNALD = '/lib/systemd/systemd-journald';

t.test('a real journal', { skip }, async (t) => {
  await install(['/lib/systemd/systemd-journal-remote=systemd-journal-remote', 'journalctl=systemd']);
  const dir = folder(t);
  execFileSync('chmod', ['755', dir]);
  let number = 0;
  /** Entries as journald exports them; journal-remote makes real journal files of them. */
  const put = (file: string, entries: readonly (readonly [string, string, string, number])[]): void => {
    const text = entries
      .map(([unit, program, message, ago]) => {
        number += 1;
        const micros = (Date.now() - ago * 1_000) * 1_000;
        return [
          `__CURSOR=s=0639e3;i=${number}`,
          `__REALTIME_TIMESTAMP=${micros}`,
          `__MONOTONIC_TIMESTAMP=${number}`,
          '_BOOT_ID=6c7c6013a26343b29e964691ff25d04c',
          `_SYSTEMD_UNIT=${unit}`,
          `SYSLOG_IDENTIFIER=${program}`,
          '_PID=7',
          `MESSAGE=${message}`,
          '',
          '',
        ].join('\n');
      })
      .join('');
    execFileSync('/lib/systemd/systemd-journal-remote', ['-o', path.join(dir, file), '-'], { input: text });
  };
  const said = (user: string): string =>
    `imap-login: Login: user=<${user}>, method=PLAIN, rip=192.0.2.7, lip=192.0.2.1, mpid=1, TLS, session=<x>`;
  put('a.journal', [
    ['dovecot.service', 'dovecot', said('old'), 1_000],
    ['dovecot.service', 'dovecot', said('backlog'), 600],
    ['evil.service', 'dovecot', said('evil'), 5],
    ['dovecot.service', 'other', said('program'), 5],
  ]);
  const { windows, events } = await house(t, [
    {
      place: { journal: { unit: 'dovecot.service', directory: dir } },
      format: 'dovecot',
      zone: undefined,
    },
  ]);
  await eventually('the backlog', async () => (await windows()).length > 0, 30_000);
  put('a.journal', [['dovecot.service', 'dovecot', said('live'), 0]]);
  await eventually('a new entry', async () => (await windows()).length > 1, 30_000);
  t.strictSame(await windows(), ['backlog 192.0.2.7', 'live 192.0.2.7']);
  const [opened] = events.filter((each) => each.type === 'window-opened');
  t.ok(opened?.type === 'window-opened' && opened.until < Date.now() + 301_000, 'ten minutes sooner');

  // Killed, it comes back by itself.
  const child = spawnSync('pgrep', ['-f', `journalctl.*--directory=${dir}`], { encoding: 'utf8' });
  process.kill(Number(child.stdout.trim().split('\n')[0]), 'SIGKILL');
  await eventually('its end is noticed', () =>
    events.some(
      (each) => each.type === 'warning' && /journal of dovecot.service: journalctl ended/.test(each.text),
    ),
  );
  put('a.journal', [['dovecot.service', 'dovecot', said('again'), 0]]);
  await eventually('after its return', async () => (await windows()).includes('again 192.0.2.7'), 30_000);
  t.strictSame(await windows(), ['again 192.0.2.7', 'backlog 192.0.2.7', 'live 192.0.2.7']);
});

t.test('a real journald', { skip: existsSync(JOURNALD) ? skip : 'needs systemd-journald' }, async (t) => {
  const dir = folder(t);
  // It runs in a mount namespace of its own, with its own /run and /var/log, as if this host had just started.
  const script = `
set -e
mount -t tmpfs none /run; mkdir -p /run/log/journal /run/systemd/journal ${dir}/journal
mount --bind ${dir}/journal /run/log/journal
${JOURNALD} & pid=$!
for i in $(seq 100); do [ -S /run/systemd/journal/stdout ] && break; sleep 0.1; done
exec 3<>${dir}/say
while read -r line <&3; do
  [ "$line" = end ] && break
  printf '%s\\n' "$line" | systemd-cat -t pop3d
done
kill $pid; wait $pid || true
`;
  execFileSync('mkfifo', [path.join(dir, 'say')]);
  const child = spawn('unshare', ['--mount', 'sh', '-c', script], { stdio: ['ignore', 'pipe', 'pipe'] });
  let errors = '';
  child.stderr.on('data', (chunk) => (errors += String(chunk)));
  const ended = new Promise((resolve) => child.once('close', resolve));
  const say = (line: string): void => appendFileSync(path.join(dir, 'say'), `${line}\n`);
  t.teardown(async () => {
    if (child.exitCode === null) say('end');
    await ended;
  });
  const place = path.join(dir, 'journal');
  await eventually(`journald: ${errors}`, () => existsSync(place) && readdirSync(place).length > 0, 30_000);
  say('LOGIN, user=bob, ip=[::ffff:192.0.2.7], port=[1]');
  // No systemd, no units: what journald says of a writer is asked of it itself.
  const entry = (): string =>
    spawnSync('journalctl', ['--directory', place, '-o', 'json', '--all', '-t', 'pop3d'], {
      encoding: 'utf8',
    }).stdout;
  await eventually('its entry', () => /LOGIN, user=bob/.test(entry()), 30_000);
  const parsed: unknown = JSON.parse(entry().trim().split('\n')[0] ?? '');
  const unit =
    '_SYSTEMD_UNIT' in (parsed as object) ? (parsed as Record<string, string>)._SYSTEMD_UNIT : undefined;
  const read = journalEntry(
    JSON.stringify({ ...(parsed as object), _SYSTEMD_UNIT: unit ?? 'courier-pop.service' }),
    unit ?? 'courier-pop.service',
  );
  t.match(read, { program: 'pop3d', message: 'LOGIN, user=bob, ip=[::ffff:192.0.2.7], port=[1]' });
  t.ok(Math.abs(Number(read?.time) - Date.now()) < 60_000);
  say('end');
});

class WhosonClient {
  readonly socket = dgram.createSocket('udp4');
  answers: string[] = [];
  constructor(
    t: Test,
    readonly port: number,
    from = '127.0.0.1',
  ) {
    this.socket.bind(0, from);
    this.socket.on('message', (message) => this.answers.push(message.toString()));
    t.teardown(() => this.socket.close());
  }
  async ask(command: string): Promise<string> {
    const before = this.answers.length;
    this.socket.send(command.endsWith('\n') ? command : `${command}\r\n\r\n`, this.port, '127.0.0.1');
    await eventually(`an answer to ${command}`, () => this.answers.length > before);
    return this.answers.at(-1) ?? '';
  }
}

t.test('Whoson', async (t) => {
  const { port, windows, events, store } = await house(t, [], {});
  const client = new WhosonClient(t, port);
  t.equal(await client.ask('QUERY 192.0.2.7'), '-Not Logged in\r\n\r\n');
  t.equal(await client.ask('LOGIN 192.0.2.7 bob'), '+LOGIN OK\r\n\r\n');
  t.equal(await client.ask('LOGIN 192.0.2.7 bob'), '+LOGIN OK\r\n\r\n');
  t.equal(await client.ask('QUERY 192.0.2.7'), '+bob\r\n\r\n');
  t.equal(await client.ask('login 2001:db8::1 Jo Smith\n'), '+LOGIN OK\r\n\r\n');
  t.equal(await client.ask('QUERY 2001:db8::2'), '+Jo Smith\r\n\r\n', 'a /64');
  t.match(
    events.filter(({ type }) => type === 'window-opened').map((each) => (each as { source?: string }).source),
    ['whoson', 'whoson', 'whoson'],
  );
  t.equal(await client.ask('LOGIN 198.51.100.7 bob'), '-LOGIN refused\r\n\r\n', 'a shared network');
  t.match(events.at(-1), { type: 'window-refused', source: 'whoson', why: /shared/ });
  for (const user of ['two', 'three']) await client.ask(`LOGIN 192.0.2.7 ${user}`);
  t.equal(await client.ask('LOGIN 192.0.2.7 four'), '-LOGIN refused\r\n\r\n', 'the cap');
  t.equal(await client.ask('LOGOUT 192.0.2.7 two'), '+LOGOUT record deleted\r\n\r\n');
  t.strictSame(await windows(), ['Jo Smith 2001:db8::1', 'bob 192.0.2.7', 'three 192.0.2.7']);
  // What the user opened by POP3 is not whosond's to close.
  const pop = { key: '192.0.2.9', address: '192.0.2.9', login: 'pop', since: 0, until: Date.now() + 60_000 };
  await store.open({ ...pop, source: 'pop3', used: 0, budget: 0 }, 3, Date.now());
  t.equal(await client.ask('LOGOUT 192.0.2.9'), '+LOGOUT no such record, nothing done\r\n\r\n');
  t.equal(await client.ask('QUERY 192.0.2.9'), '+pop\r\n\r\n');
  t.equal(await client.ask('LOGOUT 192.0.2.7'), '+LOGOUT record deleted\r\n\r\n');
  t.strictSame(await windows(), ['Jo Smith 2001:db8::1', 'pop 192.0.2.9']);
  t.equal(await client.ask('QUIT'), '+QUIT OK\r\n\r\n');
  for (const bad of [
    'LOGIN 192.0.2.7',
    'LOGIN bob 192.0.2.7',
    'LOGIN',
    'HELP',
    ' ',
    'LOGIN 192.0.2.7 a\u0001b',
    'x'.repeat(1_025),
  ])
    t.match(await client.ask(bad), /^\*[ -~]+\r\n\r\n$/, bad.slice(0, 40));
  t.equal(
    await client.ask(`LOGIN 192.0.2.7 ${'u'.repeat(256)}`),
    '-LOGIN refused\r\n\r\n',
    'too long a name',
  );
  t.match(parseWhoson(Buffer.alloc(0)), /^\*/);

  const stranger = new WhosonClient(t, port, '127.0.0.2');
  for (let i = 0; i < 5; i += 1) stranger.socket.send('LOGIN 192.0.2.66 evil\r\n\r\n', port, '127.0.0.1');
  const strange = (each: SekishoEvent): boolean =>
    each.type === 'warning' && /not among peers: 127\.0\.0\.2$/.test(each.text);
  await eventually('it is said', () => events.some(strange));
  await client.ask('QUIT');
  t.equal(events.filter(strange).length, 1, 'once');
  t.strictSame(stranger.answers, [], 'no answer');
  t.notOk((await windows()).some((each) => /evil/.test(each)));

  // Down: not known, and said so. Hung: bounded.
  store.lookup = () => Promise.reject(new StoreError('lookup', 'down'));
  store.open = () => Promise.reject(new StoreError('open', 'down'));
  t.match(await client.ask('QUERY 192.0.2.7'), /^\*.*not known/);
  t.match(await client.ask('LOGIN 192.0.2.7 bob'), /^\*.*not known/);
  t.match(await client.ask('LOGOUT 192.0.2.7 bob'), /^\*.*not known/);
  let hung = 0;
  const free: (() => void)[] = [];
  store.lookup = () =>
    new Promise((resolve) => {
      hung += 1;
      free.push(() => resolve([]));
    });
  for (let i = 0; i < 200; i += 1) client.socket.send('QUERY 192.0.2.7\r\n\r\n', port, '127.0.0.1');
  await eventually('64 are taken', () => hung === 64);
  await new Promise((resolve) => setTimeout(resolve, 100));
  t.equal(hung, 64);
  const before = client.answers.length;
  for (const each of free) each();
  await eventually('they are answered', () => client.answers.length === before + 64);
  await t.rejects(house(t, [], { port }), /cannot listen on 127\.0\.0\.1:\d+: another program already does/);
});
