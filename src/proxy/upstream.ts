/**
 * One connection to the MTA: greeting, EHLO or HELO, then one reply for one command, in order. An upstream
 * that says too much, too little or nothing by the deadline is dropped. Lock-step is kept by the session
 * machine; message data goes out as views with back-pressure.
 */
import net from 'node:net';
import { type Capabilities, NO_CAPABILITIES, parseCapabilities } from '../smtp/capabilities.js';
import { ReplyParser, type UpstreamReply } from '../smtp/reply-parser.js';
import { type Deadlines, monotonic, type Ticked } from './deadlines.js';
import type { Timeouts, UpstreamOptions } from './options.js';

/** Who uses the connection at present. None of these may throw. */
export interface UpstreamUser {
  upstreamReply(reply: UpstreamReply): void;
  /** The connection is gone. `deadline`: because a reply or the taking of data was too late. */
  upstreamLost(why: string, deadline: boolean): void;
  upstreamDrain(): void;
}

/** What the owner (the pool) hears. */
export interface UpstreamOwner {
  ready(connection: UpstreamConnection): void;
  /** Never became ready, or ended: always called exactly once. */
  gone(connection: UpstreamConnection, why: string): void;
  /** RSET was answered 250: the connection may be used again. */
  rested(connection: UpstreamConnection): void;
}

type Stage = 'connecting' | 'greeting' | 'ehlo' | 'helo' | 'ready' | 'resetting' | 'quitting' | 'closed';

const DOT = Buffer.from('.\r\n', 'latin1');

export class UpstreamConnection implements Ticked {
  readonly openedAt = monotonic();
  /** The name in its greeting, '' before that. */
  hostname = '';
  /** The greeting's text, for the log. */
  greeting = '';
  capabilities: Capabilities = NO_CAPABILITIES;
  /** Messages completed. */
  messages = 0;
  /** When it came to rest in the pool. */
  idleSince = 0;
  user: UpstreamUser | undefined;

  #stage: Stage = 'connecting';
  readonly #socket: net.Socket;
  readonly #parser = new ReplyParser();
  readonly #owner: UpstreamOwner;
  readonly #timeouts: Timeouts;
  readonly #deadlines: Deadlines;
  readonly #ownName: string;
  #owed = 0;
  #dueAt: number;
  #streaming = false;
  /** The reply owed is that to a final dot. */
  #finishing = false;
  #head = '';

  constructor(
    target: UpstreamOptions,
    ownName: string,
    timeouts: Timeouts,
    deadlines: Deadlines,
    owner: UpstreamOwner,
  ) {
    this.#owner = owner;
    this.#timeouts = timeouts;
    this.#deadlines = deadlines;
    this.#ownName = ownName;
    this.#dueAt = this.openedAt + timeouts.upstreamConnect;
    this.#socket = net.connect({ host: target.host, port: target.port, noDelay: true });
    this.#socket.on('connect', () => {
      this.#stage = 'greeting';
      this.#dueAt = monotonic() + timeouts.upstreamGreeting;
    });
    this.#socket.on('data', (chunk) => this.#onData(chunk));
    this.#socket.on('drain', () => this.#onDrain());
    this.#socket.on('error', (error) => this.#fail(error.message));
    this.#socket.on('end', () => this.#fail('the connection was closed by the mail server'));
    this.#socket.on('close', () => this.#fail('the connection was closed'));
    deadlines.add(this);
  }

  get closed(): boolean {
    return this.#stage === 'closed' || this.#stage === 'quitting';
  }

  /** Nothing is owed and nothing was said unasked: fit for another client. */
  get quiet(): boolean {
    return this.#stage === 'ready' && this.#owed === 0 && !this.#streaming && this.#parser.pending === 0;
  }

  /** Sends one command; one reply is owed, within `timeout` ms. */
  send(line: string, timeout: number): void {
    this.#finishing = false;
    this.#owed += 1;
    this.#dueAt = monotonic() + timeout;
    this.#socket.write(line, 'latin1');
  }

  /** Begins a message; `head` (the Received line) goes out with the first data. */
  beginData(head: string): void {
    this.#streaming = true;
    this.#head = head;
    this.#dueAt = Number.POSITIVE_INFINITY;
  }

  /** Sends message data. False: wait for `upstreamDrain`. */
  data(view: Buffer): boolean {
    this.#writeHead();
    const taken = this.#socket.write(view);
    if (!taken) this.#dueAt = monotonic() + this.#timeouts.upstreamDataBlock;
    return taken;
  }

  /** Keeps what is written until `uncork` in one write. */
  cork(): void {
    this.#socket.cork();
  }

  uncork(): void {
    this.#socket.uncork();
  }

  /** The final dot; one reply is owed. */
  endData(): void {
    this.#writeHead();
    this.#streaming = false;
    this.#finishing = true;
    this.#owed += 1;
    this.#dueAt = monotonic() + this.#timeouts.upstreamDataEnd;
    this.#socket.write(DOT);
  }

  /** Wipes the transaction before the connection goes back to the pool (`rested` answers). */
  reset(): void {
    this.#stage = 'resetting';
    this.send('RSET\r\n', this.#timeouts.upstreamCommand);
  }

  /** Says QUIT and closes, without waiting long for an answer. */
  quit(): void {
    if (this.closed) return;
    this.user = undefined;
    this.#stage = 'quitting';
    this.#dueAt = monotonic() + 2_000;
    this.#socket.end('QUIT\r\n', 'latin1');
  }

  /** Closes at once, so that an unfinished message is discarded by the MTA. */
  destroy(why: string): void {
    this.user = undefined;
    this.#end(why);
  }

  tick(now: number): void {
    if (now < this.#dueAt) return;
    if (this.#owed > 0 || this.#stage !== 'ready' || this.#socket.writableNeedDrain) {
      this.#fail(`no reply within the deadline (${this.#stage})`, true);
    }
  }

  #onData(chunk: Buffer): void {
    if (this.#stage === 'quitting' || this.#stage === 'closed') return;
    this.#parser.push(chunk);
    for (;;) {
      const scan = this.#parser.next();
      if (scan.kind === 'need-more') return;
      if (scan.kind === 'fault') return this.#fail(`not an SMTP reply: ${scan.why}`);
      // What came along with a reply was said before the next command, so it can answer none. Behind the
      // reply to a final dot it is let be: the message is the MTA's, and `quiet` keeps the connection from others.
      if (this.#parser.pending > 0 && !this.#finishing)
        return this.#fail('more than one reply to one command');
      this.#onReply(scan.reply);
      if (this.closed) return;
    }
  }

  #onReply(reply: UpstreamReply): void {
    switch (this.#stage) {
      case 'greeting':
        return this.#onGreeting(reply);
      case 'ehlo':
        this.#owed -= 1;
        if (reply.code === 250) return this.#onReady(parseCapabilities(reply.lines));
        if (reply.code === 421) return this.#fail(`EHLO answered ${reply.code} ${reply.lines[0]}`);
        this.#stage = 'helo';
        return this.send(`HELO ${this.#ownName}\r\n`, this.#timeouts.upstreamCommand);
      case 'helo':
        this.#owed -= 1;
        if (reply.code === 250) return this.#onReady(NO_CAPABILITIES);
        return this.#fail(`HELO answered ${reply.code} ${reply.lines[0]}`);
      case 'resetting':
        this.#owed -= 1;
        if (reply.code !== 250) return this.#fail(`RSET answered ${reply.code} ${reply.lines[0]}`);
        this.#stage = 'ready';
        return this.#owner.rested(this);
      default:
        if (this.#owed === 0) return this.#fail(`an unexpected reply: ${reply.code} ${reply.lines[0]}`);
        this.#owed -= 1;
        this.user?.upstreamReply(reply);
    }
  }

  #onGreeting(reply: UpstreamReply): void {
    if (reply.code !== 220) return this.#fail(`greeted with ${reply.code} ${reply.lines[0]}`);
    this.greeting = reply.lines[0] ?? '';
    this.hostname = /^[A-Za-z0-9][A-Za-z0-9._-]{0,254}/.exec(this.greeting)?.[0] ?? '';
    this.#stage = 'ehlo';
    this.send(`EHLO ${this.#ownName}\r\n`, this.#timeouts.upstreamCommand);
  }

  #onReady(capabilities: Capabilities): void {
    this.capabilities = capabilities;
    this.#stage = 'ready';
    this.#owner.ready(this);
  }

  #onDrain(): void {
    if (this.#streaming) this.#dueAt = Number.POSITIVE_INFINITY;
    this.user?.upstreamDrain();
  }

  #writeHead(): void {
    if (this.#head === '') return;
    this.#socket.write(this.#head, 'latin1');
    this.#head = '';
  }

  #fail(why: string, deadline = false): void {
    const user = this.user;
    this.user = undefined;
    if (this.#end(why)) user?.upstreamLost(why, deadline);
  }

  #end(why: string): boolean {
    if (this.#stage === 'closed') return false;
    this.#stage = 'closed';
    this.#deadlines.delete(this);
    this.#socket.destroy();
    this.#owner.gone(this, why);
    return true;
  }
}
