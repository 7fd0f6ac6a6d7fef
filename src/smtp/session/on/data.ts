import type { MessageResult } from '../../../base/events.js';
import { REPLIES, type Reply } from '../../reply.js';
import type { UpstreamReply } from '../../reply-parser.js';
import { endTransaction, isRefusal, isSuccess, refuse, relayed, sayAndClose, unlink } from '../actions.js';
import type { Run } from '../commands.js';
import type { Effects } from '../events.js';
import type { SessionState, Transaction } from '../state.js';

export const onData: Run<'DATA'> = (state, _command, out) => {
  const transaction = state.transaction as Transaction;
  if (transaction.accepted.length === 0) {
    // RFC 5321 3.3: 503 or 554 when no recipient was accepted; a 4xx where trying again may help.
    const reply = transaction.answered === 0 ? REPLIES.rcptFirst : REPLIES.noValidRecipients;
    refuse(state, out, transaction.failure?.code === 451 ? transaction.failure : reply);
    return;
  }
  if (transaction.link !== 'open') {
    finish(state, out, 'deferred', transaction.failure ?? REPLIES.upstreamFault);
    return;
  }
  state.phase = 'upstream';
  state.expected.push('data');
  out.forward({ verb: 'DATA' });
};

export const onDataReply = (
  state: SessionState,
  reply: UpstreamReply,
  ahead: boolean,
  out: Effects,
): void => {
  if (reply.code === 354) {
    // RFC 2920 3.1: DATA ends a group. Octets sent before the 354 could be read as either side likes.
    if (ahead) {
      sayAndClose(state, out, REPLIES.pipelining, 'framing');
      return;
    }
    state.phase = 'data';
    out.reply(REPLIES.startData);
    out.data('forward');
  } else if (isRefusal(reply.code)) {
    if (reply.code === 421) unlink(state, out, 'close');
    finish(state, out, resultOf(reply.code), relayed(reply));
  } else {
    unlink(state, out, 'close');
    finish(state, out, 'deferred', REPLIES.upstreamFault);
  }
};

/** The client's final dot. The message is complete for the upstream only now. */
export const onDataEnd = (state: SessionState, out: Effects): void => {
  const transaction = state.transaction;
  if (transaction === undefined) return;
  if (state.phase === 'data') {
    state.phase = 'upstream';
    state.expected.push('end');
    out.endData();
  } else if (state.phase === 'discard') {
    const reply = transaction.dataReply ?? REPLIES.upstreamFault;
    finish(state, out, resultOf(reply.code), reply);
  }
};

/** The one place from which a 250 for a message can come: the upstream's own reply to that message. */
export const onEndReply = (state: SessionState, reply: UpstreamReply, out: Effects): void => {
  state.idleCommands = 0;
  if (isSuccess(reply.code)) finish(state, out, 'accepted', relayed(reply));
  else if (isRefusal(reply.code)) {
    if (reply.code === 421) unlink(state, out, 'close');
    finish(state, out, resultOf(reply.code), relayed(reply));
  } else {
    unlink(state, out, 'close');
    finish(state, out, 'unknown', REPLIES.upstreamUnknown);
  }
};

/** The message must not be completed: the upstream connection is dropped before the final dot, so that the MTA discards it. */
export const onDataRefused = (state: SessionState, reply: Reply, out: Effects): void => {
  if (state.phase !== 'data' || state.transaction === undefined) return;
  unlink(state, out, 'close');
  state.transaction.dataReply = reply;
  state.phase = 'discard';
  out.data('discard');
};

export const resultOf = (code: number): MessageResult => (code >= 500 ? 'rejected' : 'deferred');

/** Answers the message and ends the transaction. A client that is gone is not answered, but logged. */
export const finish = (state: SessionState, out: Effects, result: MessageResult, reply: Reply): void => {
  out.message(result, reply);
  if (state.clientGone) {
    unlink(state, out, 'reuse');
    state.transaction = undefined;
    state.phase = 'closed';
    out.close('client-gone');
    return;
  }
  out.reply(reply);
  endTransaction(state, out);
};
