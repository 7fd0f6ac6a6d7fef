/**
 * Transcripts: readable text that drives the pure core with a recorder, and real sockets.
 *
 *   # …            a comment; the first one names the transcript
 *   @mta KEYWORDS  what the MTA's EHLO advertises; `none`: it knows only HELO
 *   C: line        the client says a line; lines in a row go out in one write
 *   C| octets      the client says exactly this (C escapes), without a line end
 *   S: line        the client must see this line; `*` stands for anything
 *   S: (closed)    the client must see the end of the connection
 *   U: line        the MTA must hear this command; `U: .` is the end of a message
 *   M: line        what the MTA answers to that; several are one write; (closes) and (nothing) too
 *
 * Local is local.example; nobody is trusted. The session begins behind the banner.
 */
import { readFileSync } from 'node:fs';
import { parseIp } from '../../src/base/ip.js';
import { type LegacyAction, type LegacyMta, startLegacyMta } from '../../src/demo/legacy-mta.js';
import { decide } from '../../src/policy/decide.js';
import { envelopeFacts } from '../../src/policy/envelope.js';
import { judgementOf } from '../../src/proxy/judge.js';
import { DEFAULT_DATA, DEFAULT_LIMITS } from '../../src/proxy/options.js';
import { NO_CAPABILITIES, offeredKeywords, parseCapabilities } from '../../src/smtp/capabilities.js';
import { DataScanner } from '../../src/smtp/data-scanner.js';
import { LineScanner } from '../../src/smtp/line-scanner.js';
import { ReplyParser } from '../../src/smtp/reply-parser.js';
import { movesOf } from './corpus.js';
import { Recorder } from './recorder.js';
import { startSekisho, testPolicy } from './sekisho.js';
import { SmtpClient } from './smtp-client.js';

interface Line {
  readonly mark: 'C' | 'S' | 'U' | 'M';
  readonly text: string;
  readonly at: number;
}

export interface Transcript {
  readonly name: string;
  readonly file: string;
  readonly keywords: readonly string[] | undefined;
  readonly lines: readonly Line[];
}

/** A stretch of a transcript: what is said, then what must be seen and heard before the next is said. */
interface Turn {
  readonly say: string;
  readonly see: readonly string[];
}

const readLine = (raw: string, at: number): Line => {
  const match = /^([CSUM])(:|\|)(?: (.*))?$/.exec(raw);
  if (match === null) throw new Error(`line ${at}: not a line of a transcript: ${raw}`);
  const text = match[3] ?? '';
  const octets =
    match[2] === '|'
      ? movesOf(text)
          .map((move) => (typeof move === 'object' && 'send' in move ? move.send : ''))
          .join('')
      : undefined;
  const mark = match[1] as Line['mark'];
  return {
    mark,
    text: mark === 'C' ? (octets ?? `${Buffer.from(text, 'utf8').toString('latin1')}\r\n`) : text,
    at,
  };
};

/** A file holds several transcripts, each begun by `== name`. */
export const readTranscripts = (file: string): Transcript[] =>
  readFileSync(file, 'utf8')
    .split(/^== /m)
    .slice(1)
    .map((part, i, parts) => {
      const [name = '', ...rest] = part.split('\n');
      const before = parts.slice(0, i).join('').split('\n').length;
      const lines: Line[] = [];
      let keywords: readonly string[] | undefined = ['8BITMIME', 'SIZE'];
      for (const [j, raw] of rest.entries()) {
        if (raw.trim() === '' || raw.startsWith('#')) continue;
        const mta = /^@mta (.*)$/.exec(raw)?.[1];
        if (mta !== undefined) keywords = mta === 'none' ? undefined : mta.split(', ');
        else lines.push(readLine(raw, before + j + 1));
      }
      return { name, file, keywords, lines };
    });

/** The turns of the client. */
const turnsOf = ({ lines }: Transcript): Turn[] => {
  const turns: { say: string; see: string[] }[] = [];
  let said = false;
  for (const { mark, text } of lines) {
    if (mark === 'C' && said) (turns.at(-1) as { say: string }).say += text;
    else if (mark === 'C') turns.push({ say: text, see: [] });
    else if (mark === 'S') turns.at(-1)?.see.push(text);
    said = mark === 'C';
  }
  return turns;
};

/** What the MTA hears, each with what it answers. */
const dialogueOf = ({ lines }: Transcript): { hear: string; answer: string[] }[] => {
  const dialogue: { hear: string; answer: string[] }[] = [];
  for (const { mark, text } of lines) {
    if (mark === 'U') dialogue.push({ hear: text, answer: [] });
    else if (mark === 'M') dialogue.at(-1)?.answer.push(text);
  }
  return dialogue;
};

export const matches = (pattern: string, text: string): boolean =>
  new RegExp(
    `^${pattern
      .split('*')
      .map((part) => part.replace(/[.*+?^${}()|[\]\\]/g, '\\$&'))
      .join('.*')}$`,
    's',
  ).test(text);

/** What went wrong, as a reader of the transcript would say it; undefined when nothing did. */
export type Fault = string | undefined;

const compare = (
  transcript: Transcript,
  who: string,
  expected: readonly string[],
  seen: readonly string[],
): Fault => {
  const length = Math.max(expected.length, seen.length);
  for (let i = 0; i < length; i += 1) {
    const want = expected[i];
    const got = seen[i];
    if (want !== undefined && got !== undefined && matches(want, got)) continue;
    return `${transcript.file}: ${transcript.name}: ${who} ${i + 1}\n  expected ${want ?? '(nothing)'}\n  got      ${got ?? '(nothing)'}`;
  }
  return undefined;
};

/** The pure core between a list of octets and a list of answers: no socket, no timer. */
class Core extends Recorder {
  readonly #policy = testPolicy(['local.example'], []);
  readonly #transcript: Transcript;
  readonly #lines = new LineScanner({ limit: DEFAULT_LIMITS.commandLine });
  readonly #data = new DataScanner(DEFAULT_DATA);
  readonly #answers: string[][];
  readonly #capabilities;
  /** What came and was not looked at yet. */
  #input: Buffer[] = [];
  #handled = 0;

  constructor(transcript: Transcript) {
    const { keywords } = transcript;
    const capabilities = keywords === undefined ? NO_CAPABILITIES : parseCapabilities(['mta', ...keywords]);
    const offered = offeredKeywords(capabilities, { maxSize: 0, starttls: false, auth: [] });
    super({ hostname: 'legacy.example.org', capabilities, keywords: offered, secureKeywords: offered });
    this.#transcript = transcript;
    this.#capabilities = capabilities;
    this.#answers = dialogueOf(transcript).map(({ answer }) => answer);
  }

  feed(octets: string): void {
    this.#input.push(Buffer.from(octets, 'latin1'));
    do this.#answerEffects();
    while (this.#next());
  }

  get #ahead(): boolean {
    return this.#input.length > 0 || this.#lines.pending > 0;
  }

  #next(): boolean {
    const { phase } = this.state;
    if (phase === 'data' || phase === 'discard') return this.#nextData();
    if (phase !== 'command') return false;
    const scan = this.#lines.next();
    if (scan.kind === 'line') {
      const line = scan.buffer.toString('latin1', scan.start, scan.end);
      if (/^EHLO/i.test(line)) this.#lines.limit = DEFAULT_LIMITS.commandLineExtended;
      this.say(line, this.#ahead);
    } else if (scan.kind === 'need-more') {
      const chunk = this.#input.shift();
      if (chunk === undefined) return false;
      this.#lines.push(chunk);
    } else if (scan.kind === 'too-long') this.happen({ type: 'long-line' });
    else this.happen({ type: 'framing', kind: scan.kind === 'fault' ? scan.fault : 'line-too-long' });
    return true;
  }

  #nextData(): boolean {
    const chunk = this.#input.shift();
    if (chunk === undefined) return false;
    const scan = this.#data.scan(chunk, () => {});
    if (scan.kind === 'fault') {
      const { fault } = scan;
      if (fault === 'data-line-too-long' || fault === 'eight-bit') throw new Error('not for transcripts');
      this.happen({ type: 'framing', kind: fault });
    } else if (scan.kind === 'end') {
      if (scan.next < chunk.length) this.#input.unshift(chunk.subarray(scan.next));
      this.#data.reset();
      this.happen({ type: 'data-end' });
    }
    return true;
  }

  /** Carries out what the machine asked for since the last time. */
  #answerEffects(): void {
    for (; this.#handled < this.log.length; this.#handled += 1) {
      const effect = this.log[this.#handled] ?? '';
      if (effect === '! ask') this.#judge();
      else if (effect === '! acquire') this.ready(this.#capabilities);
      else if (effect.startsWith('U: ')) this.#mta();
    }
  }

  #judge(): void {
    const { from, to } = this.question ?? {};
    const client = parseIp('127.0.0.2');
    if (from === undefined || to === undefined || client === undefined) throw new Error('no question');
    const clientName = { known: false, why: 'nobody asked' } as const;
    const facts = { client, clientName, listener: 'mx', helo: '', ...envelopeFacts(from, to) };
    this.verdict(judgementOf(decide(this.#policy, facts), to));
  }

  #mta(): void {
    const given = this.#answers.shift() ?? [];
    // As the legacy MTA does when the transcript says nothing.
    const usual = this.state.expected[0] === 'data' ? ['354 go'] : ['250 ok'];
    const answer = given.length === 0 ? usual : given;
    if (answer[0] === '(closes)') return void this.lost();
    const parser = new ReplyParser();
    parser.push(Buffer.from(`${answer.join('\r\n')}\r\n`, 'latin1'));
    for (let scan = parser.next(); scan.kind !== 'need-more'; scan = parser.next()) {
      if (scan.kind === 'fault' || this.state.expected.length === 0) {
        // The runner drops a connection that is out of step, and says so.
        this.lost();
        return;
      }
      this.happen({ type: 'upstream-reply', reply: scan.reply, ahead: this.#ahead });
    }
  }

  run(): Fault {
    this.open();
    const { lines } = this.#transcript;
    for (const { say } of turnsOf(this.#transcript)) this.feed(say);
    const of = (mark: string): string[] =>
      this.log.filter((line) => line.startsWith(mark)).map((line) => line.slice(3));
    const closed = this.log.some((line) => line.startsWith('! close')) ? ['(closed)'] : [];
    const want = (mark: string): string[] =>
      lines.filter((line) => line.mark === mark).map(({ text }) => text);
    const seen = [...of('S: ').slice(1), ...closed];
    return (
      compare(this.#transcript, 'reply', want('S'), seen) ??
      compare(this.#transcript, 'upstream command', want('U'), of('U: '))
    );
  }
}

/** Runs a transcript through the pure core. */
export const runCore = (transcript: Transcript): Fault => new Core(transcript).run();

const actionOf = (answer: readonly string[]): LegacyAction | undefined => {
  if (answer.length === 0) return undefined;
  if (answer[0] === '(closes)') return { close: 'fin' };
  return { say: answer[0] === '(nothing)' ? [] : answer };
};

const converse = async (client: SmtpClient, transcript: Transcript): Promise<Fault> => {
  for (const { say, see } of turnsOf(transcript)) {
    client.send(say);
    const seen: string[] = [];
    const lines = see.filter((line) => line !== '(closed)');
    while (seen.length < lines.length) {
      const reply = await client.reply(4_000).catch(() => '');
      if (reply === '') break;
      seen.push(...reply.split('\r\n'));
    }
    const fault = compare(transcript, `reply to ${JSON.stringify(say.slice(0, 60))}, line`, lines, seen);
    if (fault !== undefined) return fault;
    if (see.includes('(closed)')) {
      await client.end(4_000);
      if (/^\d/.test(await client.reply())) return `${transcript.name}: more was said before the end`;
    }
  }
  return undefined;
};

/** Runs a transcript through real sockets, with a real MTA that answers as the transcript says. */
export const runSockets = async (transcript: Transcript): Promise<Fault> => {
  const dialogue = dialogueOf(transcript);
  const heard: string[] = [];
  const mta: LegacyMta = await startLegacyMta({
    ehlo: transcript.keywords,
    script: (step, argument) => {
      if (step === 'connect' || step === 'EHLO' || step === 'HELO' || step === 'QUIT' || step === 'body')
        return undefined;
      // Between two clients; no part of the dialogue.
      if (step === 'RSET') return undefined;
      heard.push(step === 'dot' ? '.' : `${step}${argument === '' ? '' : ` ${argument}`}`);
      return actionOf(dialogue[heard.length - 1]?.answer ?? []);
    },
  });
  const sekisho = await startSekisho({
    upstreams: [{ port: mta.port }],
    policy: testPolicy(['local.example'], []),
    timeouts: { upstreamMail: 1_000, upstreamRcpt: 1_000, upstreamData: 1_000, upstreamDataEnd: 1_000 },
  });
  const client = await SmtpClient.connect(sekisho.port, '127.0.0.2');
  try {
    await client.reply();
    const fault = await converse(client, transcript);
    return (
      fault ??
      compare(
        transcript,
        'upstream command',
        dialogue.map(({ hear }) => hear),
        heard,
      )
    );
  } finally {
    client.destroy();
    await sekisho.stop();
    await mta.close();
  }
};
