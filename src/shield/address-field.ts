/**
 * One address field of a header, unfolded, as sendmail's crackaddr (CVE-2002-1337) and prescan (CVE-2003-0161,
 * CVE-2003-0694) go through it: octet by octet, with quotes, nested comments and angle brackets. What is counted is
 * counted raw, inside quotes too, so that no disagreement about where a quote ends can hide anything.
 */
import { LIMITS } from './patches.js';
import type { Found, ShieldRules } from './rules.js';

/** `sender`: crackaddr reads the whole field at once. `list`: it is first cut up at commas. */
export type AddressKind = 'sender' | 'list';

/** RFC 5322 3.6.2, 3.6.3 and 3.6.6, and what sendmail's conf.c marks H_FROM or H_RCPT beside them. */
export const ADDRESS_FIELDS: ReadonlyMap<string, AddressKind> = new Map<string, AddressKind>([
  ...['to', 'cc', 'bcc', 'apparently-to'].map((name) => [name, 'list'] as const),
  ...['from', 'sender', 'reply-to', 'return-path', 'errors-to', 'return-receipt-to'].map(
    (name) => [name, 'sender'] as const,
  ),
  ...['disposition-notification-to', 'mail-followup-to', 'mail-reply-to'].map(
    (name) => [name, 'sender'] as const,
  ),
  ...['to', 'cc', 'bcc'].map((name) => [`resent-${name}`, 'list'] as const),
  ...['from', 'sender', 'reply-to'].map((name) => [`resent-${name}`, 'sender'] as const),
]);

const TAB = 0x09;
const SPACE = 0x20;
const QUOTE = 0x22;
const OPEN = 0x28;
const CLOSE = 0x29;
const COMMA = 0x2c;
const SEMICOLON = 0x3b;
const LESS = 0x3c;
const GREATER = 0x3e;
const BACKSLASH = 0x5c;

/** RFC 5322's specials and sendmail's OperatorChars: each is a token by itself. */
const OPERATORS = new Uint8Array(256);
for (const each of '()<>@,;:\\".[]%!^/+') OPERATORS[each.charCodeAt(0)] = 1;

/**
 * Most fields: so short that they can exceed no limit but that of brackets, printable ASCII without comments and
 * backslashes, every quote closed, and each `<` outside quotes before the next. There is nothing to find in them.
 */
const isPlain = (value: string): boolean => {
  if (value.length > LIMITS.tokens) return false;
  let brackets = 0;
  let open = false;
  let quoted = false;
  for (let i = 0; i < value.length; i += 1) {
    const c = value.charCodeAt(i);
    if (c === LESS || c === GREATER) {
      brackets += 1;
      if (quoted) continue;
      if (open !== (c === GREATER)) return false;
      open = !open;
    } else if (c === QUOTE) quoted = !quoted;
    else if (c > 0x7e || c === OPEN || c === CLOSE || c === BACKSLASH) return false;
  }
  return !open && !quoted && brackets <= LIMITS.brackets;
};

/** UTF-8 as it must be; anything else is read octet by octet. */
const isUtf8 = (latin1: string): boolean => {
  try {
    decodeURIComponent(escapeOctets(latin1));
    return true;
  } catch {
    return false;
  }
};
const escapeOctets = (latin1: string): string =>
  latin1.replace(/[%\x80-\xff]/g, (octet) => `%${octet.charCodeAt(0).toString(16).padStart(2, '0')}`);

const eightBits = (value: string, utf8: boolean, { lenient }: ShieldRules): string | undefined => {
  if (value.includes('\xff')) return 'octet 0xFF';
  if (!/[\x80-\xfe]/.test(value)) return undefined;
  const allowed = utf8 || lenient.has('eight-bit-addresses');
  if (allowed && isUtf8(value)) return undefined;
  if (/[\x80-\x9f]/.test(value)) return 'an octet from 0x80 to 0x9F';
  return allowed && !utf8 ? undefined : 'an octet above 127 that is not encoded';
};

/** What is counted anew for each address. */
class Counts {
  less = 0;
  greater = 0;
  open = 0;
  length = 0;
  tokens = 0;
  token = 0;

  clear(): void {
    this.less = this.greater = this.open = this.length = this.tokens = this.token = 0;
  }
}

/** `value`: Latin-1, unfolded. `utf8`: the message declared SMTPUTF8 (RFC 6531). */
export const checkAddressField = (
  name: string,
  kind: AddressKind,
  value: string,
  utf8: boolean,
  rules: ShieldRules,
  found: Found,
): void => {
  if (isPlain(value)) return;
  const octets = eightBits(value, utf8, rules);
  if (octets !== undefined) found('address-octets', `${name}: ${octets}`);
  const mostComment = rules.lenient.has('long-comments') ? 1_000 : LIMITS.comment;
  const counts = new Counts();
  let addresses = 1;
  let empty = 0;
  let quoted = false;
  let comment = 0;
  let commentLength = 0;
  let angle = 0;
  let backslashes = 0;
  let escaped = false;
  let balanced = true;
  let worst = 0;
  const judge = (): void => {
    const { less, greater, open, length, tokens } = counts;
    const most = Math.max(less, greater, open);
    if (most > LIMITS.brackets)
      found('address-brackets', `${name}: ${less} <, ${greater} > and ${open} ( in one address`);
    if (length > LIMITS.address) found('address-length', `${name}: an address of ${length} octets`);
    if (tokens > LIMITS.tokens) found('address-tokens', `${name}: ${tokens} tokens in one address`);
  };
  for (let i = 0; i < value.length; i += 1) {
    const c = value.charCodeAt(i);
    counts.length += 1;
    if (c === LESS) {
      counts.less += 1;
      if (value.charCodeAt(i + 1) === GREATER) empty += 1;
    } else if (c === GREATER) counts.greater += 1;
    else if (c === OPEN) counts.open += 1;
    if (comment > 0) commentLength += 1;
    // Tokens: a quoted string or comment is one, whatever is in it.
    const white = c === SPACE || c === TAB;
    if (quoted || comment > 0) counts.token += 1;
    else if (white || OPERATORS[c] === 1) {
      if (!white) counts.tokens += 1;
      counts.token = 0;
    } else {
      if (counts.token === 0) counts.tokens += 1;
      counts.token += 1;
    }
    if (comment === 0 && counts.token > worst) worst = counts.token;
    if (c === BACKSLASH) {
      backslashes += 1;
      if (backslashes === LIMITS.backslashes + 1)
        found('address-backslashes', `${name}: more than ${LIMITS.backslashes} in a row`);
      escaped = !escaped;
      continue;
    }
    backslashes = 0;
    if (escaped) {
      escaped = false;
      continue;
    }
    if (c === QUOTE && comment === 0) quoted = !quoted;
    else if (quoted) continue;
    else if (c === OPEN) {
      if (comment === 0) commentLength = 0;
      comment += 1;
      if (comment === LIMITS.commentNesting + 1)
        found('address-comment', `${name}: comments nested more than ${LIMITS.commentNesting} deep`);
    } else if (c === CLOSE) {
      if (comment === 0) balanced = false;
      else {
        comment -= 1;
        if (comment === 0) {
          counts.token = 0;
          if (commentLength - 1 > mostComment)
            found('address-comment', `${name}: a comment of ${commentLength - 1} octets`);
        }
      }
    } else if (comment > 0) continue;
    else if (c === LESS) angle += 1;
    else if (c === GREATER) {
      if (angle === 0) balanced = false;
      else angle -= 1;
    } else if ((c === COMMA || c === SEMICOLON) && angle === 0) {
      addresses += 1;
      if (kind === 'list') {
        judge();
        counts.clear();
      } else {
        // crackaddr goes on counting; prescan begins anew.
        if (counts.tokens > LIMITS.tokens)
          found('address-tokens', `${name}: ${counts.tokens} tokens in one address`);
        counts.tokens = 0;
      }
    }
  }
  judge();
  if (comment > 0 && commentLength > mostComment)
    found('address-comment', `${name}: a comment of ${commentLength} octets`);
  if (worst > LIMITS.token) found('address-tokens', `${name}: a token of ${worst} octets`);
  if (empty > LIMITS.brackets) found('address-brackets', `${name}: ${empty} times <>`);
  if (addresses > LIMITS.addresses) found('address-count', `${name}: ${addresses} addresses`);
  balanced &&= !quoted && comment === 0 && angle === 0;
  if (!balanced && !rules.lenient.has('unbalanced-addresses'))
    found('address-balance', `${name}: not balanced`);
};
