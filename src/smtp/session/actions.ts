/** The few things that several handlers do, each in one place. */
import type { DisconnectReason } from '../../base/events.js';
import { REPLIES, type Reply } from '../reply.js';
import type { UpstreamReply } from '../reply-parser.js';
import type { Effects } from './events.js';
import type { SessionState, Transaction } from './state.js';

/** Answers a command that was wrong or refused by policy; these are counted. */
export const refuse = (state: SessionState, out: Effects, reply: Reply): void => {
  state.errors += 1;
  out.reply(reply);
};

/** Gives up the upstream connection, if the transaction holds or awaits one. */
export const unlink = (state: SessionState, out: Effects, how: 'reuse' | 'close'): void => {
  const transaction = state.transaction;
  if (transaction === undefined || transaction.link === 'none' || transaction.link === 'gone') return;
  // A reply still owed would answer the next user's command.
  out.release(state.expected.length > 0 ? 'close' : how);
  state.expected.length = 0;
  transaction.link = 'gone';
};

/** Ends the transaction; during a shutdown the session ends with it (RFC 5321 3.8: 421). */
export const endTransaction = (state: SessionState, out: Effects): void => {
  unlink(state, out, 'reuse');
  state.transaction = undefined;
  state.phase = 'command';
  if (state.draining) sayAndClose(state, out, REPLIES.shuttingDown, 'shutdown');
};

export const close = (state: SessionState, out: Effects, reason: DisconnectReason): void => {
  if (state.phase === 'closed') return;
  if (state.phase === 'auth' || state.phase === 'authenticating') out.authAbandon('gone');
  const inData = state.phase === 'data' || state.phase === 'upstream';
  unlink(state, out, inData ? 'close' : 'reuse');
  state.transaction = undefined;
  state.phase = 'closed';
  out.close(reason);
};

export const sayAndClose = (
  state: SessionState,
  out: Effects,
  reply: Reply,
  reason: DisconnectReason,
): void => {
  if (!state.clientGone) out.reply(reply);
  close(state, out, reason);
};

/** Answers the pending RCPT and goes on to the next command. */
export const answerRcpt = (
  state: SessionState,
  transaction: Transaction,
  out: Effects,
  reply: Reply,
  counts: boolean,
): void => {
  const pending = transaction.pending;
  transaction.pending = undefined;
  transaction.answered += 1;
  state.phase = 'command';
  if (counts) refuse(state, out, reply);
  else out.reply(reply);
  if (pending !== undefined) out.recipient(pending.path, reply);
};

/**
 * The upstream's words for the client. RFC 2034 4: every 2xx, 4xx and 5xx reply bears an enhanced code once
 * ENHANCEDSTATUSCODES is advertised, so a legacy MTA's reply gets the unspecific one of its class.
 * 421 is the upstream's own farewell, not the client's: it becomes 451 (RFC 5321 3.8).
 */
export const relayed = ({ code, enhanced, lines }: UpstreamReply, success = '2.0.0'): Reply => ({
  code: code === 421 ? 451 : code,
  enhanced: enhanced ?? (code < 300 ? success : `${Math.floor(code / 100)}.0.0`),
  lines: lines.some((text) => text !== '') ? lines : [code < 300 ? 'OK' : 'Refused by the mail server'],
});

export const isSuccess = (code: number): boolean => code >= 200 && code < 300;

export const isRefusal = (code: number): boolean => code >= 400 && code < 600;
