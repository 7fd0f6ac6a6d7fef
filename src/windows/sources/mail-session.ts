/**
 * One client of the POP3 and IMAP proxy: two sockets, a watch between them until the login, and plain pipes after it.
 * Whatever cannot be had (the server, the store, TLS) ends in a polite word and a close.
 */

import type net from 'node:net';
import { pipeline } from 'node:stream';
import type { TLSSocket } from 'node:tls';
import { monotonic } from '../../base/clock.js';
import type { DisconnectReason, Peer } from '../../base/events.js';
import { printProxyHeader } from '../../base/proxy-header.js';
import type { Client } from '../../door/preamble.js';
import type { LoginAttempt, LoginResult, LoginWatch, WatchEffects } from './login-watch.js';
import { ImapWatch } from './login-watch-imap.js';
import { Pop3Watch } from './login-watch-pop3.js';
import { MailLogins } from './mail-logins.js';
import type { MailPorts, MailProxyOptions } from './mail-options.js';
import { connectMailServer } from './mail-server.js';

/** A closing connection goes on reading into the void for so long, ms. */
const LINGER = 2_000;
/** An IMAP session that was quiet for so long may be closed when Sekisho stops, ms. */
const QUIET = 1_000;

const ignore = (): void => {};

/** What a server or Sekisho says to close a session. */
export const farewell = (protocol: MailProxyOptions['protocol'], why: string): string =>
  protocol === 'pop3' ? `-ERR [SYS/TEMP] ${why}\r\n` : `* BYE ${why}\r\n`;

export class MailSession implements WatchEffects {
  readonly #options: MailProxyOptions;
  readonly #ports: MailPorts;
  readonly #peer: Peer;
  readonly #ends: Client;
  readonly #openedAt = monotonic();
  readonly #gone = new AbortController();
  readonly #watch: LoginWatch;
  readonly #logins: MailLogins;
  readonly #closed: () => void;
  #client: net.Socket;
  #server: net.Socket | undefined;
  #phase: 'connecting' | 'watching' | 'tls' | 'through' | 'over' = 'connecting';
  #clientEnded = false;
  #tlsSince = 0;
  #securing = false;
  #octets = 0;
  #activeAt = this.#openedAt;
  #draining = false;
  #reason: DisconnectReason | undefined;
  #joined = false;
  #finished = false;
  #detach: () => void = ignore;

  /** `closed` is called once, when both sockets are gone. */
  constructor(
    socket: net.Socket | TLSSocket,
    peer: Peer,
    ends: Client,
    options: MailProxyOptions,
    ports: MailPorts,
    closed: () => void,
  ) {
    this.#options = options;
    this.#ports = ports;
    this.#peer = peer;
    this.#ends = ends;
    this.#client = socket;
    this.#closed = closed;
    const { tls, requireTls, protocol } = options;
    const settings = { starttls: tls === 'starttls', secure: tls === 'implicit', requireTls };
    this.#watch = protocol === 'pop3' ? new Pop3Watch(settings, this) : new ImapWatch(settings, this);
    this.#logins = new MailLogins(peer, ends.ip, protocol, ports);
    this.#attach(socket);
  }

  /** Reaches the server, then watches. */
  async open(): Promise<void> {
    const { server, protocol, timeouts } = this.#options;
    this.#ports.note({ type: 'connect', peer: this.#peer });
    const header = this.#header();
    const connection = await connectMailServer(
      server,
      protocol,
      header,
      this.#ports.secure,
      timeouts.connect,
      this.#gone.signal,
    );
    if (!connection.ok) {
      if (this.#phase === 'over') return;
      this.#fault(connection.error);
      return this.#dismiss('the mail server is not available, try again later', 'upstream');
    }
    const { socket, ahead } = connection.value;
    if (this.#phase === 'over') return void socket.destroy();
    this.#server = socket;
    socket.setMaxListeners(30);
    this.#phase = 'watching';
    socket.on('data', (chunk) => this.#heard(() => this.#watch.fromServer(chunk)));
    socket.on('drain', () => this.#flow());
    socket.on('end', () => this.#serverEnded());
    socket.on('error', ignore);
    socket.on('close', () => this.#serverEnded());
    if (ahead.length > 0) this.#heard(() => this.#watch.fromServer(ahead));
    this.#flow();
  }

  /** Looks at the deadlines; `now` in ms of the monotonic clock. */
  tick(now: number): void {
    const { timeouts } = this.#options;
    if (this.#phase === 'tls' && now - this.#tlsSince >= timeouts.tlsHandshake) {
      this.#noteTls({ result: 'failed', reason: 'no handshake within the deadline' });
      return this.#end('timeout');
    }
    if (this.#phase === 'watching' && now - this.#openedAt >= timeouts.login)
      return this.#dismiss('no login in time', 'timeout');
    if (this.#phase !== 'through') return;
    const octets = this.#client.bytesRead + (this.#server?.bytesRead ?? 0);
    if (octets !== this.#octets) this.#activeAt = now;
    this.#octets = octets;
    const quiet = now - this.#activeAt;
    if (quiet >= timeouts.idle) return this.#end('timeout');
    if (this.#draining && this.#options.protocol === 'imap' && quiet >= QUIET) return this.#end('shutdown');
    if (this.#options.protocol === 'imap' && now - this.#openedAt < timeouts.keep) this.#logins.renew(now);
  }

  /** Whoever has not logged in has to go; the others may finish, for as long as the drain lasts. */
  shutdown(): void {
    this.#draining = true;
    if (this.#phase !== 'through') this.#dismiss('shutting down, try again later', 'shutdown');
  }

  abort(): void {
    this.#end('shutdown');
  }

  // ---- what the watch wants ------------------------------------------------------------------------------

  toServer(octets: Buffer): void {
    if (this.#server?.writable) this.#server.write(octets);
  }

  toClient(octets: Buffer): void {
    if (this.#client.writable) this.#client.write(octets);
  }

  attempt(attempt: LoginAttempt): void {
    void this.#logins
      .admits(attempt)
      .then((may) => this.#heard(() => (may ? this.#watch.proceed() : this.#watch.turnAway())))
      .catch((error: unknown) => this.#fail(error));
  }

  outcome(attempt: LoginAttempt, result: LoginResult): void {
    void this.#logins
      .judged(attempt, result, monotonic())
      .then(() => this.#heard(() => this.#watch.proceed()))
      .catch((error: unknown) => this.#fail(error));
  }

  startTls(): void {
    this.#securing = true;
  }

  passThrough(why: string | undefined): void {
    this.#phase = 'through';
    this.#activeAt = monotonic();
    if (why !== undefined) this.#fault(`not understood, no login is watched: ${why}`);
  }

  end(why: string): void {
    this.#ports.note({ type: 'limit-exceeded', peer: this.#peer, limit: 'mail-protocol', why });
    this.#end('framing');
  }

  // ---- sockets -------------------------------------------------------------------------------------------

  #attach(socket: net.Socket): void {
    const data = (chunk: Buffer): void => this.#heard(() => this.#watch.fromClient(chunk));
    const flow = (): void => this.#flow();
    const end = (): void => {
      this.#clientEnded = true;
      this.#flow();
    };
    const close = (): void => this.#clientClosed();
    socket.on('data', data).on('drain', flow).on('end', end).on('close', close).on('error', ignore);
    // Two pipes and TLS listen on it as well.
    socket.setMaxListeners(30);
    this.#detach = () => {
      socket.off('data', data).off('drain', flow).off('end', end).off('close', close);
    };
    socket.pause();
  }

  /** Lets the watch do something, and does what has become possible by it. */
  #heard(what: () => void): void {
    if (this.#phase === 'over') return;
    what();
    if (this.#securing) this.#secure();
    // `end` or `passThrough` may have changed it meanwhile.
    if (this.#at('through')) this.#join();
    else this.#flow();
  }

  #at(phase: 'through' | 'over'): boolean {
    return this.#phase === phase;
  }

  /** Reads what can be used, and no more: neither side is read faster than the other reads. */
  #flow(): void {
    const server = this.#server;
    if (this.#phase !== 'watching' || server === undefined) return;
    const set = (socket: net.Socket, wanted: boolean): void => {
      if (wanted === socket.isPaused()) wanted ? socket.resume() : socket.pause();
    };
    set(this.#client, this.#watch.wantsClient && !server.writableNeedDrain);
    set(server, this.#watch.wantsServer && !this.#client.writableNeedDrain);
    if (this.#clientEnded && !this.#watch.pending && server.writable) server.end();
  }

  #join(): void {
    const server = this.#server;
    if (server === undefined || this.#joined) return;
    this.#joined = true;
    for (const socket of [this.#client, server]) {
      socket.removeAllListeners('data');
      socket.removeAllListeners('drain');
    }
    const client = this.#client;
    // A client that has ended its side may still be told something; a server that has ended its side is gone.
    if (client.readableEnded) server.end();
    else pipeline(client, server, (error) => error && this.#end('client-gone'));
    if (server.readableEnded) this.#end('quit');
    else pipeline(server, client, (error) => this.#end(error ? 'client-gone' : 'quit'));
  }

  #secure(): void {
    this.#securing = false;
    this.#phase = 'tls';
    this.#tlsSince = monotonic();
    const clear = this.#client;
    this.#detach();
    const secured = this.#ports.wrap(clear, this.#options.tlsFloor, () => {
      secured.off('error', failed);
      this.secured(secured);
      this.#phase = 'watching';
      this.#heard(() => this.#watch.secured());
    });
    const failed = (error: Error): void => {
      this.#noteTls({ result: 'failed', reason: error.message });
      this.#end('client-gone');
    };
    secured.once('error', failed);
    this.#client = secured;
    this.#attach(secured);
    // Without a reader no handshake is made on a socket that is paused; the watch is not fed before it is done.
    secured.resume();
  }

  /** Takes note of the TLS that is in force. */
  secured(socket: TLSSocket): void {
    const version = socket.getProtocol() ?? 'TLS';
    this.#peer.tls = version;
    this.#noteTls({ result: 'ok', version, cipher: socket.getCipher().name });
  }

  #noteTls(
    what: { result: 'ok'; version: string; cipher: string } | { result: 'failed'; reason: string },
  ): void {
    const { listener, address } = this.#peer;
    this.#ports.note({ type: 'tls-handshake', listener, address, ...what });
  }

  #header(): Buffer | undefined {
    const { proxyProtocol } = this.#options;
    if (proxyProtocol === 'none') return undefined;
    return printProxyHeader(proxyProtocol, this.#ends, this.#ends.server);
  }

  #serverEnded(): void {
    if (this.#phase === 'over' || this.#phase === 'through') return;
    this.#end('quit');
  }

  #clientClosed(): void {
    if (this.#phase !== 'over') this.#end(this.#phase === 'through' ? 'quit' : 'client-gone');
    this.#finish();
  }

  /** An error of ours must not take others down, nor let anybody in. */
  #fail(error: unknown): void {
    const text = error instanceof Error ? (error.stack ?? error.message) : String(error);
    this.#ports.note({ type: 'internal-error', text, session: this.#peer.session });
    this.#end('internal');
  }

  #fault(reason: string): void {
    const { host, port } = this.#options.server;
    const upstream = `${host}:${port}`;
    this.#ports.note({ type: 'upstream-fault', upstream, reason, during: this.#options.protocol });
  }

  #dismiss(why: string, reason: DisconnectReason): void {
    if (this.#phase !== 'over' && this.#phase !== 'tls' && this.#client.writable)
      this.#client.write(farewell(this.#options.protocol, why));
    this.#end(reason);
  }

  /** Sends what was said, then closes both sides; the client is read into the void for a short while (no RST). */
  #end(reason: DisconnectReason): void {
    if (this.#phase === 'over') return;
    this.#phase = 'over';
    this.#reason = reason;
    this.#gone.abort();
    const client = this.#client;
    client.removeAllListeners('data');
    client.removeAllListeners('drain');
    this.#server?.destroySoon();
    setTimeout(() => {
      client.destroy();
      this.#server?.destroy();
    }, LINGER).unref();
    client.end();
    client.on('end', () => client.destroySoon());
    client.resume();
    if (client.readableEnded) client.destroySoon();
    if (client.destroyed) this.#finish();
  }

  #finish(): void {
    if (this.#finished) return;
    this.#finished = true;
    const seconds = (monotonic() - this.#openedAt) / 1000;
    const reason = this.#reason ?? 'client-gone';
    this.#ports.note({
      type: 'disconnect',
      peer: this.#peer,
      reason,
      seconds,
      commands: this.#watch.commands,
    });
    this.#closed();
  }
}
