/**
 * The Received line that Sekisho puts before every message (RFC 5321 4.4): what was observed, and the HELO
 * name as the claim that it is.
 */

export interface Trace {
  /** The HELO or EHLO argument; it was parsed, so it holds [A-Za-z0-9._:[\]-] only. */
  readonly helo: string;
  /** Forward-confirmed host name, or undefined. */
  readonly name: string | undefined;
  /** Canonical IP address of the client. */
  readonly address: string;
  readonly by: string;
  /** RFC 3848 keyword: SMTP, ESMTP, UTF8SMTP … */
  readonly protocol: string;
  /** Who logged in, or whose window let the message pass; undefined: nobody, or it is not to be told. */
  readonly login?: { readonly name: string; readonly how: 'login' | 'window' } | undefined;
  /** Unique for the message within this instance. */
  readonly id: string;
  /** Marks this instance, so that loops are seen. */
  readonly token: string;
  /** Milliseconds since 1970. */
  readonly time: number;
}

const DAYS = ['Sun', 'Mon', 'Tue', 'Wed', 'Thu', 'Fri', 'Sat'] as const;
const MONTHS = ['Jan', 'Feb', 'Mar', 'Apr', 'May', 'Jun', 'Jul', 'Aug', 'Sep', 'Oct', 'Nov', 'Dec'] as const;

const two = (n: number): string => (n < 10 ? `0${n}` : String(n));

/** RFC 5322 3.3, in UTC: a proxy's local time zone is nobody's business and not a pure function of the time. */
export const mailDate = (time: number): string => {
  const date = new Date(time);
  const day = `${DAYS[date.getUTCDay()]}, ${date.getUTCDate()} ${MONTHS[date.getUTCMonth()]} ${date.getUTCFullYear()}`;
  return `${day} ${two(date.getUTCHours())}:${two(date.getUTCMinutes())}:${two(date.getUTCSeconds())} +0000`;
};

/** How the instance's mark stands in its lines; the loop guard looks for it. */
export const receivedMark = (token: string): string => `(sekisho-id=${token})`;

const UNSAFE = /[^A-Za-z0-9._:[\]=/+-]/g;

/** By octet, what is not UNSAFE: nearly every text is as it should be, and there are seven in a line. */
const SAFE = Uint8Array.from({ length: 128 }, (_, octet) =>
  String.fromCharCode(octet).search(UNSAFE) < 0 ? 1 : 0,
);

/** Whatever happens upstream of here, no text of another's can break the line. */
const safe = (text: string): string => {
  const { length } = text;
  let at = 0;
  while (at < length && SAFE[text.charCodeAt(at)] === 1) at += 1;
  if (at === length && length > 0 && length <= 255) return text;
  return text.replace(UNSAFE, '?').slice(0, 255) || 'unknown';
};

/** RFC 5321 4.1.3: an IPv6 literal is tagged. */
const literal = (address: string): string => (address.includes(':') ? `[IPv6:${address}]` : `[${address}]`);

const LOGIN_WORDS = { login: 'authenticated as', window: 'window of' } as const;

/** A login as a comment (RFC 5322 3.2.2): whatever could end or open one is left out. */
const loginComment = (login: Trace['login']): string =>
  login === undefined
    ? ''
    : `\t(${LOGIN_WORDS[login.how]} ${login.name.replace(/[^A-Za-z0-9._@=/+-]/g, '?').slice(0, 255)})\r\n`;

let last = { token: '', second: Number.NaN, text: '' };

/** The last line of it, which is the same for a second. */
const markAndDate = (token: string, time: number): string => {
  const second = Math.floor(time / 1_000);
  if (second !== last.second || token !== last.token)
    last = { token, second, text: `\t${receivedMark(safe(token))}; ${mailDate(time)}\r\n` };
  return last.text;
};

/** The line with its CRLF, folded below 78 octets where names allow; ASCII only. */
export const receivedLine = (trace: Trace): string =>
  `Received: from ${safe(trace.helo)} (${safe(trace.name ?? 'unknown')} ${literal(safe(trace.address))})\r\n` +
  loginComment(trace.login) +
  `\tby ${safe(trace.by)} (Sekisho) with ${safe(trace.protocol)} id ${safe(trace.id)}\r\n` +
  markAndDate(trace.token, trace.time);
