/** The connection to an upstream: from this host, or from the client's own address where the upstream is to see that. */
import net from 'node:net';
import { type Ip, parseIp } from '../base/ip.js';
import { libcIfLoaded } from '../host/libc.js';
import { socketFrom } from '../host/transparent.js';
import type { UpstreamOptions } from './options.js';
import type { Introduction } from './upstream.js';

/** Nobody outside this host has these: whoever comes from there is this host itself. */
const isLoopback = ({ family, words, text }: Ip): boolean =>
  family === 4 ? (words[0] ?? 0) >>> 24 === 127 : text === '::1';

/** Under whose address the connection has to come; undefined: this host's. */
const shownOf = (
  { host, identity }: Pick<UpstreamOptions, 'host' | 'identity'>,
  guest: Introduction | undefined,
): Introduction['client'] | undefined => {
  const client = guest?.client;
  if (identity !== 'tproxy' || client === undefined) return undefined;
  // Nobody could answer to these but the one who has them: whoever comes from there gets no other name.
  return isLoopback(client.ip) || client.ip.text === host ? undefined : client;
};

/** Whether an upstream can be shown this client: an IPv6 address cannot talk to an IPv4 one. */
export const canShow = (
  options: Pick<UpstreamOptions, 'host' | 'identity'>,
  guest: Introduction | undefined,
): boolean => {
  const shown = shownOf(options, guest);
  const target = shown && parseIp(options.host);
  return target === undefined || target.family === shown?.ip.family;
};

const broken = (why: string): net.Socket => new net.Socket().destroy(new Error(why));

export const dial = (
  { host, port, identity }: Pick<UpstreamOptions, 'host' | 'port' | 'identity'>,
  guest: Introduction | undefined,
  /** How an ordinary connection reads; one that was made by hand has the usual way of Node. */
  how: Pick<net.ConnectOpts, 'onread'>,
): net.Socket => {
  const shown = shownOf({ host, identity }, guest);
  if (shown === undefined) return net.connect({ host, port, noDelay: true, ...how });
  const libc = libcIfLoaded();
  if (!libc.ok) return broken(libc.error);
  const socket = socketFrom(libc.value, shown.ip, shown.port);
  if (!socket.ok) return broken(socket.error);
  // Of a name, an address of the client's family; and no second socket beside this one.
  const target = { host, port, family: shown.ip.family, autoSelectFamily: false };
  return socket.value.setNoDelay(true).connect(target);
};
