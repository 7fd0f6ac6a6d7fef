/** A line of a log, taken apart into what syslog wrote before the message, and the message. */
import { type LogTime, timeAt } from './log-time.js';

export interface LogEntry {
  readonly time: LogTime | number | undefined;
  /** Who says it, as syslog calls it; undefined where a server writes a file of its own. */
  readonly program: string | undefined;
  readonly pid: string | undefined;
  readonly message: string;
}

/** RFC 5424 6: `<PRI>1 TIME HOST APP PROCID MSGID SD MSG`; the time is taken off already. */
const MODERN = /^ \S+ (\S+) (\S+) \S+ (?:-|(?:\[[^\]]*\])+) (?:\ufeff)?/;
const PRIORITY = /^<\d{1,3}>(1 )?/;
/** `host program[pid]: `. A host's name does not end in a colon, which tells it from a program. */
const HEAD = /^ (?:\S*[^\s:] )([^\s:[\]]+)(?:\[(\d{1,10})\])?: /;
/** Solaris puts this before every message. */
const SOLARIS = /^\[ID \d+ [\w.]+\] /;

/** A line as syslog or a server itself wrote it. Undefined: it does not begin with a time. */
export const readLine = (line: string): LogEntry | undefined => {
  const priority = PRIORITY.exec(line);
  const text = priority === null ? line : line.slice(priority[0].length);
  const begun = timeAt(text);
  if (begun === undefined) return undefined;
  const { time, length } = begun;
  const rest = text.slice(length);
  if (priority?.[1] !== undefined) {
    const head = MODERN.exec(rest);
    if (head === null) return undefined;
    const pid = head[2] === '-' ? undefined : head[2];
    return { time, program: head[1], pid, message: rest.slice(head[0].length) };
  }
  const head = HEAD.exec(rest);
  if (head === null) return { time, program: undefined, pid: undefined, message: rest.replace(/^:? +/, '') };
  const message = rest.slice(head[0].length).replace(SOLARIS, '');
  return { time, program: head[1], pid: head[2], message };
};

const LF = 0x0a;

/** Octets to lines. What is longer than `limit` octets is left out to its end; an unfinished line waits for its end. */
export class LogLines {
  #held: Buffer = Buffer.alloc(0);
  #skipping: boolean;
  readonly #limit: number;

  /** `midway`: the octets begin within a line, which is left out. */
  constructor(limit: number, midway = false) {
    this.#limit = limit;
    this.#skipping = midway;
  }

  feed(chunk: Buffer): string[] {
    const lines: string[] = [];
    let start = 0;
    for (let end = chunk.indexOf(LF); end >= 0; end = chunk.indexOf(LF, start)) {
      const length = this.#held.length + end - start;
      if (!this.#skipping && length <= this.#limit)
        lines.push(
          Buffer.concat([this.#held, chunk.subarray(start, end)])
            .toString('utf8')
            .replace(/\r$/, ''),
        );
      this.#held = Buffer.alloc(0);
      this.#skipping = false;
      start = end + 1;
    }
    const rest = chunk.subarray(start);
    if (this.#held.length + rest.length > this.#limit) {
      this.#skipping = true;
      this.#held = Buffer.alloc(0);
    } else if (!this.#skipping) this.#held = Buffer.concat([this.#held, rest]);
    return lines;
  }
}
