/**
 * Decisions out of Sekisho's own JSON log, for policy/replay. At `level: debug` each decision has its line; at `info`
 * the lines of refused recipients and of messages tell the same, save for recipients whose message never came.
 */
import { z } from 'zod';
import type { RecordedDecision } from '../policy/replay.js';
import { readLines } from './log-lines.js';

/** Decisions whose other lines are left out; the oldest is forgotten. */
const REMEMBERED = 100_000;

const Verdict = z.enum(['allow', 'deny', 'defer']);
const Windows = z.array(z.object({ login: z.string(), source: z.string() }));

const Line = z.object({
  event: z.enum(['decision', 'recipient', 'message']),
  time: z.union([z.string(), z.number()]).optional(),
  pid: z.number().optional(),
  session: z.string().optional(),
  client: z.string(),
  clientName: z.string().optional(),
  named: z.boolean().optional(),
  listener: z.string(),
  helo: z.string().optional(),
  tls: z.string().optional(),
  certificate: z.string().optional(),
  certificateSubject: z.string().optional(),
  login: z.string().optional(),
  suspended: z.boolean().optional(),
  windows: Windows.optional(),
  /** Of a message line: whose window the last recipient passed by. */
  window: z.string().optional(),
  windowSource: z.string().optional(),
  from: z.string(),
  to: z.union([z.string(), z.array(z.string())]),
  verdict: Verdict.optional(),
  rule: z.string().optional(),
  reason: z.string().optional(),
  rules: z.array(z.string().nullable()).optional(),
});

type LogLine = z.infer<typeof Line>;

const WANTED = /"event":"(?:decision|recipient|message)"/;

const timeOf = (time: LogLine['time']): number | undefined => {
  const ms = typeof time === 'string' ? Date.parse(time) : time;
  return ms === undefined || Number.isNaN(ms) ? undefined : ms;
};

/** Takes the lines of a log in order and says which decisions each holds. */
export class LogDecisions {
  /** Lines that look like ours and are broken or cut. */
  broken = 0;
  readonly #seen = new Set<string>();

  /** Whatever a syslog daemon wrote before the object is passed over. */
  of(line: string): readonly RecordedDecision[] {
    if (!WANTED.test(line)) return [];
    const read = this.#read(line.slice(line.indexOf('{')));
    if (read === undefined) return [];
    switch (read.event) {
      case 'decision':
        return typeof read.to === 'string' ? this.#decided(read, read.to) : [];
      case 'recipient':
        // Refused for what it is: no policy was asked, and none would be.
        return read.verdict === undefined || typeof read.to !== 'string' || this.#known(read, read.to)
          ? []
          : [recorded(read, read.to, read)];
      case 'message':
        return this.#message(read);
    }
  }

  #read(json: string): LogLine | undefined {
    try {
      const line = Line.safeParse(JSON.parse(json));
      if (line.success) return line.data;
    } catch {
      // Counted below.
    }
    this.broken += 1;
    return undefined;
  }

  #decided(line: LogLine, to: string): RecordedDecision[] {
    if (this.#seen.size >= REMEMBERED) {
      const [oldest] = this.#seen;
      if (oldest !== undefined) this.#seen.delete(oldest);
    }
    this.#seen.add(keyOf(line, to));
    return [recorded(line, to, line)];
  }

  /** The decision has had its own line. */
  #known(line: LogLine, to: string): boolean {
    return this.#seen.has(keyOf(line, to));
  }

  #message(line: LogLine): RecordedDecision[] {
    const { window, windowSource } = line;
    const windows =
      window === undefined || windowSource === undefined
        ? undefined
        : [{ login: window, source: windowSource }];
    return [line.to].flat().flatMap((to, i) => {
      const rule = line.rules?.[i] ?? undefined;
      const told = rule === undefined ? {} : ({ verdict: 'allow', rule, reason: 'rule' } as const);
      return this.#known(line, to) ? [] : [recorded({ ...line, windows }, to, told)];
    });
  }
}

const keyOf = ({ pid, session }: LogLine, to: string): string => `${pid} ${session} ${to}`;

const recorded = (
  line: LogLine,
  to: string,
  { verdict, rule, reason }: Pick<RecordedDecision, 'verdict' | 'rule' | 'reason'>,
): RecordedDecision => {
  const { session, client, clientName, named, listener, helo, tls, login, suspended, windows, from } = line;
  const { certificate, certificateSubject } = line;
  return {
    ...{ time: timeOf(line.time), session, client, clientName, named, listener, helo, tls, login },
    ...{ suspended, windows, certificate, certificateSubject, from, to, verdict, rule, reason },
  };
};

/**
 * The decisions in a log file, `-` for standard input, plain or gzip. Throws the error of the file, or of what is no
 * sound gzip.
 */
export async function* readDecisions(file: string, into: LogDecisions): AsyncGenerator<RecordedDecision> {
  for await (const line of readLines(file)) yield* into.of(line);
}
