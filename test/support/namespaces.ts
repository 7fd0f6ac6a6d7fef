/**
 * Hosts on wires: network namespaces with veth pairs between them, for tests that need routes, firewalls or addresses
 * of their own. All of it goes with the test, and whatever still runs in it.
 */
import { type ChildProcess, execFileSync, type SpawnOptions, spawn } from 'node:child_process';
import { closeSync, openSync } from 'node:fs';
import net from 'node:net';
import koffi from 'koffi';
import type { Test } from 'tap';
import { eventually } from './sekisho.js';
import { SmtpClient } from './smtp-client.js';

const CLONE_NEWNET = 0x40000000;

const run = (file: string, args: readonly string[], input?: string): string =>
  execFileSync(file, args, { encoding: 'utf8', stdio: ['pipe', 'pipe', 'pipe'], input: input ?? '' });

/** Why namespaces cannot be made here, or undefined. Needs iproute2: `install(['ip=iproute2'])`. */
export const noNamespaces = (): string | undefined => {
  if (process.platform !== 'linux' || process.getuid?.() !== 0)
    return 'needs root on Linux for network namespaces';
  try {
    run('unshare', ['--net', 'true']);
    return undefined;
  } catch {
    return 'this host lets nobody make network namespaces';
  }
};

let setns: ((fd: number, kind: number) => number) | undefined;

/** Puts this thread into a namespace. A socket stays in that in which it was made. */
const enter = (file: string): void => {
  setns ??= koffi.load(null).func('int setns(int, int)') as (fd: number, kind: number) => number;
  const fd = openSync(file, 'r');
  const done = setns(fd, CLONE_NEWNET);
  closeSync(fd);
  if (done !== 0) throw new Error(`setns ${file}: errno ${koffi.errno()}`);
};

/** One host. */
export class Namespace {
  /** Unique on this machine. */
  readonly name: string;

  constructor(
    /** What the test calls it; the name of nothing but errors. */
    readonly role: string,
    tag: string,
  ) {
    this.name = `sk${tag}${role}`;
    run('ip', ['netns', 'add', this.name]);
    this.run('ip', ['link', 'set', 'lo', 'up']);
  }

  /** Words before a command that put it here: for `SekishoProcess.serve` and the like. */
  get prefix(): readonly string[] {
    return ['nsenter', `--net=/run/netns/${this.name}`, '--'];
  }

  /** Runs a program here to its end, and returns what it printed; throws with what it said if it fails. */
  run(file: string, args: readonly string[], input?: string): string {
    const [enterer = '', ...words] = this.prefix;
    return run(enterer, [...words, file, ...args], input);
  }

  /** `ip`, with its words in one string. */
  ip(words: string): string {
    return this.run('ip', words.split(' '));
  }

  /** Rules of nftables. */
  nft(rules: string): void {
    this.run('nft', ['-f', '-'], rules);
  }

  sysctl(name: string, value: number): void {
    this.run('sh', ['-c', `echo ${value} > /proc/sys/${name.replaceAll('.', '/')}`]);
  }

  /** A program here; it is killed with the test, if it has not ended. */
  spawn(file: string, args: readonly string[], options: SpawnOptions = {}): ChildProcess {
    const [enterer = '', ...words] = this.prefix;
    return spawn(enterer, [...words, file, ...args], options);
  }

  /** A connection of this very process, made here. */
  async connect(host: string, port: number, from?: string): Promise<net.Socket> {
    const back = '/proc/self/ns/net';
    const own = openSync(back, 'r');
    const socket = new net.Socket();
    enter(`/run/netns/${this.name}`);
    socket.connect({ host, port, noDelay: true, ...(from === undefined ? {} : { localAddress: from }) });
    // Node makes the socket in the next tick.
    await new Promise<void>((resolve, reject) => {
      process.nextTick(() => {
        try {
          enter(`/proc/self/fd/${own}`);
          closeSync(own);
          resolve();
        } catch (error) {
          reject(error);
        }
      });
    });
    await new Promise<void>((resolve, reject) => {
      socket.once('connect', resolve);
      socket.once('error', reject);
    });
    return socket;
  }

  /** An SMTP client at this host. */
  async client(host: string, port = 25, from?: string): Promise<SmtpClient> {
    return SmtpClient.over(await this.connect(host, port, from));
  }

  /** Something listens there, as seen from here. */
  async answers(host: string, port: number, patience = 30_000): Promise<void> {
    await eventually(
      `${this.role} reaches ${host}:${port}`,
      async () => {
        try {
          (await this.connect(host, port)).destroy();
          return true;
        } catch {
          return false;
        }
      },
      patience,
    );
  }

  remove(): void {
    const left = run('ip', ['netns', 'pids', this.name]).split('\n').filter(Boolean).map(Number);
    for (const pid of left) {
      try {
        process.kill(pid, 'SIGKILL');
      } catch {
        // Ended by itself meanwhile.
      }
    }
    run('ip', ['netns', 'del', this.name]);
  }
}

/** Numbers every wire of this process. */
let wires = 0;

/** Hosts of the test's own, by role (up to 5 characters); removed with the test, even if making them failed half-way. */
export const namespaces = <R extends string>(
  t: Test,
  roles: readonly R[],
): Readonly<Record<R, Namespace>> => {
  const tag = `${process.pid.toString(36)}${(wires++).toString(36)}`;
  const made: Namespace[] = [];
  t.teardown(() => {
    for (const each of made) each.remove();
  });
  const entries = roles.map((role) => {
    const namespace = new Namespace(role, tag);
    made.push(namespace);
    return [role, namespace];
  });
  return Object.fromEntries(entries);
};

/** A wire between two hosts; each end has addresses such as `192.0.2.1/24` and `2001:db8::1/64`. Returns the two names of interfaces. */
export const wire = (
  [left, leftAddresses]: readonly [Namespace, readonly string[]],
  [right, rightAddresses]: readonly [Namespace, readonly string[]],
): readonly [string, string] => {
  const number = wires++;
  const ends = [`l${number}`, `r${number}`] as const;
  left.ip(`link add ${ends[0]} type veth peer name ${ends[1]} netns ${right.name}`);
  for (const [host, end, addresses] of [
    [left, ends[0], leftAddresses],
    [right, ends[1], rightAddresses],
  ] as const) {
    // Without duplicate address detection an IPv6 address is good at once.
    for (const address of addresses)
      host.ip(`addr add ${address} dev ${end}${address.includes(':') ? ' nodad' : ''}`);
    host.ip(`link set ${end} up`);
  }
  // The kernel notices by and by that both ends are up; only then are all of its routes there.
  for (const [host, end, addresses] of [
    [left, ends[0], leftAddresses],
    [right, ends[1], rightAddresses],
  ] as const) {
    const six = addresses.some((each) => each.includes(':'));
    const routes = six ? ` && ip -6 route show dev ${end} proto kernel | grep -qv ^fe80` : '';
    const up = `ip -o link show dev ${end} | grep -q 'state UP'${routes}`;
    host.run('sh', ['-c', `for i in $(seq 3000); do if ${up}; then exit; fi; sleep 0.02; done; exit 1`]);
  }
  return ends;
};
