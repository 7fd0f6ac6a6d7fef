/** One listening socket: takes connections in, holds the limits on them, and says 421 where they are reached. */
import net from 'node:net';
import type { Peer } from '../base/events.js';
import { type Ip, parseIp } from '../base/ip.js';
import { printReply, REPLIES, type Reply } from '../smtp/reply.js';
import { MessageStream } from './message-stream.js';
import type { Limits, ListenerOptions, Listening } from './options.js';
import { SessionRunner } from './runner.js';
import type { Service } from './service.js';

/** Counts connections over all listeners of a proxy: in all, and for each address. */
export class Admission {
  readonly #limits: Pick<Limits, 'connections' | 'connectionsPerAddress'>;
  readonly #perAddress = new Map<string, number>();
  #total = 0;

  constructor(limits: Pick<Limits, 'connections' | 'connectionsPerAddress'>) {
    this.#limits = limits;
  }

  /** Takes a place, or says which limit is reached. */
  enter(key: string): 'total' | 'per-address' | undefined {
    if (this.#total >= this.#limits.connections) return 'total';
    const count = this.#perAddress.get(key) ?? 0;
    if (count >= this.#limits.connectionsPerAddress) return 'per-address';
    this.#perAddress.set(key, count + 1);
    this.#total += 1;
    return undefined;
  }

  leave(key: string): void {
    const count = this.#perAddress.get(key) ?? 0;
    if (count <= 1) this.#perAddress.delete(key);
    else this.#perAddress.set(key, count - 1);
    this.#total -= 1;
  }
}

/** An IPv4 address, or the /64 in which an IPv6 address lies: whoever has one address there has them all. */
export const admissionKey = (ip: Ip): string => (ip.family === 4 ? ip.text : `${firstGroups(ip.text)}::/64`);

const firstGroups = (text: string): string => {
  const [head = '', tail] = text.split('::');
  const groups = head === '' ? [] : head.split(':');
  if (tail !== undefined) {
    const last = tail === '' ? [] : tail.split(':');
    while (groups.length + last.length < 8) groups.push('0');
    groups.push(...last);
  }
  return groups.slice(0, 4).join(':');
};

const REFUSALS: Record<'total' | 'per-address' | 'shutdown', Reply> = {
  total: REPLIES.tooManyConnections,
  'per-address': REPLIES.tooManyFromYou,
  shutdown: REPLIES.shuttingDown,
};

export class Listener {
  readonly #service: Service;
  readonly #options: ListenerOptions;
  readonly #admission: Admission;
  readonly #server: net.Server;
  #draining = false;
  /** Connections that are no sessions yet. */
  readonly #handshakes = new Set<net.Socket>();

  constructor(service: Service, options: ListenerOptions, admission: Admission) {
    this.#service = service;
    this.#options = options;
    this.#admission = admission;
    this.#server = net.createServer({ allowHalfOpen: true, noDelay: true }, (socket) => this.#accept(socket));
  }

  /** Binds. Rejects with an error whose message is fit for people. */
  listen(): Promise<Listening> {
    const { host, port, name } = this.#options;
    return new Promise((resolve, reject) => {
      const failed = (error: NodeJS.ErrnoException): void => reject(new Error(explain(error, host, port)));
      this.#server.once('error', failed);
      this.#server.listen({ ...(host === '' ? {} : { host }), port, backlog: 1024 }, () => {
        this.#server.off('error', failed);
        this.#server.on('error', (error) =>
          this.#service.note({ type: 'warning', text: `${name}: ${error.message}` }),
        );
        const bound = this.#server.address() as net.AddressInfo;
        const listening = { listener: name, address: bound.address, port: bound.port };
        this.#service.note({ type: 'listening', ...listening });
        resolve(listening);
      });
    });
  }

  /** Takes no more connections. */
  close(): void {
    this.#draining = true;
    this.#server.close();
    for (const socket of this.#handshakes) socket.destroy();
  }

  #accept(socket: net.Socket): void {
    const ip = parseIp(socket.remoteAddress ?? '');
    // A client that is gone before it was looked at has no address.
    if (ip === undefined) return void socket.destroy();
    const key = admissionKey(ip);
    const refused = this.#draining ? 'shutdown' : this.#admission.enter(key);
    if (refused !== undefined) return this.#refuse(socket, ip, refused);
    socket.once('close', () => this.#admission.leave(key));
    if (this.#options.tls === 'implicit') this.#handshake(socket, ip);
    else this.#begin(socket, ip).open();
  }

  /** RFC 8314 3.3: TLS comes first, and a client that does not finish it in time was never here. */
  #handshake(socket: net.Socket, ip: Ip): void {
    const { name, tlsFloor } = this.#options;
    const { tls, timeouts, note } = this.#service;
    const secured = tls.wrap(socket, tlsFloor);
    const failed = (reason: string): void => {
      note({ type: 'tls-handshake', listener: name, address: ip.text, result: 'failed', reason });
      secured.destroy();
      socket.destroy();
    };
    const timer = setTimeout(() => failed('no handshake within the deadline'), timeouts.tlsHandshake);
    this.#handshakes.add(socket);
    const onError = (error: Error): void => failed(error.message);
    secured.once('error', onError);
    secured.once('close', () => {
      clearTimeout(timer);
      this.#handshakes.delete(socket);
      socket.destroy();
    });
    secured.once('secure', () => {
      clearTimeout(timer);
      this.#handshakes.delete(socket);
      secured.off('error', onError);
      const runner = this.#begin(secured, ip);
      runner.secured(secured);
      runner.open();
    });
  }

  #begin(socket: net.Socket, ip: Ip): SessionRunner {
    const peer: Peer = {
      session: this.#service.nextSessionId(),
      listener: this.#options.name,
      address: ip.text,
      port: socket.remotePort ?? 0,
      name: undefined,
      helo: undefined,
      protocol: 'SMTP',
    };
    const { limits, timeouts, instanceToken } = this.#service;
    const stream = new MessageStream(this.#options.data, limits, timeouts, instanceToken);
    const runner = new SessionRunner(this.#service, socket, peer, ip, stream, this.#options);
    this.#service.sessions.add(runner);
    this.#service.note({ type: 'connect', peer });
    return runner;
  }

  /** 421 sent, not silence (RFC 5321 3.8); the socket does not wait for the client's leave. */
  #refuse(socket: net.Socket, ip: Ip, reason: 'total' | 'per-address' | 'shutdown'): void {
    const { name } = this.#options;
    this.#service.note({ type: 'connection-refused', listener: name, address: ip.text, reason });
    socket.on('error', () => socket.destroy());
    socket.on('end', () => socket.destroySoon());
    socket.setTimeout(2_000, () => socket.destroy());
    socket.resume();
    socket.end(printReply(REFUSALS[reason]), 'latin1');
  }
}

const explain = (error: NodeJS.ErrnoException, host: string, port: number): string => {
  const at = host === '' ? `port ${port}` : host.includes(':') ? `[${host}]:${port}` : `${host}:${port}`;
  switch (error.code) {
    case 'EADDRINUSE':
      return `cannot listen on ${at}: another program already does`;
    case 'EACCES':
      return `cannot listen on ${at}: no permission (ports below 1024 need root or CAP_NET_BIND_SERVICE)`;
    case 'EADDRNOTAVAIL':
      return `cannot listen on ${at}: this host has no such address`;
    default:
      return `cannot listen on ${at}: ${error.message}`;
  }
};
