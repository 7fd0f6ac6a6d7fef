/** The domain of an address: a name or an address literal, under a grammar stricter than any MTA's. */
import { strictName } from '../base/idn.js';
import { parseIp } from '../base/ip.js';
import type { Domain } from './path.js';

/**
 * RFC 5321 4.1.2: sub-domain = Let-dig [Ldh-str]. Departure: `_` counts as a letter, because old sites have
 * host names with it. Labels of at most 63 octets (RFC 1035 2.3.4), none of them empty.
 */
const NAME = /^[a-z0-9_](?:[a-z0-9_-]{0,61}[a-z0-9_])?(?:\.[a-z0-9_](?:[a-z0-9_-]{0,61}[a-z0-9_])?)*$/;

/**
 * A last label that is a number makes inet_aton(3), and so many MTAs, read the whole as an IPv4 address:
 * `192.0.2.99`, `3221226083`, `0300.0.02.0143`, `0x7f.1`.
 */
const LOOKS_NUMERIC = /(?:^|\.)(?:\d+|0x[0-9a-f]*)$/;

/** RFC 5321 4.5.3.1.2, in octets. */
const MAX_DOMAIN = 255;

/** In octets of UTF-8, of which no UTF-16 unit makes more than three. */
export const isLongerThan = (text: string, octets: number): boolean =>
  text.length * 3 > octets && Buffer.byteLength(text) > octets;

const DOT = 0x2e;
const HYPHEN = 0x2d;
const isLetDig = (c: number): boolean => (c >= 0x61 && c <= 0x7a) || isDigit(c) || c === 0x5f;
const isDigit = (c: number): boolean => c >= 0x30 && c <= 0x39;

/**
 * What most names are: NAME, without a hyphen beside another, and with a letter at the beginning of the last label. Such a
 * name is itself in every form.
 */
const isUsual = (text: string): boolean => {
  let label = 0;
  let before = DOT;
  for (let i = 0; i < text.length; i += 1) {
    const c = text.charCodeAt(i);
    if (isLetDig(c)) {
      if (i - label >= 63) return false;
    } else if (c === DOT) {
      if (before === DOT || before === HYPHEN) return false;
      label = i + 1;
    } else if (c !== HYPHEN || before === DOT || before === HYPHEN) return false;
    before = c;
  }
  return before !== DOT && before !== HYPHEN && !isDigit(text.charCodeAt(label));
};

const lowerAscii = (text: string): string => text.replace(/[A-Z]+/g, (letters) => letters.toLowerCase());

/** A domain name in any case, one trailing dot tolerated; undefined if it is none. */
export const parseDomainName = (text: string): Extract<Domain, { kind: 'name' }> | undefined => {
  if (isLongerThan(text, MAX_DOMAIN)) return undefined;
  if (isUsual(text)) return { kind: 'name', ascii: text, text };
  const bare = lowerAscii(text.endsWith('.') ? text.slice(0, -1) : text);
  const plain = NAME.test(bare) && !bare.includes('xn--');
  const ascii = plain ? bare : strictName(bare);
  if (ascii === undefined || ascii.length > MAX_DOMAIN || !NAME.test(ascii) || LOOKS_NUMERIC.test(ascii))
    return undefined;
  return { kind: 'name', ascii, text: bare };
};

/**
 * RFC 5321 4.1.3: `[192.0.2.1]` or `[IPv6:2001:db8::1]`. No short or numeric forms, no IPv6 without its tag,
 * no host name in brackets: what these mean differs from MTA to MTA.
 */
export const parseLiteral = (text: string): Extract<Domain, { kind: 'literal' }> | undefined => {
  const inner = /^\[([^[\]]+)\]$/.exec(text)?.[1];
  if (inner === undefined) return undefined;
  const tagged = /^ipv6:/i.test(inner);
  const address = tagged ? inner.slice(5) : inner;
  if (address.includes(':') !== tagged) return undefined;
  const ip = parseIp(address);
  return ip === undefined ? undefined : { kind: 'literal', ip: ip.text };
};

export const parseDomain = (text: string): Domain | undefined =>
  text.startsWith('[') ? parseLiteral(text) : parseDomainName(text);

/** As it stands in a literal: IPv6 bears its tag. */
const printLiteral = (ip: string): string => (ip.includes(':') ? `[IPv6:${ip}]` : `[${ip}]`);

/** As it is sent upstream. */
export const printDomain = (domain: Domain): string =>
  domain.kind === 'literal' ? printLiteral(domain.ip) : domain.text;

/** As it is compared and logged: A-labels, which no homoglyph can dress up. */
export const domainText = (domain: Domain): string =>
  domain.kind === 'literal' ? printLiteral(domain.ip) : domain.ascii;
