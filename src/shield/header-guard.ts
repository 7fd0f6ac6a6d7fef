/**
 * What of a header section endangers the server behind: mail loops (RFC 5321 6.3), seen by too many Received
 * lines or too many of this very instance, and a section longer than old servers have buffers for
 * (CVE-2010-4344). It streams by, and what it says of clients or users is never looked at.
 */

export interface HeaderLimits {
  /** That many Received lines make a loop (RFC 5321 6.3 wants at least 100 of a final host; a relay in front of one needs far less). */
  readonly maxReceived: number;
  /** Stands in the Received lines of this very instance. */
  readonly mark: string;
  /** That many Received lines with the mark make a loop. */
  readonly maxMarked: number;
  /** Octets of the header section, with its line ends. */
  readonly maxBytes: number;
}

/** Octets of a header line that are looked at; lines are at most 998 long unless the site lets longer ones pass. */
const MOST_OF_A_LINE = 1_000;
const LF = 0x0a;

/**
 * A field (RFC 5322 2.2), a folded line, or the line that mbox files begin a message with. Anything else ends the
 * header section for old servers too, with or without an empty line.
 */
const HEADER_LINE = /^(?:[!-9;-~]+[ \t]*:|[ \t]|>?From )/;

export type HeaderFinding = 'continue' | 'loop' | 'header-too-long';

export class HeaderGuard {
  readonly #limits: HeaderLimits;
  #line = '';
  #header = true;
  #inReceived = false;
  #received = 0;
  #marked = 0;
  #bytes = 0;

  constructor(limits: HeaderLimits) {
    this.#limits = limits;
  }

  reset(): void {
    this.#line = '';
    this.#header = true;
    this.#inReceived = false;
    this.#received = this.#marked = this.#bytes = 0;
  }

  /** Takes the next octets of the message, cut anywhere; all line ends are CRLF. */
  feed(view: Buffer): HeaderFinding {
    let from = 0;
    while (this.#header && from < view.length) {
      const lf = view.indexOf(LF, from);
      const to = lf < 0 ? view.length : lf;
      this.#bytes += (lf < 0 ? to : to + 1) - from;
      if (this.#bytes > this.#limits.maxBytes) return 'header-too-long';
      if (this.#line.length < MOST_OF_A_LINE) this.#line += view.toString('latin1', from, to);
      if (lf < 0) return 'continue';
      if (this.#onLine(this.#line) === 'loop') return 'loop';
      this.#line = '';
      from = lf + 1;
    }
    return 'continue';
  }

  #onLine(line: string): HeaderFinding {
    if (!HEADER_LINE.test(line)) this.#header = false;
    else if (/^received[ \t]*:/i.test(line)) {
      this.#inReceived = true;
      this.#received += 1;
    } else if (!/^[ \t]/.test(line)) this.#inReceived = false;
    if (this.#inReceived && line.includes(this.#limits.mark)) this.#marked += 1;
    const { maxReceived, maxMarked } = this.#limits;
    return this.#received >= maxReceived || this.#marked >= maxMarked ? 'loop' : 'continue';
  }
}
