/** A login at an IMAP server (RFC 9051, RFC 3501): AUTHENTICATE PLAIN where it is offered, else LOGIN. */
import { unavailable, wrong } from '../credentials.js';
import {
  type Dialogue,
  PasswordServer,
  type PasswordServerOptions,
  plainResponse,
  type Said,
} from './password-server.js';
import { PeerFault, printable } from './peer.js';
import type { Wire } from './wire.js';

interface Answer {
  readonly kind: 'OK' | 'NO' | 'BAD' | 'continue';
  /** RFC 5530, upper case, without brackets; '' for none. */
  readonly code: string;
  readonly text: string;
  /** What came before it without a tag. */
  readonly untagged: readonly string[];
}

const said = ({ code, text }: Answer): string =>
  `${code === '' ? '' : `[${code}] `}${text || 'no reason given'}`;

/** Reads to the answer that bears `tag`, or to a continuation request. */
const answer = async (wire: Wire, tag: string): Promise<Answer> => {
  const untagged: string[] = [];
  for (;;) {
    const line = await wire.line();
    if (/^\+(?: |$)/.test(line)) return { kind: 'continue', code: '', text: '', untagged };
    const tagged = /^(\S+) (OK|NO|BAD)(?: (?:\[([A-Z-]{1,32})[^\]]*\] ?)?(.*))?$/i.exec(line);
    const [, ownTag, kind = '', code = '', text = ''] = tagged ?? [];
    if (ownTag === tag)
      return { kind: kindOf(kind), code: code.toUpperCase(), text: printable(text), untagged };
    if (!line.startsWith('* ')) throw new PeerFault(`not an IMAP answer: ${printable(line)}`);
    if (/^\* BYE\b/i.test(line)) throw new PeerFault(`it says ${printable(line.slice(2))}`);
    // None is to be expected before a login, and its octets might look like an answer.
    if (/\{\d+\+?\}$/.test(line)) throw new PeerFault('it sends a literal before the login');
    untagged.push(line.slice(2));
  }
};

const kindOf = (word: string): 'OK' | 'NO' | 'BAD' => {
  const kind = word.toUpperCase();
  return kind === 'OK' || kind === 'NO' ? kind : 'BAD';
};

/** The answer to the password itself. A continuation request is none. */
const judge = (last: Answer): Said => {
  switch (last.kind) {
    case 'OK':
      return { kind: 'ok' };
    case 'NO':
      return CANNOT_TELL.has(last.code) ? unavailable(said(last)) : wrong(said(last));
    default:
      return unavailable(`it does not understand the login: ${said(last)}`);
  }
};

/** RFC 5530 3: what is up to the server's state or configuration. CONTACTADMIN is Dovecot's for a disabled user. */
const CANNOT_TELL: ReadonlySet<string> = new Set([
  ...['UNAVAILABLE', 'INUSE', 'SERVERBUG', 'CLIENTBUG', 'LIMIT', 'PRIVACYREQUIRED'],
]);

const capabilities = async (wire: Wire, tag: string): Promise<ReadonlySet<string>> => {
  wire.send(`${tag} CAPABILITY\r\n`);
  const listed = await answer(wire, tag);
  if (listed.kind !== 'OK') throw new PeerFault(`it refuses CAPABILITY: ${said(listed)}`);
  const lines = listed.untagged.filter((line) => /^CAPABILITY /i.test(line));
  return new Set(lines.flatMap((line) => line.toUpperCase().split(/ +/).slice(1)));
};

const byPlain = async (wire: Wire, user: string, password: string): Promise<Said> => {
  wire.send('c AUTHENTICATE PLAIN\r\n');
  const consent = await answer(wire, 'c');
  if (consent.kind !== 'continue') return unavailable(`it refuses AUTHENTICATE PLAIN: ${said(consent)}`);
  wire.send(`${plainResponse(user, password)}\r\n`);
  return judge(await answer(wire, 'c'));
};

/** RFC 9051 9: a quoted string where the octets allow, else undefined: it must be a literal. */
const quoted = (text: string): string | undefined =>
  /^[\x20-\x7e]*$/.test(text) ? `"${text.replace(/[\\"]/g, '\\$&')}"` : undefined;

const byLogin = async (wire: Wire, user: string, password: string): Promise<Said> => {
  let line = 'c LOGIN';
  for (const each of [user, password]) {
    const text = quoted(each);
    line += ` ${text ?? `{${Buffer.byteLength(each)}}`}`;
    if (text !== undefined) continue;
    wire.send(`${line}\r\n`);
    const consent = await answer(wire, 'c');
    if (consent.kind !== 'continue') return unavailable(`it refuses a literal: ${said(consent)}`);
    line = each;
  }
  wire.send(`${line}\r\n`);
  return judge(await answer(wire, 'c'));
};

const login: Dialogue = async (wire, user, password, tls) => {
  const greeting = await wire.line();
  // RFC 9051 7.1.4: PREAUTH means that the server judges by something else than the password.
  if (!/^\* OK(?: |$)/i.test(greeting)) return unavailable(`its greeting is ${printable(greeting)}`);
  wire.goodbye('z LOGOUT\r\n');
  if (tls.mode === 'starttls') {
    wire.send('a STARTTLS\r\n');
    const consent = await answer(wire, 'a');
    if (consent.kind !== 'OK') return unavailable(`it refuses STARTTLS: ${said(consent)}`);
    await wire.secure(tls);
  }
  const offered = await capabilities(wire, 'b');
  if (offered.has('AUTH=PLAIN')) return byPlain(wire, user, password);
  if (offered.has('LOGINDISABLED'))
    return unavailable('it offers neither AUTH=PLAIN nor LOGIN; perhaps it wants TLS first');
  return byLogin(wire, user, password);
};

export const imapStore = (options: PasswordServerOptions): PasswordServer =>
  new PasswordServer('imap', options, login);
