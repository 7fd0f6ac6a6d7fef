/**
 * A host of its own with a real systemd as its first process: namespaces around an overlay of this host's files, or of
 * another root's, that forgets all when the test ends.
 */
import { type ChildProcess, execFileSync, spawn, spawnSync } from 'node:child_process';
import { existsSync, mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import path from 'node:path';
import type { Test } from 'tap';
import { type Namespace, namespaces, noNamespaces } from './namespaces.js';
import { install, noPackages } from './packages.js';
import { BUILT, folder } from './process.js';
import { eventually } from './sekisho.js';

const ROOT = path.resolve(path.dirname(BUILT), '..', '..');

/** $1: folder to work in; $2: the root to begin with. What is in `tree` comes over it; `binds` has what is to be seen inside. */
const BOOT = `set -e
D=$1/overlay
mount --make-rprivate /
mkdir -p $D; mount -t tmpfs tmpfs $D
mkdir $D/up $D/work $D/root
mount -t overlay overlay -o lowerdir=$2,upperdir=$D/up,workdir=$D/work $D/root
R=$D/root
mount -t proc proc $R/proc
mount -t sysfs -o ro sysfs $R/sys
mount -t tmpfs tmpfs $R/sys/fs/cgroup 2>/dev/null || true
mount -t cgroup2 cgroup2 $R/sys/fs/cgroup
mount -t tmpfs tmpfs $R/run
mount -t tmpfs tmpfs $R/tmp
mount --rbind /dev $R/dev
rm -rf $R/etc/systemd/system
cp -a $1/tree/. $R/
while read -r from to; do
  if [ -d "$from" ]; then mkdir -p "$R$to"; else mkdir -p "$(dirname "$R$to")"; rm -f "$R$to"; touch "$R$to"; fi
  mount --bind "$from" "$R$to"
done < $1/binds
mkdir -p $R/.old; cd $R; pivot_root . .old
mount --make-rshared /
systemd-sysusers >/dev/null 2>&1 || true
umount -l /.old
export container=docker
exec /lib/systemd/systemd --system --unit=test.target --log-target=console --show-status=no </dev/null
`;

const TARGET = `[Unit]
AllowIsolate=yes
Requires=systemd-journald.service
`;

/** Why systemd cannot be started here, or undefined. */
export const noSystemd = (): string | undefined => {
  const why = noPackages() ?? noNamespaces();
  if (why !== undefined) return why;
  const tried = spawnSync('unshare', [
    '--mount',
    '--pid',
    '--cgroup',
    '--fork',
    'sh',
    '-c',
    'mount -t cgroup2 cgroup2 /sys/fs/cgroup',
  ]);
  return tried.status === 0
    ? undefined
    : 'this host lets nobody mount control groups for a systemd of its own';
};

export interface Said {
  readonly code: number | null;
  readonly out: string;
}

export class Booted {
  readonly #pid: number;

  private constructor(
    readonly net: Namespace,
    pid: number,
  ) {
    this.#pid = pid;
  }

  /** `files`: what comes over the root, by absolute paths. `binds`: what is seen inside, by absolute paths there. */
  static async boot(
    t: Test,
    files: Readonly<Record<string, string>>,
    { lower = '/', binds = {} }: { lower?: string; binds?: Readonly<Record<string, string>> } = {},
  ): Promise<Booted> {
    await install(['ip=iproute2', '/lib/systemd/systemd=systemd', 'unshare=util-linux']);
    const dir = folder(t);
    const all = { '/etc/systemd/system/test.target': TARGET, ...files };
    for (const [name, text] of Object.entries(all)) {
      const place = path.join(dir, 'tree', name);
      mkdirSync(path.dirname(place), { recursive: true });
      writeFileSync(place, text, { mode: text.startsWith('#!') ? 0o755 : 0o644 });
    }
    writeFileSync(path.join(dir, 'boot'), BOOT);
    const places = Object.entries(binds).map(([to, from]) => `${from} ${to}\n`);
    writeFileSync(path.join(dir, 'binds'), places.join(''));
    const { vm } = namespaces(t, ['vm']);
    const flags = ['--mount', '--pid', '--uts', '--ipc', '--cgroup', '--fork', '--kill-child=KILL'];
    const child = vm.spawn('unshare', [...flags, 'sh', path.join(dir, 'boot'), dir, lower], {
      stdio: ['ignore', 'pipe', 'pipe'],
    });
    let said = '';
    child.stdout?.on('data', (chunk) => (said += String(chunk)));
    child.stderr?.on('data', (chunk) => (said += String(chunk)));
    t.teardown(async () => {
      const over = new Promise((resolve) => child.once('close', resolve));
      child.kill('SIGKILL');
      await over;
    });
    await eventually(
      'systemd',
      () => {
        if (child.exitCode !== null) throw new Error(`systemd did not start: ${said}`);
        return firstOf(child) !== undefined;
      },
      60_000,
    );
    const booted = new Booted(vm, firstOf(child) ?? 0);
    await eventually(
      'the target',
      () => booted.run('systemctl', ['is-active', 'test.target']).code === 0,
      60_000,
    ).catch((error: Error) => {
      throw new Error(`${error.message}: ${said}`);
    });
    return booted;
  }

  /** tap has every Node that a test starts load a module of its own, which is not there in here. */
  get #prefix(): readonly string[] {
    return ['-t', String(this.#pid), '-a', '--', 'env', '-u', 'NODE_OPTIONS'];
  }

  /** Runs a program in it to its end. */
  run(file: string, args: readonly string[], input?: string): Said {
    const said = spawnSync('nsenter', [...this.#prefix, file, ...args], {
      encoding: 'utf8',
      env: {
        PATH: '/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin',
        TERM: 'dumb',
        DEBIAN_FRONTEND: 'noninteractive',
      },
      input: input ?? '',
      timeout: 180_000,
    });
    return { code: said.status, out: `${said.stdout}${said.stderr}` };
  }

  /** Like `run`, but does not hold up this process. */
  spawn(file: string, args: readonly string[]): ChildProcess {
    return spawn('nsenter', [...this.#prefix, file, ...args], { stdio: 'ignore' });
  }

  /** Runs one that must do well, and gives what it printed. */
  must(file: string, args: readonly string[]): string {
    const { code, out } = this.run(file, args);
    if (code !== 0) throw new Error(`${file} ${args.join(' ')}: ${code}: ${out}`);
    return out;
  }

  /** What systemd knows of a unit. */
  show(unit: string, property: string): string {
    return this.must('systemctl', ['show', '--value', '-p', property, unit]).trim();
  }

  write(file: string, text: string): void {
    const place = `/proc/${this.#pid}/root${file}`;
    mkdirSync(path.dirname(place), { recursive: true });
    writeFileSync(place, text);
  }

  read(file: string): string {
    return readFileSync(`/proc/${this.#pid}/root${file}`, 'utf8');
  }

  has(file: string): boolean {
    return existsSync(`/proc/${this.#pid}/root${file}`);
  }
}

/** The process within: the only child of `unshare`, once it is systemd. `ip netns exec` and `nsenter` become what they start. */
const firstOf = (child: ChildProcess): number | undefined => {
  const pid = child.pid ?? 0;
  const [first] = readFileSync(`/proc/${pid}/task/${pid}/children`, 'utf8').trim().split(' ').filter(Boolean);
  if (first === undefined) return undefined;
  return readFileSync(`/proc/${first}/comm`, 'utf8').trim() === 'systemd' ? Number(first) : undefined;
};

/** This Sekisho as `npm install --global` would have put it, and the Node that runs this test. */
export const INSTALLED = {
  files: {
    '/usr/local/bin/sekisho':
      '#!/bin/sh\nexec /usr/local/bin/node /usr/local/lib/node_modules/sekisho/dist/cli/main.js "$@"\n',
  },
  binds: {
    '/usr/local/lib/node_modules/sekisho': ROOT,
    '/usr/local/bin/node': execFileSync('readlink', ['-f', process.execPath], { encoding: 'utf8' }).trim(),
  },
} as const;
