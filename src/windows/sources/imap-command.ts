/** Commands of an IMAP client before its login (RFC 9051 9): read with their literals, printed anew. */

/** Text and literals in turn; the text before a literal has lost its `{n}`. */
export type Segments = readonly (string | Buffer)[];

/** RFC 9051 9: tag is any ASTRING-CHAR except `+`. */
const TAG = /^([^\x00-\x20\x7f-\xff(){%*"\\+]{1,128}) /;

/** A literal at the end of a line: how many octets, and whether the client waits for leave (RFC 7888). */
export const literalAt = (line: string): { readonly size: number; readonly waits: boolean } | undefined => {
  const match = /\{(\d{1,20})(\+?)\}$/.exec(line);
  return match === null ? undefined : { size: Number(match[1]), waits: match[2] === '' };
};

export const withoutLiteral = (line: string): string => line.replace(/\{\d+\+?\}$/, '');

export interface ImapCommand {
  readonly tag: string;
  /** Upper case. */
  readonly verb: string;
  /** What follows the verb and a space; undefined: nothing. */
  readonly rest: Segments | undefined;
}

/** The tag of a line, if it has one. */
export const tagOf = (line: string): string | undefined => TAG.exec(`${line} `)?.[1];

export const readCommand = (segments: Segments): ImapCommand | undefined => {
  const [first, ...more] = segments;
  if (typeof first !== 'string') return undefined;
  const tag = TAG.exec(first)?.[1];
  const match = /^([A-Za-z]{1,20})(?:( )(.*))?$/s.exec(first.slice((tag?.length ?? 0) + 1));
  if (tag === undefined || match === null) return undefined;
  const [, verb = '', space, text = ''] = match;
  return { tag, verb: verb.toUpperCase(), rest: space === undefined ? undefined : [text, ...more] };
};

/**
 * A string at the start of a text: quoted, or an atom, with the wildcards and octets above 127 that strict readers refuse
 * and clients use nevertheless. It is printed anew, so being generous misleads nobody.
 */
const TOKEN = /^(?:"((?:[^"\\]|\\["\\])*)"|([^\x00-\x20\x7f(){"\\]+))/;

/** The strings of a command, one space between two; undefined when it is anything else. */
export const readStrings = (segments: Segments): Buffer[] | undefined => {
  const found: Buffer[] = [];
  let wanted = true;
  for (const segment of segments) {
    if (typeof segment !== 'string') {
      if (!wanted) return undefined;
      found.push(segment);
      wanted = false;
      continue;
    }
    for (let text = segment; text !== ''; ) {
      if (!wanted) {
        if (!text.startsWith(' ')) return undefined;
        text = text.slice(1);
        wanted = true;
        continue;
      }
      const match = TOKEN.exec(text);
      if (match === null) return undefined;
      found.push(Buffer.from(match[1]?.replace(/\\(["\\])/g, '$1') ?? match[2] ?? '', 'latin1'));
      text = text.slice(match[0].length);
      wanted = false;
    }
  }
  return wanted ? undefined : found;
};

/**
 * A command with strings for the server, in the pieces between which its leave has to be awaited: what fits is quoted,
 * octets above 127 go in literals.
 */
export const printCommand = (head: string, strings: readonly Buffer[]): Buffer[] => {
  const pieces: Buffer[] = [];
  let piece: Buffer = Buffer.from(head, 'latin1');
  const add = (text: string): void => {
    piece = Buffer.concat([piece, Buffer.from(text, 'latin1')]);
  };
  for (const string of strings) {
    const text = string.toString('latin1');
    if (/^[\x20-\x7e]*$/.test(text)) {
      add(` "${text.replace(/["\\]/g, '\\$&')}"`);
      continue;
    }
    add(` {${string.length}}\r\n`);
    pieces.push(piece);
    piece = string;
  }
  add('\r\n');
  return [...pieces, piece];
};

/** The argument of ID as it may go on: without fields by which servers believe a proxy (`x-originating-ip` and so on). */
export const safeId = (segments: Segments | undefined): string => {
  const [text, ...more] = segments ?? [];
  const fits =
    typeof text === 'string' && more.length === 0 && /^\([\x20-\x7e]*\)$/.test(text) && !/\\|"x-/i.test(text);
  return fits ? text : 'NIL';
};

export interface CapabilityChange {
  /** STARTTLS is offered here. */
  readonly offer: boolean;
  /** No login before TLS. */
  readonly disableLogin: boolean;
}

const changed = (words: string, { offer, disableLogin }: CapabilityChange): string => {
  const kept = words.split(' ').filter((word) => {
    if (word === '' || /^STARTTLS$/i.test(word)) return false;
    if (disableLogin && /^(?:AUTH=.*|SASL-IR|LOGINDISABLED)$/i.test(word)) return false;
    // Channel binding ends at Sekisho's TLS (RFC 5802 6).
    return !/^AUTH=.*-PLUS$/i.test(word);
  });
  return [...kept, ...(offer ? ['STARTTLS'] : []), ...(disableLogin ? ['LOGINDISABLED'] : [])].join(' ');
};

/** A server's line with Sekisho's own offer in place of the server's: `* CAPABILITY …`, or the code in a status. */
export const rewriteCapabilities = (line: string, change: CapabilityChange): string => {
  const data = /^\* CAPABILITY (.*)$/i.exec(line)?.[1];
  if (data !== undefined) return `* CAPABILITY ${changed(data, change)}`;
  const code = /^(\S+ (?:OK|NO|BAD|PREAUTH) \[CAPABILITY )([^\]]*)(\].*)$/i.exec(line);
  return code === null ? line : `${code[1]}${changed(code[2] ?? '', change)}${code[3]}`;
};
