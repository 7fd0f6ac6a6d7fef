import { authKeyword } from '../../capabilities.js';
import { ehloReply, helloReply } from '../../reply.js';
import { endTransaction } from '../actions.js';
import type { Run } from '../commands.js';

/** RFC 5321 4.1.4: HELO and EHLO in mid-session clear the transaction like RSET. */
export const onHello: Run<'HELO' | 'EHLO'> = (state, { verb, host }, out) => {
  const { hostname, keywords, secureKeywords } = state.settings;
  state.hello = host;
  state.esmtp = verb === 'EHLO';
  // RFC 4954 4: not offered again once somebody has logged in.
  const auth = state.login === undefined ? authKeyword(state.auth) : [];
  const offered = [...(state.secure ? secureKeywords : keywords), ...auth];
  out.reply(state.esmtp ? ehloReply(hostname, offered) : helloReply(hostname));
  endTransaction(state, out);
};
