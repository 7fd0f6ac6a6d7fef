/**
 * Framing of message data (RFC 5321 4.1.1.4, 4.5.2): CRLF.CRLF ends it, and nothing else does. What passes
 * is handed on as views into the chunks, dots and all, since the next server undoes the dot-stuffing. A CR or
 * LF that stands alone, or a NUL, never passes: servers differ in where they see a line end there, and that
 * is how messages are smuggled.
 *
 * Octets whose meaning hangs on what follows (a CR, a dot that begins a line) are held back until it came, so
 * neither the result nor what is handed on depends on how the stream was cut.
 */
import { CR, DOT, LF, NUL } from './chars.js';
import { WholeLines } from './whole-lines.js';

export interface DataLimits {
  /** Octets of a line without CRLF and without the dot of dot-stuffing (RFC 5321 4.5.3.1.6: 998). */
  readonly lineLimit: number;
  readonly overLong: 'reject' | 'pass';
  /** Octets above 127 in a message that did not declare them. */
  readonly eightBit: 'reject' | 'pass';
  /**
   * `convert`: a leniency for clients that cannot be mended. A bare LF becomes CRLF, and a line that thereby
   * becomes a lone dot is stuffed, so that it ends nothing.
   */
  readonly bareLf: 'reject' | 'convert';
}

/** What has no certain reading, and what is only too much. After the latter one may `relax` and go on. */
export type DataFault = 'bare-cr' | 'bare-lf' | 'nul' | 'data-line-too-long' | 'eight-bit';

export type DataScan =
  | { readonly kind: 'more' }
  /** `next`: offset in the chunk of the first octet behind the final CRLF. */
  | { readonly kind: 'end'; readonly next: number }
  /** `at`: offset in the chunk of the octet that is one too many. */
  | { readonly kind: 'fault'; readonly fault: DataFault; readonly at: number };

export type DataOut = (view: Buffer) => void;

const MORE: DataScan = { kind: 'more' };
const EMPTY = Buffer.alloc(0);
const CRLF = Buffer.from('\r\n', 'latin1');
const STUFFED_DOT = Buffer.from('..\r\n', 'latin1');

/** One for all scanners: nothing stays in it from one chunk to the next. */
const FAST = WholeLines.make();
/** Fewer octets are not worth the copy. */
const WORTH_A_COPY = 256;

/** Where the next octet is that a message may not have just anywhere, from `at` on. */
const ordinary = (buffer: Buffer, at: number, greatest: number): number => {
  const { length } = buffer;
  let i = at;
  while (i < length) {
    const octet = buffer[i] as number;
    if (octet <= CR || octet > greatest) break;
    i += 1;
  }
  return i;
};

/** Where a line begins: after CRLF or at the start of the data; after a bare LF that was converted; not here. */
type LineStart = 'hard' | 'soft' | 'none';

export class DataScanner {
  /** Octets of the message so far, without dot-stuffing and final dot (RFC 1870 5). Counted before they are handed on. */
  bytes = 0;

  readonly #limits: DataLimits;
  readonly #fast: WholeLines | undefined;
  #lineLimit = 0;
  /** The greatest octet that passes. */
  #greatest = 255;
  #start: LineStart = 'hard';
  /** Octets of the present line before this chunk. */
  #length = 0;
  #held: Buffer = EMPTY;
  /** Dots of dot-stuffing not yet taken off `bytes`. */
  #stuffed = 0;

  /** `simd`: false looks at each octet, with the same result. */
  constructor(limits: DataLimits, simd = true) {
    this.#limits = limits;
    this.#fast = simd ? FAST : undefined;
    this.reset();
  }

  /** Begins a message. `declared`: its MAIL said BODY=8BITMIME or SMTPUTF8. */
  reset(declared = false): void {
    const { lineLimit, overLong, eightBit } = this.#limits;
    this.#lineLimit = overLong === 'pass' ? Number.POSITIVE_INFINITY : lineLimit;
    this.#greatest = eightBit === 'pass' || declared ? 255 : 127;
    this.#start = 'hard';
    this.#length = 0;
    this.#held = EMPTY;
    this.bytes = 0;
    this.#stuffed = 0;
  }

  /** After `data-line-too-long` or `eight-bit`: go on from the fault's offset and mind such things no more. */
  relax(): void {
    this.#lineLimit = Number.POSITIVE_INFINITY;
    this.#greatest = 255;
  }

  /** Reads a chunk, handing on what is certain to belong to the message. */
  scan(chunk: Buffer, out: DataOut): DataScan {
    const before = this.#held.length;
    const buffer = before === 0 ? chunk : Buffer.concat([this.#held, chunk]);
    this.#held = EMPTY;
    const scan = this.#scan(buffer, out);
    if (before === 0 || scan.kind === 'more') return scan;
    return scan.kind === 'end'
      ? { kind: 'end', next: scan.next - before }
      : { kind: 'fault', fault: scan.fault, at: scan.at - before };
  }

  #scan(buffer: Buffer, out: DataOut): DataScan {
    const length = buffer.length;
    const greatest = this.#greatest;
    let start = this.#start;
    /** Everything before this was handed on. */
    let from = 0;
    /** Where the present line would begin, had it all come in this buffer. */
    let line = 0 - this.#length;
    let i = 0;
    const fast = length >= WORTH_A_COPY && this.#fast?.load(buffer) === true ? this.#fast : undefined;
    while (i < length) {
      if (start === 'hard' && fast !== undefined) {
        i = line = fast.skip(i, greatest, this.#lineLimit);
        if (i === length) break;
      }
      if (start !== 'none') {
        if (buffer[i] === DOT) {
          const second = buffer[i + 1];
          if (second === undefined || (second === CR && i + 2 === length)) break;
          const ended = second === CR && buffer[i + 2] === LF;
          if (ended && start === 'hard') {
            this.#pass(buffer, from, i, out);
            return { kind: 'end', next: i + 3 };
          }
          if (ended || (second === LF && this.#limits.bareLf === 'convert')) {
            this.#pass(buffer, from, i, out);
            this.#stuffed += 1;
            this.#pass(STUFFED_DOT, 0, STUFFED_DOT.length, out);
            i += ended ? 3 : 2;
            start = ended ? 'hard' : 'soft';
            from = line = i;
            continue;
          }
          this.#stuffed += 1;
          i += 1;
          line = i;
        }
        start = 'none';
      }
      i = ordinary(buffer, i, greatest);
      if (i === length) break;
      const octet = buffer[i] as number;
      if (octet === CR) {
        if (i + 1 === length) break;
        if (buffer[i + 1] !== LF) return this.#fault('bare-cr', buffer, from, line, i, i + 1, out);
        if (i - line > this.#lineLimit) return this.#fault('bare-cr', buffer, from, line, i, i, out);
        i += 2;
        start = 'hard';
        line = i;
      } else if (octet === LF) {
        if (this.#limits.bareLf === 'reject' || i - line > this.#lineLimit) {
          return this.#fault('bare-lf', buffer, from, line, i, i, out);
        }
        this.#pass(buffer, from, i, out);
        this.#pass(CRLF, 0, 2, out);
        i += 1;
        start = 'soft';
        from = line = i;
      } else if (octet === NUL) {
        return this.#fault('nul', buffer, from, line, i, i, out);
      } else if (octet > greatest) {
        return this.#fault('eight-bit', buffer, from, line, i, i, out);
      } else i += 1;
    }
    if (i - line > this.#lineLimit) return this.#fault('nul', buffer, from, line, i, i, out);
    this.#pass(buffer, from, i, out);
    this.#held = i < length ? Buffer.from(buffer.subarray(i)) : EMPTY;
    this.#start = start;
    this.#length = i - line;
    return MORE;
  }

  /** Hands on what came before the fault. A line that was too long before that is the earlier fault. */
  #fault(
    kind: DataFault,
    buffer: Buffer,
    from: number,
    line: number,
    until: number,
    at: number,
    out: DataOut,
  ): DataScan {
    this.#start = 'none';
    const tooLong = until - line > this.#lineLimit;
    const sound = tooLong ? line + this.#lineLimit : until;
    this.#pass(buffer, from, sound, out);
    this.#length = sound - line;
    return tooLong
      ? { kind: 'fault', fault: 'data-line-too-long', at: sound }
      : { kind: 'fault', fault: kind, at };
  }

  #pass(buffer: Buffer, from: number, to: number, out: DataOut): void {
    if (to <= from) return;
    this.bytes += to - from - this.#stuffed;
    this.#stuffed = 0;
    out(from === 0 && to === buffer.length ? buffer : buffer.subarray(from, to));
  }
}
