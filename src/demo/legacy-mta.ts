/**
 * An embedded legacy MTA: an open relay as lenient as sendmail 8.6 to 8.12. Any LF ends a line, a lone dot
 * between any two line ends ends the data, and whoever comes may send anywhere. It delivers nothing: it keeps
 * what it took, so that one can see what reached it. The demo stands in front of it, and the tests script it.
 */
import { once } from 'node:events';
import net from 'node:net';

export type LegacyVerb = 'HELO' | 'EHLO' | 'MAIL' | 'RCPT' | 'DATA' | 'RSET' | 'NOOP' | 'QUIT' | 'OTHER';

/** Where a script can interfere: at the connection, at a command, within the data, at the final dot. */
export type LegacyStep = 'connect' | LegacyVerb | 'body' | 'dot';

/** What happens at a step instead of the usual reply. */
export type LegacyAction =
  /** These lines, each ended by CRLF; none: a missing reply. More than one reply: a reply too many. */
  | { readonly say: readonly string[] }
  /** The connection ends without a reply, by FIN or by RST. */
  | { readonly close: 'fin' | 'rst' }
  /** The usual reply, after so many ms. */
  | { readonly delay: number };

export interface LegacyOptions {
  readonly hostname?: string;
  /** Lines of the greeting without code. */
  readonly banner?: readonly string[];
  /** Keyword lines of the EHLO reply; undefined: EHLO is unknown. */
  readonly ehlo?: readonly string[] | undefined;
  /** `argument`: the rest of the command line. Undefined: as usual. A promise: no answer before it is kept. */
  readonly script?: (
    step: LegacyStep,
    argument: string,
    connection: LegacyConnection,
  ) => LegacyAction | undefined | Promise<LegacyAction | undefined>;
  /** Message data is counted, not kept. */
  readonly forget?: boolean;
  /** Octets that come in one segment with DATA are executed as commands, as sendmail 8.6 to 8.10 do. */
  readonly forkReplay?: boolean;
  readonly onMessage?: (message: LegacyMessage) => void;
  /** 0 (the default) chooses a free one. */
  readonly port?: number;
}

export interface LegacyMessage {
  readonly helo: string;
  /** The arguments of MAIL and RCPT as they came, `FROM:` and `TO:` taken off. */
  readonly from: string;
  readonly to: readonly string[];
  /** Latin-1; '' under `forget`. */
  readonly data: string;
  readonly bytes: number;
}

/** What one connection has seen. */
export interface LegacyConnection {
  /** Command lines, without line end. */
  readonly commands: string[];
  /** Every octet that came, Latin-1; '' under `forget`. */
  raw: string;
  /** Offsets in it at which message data began. */
  readonly dataAt: number[];
  open: boolean;
}

export interface LegacyMta {
  readonly host: string;
  readonly port: number;
  readonly connections: readonly LegacyConnection[];
  readonly messages: readonly LegacyMessage[];
  /** Connections open now. */
  readonly active: number;
  close(): Promise<void>;
}

const VERBS: ReadonlySet<string> = new Set(['HELO', 'EHLO', 'MAIL', 'RCPT', 'DATA', 'RSET', 'NOOP', 'QUIT']);

const reply = (code: string, lines: readonly string[]): string[] =>
  lines.map((line, i) => `${code}${i === lines.length - 1 ? ' ' : '-'}${line}`);

const sleep = (ms: number): Promise<void> => new Promise((resolve) => setTimeout(resolve, ms));

/** `FROM:<a@b>` without its keyword. */
const afterColon = (argument: string): string => argument.slice(argument.indexOf(':') + 1).trim();

class Session implements LegacyConnection {
  readonly commands: string[] = [];
  raw = '';
  readonly dataAt: number[] = [];
  open = true;

  readonly #socket: net.Socket;
  readonly #options: LegacyOptions;
  readonly #deliver: (message: LegacyMessage) => void;
  #input = '';
  #data: string[] | undefined;
  #bytes = 0;
  #helo = '';
  #from: string | undefined;
  #to: string[] = [];
  #working = false;

  constructor(socket: net.Socket, options: LegacyOptions, deliver: (message: LegacyMessage) => void) {
    this.#socket = socket;
    this.#options = options;
    this.#deliver = deliver;
    socket.setEncoding('latin1');
    socket.on('data', (text: string) => {
      if (options.forget !== true) this.raw += text;
      this.#input += text;
      void this.#work();
    });
    socket.on('end', () => socket.end());
    socket.on('error', () => {});
    socket.on('close', () => {
      this.open = false;
    });
  }

  async greet(): Promise<void> {
    const { hostname = 'legacy.example.org', banner } = this.#options;
    await this.#at('connect', '', reply('220', banner ?? [`${hostname} Sendmail 8.9.3/8.9.3 ready`]));
  }

  destroy(): void {
    this.#socket.destroy();
  }

  /** Takes line after line; a delay stops it for a while. */
  async #work(): Promise<void> {
    if (this.#working) return;
    this.#working = true;
    while (this.open) {
      const lf = this.#input.indexOf('\n');
      if (lf < 0) break;
      const line = this.#input.slice(0, lf + 1);
      this.#input = this.#input.slice(lf + 1);
      if (this.#data === undefined) await this.#onCommand(line.replace(/\r?\n$/, ''));
      else await this.#onData(this.#data, line);
    }
    this.#working = false;
  }

  async #onCommand(line: string): Promise<void> {
    this.commands.push(line);
    const [, word = '', argument = ''] = /^(\S*)\s*(.*)$/s.exec(line) ?? [];
    const upper = word.toUpperCase();
    const verb = (VERBS.has(upper) ? upper : 'OTHER') as LegacyVerb;
    if (await this.#at(verb, argument, this.#usual(verb, argument))) this.#effect(verb, argument);
  }

  #usual(verb: LegacyVerb, argument: string): readonly string[] {
    const { ehlo, hostname = 'legacy.example.org' } = this.#options;
    switch (verb) {
      case 'EHLO':
        return ehlo === undefined ? ['500 Command unrecognized'] : reply('250', [hostname, ...ehlo]);
      case 'HELO':
        return [`250 ${hostname} Hello ${argument}, pleased to meet you`];
      case 'MAIL':
        return [`250 ${afterColon(argument)}... Sender ok`];
      case 'RCPT':
        return [`250 ${afterColon(argument)}... Recipient ok`];
      case 'DATA':
        return ['354 Enter mail, end with "." on a line by itself'];
      case 'QUIT':
        return ['221 closing connection'];
      case 'OTHER':
        return ['500 Command unrecognized'];
      default:
        return ['250 OK'];
    }
  }

  #effect(verb: LegacyVerb, argument: string): void {
    if (verb === 'HELO' || verb === 'EHLO') this.#helo = argument;
    else if (verb === 'MAIL') this.#from = afterColon(argument);
    else if (verb === 'RCPT') this.#to.push(afterColon(argument));
    else if (verb === 'RSET') this.#clear();
    else if (verb === 'QUIT') this.#socket.end();
    else if (verb === 'DATA' && !(this.#options.forkReplay === true && this.#input !== '')) {
      this.#data = [];
      this.dataAt.push(this.raw.length - this.#input.length);
    }
  }

  async #onData(data: string[], line: string): Promise<void> {
    if (line !== '.\n' && line !== '.\r\n') {
      this.#bytes += line.length;
      if (this.#options.forget !== true) data.push(line);
      if (this.#options.script !== undefined) await this.#at('body', line, []);
      return;
    }
    const message: LegacyMessage = {
      helo: this.#helo,
      from: this.#from ?? '',
      to: this.#to,
      data: data.join(''),
      bytes: this.#bytes,
    };
    this.#clear();
    // It is the MTA's from here on, whether or not anybody hears of it.
    this.#deliver(message);
    await this.#at('dot', '', ['250 AAA00001 Message accepted for delivery']);
  }

  #clear(): void {
    this.#data = this.#from = undefined;
    this.#to = [];
    this.#bytes = 0;
  }

  /** Says the usual, or does what the script wants. True if the step has its effect: it was answered 2xx or 3xx. */
  async #at(step: LegacyStep, argument: string, usual: readonly string[]): Promise<boolean> {
    const action = await this.#options.script?.(step, argument, this);
    if (action !== undefined && 'close' in action) {
      this.open = false;
      if (action.close === 'rst') this.#socket.resetAndDestroy();
      else this.#socket.end();
      return false;
    }
    if (action !== undefined && 'delay' in action) await sleep(action.delay);
    const lines = action !== undefined && 'say' in action ? action.say : usual;
    if (lines.length > 0 && this.#socket.writable) this.#socket.write(`${lines.join('\r\n')}\r\n`, 'latin1');
    return /^[23]/.test(lines[0] ?? '2');
  }
}

/** Starts one on loopback. */
export const startLegacyMta = async (options: LegacyOptions = {}): Promise<LegacyMta> => {
  const sessions: Session[] = [];
  const messages: LegacyMessage[] = [];
  const deliver = (message: LegacyMessage): void => {
    messages.push(message);
    options.onMessage?.(message);
  };
  const server = net.createServer({ allowHalfOpen: true, noDelay: true }, (socket) => {
    const session = new Session(socket, options, deliver);
    sessions.push(session);
    void session.greet();
  });
  server.listen({ host: '127.0.0.1', port: options.port ?? 0, backlog: 1024 });
  await once(server, 'listening');
  const { port } = server.address() as net.AddressInfo;
  return {
    host: '127.0.0.1',
    port,
    connections: sessions,
    messages,
    get active() {
      return sessions.filter(({ open }) => open).length;
    },
    close: () => {
      for (const session of sessions) session.destroy();
      return new Promise((resolve) => server.close(() => resolve()));
    },
  };
};
