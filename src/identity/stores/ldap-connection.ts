/**
 * One connection to a directory: opened and secured by a deadline, watched while it talks. The sockets are made here
 * and not by ldapts, for three reasons: a deadline can end them at any point; what a server sends is bounded; and
 * StartTLS hands over no octet that came in clear text (ldapts keeps half a message over the handshake, which lets
 * whoever sits on the wire put the beginning of "bind succeeded" before the server's own answer).
 */
import net from 'node:net';
import tls from 'node:tls';
import { Client } from 'ldapts';

/** Octets of one LDAP message: an entry with two attributes is far below that. */
const MESSAGE_OCTETS = 262_144;
/** RFC 4511 4.14.1. */
const START_TLS = '1.3.6.1.4.1.1466.20037';

export interface LdapServer {
  /** As configured, for the log. */
  readonly url: string;
  readonly host: string;
  readonly port: number;
  readonly security: 'none' | 'starttls' | 'ldaps';
}

export interface LdapTls {
  /** PEM; undefined: the system's certificate authorities. */
  readonly ca: string | undefined;
  /** The name that the certificate must bear, if not the URL's. */
  readonly serverName: string | undefined;
}

/** Reads `ldap://host[:port]` and `ldaps://host[:port]`; undefined for anything else, a path or query among it. */
export const parseLdapUrl = (url: string, startTls: boolean): LdapServer | undefined => {
  const match = /^(ldaps?):\/\/(?:\[([0-9A-Fa-f:.]+)\]|([A-Za-z0-9._-]+))(?::(\d{1,5}))?\/?$/i.exec(url);
  if (match === null) return undefined;
  const secure = match[1]?.toLowerCase() === 'ldaps';
  const port = Number(match[4] ?? (secure ? 636 : 389));
  if (port < 1 || port > 65_535) return undefined;
  const security = secure ? 'ldaps' : startTls ? 'starttls' : 'none';
  return { url, host: match[2] ?? match[3] ?? '', port, security };
};

/**
 * Follows the BER lengths of what comes in (RFC 4511 5.1) and says what is wrong: not an LDAPMessage, or one that is
 * too long. It holds no payload.
 */
export class FrameWatch {
  #header: number[] = [];
  #left = 0;

  /** A fault, or undefined. */
  feed(chunk: Uint8Array): string | undefined {
    for (let at = 0; at < chunk.length; ) {
      if (this.#left > 0) {
        const step = Math.min(this.#left, chunk.length - at);
        this.#left -= step;
        at += step;
        continue;
      }
      this.#header.push(chunk[at] ?? 0);
      at += 1;
      const fault = this.#length();
      if (fault !== undefined) return fault;
    }
    return undefined;
  }

  #length(): string | undefined {
    const [tag, first, ...rest] = this.#header;
    if (tag !== 0x30) return 'it does not speak LDAP';
    if (first === undefined) return undefined;
    const wanted = first < 0x80 ? 0 : first & 0x7f;
    // Indefinite lengths are not used in LDAP (RFC 4511 5.1).
    if (first === 0x80 || wanted > 4) return 'it does not speak LDAP';
    if (rest.length < wanted) return undefined;
    this.#left = wanted === 0 ? first : rest.reduce((sum, octet) => sum * 256 + octet, 0);
    this.#header = [];
    return this.#left > MESSAGE_OCTETS
      ? `it sent a message of more than ${MESSAGE_OCTETS} octets`
      : undefined;
  }
}

/** A client over a socket that is open already; `onFault` hears of what is no LDAP. */
const clientOver = (socket: net.Socket, onFault: (fault: Error) => void): Client => {
  const watch = new FrameWatch();
  return new Client({
    url: 'ldap://over.an.open.socket',
    createConnection: () => {
      socket.on('data', (chunk: Uint8Array) => {
        const fault = watch.feed(chunk);
        if (fault !== undefined) onFault(new Error(fault));
      });
      return socket;
    },
  });
};

const opened = (socket: net.Socket, event: 'connect' | 'secureConnect'): Promise<void> =>
  new Promise((resolve, reject) => {
    socket.once(event, resolve);
    socket.once('error', reject);
    socket.once('close', () => reject(new Error('the connection was closed')));
  });

export class LdapConnection {
  readonly #raw: net.Socket;
  #client: Client;
  #ended: Error | undefined;
  readonly #onEnd = new Set<(error: Error) => void>();
  readonly #fault = (error: Error): void => this.end(error);

  private constructor(raw: net.Socket) {
    this.#raw = raw;
    this.#client = clientOver(raw, this.#fault);
    raw.setNoDelay(true);
    raw.setKeepAlive(true, 60_000);
    // Without a listener an error of an idle connection would end the process.
    raw.on('error', (error) => this.end(error));
    raw.on('close', () => this.end(new Error('the server closed the connection')));
  }

  /** Connects and secures. Rejects with the reason; `signal` ends it at any time, and the connection later too. */
  static async open(server: LdapServer, secure: LdapTls, signal: AbortSignal): Promise<LdapConnection> {
    signal.throwIfAborted();
    const raw = net.connect({ host: server.host, port: server.port });
    const connection = new LdapConnection(raw);
    try {
      await connection.within(signal, async () => {
        await opened(raw, 'connect');
        if (server.security === 'none') return;
        if (server.security === 'starttls') {
          await connection.#client.exop(START_TLS).catch((error: unknown) => {
            throw new Error(`it refuses StartTLS: ${error instanceof Error ? error.message : ''}`);
          });
          // Whatever came behind the answer is dropped with this client.
          raw.removeAllListeners('data');
        }
        const name = secure.serverName ?? server.host;
        const socket = tls.connect({
          socket: raw,
          host: name,
          ...(net.isIP(name) === 0 ? { servername: name } : {}),
          ...(secure.ca === undefined ? {} : { ca: secure.ca }),
          minVersion: 'TLSv1.2',
        });
        socket.on('error', (error) => connection.end(error));
        await opened(socket, 'secureConnect');
        connection.#client = clientOver(socket, connection.#fault);
      });
      return connection;
    } catch (error) {
      connection.end(error instanceof Error ? error : new Error('cannot connect'));
      throw error;
    }
  }

  get ended(): boolean {
    return this.#ended !== undefined;
  }

  /** Does something with the client; rejects at once when the connection or the signal ends. */
  async within<T>(signal: AbortSignal, work: (client: Client) => Promise<T>): Promise<T> {
    if (this.#ended !== undefined) throw this.#ended;
    signal.throwIfAborted();
    let stop: (error: Error) => void = () => {};
    const stopped = new Promise<never>((_, reject) => {
      stop = reject;
    });
    const abort = (): void => stop(signal.reason instanceof Error ? signal.reason : new Error('stopped'));
    this.#onEnd.add(stop);
    signal.addEventListener('abort', abort);
    try {
      return await Promise.race([work(this.#client), stopped]);
    } finally {
      this.#onEnd.delete(stop);
      signal.removeEventListener('abort', abort);
    }
  }

  /** Closes for good; whoever waits hears `why`. */
  end(why: Error = new Error('the connection was closed')): void {
    if (this.#ended !== undefined) return;
    this.#ended = why;
    for (const stop of [...this.#onEnd]) stop(why);
    this.#raw.destroy();
  }
}
