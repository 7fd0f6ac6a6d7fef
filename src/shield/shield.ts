/**
 * One message as it streams by, looked at for what old mail servers cannot bear: `feed(view) → finding | undefined`.
 * It keeps no octets, but says while the header section is not over (`holding`) that what has been fed should be
 * kept back. Besides the patches it sees mail loops (RFC 5321 6.3): too many Received lines, or too many of this
 * very instance. What a header says of clients or users is never looked at.
 */
import { ADDRESS_FIELDS, checkAddressField } from './address-field.js';
import { Boundaries } from './boundaries.js';
import { boundariesOf, checkBoundary, checkContentType, parseContentType } from './content-type.js';
import { type FieldListener, FieldNames, FieldReader } from './field-reader.js';
import { LIMITS, type PatchId } from './patches.js';
import type { Finding, ShieldRules } from './rules.js';

export interface LoopLimits {
  /** That many Received lines make a loop (RFC 5321 6.3 wants at least 100 of a final host; a relay in front of one needs far less). */
  readonly maxReceived: number;
  /** Stands in the Received lines of this very instance. */
  readonly mark: string;
  /** That many Received lines with the mark make a loop. */
  readonly maxMarked: number;
}

const LF = 0x0a;
const CR = 0x0d;
const DASH = 0x2d;
/** Of a line that is longer no more is looked at. */
const MOST_OF_A_LINE = 131_072;
/** Where nesting is not refused, no more levels than this are followed, nor more boundaries in one. */
const MOST_LEVELS = 64;
const MOST_BOUNDARIES = 4;

const OF_PARTS: ReadonlySet<string> = new Set(['content-type', 'content-transfer-encoding']);
const OF_MESSAGES: ReadonlySet<string> = new Set([...OF_PARTS, ...ADDRESS_FIELDS.keys(), 'dkim-signature']);
const KNOWN = new FieldNames([...OF_MESSAGES, 'received']);

const MESSAGES: ReadonlySet<string> = new Set(['message/rfc822', 'message/global']);
const TNEFS: ReadonlySet<string> = new Set(['application/ms-tnef', 'application/vnd.ms-tnef']);

const holds = (view: Buffer, from: number, to: number, what: Buffer): boolean => {
  const { length } = what;
  for (let at = from; at <= to - length; at += 1) {
    let i = 0;
    while (i < length && view[at + i] === what[i]) i += 1;
    if (i === length) return true;
  }
  return false;
};

/** What the Content-Type fields of a section make of what follows it. */
interface Section {
  boundaries: string[];
  typed: boolean;
  digest: boolean;
  message: boolean;
}

/** All of an instance's sessions have the same mark. */
let lastMark = '';
let lastOctets = Buffer.alloc(0);
const octetsOf = (mark: string): Buffer => {
  if (mark !== lastMark) [lastMark, lastOctets] = [mark, Buffer.from(mark, 'latin1')];
  return lastOctets;
};

const withoutCr = (view: Buffer, from: number, to: number): number =>
  to > from && view[to - 1] === CR ? to - 1 : to;

export class Shield implements FieldListener {
  readonly #loops: LoopLimits;
  readonly #mark: Buffer;
  readonly #onShadow: (finding: Finding) => void;
  readonly #reader: FieldReader;
  readonly #boundaries = new Boundaries();
  #seen: Set<PatchId> | undefined;
  #rules: ShieldRules | undefined;
  #utf8 = false;
  #finding: Finding | 'loop' | undefined;
  #inHeader = true;
  /** The section is the message's own. */
  #top = true;
  #holding = true;
  #line = '';
  #lineLength = 0;
  #section: Section = { boundaries: [], typed: false, digest: false, message: false };
  #received = 0;
  #marked = 0;
  /** The Received field at hand has the mark. It has no white space, so no fold can part it. */
  #hasMark = false;
  #parts = 0;

  /** `onShadow`: hears what a patch in shadow mode would have refused, once for each patch and message. */
  constructor(loops: LoopLimits, onShadow: (finding: Finding) => void) {
    this.#loops = loops;
    this.#mark = octetsOf(loops.mark);
    this.#onShadow = onShadow;
    this.#reader = new FieldReader(KNOWN, this);
  }

  wanted(name: string): boolean {
    return (this.#top ? OF_MESSAGES : OF_PARTS).has(name);
  }

  /** Begins a message. `utf8`: it declared SMTPUTF8. */
  reset(rules: ShieldRules, utf8 = false): void {
    this.#rules = rules;
    this.#utf8 = utf8;
    this.#finding = undefined;
    this.#seen = undefined;
    this.#boundaries.reset();
    this.#top = this.#holding = true;
    this.#received = this.#marked = this.#parts = 0;
    this.#hasMark = false;
    this.#beginSection();
  }

  /** The header section is not over: what was fed so far should not have gone on yet. */
  get holding(): boolean {
    return this.#holding;
  }

  /** Takes the next octets of the message, cut anywhere; all line ends are CRLF. */
  feed(view: Buffer): Finding | 'loop' | undefined {
    this.#boundaries.nextChunk();
    let at = 0;
    while (at < view.length && this.#finding === undefined) {
      if (this.#inHeader) at = this.#feedLine(view, at);
      else if (this.#boundaries.multiparts === 0) break;
      else {
        const found = this.#boundaries.find(view, at);
        if (found === undefined) break;
        at = found.next;
        this.#onBoundary(found.kind);
      }
    }
    return this.#finding;
  }

  /** The message is whole. A header section that was not over yet, is now. */
  finish(): Finding | 'loop' | undefined {
    if (this.#inHeader) this.#reader.end();
    this.#holding = false;
    return this.#finding;
  }

  #feedLine(view: Buffer, at: number): number {
    let to = at;
    while (to < view.length && view[to] !== LF) to += 1;
    const whole = to < view.length;
    const straddles = this.#lineLength > 0;
    if ((straddles || !whole) && this.#lineLength < MOST_OF_A_LINE)
      this.#line += view.toString('latin1', at, to);
    this.#lineLength += to - at;
    this.#checkSize();
    if (!whole) return view.length;
    this.#lineLength = 0;
    if (straddles) {
      const line = Buffer.from(this.#line, 'latin1');
      this.#line = '';
      this.#onLine(line, 0, withoutCr(line, 0, line.length));
    } else this.#onLine(view, at, withoutCr(view, at, to));
    return to + 1;
  }

  /** Whole lines are counted: what a line is, is known only at its end. One that is longer than all is too long anyway. */
  #checkSize(): void {
    const most = this.#rules?.headerBytes ?? 0;
    if (!this.#inHeader || Math.max(this.#reader.bytes, this.#lineLength) <= most) return;
    this.#holding = false;
    this.#found('header-size', `more than ${most} octets`);
  }

  #onLine(view: Buffer, from: number, to: number): void {
    const dashes = to - from >= 2 && view[from] === DASH && view[from + 1] === DASH;
    if (dashes && this.#onDashes(view.toString('latin1', from, to))) return;
    const reader = this.#reader;
    const ends = !reader.line(view, from, to);
    this.#checkSize();
    if (ends) return this.#endSection();
    if (this.#top && reader.name === 'received' && holds(view, from, to, this.#mark)) this.#hasMark = true;
    if (reader.count === LIMITS.fields + 1) this.#found('header-count', `more than ${LIMITS.fields} fields`);
    if (reader.nameLength > LIMITS.name)
      this.#found('header-name', `a field name of ${reader.nameLength} octets`);
    if (reader.length > LIMITS.field && ADDRESS_FIELDS.get(reader.name) !== 'list')
      this.#found('header-field', `a field of more than ${LIMITS.field} octets`);
  }

  /** A boundary ends a header section too, with or without an empty line: one that is open, or one just declared. */
  #onDashes(line: string): boolean {
    this.#reader.end();
    const text = line.slice(2).trimEnd();
    if (this.#section.boundaries.some((each) => each === text || `${each}--` === text)) this.#endSection();
    const kind = this.#boundaries.take(line);
    if (kind !== undefined) this.#onBoundary(kind);
    return kind !== undefined;
  }

  field(name: string, value: string): void {
    if (this.#top) this.#onMessageField(name, value);
    if (this.#rules?.mime !== true) return;
    if (name === 'content-type') this.#onContentType(value);
    else if (name === 'content-transfer-encoding') this.#onEncoding(value);
  }

  #onMessageField(name: string, value: string): void {
    const rules = this.#rules as ShieldRules;
    if (name === 'received') {
      this.#received += 1;
      if (this.#hasMark) this.#marked += 1;
      this.#hasMark = false;
      const { maxReceived, maxMarked } = this.#loops;
      if (this.#received >= maxReceived || this.#marked >= maxMarked) this.#finding ??= 'loop';
    } else if (name === 'dkim-signature') this.#onDkim(value);
    else {
      const kind = ADDRESS_FIELDS.get(name);
      if (kind !== undefined && rules.addresses)
        checkAddressField(name, kind, value, this.#utf8, rules, this.#found);
    }
  }

  /** CVE-2011-1764: Exim 4.70 to 4.75 used the signature as a format string when it logged it. */
  #onDkim(value: string): void {
    if (value.length > LIMITS.dkim) this.#found('dkim-format', `a signature of ${value.length} octets`);
    // `z=` holds copies of header fields, in which % is but a character.
    else if (value.includes('%') && value.replace(/(^|;)\s*z\s*=[^;]*/g, '').includes('%'))
      this.#found('dkim-format', 'a signature with % in it');
  }

  #onContentType(value: string): void {
    const rules = this.#rules as ShieldRules;
    const type = parseContentType(value);
    checkContentType(type, rules, this.#found);
    const section = this.#section;
    section.typed = true;
    section.digest ||= type.type === 'multipart/digest';
    section.message ||= MESSAGES.has(type.type);
    if (TNEFS.has(type.type)) this.#found('tnef', 'an application/ms-tnef');
    if (!type.type.includes('multipart')) return;
    for (const boundary of boundariesOf(type)) {
      checkBoundary(boundary, rules, this.#found);
      if (section.boundaries.length === MOST_BOUNDARIES) {
        this.#found('mime-boundary', `more than ${MOST_BOUNDARIES} boundaries for one multipart`);
        break;
      }
      section.boundaries.push(boundary);
    }
  }

  #onEncoding(value: string): void {
    const text = value.replace(/\([^()]*\)/g, '').trim();
    const odd = !/^[!-~]*;?$/.test(text) && !this.#rules?.lenient.has('odd-encodings');
    if (odd || text.length > LIMITS.encoding)
      this.#found('mime-encoding', `an encoding of ${text.length} octets${odd ? ', not one word' : ''}`);
  }

  #beginSection(): void {
    this.#inHeader = true;
    this.#line = '';
    this.#lineLength = 0;
    this.#section = { boundaries: [], typed: false, digest: false, message: false };
    this.#reader.begin();
  }

  /** The header section is over: what follows is a multipart, an enclosed message, or neither. */
  #endSection(): void {
    const { boundaries, typed, digest, message } = this.#section;
    const { levels } = this.#boundaries;
    const inDigest = !typed && levels.at(-1)?.digest === true;
    this.#top = this.#holding = this.#inHeader = false;
    this.#boundaries.atLineStart();
    if (levels.length >= MOST_LEVELS) return;
    if (boundaries.length > 0) this.#boundaries.push({ boundaries, digest });
    if (message || inDigest) {
      this.#boundaries.push({ boundaries: [], digest: false });
      this.#beginSection();
    }
    this.#checkDepth();
  }

  #checkDepth(): void {
    const { levels, multiparts } = this.#boundaries;
    if (multiparts > LIMITS.multiparts || levels.length > LIMITS.levels)
      this.#found('mime-depth', `${levels.length} levels, ${multiparts} of them multiparts`);
  }

  #onBoundary(kind: 'part' | 'end'): void {
    this.#inHeader = false;
    this.#boundaries.atLineStart();
    if (kind === 'end') return;
    this.#parts += 1;
    if (this.#parts === LIMITS.parts + 1) this.#found('mime-parts', `more than ${LIMITS.parts} parts`);
    this.#beginSection();
  }

  readonly #found = (patch: PatchId, what: string): void => {
    const mode = this.#rules?.modes[patch] ?? 'reject';
    if (mode === 'off' || this.#seen?.has(patch) === true) return;
    this.#seen ??= new Set();
    this.#seen.add(patch);
    if (mode === 'reject') this.#finding ??= { patch, what };
    else this.#onShadow({ patch, what });
  };
}
