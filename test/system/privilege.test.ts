/** What Sekisho does to the host it runs on: writes to its store and nowhere else, starts nothing, makes up no code. */
import { spawn, spawnSync } from 'node:child_process';
import { cpSync, existsSync, readdirSync, readFileSync, writeFileSync } from 'node:fs';
import path from 'node:path';
import t from 'tap';
import { startLegacyMta } from '../support/legacy-mta.js';
import { install, noPackages } from '../support/packages.js';
import { folder, SekishoProcess } from '../support/process.js';
import { eventually } from '../support/sekisho.js';
import { codeOf, SmtpClient } from '../support/smtp-client.js';

const ROOT = path.resolve(import.meta.dirname ?? '.', '..', '..');
const reason = noPackages();
const linux = process.platform === 'linux' ? {} : { skip: 'needs /proc' };

/** Each system call by which a file comes about, changes or goes, or a program begins. */
const CALLS =
  'openat,open,creat,mkdir,mkdirat,rename,renameat,renameat2,unlink,unlinkat,rmdir,link,linkat,symlink,symlinkat,truncate,chmod,fchmodat,chown,execve';

const POLICY = `version: 1
domains: { ours: [local.example] }
rules:
  - { name: inbound, allow: { to: ours } }
tests:
  - { name: a stranger, client: 203.0.113.9, from: x@spam.example, to: y@victim.example, expect: deny }
`;

t.test(
  'writes to its store alone, and starts no program',
  reason === undefined ? {} : { skip: reason },
  async (t) => {
    await install(['strace']);
    const mta = await startLegacyMta();
    const dir = folder(t, { 'policy.yaml': POLICY });
    const config = `listen: [{ name: mx, host: 127.0.0.1, port: 0 }]
upstream: { host: 127.0.0.1, port: ${mta.port} }
policy: policy.yaml
store: { lmdb: ${dir}/store }
`;
    writeFileSync(path.join(dir, 'sekisho.yaml'), config);
    const trace = path.join(dir, 'trace');
    const main = path.join(ROOT, 'dist', 'cli', 'main.js');
    const child = spawn(
      'strace',
      [
        '-f',
        // What the test runner loads into every Node process writes as well.
        '-E',
        'NODE_OPTIONS',
        '-qq',
        '-e',
        `trace=${CALLS}`,
        '-o',
        trace,
        process.execPath,
        main,
        'serve',
        '--config',
        'sekisho.yaml',
      ],
      { cwd: dir, stdio: ['ignore', 'pipe', 'pipe'] },
    );
    let out = '';
    child.stdout.on('data', (chunk) => (out += String(chunk)));
    child.stderr.on('data', (chunk) => (out += String(chunk)));
    const ended = new Promise((resolve) => child.once('close', resolve));
    t.teardown(async () => {
      child.kill('SIGKILL');
      await ended;
      await mta.close();
    });
    await eventually('ready', () => /^sekisho: ready/m.test(out), 120_000);
    const port = Number(/listening on [^;]*:(\d+) \(mx\)/.exec(out)?.[1]);
    const client = await SmtpClient.connect(port, '127.0.0.2');
    await client.reply(60_000);
    const said: number[] = [];
    for (const line of [
      'EHLO c.example',
      'MAIL FROM:<a@b.example>',
      'RCPT TO:<y@victim.example>',
      'RCPT TO:<bob@local.example>',
      'DATA',
      'Subject: x\r\n\r\nx\r\n.',
      'QUIT',
    ])
      said.push(codeOf(await client.say(line, 60_000)));
    t.strictSame(said, [250, 250, 550, 250, 354, 250, 221], 'it does its work meanwhile');
    // The traced process, not strace: a signal to the latter would not reach it.
    const pid = Number(/^(\d+) +execve/m.exec(readFileSync(trace, 'utf8'))?.[1]);
    process.kill(pid, 'SIGHUP');
    await eventually('reloaded', () => /"event":"reload"/.test(out), 60_000);
    process.kill(pid, 'SIGTERM');
    await ended;
    const calls = readFileSync(trace, 'utf8')
      .split('\n')
      .map((line) => line.replace(/^\d+ +/, ''));
    t.ok(calls.length > 100, `${calls.length} calls were seen`);
    const programs = calls.filter((each) => each.startsWith('execve('));
    t.equal(programs.length, 1, 'no program but itself', { programs });
    const reads =
      /^open(?:at\(\w+, |\()"[^"]*", O_RDONLY(?!\S*O_CREAT)|^openat\(\w+, "\/dev\/(?:null|tty)"|^(?:execve|<\.\.\.|\+\+\+|---)|^$/;
    const writes = calls.filter((each) => !reads.test(each) && !/ = -1 /.test(each));
    const outside = writes.filter((each) => !each.includes(`"${dir}/store`));
    t.strictSame(outside, [], 'nothing is written elsewhere');
    t.ok(writes.length > 0, 'and something there');
  },
);

const sources = readdirSync(path.join(ROOT, 'src'), { recursive: true, encoding: 'utf8' })
  .filter((file) => file.endsWith('.ts'))
  .map((file) => ({ file, text: readFileSync(path.join(ROOT, 'src', file), 'utf8') }));

t.test('the sources make up no code, and name the programs that they start', async (t) => {
  const dynamic = /\beval\(|\bnew Function\b|['"]node:vm['"]|\bFunction\(['"`]/;
  t.strictSame(
    sources.filter(({ text }) => dynamic.test(text)).map(({ file }) => file),
    [],
  );
  // The supervisor's own processes, with --processes; ip and nft, in a command of its own; journalctl, only where
  // `roaming.logs` asks for the journal.
  t.strictSame(
    sources
      .filter(({ text }) => /child_process|node:cluster/.test(text))
      .map(({ file }) => file.replaceAll(path.sep, '/')),
    ['app/fleet/worker.ts', 'cli/commands/tproxy.ts', 'windows/sources/log-journal.ts'],
  );
});

interface Lock {
  readonly packages: Readonly<
    Record<string, { dev?: boolean; optional?: boolean; hasInstallScript?: boolean }>
  >;
}

t.test('native code is loaded by those who need it alone', linux, async (t) => {
  const sekisho = await SekishoProcess.serve([
    ...['--listen', '127.0.0.1:0', '--upstream', '127.0.0.1:1', '--local-domain', 'local.example'],
  ]);
  t.teardown(() => sekisho.kill());
  const maps = readFileSync(`/proc/${sekisho.child.pid ?? 0}/maps`, 'utf8');
  const native = [...new Set(maps.match(/\S+\.node$/gm))].map((file) => path.basename(file));
  t.strictSame(
    native.filter((file) => !file.startsWith('argon2')),
    [],
    'without a store and transparent sockets there is none of theirs',
  );
});

t.test('a tree without install scripts does all its work', linux, async (t) => {
  const dir = folder(t, { users: 'bob:{PLAIN}right\n' });
  for (const each of ['package.json', 'package-lock.json', 'dist', 'policies'])
    cpSync(path.join(ROOT, each), path.join(dir, each), { recursive: true });
  const args = [
    'ci',
    '--omit=dev',
    '--ignore-scripts',
    '--prefer-offline',
    '--no-audit',
    '--no-fund',
    '--fetch-retries=5',
  ];
  const { status, stderr } = spawnSync('npm', args, { cwd: dir, encoding: 'utf8' });
  if (status !== 0) return void t.comment(`skipped: the packages cannot be had: ${stderr.slice(0, 300)}`);
  const mta = await startLegacyMta();
  const config = `listen: [{ host: 127.0.0.1, port: 0 }]
upstream: { host: 127.0.0.1, port: ${mta.port} }
local_domains: [local.example]
store: { lmdb: ${dir}/store }
logins: [{ passwd_file: users }]
admin: { listen: "127.0.0.1:0" }
`;
  writeFileSync(path.join(dir, 'sekisho.yaml'), config);
  const main = path.join(dir, 'dist', 'cli', 'main.js');
  const child = spawn(process.execPath, [main, 'serve', '--config', 'sekisho.yaml'], { cwd: dir });
  let out = '';
  child.stdout.on('data', (chunk) => (out += String(chunk)));
  child.stderr.on('data', (chunk) => (out += String(chunk)));
  const ended = new Promise((resolve) => child.once('close', resolve));
  t.teardown(async () => {
    child.kill('SIGKILL');
    await ended;
    await mta.close();
  });
  await eventually('ready', () => /^sekisho: ready/m.test(out) || child.exitCode !== null, 120_000);
  const client = await SmtpClient.connect(Number(/listening on [^;]*:(\d+) \(/.exec(out)?.[1]));
  await client.reply(60_000);
  for (const line of ['EHLO c.example', 'MAIL FROM:<a@b.example>', 'RCPT TO:<bob@local.example>', 'DATA'])
    await client.say(line, 60_000);
  t.equal(codeOf(await client.say('Subject: x\r\n\r\nx\r\n.', 60_000)), 250);
  t.ok(existsSync(path.join(dir, 'store', 'state.mdb')), 'its store is there');
});

t.test('no package of the production tree has an install script that is needed', async (t) => {
  const lock = JSON.parse(readFileSync(path.join(ROOT, 'package-lock.json'), 'utf8')) as Lock;
  const scripts = Object.entries(lock.packages)
    .filter(([, { dev, hasInstallScript }]) => dev !== true && hasInstallScript === true)
    .map(([name]) => name);
  // All look for the binary that came along as a package of its own; `npm ci --ignore-scripts` does without.
  t.strictSame(scripts, ['node_modules/koffi', 'node_modules/lmdb', 'node_modules/msgpackr-extract']);
  t.equal(lock.packages['node_modules/koffi']?.optional, true, 'who needs it not need not have it');
  for (const [scope, name] of [
    ['@lmdb', 'lmdb'],
    ['@koromix', 'koffi'],
  ] as const) {
    const binary = path.join(ROOT, 'node_modules', scope, `${name}-${process.platform}-${process.arch}`);
    t.ok(existsSync(binary), `the binary of ${name} is a package`);
  }
});
