/**
 * The catalogue of every reply Sekisho itself can utter, so that no reply number stands anywhere else.
 *
 * Codes: RFC 5321 4.2; enhanced codes: RFC 3463 and RFC 5248. Wording that bounce readers and log
 * analysers know from sendmail is kept ("Relaying denied").
 */
import { isPrintableAscii } from './atext.js';

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

const reply = (code: number, enhanced: string | undefined, text: string, cause?: string): Reply => {
  const lines = [text];
  if (enhanced === undefined) return cause === undefined ? { code, lines } : { code, lines, cause };
  return cause === undefined ? { code, enhanced, lines } : { code, enhanced, lines, cause };
};

/** Text from the wire as it may stand in a reply: printable ASCII, at most 200 octets. */
export const safeText = (text: string): string => {
  const printable = isPrintableAscii(text) ? text : text.replace(/[^\x20-\x7e]/g, '?');
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
  /** RFC 5321 3.1. */
  noService: reply(554, '5.3.2', 'No mail service here for the address that you connected to', 'destination'),
  shuttingDown: reply(421, '4.3.2', 'Service shutting down, closing connection', 'shutdown'),
  tooManyConnections: reply(421, '4.7.0', 'Too many connections, try again later', 'connection limit'),
  tooManyFromYou: reply(
    421,
    '4.7.0',
    'Too many connections from your address',
    'connection limit per address',
  ),
  banned: reply(421, '4.7.0', 'Your address is banned for a while', 'ban'),
  overQuota: reply(421, '4.7.0', 'Too much for now, try again later', 'quota'),
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
  /** Said over TLS as the first and last thing, to a client without the certificate that it needs. */
  certificateNeeded: reply(554, '5.7.0', 'A client certificate that is trusted here is required'),
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
  /** RFC 5321 4.5.3.1.10: the client sends the rest in another transaction. */
  anotherServer: reply(
    452,
    '4.5.3',
    'Recipient is on another mail server, send to it separately',
    'upstream',
  ),
  tooBig: reply(552, '5.3.4', 'Message exceeds the maximum size'),
  loginRequired: reply(530, '5.7.0', 'Authentication required', 'no login'),
  tlsThenLogin: reply(530, '5.7.0', 'Must issue a STARTTLS command first, then log in', 'no login'),
  loggedIn: reply(235, '2.7.0', 'Authentication successful'),
  alreadyLoggedIn: reply(503, '5.5.1', 'Already authenticated'),
  authInTransaction: reply(503, '5.5.1', 'AUTH not permitted during a mail transaction'),
  ehloBeforeAuth: reply(503, '5.5.1', 'AUTH needs EHLO first'),
  unknownMechanism: reply(504, '5.5.4', 'Authentication mechanism not available'),
  encryptionRequired: reply(538, '5.7.11', 'Encryption required for authentication', 'AUTH in clear text'),
  authCancelled: reply(501, '5.7.0', 'Authentication cancelled', 'cancelled by the client'),
  authNotBase64: reply(501, '5.5.2', 'Cannot decode the response: it must be base64'),
  authMalformed: reply(501, '5.5.2', 'Malformed authentication response'),
  authLineTooLong: reply(500, '5.5.6', 'Authentication exchange line is too long, closing connection'),
  wrongCredentials: reply(535, '5.7.8', 'Authentication credentials invalid'),
  credentialsUnavailable: reply(454, '4.7.0', 'Temporary authentication failure, try again later'),
  tooManyFailedLogins: reply(421, '4.7.0', 'Too many failed logins, try again later', 'login throttle'),
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
  spoolFull: reply(452, '4.3.1', 'Insufficient system storage, try again later', 'spool'),
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

/** `550 5.1.2`: the policy would take it, but no upstream is for that domain. */
export const noWay = (address: string): Reply =>
  reply(550, '5.1.2', `${safeText(address)}... No mail server here for that domain`, 'no upstream');

/** A refusal by a rule that bears its own text. */
export const ruleReply = (code: number, enhanced: string, text: string, cause: string): Reply =>
  reply(code, enhanced, safeText(text), cause);

/** `334` and the mechanism's words in base64 (RFC 4954 4). */
export const authChallenge = (base64: string): Reply => reply(334, undefined, base64);

/** `553 5.7.1`: the login may not use this address as sender (RFC 6409 6.1). */
export const senderNotOwned = (address: string, cause: string): Reply =>
  reply(553, '5.7.1', `${safeText(address)}... Sender address not owned by the login`, cause);

/** `451 4.7.1`: the policy could not be decided just now, or a rule says defer. */
export const deferred = (address: string, cause: string): Reply =>
  reply(451, '4.7.1', `${safeText(address)}... Deferred by policy, try again later`, cause);

/** `550 5.7.1`: the client's address is on DNS lists; which, its owner has to know to get off them. */
export const blockListed = (address: string, client: string, lists: readonly string[]): Reply =>
  reply(
    550,
    '5.7.1',
    `${safeText(address)}... Client [${client}] is listed by ${lists.join(', ')}`.slice(0, 400),
    'DNS lists',
  );

/** `451 4.7.1`: a stranger has to come again. `seconds`: how long it is still too early. */
export const greylisted = (address: string, seconds: number): Reply =>
  reply(451, '4.7.1', `${safeText(address)}... Greylisted, try again in ${seconds} seconds`, 'greylist');

/** Past a limit of the policy. */
export const overLimit = (address: string, how: 'defer' | 'deny', cause: string): Reply =>
  how === 'defer'
    ? reply(451, '4.7.1', `${safeText(address)}... Too much mail for now, try again later`, cause)
    : reply(550, '5.7.1', `${safeText(address)}... Too much mail`, cause);

/** `554 5.6.0`: what the mail server could not bear of this message. `what` is one of Sekisho's own words. */
export const notBearable = (what: string, cause: string): Reply =>
  reply(554, '5.6.0', `Message content not accepted (${what})`, cause);

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

const print = ({ code, enhanced, lines }: Reply): string => {
  const last = lines.length - 1;
  const mark = enhanced === undefined ? '' : `${enhanced} `;
  if (last === 0) return `${code} ${mark}${lines[0]}\r\n`;
  return lines.map((text, i) => `${code}${i === last ? ' ' : '-'}${mark}${text}\r\n`).join('');
};

const printed = new WeakMap<Reply, string>();

/** A reply that is said again and again: how it looks on the wire is worked out once. */
export const lasting = (reply: Reply): Reply => {
  printed.set(reply, print(reply));
  return reply;
};

for (const each of Object.values(REPLIES)) lasting(each);

/** What is said is logged next. */
let last: Reply | undefined;
let lastPrinted = '';

/** The octets of a reply on the wire, every line ended by CRLF. */
export const printReply = (reply: Reply): string => {
  if (reply !== last) {
    lastPrinted = printed.get(reply) ?? print(reply);
    last = reply;
  }
  return lastPrinted;
};
