/**
 * The session machine: `step(state, event, out)`. No I/O, no clock, no chance: the same events give the same
 * effects, so one transcript drives it with a recorder and with real sockets.
 */
import type { Command } from '../command.js';
import { REPLIES, type Reply } from '../reply.js';
import { close, refuse, sayAndClose, unlink } from './actions.js';
import { COMMANDS, outOfOrder } from './commands.js';
import type { Effects, SessionEvent } from './events.js';
import { bannerOf } from './greetings.js';
import { onAuthLine, onAuthLineTooLong, onAuthStep } from './on/auth.js';
import { finish, onDataEnd, onDataRefused, onDataReply, onEndReply } from './on/data.js';
import { onSenderVerdict } from './on/mail.js';
import {
  failTransaction,
  onMailReply,
  onRcptReply,
  onUpstreamReady,
  onUpstreamUnavailable,
  onVerdict,
} from './on/rcpt.js';
import type { SessionState } from './state.js';

type Event<T extends SessionEvent['type']> = Extract<SessionEvent, { type: T }>;

export const step = (state: SessionState, event: SessionEvent, out: Effects): void => {
  if (state.phase === 'closed') return;
  switch (event.type) {
    case 'open':
      return onOpen(state, event, out);
    case 'command':
      return onCommand(state, event.command, event.ahead, out);
    case 'bad-command':
      return onBadCommand(state, event, out);
    case 'long-line':
      return counted(state, out) ? refuse(state, out, REPLIES.lineTooLong) : undefined;
    case 'framing':
      return onFraming(state, event, out);
    case 'verdict':
      return onVerdict(state, event, out);
    case 'upstream-ready':
      return onUpstreamReady(state, event, out);
    case 'upstream-unavailable':
      return onUpstreamUnavailable(state, event, out);
    case 'upstream-reply':
      return onUpstreamReply(state, event, out);
    case 'upstream-lost':
      return onUpstreamLost(state, event, out);
    case 'data-end':
      return onDataEnd(state, out);
    case 'data-refused':
      return onDataRefused(state, event.reply, out);
    case 'secured':
      return onSecured(state, event.auth, out);
    case 'auth-line':
      return onAuthLine(state, event.text, event.ahead, out);
    case 'auth-line-too-long':
      return onAuthLineTooLong(state, out);
    case 'auth-step':
      return onAuthStep(state, event.step, out);
    case 'sender-verdict':
      return onSenderVerdict(state, event, out);
    case 'timeout':
      return onTimeout(state, event.reply, out);
    case 'client-gone':
      return onClientGone(state, out);
    case 'shutdown':
      return onShutdown(state, out);
  }
};

const onOpen = (state: SessionState, { ahead, auth }: Event<'open'>, out: Effects): void => {
  // RFC 5321 4.3.1: the client waits for the banner.
  if (ahead) return sayAndClose(state, out, REPLIES.pipelining, 'framing');
  state.phase = 'command';
  state.auth = auth;
  out.reply(bannerOf(state));
};

/** Counts a command, and ends the session of a client that has had its share. */
const counted = (state: SessionState, out: Effects): boolean => {
  const { commands, errors } = state.settings;
  state.commands += 1;
  if (state.errors >= errors) sayAndClose(state, out, REPLIES.tooManyErrors, 'errors');
  else if (state.commands > commands) sayAndClose(state, out, REPLIES.tooManyCommands, 'limit');
  else return true;
  return false;
};

const onCommand = (state: SessionState, command: Command, ahead: boolean, out: Effects): void => {
  if (state.phase !== 'command' || !counted(state, out)) return;
  const row = COMMANDS[command.verb];
  if (row.alone && ahead) return sayAndClose(state, out, REPLIES.pipelining, 'framing');
  if (!row.forward) {
    state.idleCommands += 1;
    if (state.idleCommands > state.settings.idleCommands) {
      return sayAndClose(state, out, REPLIES.tooManyCommands, 'limit');
    }
  }
  const fault = outOfOrder(state, command.verb, row);
  if (fault !== undefined) return refuse(state, out, fault);
  (row.run as (state: SessionState, command: Command, out: Effects) => void)(state, command, out);
};

const onBadCommand = (state: SessionState, { fault }: Event<'bad-command'>, out: Effects): void => {
  if (state.phase !== 'command') return;
  if (fault.close) return sayAndClose(state, out, fault.reply, 'foreign-protocol');
  if (counted(state, out)) refuse(state, out, fault.reply);
};

/** What a client is told about a stream that has no certain reading; then the session ends, whatever follows. */
const onFraming = (state: SessionState, { kind }: Event<'framing'>, out: Effects): void => {
  const inData = state.phase === 'data' || state.phase === 'discard';
  const reply = inData ? dataFault(kind) : commandFault(kind);
  if (inData) {
    unlink(state, out, 'close');
    out.message('aborted', reply);
  }
  sayAndClose(state, out, reply, kind === 'foreign-protocol' ? 'foreign-protocol' : 'framing');
};

const dataFault = (kind: Event<'framing'>['kind']): Reply =>
  kind === 'nul' ? REPLIES.dataNul : REPLIES.dataFraming;

const commandFault = (kind: Event<'framing'>['kind']): Reply => {
  switch (kind) {
    case 'line-too-long':
      return REPLIES.lineFarTooLong;
    case 'pipelining':
    case 'pregreet':
      return REPLIES.pipelining;
    case 'foreign-protocol':
      return REPLIES.foreignProtocol;
    default:
      return REPLIES.commandFraming;
  }
};

/** One reply for one command, in order: an upstream that says anything unasked is dropped. */
const onUpstreamReply = (state: SessionState, event: Event<'upstream-reply'>, out: Effects): void => {
  const transaction = state.transaction;
  const expected = state.expected.shift();
  if (transaction === undefined || expected === undefined) {
    unlink(state, out, 'close');
    return onUpstreamLost(state, { type: 'upstream-lost', deadline: false }, out);
  }
  switch (expected) {
    case 'mail':
      return onMailReply(state, transaction, event.reply, out);
    case 'rcpt':
      return onRcptReply(state, transaction, event.reply, out);
    case 'data':
      return onDataReply(state, event.reply, event.ahead, out);
    case 'end':
      return onEndReply(state, event.reply, out);
  }
};

const onUpstreamLost = (state: SessionState, { deadline }: Event<'upstream-lost'>, out: Effects): void => {
  const transaction = state.transaction;
  if (transaction === undefined) return;
  const awaited = state.expected[0];
  state.expected.length = 0;
  transaction.link = 'gone';
  if (state.phase === 'data') {
    transaction.dataReply = REPLIES.upstreamFault;
    state.phase = 'discard';
    out.data('discard');
  } else if (awaited === 'end') {
    // RFC 1047: nobody knows whether the MTA has the message; only trying again is safe.
    finish(state, out, 'unknown', REPLIES.upstreamUnknown);
  } else if (awaited === 'data') {
    finish(state, out, 'deferred', REPLIES.upstreamFault);
  } else if (awaited === 'mail' && transaction.reused && !transaction.retried && !deadline) {
    // It may have died in the pool: nothing but MAIL was said, so saying it again harms nobody.
    transaction.retried = true;
    transaction.link = 'acquiring';
    state.phase = 'acquiring';
    out.acquire();
  } else if (awaited !== undefined) {
    failTransaction(state, transaction, out, REPLIES.upstreamFault, 'close');
  } else {
    transaction.failure = REPLIES.upstreamFault;
  }
};

/** RFC 3207 4.2: the session begins anew, with EHLO. What it has cost so far still counts. */
const onSecured = (state: SessionState, auth: readonly string[], out: Effects): void => {
  if (state.phase !== 'tls') return;
  state.auth = auth;
  state.login = undefined;
  state.secure = true;
  state.hello = undefined;
  state.esmtp = false;
  state.phase = 'command';
  if (state.draining) sayAndClose(state, out, REPLIES.shuttingDown, 'shutdown');
};

const onTimeout = (state: SessionState, reply: Reply, out: Effects): void => {
  if (state.phase === 'data' || state.phase === 'discard') {
    unlink(state, out, 'close');
    out.message('aborted', reply);
  }
  sayAndClose(state, out, reply, 'timeout');
};

/** A client that leaves after its final dot: the upstream's reply is still awaited, for the log. */
const onClientGone = (state: SessionState, out: Effects): void => {
  state.clientGone = true;
  if (state.phase === 'upstream' && state.expected[0] === 'end') return;
  if (state.phase === 'data' || state.phase === 'discard') {
    unlink(state, out, 'close');
    out.message('aborted', REPLIES.dataTimeout);
  }
  close(state, out, 'client-gone');
};

const onShutdown = (state: SessionState, out: Effects): void => {
  state.draining = true;
  if (state.phase === 'opening' || (state.phase === 'command' && state.transaction === undefined)) {
    sayAndClose(state, out, REPLIES.shuttingDown, 'shutdown');
  }
};
