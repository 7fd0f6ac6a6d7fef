/**
 * One client session on real sockets: it feeds the session machine with events and carries out its effects.
 * The rules of SMTP are in smtp/session; here are sockets, deadlines and back-pressure.
 *
 * Events are queued and taken one by one, so no effect ever runs `step` from within `step`. Replies are
 * gathered and written once a turn: a pipelining client gets its answers in as few segments as possible.
 */
import type net from 'node:net';
import { monotonic, secondsSince } from '../base/clock.js';
import type { DisconnectReason, MessageResult, Peer } from '../base/events.js';
import type { Ip } from '../base/ip.js';
import type { SessionSnapshot } from '../base/snapshot.js';
import type { Client } from '../door/preamble.js';
import type { Path } from '../smtp/path.js';
import { printReply, REPLIES, type Reply } from '../smtp/reply.js';
import type { UpstreamReply } from '../smtp/reply-parser.js';
import type {
  Effects,
  Judgement,
  Question,
  SenderQuestion,
  SessionEvent,
  UpstreamCommand,
} from '../smtp/session/events.js';
import { step } from '../smtp/session/machine.js';
import { newSession, type SessionState, type Transaction } from '../smtp/session/state.js';
import { channelBindings } from './channel-bindings.js';
import { ClientConnection, type ClientListener } from './client.js';
import { CommandLines } from './command-lines.js';
import { overdue, type Ticked } from './deadlines.js';
import type { ClientTls } from './devices.js';
import type { Asker, Law } from './judge.js';
import type { MessageStream } from './message-stream.js';
import { type ListenerOptions, NO_SCREENING, type ScreeningOptions } from './options.js';
import type { Pool } from './pool.js';
import type { Service } from './service.js';
import { SessionData, type SessionDataListener } from './session-data.js';
import { type SessionLogins, sessionLogins } from './session-logins.js';
import { SessionNotes } from './session-notes.js';
import { snapshotOf } from './session-snapshot.js';
import type { Secured } from './tls.js';
import type { UpstreamUser } from './upstream.js';
import { UpstreamLines } from './upstream-lines.js';
import type { Loan, LoanApplicant } from './upstreams.js';
import type { Course } from './ways.js';

export class SessionRunner
  implements Effects, ClientListener, UpstreamUser, LoanApplicant, SessionDataListener, Ticked, Asker
{
  readonly peer: Peer;
  readonly client: Ip;
  readonly screening: ScreeningOptions;
  readonly openedAt = monotonic();

  readonly #service: Service;
  readonly #connection: ClientConnection;
  readonly #state: SessionState;
  readonly #notes: SessionNotes;
  /** Undefined: nobody can log in here. */
  readonly #logins: SessionLogins | undefined;
  readonly #commands: CommandLines;
  readonly #data: SessionData;
  readonly #events: SessionEvent[] = [];
  #turning = false;
  #loan: Loan | undefined;
  /** The last word of the upstream was a 2xx to a final dot: the connection is as good as new. */
  #clean = false;
  #transaction: Transaction | undefined;
  #law: Law;
  #messages = 0;
  /** When the present wait for the client began. */
  #waitingSince = this.openedAt;
  #closed = false;
  readonly #lines: UpstreamLines;
  /** TLS begins when what was said is out. */
  #securing = false;
  readonly #tls: ClientTls;

  constructor(
    service: Service,
    socket: net.Socket,
    peer: Peer,
    client: Client,
    makeStream: (peer: Peer, client: Ip) => MessageStream,
    tls: ClientTls,
    { requireLogin, spool, screening }: Pick<ListenerOptions, 'requireLogin' | 'spool' | 'screening'>,
    private readonly course: Course<Pool>,
  ) {
    this.#service = service;
    this.#lines = new UpstreamLines(service.timeouts);
    this.#tls = tls;
    this.peer = peer;
    this.client = client.ip;
    this.screening = screening ?? NO_SCREENING;
    this.#law = service.law;
    this.#logins = sessionLogins(service, course.pools, peer, client.ip, {
      answer: (step) => this.#happen({ type: 'auth-step', step }),
      broken: (error) => this.#fail(error),
    });
    const settings = service.sessionSettings(tls.tls === 'starttls', requireLogin, course.pools);
    this.#state = newSession(settings, tls.tls === 'implicit');
    this.#notes = new SessionNotes(service, peer, this.#state, client);
    this.#commands = new CommandLines(service, this.#state, this.#notes, peer);
    this.#data = new SessionData(service, peer, client.ip, makeStream, spool === true, this);
    this.#connection = new ClientConnection(socket, this);
    service.deadlines.add(this);
  }

  open(): void {
    const { timeouts, strangers } = this.#service;
    strangers.beforeBanner(this, timeouts.greetPause, (paused) => {
      // Where there was no pause, nobody was told to wait.
      const ahead = paused && this.#connection.waiting;
      this.#happen({ type: 'open', ahead, auth: this.#logins?.offered() ?? [] });
    });
  }

  shutdown(): void {
    this.#happen({ type: 'shutdown' });
  }

  /** Ends the session whatever it is doing; an unfinished message is discarded by the MTA. */
  abort(): void {
    this.#connection.destroy();
  }

  snapshot(): SessionSnapshot {
    return snapshotOf(this.peer, this.#state, {
      openedAt: this.openedAt,
      messages: this.#messages,
      upstream: this.#loan?.pool.options.name,
    });
  }

  // ---- events -------------------------------------------------------------------------------------------

  dataHappens(event: SessionEvent): void {
    this.#happen(event);
  }

  dataRoom(): void {
    this.#turn();
  }

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

  get streaming(): ClientListener['streaming'] {
    return this.#state.phase === 'data' ? this.#data.streaming : 'no';
  }

  introduce(named: boolean): ReturnType<LoanApplicant['introduce']> {
    return this.#notes.introduction(named);
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

  upstreamReply(said: UpstreamReply): void {
    const reply = this.#data.hear(said);
    if (reply === undefined) return;
    const connection = this.#loan?.connection;
    if (this.#state.expected[0] === 'end' && reply.code >= 200 && reply.code < 300) {
      this.#clean = true;
      if (connection !== undefined) connection.messages += 1;
    }
    this.#happen({ type: 'upstream-reply', reply, ahead: this.#ahead });
  }

  upstreamLost(reason: string, deadline: boolean): void {
    const reply = this.#data.lost();
    if (reply !== undefined) return this.dataBroken(reply, reason);
    this.#upstreamFault(reason);
    this.#happen({ type: 'upstream-lost', deadline });
  }

  dataBroken(reply: UpstreamReply, reason: string): void {
    this.#upstreamFault(reason);
    this.#happen({ type: 'upstream-reply', reply, ahead: false });
  }

  #upstreamFault(reason: string): void {
    const upstream = this.#loan?.pool.options.name ?? '';
    this.#service.note({ type: 'upstream-fault', upstream, reason, during: this.#state.phase });
    this.#loan = undefined;
  }

  upstreamDrain(): void {
    this.#data.drained();
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
    if (phase === 'data' || phase === 'discard') return this.#data.overdue(now, this.openedAt);
    // In the middle of a handshake there is nobody to say it to.
    if (phase === 'tls' && now - this.#waitingSince >= timeouts.tlsHandshake) this.#connection.destroy();
    if (phase !== 'command' && phase !== 'auth') return undefined;
    const { pending, since } = this.#commands;
    const begun = { command: pending > 0 ? since : now, idle: this.#waitingSince, session: this.openedAt };
    return overdue(now, begun, timeouts, transaction !== undefined);
  }

  get told(): Asker['told'] {
    return this.#notes.told;
  }

  /** Logging in would be of use: the refusal of a relay says so. */
  get loginOffered(): boolean {
    return this.#state.auth.length > 0 && this.#state.login === undefined;
  }

  // ---- the turn -----------------------------------------------------------------------------------------

  /** Octets of the client wait behind what was taken. */
  get #ahead(): boolean {
    return this.#commands.pending > 0 || this.#connection.waiting;
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
      this.#lines.flush(this.#loan?.connection);
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
      this.#notes.beginTransaction();
      this.course.begin();
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
    if (phase === 'command' || phase === 'auth') return this.#nextLine();
    if (phase === 'data' || phase === 'discard') return this.#nextData();
    return false;
  }

  #nextLine(): boolean {
    const event = this.#commands.next(this.#connection.waiting);
    if (event === undefined) return this.#moreInput();
    this.#waitingSince = this.#commands.since;
    this.#events.push(event);
    return true;
  }

  #moreInput(): boolean {
    const chunk = this.#connection.take();
    if (chunk === undefined) {
      if (this.#connection.ended) this.#events.push({ type: 'client-gone' });
      return this.#connection.ended;
    }
    this.#commands.push(chunk);
    return true;
  }

  #nextData(): boolean {
    const events = this.#data.next(this.#connection);
    if (events === undefined) return false;
    if (events.at(-1)?.type === 'data-end') this.#waitingSince = monotonic();
    this.#events.push(...events);
    return true;
  }

  #secure(): void {
    this.#securing = false;
    this.#connection.secure(
      (socket, done) => this.#service.tls.wrap(socket, this.#tls, done),
      (secured) => {
        this.secured(secured);
        this.#happen({ type: 'secured', auth: this.#logins?.offered() ?? [] });
      },
    );
  }

  /** Takes note of the TLS that is in force; nothing learnt before it stays (RFC 3207 4.2). */
  secured({ socket, certificate }: Secured): void {
    const version = socket.getProtocol() ?? 'TLS';
    this.#commands.begin();
    this.peer.tls = version;
    if (certificate !== undefined) this.peer.certificate = certificate;
    this.#logins?.secured(channelBindings(socket), certificate);
    this.peer.helo = undefined;
    this.#waitingSince = monotonic();
    this.#notes.handshake({ result: 'ok', version, cipher: socket.getCipher().name });
  }

  // ---- effects ------------------------------------------------------------------------------------------

  reply(reply: Reply): void {
    this.#connection.say(printReply(reply));
    this.#waitingSince = monotonic();
    if (reply === REPLIES.pipelining)
      this.#notes.framingFault(this.#state.phase === 'opening' ? 'pregreet' : 'pipelining');
    this.#service.tarpit.refused(this, reply, this.#state.errors, this.#connection, this.#loan);
    const verb = this.#commands.answered();
    if (verb === undefined) return;
    this.#notes.command(verb, reply.code, secondsSince(this.#commands.since, this.#waitingSince));
  }

  ask(question: Question): void {
    const told = (found: Judgement): SessionEvent => {
      return { type: 'verdict', ticket: question.ticket, judgement: this.course.take(question.to, found) };
    };
    const judgement = this.#service.judge.judge(this, this.#law, question);
    if (!(judgement instanceof Promise)) return void this.#events.push(told(judgement));
    const failed = (error: unknown): void => this.#fail(error);
    judgement.then((answer) => this.#happen(told(answer)), failed);
  }

  askSender({ ticket, from }: SenderQuestion): void {
    const refusal = this.#logins?.senderRefusal(this.#service.law.policy, from);
    if (refusal !== undefined) this.#notes.senderRefused(from, refusal);
    this.#events.push({ type: 'sender-verdict', ticket, refusal });
  }

  authenticate(mechanism: string, initial: Buffer | undefined): void {
    this.#logins?.begin(mechanism, initial);
  }

  authRespond(response: Buffer): void {
    this.#logins?.respond(response);
  }

  authAbandon(why: 'cancelled' | 'malformed' | 'gone'): void {
    this.#logins?.abandon(why);
  }

  acquire(): void {
    this.#service.upstreams.acquire(this, this.course.pools);
  }

  forward(command: UpstreamCommand): void {
    this.#clean = false;
    const reply = this.#data.answer(command);
    if (reply !== undefined) this.#events.push({ type: 'upstream-reply', reply, ahead: this.#ahead });
    else this.#lines.add(command);
  }

  data(mode: 'forward' | 'discard'): void {
    if (mode === 'discard') return void this.#data.detach();
    this.#messages += 1;
    const connection = this.#loan?.connection;
    const { transaction } = this.#state;
    if (connection === undefined || transaction === undefined) return;
    const head = this.#service.received ? this.#notes.received(this.#messages) : '';
    this.#data.begin(connection, transaction, head);
  }

  endData(): void {
    this.#data.end();
  }

  startTls(): void {
    this.#securing = true;
  }

  release(how: 'reuse' | 'close'): void {
    const loan = this.#loan;
    this.#loan = undefined;
    this.#lines.clear();
    const untouched = this.#data.detach();
    if (loan === undefined) this.#service.upstreams.cancel(this);
    else loan.pool.release(loan.connection, untouched ? 'reuse' : how, this.#clean);
  }

  close(reason: DisconnectReason): void {
    if (this.#closed) return;
    this.#closed = true;
    this.#notes.disconnect(reason, secondsSince(this.openedAt));
    this.#connection.close();
  }

  recipient(to: Path, reply: Reply): void {
    this.#notes.recipient(to, reply);
  }

  message(result: MessageResult, reply: Reply): void {
    this.#notes.message(result, reply, this.#data.bytes, this.#loan?.pool.options.name ?? '');
  }
}
