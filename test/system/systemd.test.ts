/** The units that ship, under a real systemd: readiness, reload, watchdog, sockets, rights, and an end that no restart mends. */
import { readFileSync } from 'node:fs';
import t from 'tap';
import type { Namespace } from '../support/namespaces.js';
import { eventually } from '../support/sekisho.js';
import { Booted, INSTALLED, noSystemd } from '../support/systemd.js';

const why = noSystemd();
const shipped = (name: string): string => readFileSync(`deploy/systemd/${name}`, 'utf8');

const CONFIG = `listen:
  - { name: mx, port: 25 }
  - { name: submission, port: 587 }
upstream: { host: 127.0.0.1, port: 2525, probe_interval: 1h }
policy: policy.yaml
timeouts: { greet_pause: 0s }
store: { lmdb: /var/lib/sekisho }
admin: { listen: "unix:/run/sekisho/admin.sock" }
`;
const POLICY =
  'version: 1\ndomains: { ours: [local.example] }\nrules:\n  - { name: inbound, allow: { to: ours } }\n';

/** The first words of a server. */
const greeting = (host: Namespace, port: number): Promise<string> =>
  host.connect('127.0.0.1', port).then(
    (socket) =>
      new Promise((resolve) => {
        socket.once('data', (chunk) => {
          socket.destroy();
          resolve(String(chunk));
        });
        socket.once('error', (error) => resolve(error.message));
        socket.once('close', () => resolve('closed'));
      }),
    (error: NodeJS.ErrnoException) => error.code ?? error.message,
  );

t.test('the service', why === undefined ? {} : { skip: why }, async (t) => {
  const vm = await Booted.boot(
    t,
    {
      ...INSTALLED.files,
      '/etc/systemd/system/sekisho.service': shipped('sekisho.service'),
      '/etc/systemd/system/sekisho.socket': shipped('sekisho.socket').replace(
        '# ListenStream=587',
        'ListenStream=587',
      ),
      '/etc/sysusers.d/sekisho.conf': shipped('sekisho.sysusers.conf'),
      '/etc/sekisho/sekisho.yaml': CONFIG,
      '/etc/sekisho/policy.yaml': POLICY,
    },
    { binds: INSTALLED.binds },
  );
  /** What it has got of the service so far: journald takes lines as it comes to them. */
  const journal = (): string => vm.run('journalctl', ['--no-pager', '-o', 'cat', '-u', 'sekisho']).out;
  const main = (): string => vm.show('sekisho', 'MainPID');
  const capabilities = (): string => /^CapEff:\s+(\S+)/m.exec(vm.read(`/proc/${main()}/status`))?.[1] ?? '';
  const start = (...args: string[]): void => {
    const { code, out } = vm.run('systemctl', args);
    if (code !== 0)
      throw new Error(
        `${args.join(' ')}: ${out}${vm.run('journalctl', ['-n', '30', '--no-pager', '-u', 'sekisho']).out}`,
      );
  };

  await t.test('is started when it is ready, and not before', async (t) => {
    start('start', 'sekisho');
    t.match(await greeting(vm.net, 25), /^220 /);
    t.match(await greeting(vm.net, 587), /^220 /);
    t.equal(vm.show('sekisho', 'ActiveState'), 'active');
    t.match(
      vm.show('sekisho', 'StatusText'),
      /^upstream not reachable: 127\.0\.0\.1:2525; 0 sessions on \S+:25 \(mx\), \S+:587 \(submission\); policy \/etc\/sekisho\/policy\.yaml$/,
    );
    t.not(/^Uid:\s+(\d+)/m.exec(vm.read(`/proc/${main()}/status`))?.[1], '0', 'not root');
    t.equal(capabilities(), '0000000000000400', 'ports below 1024, and nothing else');
    t.ok(vm.has('/run/sekisho/admin.sock'));
    t.match(vm.run('ls', ['/var/lib/sekisho']).out, /data\.mdb|\.mdb/, 'the store is there');
  });

  await t.test('reloads what is sound, and says what is not', async (t) => {
    vm.write('/etc/sekisho/policy.yaml', `${POLICY}  - { name: inside, allow: { client: 192.0.2.0/24 } }\n`);
    start('reload', 'sekisho');
    await eventually('the reload', () => /"event":"reload","ok":true/.test(journal()));
    const pid = main();
    vm.write('/etc/sekisho/policy.yaml', 'version: 1\nrules: nonsense\n');
    t.not(vm.run('systemctl', ['reload', 'sekisho']).code, 0, 'the command fails');
    await eventually('the journal says why', () => /policy\.yaml:2/.test(journal()));
    t.equal(vm.show('sekisho', 'ActiveState'), 'active', 'the old policy goes on');
    t.equal(main(), pid);
    vm.write('/etc/sekisho/policy.yaml', POLICY);
  });

  await t.test('is started anew when it stands still', async (t) => {
    vm.write('/etc/systemd/system/sekisho.service.d/quick.conf', '[Service]\nWatchdogSec=3\n');
    start('daemon-reload');
    start('restart', 'sekisho');
    const pid = main();
    vm.must('kill', ['-STOP', pid]);
    await eventually(
      'another process',
      () => main() !== pid && vm.show('sekisho', 'ActiveState') === 'active',
      60_000,
    );
    t.ok(Number(vm.show('sekisho', 'NRestarts')) >= 1);
    t.match(await greeting(vm.net, 25), /^220 /);
  });

  await t.test(
    'has no right at all where systemd binds its ports, and nobody is refused meanwhile',
    async (t) => {
      vm.write('/etc/systemd/system/sekisho.service.d/no-capabilities.conf', shipped('no-capabilities.conf'));
      vm.run('rm', ['/etc/systemd/system/sekisho.service.d/quick.conf']);
      start('stop', 'sekisho');
      start('daemon-reload');
      start('start', 'sekisho.socket');
      start('start', 'sekisho');
      t.equal(capabilities(), '0000000000000000');
      t.match(vm.show('sekisho', 'StatusText'), /\[::\]:25 \(mx\), \[::\]:587 \(submission\)/);
      const said: string[] = [];
      let going = true;
      const knocking = (async () => {
        while (going) said.push(await greeting(vm.net, 25));
      })();
      const restarted = new Promise((resolve) =>
        vm.spawn('systemctl', ['restart', 'sekisho']).once('close', resolve),
      );
      t.equal(await restarted, 0);
      const then = said.length;
      await eventually('clients after it', () => said.length > then + 3, 60_000);
      going = false;
      await knocking;
      // Who had come in already when the drain began is told to come again.
      t.strictSame(
        said.filter((each) => !/^(?:220|421) /.test(each)),
        [],
        `${said.length} clients, nobody refused`,
      );
    },
  );

  await t.test('a faulty configuration ends it for good', async (t) => {
    start('stop', 'sekisho.socket', 'sekisho');
    vm.run('rm', ['/etc/systemd/system/sekisho.service.d/no-capabilities.conf']);
    start('daemon-reload');
    vm.write('/etc/sekisho/sekisho.yaml', CONFIG.replace('policy: policy.yaml', 'policy: nowhere.yaml'));
    t.not(vm.run('systemctl', ['start', 'sekisho']).code, 0);
    t.equal(vm.show('sekisho', 'Result'), 'exit-code');
    t.equal(vm.show('sekisho', 'ExecMainStatus'), '2');
    t.equal(vm.show('sekisho', 'NRestarts'), '0');
    await eventually('the journal says why', () => /nowhere\.yaml/.test(journal()));
  });
});
