import { pathText } from '../../address.js';
import { allAllowed, type Param } from '../../params.js';
import { REPLIES, senderOk } from '../../reply.js';
import { endTransaction, refuse } from '../actions.js';
import type { Run } from '../commands.js';
import type { Effects, SessionEvent } from '../events.js';
import { newTransaction, type SessionState } from '../state.js';

/** RFC 1870 6.1: a size declared at MAIL is held against the limit at once. */
const declaredTooBig = (params: readonly Param[], limit: number): boolean => {
  if (limit === 0) return false;
  const size = params.find(({ keyword }) => keyword === 'SIZE')?.value;
  return size !== undefined && Number(size) > limit;
};

/** MAIL is answered here; the upstream hears it with the first recipient that is allowed. */
export const onMail: Run<'MAIL'> = (state, { path, params }, out) => {
  const { capabilities, messageBytes, requireLogin, starttls } = state.settings;
  if (requireLogin && state.login === undefined) {
    const tlsFirst = !state.secure && starttls && state.auth.length === 0;
    refuse(state, out, tlsFirst ? REPLIES.tlsThenLogin : REPLIES.loginRequired);
    return;
  }
  if (!allAllowed('MAIL', params, capabilities)) {
    refuse(state, out, REPLIES.unknownParameter);
    return;
  }
  if (declaredTooBig(params, messageBytes)) {
    refuse(state, out, REPLIES.tooBig);
    return;
  }
  state.transaction = newTransaction(path, params, capabilities);
  if (state.login === undefined) {
    out.reply(senderOk(`<${pathText(path)}>`));
    return;
  }
  state.ticket += 1;
  state.phase = 'judging';
  out.askSender({ ticket: state.ticket, from: path });
};

/** RFC 6409 6.1: whoever has logged in may not send in another's name. */
export const onSenderVerdict = (
  state: SessionState,
  { ticket, refusal }: Extract<SessionEvent, { type: 'sender-verdict' }>,
  out: Effects,
): void => {
  const { transaction } = state;
  if (state.phase !== 'judging' || ticket !== state.ticket || transaction === undefined) return;
  // A RCPT that waits is not answered by what was said of the sender.
  if (transaction.pending !== undefined) return;
  state.phase = 'command';
  if (refusal === undefined) {
    out.reply(senderOk(`<${pathText(transaction.from)}>`));
    return;
  }
  refuse(state, out, refusal);
  endTransaction(state, out);
};
