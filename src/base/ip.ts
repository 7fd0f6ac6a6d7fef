/**
 * IP addresses, CIDR blocks and sets of them. IPv4-mapped IPv6 (RFC 4291 2.5.5.2) is folded to IPv4
 * in whatever spelling it comes, so that a rule written for `192.0.2.0/24` also holds for a client
 * whom a dual-stack socket shows as `::ffff:192.0.2.1`.
 *
 * ip-cidr gives a second opinion on CIDR syntax at load time. Its `contains()` ignores the address
 * family (`32.0.0.0/8` would contain `2001:db8::1`), so look-ups go through `IpSet`.
 */
import IPCIDR from 'ip-cidr';
import { err, ok, type Result } from './result.js';

/** Unsigned 32-bit words, most significant first: one for IPv4, four for IPv6. */
export type IpWords = readonly number[];

export interface Ip {
  readonly family: 4 | 6;
  /** Canonical: dotted quad, or RFC 5952 (lower case, longest run of zeros shortened). */
  readonly text: string;
  readonly words: IpWords;
}

export interface Cidr {
  readonly family: 4 | 6;
  readonly first: IpWords;
  readonly last: IpWords;
  /** 0 to 32, or 0 to 128. */
  readonly prefix: number;
  /** Canonical address, `/`, prefix; also for a single address. */
  readonly text: string;
}

/** Four decimal octets without leading zeros, or undefined: `010.1` forms differ from reader to reader. */
const readQuad = (text: string): number | undefined => {
  let word = 0;
  let octet = -1;
  let dots = 0;
  for (let i = 0; i <= text.length; i++) {
    const c = i < text.length ? text.charCodeAt(i) : 0x2e;
    if (c === 0x2e) {
      if (octet < 0 || ++dots > 4) return undefined;
      word = word * 256 + octet;
      octet = -1;
    } else if (c >= 0x30 && c <= 0x39 && octet !== 0) {
      octet = (octet < 0 ? 0 : octet * 10) + c - 0x30;
      if (octet > 255) return undefined;
    } else return undefined;
  }
  return dots === 4 ? word : undefined;
};

const GROUP = /^[0-9a-f]{1,4}$/i;

/** The 16-bit groups of one side of `::`; a dotted quad may stand at the very end (RFC 4291 2.2). */
const readGroups = (text: string, quadAllowed: boolean): number[] | undefined => {
  if (text === '') return [];
  const groups: number[] = [];
  const parts = text.split(':');
  for (const [i, part] of parts.entries()) {
    if (GROUP.test(part)) groups.push(Number.parseInt(part, 16));
    else {
      const quad = quadAllowed && i === parts.length - 1 ? readQuad(part) : undefined;
      if (quad === undefined) return undefined;
      groups.push(quad >>> 16, quad & 0xffff);
    }
  }
  return groups;
};

/** `::` stands for one or more groups of zeros (RFC 5952 2.2 allows one on input). */
const readV6 = (text: string): number[] | undefined => {
  if (text.length > 45) return undefined;
  const gap = text.indexOf('::');
  let groups: number[] | undefined;
  if (gap < 0) groups = readGroups(text, true);
  else {
    const head = readGroups(text.slice(0, gap), false);
    const tail = readGroups(text.slice(gap + 2), true);
    if (head === undefined || tail === undefined || head.length + tail.length > 7) return undefined;
    groups = [...head, ...new Array<number>(8 - head.length - tail.length).fill(0), ...tail];
  }
  if (groups?.length !== 8) return undefined;
  return [0, 2, 4, 6].map((i) => groups[i]! * 0x10000 + groups[i + 1]!);
};

const quadText = (word: number): string =>
  `${word >>> 24}.${(word >>> 16) & 255}.${(word >>> 8) & 255}.${word & 255}`;

/** RFC 5952 4: no leading zeros, the first longest run of two or more zero groups as `::`, lower case. */
const v6Text = (words: IpWords): string => {
  const groups = words.flatMap((word) => [word >>> 16, word & 0xffff]);
  let start = -1;
  let length = 1;
  for (let i = 0; i < 8; i++) {
    let end = i;
    while (end < 8 && groups[end] === 0) end++;
    if (end - i > length) [start, length] = [i, end - i];
    if (end > i) i = end;
  }
  const hex = (part: number[]): string => part.map((group) => group.toString(16)).join(':');
  return start < 0 ? hex(groups) : `${hex(groups.slice(0, start))}::${hex(groups.slice(start + length))}`;
};

/** Canonical text of an address's words. */
export const textOf = (words: IpWords): string => (words.length === 1 ? quadText(words[0]!) : v6Text(words));

const isMapped = (words: IpWords): boolean => words[0] === 0 && words[1] === 0 && words[2] === 0xffff;

/**
 * Reads one address: a strict dotted quad (no octal, no short forms) or IPv6 without zone and brackets.
 * IPv4-mapped IPv6 comes out as family 4. Undefined for anything else.
 */
export const parseIp = (text: string): Ip | undefined => {
  if (!text.includes(':')) {
    const word = readQuad(text);
    return word === undefined ? undefined : { family: 4, text, words: [word] };
  }
  const words = readV6(text);
  if (words === undefined) return undefined;
  if (isMapped(words)) return { family: 4, text: quadText(words[3]!), words: [words[3]!] };
  return { family: 6, text: v6Text(words), words };
};

/** What the writer of a netmask or of an octet prefix in sendmail's manner must have meant. */
const suggestion = (text: string): string | undefined => {
  const [address = '', mask, ...more] = text.split('/');
  if (more.length > 0) return undefined;
  const octets = address.replace(/\.$/, '').split('.');
  if (octets.length < 4 && octets.every((o) => /^\d{1,3}$/.test(o) && Number(o) < 256)) {
    const full = [...octets.map((o) => `${Number(o)}`), '0', '0', '0'].slice(0, 4).join('.');
    return `${full}/${mask !== undefined && /^\d+$/.test(mask) && Number(mask) <= 32 ? Number(mask) : octets.length * 8}`;
  }
  const netmask = mask === undefined ? undefined : readQuad(mask);
  const word = readQuad(address);
  if (netmask === undefined || word === undefined) return undefined;
  const prefix = Math.clz32(~netmask);
  return maskOf(prefix) === netmask ? `${quadText((word & netmask) >>> 0)}/${prefix}` : undefined;
};

/** The network mask of one word, `bits` from 0 to 32. */
const maskOf = (bits: number): number =>
  bits <= 0 ? 0 : bits >= 32 ? 0xffffffff : (-1 << (32 - bits)) >>> 0;

/**
 * Reads `address/prefix` or a bare address (then /32 or /128). The error text names the fault and, where
 * it can be told, what would be right. An IPv4-mapped block of /96 and more folds to its IPv4 block.
 */
export const parseCidr = (text: string): Result<Cidr, string> => {
  const slash = text.indexOf('/');
  const base = parseBase(slash < 0 ? text : text.slice(0, slash));
  const bits = base?.length === 1 ? 32 : 128;
  const prefixText = slash < 0 ? `${bits}` : text.slice(slash + 1);
  if (base === undefined || prefixText.includes('.')) {
    const better = suggestion(text);
    return err(
      better === undefined ? 'not an IP address or CIDR block' : `not a CIDR block: did you mean ${better}?`,
    );
  }
  if (!/^(0|[1-9]\d{0,2})$/.test(prefixText) || Number(prefixText) > bits)
    return err(`bad prefix length: 0 to ${bits} for IPv${bits === 32 ? 4 : 6}`);
  let prefix = Number(prefixText);
  let first = base;
  if (base.length === 4 && prefix >= 96 && isMapped(base)) {
    first = [base[3]!];
    prefix -= 96;
  }
  const masks = first.map((_, i) => maskOf(prefix - 32 * i));
  const network = first.map((word, i) => (word & masks[i]!) >>> 0);
  const canonical = `${textOf(network)}/${prefix}`;
  if (network.some((word, i) => word !== first[i])) return err(`host bits set: did you mean ${canonical}?`);
  // The canonical text: ip-cidr drops the front of a mapped address such as ::ffff:1.0.0.0/104.
  if (slash >= 0 && !IPCIDR.isValidCIDR(canonical)) return err('not an IP address or CIDR block');
  const last = first.map((word, i) => (word | ~masks[i]!) >>> 0);
  return ok({ family: first.length === 1 ? 4 : 6, first, last, prefix, text: canonical });
};

const parseBase = (text: string): number[] | undefined => {
  if (text.includes(':')) return readV6(text);
  const word = readQuad(text);
  return word === undefined ? undefined : [word];
};

const compareWords = (a: IpWords, b: IpWords): number => {
  for (let i = 0; i < a.length; i++) if (a[i] !== b[i]) return a[i]! - b[i]!;
  return 0;
};

/** The address behind `words`; undefined behind the last one of all. */
const successor = (words: IpWords): IpWords | undefined => {
  const next = [...words];
  for (let i = next.length - 1; i >= 0; i--) {
    if (next[i] !== 0xffffffff) {
      next[i] = next[i]! + 1;
      return next;
    }
    next[i] = 0;
  }
  return undefined;
};

/** Sorted, disjoint, non-adjacent ranges of one family in flat arrays, `width` words an address. */
interface Ranges {
  readonly count: number;
  readonly firsts: Uint32Array;
  readonly lasts: Uint32Array;
}

const compileRanges = (cidrs: readonly Cidr[], width: number): Ranges => {
  const sorted = [...cidrs].sort((a, b) => compareWords(a.first, b.first));
  const firsts = new Uint32Array(sorted.length * width);
  const lasts = new Uint32Array(sorted.length * width);
  let count = 0;
  let end: IpWords | undefined;
  for (const { first, last } of sorted) {
    const next = end === undefined ? undefined : successor(end);
    const joins = end !== undefined && (next === undefined || compareWords(first, next) <= 0);
    if (!joins) firsts.set(first, count++ * width);
    if (joins && compareWords(last, end!) <= 0) continue;
    lasts.set(last, (count - 1) * width);
    end = last;
  }
  return { count, firsts: firsts.slice(0, count * width), lasts: lasts.slice(0, count * width) };
};

/** True if the words at `at` in `array` are lower than or equal to `words`. */
const atMost = (array: Uint32Array, at: number, words: IpWords): boolean => {
  for (let i = 0; i < words.length; i++) {
    const a = array[at + i]!;
    const b = words[i]!;
    if (a !== b) return a < b;
  }
  return true;
};

/** True if the words at `at` in `array` are higher than or equal to `words`. */
const atLeast = (array: Uint32Array, at: number, words: IpWords): boolean => {
  for (let i = 0; i < words.length; i++) {
    const a = array[at + i]!;
    const b = words[i]!;
    if (a !== b) return a > b;
  }
  return true;
};

/** True if one range holds everything from `words` to `last`. */
const holds = ({ count, firsts, lasts }: Ranges, words: IpWords, last: IpWords): boolean => {
  const width = words.length;
  let low = 0;
  let high = count;
  while (low < high) {
    const middle = (low + high) >>> 1;
    if (atMost(firsts, middle * width, words)) low = middle + 1;
    else high = middle;
  }
  return low > 0 && atLeast(lasts, (low - 1) * width, last);
};

/** A block, or anything that runs from one address to another. */
export type Span = Pick<Cidr, 'family' | 'first' | 'last'>;

export const spanOf = ({ family, words }: Ip): Span => ({ family, first: words, last: words });

/** True if all of `inner` lies in `outer`. For many, compile an `IpSet`. */
export const spanCovers = (outer: Span, inner: Span): boolean =>
  outer.family === inner.family &&
  compareWords(outer.first, inner.first) <= 0 &&
  compareWords(outer.last, inner.last) >= 0;

/** A set of addresses of both families, compiled once; look-up is a binary search. */
export class IpSet {
  readonly #v4: Ranges;
  readonly #v6: Ranges;

  private constructor(v4: Ranges, v6: Ranges) {
    this.#v4 = v4;
    this.#v6 = v6;
  }

  static of(cidrs: readonly Cidr[]): IpSet {
    const v4 = cidrs.filter(({ family }) => family === 4);
    const v6 = cidrs.filter(({ family }) => family === 6);
    return new IpSet(compileRanges(v4, 1), compileRanges(v6, 4));
  }

  has(ip: Ip): boolean {
    return holds(ip.family === 4 ? this.#v4 : this.#v6, ip.words, ip.words);
  }

  /** True if every address of the block is in the set. */
  covers({ family, first, last }: Cidr): boolean {
    return holds(family === 4 ? this.#v4 : this.#v6, first, last);
  }

  /** The number of disjoint ranges, after overlapping and adjacent blocks have been merged. */
  get size(): number {
    return this.#v4.count + this.#v6.count;
  }

  /** The part of a family's whole address space that the set holds, 0 to 1; with `within` only what lies in there. */
  share(family: 4 | 6, within?: Span): number {
    if (within !== undefined && within.family !== family) return 0;
    const { count, firsts, lasts } = family === 4 ? this.#v4 : this.#v6;
    const width = family === 4 ? 1 : 4;
    let sum = 0;
    for (let i = 0; i < count; i++) {
      let first: IpWords = [...firsts.subarray(i * width, (i + 1) * width)];
      let last: IpWords = [...lasts.subarray(i * width, (i + 1) * width)];
      if (within !== undefined) {
        if (compareWords(first, within.first) < 0) first = within.first;
        if (compareWords(last, within.last) > 0) last = within.last;
        if (compareWords(first, last) > 0) continue;
      }
      let span = 0;
      for (let w = 0; w < width; w++) span += (last[w]! - first[w]!) / 2 ** (32 * (w + 1));
      // A range holds its last address too.
      sum += span + 2 ** (-32 * width);
    }
    return sum;
  }
}
