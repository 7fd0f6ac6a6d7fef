import { ehloReply, helloReply } from '../../reply.js';
import { endTransaction } from '../actions.js';
import type { Run } from '../commands.js';

/** RFC 5321 4.1.4: HELO and EHLO in mid-session clear the transaction like RSET. */
export const onHello: Run<'HELO' | 'EHLO'> = (state, { verb, host }, out) => {
  const { hostname, keywords, secureKeywords } = state.settings;
  state.hello = host;
  state.esmtp = verb === 'EHLO';
  out.reply(
    state.esmtp ? ehloReply(hostname, state.secure ? secureKeywords : keywords) : helloReply(hostname),
  );
  endTransaction(state, out);
};
