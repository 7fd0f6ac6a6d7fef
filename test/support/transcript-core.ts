/** A transcript through the pure core: scanners, `step`, policy and the recorder; no socket, no timer. */
import { parseIp } from '../../src/base/ip.js';
import { decide } from '../../src/policy/decide.js';
import { envelopeFacts } from '../../src/policy/envelope.js';
import { judgementOf } from '../../src/proxy/judge.js';
import { MessageStream } from '../../src/proxy/message-stream.js';
import { DEFAULT_TIMEOUTS } from '../../src/proxy/options.js';
import type { UpstreamConnection } from '../../src/proxy/upstream.js';
import { presetMode } from '../../src/shield/presets.js';
import { shieldRules } from '../../src/shield/rules.js';
import {
  type Capabilities,
  NO_CAPABILITIES,
  offeredKeywords,
  parseCapabilities,
  smallerLimit,
} from '../../src/smtp/capabilities.js';
import { LineScanner } from '../../src/smtp/line-scanner.js';
import { ReplyParser } from '../../src/smtp/reply-parser.js';
import { Recorder } from './recorder.js';
import {
  compare,
  dataLines,
  dialogueOf,
  type Fault,
  linesOf,
  type Transcript,
  turnsOf,
} from './transcript.js';

const settingsOf = ({ scene: { keywords, banner, limits } }: Transcript) => {
  const capabilities = keywords === undefined ? NO_CAPABILITIES : parseCapabilities(['mta', ...keywords]);
  const own = { maxSize: limits.messageBytes, starttls: false, auth: [] };
  const offered = offeredKeywords(capabilities, own);
  const { recipients, errors, commands, idleCommands } = limits;
  return {
    hostname: banner?.[0]?.split(' ')[0] ?? 'legacy.example.org',
    capabilities,
    keywords: offered,
    secureKeywords: offered,
    messageBytes: smallerLimit(limits.messageBytes, capabilities.size),
    ...{ recipients, errors, commands, idleCommands },
  };
};

/** The MTA's side of a message: keeps the data of each that was ended. */
class Sink {
  readonly ended: string[] = [];
  blocked = false;
  #data = '';

  readonly preset = 'strict';

  constructor(readonly capabilities: Capabilities) {}

  begin(): void {
    this.#data = '';
  }
  data(view: Buffer): boolean {
    this.#data += view.toString('latin1');
    return true;
  }
  endData(): void {
    this.ended.push(this.#data);
  }
}

class Core extends Recorder {
  readonly #transcript: Transcript;
  readonly #lines: LineScanner;
  readonly #stream: MessageStream;
  readonly #sink: Sink;
  readonly #answers: string[][];
  readonly #capabilities: Capabilities;
  /** What came and was not looked at yet. */
  readonly #input: Buffer[] = [];
  #handled = 0;

  constructor(transcript: Transcript) {
    const settings = settingsOf(transcript);
    super(settings);
    const { limits, data } = transcript.scene;
    this.#transcript = transcript;
    this.#capabilities = settings.capabilities;
    this.#sink = new Sink(settings.capabilities);
    this.#lines = new LineScanner({ limit: limits.commandLine });
    this.#stream = new MessageStream(data, limits, DEFAULT_TIMEOUTS, 'token', {
      rules: (preset) => shieldRules(presetMode(preset), limits.headerBytes),
      onHit: () => {},
    });
    this.#answers = dialogueOf(transcript).map(({ answer }) => answer);
  }

  feed(octets: Buffer): void {
    this.#input.push(octets);
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
      if (/^EHLO/i.test(line)) this.#lines.limit = this.#transcript.scene.limits.commandLineExtended;
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
    const { refused, fault, end } = this.#stream.take(chunk);
    if (refused !== undefined) this.happen({ type: 'data-refused', reply: refused });
    if (fault !== undefined) this.happen({ type: 'framing', kind: fault });
    else if (end !== undefined) {
      if (end < chunk.length) this.#input.unshift(chunk.subarray(end));
      this.happen({ type: 'data-end' });
    }
    return true;
  }

  override data(mode: 'forward' | 'discard'): void {
    super.data(mode);
    if (mode === 'discard') return this.#stream.detach();
    const eightBit = this.state.transaction?.params.some(({ value }) => value === '8BITMIME') ?? false;
    const utf8 = this.state.transaction?.utf8 === true;
    this.#sink.begin();
    this.#stream.begin(this.#sink as unknown as UpstreamConnection, { eightBit, utf8 });
  }

  override endData(): void {
    super.endData();
    this.#stream.end();
  }

  override release(how: 'reuse' | 'close'): void {
    super.release(how);
    this.#stream.detach();
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
    const client = parseIp(this.#transcript.scene.client);
    if (from === undefined || to === undefined || client === undefined) throw new Error('no question');
    const clientName = { known: false, why: 'nobody asked' } as const;
    const facts = {
      client,
      clientName,
      listener: 'mx',
      helo: '',

      ...envelopeFacts(from, to),
    };
    this.verdict(judgementOf(decide(this.#transcript.scene.policy, facts), to));
  }

  #mta(): void {
    const given = this.#answers.shift() ?? [];
    // As the legacy MTA does when the transcript says nothing.
    const usual = this.state.expected[0] === 'data' ? ['354 go'] : ['250 ok'];
    const answer = given.length === 0 ? usual : given;
    if (answer[0] === '(closes)' || answer[0] === '(nothing)') return this.#drop(answer[0] === '(nothing)');
    const parser = new ReplyParser();
    parser.push(Buffer.from(`${answer.join('\r\n')}\r\n`, 'latin1'));
    const scan = parser.next();
    if (scan.kind !== 'reply') return this.#drop(scan.kind === 'need-more');
    // Said before the next command: the runner drops a connection that is out of step.
    if (parser.pending > 0 && this.state.expected[0] !== 'end') return this.#drop(false);
    this.happen({ type: 'upstream-reply', reply: scan.reply, ahead: this.#ahead });
  }

  #drop(deadline: boolean): void {
    this.#stream.detach();
    this.lost(deadline);
  }

  run(octetByOctet: boolean): Fault {
    this.open();
    for (const { say } of turnsOf(this.#transcript)) {
      const octets = Buffer.from(say, 'latin1');
      if (octetByOctet) for (let i = 0; i < octets.length; i += 1) this.feed(octets.subarray(i, i + 1));
      else this.feed(octets);
    }
    const of = (mark: string): string[] =>
      this.log.filter((line) => line.startsWith(mark)).map((line) => line.slice(3));
    const closed = this.log.some((line) => line.startsWith('! close')) ? ['(closed)'] : [];
    const want = (mark: 'S' | 'U' | 'D') => linesOf(this.#transcript, mark);
    const data = this.#sink.ended.flatMap(dataLines);
    return (
      compare(this.#transcript, 'S', want('S'), [...of('S: ').slice(1), ...closed]) ??
      compare(this.#transcript, 'U', want('U'), of('U: ')) ??
      (want('D').length === 0 ? undefined : compare(this.#transcript, 'D', want('D'), data))
    );
  }
}

/** Runs a transcript through the pure core: with its segments as written, or octet by octet. */
export const runCore = (transcript: Transcript, octetByOctet = false): Fault =>
  new Core(transcript).run(octetByOctet);
