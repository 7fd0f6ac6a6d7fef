/**
 * What the upstream advertises (RFC 5321 4.1.1.1), as far as Sekisho understands it, and what of it, with
 * Sekisho's own, is offered to clients. What is not named here is neither offered nor passed on.
 */

export interface Capabilities {
  /** EHLO was understood. */
  readonly esmtp: boolean;
  /** RFC 2920. */
  readonly pipelining: boolean;
  /** RFC 1870: octets, 0 for no fixed limit, undefined when not advertised. */
  readonly size: number | undefined;
  /** RFC 6152. */
  readonly eightBitMime: boolean;
  /** RFC 6531; never without 8BITMIME (3.1). */
  readonly smtpUtf8: boolean;
  /** RFC 3461. */
  readonly dsn: boolean;
}

/** Of a server that knows only HELO. */
export const NO_CAPABILITIES: Capabilities = {
  esmtp: false,
  pipelining: false,
  size: undefined,
  eightBitMime: false,
  smtpUtf8: false,
  dsn: false,
};

/** True if the lines of a 250 reply to EHLO name this keyword, upper case. */
export const advertises = (lines: readonly string[], keyword: string): boolean =>
  lines.slice(1).some((line) => line.trim().split(' ', 1)[0]?.toUpperCase() === keyword);

/** Reads the lines of a 250 reply to EHLO; the first bears the server's name. */
export const parseCapabilities = (lines: readonly string[]): Capabilities => {
  const keywords = new Map<string, string>();
  for (const line of lines.slice(1)) {
    const [keyword = '', value = ''] = line.trim().split(/ +/, 2);
    keywords.set(keyword.toUpperCase(), value);
  }
  const eightBitMime = keywords.has('8BITMIME');
  return {
    esmtp: true,
    pipelining: keywords.has('PIPELINING'),
    size: readSize(keywords.get('SIZE')),
    eightBitMime,
    smtpUtf8: eightBitMime && keywords.has('SMTPUTF8'),
    dsn: keywords.has('DSN'),
  };
};

/** SIZE with a value that is no number says nothing about the limit. */
const readSize = (value: string | undefined): number | undefined => {
  if (value === undefined) return undefined;
  const size = /^[0-9]{1,20}$/.test(value) ? Number(value) : 0;
  return Number.isSafeInteger(size) ? size : 0;
};

/** What Sekisho itself can do for a client. */
export interface OwnCapabilities {
  /** Octets of a message; 0 is no limit. */
  readonly maxSize: number;
  readonly starttls: boolean;
}

/** The smaller of two limits of which 0 and undefined mean none. */
export const smallerLimit = (own: number, upstream: number | undefined): number => {
  if (upstream === undefined || upstream === 0) return own;
  return own === 0 ? upstream : Math.min(own, upstream);
};

/** RFC 4954 3: the line that offers these SASL mechanisms; none for none. */
export const authKeyword = (mechanisms: readonly string[]): readonly string[] =>
  mechanisms.length === 0 ? [] : [`AUTH ${mechanisms.join(' ')}`];

/** The keyword lines of Sekisho's own reply to EHLO, but for AUTH, which depends on the session. */
export const offeredKeywords = (
  { size, eightBitMime, smtpUtf8, dsn }: Capabilities,
  { maxSize, starttls }: OwnCapabilities,
): readonly string[] => {
  const limit = smallerLimit(maxSize, size);
  const offered: readonly [boolean, string][] = [
    [true, 'PIPELINING'],
    [true, limit > 0 ? `SIZE ${limit}` : 'SIZE'],
    [eightBitMime, '8BITMIME'],
    [smtpUtf8, 'SMTPUTF8'],
    [dsn, 'DSN'],
    [true, 'ENHANCEDSTATUSCODES'],
    [starttls, 'STARTTLS'],
  ];
  return offered.filter(([holds]) => holds).map(([, keyword]) => keyword);
};
