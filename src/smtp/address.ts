/**
 * Envelope paths: parsed once under the strict grammar of RFC 5321 4.1.2, printed anew for the upstream.
 *
 *   Reverse-path   = Path / "<>"
 *   Forward-path   = Path / "<Postmaster>"
 *   Path           = "<" [ A-d-l ":" ] Mailbox ">"
 *   A-d-l          = At-domain *( "," At-domain )
 *   Mailbox        = Local-part "@" ( Domain / address-literal )
 *   Local-part     = Dot-string / Quoted-string
 *
 * Beyond it, and unambiguous once printed anew: a local part alone (`<bob>`), a source route chained with
 * colons (`<@a:@b:c@d>`), one trailing dot on a domain. Everything else that some MTA would take (comments,
 * spaces, groups, lists, obsolete local parts) is a fault: whatever has two readers has two meanings.
 */
import { err, ok, type Result } from '../base/result.js';
import { hasControl, hasNonAscii, isDotString, isPlainUnicode, isPrintableAscii } from './atext.js';
import { domainText, isLongerThan, parseDomain, printDomain } from './domain.js';
import type { Domain, Path } from './path.js';

export type PathFault =
  | 'brackets'
  | 'control-character'
  | 'domain'
  | 'empty'
  | 'hidden-character'
  | 'local-part'
  | 'local-part-too-long'
  | 'non-ascii'
  | 'quoted-string'
  | 'several-ats'
  | 'source-route'
  | 'too-long'
  | 'too-many-hops'
  | 'utf-8';

export interface PathOptions {
  /** SMTPUTF8 is in force for this path (RFC 6531). */
  readonly utf8: boolean;
  /** `<>` is good: for MAIL only. */
  readonly nullAllowed: boolean;
}

/** RFC 5321 4.5.3.1.3, in octets, brackets included. */
export const MAX_PATH = 256;
/** RFC 5321 4.5.3.1.1, in octets as sent, quotes included. */
export const MAX_LOCAL_PART = 64;
/** No mail of this century needs more; the RFC names no figure. */
export const MAX_HOPS = 10;

const utf8 = new TextDecoder('utf-8', { fatal: true, ignoreBOM: true });

/** Latin-1 decoded octets into text. */
const decode = (wire: string, utf8Allowed: boolean): Result<string, PathFault> => {
  if (isPrintableAscii(wire)) return ok(wire);
  if (hasControl(wire)) return err('control-character');
  if (!utf8Allowed) return err('non-ascii');
  if (/[^\x00-\xff]/.test(wire)) return err('utf-8');
  let text: string;
  try {
    text = utf8.decode(Buffer.from(wire, 'latin1'));
  } catch {
    return err('utf-8');
  }
  return ok(text);
};

/** RFC 5321 4.1.2 Quoted-string at the start of `text`: the content decoded, and where it ends. */
const readQuoted = (text: string): { local: string; end: number } | undefined => {
  let local = '';
  for (let i = 1; i < text.length; i++) {
    const c = text[i]!;
    if (c === '"') return { local, end: i + 1 };
    if (c === '\\') {
      i += 1;
      const escaped = text[i];
      if (escaped === undefined || hasNonAscii(escaped)) return undefined;
      local += escaped;
    } else local += c;
  }
  return undefined;
};

type Final = Exclude<Path, { kind: 'null' | 'routed' }>;

const withoutDomain = (local: string): Final =>
  // RFC 5321 4.5.1: the reserved mailbox, in any case.
  local.toLowerCase() === 'postmaster' ? { kind: 'postmaster' } : { kind: 'unqualified', local };

const readLocal = (text: string): Result<{ local: string; end: number }, PathFault> => {
  if (text.startsWith('"')) {
    const quoted = readQuoted(text);
    return quoted === undefined ? err('quoted-string') : ok(quoted);
  }
  const at = text.indexOf('@');
  const end = at < 0 ? text.length : at;
  const local = text.slice(0, end);
  return isDotString(local) ? ok({ local, end }) : err('local-part');
};

const readFinal = (text: string): Result<Final, PathFault> => {
  const read = readLocal(text);
  if (!read.ok) return read;
  const { local, end } = read.value;
  if (isLongerThan(end === text.length ? text : text.slice(0, end), MAX_LOCAL_PART))
    return err('local-part-too-long');
  if (hasNonAscii(local) && !isPlainUnicode(local)) return err('hidden-character');
  if (end === text.length) return ok(withoutDomain(local));
  if (text[end] !== '@') return err('quoted-string');
  const rest = text.slice(end + 1);
  if (rest.includes('@')) return err('several-ats');
  const domain = parseDomain(rest);
  return domain === undefined ? err('domain') : ok({ kind: 'mailbox', local, domain });
};

/** One `@domain` of a source route with the `,` or `:` behind it. */
const HOP = /@(\[[^\]]*\]|[^,:[\]"@]+)([,:])/y;

/** RFC 5321 appendix C. */
const readRouted = (text: string): Result<Path, PathFault> => {
  const hops: Domain[] = [];
  let at = 0;
  let separator: string | undefined;
  while (separator !== ':' || text[at] === '@') {
    HOP.lastIndex = at;
    const match = HOP.exec(text);
    if (match === null) return err('source-route');
    const domain = parseDomain(match[1]!);
    if (domain === undefined) return err('source-route');
    if (hops.length === MAX_HOPS) return err('too-many-hops');
    hops.push(domain);
    separator = match[2];
    at = HOP.lastIndex;
  }
  const final = readFinal(text.slice(at));
  return final.ok ? ok({ kind: 'routed', hops, final: final.value }) : final;
};

/**
 * Parses a path with its angle brackets. `wire` is the Latin-1 decoded text: one character an octet. Under
 * `utf8` the octets must be valid UTF-8, and nothing in them may be invisible or fold onto ASCII.
 */
export const parsePath = (wire: string, options: PathOptions): Result<Path, PathFault> => {
  if (wire.length > MAX_PATH) return err('too-long');
  if (wire.length < 2 || !wire.startsWith('<') || !wire.endsWith('>')) return err('brackets');
  const decoded = decode(wire.slice(1, -1), options.utf8);
  if (!decoded.ok) return decoded;
  const text = decoded.value;
  if (text === '') return options.nullAllowed ? ok({ kind: 'null' }) : err('empty');
  return text.startsWith('@') ? readRouted(text) : readFinal(text);
};

const printLocal = (local: string): string =>
  isDotString(local) ? local : `"${local.replace(/["\\]/g, '\\$&')}"`;

const print = (path: Path, domain: (domain: Domain) => string): string => {
  switch (path.kind) {
    case 'null':
      return '';
    case 'postmaster':
      return 'postmaster';
    case 'unqualified':
      return printLocal(path.local);
    case 'mailbox':
      return `${printLocal(path.local)}@${domain(path.domain)}`;
    case 'routed':
      return `${path.hops.map((hop) => `@${domain(hop)}`).join(',')}:${print(path.final, domain)}`;
  }
};

/** The path as it is sent, with angle brackets; Unicode text where SMTPUTF8 is in force. */
export const printPath = (path: Path): string => `<${print(path, printDomain)}>`;

/** The two paths asked for last: a sender and a recipient, whose texts are wanted half a dozen times. */
let [one, other]: (Path | undefined)[] = [];
let [textOfOne, textOfOther] = ['', ''];

/** The path without brackets, domains as A-labels: for logs, replies and the policy. `''` for `<>`. */
export const pathText = (path: Path): string => {
  if (path === one) return textOfOne;
  if (path === other) return textOfOther;
  [other, textOfOther] = [one, textOfOne];
  one = path;
  textOfOne = print(path, domainText);
  return textOfOne;
};

/** The domain of a sender as the policy compares it: A-labels or a literal in brackets; `''` where there is none. */
export const senderDomain = (path: Path): string => {
  const final = path.kind === 'routed' ? path.final : path;
  return final.kind === 'mailbox' ? domainText(final.domain) : '';
};
