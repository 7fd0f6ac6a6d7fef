/** The upstream of a fuzz case: it keeps every octet, minds whether it is spoken to out of turn, and misbehaves as it is told. */
import { once } from 'node:events';
import net from 'node:net';
import type { FuzzCase, MtaAct, MtaStep } from './case.js';

export interface Delivered {
  readonly mark: string;
  /** Octets between the 354 and the final dot, dots and all. */
  readonly raw: string;
  readonly recipients: readonly string[];
  /** The 2xx with its mark was said. */
  said: boolean;
}

const sleep = (ms: number): Promise<void> => new Promise((resolve) => setTimeout(resolve, ms));

/** Octets kept of a connection at most: what a case sends is far less. */
const MOST_KEPT = 4_000_000;

class Connection {
  raw = '';
  readonly dataAt: number[] = [];
  /** What was said out of turn. */
  outOfTurn: string | undefined;
  open = true;
  #read = 0;
  #data: number | undefined;
  #line = 0;
  #recipients: string[] = [];
  /** It has said something that nobody asked for: from here on nobody can be in step with it. */
  #mad = false;
  #cutting = false;
  #working = false;

  constructor(
    readonly socket: net.Socket,
    private readonly mta: FuzzMta,
  ) {
    socket.setEncoding('latin1');
    socket.on('data', (text: string) => {
      if (this.raw.length < MOST_KEPT) this.raw += text;
      void this.#work();
    });
    socket.on('end', () => socket.end());
    socket.on('error', () => {});
    socket.on('close', () => {
      this.open = false;
    });
  }

  async greet(): Promise<void> {
    await this.#answer('connect', '220 legacy.example.org Sendmail 8.6.9/8.6.9 ready');
  }

  async #work(): Promise<void> {
    if (this.#working) return;
    this.#working = true;
    while (this.open) {
      const end = this.raw.indexOf('\n', this.#read);
      if (end < 0) break;
      const line = this.raw.slice(this.#read, end + 1);
      this.#read = end + 1;
      if (this.#data !== undefined) await this.#onData(this.#data, line);
      else await this.#onCommand(line.replace(/\r?\n$/, ''));
    }
    this.#working = false;
  }

  async #onCommand(line: string): Promise<void> {
    const verb = line.slice(0, 4).toUpperCase();
    // One command at a time: nothing may come before its reply, but one RCPT along with MAIL where that is offered.
    const group =
      verb === 'MAIL' && this.mta.pipelining && /^RCPT TO:[^\n]*\r\n$/.test(this.raw.slice(this.#read));
    if (this.#read < this.raw.length && !group && !this.#mad) this.outOfTurn ??= `behind ${line}`;
    switch (verb) {
      case 'EHLO':
        return void (await this.#answer('EHLO', this.mta.ehloReply));
      case 'HELO':
        return void (await this.#answer('HELO', '250 legacy.example.org'));
      case 'MAIL':
        this.#recipients = [];
        return void (await this.#answer('MAIL', '250 Sender ok'));
      case 'RCPT':
        if (await this.#answer('RCPT', '250 Recipient ok'))
          this.#recipients.push(line.slice(line.indexOf(':') + 1));
        return;
      case 'DATA':
        if (!(await this.#answer('DATA', '354 Enter mail'))) return;
        this.dataAt.push(this.#read);
        this.#data = this.#read;
        this.#line = 0;
        return;
      case 'RSET':
        return void (await this.#answer('RSET', '250 Reset state'));
      case 'QUIT':
        await this.#answer('QUIT', '221 closing');
        return void this.socket.end();
      default:
        return void (await this.#answer('RSET', '500 Command unrecognized'));
    }
  }

  async #onData(from: number, line: string): Promise<void> {
    this.#line += 1;
    if (line !== '.\r\n' && line !== '.\n') {
      if (this.#line === 1) await this.#answer('body', '');
      return;
    }
    const raw = this.raw.slice(from, this.#read - line.length);
    this.#data = undefined;
    if (this.#read < this.raw.length && !this.#mad) this.outOfTurn ??= 'behind the final dot';
    const delivered = this.mta.deliver(raw, this.#recipients);
    delivered.said = await this.#answer('dot', '250 {Q} Message accepted', delivered.mark);
  }

  /** True when the step has its effect: it was answered 2xx or 3xx. */
  async #answer(step: MtaStep, usual: string, mark = ''): Promise<boolean> {
    const act = this.mta.actFor(step);
    const text = (octets: string): string => octets.replaceAll('{Q}', mark);
    const usually = usual === '' ? '' : text(`${usual}\r\n`);
    if (act === undefined) this.#write(usually);
    else if ('say' in act) {
      this.#mad = true;
      this.#write(text(act.say));
      return /^[23]/.test(act.say);
    } else if ('close' in act) {
      this.open = false;
      if (act.close === 'rst') this.socket.resetAndDestroy();
      else this.socket.end();
      return false;
    } else if ('cut' in act) {
      this.#cutting = true;
      for (let i = 0; i < usually.length; i += act.cut) {
        this.#write(usually.slice(i, i + act.cut));
        await sleep(1);
      }
      this.#cutting = false;
    } else if ('delay' in act) {
      const before = this.raw.length;
      await sleep(act.delay);
      if (this.raw.length > before && step !== 'body' && !this.#mad)
        this.outOfTurn ??= `before its reply to ${step}`;
      this.#write(usually);
    } else {
      this.#mad = true;
      this.#write(usually);
      setTimeout(() => void this.#unasked(act.say2), act.later);
    }
    return true;
  }

  /** Never within a reply: with words of its own in the middle its mark could not be known again. */
  async #unasked(octets: string): Promise<void> {
    while (this.#cutting) await sleep(1);
    this.#write(octets);
  }

  #write(octets: string): void {
    if (octets !== '' && this.socket.writable) this.socket.write(octets, 'latin1');
  }
}

export class FuzzMta {
  readonly connections: Connection[] = [];
  readonly delivered: Delivered[] = [];
  readonly ehloReply: string;
  readonly pipelining: boolean;
  readonly #reached = new Map<MtaStep, number>();

  private constructor(
    private readonly server: net.Server,
    private readonly script: FuzzCase['mta'],
    ehlo: FuzzCase['ehlo'],
  ) {
    const lines = ['legacy.example.org', ...(ehlo ?? [])];
    this.pipelining = ehlo?.includes('PIPELINING') === true;
    this.ehloReply =
      ehlo === null
        ? '500 Command unrecognized'
        : lines.map((line, i) => `250${i === lines.length - 1 ? ' ' : '-'}${line}`).join('\r\n');
  }

  static async start({ mta, ehlo }: FuzzCase): Promise<FuzzMta> {
    const server = net.createServer({ allowHalfOpen: true, noDelay: true });
    const running = new FuzzMta(server, mta, ehlo);
    server.on('connection', (socket) => {
      const connection = new Connection(socket, running);
      running.connections.push(connection);
      void connection.greet();
    });
    server.listen({ host: '127.0.0.1', port: 0 });
    await once(server, 'listening');
    return running;
  }

  get port(): number {
    return (this.server.address() as net.AddressInfo).port;
  }

  actFor(step: MtaStep): MtaAct | undefined {
    const nth = this.#reached.get(step) ?? 0;
    this.#reached.set(step, nth + 1);
    return this.script[step]?.[nth] ?? undefined;
  }

  deliver(raw: string, recipients: readonly string[]): Delivered {
    const delivered = { mark: `Q${this.delivered.length + 1}q`, raw, recipients, said: false };
    this.delivered.push(delivered);
    return delivered;
  }

  async stop(): Promise<void> {
    for (const { socket } of this.connections) socket.destroy();
    await new Promise<void>((resolve) => this.server.close(() => resolve()));
  }
}
