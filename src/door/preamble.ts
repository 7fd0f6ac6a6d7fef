/**
 * Who a client is, settled once, before anything is said: by its socket, or, where a listed balancer connects, by the
 * PROXY header that must come first. Whether there is one is never guessed.
 */
import type net from 'node:net';
import { type Ip, type IpSet, parseIp } from '../base/ip.js';
import type { Endpoint } from '../base/proxy-header.js';
import { readProxyHeader } from '../base/proxy-header-reader.js';

/** A client, as whoever stands behind the door sees it. */
export interface Client extends Endpoint {
  /** Where it connected: at the balancer, if there is one. */
  readonly server: Endpoint;
  /** The balancer that told so; undefined: it came itself. */
  readonly via?: Ip;
}

/** Who may send a PROXY header, and so must. */
export interface ProxyPeers {
  readonly from: IpSet;
  /** Milliseconds for the whole header. */
  readonly timeout: number;
}

/** The two ends of a socket; undefined: it is gone already. */
export const clientOf = (socket: net.Socket): Client | undefined => {
  const ip = parseIp(socket.remoteAddress ?? '');
  const server = parseIp(socket.localAddress ?? '');
  if (ip === undefined || server === undefined) return undefined;
  return { ip, port: socket.remotePort ?? 0, server: { ip: server, port: socket.localPort ?? 0 } };
};

/** What comes of waiting for a header: a client, or why there is none. */
export type Preamble = { readonly client: Client } | { readonly why: string };

/**
 * Takes the header off a socket on which nobody listens yet, and leaves it as if it had never been there. `done` is
 * called once, not if the peer leaves before; then the socket is destroyed.
 */
export const awaitHeader = (
  socket: net.Socket,
  balancer: Client,
  timeout: number,
  done: (preamble: Preamble) => void,
): void => {
  let octets = Buffer.alloc(0);
  const gone = (): void => {
    clearTimeout(timer);
    socket.destroy();
  };
  const settle = (preamble: Preamble): void => {
    clearTimeout(timer);
    socket.off('readable', read);
    // Node takes note of the missing listener in the next tick; until then nobody else could read.
    process.nextTick(() => {
      socket.off('end', gone).off('error', gone).off('close', gone);
      if (!socket.destroyed) done(preamble);
    });
  };
  const read = (): void => {
    for (let chunk: unknown = socket.read(); chunk instanceof Buffer; chunk = socket.read()) {
      octets = octets.length === 0 ? chunk : Buffer.concat([octets, chunk]);
      const scan = readProxyHeader(octets);
      if (scan.kind === 'need-more') continue;
      if (scan.kind === 'fault') return settle({ why: scan.why });
      if (octets.length > scan.length) socket.unshift(octets.subarray(scan.length));
      const client = scan.ends && { ...scan.ends.client, server: scan.ends.server, via: balancer.ip };
      return settle({ client: client ?? balancer });
    }
  };
  const timer = setTimeout(() => settle({ why: 'no PROXY header within the deadline' }), timeout);
  socket.on('end', gone).on('error', gone).on('close', gone).on('readable', read);
};
