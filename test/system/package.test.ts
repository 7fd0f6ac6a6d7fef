/** What is handed out: the npm tarball in an empty folder, and the Debian package on a clean Debian with a real systemd. */
import { execFile } from 'node:child_process';
import { existsSync, mkdirSync, readdirSync, readFileSync, writeFileSync } from 'node:fs';
import path from 'node:path';
import { promisify } from 'node:util';
import t from 'tap';
import { cleanRoot, noPackages } from '../support/packages.js';
import { folder } from '../support/process.js';
import { eventually } from '../support/sekisho.js';
import { Booted, noSystemd } from '../support/systemd.js';

const execute = promisify(execFile);
const { version } = JSON.parse(readFileSync('package.json', 'utf8')) as { version: string };

/** What the test runner loads into every Node process is not the program's. */
const env = { ...process.env, NODE_OPTIONS: '', npm_config_audit: 'false', npm_config_fund: 'false' };

const npm = noPackages();
t.test('the npm tarball', npm === undefined ? {} : { skip: npm }, async (t) => {
  const dir = folder(t);
  await execute('npm', ['pack', '--pack-destination', dir], { env });
  const tarball = `sekisho-${version}.tgz`;
  const { stdout } = await execute('tar', ['-tzf', path.join(dir, tarball)]);
  const files = stdout.split('\n').filter(Boolean);
  for (const file of [
    'package/package.json',
    'package/dist/cli/main.js',
    'package/dist/admin/dashboard/client/index.html',
    'package/policies/minimal.yaml',
    'package/deploy/systemd/sekisho.service',
    'package/LICENSE',
  ])
    t.ok(files.includes(file), file);
  const out = files.filter((file) =>
    /^package\/(?:test|src|\.ci|node_modules)\/|\.map$|tsbuildinfo|\.deb$/.test(file),
  );
  t.strictSame(out, [], 'nothing that only who builds it needs');

  const home = path.join(dir, 'empty');
  mkdirSync(home);
  writeFileSync(path.join(home, 'package.json'), '{}');
  await execute('npm', ['install', '--prefer-offline', '--ignore-scripts', path.join(dir, tarball)], {
    cwd: home,
    env,
  });
  t.notOk(existsSync(path.join(home, 'node_modules', 'typescript')), 'no compiler');
  const sekisho = (...args: string[]) =>
    execute('npx', ['--no-install', 'sekisho', ...args], { cwd: home, env });
  t.equal((await sekisho('--version')).stdout.trim(), version);
  const policy = 'node_modules/sekisho/policies/minimal.yaml';
  t.match((await sekisho('check', '--policy', policy)).stdout, /0 failed/);
  t.match((await sekisho('demo', '--once')).stdout, /550 5\.7\.1/, 'it works');
});

const deb = noSystemd();
t.test('the Debian package', deb === undefined ? {} : { skip: deb }, async (t) => {
  const dir = folder(t);
  // With the Node that runs this test: a clean Debian 12 has none that is new enough.
  const built = await execute('node', ['.ci/deb.mjs', '--fast', '--with-node', '--out', dir], { env });
  const first = built.stdout.trim();
  const unpacked = path.join(dir, 'unpacked');
  await execute('dpkg-deb', ['-R', first, unpacked]);
  const control = path.join(unpacked, 'DEBIAN', 'control');
  const next = `${version}+next`;
  writeFileSync(control, readFileSync(control, 'utf8').replace(/^Version: .*$/m, `Version: ${next}`));
  const second = path.join(dir, 'next.deb');
  await execute('dpkg-deb', ['-Znone', '--build', unpacked, second]);
  t.ok(readdirSync(path.join(unpacked, 'usr/lib/sekisho/node_modules')).includes('fastify'));
  t.notOk(existsSync(path.join(unpacked, 'usr/lib/sekisho/node_modules/typescript')), 'no compiler');

  const vm = await Booted.boot(t, {}, { lower: await cleanRoot(), binds: { '/packages': dir } });
  const dpkg = (...args: string[]): string => vm.must('dpkg', args);
  const greets = async (): Promise<boolean> => {
    try {
      const client = await vm.net.client('127.0.0.1');
      const said = await client.reply();
      client.destroy();
      return said.startsWith('220 ');
    } catch {
      return false;
    }
  };
  t.match(dpkg('-i', `/packages/${path.basename(first)}`), /write \/etc\/sekisho\/sekisho\.yaml/);
  t.equal(vm.must('sekisho', ['--version']).trim(), version);
  t.match(vm.must('sekisho', ['check', '--config', '/etc/sekisho/sekisho.yaml']), /1 listeners, 1 upstreams/);
  t.match(vm.must('id', ['sekisho']), /uid=\d+\(sekisho\)/);
  t.match(vm.must('stat', ['-c', '%U:%G %a', '/etc/sekisho']), /^root:sekisho 750/);
  t.equal(vm.show('sekisho', 'ActiveState'), 'inactive', 'nobody has said yet what is local');

  const own = vm.read('/etc/sekisho/policy.yaml').replace('[example.org]', '[local.example]');
  vm.write('/etc/sekisho/policy.yaml', own);
  const started = vm.run('systemctl', ['enable', '--now', 'sekisho']);
  t.equal(started.code, 0, started.out);
  t.ok(await greets(), 'it runs');
  t.match(vm.show('sekisho', 'StatusText'), /policy \/etc\/sekisho\/policy\.yaml/);
  const pid = vm.show('sekisho', 'MainPID');

  dpkg('-i', '/packages/next.deb');
  t.match(dpkg('-s', 'sekisho'), new RegExp(`^Version: ${next.replaceAll(/[.+]/g, '\\$&')}$`, 'm'));
  t.equal(vm.read('/etc/sekisho/policy.yaml'), own, 'what was changed is kept');
  t.not(vm.show('sekisho', 'MainPID'), pid, 'the new one runs');
  await eventually('it greets', greets, 60_000);

  dpkg('-r', 'sekisho');
  t.notOk(await greets(), 'it is stopped');
  t.notOk(vm.has('/usr/lib/sekisho/dist'));
  t.equal(vm.read('/etc/sekisho/policy.yaml'), own, 'its configuration stays');
  t.ok(vm.has('/var/lib/sekisho'), 'and what it knew');
  dpkg('-i', '/packages/next.deb');
  dpkg('-P', 'sekisho');
  for (const gone of ['/etc/sekisho', '/var/lib/sekisho', '/usr/lib/sekisho', '/usr/bin/sekisho'])
    t.notOk(vm.has(gone), gone);
  t.not(vm.run('id', ['sekisho']).code, 0, 'no user is left');
  t.equal(vm.must('find', ['/etc/systemd/system', '-name', 'sekisho*']), '', 'no link either');
});
