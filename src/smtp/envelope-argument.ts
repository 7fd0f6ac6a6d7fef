/** What stands behind `MAIL` and `RCPT`: where its path ends, what the path is, and whether it may go on. */
import { err, ok, type Result } from '../base/result.js';
import { type PathFault, parsePath, pathText } from './address.js';
import { hasNonAscii } from './atext.js';
import { hazard } from './hazard.js';
import { hasParam, type Param, type ParamVerb, parseParams } from './params.js';
import type { Path } from './path.js';
import { badAddress, needsUtf8, REPLIES, type Reply, refusedAddress, safeText } from './reply.js';
import { readings } from './routes.js';

/**
 * What clients of the nineties send and nobody can misread, since the upstream hears it printed anew.
 * A space is SP; TAB is never tolerated.
 */
export interface Leniency {
  /** `RCPT TO : <a@b>`, either side of the colon. */
  readonly spaceAroundColon: boolean;
  /** `RCPT TO:a@b`, with nothing behind it. Needs the `@`: `MAIL FROM: SIZE=9` has forgotten its path. */
  readonly noBrackets: boolean;
  /** `RCPT TO:<a@b`, with nothing behind it. */
  readonly noClosingBracket: boolean;
}

export const DEFAULT_LENIENCY: Leniency = {
  spaceAroundColon: true,
  noBrackets: true,
  noClosingBracket: true,
};

export interface EnvelopeOptions {
  readonly utf8: boolean;
  readonly smtpUtf8Available: boolean;
  readonly leniency: Leniency;
}

export interface EnvelopeFault {
  readonly kind: 'syntax' | 'address' | 'hazard';
  readonly reply: Reply;
  /** Printable text of the address, at most 200 characters. */
  readonly path?: string;
}

interface Split {
  /** With its brackets. */
  readonly path: string;
  readonly params: string;
}

const QUOTE = 0x22;
const LESS = 0x3c;
const GREATER = 0x3e;
const BACKSLASH = 0x5c;

/** The index behind the `>` that closes the `<` at the start; -1 if none does. Quotes hide brackets. */
const pathEnd = (text: string): number => {
  let quoted = false;
  for (let i = 1; i < text.length; i++) {
    const c = text.charCodeAt(i);
    if (quoted && c === BACKSLASH) i += 1;
    else if (c === QUOTE) quoted = !quoted;
    else if (!quoted && c === LESS) return -1;
    else if (!quoted && c === GREATER) return i + 1;
  }
  return -1;
};

const split = (text: string, leniency: Leniency): Split | undefined => {
  if (text.startsWith('<')) {
    const end = pathEnd(text);
    if (end === text.length) return { path: text, params: '' };
    if (end > 0) return { path: text.slice(0, end), params: text.slice(end) };
    const open = leniency.noClosingBracket && text.length > 1 && !/[ ,<>]/.test(text.slice(1));
    return open ? { path: `${text}>`, params: '' } : undefined;
  }
  const bare = leniency.noBrackets && text.includes('@') && !/[ ,<>]/.test(text);
  return bare ? { path: `<${text}>`, params: '' } : undefined;
};

/** What follows `FROM:` or `TO:`. */
const afterKeyword = (verb: ParamVerb, rest: string, { spaceAroundColon }: Leniency): string | undefined => {
  // As most clients say it.
  const usual = verb === 'MAIL' ? 'FROM:<' : 'TO:<';
  if (rest.startsWith(usual)) return rest.slice(usual.length - 1);
  const match = /^(FROM|TO)( *):( *)(.*)$/i.exec(rest);
  if (match?.[1]?.toUpperCase() !== (verb === 'MAIL' ? 'FROM' : 'TO')) return undefined;
  const spaces = match[2] !== '' || match[3] !== '';
  return spaces && !spaceAroundColon ? undefined : match[4];
};

/**
 * The sender as bounces will use it. RFC 5321 appendix C: a source route is ignored. A sender that could be
 * read in two ways would have an old MTA route its bounces for a stranger.
 */
const readSender = (path: Path): Result<Path, string> => {
  const sender = path.kind === 'routed' ? path.final : path;
  if (sender.kind === 'null') return ok(sender);
  return readings(sender).length > 1 ? err('sender with routing characters') : ok(sender);
};

const addressFault = (verb: ParamVerb, raw: string, fault: PathFault): EnvelopeFault => {
  const what = verb === 'MAIL' ? 'sender' : 'recipient';
  const reply = fault === 'non-ascii' ? needsUtf8 : badAddress(what, `address: ${fault}`);
  return { kind: 'address', reply, path: safeText(raw.replace(/^<|>$/g, '')) };
};

/** The path that may be judged and printed, or why not. */
const readPath = (verb: ParamVerb, raw: string, utf8: boolean): Result<Path, EnvelopeFault> => {
  const parsed = parsePath(raw, { utf8, nullAllowed: verb === 'MAIL' });
  if (!parsed.ok) return err(addressFault(verb, raw, parsed.error));
  const what = verb === 'MAIL' ? 'sender' : 'recipient';
  const refused = (cause: string): Result<Path, EnvelopeFault> =>
    err({
      kind: 'hazard',
      reply: refusedAddress(what, cause),
      path: safeText(pathText(parsed.value)),
    });
  const danger = hazard(parsed.value);
  if (danger !== undefined) return refused(`hazard: ${danger}`);
  if (verb === 'RCPT') return parsed;
  const sender = readSender(parsed.value);
  return sender.ok ? sender : refused(sender.error);
};

/**
 * Parses the argument of MAIL or RCPT: Latin-1 decoded, without trailing spaces and without controls.
 * RFC 6531 3.4: MAIL's own SMTPUTF8 parameter says whether its path may be UTF-8; for RCPT `options.utf8` does.
 */
export const parseEnvelopeArgument = (
  verb: ParamVerb,
  rest: string,
  options: EnvelopeOptions,
): Result<{ readonly path: Path; readonly params: readonly Param[] }, EnvelopeFault> => {
  const badSyntax = verb === 'MAIL' ? REPLIES.badMailSyntax : REPLIES.badRcptSyntax;
  const text = afterKeyword(verb, rest, options.leniency);
  const parts = text === undefined ? undefined : split(text, options.leniency);
  if (parts === undefined) {
    const reply = hasNonAscii(rest) ? REPLIES.notAscii : badSyntax;
    return err({ kind: 'syntax', reply, ...(text === undefined ? {} : { path: safeText(text) }) });
  }
  const params = parseParams(verb, parts.params);
  const declared = params.ok && hasParam(params.value, 'SMTPUTF8');
  const utf8 = verb === 'MAIL' ? declared && options.smtpUtf8Available : options.utf8;
  const path = readPath(verb, parts.path, utf8);
  if (!path.ok) return path;
  if (!params.ok) return err({ kind: 'syntax', reply: params.error, path: safeText(pathText(path.value)) });
  return ok({ path: path.value, params: params.value });
};
