/**
 * Replies of the upstream (RFC 5321 4.2, RFC 2034 4). Lenient in line ends, since nothing can be smuggled
 * through the server that is being protected, and strict in everything that pairs a reply with its command.
 */
import { LF } from './chars.js';

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
const LINE = /^([2-5][0-9][0-9])(?:([ -])(.*))?$/s;
const ENHANCED = /^([245])\.[0-9]{1,3}\.[0-9]{1,3}(?: +|$)/;

/** The text without its enhanced code, and that code, if it fits the reply's. */
const splitEnhanced = (code: number, text: string): [enhanced: string | undefined, text: string] => {
  const match = ENHANCED.exec(text);
  if (match === null || Number(match[1]) !== Math.floor(code / 100)) return [undefined, text];
  return [match[0].trimEnd(), text.slice(match[0].length)];
};

const printable = (text: string): string => text.replace(/\t/g, ' ').replace(/[\x00-\x1f\x7f]/g, '?');

export class ReplyParser {
  #buffer: Buffer = EMPTY;
  #next = 0;
  #code = 0;
  #enhanced: string | undefined;
  #lines: string[] = [];
  #fault: ReplyScan | undefined;

  /** Octets and lines received that make no whole reply yet. */
  get pending(): number {
    return this.#buffer.length + this.#lines.length;
  }

  /** The chunk may change once `next` has said `need-more`. */
  push(chunk: Buffer): void {
    this.#buffer = this.#buffer.length === 0 ? chunk : Buffer.concat([this.#buffer, chunk]);
  }

  /** The next whole reply. After a fault the answer stays the same for ever. */
  next(): ReplyScan {
    for (;;) {
      if (this.#fault !== undefined) return this.#fault;
      const end = this.#buffer.indexOf(LF, this.#next);
      const length = end < 0 ? this.#buffer.length : end + 1;
      if (length > MAX_REPLY_LINE) return this.#fail(`a line longer than ${MAX_REPLY_LINE} octets`);
      if (end < 0) {
        this.#next = this.#buffer.length;
        if (this.#next > 0) this.#buffer = Buffer.from(this.#buffer);
        return NEED_MORE;
      }
      const line = this.#buffer.toString('latin1', 0, end).replace(/\r+$/, '');
      this.#buffer = length === this.#buffer.length ? EMPTY : this.#buffer.subarray(length);
      this.#next = 0;
      const scan = this.#onLine(line);
      if (scan !== undefined) return scan;
    }
  }

  #onLine(line: string): ReplyScan | undefined {
    const match = LINE.exec(line);
    if (match === null) return this.#fail('a line without a reply code');
    const code = Number(match[1]);
    if (this.#lines.length > 0 && code !== this.#code) return this.#fail('different codes in one reply');
    if (this.#lines.length >= MAX_REPLY_LINES) {
      return this.#fail(`a reply of more than ${MAX_REPLY_LINES} lines`);
    }
    const [enhanced, text] = splitEnhanced(code, printable(match[3] ?? ''));
    if (this.#lines.length === 0) this.#enhanced = enhanced;
    this.#code = code;
    this.#lines.push(text);
    if (match[2] === '-') return undefined;
    const reply = { code, enhanced: this.#enhanced, lines: this.#lines };
    this.#lines = [];
    return { kind: 'reply', reply };
  }

  #fail(why: string): ReplyScan {
    this.#fault = { kind: 'fault', why };
    return this.#fault;
  }
}
