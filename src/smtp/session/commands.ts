/**
 * THE TABLE: which command may come when, and what runs.
 *
 *   hello        HELO or EHLO must have been said
 *   transaction  `none`: no transaction may be open; `open`: one must be
 *   alone        must be the last of a group: nothing may have been sent behind it (RFC 2920 3.1)
 *   forward      brings mail forward, and so is not counted among the idle commands
 */
import type { Command } from '../command.js';
import { REPLIES, type Reply } from '../reply.js';
import type { Effects } from './events.js';
import { onAuth } from './on/auth.js';
import { onData } from './on/data.js';
import { onHello } from './on/hello.js';
import { onMail } from './on/mail.js';
import { onRcpt } from './on/rcpt.js';
import { onBdat, onHelp, onNoop, onQuit, onRefusedVerb, onRset, onStartTls, onVrfy } from './on/trivial.js';
import type { SessionState } from './state.js';

export type Verb = Command['verb'];

/** The type of the commands that bear this verb. */
type CommandOf<V extends Verb> = Command extends infer C
  ? C extends { verb: infer W }
    ? V extends W
      ? C
      : never
    : never
  : never;

export type Run<V extends Verb> = (state: SessionState, command: CommandOf<V>, out: Effects) => void;

interface Row<V extends Verb> {
  readonly hello: boolean;
  readonly transaction: 'any' | 'none' | 'open';
  readonly alone: boolean;
  readonly forward: boolean;
  readonly run: Run<V>;
}

const row = <V extends Verb>(
  hello: boolean,
  transaction: Row<V>['transaction'],
  alone: boolean,
  forward: boolean,
  run: Run<V>,
): Row<V> => ({ hello, transaction, alone, forward, run });

export const COMMANDS: { readonly [V in Verb]: Row<V> } = {
  //            hello   transaction  alone  forward
  HELO: row(false, 'any', true, false, onHello),
  EHLO: row(false, 'any', true, false, onHello),
  MAIL: row(true, 'none', false, true, onMail),
  RCPT: row(true, 'open', false, true, onRcpt),
  DATA: row(true, 'open', true, true, onData),
  RSET: row(false, 'any', false, false, onRset),
  NOOP: row(false, 'any', false, false, onNoop),
  QUIT: row(false, 'any', false, true, onQuit),
  VRFY: row(false, 'any', false, false, onVrfy),
  EXPN: row(false, 'any', false, false, onRefusedVerb),
  HELP: row(false, 'any', false, false, onHelp),
  ETRN: row(false, 'any', false, false, onRefusedVerb),
  AUTH: row(false, 'any', true, false, onAuth),
  STARTTLS: row(false, 'any', true, false, onStartTls),
  BDAT: row(false, 'any', false, false, onBdat),
};

/** What is wrong with the order of commands (RFC 5321 4.1.4), or undefined. */
export const outOfOrder = (
  state: SessionState,
  verb: Verb,
  { hello, transaction }: Pick<Row<Verb>, 'hello' | 'transaction'>,
): Reply | undefined => {
  if (hello && state.hello === undefined) return REPLIES.helloFirst;
  if (transaction === 'none' && state.transaction !== undefined) return REPLIES.nestedMail;
  if (transaction === 'open' && state.transaction === undefined) {
    return verb === 'RCPT' ? REPLIES.mailFirst : REPLIES.rcptFirst;
  }
  return undefined;
};
