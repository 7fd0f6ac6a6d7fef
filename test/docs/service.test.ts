/** The unit that ships: systemd's own tools have nothing to say against it. */
import { execFileSync, spawnSync } from 'node:child_process';
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import os from 'node:os';
import path from 'node:path';
import t from 'tap';
import { install, noPackages } from '../support/packages.js';

const UNIT = 'deploy/systemd/sekisho.service';
const text = readFileSync(UNIT, 'utf8');
const settings = new Map(
  text.split('\n').flatMap((line) => {
    const match = /^(\w+)=(.*)$/.exec(line);
    return match === null ? [] : [[match[1] ?? '', match[2] ?? ''] as const];
  }),
);
const why = noPackages();
const systemd = why === undefined ? {} : { skip: why };

const at = (text: string): string => text.replaceAll('/usr/local/bin/sekisho', process.execPath);

t.test('verify and security', systemd, async (t) => {
  await install(['systemd-analyze=systemd']);
  const dir = mkdtempSync(path.join(os.tmpdir(), 'sekisho-unit-'));
  t.teardown(() => rmSync(dir, { recursive: true, force: true }));
  const unit = path.join(dir, 'sekisho.service');
  const socket = path.join(dir, 'sekisho.socket');
  const verify = (service: string, sockets: string): string[] => {
    // The programs need not be installed for the check.
    writeFileSync(unit, at(service));
    writeFileSync(socket, sockets);
    const { stderr } = spawnSync('systemd-analyze', ['verify', '--man=no', unit, socket], {
      encoding: 'utf8',
    });
    return stderr.split('\n').filter((line) => line.includes('sekisho'));
  };
  const sockets = readFileSync('deploy/systemd/sekisho.socket', 'utf8');
  t.same(verify(text, sockets), [], 'verify');
  t.same(verify(text, sockets.replace(/^# (?=ListenStream=\d+$)/gm, '')), [], 'with all its ports');
  t.match(
    verify(text.replace('ProtectSystem=strict', 'ProtectSystem=strct'), sockets).join(),
    /protect system/i,
    'it can fail',
  );
  t.match(verify(text, sockets.replace('=both', '=bth')).join(), /bind IPv6 only/i, 'for the socket as well');

  const exposure = (service: string): number => {
    writeFileSync(unit, service);
    const said = execFileSync('systemd-analyze', ['security', '--offline=true', '--no-pager', unit], {
      encoding: 'utf8',
    });
    return Number(/Overall exposure level for \S+: ([\d.]+)/.exec(said)?.[1]);
  };
  const dropIn = readFileSync('deploy/systemd/no-capabilities.conf', 'utf8').split('[Service]')[1] ?? '';
  const less = text.replace('[Install]', `[Service]\n${dropIn}\n[Install]`);
  t.match(less, /\nCapabilityBoundingSet=\n/);
  const [alone, socketed] = [exposure(text), exposure(less)];
  t.comment(`exposure ${alone}, without capabilities ${socketed}`);
  t.ok(alone > 0 && alone <= 1.8, `exposure ${alone} of 10`);
  const transparent = readFileSync('deploy/systemd/tproxy.conf', 'utf8').split('[Service]')[1] ?? '';
  const more = text.replace('[Install]', `[Service]\n${transparent}\n[Install]`);
  t.match(more, /\nCapabilityBoundingSet=CAP_NET_RAW\n/);
  t.same(verify(more, sockets), [], "with clients' own addresses");
  t.ok(socketed > 0 && socketed < alone, `without capabilities ${socketed} of 10`);
});

t.test('what the unit and the program promise each other', async (t) => {
  t.match(
    settings.get('ExecStart'),
    /^\/usr\/local\/bin\/sekisho serve --config \/etc\/sekisho\/sekisho\.yaml$/,
  );
  t.match(
    text,
    /^ExecReload=\/usr\/local\/bin\/sekisho check --config \S+\nExecReload=\/bin\/kill -HUP \$MAINPID$/m,
  );
  t.equal(settings.get('Type'), 'notify');
  t.ok(Number(settings.get('WatchdogSec')) >= 30, 'a large policy may be read meanwhile');
  t.equal(settings.get('RestartPreventExitStatus'), '2', 'the exit code of a configuration fault');
  t.equal(settings.get('CapabilityBoundingSet'), 'CAP_NET_BIND_SERVICE');
  t.equal(settings.get('AmbientCapabilities'), 'CAP_NET_BIND_SERVICE');
  t.notOk(settings.has('MemoryDenyWriteExecute'), 'JavaScript would not start');
});
