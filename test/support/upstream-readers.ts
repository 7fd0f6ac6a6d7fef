/**
 * Two readers of what a client said to a mail server, for the question whether they hear the same. Both are
 * written for the tests and share nothing with src: one takes RFC 5321 at its word, the other reads as the most
 * lenient servers there have been. Where they differ, something could be smuggled.
 */

export interface HeardMessage {
  readonly from: string;
  readonly to: readonly string[];
  /** Lines without dot-stuffing, joined by LF. */
  readonly data: string;
}

export interface Heard {
  readonly commands: readonly string[];
  readonly messages: readonly HeardMessage[];
  /** What no server should ever see, or undefined. */
  readonly fault: string | undefined;
}

/** One connection, as octets (Latin-1), and the offsets behind each DATA that was answered 354. */
export interface Overheard {
  readonly raw: string;
  readonly dataAt: readonly number[];
}

const COMMAND =
  /^(?:(?:EHLO|HELO) [!-~]+|MAIL FROM:<[^<>\x00-\x1f\x7f]*>(?: [A-Z0-9-]+(?:=[!-~\x80-\xff]+)?)*|RCPT TO:<[^<>\x00-\x1f\x7f]+>(?: [A-Z0-9-]+(?:=[!-~\x80-\xff]+)?)*|DATA|RSET|NOOP|QUIT|STARTTLS|XCLIENT(?: [A-Z]+=[!-~]+)+)$/;

class Envelope {
  readonly commands: string[] = [];
  readonly messages: HeardMessage[] = [];
  #from = '';
  #to: string[] = [];

  command(line: string): void {
    this.commands.push(line);
    const [, verb = '', rest = ''] = /^(\S*)\s*(.*)$/s.exec(line) ?? [];
    const path = /<[^>]*>/.exec(rest)?.[0] ?? rest.slice(rest.indexOf(':') + 1);
    if (/^mail$/i.test(verb)) {
      this.#from = path;
      this.#to = [];
    } else if (/^rcpt$/i.test(verb)) this.#to.push(path);
    else if (/^(?:rset|helo|ehlo)$/i.test(verb)) this.#to = [];
  }

  message(lines: readonly string[]): void {
    this.messages.push({ from: this.#from, to: this.#to, data: lines.join('\n') });
    this.#to = [];
  }
}

/** RFC 5321: CRLF and nothing else ends a line (2.3.8), CRLF.CRLF the data (4.1.1.4). */
export const readStrictly = ({ raw, dataAt }: Overheard): Heard => {
  const envelope = new Envelope();
  const begins = new Set(dataAt);
  const result = (fault?: string): Heard => ({
    commands: envelope.commands,
    messages: envelope.messages,
    fault,
  });
  let data: string[] | undefined;
  let at = 0;
  while (at < raw.length) {
    const end = raw.indexOf('\r\n', at);
    const line = end < 0 ? raw.slice(at) : raw.slice(at, end);
    if (/[\r\n\0]/.test(end < 0 ? line.replace(/\r$/, '') : line))
      return result(`a bare CR, LF or NUL in ${JSON.stringify(line.slice(0, 200))}`);
    // A connection that was dropped: what has not ended was never said.
    if (end < 0) return result();
    at = end + 2;
    if (data !== undefined) {
      if (line === '.') {
        envelope.message(data);
        data = undefined;
      } else data.push(line.startsWith('.') ? line.slice(1) : line);
      continue;
    }
    if (line.length > 1_024 + 510) return result(`a command of ${line.length} octets`);
    if (!COMMAND.test(line)) return result(`no command in Sekisho's hand: ${JSON.stringify(line)}`);
    envelope.command(line);
    if (begins.has(at)) data = [];
  }
  return result();
};

/** Octets of a line, with its end, at which sendmail up to 8.12 cuts it and takes the rest for the next (MAXLINE). */
const MAXLINE = 2_047;

/** What any old server takes for the end of a line. */
const endOfLine = (raw: string, at: number): { line: string; next: number } | undefined => {
  for (let i = at; i < raw.length; i += 1) {
    if (i - at === MAXLINE) return { line: raw.slice(at, i), next: i };
    const octet = raw[i];
    if (octet === '\n') return { line: raw.slice(at, i), next: i + 1 };
    if (octet === '\r') return { line: raw.slice(at, i), next: raw[i + 1] === '\n' ? i + 2 : i + 1 };
  }
  return undefined;
};

/**
 * CR, LF, or both end a line; a NUL hides what follows it in its line; a line too long is cut; a dot alone, between any
 * two line ends, ends the data; of two dots that begin a line one is taken off, one alone stays (sendmail 8.6).
 */
export const readLeniently = ({ raw, dataAt }: Overheard): Heard => {
  const envelope = new Envelope();
  const begins = new Set(dataAt);
  let data: string[] | undefined;
  for (let at = 0; at < raw.length; ) {
    const scan = endOfLine(raw, at);
    if (scan === undefined) break;
    at = scan.next;
    const line = scan.line.replace(/\0.*$/s, '');
    if (data === undefined) {
      envelope.command(line);
      if (begins.has(at)) data = [];
    } else if (line === '.') {
      envelope.message(data);
      data = undefined;
    } else data.push(line.startsWith('..') ? line.slice(1) : line);
  }
  return { commands: envelope.commands, messages: envelope.messages, fault: undefined };
};

/** A dot that was not stuffed stays with one and goes with the other: that is no matter of framing. */
const framed = (data: string): string => data.replace(/^\./gm, '');

const shown = (text: string): string => JSON.stringify(text.length > 300 ? `${text.slice(0, 300)}…` : text);

/** How the two readers differ over a connection, or why no server should have heard it; undefined: they agree. */
export const disagreement = (overheard: Overheard): string | undefined => {
  const strict = readStrictly(overheard);
  if (strict.fault !== undefined) return strict.fault;
  const lenient = readLeniently(overheard);
  const counts = `${strict.commands.length} commands and ${strict.messages.length} messages, or ${lenient.commands.length} and ${lenient.messages.length}`;
  for (let i = 0; i < Math.max(strict.commands.length, lenient.commands.length); i += 1) {
    const [a, b] = [strict.commands[i], lenient.commands[i]];
    if (a !== b) return `${counts}: ${shown(a ?? '(nothing)')} or ${shown(b ?? '(nothing)')}`;
  }
  for (let i = 0; i < Math.max(strict.messages.length, lenient.messages.length); i += 1) {
    const [a, b] = [strict.messages[i], lenient.messages[i]];
    if (a === undefined || b === undefined) return `${counts}: one hears a message more`;
    if (a.from !== b.from || a.to.join() !== b.to.join() || framed(a.data) !== framed(b.data))
      return `the message ${shown(a.data)} or ${shown(b.data)}`;
  }
  return undefined;
};
