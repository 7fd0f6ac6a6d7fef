import { allAllowed, filterParams } from '../../params.js';
import { needsUtf8, REPLIES, type Reply } from '../../reply.js';
import type { UpstreamReply } from '../../reply-parser.js';
import { answerRcpt, isRefusal, isSuccess, refuse, relayed, unlink } from '../actions.js';
import type { Run } from '../commands.js';
import type { Effects, SessionEvent } from '../events.js';
import type { SessionState, Transaction } from '../state.js';

type Event<T extends SessionEvent['type']> = Extract<SessionEvent, { type: T }>;

/** Each recipient is judged by itself, before the upstream hears of it. */
export const onRcpt: Run<'RCPT'> = (state, command, out) => {
  const transaction = state.transaction as Transaction;
  const { capabilities, recipients } = state.settings;
  if (!allAllowed('RCPT', command.params, capabilities)) {
    refuse(state, out, REPLIES.unknownParameter);
    return;
  }
  transaction.pending = command;
  // RFC 5321 4.5.3.1.10: 452, and the client sends the rest in another transaction.
  if (transaction.accepted.length >= recipients) {
    answerRcpt(state, transaction, out, REPLIES.tooManyRecipients, false);
    return;
  }
  state.ticket += 1;
  state.phase = 'judging';
  out.ask({ ticket: state.ticket, from: transaction.from, to: command.path });
};

export const onVerdict = (state: SessionState, event: Event<'verdict'>, out: Effects): void => {
  const transaction = state.transaction;
  if (state.phase !== 'judging' || event.ticket !== state.ticket) return;
  // Without a RCPT that waits, the question was another: that about the sender.
  if (transaction?.pending === undefined) return;
  if (!event.judgement.permit) {
    const { reply } = event.judgement;
    answerRcpt(state, transaction, out, reply, reply.code >= 500);
  } else if (transaction.failure !== undefined) {
    answerRcpt(state, transaction, out, transaction.failure, false);
  } else if (transaction.link === 'open') {
    forwardRcpt(state, transaction, out);
  } else {
    transaction.link = 'acquiring';
    state.phase = 'acquiring';
    out.acquire();
  }
};

export const onUpstreamReady = (state: SessionState, event: Event<'upstream-ready'>, out: Effects): void => {
  const transaction = state.transaction;
  if (state.phase !== 'acquiring' || transaction === undefined) {
    out.release('reuse');
    return;
  }
  transaction.link = 'mail';
  transaction.reused = event.reused;
  transaction.capabilities = event.capabilities;
  state.phase = 'upstream';
  // RFC 6531 3.4: never handed to a server that did not advertise it.
  if (transaction.utf8 && !event.capabilities.smtpUtf8) {
    failTransaction(state, transaction, out, needsUtf8, 'reuse');
    return;
  }
  state.expected.push('mail');
  out.forward({
    verb: 'MAIL',
    path: transaction.from,
    params: filterParams(transaction.params, 'MAIL', event.capabilities),
  });
  // RFC 2920 3.1: both in one group. DATA never is in it, so that no data can follow a MAIL or RCPT that was refused.
  if (event.capabilities.pipelining) forwardRcpt(state, transaction, out);
};

export const onUpstreamUnavailable = (
  state: SessionState,
  event: Event<'upstream-unavailable'>,
  out: Effects,
): void => {
  const transaction = state.transaction;
  if (state.phase !== 'acquiring' || transaction === undefined) return;
  transaction.link = 'gone';
  failTransaction(state, transaction, out, event.busy ? REPLIES.upstreamBusy : REPLIES.upstreamDown, 'close');
};

/**
 * The upstream's refusal of MAIL answers this RCPT and every later one of the transaction. Where RCPT was said along with
 * MAIL, its reply is awaited first: nothing may be owed on a connection that others get.
 */
export const onMailReply = (
  state: SessionState,
  transaction: Transaction,
  reply: UpstreamReply,
  out: Effects,
) => {
  const rcptSaid = state.expected.length > 0;
  if (isSuccess(reply.code)) {
    transaction.link = 'open';
    if (!rcptSaid) forwardRcpt(state, transaction, out);
  } else if (isRefusal(reply.code)) {
    if (rcptSaid && reply.code !== 421) transaction.failure = relayed(reply);
    else failTransaction(state, transaction, out, relayed(reply), reply.code === 421 ? 'close' : 'reuse');
  } else {
    failTransaction(state, transaction, out, REPLIES.upstreamFault, 'close');
  }
};

export const onRcptReply = (
  state: SessionState,
  transaction: Transaction,
  reply: UpstreamReply,
  out: Effects,
) => {
  if (reply.code === 421 || !(isSuccess(reply.code) || isRefusal(reply.code))) {
    const said = reply.code === 421 ? relayed(reply) : REPLIES.upstreamFault;
    failTransaction(state, transaction, out, said, 'close');
    return;
  }
  if (transaction.failure !== undefined) {
    failTransaction(state, transaction, out, transaction.failure, 'reuse');
    return;
  }
  const pending = transaction.pending;
  if (isSuccess(reply.code) && pending !== undefined) transaction.accepted.push(pending.path);
  answerRcpt(state, transaction, out, relayed(reply, '2.1.5'), false);
};

/** Nothing more can come of this transaction at the upstream; later recipients get the same answer. */
export const failTransaction = (
  state: SessionState,
  transaction: Transaction,
  out: Effects,
  reply: Reply,
  how: 'reuse' | 'close',
): void => {
  transaction.failure = reply;
  unlink(state, out, how);
  answerRcpt(state, transaction, out, reply, false);
};

const forwardRcpt = (state: SessionState, transaction: Transaction, out: Effects): void => {
  const pending = transaction.pending;
  if (pending === undefined) return;
  state.phase = 'upstream';
  state.expected.push('rcpt');
  out.forward({
    verb: 'RCPT',
    path: pending.path,
    params: filterParams(pending.params, 'RCPT', transaction.capabilities),
  });
};
