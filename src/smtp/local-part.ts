/**
 * A local part as old MTAs see it once they have taken its quotes off: words between routing characters.
 * `routes` looks among the words for hosts, `hazard` for programs and files.
 */

/**
 * Letters, digits and the commonest punctuation between them route nowhere and are no hazard, unless they spell a word
 * that means something to somebody: IMCEA, decode, uudecode. This spares most mail the search.
 */
export const isOrdinary = (local: string): boolean => {
  const last = local.length - 1;
  for (let i = 0; i <= last; i += 1) {
    const kind = ORDINARY[local.charCodeAt(i)];
    if (kind !== ALNUM && (kind !== BETWEEN || i === 0 || i === last)) return false;
  }
  return last >= 0 && !SPELLS.test(local);
};

const ALNUM = 1;
const BETWEEN = 2;
const ORDINARY = new Uint8Array(0x80);
for (let c = 0x21; c < 0x7f; c += 1) {
  const character = String.fromCharCode(c);
  if (/[a-z0-9]/i.test(character)) ORDINARY[c] = ALNUM;
  else if ('._=+-'.includes(character)) ORDINARY[c] = BETWEEN;
}
const SPELLS = /^(?:IMCEA|(?:uu)?decode(?:\+|$))/i;

/** `at` is RFC 733's spelled-out `@`; `^` stood for `!` where the shell would have eaten that. */
export type Separator = '@' | 'at' | '%' | '!' | '^' | '::' | ':' | ',';

export interface Word {
  readonly text: string;
  readonly before: Separator | undefined;
  readonly after: Separator | undefined;
}

const SPLIT = /(::|[@%!^:,]| +at +)/i;

/** Never empty. Quotes and backslashes that are part of the decoded text are left out, as S3 of sendmail leaves them. */
export const wordsOf = (local: string): Word[] => {
  const pieces = local.replace(/["\\]/g, '').split(SPLIT);
  const separator = (i: number): Separator | undefined =>
    pieces[i]?.trim().toLowerCase() as Separator | undefined;
  const words: Word[] = [];
  for (let i = 0; i < pieces.length; i += 2)
    words.push({ text: pieces[i]!.trim(), before: separator(i - 1), after: separator(i + 1) });
  return words;
};

/** An address of another mail system inside a local part. */
export interface Capsule {
  /** Upper case: `SMTP`, `EX`, `X400`, `FAX`, `` … */
  readonly type: string;
  readonly text: string;
}

/** Microsoft Exchange's IMCEA<type>-<address>: `_` for `/`, `+XX` for any other octet (MS99-027). */
const openCapsule = (text: string): Capsule | undefined => {
  const match = /^IMCEA([A-Z0-9]*)-(.*)$/i.exec(text);
  if (match === null) return undefined;
  const octet = (_: string, hex: string): string => String.fromCharCode(Number.parseInt(hex, 16));
  const decoded = match[2]!.replace(/_/g, '/').replace(/\+([0-9a-f]{2})/gi, octet);
  return { type: match[1]!.toUpperCase(), text: decoded };
};

/** A capsule shrinks as it is opened, and a local part has 64 octets, so this ends by itself; 4 is plenty. */
const MAX_NESTING = 4;

/** The capsules in a local part, and those inside them, outermost first. */
export const capsulesOf = (local: string, depth = 0): Capsule[] => {
  if (depth === MAX_NESTING || !/IMCEA/i.test(local)) return [];
  const candidates = new Set([local.replace(/["\\]/g, '').trim(), ...wordsOf(local).map(({ text }) => text)]);
  return [...candidates]
    .map(openCapsule)
    .filter((capsule) => capsule !== undefined)
    .flatMap((capsule) => [capsule, ...capsulesOf(capsule.text, depth + 1)]);
};
