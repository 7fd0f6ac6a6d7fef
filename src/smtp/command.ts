/**
 * Command lines: parsed once into a typed value, printed anew for the upstream (RFC 5321 4.1.1). Verbs are
 * taken in any case; controls, TAB among them, are nowhere tolerated; trailing spaces are (RFC 5321 4.1.1).
 */
import { err, ok, type Result } from '../base/result.js';
import { printPath } from './address.js';
import { hasControl, hasNonAscii, isPrintableAscii } from './atext.js';
import { type EnvelopeOptions, parseEnvelopeArgument } from './envelope-argument.js';
import { isForeign } from './foreign.js';
import { type Param, printParam } from './params.js';
import type { Path } from './path.js';
import { REPLIES, type Reply } from './reply.js';
import type { UpstreamCommand } from './session/events.js';

export { DEFAULT_LENIENCY, type Leniency } from './envelope-argument.js';

export type Command =
  | { readonly verb: 'HELO' | 'EHLO'; readonly host: string }
  | { readonly verb: 'MAIL' | 'RCPT'; readonly path: Path; readonly params: readonly Param[] }
  | { readonly verb: 'DATA' | 'RSET' | 'QUIT' | 'STARTTLS' }
  | { readonly verb: 'NOOP' | 'HELP' | 'VRFY' | 'EXPN' | 'ETRN'; readonly argument: string }
  | {
      readonly verb: 'AUTH';
      /** Upper case. */
      readonly mechanism: string;
      /** As sent: base64, or `=` for an empty response (RFC 4954 4). Secret. */
      readonly initial: string | undefined;
    }
  | { readonly verb: 'BDAT'; readonly argument: string };

export type Verb = Command['verb'];

export interface CommandFault {
  /** A verb that Sekisho knows, or `OTHER`. */
  readonly verb: Verb | 'OTHER';
  readonly reply: Reply;
  /** The session ends: the client speaks another protocol. */
  readonly close: boolean;
  readonly kind: 'foreign-protocol' | 'syntax' | 'unknown' | 'address' | 'hazard';
  /** Printable text of the address, for the log; only for MAIL and RCPT. */
  readonly path?: string;
}

/** `utf8`: the transaction's MAIL declared SMTPUTF8; for MAIL itself its own parameter decides. */
export type ParseOptions = EnvelopeOptions;

type Parsed = Result<Command, CommandFault>;
type Read = (rest: string, options: ParseOptions) => Parsed;

const fault = (verb: CommandFault['verb'], reply: Reply, kind: CommandFault['kind'] = 'syntax'): Parsed =>
  err({ verb, reply, close: false, kind });

/**
 * RFC 5321 4.1.1.1 wants a domain or an address literal. Old devices send names with `_`, bare addresses and
 * the like, and the name is but a claim: any single token of these characters will do, and nothing that a
 * shell, a macro or a header could be made of (Exim and sendmail have both been attacked here).
 */
const HELLO_NAME = /^[A-Za-z0-9._:[\]-]{1,255}$/;

const readHello =
  (verb: 'HELO' | 'EHLO'): Read =>
  (rest) =>
    HELLO_NAME.test(rest) ? ok({ verb, host: rest }) : fault(verb, REPLIES.badHello);

const readEnvelope =
  (verb: 'MAIL' | 'RCPT'): Read =>
  (rest, options) => {
    const read = parseEnvelopeArgument(verb, rest, options);
    if (!read.ok) return err({ verb, close: false, ...read.error });
    const { path, params } = read.value;
    return ok({ verb, path, params });
  };

const readBare =
  (verb: 'DATA' | 'RSET' | 'QUIT' | 'STARTTLS'): Read =>
  (rest) =>
    rest === '' ? ok({ verb }) : fault(verb, REPLIES.noArgument);

const readText =
  (verb: 'NOOP' | 'HELP' | 'VRFY' | 'EXPN' | 'ETRN' | 'BDAT'): Read =>
  (rest) =>
    hasNonAscii(rest) ? fault(verb, REPLIES.notAscii) : ok({ verb, argument: rest });

/** RFC 4954 4: AUTH SP sasl-mech [SP initial-response]; the mechanism's name by RFC 4422 3.1. */
const readAuth: Read = (rest) => {
  const match = /^([A-Za-z0-9_-]{1,20})(?: +(=|[A-Za-z0-9+/]+={0,2}))?$/.exec(rest);
  if (match === null) {
    const named = /^[A-Za-z0-9_-]{1,20}(?: |$)/.test(rest) || rest === '';
    return fault('AUTH', named ? REPLIES.badArgument : REPLIES.unknownMechanism);
  }
  return ok({ verb: 'AUTH', mechanism: match[1]!.toUpperCase(), initial: match[2] });
};

const READERS: ReadonlyMap<string, readonly [Verb, Read]> = new Map<string, readonly [Verb, Read]>([
  ...(['HELO', 'EHLO'] as const).map((verb) => [verb, [verb, readHello(verb)]] as const),
  ...(['MAIL', 'RCPT'] as const).map((verb) => [verb, [verb, readEnvelope(verb)]] as const),
  ...(['DATA', 'RSET', 'QUIT', 'STARTTLS'] as const).map((verb) => [verb, [verb, readBare(verb)]] as const),
  ...(['NOOP', 'HELP', 'VRFY', 'EXPN', 'ETRN', 'BDAT'] as const).map(
    (verb) => [verb, [verb, readText(verb)]] as const,
  ),
  ['AUTH', ['AUTH', readAuth]],
]);

/** Real commands of SMTP that have no place here: RFC 821 3.4 and 3.8, RFC 2645, RFC 4468. */
const NOT_IMPLEMENTED: ReadonlySet<string> = new Set(['SEND', 'SOML', 'SAML', 'TURN', 'ATRN', 'BURL']);

const SPACE = 0x20;

/** Four letters in any case as one number. */
const fourLetters = (a: number, b: number, c: number, d: number): number =>
  ((a | SPACE) << 24) | ((b | SPACE) << 16) | ((c | SPACE) << 8) | (d | SPACE);

const byLetters = <T>(verbs: readonly (readonly [string, T])[]): ReadonlyMap<number, T> =>
  new Map(
    verbs
      .filter(([verb]) => verb.length === 4)
      .map(([verb, each]) => {
        const [a = 0, b = 0, c = 0, d = 0] = Buffer.from(verb);
        return [fourLetters(a, b, c, d), each];
      }),
  );

/** Nearly every line begins with four letters, and with a space or nothing behind them. */
const SHORT_VERBS = byLetters([...READERS].map(([verb, [, read]]) => [verb, read]));

/** A line that is nothing but its verb. */
const BARE = byLetters((['DATA', 'RSET', 'QUIT'] as const).map((verb) => [verb, ok({ verb })]));

const skipSpaces = (text: string, from: number): string => {
  let at = from;
  while (text.charCodeAt(at) === SPACE) at += 1;
  return at === 0 ? text : text.slice(at);
};

/** What most lines are: one of the known verbs, a space, and printable ASCII that ends with no space. */
const readCommon = (line: string): { read: Read; rest: string } | undefined => {
  const { length } = line;
  if (length < 4 || (length > 4 && line.charCodeAt(4) !== SPACE)) return undefined;
  const letters = fourLetters(line.charCodeAt(0), line.charCodeAt(1), line.charCodeAt(2), line.charCodeAt(3));
  const read = SHORT_VERBS.get(letters);
  const common = read !== undefined && line.charCodeAt(length - 1) !== SPACE && isPrintableAscii(line);
  // The end of a request line of HTTP.
  return !common || line.includes(' HTTP/') ? undefined : { read, rest: skipSpaces(line, 4) };
};

const parseLine = (line: string, options: ParseOptions): Parsed => {
  const common = readCommon(line);
  if (common !== undefined) return common.read(common.rest, options);
  if (isForeign(line))
    return err({ verb: 'OTHER', reply: REPLIES.foreignProtocol, close: true, kind: 'foreign-protocol' });
  const text = line.replace(/ +$/, '');
  if (text === '') return fault('OTHER', REPLIES.emptyLine);
  const [word, name] = /^([A-Za-z][A-Za-z0-9-]*)(?![^\s])/.exec(text) ?? [];
  const upper = name?.toUpperCase() ?? '';
  const known = READERS.get(upper);
  if (hasControl(text)) return fault(known?.[0] ?? 'OTHER', REPLIES.notAscii);
  if (known === undefined || word === undefined) {
    if (hasNonAscii(text)) return fault('OTHER', REPLIES.notAscii, 'unknown');
    return fault(
      'OTHER',
      NOT_IMPLEMENTED.has(upper) ? REPLIES.notImplemented : REPLIES.unknownCommand,
      'unknown',
    );
  }
  return known[1](text.slice(word.length).replace(/^ +/, ''), options);
};

/**
 * Parses the line in `buffer` from `start` to `end`, its CRLF not included. Each octet is looked at as
 * Latin-1; only a path under SMTPUTF8 is read as UTF-8. Never throws. The length of the line is the
 * scanner's affair; paths and parameters have their own limits.
 */
export const parseCommand = (buffer: Buffer, start: number, end: number, options: ParseOptions): Parsed => {
  if (end - start === 4) {
    const a = buffer[start] as number;
    const b = buffer[start + 1] as number;
    const c = buffer[start + 2] as number;
    const d = buffer[start + 3] as number;
    const bare = BARE.get(fourLetters(a, b, c, d));
    if (bare !== undefined) return bare;
  }
  return parseLine(buffer.toString('latin1', start, end), options);
};

/**
 * The line for the upstream, with its CRLF. One character is one octet: **to be written as Latin-1**.
 * Addresses under SMTPUTF8 are UTF-8 octets in it.
 * @throws RangeError if a path or parameter that never came from the parser would break the line.
 */
export const printCommand = (command: UpstreamCommand): string => {
  if (command.verb === 'DATA') return 'DATA\r\n';
  const keyword = command.verb === 'MAIL' ? 'MAIL FROM' : 'RCPT TO';
  let text = `${keyword}:${printPath(command.path)}`;
  for (const param of command.params) text += ` ${printParam(param)}`;
  const line = `${text}\r\n`;
  // Nearly all are. It makes one piece of the text, so the line end is in it already.
  if (isPrintableAscii(line, line.length - 2)) return line;
  if (hasControl(text)) throw new RangeError(`control character in a ${command.verb} to be printed`);
  return Buffer.from(line, 'utf8').toString('latin1');
};
