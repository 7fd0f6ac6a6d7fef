/**
 * Replies of the upstream (RFC 5321 4.2, RFC 2034 4). Lenient in line ends, since nothing can be smuggled
 * through the server that is being protected, and strict in everything that pairs a reply with its command.
 */
import { CR, DOT, LF } from './chars.js';

export interface UpstreamReply {
  /** 200 to 599. */
  readonly code: number;
  /** `class.subject.detail` of the first line, if its class is that of the code. */
  readonly enhanced: string | undefined;
  /** At least one line, without code and enhanced code, printable: controls have become `?`, TAB a space. */
  readonly lines: readonly string[];
}

export type ReplyScan =
  | { readonly kind: 'reply'; readonly reply: UpstreamReply }
  | { readonly kind: 'need-more' }
  | { readonly kind: 'fault'; readonly why: string };

/** Octets of one line with its end. RFC 5321 4.5.3.1.5 allows 512; old servers are talkative. */
export const MAX_REPLY_LINE = 2_048;
/** Lines of one reply. */
export const MAX_REPLY_LINES = 128;

const NEED_MORE: ReplyScan = { kind: 'need-more' };
const EMPTY = Buffer.alloc(0);
const NONE: string[] = [];
const SPACE = 0x20;
const HYPHEN = 0x2d;
const ZERO = 0x30;
const isDigit = (octet: number): boolean => octet >= ZERO && octet <= 0x39;

/** 200 to 599; undefined if the line does not begin so. */
const codeAt = (buffer: Buffer, start: number, end: number): number | undefined => {
  if (end - start < 3) return undefined;
  const [a, b, c] = [buffer[start], buffer[start + 1], buffer[start + 2]] as [number, number, number];
  if (a < ZERO + 2 || a > ZERO + 5 || !isDigit(b) || !isDigit(c)) return undefined;
  return (a - ZERO) * 100 + (b - ZERO) * 10 + c - ZERO;
};

/**
 * RFC 2034 4: the end of the enhanced code that stands at the beginning of the text of a reply, with nothing or a space
 * behind it. 0 if there is none, or one that does not fit the reply's code.
 */
const enhancedEnd = (code: number, text: string): number => {
  const group = text.charCodeAt(0) - ZERO;
  if ((group !== 2 && group !== 4 && group !== 5) || group !== Math.floor(code / 100)) return 0;
  let at = 1;
  for (let part = 0; part < 2; part += 1) {
    if (text.charCodeAt(at) !== DOT) return 0;
    at += 1;
    const from = at;
    while (at - from < 3 && isDigit(text.charCodeAt(at))) at += 1;
    if (at === from) return 0;
  }
  return at === text.length || text.charCodeAt(at) === SPACE ? at : 0;
};

/** Where something else than a space begins. */
const behindSpaces = (text: string, from: number): number => {
  let at = from;
  while (text.charCodeAt(at) === SPACE) at += 1;
  return at;
};

/** The text from `start` to `end`; controls have become `?`, TAB a space. */
const printable = (buffer: Buffer, start: number, end: number): string => {
  const text = end > start ? buffer.toString('latin1', start, end) : '';
  for (let i = start; i < end; i += 1) {
    const octet = buffer[i] as number;
    if (octet < SPACE || octet === 0x7f) return text.replace(/\t/g, ' ').replace(/[\x00-\x1f\x7f]/g, '?');
  }
  return text;
};

export class ReplyParser {
  #buffer: Buffer = EMPTY;
  /** Where the present line begins. */
  #start = 0;
  /** The next octet to look at. */
  #next = 0;
  #code = 0;
  #enhanced: string | undefined;
  #lines: string[] = NONE;
  #fault: ReplyScan | undefined;

  /** Octets and lines received that make no whole reply yet. */
  get pending(): number {
    return this.#buffer.length - this.#start + this.#lines.length;
  }

  /** The chunk may change once `next` has said `need-more`. */
  push(chunk: Buffer): void {
    if (this.#start === this.#buffer.length) {
      this.#buffer = chunk;
      this.#start = this.#next = 0;
    } else this.#buffer = Buffer.concat([this.#buffer, chunk]);
  }

  /** The next whole reply. After a fault the answer stays the same for ever. */
  next(): ReplyScan {
    for (;;) {
      if (this.#fault !== undefined) return this.#fault;
      const buffer = this.#buffer;
      const start = this.#start;
      let end = this.#next;
      while (end < buffer.length && buffer[end] !== LF) end += 1;
      const whole = end < buffer.length;
      if (end - start + (whole ? 1 : 0) > MAX_REPLY_LINE)
        return this.#fail(`a line longer than ${MAX_REPLY_LINE} octets`);
      if (!whole) {
        this.#keep();
        return NEED_MORE;
      }
      this.#start = this.#next = end + 1;
      while (end > start && buffer[end - 1] === CR) end -= 1;
      const scan = this.#onLine(buffer, start, end);
      if (scan !== undefined) return scan;
    }
  }

  #keep(): void {
    const rest = this.#buffer.length - this.#start;
    this.#buffer = rest === 0 ? EMPTY : Buffer.from(this.#buffer.subarray(this.#start));
    this.#start = 0;
    this.#next = rest;
  }

  #onLine(buffer: Buffer, start: number, end: number): ReplyScan | undefined {
    const code = codeAt(buffer, start, end);
    const behind = end - start > 3 ? buffer[start + 3] : SPACE;
    if (code === undefined || (behind !== SPACE && behind !== HYPHEN))
      return this.#fail('a line without a reply code');
    if (this.#lines.length > 0 && code !== this.#code) return this.#fail('different codes in one reply');
    if (this.#lines.length >= MAX_REPLY_LINES) {
      return this.#fail(`a reply of more than ${MAX_REPLY_LINES} lines`);
    }
    const text = printable(buffer, start + 4, end);
    const enhanced = enhancedEnd(code, text);
    if (this.#lines.length === 0) this.#enhanced = enhanced === 0 ? undefined : text.slice(0, enhanced);
    this.#code = code;
    const said = enhanced === 0 ? text : text.slice(behindSpaces(text, enhanced));
    // Most replies have but one.
    if (this.#lines.length === 0) this.#lines = [said];
    else this.#lines.push(said);
    if (behind === HYPHEN) return undefined;
    const reply = { code, enhanced: this.#enhanced, lines: this.#lines };
    this.#lines = NONE;
    return { kind: 'reply', reply };
  }

  #fail(why: string): ReplyScan {
    this.#fault = { kind: 'fault', why };
    return this.#fault;
  }
}
