/** A connection to the POP3 or IMAP server: the PROXY header first, then TLS if the server is to be spoken to so. */
import net from 'node:net';
import { err, ok, type Result } from '../../base/result.js';
import { type Line, LineBuffer } from './line-buffer.js';
import { WATCH_LIMITS } from './login-watch.js';
import type { MailPorts, MailProtocol, MailServer } from './mail-options.js';

export interface ServerConnection {
  /** Paused, without listeners. */
  readonly socket: net.Socket;
  /** What the server has said already: its greeting, if TLS began after it. */
  readonly ahead: Buffer;
}

/** Lines that an IMAP server may say before its reply to STARTTLS. */
const MOST_UNTAGGED = 16;
const TAG = 'sekisho';

interface Dialogue {
  readonly greeting: RegExp;
  readonly command: string;
  readonly yes: RegExp;
  readonly between: RegExp;
}

const DIALOGUES: Readonly<Record<MailProtocol, Dialogue>> = {
  pop3: { greeting: /^\+OK(?: |$)/, command: 'STLS', yes: /^\+OK(?: |$)/, between: /^$^/ },
  // PREAUTH would leave no way to TLS (RFC 9051 11.1).
  imap: {
    greeting: /^\* OK(?: |$)/i,
    command: `${TAG} STARTTLS`,
    yes: new RegExp(`^${TAG} OK(?: |$)`, 'i'),
    between: /^\* /,
  },
};

/** The capabilities of a greeting were those without TLS. */
const strip = (greeting: Line): Buffer =>
  Buffer.from(greeting.raw.toString('latin1').replace(/\[CAPABILITY [^\]]*\] ?/i, ''), 'latin1');

/** Line by line, as long as this takes. */
class Reader {
  readonly #buffer = new LineBuffer();
  readonly #socket: net.Socket;

  constructor(socket: net.Socket) {
    this.#socket = socket;
  }

  /** Rejects when the connection ends or a line is too long. */
  async line(): Promise<Line> {
    for (;;) {
      const line = this.#buffer.next(WATCH_LIMITS.serverLine);
      if (line === 'too-long') throw new Error('it sends an endless line');
      if (line !== undefined) return line;
      this.#buffer.push(await this.#chunk());
    }
  }

  /** Nothing has come behind the last line. */
  get empty(): boolean {
    return this.#buffer.length === 0 && this.#socket.readableLength === 0;
  }

  #chunk(): Promise<Buffer> {
    return new Promise((resolve, reject) => {
      const over = (error?: Error): void => {
        settle();
        reject(error ?? new Error('it closed the connection'));
      };
      const data = (chunk: Buffer): void => {
        settle();
        resolve(chunk);
      };
      const settle = (): void => {
        this.#socket.pause();
        this.#socket.off('data', data).off('end', over).off('close', over);
      };
      this.#socket.on('data', data).on('end', over).on('close', over);
      this.#socket.resume();
    });
  }
}

/** Asks for TLS in the protocol; the greeting comes back. */
const askForTls = async (socket: net.Socket, protocol: MailProtocol): Promise<Buffer> => {
  const { greeting, command, yes, between } = DIALOGUES[protocol];
  const reader = new Reader(socket);
  const first = await reader.line();
  if (!greeting.test(first.text)) throw new Error('its greeting refuses the connection');
  socket.write(`${command}\r\n`);
  let reply = await reader.line();
  for (let untagged = 0; between.test(reply.text) && untagged < MOST_UNTAGGED; untagged += 1)
    reply = await reader.line();
  if (!yes.test(reply.text)) throw new Error(`it refuses ${protocol === 'pop3' ? 'STLS' : 'STARTTLS'}`);
  // What came in clear text behind the reply was injected (CVE-2011-0411, the client's side of it).
  if (!reader.empty) throw new Error('it says more before TLS has begun');
  return strip(first);
};

const secured = (
  socket: net.Socket,
  server: MailServer & { readonly tls: 'starttls' | 'implicit' },
  secure: MailPorts['secure'],
): Promise<net.Socket> =>
  new Promise((resolve, reject) => {
    const made = secure(socket, server, () => resolve(made));
    made.on('error', reject);
    made.once('close', () => reject(new Error('it closed the connection during the TLS handshake')));
  });

const connected = (host: string, port: number, hold: (socket: net.Socket) => void): Promise<net.Socket> =>
  new Promise((resolve, reject) => {
    const socket = net.connect({ host, port, allowHalfOpen: true, noDelay: true, keepAlive: true });
    hold(socket);
    socket.once('connect', () => {
      socket.off('error', reject);
      resolve(socket);
    });
    socket.once('error', reject);
    socket.once('close', () => reject(new Error('the connection was given up')));
  });

/** `header`: octets that go before all else. The error is fit for the log. `timeout` in ms for all of it. */
export const connectMailServer = async (
  server: MailServer,
  protocol: MailProtocol,
  header: Buffer | undefined,
  secure: MailPorts['secure'],
  timeout: number,
  gone: AbortSignal,
): Promise<Result<ServerConnection, string>> => {
  let socket: net.Socket | undefined;
  let why = '';
  const abandon = (reason: string): void => {
    why = reason;
    socket?.destroy();
  };
  const timer = setTimeout(() => abandon('no connection within the deadline'), timeout);
  const onGone = (): void => abandon('the client is gone');
  gone.addEventListener('abort', onGone);
  try {
    const plain = await connected(server.host, server.port, (made) => {
      socket = made;
      // Errors after the wait for them are told by `close`, or by the TLS socket on top.
      made.on('error', () => {});
      if (gone.aborted) onGone();
    });
    if (header !== undefined) plain.write(header);
    if (server.tls === 'none') return ok({ socket: plain, ahead: Buffer.alloc(0) });
    const ahead = server.tls === 'starttls' ? await askForTls(plain, protocol) : Buffer.alloc(0);
    return ok({ socket: await secured(plain, { ...server, tls: server.tls }, secure), ahead });
  } catch (error) {
    socket?.destroy();
    return err(why === '' ? (error instanceof Error ? error.message : String(error)) : why);
  } finally {
    clearTimeout(timer);
    gone.removeEventListener('abort', onGone);
  }
};
