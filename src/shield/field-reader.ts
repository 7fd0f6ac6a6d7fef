/**
 * Header sections, cut anywhere, as the most credulous MTA reads them: a line is a field if any of them takes it for
 * one, and a line of white space goes on with the field before it.
 */

/** The section's length and fields are counted without end; of a field's text this much is kept. */
const MOST_KEPT = 131_072;

/** The line that mbox files begin a message with. */
const FROM_LINE = /^>?From /;

const TAB = 0x09;
const SPACE = 0x20;
const COLON = 0x3a;

const isWhite = (octet: number | undefined): boolean => octet === SPACE || octet === TAB;

/**
 * sendmail's isheader(): octets above a space up to a colon, with spaces before it. An octet above 127 ends the name
 * for some builds and not for others.
 */
const nameEnd = (view: Buffer, from: number, to: number): number => {
  let at = from;
  while (at < to) {
    const octet = view[at] as number;
    if (octet <= SPACE || octet === COLON) break;
    at += 1;
  }
  return at;
};

/** Names of fields that mean something, found by their octets: most fields of a message mean nothing here. */
export class FieldNames {
  /** By first letter and length. */
  readonly #candidates: { readonly name: string; readonly octets: Buffer }[][] = [];

  /** `names`: lower case, shorter than 32. */
  constructor(names: Iterable<string>) {
    for (const name of names) {
      const octets = Buffer.from(name, 'latin1');
      const at = this.#index(octets[0] as number, octets.length);
      this.#candidates[at] = [...(this.#candidates[at] ?? []), { name, octets }];
    }
  }

  /** The name from `from` to `to`, in whatever case; '' if it is none of them. */
  find(view: Buffer, from: number, to: number): string {
    const length = to - from;
    if (length === 0 || length > 31) return '';
    const candidates = this.#candidates[this.#index(view[from] as number, length)];
    if (candidates === undefined) return '';
    for (const { name, octets } of candidates) {
      let i = 0;
      while (i < length && this.#lower(view[from + i] as number) === octets[i]) i += 1;
      if (i === length) return name;
    }
    return '';
  }

  #index(first: number, length: number): number {
    return ((first & 31) << 5) | length;
  }

  #lower(octet: number): number {
    return octet >= 0x41 && octet <= 0x5a ? octet | 0x20 : octet;
  }
}

export interface FieldListener {
  /** A field that has a known name is whole: its text unfolded, '' if it was not wanted. */
  field(name: string, value: string): void;
  /** Text of these fields is kept. */
  wanted(name: string): boolean;
}

export class FieldReader {
  /** Octets of the section so far, with line ends. */
  bytes = 0;
  /** Fields so far. */
  count = 0;
  /** Octets of the present field so far, unfolded. */
  length = 0;
  /** Of the present field, if it is a known one, else ''. */
  name = '';
  /** Octets of the present field's name, whatever it is. */
  nameLength = 0;

  readonly #names: FieldNames;
  readonly #listener: FieldListener;
  #value = '';
  #wanted = false;

  constructor(names: FieldNames, listener: FieldListener) {
    this.#names = names;
    this.#listener = listener;
  }

  begin(): void {
    this.bytes = this.count = this.length = this.nameLength = 0;
    this.name = this.#value = '';
    this.#wanted = false;
  }

  /** Takes the line from `from` to `to`, without its CRLF. False: the section ended before it or with it. */
  line(view: Buffer, from: number, to: number): boolean {
    const length = to - from;
    if (length > 0 && isWhite(view[from])) {
      this.bytes += length + 2;
      this.length += length;
      if (this.#wanted && this.#value.length < MOST_KEPT) this.#value += view.toString('latin1', from, to);
      return true;
    }
    this.end();
    if (length === 0) {
      this.bytes += 2;
      return false;
    }
    const end = nameEnd(view, from, to);
    let colon = end;
    while (colon < to && isWhite(view[colon])) colon += 1;
    if (colon === to || view[colon] !== COLON) {
      if (!FROM_LINE.test(view.toString('latin1', from, Math.min(to, from + 6)))) return false;
      this.bytes += length + 2;
      return true;
    }
    this.bytes += length + 2;
    this.count += 1;
    this.nameLength = end - from;
    this.length = length;
    this.name = this.#names.find(view, from, end);
    if (this.name !== '' && this.#listener.wanted(this.name)) {
      this.#wanted = true;
      this.#value = view.toString('latin1', colon + 1, to);
    }
    return true;
  }

  /** The present field is whole. */
  end(): void {
    const { name } = this;
    const value = this.#value;
    this.name = this.#value = '';
    this.length = this.nameLength = 0;
    this.#wanted = false;
    if (name !== '') this.#listener.field(name, value);
  }
}
