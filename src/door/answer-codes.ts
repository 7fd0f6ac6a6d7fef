/** What a DNS list answers (RFC 5782 2.1): an address in 127.0.0.0/8 whose octets say why. */
import { err, ok, type Result } from '../base/result.js';

type Range = readonly [from: number, to: number];

/** One range for each octet; all four must hold the answer's. */
export type CodePattern = readonly Range[];

const OCTET = /^(?:\*|(\d{1,3})(?:-(\d{1,3}))?)$/;

/** `127.0.0.2`, `127.0.0.2-11`, `127.0.*.1-3`. */
export const parseCodes = (text: string): Result<CodePattern, string> => {
  const wrong = err('must be an answer such as 127.0.0.2, 127.0.0.2-11 or 127.0.*.1-3');
  const octets = text.split('.');
  if (octets.length !== 4) return wrong;
  const ranges: Range[] = [];
  for (const octet of octets) {
    const match = OCTET.exec(octet);
    if (match === null) return wrong;
    const [, first, last] = match;
    const range: Range =
      first === undefined ? [0, 255] : [Number(first), last === undefined ? Number(first) : Number(last)];
    if (range[1] > 255 || range[0] > range[1]) return wrong;
    ranges.push(range);
  }
  return ok(ranges);
};

const holds = (pattern: CodePattern, octets: readonly number[]): boolean =>
  pattern.every(([from, to], i) => (octets[i] ?? -1) >= from && (octets[i] ?? 256) <= to);

/**
 * `refused`: the list says that it does not serve whoever asks (Spamhaus' 127.255.255.0/24: a public resolver, too many
 * queries, a mistyped zone). `strange`: no answer that a list gives, as when the zone is gone and its domain parked.
 */
export type CodeMeaning = 'listed' | 'other' | 'refused' | 'strange';

/** Without patterns every answer counts but 127.0.0.1, which means nothing (RFC 5782 2.1). */
export const meaningOf = (answer: string, patterns: readonly CodePattern[]): CodeMeaning => {
  const octets = answer.split('.').map(Number);
  const [a, b, c, d] = octets;
  if (a !== 127) return 'strange';
  if (b === 255 && c === 255) return 'refused';
  if (patterns.length > 0) return patterns.some((each) => holds(each, octets)) ? 'listed' : 'other';
  return b === 0 && c === 0 && d === 1 ? 'other' : 'listed';
};
