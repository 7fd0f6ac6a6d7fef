/**
 * Header sections, cut anywhere, as the most credulous MTA reads them: a line is a field if any of them takes it for
 * one, and a line of white space goes on with the field before it.
 */

/** The section's length and fields are counted without end; of a field's text this much is kept. */
const MOST_KEPT = 131_072;

/**
 * sendmail's isheader(): octets above a space up to a colon, with spaces before it. An octet above 127 ends the name
 * for some builds and not for others.
 */
const FIELD = /^([!-9;-\xff]*)[ \t]*:/;

/** The line that mbox files begin a message with. */
const FROM_LINE = /^>?From /;

export interface FieldListener {
  /** A field is whole: its name in lower case, and its text unfolded, '' if it was not wanted. */
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
  /** Of the present field, lower case; '' for none. */
  name = '';

  readonly #listener: FieldListener;
  #value = '';
  #wanted = false;

  constructor(listener: FieldListener) {
    this.#listener = listener;
  }

  begin(): void {
    this.bytes = this.count = this.length = 0;
    this.name = this.#value = '';
    this.#wanted = false;
  }

  /** Takes a line without its CRLF. False: the section ended before it or with it. */
  line(text: string): boolean {
    const first = text.charCodeAt(0);
    if (first === 0x20 || first === 0x09) {
      this.bytes += text.length + 2;
      this.length += text.length;
      if (this.#wanted && this.#value.length < MOST_KEPT) this.#value += text;
      return true;
    }
    this.end();
    if (text === '') {
      this.bytes += 2;
      return false;
    }
    const match = FIELD.exec(text);
    if (match === null) {
      if (!FROM_LINE.test(text)) return false;
      this.bytes += text.length + 2;
      return true;
    }
    this.bytes += text.length + 2;
    this.count += 1;
    this.name = (match[1] as string).toLowerCase();
    this.length = text.length;
    this.#wanted = this.#listener.wanted(this.name);
    this.#value = this.#wanted ? text.slice(match[0].length) : '';
    return true;
  }

  /** The present field is whole. */
  end(): void {
    if (this.name === '' && this.length === 0) return;
    const { name } = this;
    const value = this.#value;
    this.name = this.#value = '';
    this.length = 0;
    this.#wanted = false;
    this.#listener.field(name, value);
  }
}
