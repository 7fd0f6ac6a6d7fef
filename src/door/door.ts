/**
 * A listening socket, whatever protocol is spoken behind it: takes connections in, holds the limits on them, screens
 * who comes, does TLS from the first octet where that is wanted, and turns away politely.
 */
import net from 'node:net';
import type { Admission } from '../base/admission.js';
import type { Note, RefusalReason } from '../base/events.js';
import type { Ip } from '../base/ip.js';
import { windowKey } from '../windows/window.js';
import { type Interception, intercepted } from './destination.js';
import { listen, type Where } from './listen.js';
import { awaitHeader, type Client, clientOf, type ProxyPeers } from './preamble.js';

export interface DoorOptions {
  readonly name: string;
  /** IP address to bind; '' is all addresses of the host. */
  readonly host: string;
  /** 0 chooses a free port. */
  readonly port: number;
  /** Sockets that somebody else has bound, instead of `host` and `port`; none: it binds itself. */
  readonly descriptors?: readonly number[] | undefined;
  /** TLS from the first octet. */
  readonly implicitTls: boolean;
  /** Milliseconds for that handshake. */
  readonly tlsHandshake: number;
  /** TCP keep-alive, for protocols in which long silence is usual. */
  readonly keepAlive: boolean;
  /** Whose word on who the client is counts, and must come; undefined: nobody's. */
  readonly proxy?: ProxyPeers | undefined;
  /** Connections come that were meant for others. */
  readonly intercept?: Interception | undefined;
  /** Whether somebody is there for those who connected to that address; undefined: for all. */
  readonly takes?: ((destination: Ip) => boolean) | undefined;
}

/** Who is not let in, and what is said to them; `silent`: nothing. */
export interface Refusal {
  readonly reason: RefusalReason;
  readonly silent?: boolean;
  /** For the log. */
  readonly why?: string;
}

/** What the protocol behind the door does. `S`: what it wants to know of TLS once it is in force. */
export interface DoorPorts<S> {
  readonly note: Note;
  readonly admission: Admission;
  /** Looks at who comes; what is not known at once may take time, but never for ever. Does not reject. */
  readonly screen: (ip: Ip, socket: net.Socket) => Refusal | undefined | Promise<Refusal | undefined>;
  /** The server's side of TLS; `done` is called when it is in force. */
  readonly wrap: (socket: net.Socket, ip: Ip, done: (secured: S) => void) => net.Socket;
  /** A connection is there, under TLS if there is `secured`. */
  readonly begin: (socket: net.Socket, client: Client, secured: S | undefined) => void;
  /** What is said in clear text to whoever is turned away, line ends included. */
  readonly farewell: (refusal: Refusal) => string;
}

/** A socket that is listening. */
export interface Opened {
  readonly listener: string;
  readonly address: string;
  readonly port: number;
}

/** Milliseconds for which a refused client may read its refusal. */
const LINGER = 2_000;

const ignore = (): void => {};

export class Door<S> {
  readonly #options: DoorOptions;
  readonly #ports: DoorPorts<S>;
  /** One for each descriptor that was handed over. */
  readonly #servers: readonly net.Server[];
  /** Connections that are no sessions yet. */
  readonly #waiting = new Set<net.Socket>();
  #draining = false;
  #opened: readonly Opened[] = [];

  constructor(options: DoorOptions, ports: DoorPorts<S>) {
    this.#options = options;
    this.#ports = ports;
    const how = { allowHalfOpen: true, noDelay: true, keepAlive: options.keepAlive };
    const places = options.descriptors?.length ? options.descriptors : [undefined];
    this.#servers = places.map(() => net.createServer(how, (socket) => this.#accept(socket)));
  }

  /** Listens. Rejects with an error whose message is fit for people. */
  async open(): Promise<readonly Opened[]> {
    const { host, port, name, intercept, descriptors = [] } = this.#options;
    const { note } = this.#ports;
    const opened: Opened[] = [];
    for (const [i, server] of this.#servers.entries()) {
      const fd = descriptors[i];
      const transparent = intercept === 'tproxy';
      const where: Where = fd === undefined ? { host, port, transparent } : { fd };
      const place = { listener: name, ...(await listen(server, where)) };
      server.on('error', (error) => note({ type: 'warning', text: `${name}: ${error.message}` }));
      note({ type: 'listening', ...place });
      opened.push(place);
    }
    this.#opened = opened;
    return opened;
  }

  /** Where clients are taken in; none: not yet, or no longer. */
  get opened(): readonly Opened[] {
    return this.#draining ? [] : this.#opened.filter((_, i) => this.#servers[i]?.listening);
  }

  /** Takes no more connections; those that are here already go on as ever. Resolves when the last of them has ended. */
  async rest(): Promise<void> {
    await Promise.all(
      this.#servers.map((server) => new Promise<void>((resolve) => server.close(() => resolve()))),
    );
  }

  /** Takes no more connections; those that are no sessions yet are closed. */
  close(): void {
    this.#draining = true;
    for (const server of this.#servers) server.close();
    for (const socket of this.#waiting) socket.destroy();
  }

  #accept(socket: net.Socket): void {
    const client = clientOf(socket);
    // A client that is gone before it was looked at has no address.
    if (client === undefined) return void socket.destroy();
    const { proxy } = this.#options;
    if (proxy?.from.has(client.ip) === true) return this.#acceptBalancer(socket, client, proxy.timeout);
    const key = windowKey(client.ip);
    const reason = this.#draining ? 'shutdown' : this.#ports.admission.enter(key);
    if (reason !== undefined) return this.#refuse(socket, client.ip, { reason });
    socket.once('close', () => this.#ports.admission.leave(key));
    this.#screenMeant(socket, client);
  }

  /** First of all, for whom it was meant. */
  #screenMeant(socket: net.Socket, client: Client): void {
    const { intercept } = this.#options;
    if (intercept === undefined) return this.#screen(socket, client);
    const ports = this.#opened.map(({ port }) => port);
    const meant = intercepted(socket, client, intercept, ports);
    if (meant.ok) this.#screen(socket, meant.value);
    else this.#refuse(socket, client.ip, { reason: 'destination', why: meant.error });
  }

  /** A balancer: who the client is comes first, and counts for the limits. */
  #acceptBalancer(socket: net.Socket, balancer: Client, timeout: number): void {
    const { admission } = this.#ports;
    const reason = this.#draining ? 'shutdown' : admission.enter(undefined);
    if (reason !== undefined) return this.#refuse(socket, balancer.ip, { reason });
    let key: string | undefined;
    socket.once('close', () => {
      this.#waiting.delete(socket);
      admission.leave(key);
    });
    this.#waiting.add(socket);
    awaitHeader(socket, balancer, timeout, (preamble) => {
      this.#waiting.delete(socket);
      if ('why' in preamble) {
        const refusal: Refusal = { reason: 'proxy-header', silent: true, why: preamble.why };
        return this.#refuse(socket, balancer.ip, refusal);
      }
      const { client } = preamble;
      const full = admission.name(windowKey(client.ip));
      if (full !== undefined) return this.#refuse(socket, client.ip, { reason: full });
      key = windowKey(client.ip);
      this.#screen(socket, client);
    });
  }

  /** Nothing is read while it is not known whether the client is let in. */
  #screen(socket: net.Socket, client: Client): void {
    const { ip } = client.server;
    if (this.#options.takes?.(ip) === false) {
      const why = `no upstream is for ${ip.text}`;
      return this.#refuse(socket, client.ip, { reason: 'destination', why });
    }
    const screened = this.#ports.screen(client.ip, socket);
    if (!(screened instanceof Promise)) return this.#judge(socket, client, screened);
    this.#waiting.add(socket);
    socket.on('error', ignore);
    void screened.then((refusal) => {
      this.#waiting.delete(socket);
      socket.off('error', ignore);
      if (socket.destroyed) return;
      this.#judge(socket, client, this.#draining ? { reason: 'shutdown' } : refusal);
    });
  }

  #judge(socket: net.Socket, client: Client, refusal: Refusal | undefined): void {
    if (refusal !== undefined) this.#refuse(socket, client.ip, refusal);
    else if (this.#options.implicitTls) this.#handshake(socket, client);
    else this.#ports.begin(socket, client, undefined);
  }

  /** RFC 8314 3.3: TLS comes first, and a client that does not finish it in time was never here. */
  #handshake(socket: net.Socket, client: Client): void {
    const { ip } = client;
    const { name, tlsHandshake } = this.#options;
    const { note, wrap, begin } = this.#ports;
    this.#waiting.add(socket);
    const over = (): void => {
      clearTimeout(timer);
      this.#waiting.delete(socket);
      secured.off('error', onError);
    };
    const failed = (reason: string): void => {
      if (!this.#waiting.has(socket)) return;
      over();
      secured.on('error', ignore);
      note({ type: 'tls-handshake', listener: name, address: ip.text, result: 'failed', reason });
      secured.destroy();
      socket.destroy();
    };
    const timer = setTimeout(() => failed('no handshake within the deadline'), tlsHandshake);
    const onError = (error: Error): void => failed(error.message);
    const secured = wrap(socket, ip, (done) => {
      over();
      begin(secured, client, done);
    });
    socket.on('error', ignore);
    secured.on('error', onError);
    secured.once('close', () => {
      failed('the client closed the connection');
      socket.destroy();
    });
  }

  /** A word, not silence, where one can be said in clear text (RFC 5321 3.8); the socket does not wait for the client's leave. */
  #refuse(socket: net.Socket, ip: Ip, refusal: Refusal): void {
    const { name, implicitTls } = this.#options;
    const { reason, silent = false, why } = refusal;
    this.#ports.note({
      type: 'connection-refused',
      listener: name,
      address: ip.text,
      reason,
      ...(why === undefined ? {} : { why }),
    });
    socket.on('error', () => socket.destroy());
    if (implicitTls || silent) return void socket.destroy();
    socket.on('end', () => socket.destroySoon());
    socket.setTimeout(LINGER, () => socket.destroy());
    socket.resume();
    socket.end(this.#ports.farewell(refusal), 'latin1');
  }
}
