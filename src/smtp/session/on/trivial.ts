/** The commands that are answered here and never concern the upstream. */
import { REPLIES } from '../../reply.js';
import { close, endTransaction, refuse, unlink } from '../actions.js';
import type { Run } from '../commands.js';

export const onRset: Run<'RSET'> = (state, _command, out) => {
  out.reply(REPLIES.reset);
  endTransaction(state, out);
};

export const onNoop: Run<'NOOP'> = (_state, _command, out) => out.reply(REPLIES.ok);

export const onQuit: Run<'QUIT'> = (state, _command, out) => {
  out.reply(REPLIES.bye);
  close(state, out, 'quit');
};

/** Sekisho's own: the MTA's HELP names its version. */
export const onHelp: Run<'HELP'> = (_state, _command, out) => out.reply(REPLIES.help);

/** RFC 5321 7.3: 252 tells nothing about who exists. */
export const onVrfy: Run<'VRFY'> = (_state, _command, out) => out.reply(REPLIES.cannotVerify);

/** EXPN lists people, ETRN starts queue runs (CVE-1999-1109). */
export const onRefusedVerb: Run<'EXPN' | 'ETRN'> = (state, _command, out) =>
  refuse(state, out, REPLIES.commandRefused);

/** RFC 3207 4.2: nothing learnt in clear text survives, so the transaction ends here. */
export const onStartTls: Run<'STARTTLS'> = (state, _command, out) => {
  if (state.secure || !state.settings.starttls) {
    refuse(state, out, state.secure ? REPLIES.alreadySecure : REPLIES.notAvailable);
    return;
  }
  unlink(state, out, 'reuse');
  state.transaction = undefined;
  out.reply(REPLIES.readyForTls);
  state.phase = 'tls';
  out.startTls();
};

/** RFC 3030: a count of raw octets follows, which must never be read as commands; so the session ends. */
export const onBdat: Run<'BDAT'> = (state, _command, out) => {
  out.reply(REPLIES.chunkingRefused);
  close(state, out, 'framing');
};
