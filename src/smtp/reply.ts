/**
 * The catalogue of every reply Sekisho itself can utter, so that no reply number stands anywhere else.
 *
 * Codes: RFC 5321 4.2; enhanced codes: RFC 3463 and RFC 5248. Wording that bounce readers and log
 * analysers know from sendmail is kept ("Relaying denied").
 */

/** A reply to one command. `lines` hold printable text without code, enhanced code or line end. */
export interface Reply {
  /** 200 to 599. */
  readonly code: number;
  /** RFC 3463 class.subject.detail; absent for 220 banner, 250 EHLO, 354 and 3xx continuations. */
  readonly enhanced?: string;
  /** At least one line. */
  readonly lines: readonly string[];
  /** What the log says about it, never shown to the peer. */
  readonly cause?: string;
}

const reply = (code: number, enhanced: string | undefined, text: string, cause?: string): Reply => ({
  code,
  ...(enhanced === undefined ? {} : { enhanced }),
  lines: [text],
  ...(cause === undefined ? {} : { cause }),
});

/** Text from the wire as it may stand in a reply: printable ASCII, at most 200 octets. */
export const safeText = (text: string): string => {
  const printable = text.replace(/[^\x20-\x7e]/g, '?');
  return printable.length > 200 ? `${printable.slice(0, 197)}...` : printable;
};

/** Fixed replies. */
export const REPLIES = {
  bye: reply(221, '2.0.0', 'closing connection'),
  ok: reply(250, '2.0.0', 'OK'),
  reset: reply(250, '2.0.0', 'Reset state'),
  startData: reply(354, undefined, 'Enter mail, end with "." on a line by itself'),
  cannotVerify: reply(252, '2.5.2', 'Cannot VRFY user; try RCPT to attempt delivery'),
  help: {
    code: 214,
    enhanced: '2.0.0',
    lines: ['Commands: HELO EHLO MAIL RCPT DATA RSET NOOP QUIT VRFY HELP', 'See RFC 5321'],
  },
  shuttingDown: reply(421, '4.3.2', 'Service shutting down, closing connection', 'shutdown'),
  tooManyConnections: reply(421, '4.7.0', 'Too many connections, try again later', 'connection limit'),
  tooManyFromYou: reply(
    421,
    '4.7.0',
    'Too many connections from your address',
    'connection limit per address',
  ),
  tooManyErrors: reply(421, '4.7.0', 'Too many errors, closing connection', 'error limit'),
  tooManyCommands: reply(421, '4.7.0', 'Too many commands, closing connection', 'command limit'),
  idleTimeout: reply(421, '4.4.2', 'Timeout waiting for a command, closing connection', 'idle timeout'),
  commandTimeout: reply(421, '4.4.2', 'Timeout waiting for the end of a command', 'command timeout'),
  dataTimeout: reply(421, '4.4.2', 'Timeout waiting for message data, closing connection', 'data timeout'),
  dataTooSlow: reply(421, '4.4.2', 'Message data too slow, closing connection', 'data rate'),
  sessionTimeout: reply(421, '4.4.2', 'Session time exceeded, closing connection', 'session time'),
  commandFraming: reply(421, '4.5.2', 'Line ends are CRLF only, closing connection', 'command framing'),
  pipelining: reply(
    421,
    '4.5.1',
    'Improper command pipelining, closing connection',
    'unauthorised pipelining',
  ),
  lineTooLong: reply(500, '5.5.2', 'Line too long', 'line length'),
  lineFarTooLong: reply(421, '4.5.2', 'Line far too long, closing connection', 'line length'),
  syntax: reply(500, '5.5.2', 'Syntax error, command unrecognized'),
  emptyLine: reply(500, '5.5.2', 'Empty command line'),
  notAscii: reply(500, '5.5.2', 'Command contains octets that are not printable ASCII'),
  foreignProtocol: reply(421, '4.7.0', 'This is a mail server, closing connection', 'foreign protocol'),
  unknownCommand: reply(500, '5.5.1', 'Command unrecognized'),
  notImplemented: reply(502, '5.5.1', 'Command not implemented'),
  commandRefused: reply(502, '5.7.0', 'Command refused'),
  readyForTls: reply(220, '2.0.0', 'Ready to start TLS'),
  alreadySecure: reply(503, '5.5.1', 'TLS is already in force'),
  notAvailable: reply(502, '5.5.1', 'Command not available'),
  badArgument: reply(501, '5.5.4', 'Syntax error in parameters or arguments'),
  noArgument: reply(501, '5.5.4', 'No parameters allowed'),
  badHello: reply(501, '5.5.4', 'Invalid domain name in HELO or EHLO'),
  badMailSyntax: reply(501, '5.5.4', 'Syntax: MAIL FROM:<address>'),
  badRcptSyntax: reply(501, '5.5.4', 'Syntax: RCPT TO:<address>'),
  badParameterValue: reply(501, '5.5.4', 'Invalid value of a MAIL or RCPT parameter'),
  duplicateParameter: reply(501, '5.5.4', 'Parameter given twice'),
  unknownParameter: reply(555, '5.5.4', 'MAIL or RCPT parameter not recognized or not available'),
  chunkingRefused: reply(502, '5.5.1', 'BDAT not available, closing connection', 'BDAT'),
  helloFirst: reply(503, '5.5.1', 'Send HELO or EHLO first'),
  mailFirst: reply(503, '5.5.1', 'Need MAIL before RCPT'),
  rcptFirst: reply(503, '5.5.1', 'Need RCPT (recipient)'),
  noValidRecipients: reply(554, '5.5.1', 'No valid recipients'),
  nestedMail: reply(503, '5.5.1', 'Sender already specified'),
  tooManyRecipients: reply(452, '4.5.3', 'Too many recipients'),
  tooBig: reply(552, '5.3.4', 'Message exceeds the maximum size'),
  loginRequired: reply(530, '5.7.0', 'Authentication required'),
  upstreamDown: reply(451, '4.3.0', 'Mail server not reachable, try again later', 'upstream unavailable'),
  upstreamBusy: reply(451, '4.3.2', 'Mail server busy, try again later', 'upstream busy'),
  upstreamFault: reply(451, '4.3.0', 'Mail server failed, try again later', 'upstream fault'),
  upstreamUnknown: reply(
    451,
    '4.3.0',
    'Mail server did not confirm the message, try again later',
    'unknown: no reply to the final dot (RFC 1047)',
  ),
  dataFraming: reply(550, '5.5.2', 'Message data must use CRLF line ends only', 'data framing'),
  dataNul: reply(550, '5.6.0', 'NUL octets in message data are not accepted', 'data NUL'),
  dataEightBit: reply(554, '5.6.3', 'Eight-bit data is not accepted without BODY=8BITMIME', '8-bit data'),
  dataLineTooLong: reply(554, '5.6.0', 'Message line longer than 998 octets', 'data line length'),
  headerTooLong: reply(554, '5.6.0', 'Header section too long', 'header length'),
  mailLoop: reply(554, '5.4.6', 'Too many hops, mail loop detected', 'loop'),
  internal: reply(451, '4.3.0', 'Internal error, try again later', 'internal error'),
} as const satisfies Record<string, Reply>;

/** `220` with the name of the server as the client shall see it. */
export const banner = (hostname: string): Reply => reply(220, undefined, `${hostname} ESMTP`);

/** `250` to HELO. */
export const helloReply = (hostname: string): Reply => reply(250, undefined, hostname);

/** `250` to EHLO with its keyword lines, RFC 5321 4.1.1.1. */
export const ehloReply = (hostname: string, keywords: readonly string[]): Reply => ({
  code: 250,
  lines: [hostname, ...keywords],
});

/** `250` to MAIL, answered by Sekisho before the upstream hears of it. */
export const senderOk = (address: string): Reply => reply(250, '2.1.0', `${safeText(address)}... Sender ok`);

/** `550 5.7.1 <a>... Relaying denied`: the refusal that the whole program is for. */
export const relayingDenied = (address: string, loginOffered: boolean, cause: string): Reply =>
  reply(
    550,
    '5.7.1',
    `${safeText(address)}... Relaying denied${loginOffered ? '. Proper authentication required' : ''}`,
    cause,
  );

/** A refusal by a rule that bears its own text. */
export const ruleReply = (code: number, enhanced: string, text: string, cause: string): Reply =>
  reply(code, enhanced, safeText(text), cause);

/** `451 4.7.1`: the policy could not be decided just now, or a rule says defer. */
export const deferred = (address: string, cause: string): Reply =>
  reply(451, '4.7.1', `${safeText(address)}... Deferred by policy, try again later`, cause);

/** An address that does not parse under the strict grammar: 501 5.1.3 for RCPT, 501 5.1.7 for MAIL. */
export const badAddress = (kind: 'recipient' | 'sender', cause: string): Reply =>
  kind === 'recipient'
    ? reply(501, '5.1.3', 'Bad recipient address syntax', cause)
    : reply(501, '5.1.7', 'Bad sender address syntax', cause);

/** An address that parses but is never passed on (pipes, files, routes in a sender): 553. */
export const refusedAddress = (kind: 'recipient' | 'sender', cause: string): Reply =>
  kind === 'recipient'
    ? reply(553, '5.1.3', 'Recipient address not accepted', cause)
    : reply(553, '5.1.7', 'Sender address not accepted', cause);

/** A non-ASCII address where SMTPUTF8 cannot be had, RFC 6531 3.5. */
export const needsUtf8: Reply = reply(553, '5.6.7', 'Non-ASCII addresses are not available here', 'SMTPUTF8');

/** The octets of a reply on the wire, every line ended by CRLF. */
export const printReply = ({ code, enhanced, lines }: Reply): string => {
  const last = lines.length - 1;
  const mark = enhanced === undefined ? '' : `${enhanced} `;
  return lines.map((text, i) => `${code}${i === last ? ' ' : '-'}${mark}${text}\r\n`).join('');
};
