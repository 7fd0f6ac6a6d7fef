/**
 * One client session on real sockets: it feeds the session machine with events and carries out its effects.
 * The rules of SMTP are in smtp/session; here are sockets, deadlines and back-pressure.
 *
 * Events are queued and taken one by one, so no effect ever runs `step` from within `step`. Replies are
 * gathered and written once a turn: a pipelining client gets its answers in as few segments as possible.
 */
import type net from 'node:net';
import type { TLSSocket } from 'node:tls';
import type { DisconnectReason, MessageResult, Peer } from '../base/events.js';
import type { Ip } from '../base/ip.js';
import { parseCommand, printCommand } from '../smtp/command.js';
import { LineScanner } from '../smtp/line-scanner.js';
import type { Path } from '../smtp/path.js';
import { printReply, REPLIES, type Reply } from '../smtp/reply.js';
import type { UpstreamReply } from '../smtp/reply-parser.js';
import type { Effects, Judgement, Question, SessionEvent, UpstreamCommand } from '../smtp/session/events.js';
import { step } from '../smtp/session/machine.js';
import { newSession, type SessionState, type Transaction } from '../smtp/session/state.js';
import { ClientConnection, type ClientListener } from './client.js';
import { monotonic, type Ticked } from './deadlines.js';
import type { Asker, Law } from './judge.js';
import type { MessageStream } from './message-stream.js';
import type { ListenerOptions } from './options.js';
import type { Service } from './service.js';
import { SessionNotes } from './session-notes.js';
import type { TlsFloor } from './tls.js';
import type { UpstreamUser } from './upstream.js';
import type { Loan, LoanApplicant } from './upstreams.js';

/** The client announced octets above 127 in the message. */
const declaresEightBit = ({ params }: Transaction): boolean =>
  params.some(({ keyword, value }) => keyword === 'SMTPUTF8' || value === '8BITMIME');

export class SessionRunner implements Effects, ClientListener, UpstreamUser, LoanApplicant, Ticked, Asker {
  readonly peer: Peer;
  readonly client: Ip;
  readonly openedAt = monotonic();

  readonly #service: Service;
  readonly #connection: ClientConnection;
  readonly #state: SessionState;
  readonly #notes: SessionNotes;
  #lines: LineScanner;
  readonly #stream: MessageStream;
  readonly #events: SessionEvent[] = [];
  #turning = false;
  #loan: Loan | undefined;
  /** The last word of the upstream was a 2xx to a final dot: the connection is as good as new. */
  #clean = false;
  #transaction: Transaction | undefined;
  #law: Law;
  #messages = 0;
  #verb: string | undefined;
  /** When the present wait for the client began, and when the first octet of its next command came. */
  #waitingSince = this.openedAt;
  #lineSince = 0;
  #startedAt = this.openedAt;
  #closed = false;
  /** TLS begins when what was said is out. */
  #securing = false;
  readonly #floor: TlsFloor;

  constructor(
    service: Service,
    socket: net.Socket | TLSSocket,
    peer: Peer,
    client: Ip,
    stream: MessageStream,
    { tls, tlsFloor }: Pick<ListenerOptions, 'tls' | 'tlsFloor'>,
  ) {
    this.#service = service;
    this.#floor = tlsFloor;
    this.peer = peer;
    this.client = client;
    this.#law = service.law;
    this.#state = newSession(service.sessionSettings(tls === 'starttls'), tls === 'implicit');
    this.#notes = new SessionNotes(service, peer, this.#state);
    this.#lines = new LineScanner({ limit: service.limits.commandLine });
    this.#stream = stream;
    this.#connection = new ClientConnection(socket, this);
    service.deadlines.add(this);
  }

  open(): void {
    const { greetPause } = this.#service.timeouts;
    const greet = (): void => this.#happen({ type: 'open', ahead: this.#connection.waiting });
    if (greetPause === 0) greet();
    else setTimeout(greet, greetPause);
  }

  shutdown(): void {
    this.#happen({ type: 'shutdown' });
  }

  /** Ends the session whatever it is doing; an unfinished message is discarded by the MTA. */
  abort(): void {
    this.#connection.destroy();
  }

  // ---- events -------------------------------------------------------------------------------------------

  clientActive(): void {
    this.#turn();
  }

  clientBroken(reason: string): void {
    if (this.#state.phase === 'tls') this.#notes.handshake({ result: 'failed', reason });
    this.#happen({ type: 'client-gone' });
  }

  clientClosed(): void {
    this.#service.deadlines.delete(this);
    this.#service.closed(this);
  }

  lent(loan: Loan): void {
    this.#loan = loan;
    this.#clean = false;
    loan.connection.user = this;
    const { capabilities } = loan.connection;
    this.#happen({ type: 'upstream-ready', capabilities, reused: loan.reused });
  }

  unavailable(busy: boolean): void {
    this.#happen({ type: 'upstream-unavailable', busy });
  }

  upstreamReply(reply: UpstreamReply): void {
    const connection = this.#loan?.connection;
    if (this.#state.expected[0] === 'end' && reply.code >= 200 && reply.code < 300) {
      this.#clean = true;
      if (connection !== undefined) connection.messages += 1;
    }
    this.#happen({ type: 'upstream-reply', reply, ahead: this.#ahead });
  }

  upstreamLost(reason: string, deadline: boolean): void {
    const upstream = this.#loan?.pool.options.name ?? '';
    this.#service.note({ type: 'upstream-fault', upstream, reason, during: this.#state.phase });
    this.#loan = undefined;
    this.#stream.detach();
    this.#happen({ type: 'upstream-lost', deadline });
  }

  upstreamDrain(): void {
    this.#stream.unblock();
    this.#turn();
  }

  tick(now: number): void {
    this.#connection.tick(now);
    if (this.#closed) return;
    const reply = this.#overdue(now);
    if (reply !== undefined) this.#happen({ type: 'timeout', reply });
  }

  #overdue(now: number): Reply | undefined {
    const { timeouts } = this.#service;
    const { phase, transaction } = this.#state;
    if (phase === 'data' || phase === 'discard') return this.#stream.overdue(now, this.openedAt);
    // In the middle of a handshake there is nobody to say it to.
    if (phase === 'tls' && now - this.#waitingSince >= timeouts.tlsHandshake) this.#connection.destroy();
    if (phase !== 'command') return undefined;
    if (this.#lines.pending > 0 && now - this.#lineSince >= timeouts.command) return REPLIES.commandTimeout;
    if (now - this.#waitingSince >= timeouts.idle) return REPLIES.idleTimeout;
    if (transaction === undefined && now - this.openedAt >= timeouts.session) return REPLIES.sessionTimeout;
    return undefined;
  }

  // ---- the turn -----------------------------------------------------------------------------------------

  /** Octets of the client wait behind what was taken. */
  get #ahead(): boolean {
    return this.#lines.pending > 0 || this.#connection.waiting;
  }

  #happen(event: SessionEvent): void {
    this.#events.push(event);
    this.#turn();
  }

  #turn(): void {
    if (this.#turning) return;
    this.#turning = true;
    try {
      do {
        for (let event = this.#events.shift(); event !== undefined; event = this.#events.shift()) {
          this.#step(event);
        }
      } while (this.#nextInput());
      this.#stream.flush();
      if (!this.#closed) this.#connection.flush();
      if (this.#securing) this.#secure();
    } catch (error) {
      this.#fail(error);
    } finally {
      this.#turning = false;
    }
  }

  #step(event: SessionEvent): void {
    const state = this.#state;
    step(state, event, this);
    if (state.transaction !== this.#transaction) {
      this.#transaction = state.transaction;
      this.#law = this.#service.law;
      this.#startedAt = monotonic();
    }
  }

  /** An error of ours must not take others down, nor leave a message half judged. */
  #fail(error: unknown): void {
    const text = error instanceof Error ? (error.stack ?? error.message) : String(error);
    this.#service.note({ type: 'internal-error', text, session: this.peer.session });
    this.#events.length = 0;
    this.release('close');
    this.#state.phase = 'closed';
    this.#connection.say(printReply(REPLIES.internal));
    this.close('internal');
  }

  /** Turns the client's next octets into events. False when there is nothing to do now. */
  #nextInput(): boolean {
    const { phase } = this.#state;
    if (this.#closed || this.#connection.congested) return false;
    if (phase === 'command') return this.#nextLine();
    if (phase === 'data' || phase === 'discard') return this.#nextData();
    return false;
  }

  #nextLine(): boolean {
    const scan = this.#lines.next();
    switch (scan.kind) {
      case 'line':
        this.#onLine(scan.buffer, scan.start, scan.end);
        return true;
      case 'need-more':
        return this.#moreInput();
      case 'too-long':
        this.#service.note({ type: 'framing-fault', peer: this.peer, kind: 'line-too-long' });
        this.#events.push({ type: 'long-line' });
        return true;
      case 'far-too-long':
        return this.#framing('line-too-long');
      case 'fault':
        return this.#framing(scan.fault);
    }
  }

  #moreInput(): boolean {
    const chunk = this.#connection.take();
    if (chunk === undefined) {
      if (!this.#connection.ended) return false;
      this.#events.push({ type: 'client-gone' });
      return true;
    }
    if (this.#lines.pending === 0) this.#lineSince = monotonic();
    this.#lines.push(chunk);
    return true;
  }

  #onLine(buffer: Buffer, start: number, end: number): void {
    const { transaction, settings } = this.#state;
    this.#lineSince = this.#waitingSince = monotonic();
    const parsed = parseCommand(buffer, start, end, {
      utf8: transaction?.utf8 === true,
      smtpUtf8Available: settings.capabilities.smtpUtf8,
      leniency: this.#service.leniency,
    });
    if (parsed.ok) {
      this.#verb = parsed.value.verb;
      this.#events.push({ type: 'command', command: parsed.value, ahead: this.#ahead });
      if (parsed.value.verb === 'EHLO') this.#lines.limit = this.#service.limits.commandLineExtended;
      if ('host' in parsed.value) this.peer.helo = parsed.value.host;
      return;
    }
    const fault = parsed.error;
    this.#verb = fault.verb;
    if (fault.close) this.#service.note({ type: 'framing-fault', peer: this.peer, kind: 'foreign-protocol' });
    this.#notes.badAddress(fault.verb, fault.path, fault.reply);
    this.#events.push({ type: 'bad-command', fault });
  }

  #framing(kind: Extract<SessionEvent, { type: 'framing' }>['kind']): boolean {
    this.#service.note({ type: 'framing-fault', peer: this.peer, kind });
    this.#events.push({ type: 'framing', kind });
    return true;
  }

  #nextData(): boolean {
    if (this.#stream.blocked) return false;
    const chunk = this.#connection.take();
    if (chunk === undefined) {
      if (!this.#connection.ended) return false;
      this.#events.push({ type: 'client-gone' });
      return true;
    }
    const outcome = this.#stream.take(chunk);
    if (outcome.refused !== undefined) this.#events.push({ type: 'data-refused', reply: outcome.refused });
    if (outcome.fault !== undefined) return this.#framing(outcome.fault);
    if (outcome.end !== undefined) {
      this.#connection.putBack(chunk.subarray(outcome.end));
      this.#waitingSince = monotonic();
      this.#events.push({ type: 'data-end' });
    }
    return true;
  }

  #secure(): void {
    this.#securing = false;
    this.#connection.secure(
      (socket) => this.#service.tls.wrap(socket, this.#floor),
      (secured) => {
        this.secured(secured);
        this.#happen({ type: 'secured' });
      },
    );
  }

  /** Takes note of the TLS that is in force; nothing learnt before it stays (RFC 3207 4.2). */
  secured(socket: TLSSocket): void {
    const version = socket.getProtocol() ?? 'TLS';
    this.#lines = new LineScanner({ limit: this.#service.limits.commandLine });
    this.peer.tls = version;
    this.peer.helo = undefined;
    this.#waitingSince = monotonic();
    this.#notes.handshake({ result: 'ok', version, cipher: socket.getCipher().name });
  }

  // ---- effects ------------------------------------------------------------------------------------------

  reply(reply: Reply): void {
    this.#connection.say(printReply(reply));
    this.#waitingSince = monotonic();
    if (reply === REPLIES.pipelining) {
      this.#service.note({
        type: 'framing-fault',
        peer: this.peer,
        kind: this.#state.phase === 'opening' ? 'pregreet' : 'pipelining',
      });
    }
    if (this.#verb === undefined) return;
    const seconds = (this.#waitingSince - this.#lineSince) / 1000;
    this.#service.note({ type: 'command', peer: this.peer, verb: this.#verb, code: reply.code, seconds });
    this.#verb = undefined;
  }

  ask(question: Question): void {
    const judgement = this.#service.judge.judge(this, this.#law, question);
    if (judgement instanceof Promise) {
      judgement.then(
        (answer) => this.#answer(question, answer),
        (error: unknown) => this.#fail(error),
      );
    } else {
      this.#events.push({ type: 'verdict', ticket: question.ticket, judgement });
    }
  }

  #answer({ ticket }: Question, judgement: Judgement): void {
    this.#happen({ type: 'verdict', ticket, judgement });
  }

  acquire(): void {
    this.#service.upstreams.acquire(this);
  }

  forward(command: UpstreamCommand): void {
    const { upstreamMail, upstreamRcpt, upstreamData } = this.#service.timeouts;
    const timeout = { MAIL: upstreamMail, RCPT: upstreamRcpt, DATA: upstreamData }[command.verb];
    this.#clean = false;
    this.#loan?.connection.send(printCommand(command), timeout);
  }

  data(mode: 'forward' | 'discard'): void {
    if (mode === 'discard') return this.#stream.detach();
    this.#messages += 1;
    const connection = this.#loan?.connection;
    const { transaction } = this.#state;
    if (connection === undefined || transaction === undefined) return;
    connection.beginData(this.#service.received ? this.#notes.received(this.#messages) : '');
    this.#stream.begin(connection, declaresEightBit(transaction));
  }

  endData(): void {
    this.#stream.end();
  }

  startTls(): void {
    this.#securing = true;
  }

  release(how: 'reuse' | 'close'): void {
    const loan = this.#loan;
    this.#loan = undefined;
    this.#stream.detach();
    if (loan === undefined) this.#service.upstreams.cancel(this);
    else loan.pool.release(loan.connection, how, this.#clean);
  }

  close(reason: DisconnectReason): void {
    if (this.#closed) return;
    this.#closed = true;
    const seconds = (monotonic() - this.openedAt) / 1000;
    const { commands } = this.#state;
    this.#service.note({ type: 'disconnect', peer: this.peer, reason, seconds, commands });
    this.#connection.close();
  }

  recipient(to: Path, reply: Reply): void {
    this.#notes.recipient(to, reply);
  }

  message(result: MessageResult, reply: Reply): void {
    const seconds = (monotonic() - this.#startedAt) / 1000;
    this.#notes.message(result, reply, this.#stream.bytes, this.#loan?.pool.options.name ?? '', seconds);
  }
}
