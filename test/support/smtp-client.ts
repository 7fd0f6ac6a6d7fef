/** A scripted SMTP client on a raw socket: every octet is the test's own, from any loopback address. */
import { once } from 'node:events';
import net from 'node:net';

/** Milliseconds after which a test gives up on a reply: a hang is a failure, however busy the machine. */
const PATIENCE = 60_000;

export class SmtpClient {
  /** Everything that was received, Latin-1. */
  transcript = '';
  closed = false;

  #unread = '';
  #wake: () => void = () => {};

  private constructor(readonly socket: net.Socket) {
    socket.setEncoding('latin1');
    socket.on('data', (text: string) => {
      this.transcript += text;
      this.#unread += text;
      this.#wake();
    });
    const over = (): void => {
      this.closed = true;
      this.#wake();
    };
    socket.on('end', over);
    socket.on('close', over);
    socket.on('error', over);
  }

  /** Connects; `from` is the loopback address to come from. */
  static async connect(port: number, from = '127.0.0.1', host = '127.0.0.1'): Promise<SmtpClient> {
    const socket = net.connect({ port, host, localAddress: from, noDelay: true });
    await once(socket, 'connect');
    return new SmtpClient(socket);
  }

  /** On a connection that exists already, such as one under TLS. */
  static over(socket: net.Socket): SmtpClient {
    return new SmtpClient(socket);
  }

  /** Sends octets as they are (Latin-1). */
  send(octets: string | Buffer): void {
    if (this.socket.writable)
      this.socket.write(typeof octets === 'string' ? Buffer.from(octets, 'latin1') : octets);
  }

  /** The next whole reply without its last CRLF; '' when the connection has ended. */
  async reply(patience = PATIENCE): Promise<string> {
    const until = Date.now() + patience;
    for (;;) {
      const match = /^(?:\d{3}-[^\n]*\n)*\d{3}(?: [^\n]*)?\r?\n/.exec(this.#unread);
      if (match !== null) {
        this.#unread = this.#unread.slice(match[0].length);
        return match[0].trimEnd();
      }
      if (this.closed) return '';
      if (Date.now() >= until)
        throw new Error(`no reply in time; so far: ${JSON.stringify(this.transcript)}`);
      await this.#more(until - Date.now());
    }
  }

  /** Sends one line with CRLF and returns its reply. */
  async say(line: string, patience = PATIENCE): Promise<string> {
    this.send(`${line}\r\n`);
    return this.reply(patience);
  }

  /** Waits for the end of the connection. */
  async end(patience = PATIENCE): Promise<void> {
    const until = Date.now() + patience;
    while (!this.closed) {
      if (Date.now() >= until) throw new Error('the connection was not closed in time');
      await this.#more(until - Date.now());
    }
  }

  destroy(): void {
    this.socket.destroy();
  }

  #more(ms: number): Promise<void> {
    return new Promise((resolve) => {
      const timer = setTimeout(resolve, Math.max(1, ms));
      this.#wake = () => {
        clearTimeout(timer);
        resolve();
      };
    });
  }
}

/** The code of a reply, 0 for none. */
export const codeOf = (reply: string): number => Number(reply.slice(0, 3));

/** Says the lines, as long as the answer is yes, and hangs up; the last reply. */
const converse = async (client: SmtpClient, lines: readonly string[]): Promise<string> => {
  try {
    let reply = await client.reply();
    for (const line of lines) {
      if (!/^[23]/.test(reply)) return reply;
      reply = await client.say(line);
    }
    return reply;
  } finally {
    client.destroy();
  }
};

const envelope = (to: string): readonly string[] => [
  'EHLO c.example',
  'MAIL FROM:<a@sender.example>',
  `RCPT TO:<${to}>`,
];

/** What a stranger's RCPT is told in an ordinary dialogue, or whatever before it was no yes. */
export const askFor = (client: SmtpClient, to: string): Promise<string> => converse(client, envelope(to));

/** What his message is told, or whatever before it was no yes. */
export const deliver = (client: SmtpClient, to: string): Promise<string> =>
  converse(client, [...envelope(to), 'DATA', 'Subject: hello\r\n\r\nIt works.\r\n.']);
