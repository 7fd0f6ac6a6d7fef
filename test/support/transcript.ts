/**
 * Transcripts: readable text that drives the pure core with a recorder, and real sockets. A file holds several,
 * each begun by `== name`.
 *
 *   # …               a comment
 *   @mta KEYWORDS     what the MTA's EHLO advertises; `none`: it knows only HELO
 *   @banner A / B     the lines of the MTA's greeting
 *   @client inside    the client comes from a trusted network; without it, it is a stranger
 *   @policy {…}       a policy in place of: local is local.example
 *   @limit NAME N     a limit of the proxy; `@data NAME VALUE`: how strict it is with message data
 *   @segments matter  the transcript means something else when its octets come one by one
 *   C: line           the client says a line; lines in a row go out in one write
 *   C| octets         the client says exactly this (C escapes, `{{x*3}}`), without a line end
 *   S: line           the client must see this line; `*` stands for anything
 *   S: (closed)       the client must see the end of the connection
 *   U: line           the MTA must hear this command; `U: .` is the end of a message
 *   M: line           what the MTA answers to that; several are one write; (closes) and (nothing) too
 *   D: line           the message data that the MTA has got by the end, as on the wire, without Received
 *
 * The session begins behind the banner.
 */
import { readFileSync } from 'node:fs';
import type { Policy } from '../../src/policy/compile.js';
import { DEFAULT_DATA, DEFAULT_LIMITS, type Limits } from '../../src/proxy/options.js';
import type { DataLimits } from '../../src/smtp/data-scanner.js';
import { movesOf } from './corpus.js';
import { policyOf, testPolicy } from './sekisho.js';

type Mark = 'C' | 'S' | 'U' | 'M' | 'D';

interface Line {
  readonly mark: Mark;
  readonly text: string;
  readonly at: number;
}

/** What the `@` lines say. */
export interface Scene {
  /** undefined: the MTA knows only HELO. */
  readonly keywords: readonly string[] | undefined;
  readonly banner: readonly string[] | undefined;
  readonly client: string;
  readonly policy: Policy;
  readonly limits: Limits;
  readonly data: DataLimits;
  readonly segmentsMatter: boolean;
}

export interface Transcript {
  readonly name: string;
  readonly file: string;
  readonly scene: Scene;
  readonly lines: readonly Line[];
}

/** A stretch of a transcript: what is said, then what must be seen and heard before the next is said. */
export interface Turn {
  readonly say: string;
  readonly see: readonly Line[];
}

const STRANGER = '127.0.0.2';
const INSIDE = '127.0.0.1';

const EMPTY_SCENE: Scene = {
  keywords: ['8BITMIME', 'SIZE'],
  banner: undefined,
  client: STRANGER,
  policy: testPolicy(['local.example'], [`${INSIDE}/32`]),
  limits: DEFAULT_LIMITS,
  data: DEFAULT_DATA,
  segmentsMatter: false,
};

/** `NAME VALUE` for a settings object that has such a name. */
const setting = <T extends object>(defaults: T, text: string): Partial<T> => {
  const [name = '', value = ''] = text.split(' ');
  if (!Object.hasOwn(defaults, name)) throw new Error(`no such setting: ${name}`);
  return { [name]: /^\d+$/.test(value) ? Number(value) : value } as Partial<T>;
};

const readSetting = (scene: Scene, key: string, text: string): Scene => {
  switch (key) {
    case 'mta':
      return { ...scene, keywords: text === 'none' ? undefined : text.split(', ') };
    case 'banner':
      return { ...scene, banner: text.split(' / ') };
    case 'client':
      return { ...scene, client: text === 'inside' ? INSIDE : STRANGER };
    case 'policy':
      return { ...scene, policy: policyOf(text) };
    case 'limit':
      return { ...scene, limits: { ...scene.limits, ...setting(DEFAULT_LIMITS, text) } };
    case 'data':
      return { ...scene, data: { ...scene.data, ...setting(DEFAULT_DATA, text) } };
    case 'segments':
      return { ...scene, segmentsMatter: text === 'matter' };
    default:
      throw new Error(`no such setting: @${key}`);
  }
};

const readLine = (raw: string, at: number): Line => {
  const match = /^([CSUMD])(:|\|)(?: (.*))?$/.exec(raw);
  if (match === null) throw new Error(`not a line of a transcript: ${raw}`);
  const text = match[3] ?? '';
  const mark = match[1] as Mark;
  if (match[2] === '|') {
    const parts = movesOf(text).map((move) => (typeof move === 'object' && 'send' in move ? move.send : ''));
    return { mark, text: parts.join(''), at };
  }
  const octets = Buffer.from(text, 'utf8').toString('latin1');
  return { mark, text: mark === 'C' ? `${octets}\r\n` : octets, at };
};

const readTranscript = (file: string, part: string, before: number): Transcript => {
  const [name = '', ...rest] = part.split('\n');
  const lines: Line[] = [];
  let scene = EMPTY_SCENE;
  for (const [i, raw] of rest.entries()) {
    const at = before + i + 1;
    if (raw.trim() === '' || raw.startsWith('#')) continue;
    try {
      const [, key, text = ''] = /^@(\S+) (.*)$/.exec(raw) ?? [];
      if (key === undefined) lines.push(readLine(raw, at));
      else scene = readSetting(scene, key, text);
    } catch (error) {
      throw new Error(`${file}:${at}: ${(error as Error).message}`);
    }
  }
  return { name, file, scene, lines };
};

export const readTranscripts = (file: string): Transcript[] => {
  const [head = '', ...parts] = readFileSync(file, 'utf8').split(/^== /m);
  let before = head.split('\n').length;
  return parts.map((part) => {
    const transcript = readTranscript(file, part, before);
    before += part.split('\n').length - 1;
    return transcript;
  });
};

/** The turns of the client. */
export const turnsOf = ({ lines }: Transcript): Turn[] => {
  const turns: { say: string; see: Line[] }[] = [];
  let said = false;
  for (const line of lines) {
    const last = turns.at(-1);
    if (line.mark === 'C' && said && last !== undefined) last.say += line.text;
    else if (line.mark === 'C') turns.push({ say: line.text, see: [] });
    else if (line.mark === 'S') last?.see.push(line);
    said = line.mark === 'C';
  }
  return turns;
};

/** What the MTA hears, each with what it answers; none: as it usually does. */
export const dialogueOf = ({ lines }: Transcript): { hear: string; answer: string[] }[] => {
  const dialogue: { hear: string; answer: string[] }[] = [];
  for (const { mark, text } of lines) {
    if (mark === 'U') dialogue.push({ hear: text, answer: [] });
    else if (mark === 'M') dialogue.at(-1)?.answer.push(text);
  }
  return dialogue;
};

export const linesOf = ({ lines }: Transcript, mark: Mark): Line[] =>
  lines.filter((line) => line.mark === mark);

export const matches = (pattern: string, text: string): boolean => {
  const parts = pattern.split('*').map((part) => part.replace(/[.*+?^${}()|[\]\\]/g, '\\$&'));
  return new RegExp(`^${parts.join('.*')}$`, 's').test(text);
};

/** What went wrong, as a reader of the transcript would say it; undefined when nothing did. */
export type Fault = string | undefined;

const WHO: Readonly<Record<Mark, string>> = {
  C: 'the client says',
  S: 'the client sees',
  U: 'the MTA hears',
  M: 'the MTA says',
  D: 'the message',
};

/** Holds what was seen against the lines; the fault names the line of the file, and the one before it. */
export const compare = (
  { file, name }: Transcript,
  mark: Mark,
  expected: readonly Line[],
  seen: readonly string[],
): Fault => {
  for (let i = 0; i < Math.max(expected.length, seen.length); i += 1) {
    const want = expected[i];
    const got = seen[i];
    if (want !== undefined && got !== undefined && matches(want.text, got)) continue;
    const at = want?.at ?? expected.at(-1)?.at ?? 0;
    const before = i === 0 ? '' : `\n  after    ${mark}: ${seen[i - 1]}`;
    return `${file}:${at}: ${name}: ${WHO[mark]}${before}\n  expected ${want?.text ?? '(nothing)'}\n  got      ${got ?? '(nothing)'}`;
  }
  return undefined;
};

/** Lines of message data, without line ends; what is not ended by CRLF keeps its strange end. */
export const dataLines = (data: string): string[] =>
  data === '' ? [] : data.replace(/\r\n$/, '').split('\r\n');
