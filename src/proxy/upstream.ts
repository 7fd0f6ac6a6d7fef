/**
 * One connection to the MTA: greeting, EHLO or HELO, TLS where it is wanted, then one reply for one command, in order. An upstream
 * that says too much, too little or nothing by the deadline is dropped. Lock-step is kept by the session
 * machine; message data goes out as views with back-pressure.
 */
import type net from 'node:net';
import { monotonic } from '../base/clock.js';
import { parseIp } from '../base/ip.js';
import { printLocalHeader, printProxyHeader } from '../base/proxy-header.js';
import { type PresetName, presetFor } from '../shield/presets.js';
import { productOf } from '../shield/product.js';
import { advertises, type Capabilities, NO_CAPABILITIES, parseCapabilities } from '../smtp/capabilities.js';
import { domainText, parseDomain } from '../smtp/domain.js';
import { ReplyParser, type UpstreamReply } from '../smtp/reply-parser.js';
import { printXclient, type XclientFacts, xclientAttributes } from '../smtp/xclient.js';
import type { Deadlines, Ticked } from './deadlines.js';
import { dial } from './dial.js';
import type { Timeouts, UpstreamOptions } from './options.js';
import { type Writer, writeLater } from './outbox.js';
import { secureUpstream } from './upstream-tls.js';

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

type Target = Pick<UpstreamOptions, 'host' | 'port' | 'tls' | 'shield' | 'identity'>;

/** What the upstream is told of the client with whom a connection stays. */
export type Introduction = XclientFacts;

type Stage =
  | ('connecting' | 'handshake' | 'greeting' | 'ehlo' | 'helo' | 'starttls' | 'xclient')
  | ('ready' | 'resetting' | 'quitting' | 'closed');

/** The name at the beginning of a greeting or of the reply to EHLO. */
const nameIn = (text = ''): string => /^[A-Za-z0-9][A-Za-z0-9._-]{0,254}/.exec(text)?.[0] ?? '';

/** What comes before all else. On nobody's connection, such as a probe, it says so. */
const headerOf = (
  identity: Target['identity'],
  guest: Introduction | undefined,
  socket: net.Socket,
): Buffer | undefined => {
  if (identity !== 'proxy-v1' && identity !== 'proxy-v2') return undefined;
  const version = identity === 'proxy-v1' ? 'v1' : 'v2';
  if (guest !== undefined) return printProxyHeader(version, guest.client, guest.server);
  // Version 1's word for it, UNKNOWN, is a fault to Postfix: there the two ends of the socket are told.
  const [own, other] = [parseIp(socket.localAddress ?? ''), parseIp(socket.remoteAddress ?? '')];
  if (version === 'v2' || own === undefined || other === undefined) return printLocalHeader();
  const ports = { own: socket.localPort ?? 0, other: socket.remotePort ?? 0 };
  return printProxyHeader('v1', { ip: own, port: ports.own }, { ip: other, port: ports.other });
};

const NO_XCLIENT =
  'it does not offer XCLIENT with ADDR to this host: identity: xclient needs its consent, see `sekisho upstream`';

/** Octets that may wait for the end of the round. Node writes as many from a string without a buffer made for it. */
const MOST_GATHERED = 16_384;

/** Into which replies are read. What is there is looked at before anything else is read. */
const REPLIES = Buffer.allocUnsafeSlow(16_384);

export class UpstreamConnection implements Ticked, Writer {
  readonly openedAt = monotonic();
  /** The name in its greeting, '' before that. */
  hostname = '';
  /** The greeting's text, for the log. */
  greeting = '';
  /** Which virtual patches it needs. */
  preset: PresetName = 'strict';
  capabilities: Capabilities = NO_CAPABILITIES;
  /** The version of TLS in force. */
  tls: string | undefined;
  /** It broke in the middle of a TLS handshake, or over the certificate. */
  tlsFailed = false;
  /** Messages completed. */
  messages = 0;
  /** When it came to rest in the pool. */
  idleSince = 0;
  user: UpstreamUser | undefined;
  /** The upstream took the connection: what it says from now on may be meant for the client alone. */
  reached = false;

  #stage: Stage = 'connecting';
  #socket: net.Socket;
  readonly #parser = new ReplyParser();
  readonly #owner: UpstreamOwner;
  readonly #timeouts: Timeouts;
  readonly #deadlines: Deadlines;
  readonly #ownName: string;
  readonly #target: Target;
  #owed = 0;
  /** Of the replies owed, ms. */
  #timeout = 0;
  #dueAt: number;
  #streaming = false;
  /** The reply owed is that to a final dot. */
  #finishing = false;
  #head = '';
  /** One character is one octet. */
  #out = '';
  /** What its last EHLO said of XCLIENT. */
  #xclient: ReadonlySet<string> | undefined;
  /** Commands that tell who the client is and are still to be said; undefined: that has not begun. */
  #introducing: string[] | undefined;
  /** The name in the last EHLO. */
  #said = '';

  constructor(
    target: Target,
    ownName: string,
    timeouts: Timeouts,
    deadlines: Deadlines,
    owner: UpstreamOwner,
    /** With whom it stays; undefined: with nobody. */
    readonly guest?: Introduction,
  ) {
    this.#owner = owner;
    this.#timeouts = timeouts;
    this.#deadlines = deadlines;
    this.#ownName = ownName;
    this.#target = target;
    this.#dueAt = this.openedAt + timeouts.upstreamConnect;
    this.#socket = dial(target, guest, this.#how());
    this.#socket.on('connect', () => {
      this.reached = true;
      const header = headerOf(target.identity, guest, this.#socket);
      if (header !== undefined) this.#socket.write(header);
      if (target.tls.mode === 'implicit') this.#secure(() => this.#awaitGreeting());
      else this.#awaitGreeting();
    });
    this.#attach();
    deadlines.add(this);
  }

  /** In clear text all read into one buffer, instead of one of 64 KB for each reply; TLS takes over what it needs. */
  #how(): Pick<net.ConnectOpts, 'onread'> {
    if (this.#target.tls.mode !== 'none') return {};
    const callback = (count: number): boolean => {
      this.#onData(REPLIES.subarray(0, count));
      return true;
    };
    return { onread: { buffer: REPLIES, callback } };
  }

  #attach(): void {
    this.#socket.on('data', (chunk) => this.#onData(chunk));
    this.#socket.on('drain', () => this.#onDrain());
    this.#socket.on('error', (error) => this.#fail(error.message));
    this.#socket.on('end', () => this.#fail('the connection was closed by the mail server'));
    this.#socket.on('close', () => this.#fail('the connection was closed'));
  }

  /** Goes on over TLS; `then` runs when the other is known to be the right one. */
  #secure(then: () => void): void {
    const clear = this.#socket;
    for (const event of ['data', 'drain', 'error', 'end', 'close']) clear.removeAllListeners(event);
    // What goes wrong on it is told by the TLS socket as well.
    clear.on('error', () => {});
    this.#stage = 'handshake';
    this.#dueAt = monotonic() + this.#timeouts.tlsHandshake;
    const secured = secureUpstream(clear, this.#target.host, this.#target.tls, () => {
      this.tls = secured.getProtocol() ?? 'TLS';
      then();
    });
    this.#socket = secured;
    this.#attach();
  }

  #awaitGreeting(): void {
    this.#stage = 'greeting';
    this.#dueAt = monotonic() + this.#timeouts.upstreamGreeting;
  }

  get closed(): boolean {
    return this.#stage === 'closed' || this.#stage === 'quitting';
  }

  /** Nothing is owed and nothing was said unasked: fit for another client. */
  get quiet(): boolean {
    return this.#stage === 'ready' && this.#owed === 0 && !this.#streaming && this.#parser.pending === 0;
  }

  /** Sends commands in one write; one reply is owed for each, the first within `timeout` ms. */
  send(lines: string, timeout: number, replies = 1): void {
    this.#finishing = false;
    this.#owed += replies;
    this.#timeout = timeout;
    this.#dueAt = monotonic() + timeout;
    this.#say(lines);
  }

  /** Begins a message; `head` (the Received line) goes out with the first data. */
  beginData(head: string): void {
    this.#streaming = true;
    this.#head = head;
    this.#dueAt = Number.POSITIVE_INFINITY;
  }

  /** Sends message data. False: wait for `upstreamDrain`. */
  data(view: Buffer): boolean {
    this.#sayHead();
    if (this.#out.length + view.length <= MOST_GATHERED) {
      this.#say(view.toString('latin1'));
      return !this.#socket.writableNeedDrain;
    }
    if (this.#out === '') return this.#written(this.#socket.write(view));
    this.#socket.cork();
    this.writeOut();
    const taken = this.#written(this.#socket.write(view));
    this.#socket.uncork();
    return taken;
  }

  #say(octets: string): void {
    if (this.#out === '') writeLater(this);
    this.#out += octets;
  }

  writeOut(): void {
    const out = this.#out;
    this.#out = '';
    if (out !== '' && !this.closed) this.#written(this.#socket.write(out, 'latin1'));
  }

  /** While a message goes out, what is not taken at once has its own deadline. */
  #written(taken: boolean): boolean {
    if (!taken && this.#streaming) this.#dueAt = monotonic() + this.#timeouts.upstreamDataBlock;
    return taken;
  }

  get pending(): boolean {
    return this.#socket.writableLength > 0;
  }

  /** The final dot; one reply is owed. */
  endData(): void {
    this.#sayHead();
    this.#streaming = false;
    this.#finishing = true;
    this.#owed += 1;
    this.#dueAt = monotonic() + this.#timeouts.upstreamDataEnd;
    this.#say('.\r\n');
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
      // What came along with the last reply that is owed was said before the next command, so it can answer none. Behind
      // the reply to a final dot it is let be: the message is the MTA's, and `quiet` keeps the connection from others.
      if (this.#parser.pending > 0 && this.#owed <= 1 && !this.#finishing)
        return this.#fail(
          this.#stage === 'starttls'
            ? 'it said more in clear text behind its reply to STARTTLS: somebody may have put that in'
            : 'more than one reply to one command',
        );
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
        if (reply.code === 250) return this.#onEhlo(reply.lines);
        if (reply.code === 421) return this.#fail(`EHLO answered ${reply.code} ${reply.lines[0]}`);
        // The client's own name was not to its taste.
        if (this.#said !== this.#ownName) return this.#sayEhlo(this.#ownName);
        this.#stage = 'helo';
        this.#xclient = undefined;
        return this.send(`HELO ${this.#ownName}\r\n`, this.#timeouts.upstreamCommand);
      case 'helo':
        this.#owed -= 1;
        if (reply.code === 250) return this.#onHello(NO_CAPABILITIES, false);
        return this.#fail(`HELO answered ${reply.code} ${reply.lines[0]}`);
      case 'starttls':
        this.#owed -= 1;
        return this.#onStartTls(reply);
      case 'xclient':
        this.#owed -= 1;
        if (reply.code !== 220) return this.#fail(`XCLIENT answered ${reply.code} ${reply.lines[0]}`);
        return this.#introduceOn();
      case 'resetting':
        this.#owed -= 1;
        if (reply.code !== 250) return this.#fail(`RSET answered ${reply.code} ${reply.lines[0]}`);
        this.#stage = 'ready';
        return this.#owner.rested(this);
      default:
        if (this.#owed === 0) return this.#fail(`an unexpected reply: ${reply.code} ${reply.lines[0]}`);
        this.#owed -= 1;
        if (this.#owed > 0) this.#dueAt = monotonic() + this.#timeout;
        this.user?.upstreamReply(reply);
    }
  }

  #onGreeting(reply: UpstreamReply): void {
    if (reply.code !== 220) return this.#fail(`greeted with ${reply.code} ${reply.lines[0]}`);
    const { shield } = this.#target;
    this.preset = shield === 'auto' ? presetFor(productOf(reply.lines.join(' '))) : shield;
    this.greeting = reply.lines[0] ?? '';
    this.hostname = nameIn(this.greeting);
    this.#sayEhlo(this.#ownName);
  }

  #sayEhlo(name: string): void {
    this.#stage = 'ehlo';
    this.#said = name;
    this.send(`EHLO ${name}\r\n`, this.#timeouts.upstreamCommand);
  }

  #onEhlo(lines: readonly string[]): void {
    this.#xclient = xclientAttributes(lines);
    // RFC 3207 4.2: what was said in clear text is forgotten, the name in the greeting too.
    if (this.#target.tls.mode !== 'implicit' && this.tls !== undefined)
      this.hostname = nameIn(lines[0]) || this.hostname;
    this.#onHello(parseCapabilities(lines), advertises(lines, 'STARTTLS'));
  }

  /** TLS comes before anything else, where it is wanted and not yet in force. */
  #onHello(capabilities: Capabilities, startTls: boolean): void {
    const { mode } = this.#target.tls;
    if (this.tls !== undefined || mode === 'none') return this.#onReady(capabilities);
    if (!startTls) return this.#withoutTls(capabilities, 'it does not offer STARTTLS');
    // Kept for the case that it refuses.
    this.capabilities = capabilities;
    this.#stage = 'starttls';
    this.send('STARTTLS\r\n', this.#timeouts.upstreamCommand);
  }

  #onStartTls({ code, lines }: UpstreamReply): void {
    if (code === 220) return this.#secure(() => this.#sayEhlo(this.#ownName));
    const why = `STARTTLS answered ${code} ${lines[0]}`;
    if (code === 421) return this.#fail(why);
    this.#withoutTls(this.capabilities, why);
  }

  #withoutTls(capabilities: Capabilities, why: string): void {
    if (this.#target.tls.mode === 'opportunistic') return this.#onReady(capabilities);
    this.#fail(`${why}, and TLS is required`);
  }

  /** Ready, once the upstream knows who the client is. */
  #onReady(capabilities: Capabilities): void {
    this.capabilities = capabilities;
    if (this.#target.identity !== 'xclient' || this.#introducing !== undefined) return this.#finish();
    if (this.guest === undefined) return this.#xclient?.has('ADDR') ? this.#finish() : this.#fail(NO_XCLIENT);
    const commands = printXclient(this.#xclient, this.guest);
    if (!commands.ok) return this.#fail(commands.error);
    this.#introducing = [...commands.value];
    this.#introduceOn();
  }

  /** The next XCLIENT; behind the last one the session begins anew. */
  #introduceOn(): void {
    const command = this.#introducing?.shift();
    if (command !== undefined) {
      this.#stage = 'xclient';
      return this.send(command, this.#timeouts.upstreamCommand);
    }
    // The greeting of a server that was told so is meant for the client, and so is what it makes of its name.
    const name = parseDomain(this.guest?.helo ?? '');
    this.#sayEhlo(name === undefined ? this.#ownName : domainText(name));
  }

  #finish(): void {
    this.#stage = 'ready';
    this.#owner.ready(this);
  }

  #onDrain(): void {
    if (this.#streaming) this.#dueAt = Number.POSITIVE_INFINITY;
    this.user?.upstreamDrain();
  }

  #sayHead(): void {
    if (this.#head === '') return;
    this.#say(this.#head);
    this.#head = '';
  }

  #fail(cause: string, deadline = false): void {
    this.tlsFailed ||= this.#stage === 'handshake';
    const why = this.#stage === 'handshake' ? `TLS failed: ${cause}` : cause;
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
