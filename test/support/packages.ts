/**
 * Real peers from Debian's packages. Those that get along are installed; sendmail and postfix exclude one
 * another, so they are unpacked into a cache. Without root and apt there is a reason to skip, which is printed.
 */
import { execFileSync } from 'node:child_process';
import { existsSync, mkdirSync, readdirSync, rmSync, writeFileSync } from 'node:fs';
import net from 'node:net';
import os from 'node:os';
import path from 'node:path';

const CACHE = path.join(os.tmpdir(), 'sekisho-test-packages');

const run = (file: string, args: readonly string[], cwd?: string): string =>
  execFileSync(file, args, {
    encoding: 'utf8',
    stdio: ['ignore', 'pipe', 'pipe'],
    env: { ...process.env, DEBIAN_FRONTEND: 'noninteractive' },
    ...(cwd === undefined ? {} : { cwd }),
  });

/** A mirror that does not answer once is no reason to fail, nor another's hold on apt's own lock. */
const apt = (args: readonly string[], cwd?: string): string =>
  run('apt-get', ['-o', 'Acquire::Retries=5', '-o', 'DPkg::Lock::Timeout=300', ...args], cwd);

const found = (command: string): boolean => {
  try {
    run('sh', ['-c', `command -v ${command}`]);
    return true;
  } catch {
    return false;
  }
};

/** Why packages cannot be had here, or undefined. */
export const noPackages = (): string | undefined => {
  if (process.getuid?.() !== 0) return 'needs root to get Debian packages';
  return found('apt-get') ? undefined : 'needs apt to get Debian packages';
};

/**
 * Takes a name that one process of this host has at a time: until it closes the server, or ends. It is in no file, so
 * whoever is killed leaves nothing behind. Undefined: another has it.
 */
const take = (name: string): Promise<net.Server | undefined> =>
  new Promise((resolve) => {
    const server = net.createServer();
    server.once('error', () => resolve(undefined));
    server.listen({ path: `\0sekisho-test-${name}` }, () => resolve(server));
  });

/** One at a time over all test processes: apt has but one lock, and waits for none. */
const locked = async <T>(work: () => T): Promise<T> => {
  mkdirSync(CACHE, { recursive: true });
  let lock = await take('packages');
  while (lock === undefined) {
    await new Promise((resolve) => setTimeout(resolve, 100));
    lock = await take('packages');
  }
  try {
    return work();
  } finally {
    lock.close();
  }
};

let updated = false;
const update = (): void => {
  if (!updated) apt(['update', '-qq']);
  updated = true;
};

/** What a program has use for and its package does not insist on; whether it is there must not hang on other tests. */
const ALONG: Readonly<Record<string, readonly string[]>> = {
  swaks: [
    '/usr/share/doc/libnet-ssleay-perl=libnet-ssleay-perl',
    '/usr/share/perl5/Authen/SASL.pm=libauthen-sasl-perl',
    '/usr/share/perl5/Net/DNS.pm=libnet-dns-perl',
  ],
};

/** Installs packages whose commands (or files, named by absolute paths) are missing: `command` or `command=package`. */
export const install = (commands: readonly string[]): Promise<void> =>
  locked(() => {
    const missing = commands
      .flatMap((each) => [each, ...(ALONG[each] ?? [])])
      .map((each) => each.split('=') as [string, string?])
      .filter(([command]) => (command.startsWith('/') ? !existsSync(command) : !found(command)))
      .map(([command, name]) => name ?? command);
    if (missing.length === 0) return;
    update();
    apt(['install', '-y', '-qq', '--no-install-recommends', ...missing]);
  });

const installed = (name: string): boolean => {
  try {
    return run('dpkg-query', ['-s', name]).includes('Status: install ok installed');
  } catch {
    return false;
  }
};

/** The libraries that a package needs and this host lacks. */
const libraries = (name: string): string[] =>
  [...run('apt-cache', ['depends', name]).matchAll(/^ +(?:Pre)?Depends: (lib\S+)$/gm)]
    .map((match) => match[1] ?? '')
    .filter((each) => !installed(each));

/** Unpacks packages, with the libraries that `main` needs, into a folder of the cache, and returns it. */
export const unpack = (main: string, others: readonly string[] = []): Promise<string> =>
  locked(() => {
    const root = path.join(CACHE, main);
    if (existsSync(path.join(root, 'done'))) return root;
    mkdirSync(root, { recursive: true });
    update();
    apt(['download', '-qq', main, ...others, ...libraries(main)], root);
    for (const file of readdirSync(root).filter((each) => each.endsWith('.deb')))
      run('dpkg', ['-x', file, '.'], root);
    writeFileSync(path.join(root, 'done'), '');
    return root;
  });

/** Debian's backports, in lists of their own: the host's sources stay as they are. */
const BACKPORTS = 'deb http://deb.debian.org/debian bookworm-backports main\n';

/** Unpacks packages of Debian 12's backports into a folder of the cache, and returns it; undefined: not to be had. */
export const unpackBackports = (main: string, others: readonly string[] = []): Promise<string | undefined> =>
  locked(() => {
    const root = path.join(CACHE, `backports-${main}`);
    if (existsSync(path.join(root, 'done'))) return root;
    for (const each of ['lists/partial', 'archives/partial'])
      mkdirSync(path.join(root, each), { recursive: true });
    writeFileSync(path.join(root, 'sources.list'), BACKPORTS);
    const options = {
      'Dir::Etc::sourcelist': path.join(root, 'sources.list'),
      'Dir::Etc::sourceparts': '-',
      'Dir::State::lists': path.join(root, 'lists'),
      'Dir::Cache': root,
    };
    const own = Object.entries(options).flatMap(([name, value]) => ['-o', `${name}=${value}`]);
    try {
      apt([...own, 'update', '-qq']);
      apt([...own, 'download', '-qq', main, ...others], root);
    } catch {
      return undefined;
    }
    for (const file of readdirSync(root).filter((each) => each.endsWith('.deb')))
      run('dpkg', ['-x', file, '.'], root);
    writeFileSync(path.join(root, 'done'), '');
    return root;
  });

/**
 * The root of a Debian 12 with nothing but what must be there, and systemd: for overlays, to be left as it is. Made once
 * for all tests of this machine; it takes a minute.
 */
export const cleanRoot = async (): Promise<string> => {
  await install(['debootstrap']);
  return locked(() => {
    const root = path.join(CACHE, 'clean-root');
    const done = `${root}.done`;
    if (existsSync(done)) return root;
    rmSync(root, { recursive: true, force: true });
    const mirror = 'http://deb.debian.org/debian';
    run('debootstrap', ['--variant=minbase', '--include=systemd,adduser', 'bookworm', root, mirror]);
    writeFileSync(done, '');
    return root;
  });
};

/** Where an unpacked tree keeps its shared libraries. */
export const libraryPath = (root: string): string => {
  const folders = ['usr/lib', 'lib'].flatMap((each) => {
    const base = path.join(root, each);
    if (!existsSync(base)) return [];
    const inner = readdirSync(base).filter((name) => /-linux-gnu/.test(name) || name === 'postfix');
    return inner.map((name) => path.join(base, name));
  });
  return folders.join(':');
};

/** Below the range from which the kernel takes ports for outgoing connections (32768 on Linux). */
const [LOWEST, HIGHEST] = [12_000, 32_000];

const isFree = (port: number): Promise<boolean> =>
  new Promise((resolve) => {
    const server = net.createServer();
    server.once('error', () => resolve(false));
    server.listen({ host: '127.0.0.1', port }, () => server.close(() => resolve(true)));
  });

/** Keeps a port from every other test as long as this process lives, without being in its way. */
const claim = async (port: number): Promise<boolean> => {
  if (process.platform !== 'linux') return true;
  const claimed = await take(`port-${port}`);
  claimed?.unref();
  return claimed !== undefined;
};

/**
 * A port for a peer that cannot choose one by itself, or on which nobody is to answer. One that the kernel chose could be
 * an outgoing connection's of another test by the time the peer binds it.
 */
export const freePort = async (): Promise<number> => {
  for (;;) {
    const port = LOWEST + Math.floor(Math.random() * (HIGHEST - LOWEST));
    if ((await claim(port)) && (await isFree(port))) return port;
  }
};
