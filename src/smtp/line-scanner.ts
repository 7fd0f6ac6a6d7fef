/**
 * Framing of command lines (RFC 5321 2.3.8): CRLF ends a line, and nothing else does. A CR or LF that stands
 * alone, or a NUL, has no certain reading, because the server behind may see a line end where another does
 * not; it is a fault, and after a fault nothing more is read.
 *
 * The scanner works in the chunk as it came and joins chunks only where a line straddles them. No octet is
 * looked at twice, and the result does not depend on how the stream was cut.
 */
import { CR, LF, NUL } from './chars.js';

export interface LineLimits {
  /** Most octets of a line with its CRLF (RFC 5321 4.5.3.1.4). */
  readonly limit: number;
  /** Octets of one over-long line, with CRLF, that are skipped in search of its end; past that: `far-too-long`. */
  readonly skipLimit?: number;
}

export type LineFault = 'bare-cr' | 'bare-lf' | 'nul';

export type LineScan =
  /** A line lies in `buffer` from `start` to `end`, without its CRLF; valid until the next `push`. */
  | { readonly kind: 'line'; readonly buffer: Buffer; readonly start: number; readonly end: number }
  | { readonly kind: 'need-more' }
  /** A line longer than the limit has ended and was thrown away. */
  | { readonly kind: 'too-long' }
  | { readonly kind: 'far-too-long' }
  | { readonly kind: 'fault'; readonly fault: LineFault };

const NEED_MORE: LineScan = { kind: 'need-more' };
const TOO_LONG: LineScan = { kind: 'too-long' };
const FAR_TOO_LONG: LineScan = { kind: 'far-too-long' };
const EMPTY = Buffer.alloc(0);

export class LineScanner {
  /** May be raised between two lines. */
  limit: number;

  readonly #skipLimit: number;
  #buffer: Buffer = EMPTY;
  /** Where the present line begins. */
  #start = 0;
  /** The next octet to look at. */
  #next = 0;
  /** Octets of the present line that were thrown away, since it is over-long anyway. */
  #skipped = 0;
  #end: LineScan | undefined;

  constructor({ limit, skipLimit = 65_536 }: LineLimits) {
    this.limit = limit;
    this.#skipLimit = skipLimit;
  }

  /** Octets received of lines that were not returned yet. */
  get pending(): number {
    return this.#skipped + this.#buffer.length - this.#start;
  }

  push(chunk: Buffer): void {
    if (this.#start === this.#buffer.length) {
      this.#buffer = chunk;
      this.#next = 0;
    } else {
      const rest = this.#buffer.subarray(this.#start);
      this.#next -= this.#start;
      this.#buffer = Buffer.concat([rest, chunk]);
    }
    this.#start = 0;
  }

  /** The next line. After `fault` and `far-too-long` the answer stays the same for ever. */
  next(): LineScan {
    if (this.#end !== undefined) return this.#end;
    const buffer = this.#buffer;
    const { length } = buffer;
    let i = this.#next;
    let afterCr = i > this.#start && buffer[i - 1] === CR;
    /** The octet that makes the line far too long. */
    const far = this.#start + this.#skipLimit - this.#skipped - 1;
    for (; i < length; i += 1) {
      const octet = buffer[i] as number;
      // Nearly all of them.
      if (octet > CR && !afterCr && i < far) continue;
      if (octet === LF) return afterCr ? this.#lineEnds(i) : this.#fault('bare-lf');
      if (afterCr) return this.#fault('bare-cr');
      if (octet === NUL) return this.#fault('nul');
      if (i >= far) return this.#stop(FAR_TOO_LONG);
      afterCr = octet === CR;
    }
    this.#next = buffer.length;
    this.#forget();
    return NEED_MORE;
  }

  /** Octets of the present line up to and with the one at `i`. */
  #length(i: number): number {
    return this.#skipped + i - this.#start + 1;
  }

  #lineEnds(i: number): LineScan {
    const start = this.#start;
    const tooLong = this.#length(i) > this.limit;
    this.#start = this.#next = i + 1;
    this.#skipped = 0;
    return tooLong ? TOO_LONG : { kind: 'line', buffer: this.#buffer, start, end: i - 1 };
  }

  /** Of a line that is over-long already only the last octet is kept: it may be the CR of its end. */
  #forget(): void {
    const held = this.#buffer.length - this.#start;
    if (this.#skipped + held <= this.limit || held <= 1) return;
    this.#skipped += held - 1;
    this.#buffer = Buffer.from(this.#buffer.subarray(this.#buffer.length - 1));
    this.#start = 0;
    this.#next = 1;
  }

  #fault(fault: LineFault): LineScan {
    return this.#stop({ kind: 'fault', fault });
  }

  #stop(scan: LineScan): LineScan {
    this.#end = scan;
    return scan;
  }
}
