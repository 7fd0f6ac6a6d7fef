/**
 * Lines that show that the client does not speak SMTP, or speaks through somebody else's browser
 * (cross-protocol attacks), or wants to be taken for another client. Such a session ends at once: what
 * follows in a request body would be commands.
 */

const VERBS: ReadonlySet<string> = new Set([
  // HTTP; PRI begins HTTP/2.
  ...['GET', 'POST', 'PUT', 'HEAD', 'DELETE', 'OPTIONS', 'CONNECT', 'TRACE', 'PATCH', 'PRI'],
  // POP3, FTP, IMAP.
  ...['USER', 'PASS', 'LOGIN'],
  // Who the client is was settled before its first octet.
  ...['PROXY', 'XCLIENT', 'XFORWARD', 'X-CONNECT'],
]);

/** A header line. `MAIL:`, `RCPTTO:` and their kin are but slips of an SMTP client. */
const HEADER = /^(?!(?:MAIL|RCPT|HELO|EHLO)(?:FROM|TO)?:)[A-Z][A-Z0-9-]*:/i;

/** TLS record of a ClientHello (RFC 8446 5.1), SSH (RFC 4253 4.2), HTTP request line of any method. */
const PROTOCOLS = /^\x16\x03|^SSH-|[ ]HTTP\/\d(?:\.\d)?\s*$/;

/**
 * True if the Latin-1 decoded line belongs to another protocol. Of a line that begins with a command of SMTP, and a space
 * or nothing behind it, only the end can say so.
 */
export const isForeign = (line: string): boolean => {
  const verb = /^[A-Za-z-]+(?=[ \t]|$)/.exec(line)?.[0];
  return (verb !== undefined && VERBS.has(verb.toUpperCase())) || HEADER.test(line) || PROTOCOLS.test(line);
};
