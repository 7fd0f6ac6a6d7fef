import { pathText } from '../../address.js';
import { type Param, paramAllowed } from '../../params.js';
import { REPLIES, senderOk } from '../../reply.js';
import { refuse } from '../actions.js';
import type { Run } from '../commands.js';
import { newTransaction } from '../state.js';

/** RFC 1870 6.1: a size declared at MAIL is held against the limit at once. */
const declaredTooBig = (params: readonly Param[], limit: number): boolean => {
  const size = params.find(({ keyword }) => keyword === 'SIZE')?.value;
  return limit > 0 && size !== undefined && Number(size) > limit;
};

/** MAIL is answered here; the upstream hears it with the first recipient that is allowed. */
export const onMail: Run<'MAIL'> = (state, { path, params }, out) => {
  const { capabilities, messageBytes } = state.settings;
  if (params.some(({ keyword }) => !paramAllowed('MAIL', keyword, capabilities))) {
    refuse(state, out, REPLIES.unknownParameter);
    return;
  }
  if (declaredTooBig(params, messageBytes)) {
    refuse(state, out, REPLIES.tooBig);
    return;
  }
  state.transaction = newTransaction(path, params, capabilities);
  out.reply(senderOk(`<${pathText(path)}>`));
};
