/**
 * ESMTP parameters of MAIL and RCPT (RFC 5321 4.1.2, RFC 1870, 6152, 3461, 6531, 4954 5).
 *
 *   esmtp-param   = esmtp-keyword [ "=" esmtp-value ]
 *   esmtp-keyword = ( ALPHA / DIGIT ) *( ALPHA / DIGIT / "-" )
 *   esmtp-value   = 1*( %d33-60 / %d62-126 )
 *   xtext         = *( xchar / hexchar ); xchar = %d33-42 / %d44-60 / %d62-126; hexchar = "+" 2HEX   RFC 3461 4
 */
import { err, ok, type Result } from '../base/result.js';
import { isPrintableAscii } from './atext.js';
import type { Capabilities } from './capabilities.js';
import { REPLIES, type Reply } from './reply.js';

export interface Param {
  /** Upper case. */
  readonly keyword: string;
  /** In canonical form: upper case where case means nothing, no leading zeros. */
  readonly value: string | undefined;
}

export type ParamVerb = 'MAIL' | 'RCPT';

/** RFC 3461 4.4, in characters of xtext. */
export const MAX_ENVID = 100;
/** RFC 3461 4.2, in characters of the whole value. */
export const MAX_ORCPT = 500;

const decodeXtext = (text: string): string | undefined => {
  if (!/^(?:[\x21-\x2a\x2c-\x3c\x3e-\x7e]|\+[0-9A-F]{2})*$/.test(text)) return undefined;
  return text.replace(/\+([0-9A-F]{2})/g, (_, hex: string) => String.fromCharCode(Number.parseInt(hex, 16)));
};

/** An xtext that decodes to a line break puts lines into an old MTA's queue file (CVE-2020-28021 and its kin). */
const isSafeXtext = (text: string): boolean => {
  const decoded = decodeXtext(text);
  return decoded !== undefined && decoded !== '' && isPrintableAscii(decoded);
};

/** The canonical value, or undefined if it is no good. */
type Read = (value: string) => string | undefined;

const oneOf =
  (...words: readonly string[]): Read =>
  (value) => {
    const upper = value.toUpperCase();
    return words.includes(upper) ? upper : undefined;
  };

/** RFC 1870 4: 1*20DIGIT. What no counter can hold is no size. */
const readSize: Read = (value) => {
  if (!/^\d{1,20}$/.test(value)) return undefined;
  const size = Number(value);
  return Number.isSafeInteger(size) ? String(size) : undefined;
};

/** RFC 3461 4.1: NEVER stands alone. */
const readNotify: Read = (value) => {
  const words = value.toUpperCase().split(',');
  if (words.length === 1 && words[0] === 'NEVER') return 'NEVER';
  const known = words.every((word) => word === 'SUCCESS' || word === 'FAILURE' || word === 'DELAY');
  return known && new Set(words).size === words.length ? words.join(',') : undefined;
};

/** RFC 3461 4.2: addr-type ";" xtext. */
const readOrcpt: Read = (value) => {
  const match = value.length <= MAX_ORCPT ? /^[A-Za-z0-9-]+;(.+)$/.exec(value) : null;
  return match !== null && isSafeXtext(match[1]!) ? value : undefined;
};

const NO_VALUE = 'no value';

const READERS: { readonly [V in ParamVerb]: ReadonlyMap<string, Read | typeof NO_VALUE> } = {
  MAIL: new Map<string, Read | typeof NO_VALUE>([
    ['SIZE', readSize],
    ['BODY', oneOf('7BIT', '8BITMIME')],
    ['SMTPUTF8', NO_VALUE],
    ['RET', oneOf('FULL', 'HDRS')],
    ['ENVID', (value) => (value.length <= MAX_ENVID && isSafeXtext(value) ? value : undefined)],
    // RFC 4954 5: read, so that it is well formed, and then dropped: nobody here vouches for it.
    ['AUTH', (value) => (value === '<>' || isSafeXtext(value) ? value : undefined)],
  ]),
  RCPT: new Map([
    ['NOTIFY', readNotify],
    ['ORCPT', readOrcpt],
  ]),
};

const KEYWORD = /^[A-Za-z0-9][A-Za-z0-9-]*$/;
const VALUE = /^[\x21-\x3c\x3e-\x7e]+$/;

const EIGHT_BIT = ok({ keyword: 'BODY', value: '8BITMIME' });

/** What nearly every client says that knows ESMTP: this, and a size of up to 15 digits without a zero in front. */
const readUsual = (word: string): Result<Param, Reply> | undefined => {
  if (word === 'BODY=8BITMIME') return EIGHT_BIT;
  if (!word.startsWith('SIZE=') || word.length < 6 || word.length > 20) return undefined;
  for (let i = 5; i < word.length; i += 1) {
    const c = word.charCodeAt(i);
    if (c > 0x39 || c < (i === 5 ? 0x31 : 0x30)) return undefined;
  }
  return ok({ keyword: 'SIZE', value: word.slice(5) });
};

const readParam = (verb: ParamVerb, word: string): Result<Param, Reply> => {
  const usual = verb === 'MAIL' ? readUsual(word) : undefined;
  if (usual !== undefined) return usual;
  const equals = word.indexOf('=');
  const name = equals < 0 ? word : word.slice(0, equals);
  const given = equals < 0 ? undefined : word.slice(equals + 1);
  const readers = READERS[verb];
  // `@local.example` is no parameter at all; ENVID=a=b is a bad value of a known keyword.
  if (!readers.has(name) && !KEYWORD.test(name)) return err(REPLIES.badArgument);
  if (given !== undefined && !VALUE.test(given)) return err(REPLIES.badParameterValue);
  const keyword = name.toUpperCase();
  const reader = readers.get(keyword);
  // RFC 3030 BINARYMIME cannot be had without BDAT.
  if (reader === undefined || (keyword === 'BODY' && given?.toUpperCase() === 'BINARYMIME'))
    return err(REPLIES.unknownParameter);
  if (reader === NO_VALUE)
    return given === undefined ? ok({ keyword, value: undefined }) : err(REPLIES.badParameterValue);
  const value = given === undefined ? undefined : reader(given);
  return value === undefined ? err(REPLIES.badParameterValue) : ok({ keyword, value });
};

const NONE = ok<readonly Param[]>([]);

/**
 * Parses what stands behind the path, each parameter after a space. `AUTH=` is checked and left out of the
 * result. Errors are replies of the catalogue: 555 unknown, 501 malformed, bad value, or given twice.
 */
export const parseParams = (verb: ParamVerb, text: string): Result<readonly Param[], Reply> => {
  if (text === '') return NONE;
  if (!text.startsWith(' ')) return err(REPLIES.badArgument);
  const params: Param[] = [];
  for (let from = 0; from < text.length; ) {
    const space = text.indexOf(' ', from);
    const to = space < 0 ? text.length : space;
    const word = text.slice(from, to);
    from = to + 1;
    if (word === '') continue;
    const param = readParam(verb, word);
    if (!param.ok) return param;
    if (hasParam(params, param.value.keyword)) return err(REPLIES.duplicateParameter);
    params.push(param.value);
  }
  return ok(hasParam(params, 'AUTH') ? params.filter(({ keyword }) => keyword !== 'AUTH') : params);
};

const advertised = (verb: ParamVerb, keyword: string, caps: Capabilities): boolean => {
  switch (keyword) {
    case 'SIZE':
      return verb === 'MAIL' && caps.size !== undefined;
    case 'BODY':
      return verb === 'MAIL' && caps.eightBitMime;
    case 'SMTPUTF8':
      return verb === 'MAIL' && caps.smtpUtf8;
    case 'RET':
    case 'ENVID':
      return verb === 'MAIL' && caps.dsn;
    case 'NOTIFY':
    case 'ORCPT':
      return verb === 'RCPT' && caps.dsn;
    default:
      return false;
  }
};

export const hasParam = (params: readonly Param[], keyword: string): boolean => {
  for (const param of params) if (param.keyword === keyword) return true;
  return false;
};

/** True if a client may use the parameter. SIZE always: Sekisho enforces it itself. */
export const paramAllowed = (verb: ParamVerb, keyword: string, caps: Capabilities): boolean =>
  (verb === 'MAIL' && keyword === 'SIZE') || advertised(verb, keyword, caps);

const allAdvertised = (verb: ParamVerb, params: readonly Param[], caps: Capabilities): boolean => {
  for (const { keyword } of params) if (!advertised(verb, keyword, caps)) return false;
  return true;
};

/** True if a client may use all of these. */
export const allAllowed = (verb: ParamVerb, params: readonly Param[], caps: Capabilities): boolean => {
  for (const { keyword } of params) if (!paramAllowed(verb, keyword, caps)) return false;
  return true;
};

/** Those that are printed to this upstream: what it did not advertise it does not hear. */
export const filterParams = (
  params: readonly Param[],
  verb: ParamVerb,
  caps: Capabilities,
): readonly Param[] =>
  allAdvertised(verb, params, caps)
    ? params
    : params.filter(({ keyword }) => advertised(verb, keyword, caps));

/** `KEYWORD` or `KEYWORD=value`. */
export const printParam = ({ keyword, value }: Param): string =>
  value === undefined ? keyword : `${keyword}=${value}`;
