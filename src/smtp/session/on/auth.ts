/**
 * SMTP AUTH (RFC 4954), without the mechanisms: those are somebody else's, behind `authenticate`. Here is what
 * may come when, how a line is decoded, and what the client is told.
 */
import { authChallenge, REPLIES, type Reply } from '../../reply.js';
import { refuse, sayAndClose } from '../actions.js';
import type { Run } from '../commands.js';
import type { AuthStep, Effects } from '../events.js';
import type { SessionState } from '../state.js';

const BASE64 = /^(?:[A-Za-z0-9+/]{4})*(?:[A-Za-z0-9+/]{2}==|[A-Za-z0-9+/]{3}=)?$/;

/** RFC 4648 4, strictly: with padding and nothing else; undefined for anything else. */
const decode = (text: string): Buffer | undefined =>
  BASE64.test(text) ? Buffer.from(text, 'base64') : undefined;

/** Why AUTH cannot be had just now. */
const obstacle = (state: SessionState, mechanism: string): Reply | undefined => {
  const { logins, starttls } = state.settings;
  if (!logins) return REPLIES.notAvailable;
  if (state.hello === undefined) return REPLIES.helloFirst;
  if (state.login !== undefined) return REPLIES.alreadyLoggedIn;
  if (state.transaction !== undefined) return REPLIES.authInTransaction;
  if (!state.esmtp) return REPLIES.ehloBeforeAuth;
  if (state.auth.includes(mechanism)) return undefined;
  return !state.secure && starttls ? REPLIES.encryptionRequired : REPLIES.unknownMechanism;
};

export const onAuth: Run<'AUTH'> = (state, { mechanism, initial }, out) => {
  const fault = obstacle(state, mechanism);
  if (fault !== undefined) {
    refuse(state, out, fault);
    return;
  }
  // RFC 4954 4: `=` is an initial response without octets.
  const response = initial === '=' ? Buffer.alloc(0) : initial === undefined ? undefined : decode(initial);
  if (initial !== undefined && response === undefined) {
    refuse(state, out, REPLIES.authNotBase64);
    return;
  }
  state.phase = 'authenticating';
  out.authenticate(mechanism, response);
};

/** During a shutdown the session ends with the exchange, as it does with a transaction. */
const leaveIfDraining = (state: SessionState, out: Effects): void => {
  if (state.draining && state.phase !== 'closed') sayAndClose(state, out, REPLIES.shuttingDown, 'shutdown');
};

export const onAuthLine = (state: SessionState, text: string, ahead: boolean, out: Effects): void => {
  if (state.phase !== 'auth') return;
  // Each response waits for its challenge, and what follows AUTH for its outcome.
  if (ahead) {
    sayAndClose(state, out, REPLIES.pipelining, 'framing');
    return;
  }
  const response = text === '*' ? undefined : decode(text);
  if (response === undefined) {
    state.phase = 'command';
    out.authAbandon(text === '*' ? 'cancelled' : 'malformed');
    refuse(state, out, text === '*' ? REPLIES.authCancelled : REPLIES.authNotBase64);
    leaveIfDraining(state, out);
    return;
  }
  state.phase = 'authenticating';
  out.authRespond(response);
};

/** Whoever sends that much says no password, so nothing is lost with the connection. */
export const onAuthLineTooLong = (state: SessionState, out: Effects): void => {
  if (state.phase !== 'auth') return;
  sayAndClose(state, out, REPLIES.authLineTooLong, 'limit');
};

const FAILURES: Readonly<Record<'wrong' | 'unavailable' | 'malformed', Reply>> = {
  wrong: REPLIES.wrongCredentials,
  unavailable: REPLIES.credentialsUnavailable,
  malformed: REPLIES.authMalformed,
};

export const onAuthStep = (state: SessionState, step: AuthStep, out: Effects): void => {
  if (state.phase !== 'authenticating') return;
  if (step.kind === 'challenge') {
    state.phase = 'auth';
    out.reply(authChallenge(step.text));
    return;
  }
  state.phase = 'command';
  if (step.kind === 'done') {
    state.login = step.login;
    state.idleCommands = 0;
    out.reply(REPLIES.loggedIn);
  } else if (step.failure === 'locked') {
    sayAndClose(state, out, REPLIES.tooManyFailedLogins, 'limit');
  } else if (step.failure === 'unavailable') {
    out.reply(REPLIES.credentialsUnavailable);
  } else {
    refuse(state, out, FAILURES[step.failure]);
  }
  leaveIfDraining(state, out);
};
