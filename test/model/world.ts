/**
 * The session machine together with all that it talks to, as one value that can be copied: what the client waits
 * for, what the upstream was told and owes, what was asked of the policy. Each effect of the machine is held
 * against it; what must not happen is a violation, named by the point of "what must always hold" that it breaks.
 */
import type { DisconnectReason, MessageResult } from '../../src/base/events.js';
import type { Command } from '../../src/smtp/command.js';
import type { Param } from '../../src/smtp/params.js';
import type { Path } from '../../src/smtp/path.js';
import { printReply, type Reply } from '../../src/smtp/reply.js';
import type {
  Effects,
  Question,
  SenderQuestion,
  SessionEvent,
  UpstreamCommand,
} from '../../src/smtp/session/events.js';
import { newSession, type SessionSettings, type SessionState } from '../../src/smtp/session/state.js';

/** What holds in every state; a broken machine is caught by the one that names what is broken. */
export const INVARIANTS = {
  'only the MTA accepts': 'a 2xx for a message is the 2xx that the MTA gave to its final dot, there and then',
  'nothing accepted is denied': 'what the MTA answered to the final dot is what the client and the log hear',
  'judged is sent':
    'MAIL and RCPT go up with the very path that was said and judged, and no parameter of our own',
  'each recipient by itself': 'each RCPT that goes up has a permit of its own, given to its own ticket',
  'no end without the client':
    'a message is completed upstream only by the client’s CRLF.CRLF, never after a fault',
  'framing ends the session':
    'after a framing fault, or octets behind what must come last, the session is over',
  'one reply for one command': 'each command gets one reply, in order, before the next is taken',
  'out of step is dropped': 'an upstream that speaks unasked, or nonsense, is used no more',
  'STARTTLS forgets': 'nothing learnt in clear text is known under TLS',
  'lock-step':
    'nothing is said upstream while a reply is owed or a message runs, but RCPT right behind MAIL where PIPELINING is offered; data follow its 354 only',
  'only what is quiet is shared': 'a connection goes back for others only when nothing is owed on it',
  'login first':
    'without a login where one is needed, or a sender that the login may use, no transaction begins',
  'secrets stay secret': 'what a client says within AUTH is in no reply',
  'nothing leaks': 'a session that has ended holds no connection, question or exchange',
  'each end is told once': 'every RCPT and every message that began is told to the log once',
  'always going on': 'who waits, waits for somebody who will answer',
} as const;

export type Invariant = keyof typeof INVARIANTS;

export interface Violation {
  readonly invariant: Invariant;
  readonly what: string;
}

type Awaited = 'mail' | 'rcpt' | 'data' | 'end';

/** What is known of the world besides the machine's own state: flat, so that a copy is cheap. */
export interface Ghost {
  opened: boolean;
  closed: boolean;
  /** The client waits for a reply. */
  owed: boolean;
  link: 'none' | 'acquiring' | 'held';
  /** What the upstream owes a reply to. */
  awaited: Awaited | undefined;
  /** RCPT was said along with MAIL. */
  grouped: boolean;
  /** The upstream reads message data. */
  inData: boolean;
  /** A question is open: its ticket is the machine's last. */
  asking: 'rcpt' | 'sender' | undefined;
  /** What the client said last, and what of it was permitted. */
  sender: Path | undefined;
  senderParams: readonly Param[];
  recipient: Path | undefined;
  recipientParams: readonly Param[];
  permitted: boolean;
  authPending: boolean;
  tlsPending: boolean;
  /** The sender may be used, or nobody had to ask. */
  senderFine: boolean;
  proven: boolean;
  /** A message, or a recipient, the outcome of which was not told yet. */
  messageUntold: boolean;
  recipientUntold: boolean;
}

const newGhost = (): Ghost => ({
  opened: false,
  closed: false,
  owed: false,
  link: 'none',
  awaited: undefined,
  grouped: false,
  inData: false,
  asking: undefined,
  sender: undefined,
  senderParams: [],
  recipient: undefined,
  recipientParams: [],
  permitted: false,
  authPending: false,
  tlsPending: false,
  senderFine: false,
  proven: false,
  messageUntold: false,
  recipientUntold: false,
});

/** Secret of the AUTH exchanges, as said and as decoded. */
export const SECRET = 'c2VjcmV0';
const SECRETS = [SECRET, 'secret'];

const NOTHING: SessionEvent = { type: 'client-gone' };

export class World implements Effects {
  readonly violations: Violation[] = [];

  constructor(
    readonly state: SessionState,
    readonly ghost: Ghost,
  ) {}

  static begin(settings: SessionSettings): World {
    return new World(newSession(settings), newGhost());
  }

  copy(): World {
    const { state } = this;
    const transaction =
      state.transaction === undefined
        ? undefined
        : { ...state.transaction, accepted: [...state.transaction.accepted] };
    return new World({ ...state, transaction, expected: [...state.expected] }, { ...this.ghost });
  }

  /**
   * Two worlds with the same key have the same future. Left out is what has none: tickets tell but old answers from
   * new ones, and of the recipients answered only whether there were any matters.
   */
  key(ids: (value: object | undefined) => number): string {
    const { state: s, ghost: g } = this;
    const { transaction: t } = s;
    const own = `${s.phase} ${s.hello} ${s.login} ${s.expected} ${s.errors} ${s.idleCommands} ${s.auth}`;
    const flags = [
      ...[s.esmtp, s.secure, s.draining, s.clientGone, g.opened, g.closed, g.owed, g.inData, g.permitted],
      ...[g.authPending, g.tlsPending, g.senderFine, g.proven, g.messageUntold, g.recipientUntold, g.grouped],
    ];
    let bits = 0;
    for (const flag of flags) bits = bits * 2 + (flag ? 1 : 0);
    const commands = s.settings.commands === Number.POSITIVE_INFINITY ? 0 : s.commands;
    const seen = `${bits} ${commands} ${g.link} ${g.awaited} ${g.asking} ${ids(g.sender)} ${ids(g.recipient)}`;
    if (t === undefined) return `${own} ${seen}`;
    const message = `${t.link} ${t.reused} ${t.retried} ${t.failure?.code} ${t.dataReply?.code}`;
    const people = `${ids(t.from)} ${t.accepted.map(ids)} ${ids(t.pending)} ${t.answered > 0}`;
    return `${own} ${seen} ${message} ${people} ${t.capabilities.smtpUtf8}`;
  }

  // ---- one step --------------------------------------------------------------------------------------------

  #event: SessionEvent = NOTHING;
  /** The reply that the upstream gave to the final dot in this step. */
  #final: number | undefined;
  /** A 354 came in this step. */
  #goAhead = false;

  /** Lets the event happen and holds what comes of it against the rules. */
  happen(event: SessionEvent, step: (state: SessionState, event: SessionEvent, out: Effects) => void): void {
    const { ghost, state } = this;
    this.#event = event;
    this.#final = undefined;
    this.#goAhead = false;
    const unasked = this.#before(event);
    const wasClosed = ghost.closed;
    step(state, event, this);
    this.#after(event, unasked, wasClosed);
  }

  #broken(invariant: Invariant, what: string): void {
    this.violations.push({ invariant, what });
  }

  #must(holds: boolean, invariant: Invariant, what: string): void {
    if (!holds) this.#broken(invariant, what);
  }

  /** What the event itself changes in the world. True: it was an upstream's word that nobody asked for. */
  #before(event: SessionEvent): boolean {
    const { ghost, state } = this;
    switch (event.type) {
      case 'open':
        ghost.opened = true;
        ghost.owed = true;
        break;
      case 'command':
        ghost.owed = true;
        this.#said(event.command);
        break;
      case 'bad-command':
      case 'long-line':
      case 'auth-line':
      case 'auth-line-too-long':
      case 'data-end':
        ghost.owed = true;
        break;
      case 'verdict':
        if (event.ticket !== state.ticket || ghost.asking !== 'rcpt') break;
        ghost.asking = undefined;
        ghost.permitted = event.judgement.permit;
        break;
      case 'sender-verdict':
        if (event.ticket !== state.ticket || ghost.asking !== 'sender') break;
        ghost.asking = undefined;
        ghost.senderFine = event.refusal === undefined;
        break;
      case 'upstream-ready':
        ghost.link = 'held';
        break;
      case 'upstream-unavailable':
        ghost.link = 'none';
        break;
      case 'upstream-lost':
        // Both may be said again.
        if (ghost.grouped) ghost.permitted = true;
        this.#unlinked();
        break;
      case 'upstream-reply':
        return this.#heard(event.reply.code);
      case 'auth-step':
        ghost.authPending = false;
        if (event.step.kind === 'done') ghost.proven = true;
        break;
      case 'secured':
        ghost.tlsPending = false;
        ghost.proven = false;
        break;
    }
    return false;
  }

  #heard(code: number): boolean {
    const { ghost } = this;
    const { awaited } = ghost;
    ghost.awaited = ghost.grouped ? 'rcpt' : undefined;
    ghost.grouped = false;
    if (awaited === 'end') this.#final = code;
    if (awaited === 'data' && code === 354) {
      this.#goAhead = true;
      ghost.inData = true;
    }
    return awaited === undefined;
  }

  #unlinked(): void {
    const { ghost } = this;
    ghost.link = 'none';
    ghost.awaited = undefined;
    ghost.grouped = false;
    ghost.inData = false;
  }

  #said(command: Command): void {
    const { ghost, state } = this;
    if (command.verb === 'MAIL' && state.transaction === undefined) {
      ghost.sender = command.path;
      ghost.senderParams = command.params;
      ghost.senderFine = state.login === undefined;
    } else if (command.verb === 'RCPT') {
      ghost.recipient = command.path;
      ghost.recipientParams = command.params;
      ghost.permitted = false;
    }
  }

  #after(event: SessionEvent, unasked: boolean, wasClosed: boolean): void {
    const { ghost, state } = this;
    const { phase, transaction } = state;
    if (wasClosed) return;
    if (ghost.closed) return this.#ended();
    if (event.type === 'framing' || ('ahead' in event && event.ahead && this.#mustBeLast(event)))
      this.#broken('framing ends the session', `${event.type}, and it goes on in ${phase}`);
    if (event.type === 'secured') this.#forgot();
    if (unasked) this.#must(ghost.link !== 'held', 'out of step is dropped', 'the link is kept');
    if (this.#final !== undefined)
      this.#must(!ghost.messageUntold, 'nothing accepted is denied', 'the reply to the dot changed nothing');
    if (phase === 'command' || phase === 'auth' || phase === 'data')
      this.#must(!ghost.owed, 'one reply for one command', `no reply to ${event.type} (now in ${phase})`);
    if (phase === 'command' && transaction === undefined) {
      this.#must(ghost.link === 'none', 'nothing leaks', 'a connection outlives its transaction');
      this.#must(!ghost.messageUntold, 'each end is told once', 'a message of which nothing was told');
      this.#must(!state.draining, 'always going on', 'a session without transaction outlives the shutdown');
    }
    if (phase === 'command') {
      this.#must(!ghost.recipientUntold, 'each end is told once', 'a recipient of which nothing was told');
      if (ghost.sender !== undefined && transaction !== undefined) this.#begun();
    }
    if (state.login !== undefined) this.#must(ghost.proven, 'login first', 'a login that nobody proved');
    this.#waits();
    this.#forgetWhatIsOver();
  }

  /** So that states which differ in nothing that matters are one. */
  #forgetWhatIsOver(): void {
    const { ghost, state } = this;
    if (state.transaction === undefined) {
      ghost.sender = undefined;
      ghost.senderParams = [];
      ghost.senderFine = false;
    }
    if (state.transaction?.pending === undefined) {
      ghost.recipient = undefined;
      ghost.recipientParams = [];
      ghost.permitted = false;
    }
  }

  /** Commands and answers behind which nothing may wait. */
  #mustBeLast(event: SessionEvent): boolean {
    if (event.type === 'open' || event.type === 'auth-line') return true;
    if (event.type === 'upstream-reply') return this.#goAhead;
    if (event.type !== 'command') return false;
    return ['HELO', 'EHLO', 'DATA', 'AUTH', 'STARTTLS'].includes(event.command.verb);
  }

  #begun(): void {
    const { ghost, state } = this;
    const { requireLogin } = state.settings;
    if (requireLogin)
      this.#must(state.login !== undefined, 'login first', 'a transaction of somebody unknown');
    this.#must(ghost.senderFine, 'login first', 'a transaction with a sender that was refused');
  }

  #forgot(): void {
    const { hello, esmtp, login, transaction, secure } = this.state;
    const nothing = hello === undefined && !esmtp && login === undefined && transaction === undefined;
    this.#must(nothing && secure, 'STARTTLS forgets', 'something is known under TLS');
    this.#must(this.ghost.link === 'none', 'STARTTLS forgets', 'a connection from before is still held');
  }

  #ended(): void {
    const { ghost } = this;
    this.#must(ghost.link === 'none', 'nothing leaks', `closed with a connection ${ghost.link}`);
    this.#must(!ghost.authPending, 'nothing leaks', 'closed in the middle of an exchange');
    this.#must(!ghost.messageUntold, 'each end is told once', 'closed with a message untold');
  }

  /** Whoever the machine waits for will answer: no state is left for good by silence alone. */
  #waits(): void {
    const { ghost, state } = this;
    const answered: Readonly<Record<SessionState['phase'], boolean>> = {
      opening: true,
      command: true,
      auth: true,
      data: ghost.inData && ghost.link === 'held',
      discard: true,
      judging: ghost.asking !== undefined,
      acquiring: ghost.link === 'acquiring',
      upstream: ghost.awaited !== undefined && ghost.link === 'held',
      tls: ghost.tlsPending,
      authenticating: ghost.authPending,
      closed: true,
    };
    this.#must(answered[state.phase], 'always going on', `${state.phase}, and nobody will answer`);
    const gone = state.clientGone && ghost.awaited !== 'end';
    this.#must(!gone, 'always going on', 'the client is gone and the session is not');
  }

  // ---- effects ---------------------------------------------------------------------------------------------

  reply(reply: Reply): void {
    const { ghost, state } = this;
    const event = this.#event;
    const { code } = reply;
    const waited = ghost.owed;
    // A farewell may come unasked.
    const closing = code === 421 || event.type === 'framing' || event.type === 'timeout';
    this.#must(waited || closing, 'one reply for one command', `${code} that nobody waits for`);
    ghost.owed = false;
    this.#must(!ghost.closed, 'one reply for one command', `${code} after the end`);
    if (event.type === 'auth-line' || event.type === 'command') this.#tellsNoSecret(reply);
    if (code === 354) this.#must(this.#goAhead, 'lock-step', '354 without the upstream’s');
    // To a final dot, and to nothing else, 2xx means that the message is taken.
    if (waited && (event.type === 'data-end' || this.#final !== undefined)) this.#messageAnswered(code);
    if (state.clientGone) this.#broken('one reply for one command', 'a reply to a client that is gone');
    if (code < 400)
      this.#must(event.type !== 'framing', 'framing ends the session', `${code} to broken framing`);
    if (event.type === 'upstream-lost' && code < 400)
      this.#broken('only the MTA accepts', `${code} because the upstream was lost`);
  }

  #tellsNoSecret(reply: Reply): void {
    const text = printReply(reply);
    const secret = SECRETS.some((each) => text.includes(each));
    this.#must(!secret, 'secrets stay secret', text);
  }

  #messageAnswered(code: number): void {
    const accepted = this.#final !== undefined && this.#final >= 200 && this.#final < 300;
    if (code < 300) this.#must(accepted, 'only the MTA accepts', `${code} to a final dot`);
    else this.#must(!accepted, 'nothing accepted is denied', `${code} where the MTA said ${this.#final}`);
  }

  ask({ from, to }: Question): void {
    const { ghost } = this;
    ghost.asking = 'rcpt';
    ghost.recipientUntold = true;
    this.#must(from === ghost.sender, 'judged is sent', 'another sender is judged than was said');
    this.#must(to === ghost.recipient, 'judged is sent', 'another recipient is judged than was said');
  }

  askSender({ from }: SenderQuestion): void {
    this.ghost.asking = 'sender';
    this.#must(from === this.ghost.sender, 'judged is sent', 'another sender is judged than was said');
  }

  authenticate(): void {
    this.ghost.authPending = true;
  }

  authRespond(): void {
    this.ghost.authPending = true;
  }

  authAbandon(): void {
    this.ghost.authPending = false;
  }

  acquire(): void {
    const { ghost } = this;
    this.#must(ghost.permitted, 'each recipient by itself', 'the upstream is asked for without a permit');
    this.#must(ghost.link === 'none', 'nothing leaks', `acquire with a connection ${ghost.link}`);
    ghost.link = 'acquiring';
  }

  forward(command: UpstreamCommand): void {
    const { ghost } = this;
    this.#must(ghost.link === 'held', 'lock-step', `${command.verb} without a connection`);
    const group =
      this.#event.type === 'upstream-ready' &&
      this.#event.capabilities.pipelining &&
      ghost.awaited === 'mail' &&
      command.verb === 'RCPT' &&
      !ghost.grouped;
    const quiet = ghost.awaited === undefined && !ghost.inData;
    this.#must(quiet || group, 'lock-step', `${command.verb} out of turn`);
    if (command.verb === 'DATA') {
      ghost.awaited = 'data';
      return;
    }
    this.#must(ghost.permitted, 'each recipient by itself', `${command.verb} without a permit`);
    const mail = command.verb === 'MAIL';
    if (group) ghost.grouped = true;
    else ghost.awaited = mail ? 'mail' : 'rcpt';
    // A permit is for one RCPT.
    if (!mail) ghost.permitted = false;
    const said = mail ? ghost.sender : ghost.recipient;
    const params = mail ? ghost.senderParams : ghost.recipientParams;
    this.#must(command.path === said, 'judged is sent', `${command.verb} with another path than was said`);
    const own = command.params.some((each) => !params.includes(each));
    this.#must(!own, 'judged is sent', `${command.verb} with a parameter that was not said`);
  }

  data(mode: 'forward' | 'discard'): void {
    const { ghost } = this;
    if (mode === 'forward') {
      this.#must(this.#goAhead && ghost.inData, 'lock-step', 'data without a 354');
      ghost.messageUntold = true;
    } else if (ghost.link === 'held')
      this.#broken('no end without the client', 'discarded, but still linked');
  }

  endData(): void {
    const { ghost } = this;
    const client = this.#event.type === 'data-end';
    this.#must(client, 'no end without the client', `a final dot because of ${this.#event.type}`);
    this.#must(ghost.inData && ghost.link === 'held', 'lock-step', 'a final dot outside a message');
    ghost.inData = false;
    ghost.awaited = 'end';
  }

  release(how: 'reuse' | 'close'): void {
    const { ghost } = this;
    this.#must(ghost.link !== 'none', 'nothing leaks', 'a connection is given back twice');
    const quiet = ghost.awaited === undefined && !ghost.inData;
    if (how === 'reuse') this.#must(quiet, 'only what is quiet is shared', 'something is owed on it');
    this.#unlinked();
  }

  startTls(): void {
    const { ghost } = this;
    ghost.tlsPending = true;
    const { transaction } = this.state;
    this.#must(transaction === undefined, 'STARTTLS forgets', 'TLS begins in the middle of a transaction');
  }

  close(_reason: DisconnectReason): void {
    this.#must(!this.ghost.closed, 'one reply for one command', 'closed twice');
    this.ghost.closed = true;
    // What the session still waited for is of no use to anybody.
    this.ghost.asking = undefined;
    this.ghost.tlsPending = false;
  }

  recipient(to: Path, reply: Reply): void {
    const { ghost } = this;
    const said = to === ghost.recipient;
    this.#must(said, 'each end is told once', `another recipient than was said got ${reply.code}`);
    ghost.recipientUntold = false;
  }

  message(result: MessageResult, { code }: Reply): void {
    const { ghost } = this;
    const accepted = this.#final !== undefined && this.#final >= 200 && this.#final < 300;
    if (result === 'accepted') this.#must(accepted, 'only the MTA accepts', 'told as accepted');
    else this.#must(!accepted, 'nothing accepted is denied', `told as ${result} ${code}`);
    ghost.messageUntold = false;
  }
}
