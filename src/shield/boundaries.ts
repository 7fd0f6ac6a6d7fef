/**
 * The multiparts that are open at a point of a message, and the search for their boundary lines (RFC 2046 5.1.1). Body
 * octets are not looked at one by one: each boundary, with the line end and dashes before it, is looked for by `indexOf`.
 */
const LF = 0x0a;
const DASH = 0x2d;
/** What may stand behind a boundary: CR, LF, white space, the dashes of the last one. */
const ENDS: ReadonlySet<number> = new Set([0x0d, LF, 0x20, 0x09, DASH]);

/** A boundary with white space behind it, which sendmail takes off, in a line as long as sendmail's buffer. */
const MOST_OF_A_LINE = 2_048;

interface Needle {
  /** LF, two dashes and the boundary. */
  readonly octets: Buffer;
  /** In the chunk of that number; less than 0 for nowhere. */
  at: number;
  chunk: number;
}

/** An open multipart, or (without boundaries) an enclosed message. */
export interface Level {
  readonly boundaries: readonly string[];
  /** Parts that do not say what they are, are messages (RFC 2046 5.1.5). */
  readonly digest: boolean;
}

export class Boundaries {
  readonly levels: (Level & { readonly needles: readonly Needle[] })[] = [];
  /** Levels that have boundaries. */
  multiparts = 0;
  /** The line at the end of the last chunk, as far as it came, if it may yet be a boundary; '' at a line's start. */
  #carry: string | undefined = '';
  #chunk = 0;

  reset(): void {
    this.levels.length = 0;
    this.multiparts = 0;
    this.#carry = '';
  }

  push(level: Level): void {
    const needles = level.boundaries.map((boundary) => ({
      octets: Buffer.from(`\n--${boundary}`, 'latin1'),
      at: -1,
      chunk: -1,
    }));
    this.levels.push({ ...level, needles });
    if (level.boundaries.length > 0) this.multiparts += 1;
  }

  /** Whether a line (without CRLF) is a boundary of an open multipart; the multiparts within it are over. */
  take(line: string): 'part' | 'end' | undefined {
    if (this.multiparts === 0 || !line.startsWith('--')) return undefined;
    const text = line.replace(/[ \t\r]+$/, '').slice(2);
    for (let i = this.levels.length - 1; i >= 0; i -= 1) {
      for (const boundary of (this.levels[i] as Level).boundaries) {
        if (!text.startsWith(boundary)) continue;
        const rest = text.slice(boundary.length);
        if (rest !== '' && rest !== '--') continue;
        this.#cut(rest === '' ? i + 1 : i);
        return rest === '' ? 'part' : 'end';
      }
    }
    return undefined;
  }

  /** What follows begins a line. */
  atLineStart(): void {
    this.#carry = '';
  }

  /** What is fed next is another chunk: places found in the last one mean nothing. */
  nextChunk(): void {
    this.#chunk += 1;
  }

  /**
   * Looks for the next boundary line from `at` on. Its kind and the offset behind it, or undefined: none in this
   * chunk; what may be the beginning of one is remembered.
   */
  find(view: Buffer, at: number): { kind: 'part' | 'end'; next: number } | undefined {
    let from = at;
    if (this.#carry !== undefined) {
      const next = this.#finishLine(view, at);
      if (next === undefined) return undefined;
      if (typeof next === 'object') return next;
      // The LF before a line is part of what is looked for.
      from = next === at ? at : next - 1;
    }
    for (;;) {
      const needle = this.#nearest(view, from);
      if (needle === undefined) {
        this.#remember(view, from);
        return undefined;
      }
      const start = needle.at + 1;
      const lf = view.indexOf(LF, start);
      if (lf < 0) {
        this.#carry = this.#candidate(view, start, view.length, '');
        return undefined;
      }
      // Most lines that only begin like a boundary are known by the next octet.
      const behind = view[needle.at + needle.octets.length] as number;
      if (ENDS.has(behind) && lf - start <= MOST_OF_A_LINE) {
        const kind = this.take(view.toString('latin1', start, lf));
        if (kind !== undefined) {
          this.#carry = '';
          return { kind, next: lf + 1 };
        }
      }
      from = lf;
    }
  }

  /** The needle that comes first from `from` on. Each is looked for once in a chunk, however many there are. */
  #nearest(view: Buffer, from: number): Needle | undefined {
    let best: Needle | undefined;
    for (const { needles } of this.levels) {
      for (const needle of needles) {
        if (needle.chunk !== this.#chunk || (needle.at >= 0 && needle.at < from)) {
          needle.chunk = this.#chunk;
          needle.at = view.indexOf(needle.octets, from);
        }
        if (needle.at >= 0 && (best === undefined || needle.at < best.at)) best = needle;
      }
    }
    return best;
  }

  /** Goes on with the line that the last chunk broke off, or that begins here. The offset behind it, or its boundary. */
  #finishLine(view: Buffer, at: number): number | { kind: 'part' | 'end'; next: number } | undefined {
    const carry = this.#carry as string;
    if (at >= view.length) return undefined;
    if (carry === '' && view[at] !== DASH) {
      this.#carry = undefined;
      return at;
    }
    const lf = view.indexOf(LF, at);
    if (lf < 0) {
      this.#carry = this.#candidate(view, at, view.length, carry);
      return undefined;
    }
    this.#carry = '';
    const line = this.#candidate(view, at, lf, carry);
    const kind = line === undefined ? undefined : this.take(line);
    return kind === undefined ? lf + 1 : { kind, next: lf + 1 };
  }

  #candidate(view: Buffer, from: number, to: number, before: string): string | undefined {
    if (before.length + to - from > MOST_OF_A_LINE) return undefined;
    const line = before + view.toString('latin1', from, to);
    return line === '-' || line.startsWith('--') ? line : undefined;
  }

  /** No boundary from `from` on, but the last line may become one. */
  #remember(view: Buffer, from: number): void {
    const lf = view.lastIndexOf(LF);
    if (lf < from) this.#carry = undefined;
    else this.#carry = lf === view.length - 1 ? '' : this.#candidate(view, lf + 1, view.length, '');
  }

  #cut(length: number): void {
    for (const { boundaries } of this.levels.splice(length)) if (boundaries.length > 0) this.multiparts -= 1;
  }
}
