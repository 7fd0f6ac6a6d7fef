/**
 * Content-Type (RFC 2045 5.1) as the most credulous reader takes it: every boundary that any reader might believe in
 * counts, for it is not known which one the MTA does.
 */
import { LIMITS } from './patches.js';
import type { Found, ShieldRules } from './rules.js';

export interface ContentType {
  /** Lower case, without comments and spaces: `multipart/mixed`. */
  readonly type: string;
  readonly params: readonly { readonly name: string; readonly value: string }[];
}

/** Cuts at semicolons outside quotes; comments are dropped. */
const pieces = (value: string): string[] => {
  if (!/["(\\]/.test(value)) return value.split(';');
  const out: string[] = [];
  let piece = '';
  let quoted = false;
  let comment = 0;
  for (let i = 0; i < value.length; i += 1) {
    const c = value[i] as string;
    if (c === '\\' && (quoted || comment > 0)) {
      if (comment === 0) piece += c + (value[i + 1] ?? '');
      i += 1;
    } else if (comment > 0) comment += c === '(' ? 1 : c === ')' ? -1 : 0;
    else if (c === '"') {
      quoted = !quoted;
      piece += c;
    } else if (quoted) piece += c;
    else if (c === '(') comment += 1;
    else if (c === ';') {
      out.push(piece);
      piece = '';
    } else piece += c;
  }
  out.push(piece);
  return out;
};

const unquote = (text: string): string =>
  text.startsWith('"') ? text.slice(1, text.endsWith('"') ? -1 : undefined).replace(/\\(.)/g, '$1') : text;

export const parseContentType = (value: string): ContentType => {
  const all = pieces(value);
  const params: { name: string; value: string }[] = [];
  for (let i = 1; i < all.length; i += 1) {
    const text = (all[i] as string).trim();
    if (text === '') continue;
    const equals = text.indexOf('=');
    if (equals < 0) params.push({ name: text.toLowerCase(), value: '' });
    else {
      const name = text.slice(0, equals).trim().toLowerCase();
      params.push({ name, value: unquote(text.slice(equals + 1).trim()) });
    }
  }
  return { type: (all[0] as string).replace(/\s+/g, '').toLowerCase(), params };
};

/** All boundaries, whole ones and those in pieces (RFC 2231 3). */
export const boundariesOf = ({ params }: ContentType): readonly string[] => {
  const whole = params.filter(({ name }) => name === 'boundary' || name === 'boundary*');
  const split = params.filter(({ name }) => /^boundary\*\d/.test(name)).map(({ value }) => value);
  const all = [...whole.map(({ value }) => value), ...(split.length === 0 ? [] : [split.join('')])];
  return [...new Set(all.map((each) => each.replace(/[ \t]+$/, '')))].filter((each) => each !== '');
};

/** `name`, `name*0*=` and the like name files, which may be long; `x-…` and `start` are nobody's buffer. */
const LONG = /^(?:name|filename)(?:\*\d*\*?)*$|^x-|^start(?:-info)?$/;

export const checkContentType = ({ params }: ContentType, { lenient }: ShieldRules, found: Found): void => {
  const most = lenient.has('many-parameters') ? 50 : LIMITS.parameters;
  if (params.length > most) found('mime-parameters', `${params.length} parameters`);
  for (const { name, value } of params) {
    if (value.length <= LIMITS.parameter && name.length <= LIMITS.parameter) continue;
    const long = LONG.test(name) || lenient.has('long-parameters');
    // A boundary has a limit of its own.
    if (/^boundary(?:\*|$)/.test(name)) continue;
    if (value.length > (long ? LIMITS.longParameter : LIMITS.parameter) || name.length > LIMITS.parameter) {
      found('mime-parameters', `a parameter of ${Math.max(name.length, value.length)} octets`);
      break;
    }
  }
};

export const checkBoundary = (boundary: string, { lenient }: ShieldRules, found: Found): void => {
  const most = lenient.has('long-boundaries') ? 200 : LIMITS.boundary;
  if (boundary.length > most) found('mime-boundary', `a boundary of ${boundary.length} octets`);
  else if (!/^[ -~]*$/.test(boundary))
    found('mime-boundary', 'a boundary with octets that are not printable');
};
