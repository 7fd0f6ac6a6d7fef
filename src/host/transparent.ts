/**
 * Sockets under addresses that are not this host's (IP_TRANSPARENT), and where a redirected connection was meant to go.
 * Linux alone; CAP_NET_RAW or CAP_NET_ADMIN for the former. See `sekisho tproxy` for the routes and rules they need.
 */
import net from 'node:net';
import { type Ip, parseIp, textOf } from '../base/ip.js';
import { err, ok, type Result } from '../base/result.js';
import {
  AF_INET,
  AF_INET6,
  type Errno,
  errnoText,
  type Libc,
  readSocketAddress,
  SOCK_NONBLOCK,
  SOCK_STREAM,
  socketAddress,
} from './libc.js';

const SOL_IP = 0;
const SOL_IPV6 = 41;
const IP_TRANSPARENT = 19;
const IPV6_TRANSPARENT = 75;
const IPV6_V6ONLY = 26;
const SOL_SOCKET = 1;
const SO_REUSEADDR = 2;
/** SO_ORIGINAL_DST for IPv4, IP6T_SO_ORIGINAL_DST for IPv6. */
const ORIGINAL_DESTINATION = 80;

export interface Place {
  readonly ip: Ip;
  readonly port: number;
}

const NOT_ALLOWED =
  'this process may not use addresses that are not its own: it needs CAP_NET_RAW or CAP_NET_ADMIN (systemd: AmbientCapabilities=, see deploy/systemd/tproxy.conf; otherwise setpriv or root)';

const words = (error: Errno): string =>
  error.code === 'EPERM' || error.code === 'EACCES' ? NOT_ALLOWED : errnoText(error);

/** How often a port is chosen anew because it is the one that must not be. */
const TRIES = 8;

/** An open descriptor for TCP that may be bound to any address. */
const transparentSocket = (libc: Libc, family: 4 | 6): Result<number, string> => {
  const made = libc.socket(family === 4 ? AF_INET : AF_INET6, SOCK_STREAM | SOCK_NONBLOCK);
  if (!made.ok) return err(errnoText(made.error));
  const [level, option] = family === 4 ? [SOL_IP, IP_TRANSPARENT] : [SOL_IPV6, IPV6_TRANSPARENT];
  const set = libc.setOption(made.value, level, option, 1);
  if (set.ok) return made;
  libc.close(made.value);
  return err(words(set.error));
};

/** Whether such sockets can be had at all; the error says what is missing. */
export const mayBeTransparent = (libc: Libc): Result<undefined, string> => {
  const made = transparentSocket(libc, 4);
  if (!made.ok) return made;
  libc.close(made.value);
  return ok(undefined);
};

/** Binds to the address and any port but `not`. */
const bindBeside = (libc: Libc, fd: number, ip: Ip, not: number): Result<undefined, string> => {
  const bound = libc.bind(fd, socketAddress(ip, 0));
  if (!bound.ok) return err(words(bound.error));
  const name = libc.name(fd);
  if (!name.ok) return err(errnoText(name.error));
  return readSocketAddress(name.value)?.port === not ? err('the port is taken') : ok(undefined);
};

/**
 * A socket that is bound to somebody else's address and not yet connected. `not`: the port from which the owner of the
 * address connected, which cannot be used again: behind a redirect the two connections would be one and the same.
 */
export const socketFrom = (libc: Libc, ip: Ip, not: number): Result<net.Socket, string> => {
  let why = '';
  for (let tries = 0; tries < TRIES; tries += 1) {
    const made = transparentSocket(libc, ip.family);
    if (!made.ok) return made;
    const bound = bindBeside(libc, made.value, ip, not);
    if (bound.ok) {
      // Node knows `manualStart`, its types do not: nothing is read before it is connected.
      const how = { fd: made.value, manualStart: true };
      return ok(new net.Socket(how));
    }
    libc.close(made.value);
    why = bound.error;
  }
  return err(`no socket at ${ip.text}: ${why}`);
};

/** A listening descriptor that takes connections meant for any address; '' is every address of both families. */
export const listenTransparently = (
  libc: Libc,
  host: string,
  port: number,
  backlog: number,
): Result<number, { readonly code?: string; readonly message: string }> => {
  const ip = parseIp(host === '' ? '::' : host);
  if (ip === undefined) return err({ message: `${host} is not an address` });
  const made = transparentSocket(libc, ip.family);
  if (!made.ok) return err({ message: made.error });
  const fd = made.value;
  const steps = [
    () => libc.setOption(fd, SOL_SOCKET, SO_REUSEADDR, 1),
    () => (ip.family === 6 ? libc.setOption(fd, SOL_IPV6, IPV6_V6ONLY, 0) : ok(0)),
    () => libc.bind(fd, socketAddress(ip, port)),
    () => libc.listen(fd, backlog),
  ];
  for (const step of steps) {
    const done = step();
    if (done.ok) continue;
    libc.close(fd);
    return err({ code: done.error.code, message: errnoText(done.error) });
  }
  return ok(fd);
};

/** The descriptor of a socket of Node; there is no public way to it. */
const descriptorOf = (socket: net.Socket): number | undefined => {
  const handle: unknown = Reflect.get(socket, '_handle');
  const fd: unknown = typeof handle === 'object' && handle !== null ? Reflect.get(handle, 'fd') : undefined;
  return typeof fd === 'number' && fd >= 0 ? fd : undefined;
};

/** Where a connection was meant to go before a rule of the firewall sent it here (REDIRECT, DNAT). */
export const originalDestination = (libc: Libc, socket: net.Socket): Result<Place, string> => {
  const fd = descriptorOf(socket);
  const peer = parseIp(socket.remoteAddress ?? '');
  if (fd === undefined || peer === undefined) return err('the connection is gone');
  const level = peer.family === 4 ? SOL_IP : SOL_IPV6;
  const found = libc.option(fd, level, ORIGINAL_DESTINATION, 28);
  if (!found.ok) {
    const { code } = found.error;
    return err(code === 'ENOENT' ? 'no rule of the firewall sent it here' : errnoText(found.error));
  }
  const place = readSocketAddress(found.value);
  const ip = place && parseIp(textOf(place.words));
  if (place === undefined || ip === undefined) return err('the kernel gave no address');
  return ok({ ip, port: place.port });
};
