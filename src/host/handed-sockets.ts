/**
 * Sockets that the service manager has bound and hands over (sd_listen_fds(3)): Sekisho needs no right to low ports,
 * and clients that connect while it restarts wait instead of being refused.
 */
import { readFileSync, readlinkSync } from 'node:fs';
import { parseIp } from '../base/ip.js';
import { endpointText } from '../base/listen-fault.js';
import { procNetAddress } from '../base/proc-net.js';
import { err, ok, type Result } from '../base/result.js';

/** SD_LISTEN_FDS_START. */
const FIRST = 3;
/** More than any unit hands over. */
const MOST = 1_024;

/** What a descriptor is; without an address: not a listening TCP socket of this network namespace. */
export interface Looked {
  readonly socket: boolean;
  readonly connected?: boolean;
  readonly address?: string;
  readonly port?: number;
}

export interface HandedSocket {
  readonly fd: number;
  /** FileDescriptorName= of its unit, by default the unit's own name; '' where none was told. */
  readonly name: string;
  /** Undefined where the kernel's tables do not show it. */
  readonly address?: string | undefined;
  readonly port?: number | undefined;
}

/** A listener of the configuration. */
export interface Wanted {
  readonly name: string;
  /** '' is all addresses. */
  readonly host: string;
  readonly port: number;
}

/** As `parseIp` spells it. */
const addressOf = (hex: string): string => {
  const text = procNetAddress(hex);
  return parseIp(text)?.text ?? text;
};

const LINE = /^\s*\d+: ([0-9A-F]{8}|[0-9A-F]{32}):([0-9A-F]{4}) \S+ ([0-9A-F]{2}) (?:\S+ ){5}\s*(\d+)/;
const LISTENS = '0A';

/** Reads a table of the kernel for one socket. */
export const lookUp = (inode: string, tables: readonly string[]): Looked => {
  for (const table of tables)
    for (const line of table.split('\n')) {
      const [, address = '', port = '', state, found] = LINE.exec(line.replace(/ +/g, ' ')) ?? [];
      if (found !== inode) continue;
      if (state !== LISTENS) return { socket: true, connected: true };
      return { socket: true, address: addressOf(address), port: Number.parseInt(port, 16) };
    }
  return { socket: true };
};

/** Without a right to more than this process' own part of /proc (ProcSubset=pid). */
export const lookAtDescriptor = (fd: number): Looked => {
  try {
    const inode = /^socket:\[(\d+)\]$/.exec(readlinkSync(`/proc/self/fd/${fd}`))?.[1];
    if (inode === undefined) return { socket: false };
    const tables = ['tcp', 'tcp6'].flatMap((name) => {
      try {
        return [readFileSync(`/proc/self/net/${name}`, 'latin1')];
      } catch {
        // A host without IPv6 has no table of it.
        return [];
      }
    });
    return lookUp(inode, tables);
  } catch {
    return { socket: false };
  }
};

const VARIABLES = ['LISTEN_FDS', 'LISTEN_PID', 'LISTEN_FDNAMES', 'LISTEN_PIDFDID'] as const;

/**
 * What was handed over to process `pid`; the variables are taken out of `env`, so that no child believes that it was
 * meant. The error is a fault of whoever started us, fit for people.
 */
export const takeHandedSockets = (
  env: NodeJS.ProcessEnv,
  pid: number,
  look: (fd: number) => Looked = lookAtDescriptor,
): Result<readonly HandedSocket[], string> => {
  const { LISTEN_FDS: count, LISTEN_PID: whose, LISTEN_FDNAMES: given } = env;
  for (const name of VARIABLES) delete env[name];
  if (count === undefined || whose !== String(pid)) return ok([]);
  const total = Number(count);
  if (!/^\d{1,4}$/.test(count) || total > MOST)
    return err(`LISTEN_FDS=${count}: not a number of descriptors up to ${MOST}.`);
  const names = given === undefined ? [] : given.split(':');
  if (given !== undefined && names.length !== total)
    return err(`LISTEN_FDNAMES has ${names.length} names for ${total} descriptors (LISTEN_FDS).`);
  const sockets: HandedSocket[] = [];
  for (let i = 0; i < total; i += 1) {
    const fd = FIRST + i;
    const name = names[i] ?? '';
    const what = `descriptor ${fd}${name === '' ? '' : ` (${name})`}, which was handed over,`;
    const { socket, connected, address, port } = look(fd);
    if (!socket) return err(`${what} is no socket. Sekisho takes ListenStream= alone.`);
    if (connected === true)
      return err(`${what} is a connection: Sekisho takes listening sockets, Accept=no in the socket unit.`);
    sockets.push({ fd, name, address, port });
  }
  return ok(sockets);
};

const WILDCARDS: readonly string[] = ['0.0.0.0', '::'];

/** How well a socket fits a listener by its address: 0 is not at all. */
const fit = ({ address = '', port }: HandedSocket, { host, port: wanted }: Wanted): number => {
  if (port === undefined || port !== wanted) return 0;
  if (host === '' || WILDCARDS.includes(host)) return WILDCARDS.includes(address) ? 2 : 1;
  return parseIp(host)?.text === parseIp(address)?.text ? 3 : 0;
};

const placeOf = ({ fd, name, address, port }: HandedSocket): string => {
  const at = address === undefined ? `descriptor ${fd}` : endpointText(address, port ?? 0);
  return name === '' ? at : `${at} (${name})`;
};

/**
 * The descriptors of each listener: a socket goes to the listener of its name, or else to the one whose address and port
 * it has. A socket that fits nothing is a fault, since clients would wait in it for ever.
 */
export const assignSockets = (
  sockets: readonly HandedSocket[],
  listeners: readonly Wanted[],
): Result<ReadonlyMap<string, readonly number[]>, readonly string[]> => {
  const assigned = new Map<string, number[]>();
  const faults: string[] = [];
  for (const socket of sockets) {
    const named = listeners.find(({ name }) => name === socket.name);
    const [best] = listeners
      .map((listener) => ({ listener, how: fit(socket, listener) }))
      .filter(({ how }) => how > 0)
      .sort((a, b) => b.how - a.how);
    const listener = named ?? best?.listener;
    if (listener === undefined) {
      const known = listeners.map(({ name, host, port }) => `${name} at ${endpointText(host, port)}`);
      faults.push(
        `no listener for the socket ${placeOf(socket)} that was handed over; the configuration has ${known.join(', ')}. ` +
          'Add the listener, take the socket out of the socket unit, or give it FileDescriptorName= and the name of a listener.',
      );
      continue;
    }
    assigned.set(listener.name, [...(assigned.get(listener.name) ?? []), socket.fd]);
  }
  return faults.length > 0 ? err(faults) : ok(assigned);
};
