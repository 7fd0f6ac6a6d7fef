/**
 * The state of a session: flat, small, mutated by `step` alone.
 *
 *   opening ─open→ command ─RCPT→ judging ─verdict→ acquiring ─ready→ upstream ─reply→ command
 *                     │                                 (the link exists)   ↑
 *                     └─DATA→ upstream ─354→ data ─CRLF.CRLF→ upstream ─reply→ command
 *                                             └─refused, lost→ discard ─CRLF.CRLF→ command
 *   command ─STARTTLS→ tls ─secured→ command, knowing nothing
 *   command ─AUTH→ authenticating ─challenge→ auth ─line→ authenticating ─done, failed→ command
 *   any ─close→ closed
 *
 * Commands are taken in `command` only; whoever drives the machine holds the client's octets back meanwhile.
 */
import type { Capabilities } from '../capabilities.js';
import type { Command } from '../command.js';
import { hasParam, type Param } from '../params.js';
import type { Path } from '../path.js';
import type { Reply } from '../reply.js';

export type Phase =
  | 'opening'
  | 'command'
  | 'judging'
  | 'acquiring'
  | 'upstream'
  | 'tls'
  | 'auth'
  | 'authenticating'
  | 'data'
  | 'discard'
  | 'closed';

/** What the next reply of the upstream answers. The list of them is the expectation FIFO. */
export type Expectation = 'mail' | 'rcpt' | 'data' | 'end';

export type RcptCommand = Extract<Command, { verb: 'MAIL' | 'RCPT' }>;

/** What a session is told at its start; nothing of it changes while it lives. */
export interface SessionSettings {
  /** The name in the banner and in the replies to HELO and EHLO. */
  readonly hostname: string;
  /** What the upstream can do, as far as is known. */
  readonly capabilities: Capabilities;
  /** The keyword lines of the EHLO reply. */
  readonly keywords: readonly string[];
  /** The same once TLS is in force. */
  readonly secureKeywords: readonly string[];
  /** STARTTLS may be said. */
  readonly starttls: boolean;
  /** There are logins at all: AUTH may become available under TLS. */
  readonly logins: boolean;
  /** MAIL needs a login (RFC 6409 4.3). */
  readonly requireLogin: boolean;
  /** Octets; 0 is no limit. */
  readonly messageBytes: number;
  readonly recipients: number;
  readonly errors: number;
  readonly commands: number;
  readonly idleCommands: number;
}

/** From MAIL to the reply to the final dot, RSET, HELO, EHLO or the end. */
export interface Transaction {
  readonly from: Path;
  readonly params: readonly Param[];
  readonly utf8: boolean;
  /** Recipients that the upstream accepted. */
  readonly accepted: Path[];
  /** RCPT commands answered, with whatever reply. */
  answered: number;
  /** The RCPT that is being judged or waits for the upstream. */
  pending: RcptCommand | undefined;
  /** `open`: the upstream has accepted MAIL on the connection that this transaction holds. */
  link: 'none' | 'acquiring' | 'mail' | 'open' | 'gone';
  /** Of the connection held, which may be another server than the one whose capabilities were offered. */
  capabilities: Capabilities;
  /** A pooled connection may have died while idle: replaced once. */
  reused: boolean;
  retried: boolean;
  /** Answers every further RCPT once the upstream refused MAIL or was lost. */
  failure: Reply | undefined;
  /** Answers the final dot of a message that is thrown away. */
  dataReply: Reply | undefined;
}

export interface SessionState {
  readonly settings: SessionSettings;
  phase: Phase;
  hello: string | undefined;
  esmtp: boolean;
  /** TLS is in force. */
  secure: boolean;
  /** SASL mechanisms on offer now. */
  auth: readonly string[];
  /** The name of the login, once one has succeeded. */
  login: string | undefined;
  transaction: Transaction | undefined;
  readonly expected: Expectation[];
  ticket: number;
  errors: number;
  commands: number;
  /** Commands that bring no mail forward, since the last message. */
  idleCommands: number;
  draining: boolean;
  clientGone: boolean;
}

export const newSession = (settings: SessionSettings, secure = false): SessionState => ({
  settings,
  phase: 'opening',
  hello: undefined,
  esmtp: false,
  secure,
  auth: [],
  login: undefined,
  transaction: undefined,
  expected: [],
  ticket: 0,
  errors: 0,
  commands: 0,
  idleCommands: 0,
  draining: false,
  clientGone: false,
});

export const newTransaction = (
  from: Path,
  params: readonly Param[],
  capabilities: Capabilities,
): Transaction => ({
  from,
  params,
  capabilities,
  utf8: hasParam(params, 'SMTPUTF8'),
  accepted: [],
  answered: 0,
  pending: undefined,
  link: 'none',
  reused: false,
  retried: false,
  failure: undefined,
  dataReply: undefined,
});
