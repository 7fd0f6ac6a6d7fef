import { endTransaction } from '../actions.js';
import type { Run } from '../commands.js';
import { helloOf } from '../greetings.js';

/** RFC 5321 4.1.4: HELO and EHLO in mid-session clear the transaction like RSET. */
export const onHello: Run<'HELO' | 'EHLO'> = (state, { verb, host }, out) => {
  state.hello = host;
  state.esmtp = verb === 'EHLO';
  out.reply(helloOf(state));
  endTransaction(state, out);
};
