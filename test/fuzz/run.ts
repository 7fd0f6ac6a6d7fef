/** Plays a case over real sockets, and says everything that should not have been. */
import type net from 'node:net';
import tls from 'node:tls';
import type { ProxyOptions } from '../../src/proxy/options.js';
import type { TlsMaterial } from '../../src/proxy/tls.js';
import { passwords } from '../support/passwords.js';
import { eventually, type Running, startSekisho } from '../support/sekisho.js';
import { SmtpClient } from '../support/smtp-client.js';
import { disagreement } from '../support/upstream-readers.js';
import type { FuzzCase, FuzzClient } from './case.js';
import { FuzzMta } from './mta.js';

/** Milliseconds: far beyond every deadline of the case, so that a loaded machine makes no finding. */
const PATIENCE = 45_000;

const second = 1_000;
const TIMEOUTS: Partial<ProxyOptions['timeouts']> = {
  ...{ idle: 2 * second, command: second, dataBlock: second, session: 20 * second, tlsHandshake: 2 * second },
  ...{ upstreamConnect: 2 * second, upstreamGreeting: second, upstreamCommand: second, upstreamMail: second },
  ...{ upstreamRcpt: second, upstreamData: second, upstreamDataBlock: second, upstreamDataEnd: second },
};

const SMALL: Partial<ProxyOptions['limits']> = {
  ...{ errors: 4, idleCommands: 6, commands: 25, recipients: 2, messageBytes: 5_000, headerBytes: 3_000 },
};

export interface Tools {
  readonly certificate: TlsMaterial;
}

/** What one client saw and said. */
interface Seen {
  readonly client: FuzzClient;
  /** What it said, in clear text. */
  said: string;
  /** Everything it heard, in clear text. */
  heard: string;
  /** Replies that it waited for and got. */
  answers: number;
  hung: string | undefined;
}

const sleep = (ms: number): Promise<void> => new Promise((resolve) => setTimeout(resolve, ms));

const write = async (socket: net.Socket, octets: string, cuts: readonly number[]): Promise<void> => {
  if (cuts.length === 0) return void socket.write(octets, 'latin1');
  for (let at = 0, i = 0; at < octets.length; i += 1) {
    const length = octets.length > 4_000 ? 1_500 : (cuts[i % cuts.length] ?? 1);
    if (!socket.writable) return;
    socket.write(octets.slice(at, at + length), 'latin1');
    at += length;
    await new Promise((resolve) => setImmediate(resolve));
  }
};

const secure = async (clear: SmtpClient): Promise<SmtpClient | undefined> => {
  const { socket } = clear;
  socket.removeAllListeners('data');
  const secured = tls.connect({ socket, rejectUnauthorized: false });
  const client = SmtpClient.over(secured);
  // Sekisho ends a handshake that is none, as when something in clear text came behind STARTTLS.
  const failed = new Promise<undefined>((resolve) => {
    secured.once('error', () => resolve(undefined)).once('close', () => resolve(undefined));
  });
  const done = new Promise<SmtpClient>((resolve) => {
    secured.once('secureConnect', () => resolve(client));
  });
  return Promise.race([done, failed]);
};

const play = async (port: number, client: FuzzClient): Promise<Seen> => {
  const seen: Seen = { client, said: '', heard: '', answers: 0, hung: undefined };
  let link = await SmtpClient.connect(port, client.from);
  const all = [link];
  let last = '';
  const say = (octets: string): Promise<void> => {
    seen.said += octets;
    return write(link.socket, octets, client.cuts);
  };
  try {
    for (const move of client.moves) {
      if (link.closed) break;
      if (move === 'fin') {
        link.socket.end();
        // Nothing can be said any more, and a reset of a half-closed socket keeps its descriptor in Node 20.
        break;
      }
      if (move === 'rst') {
        // No reset under TLS in Node: an end without farewell must do.
        if (link === all[0]) link.socket.resetAndDestroy();
        else all[0]?.destroy();
      } else if (move === 'reply') {
        last = await link.reply(PATIENCE);
        if (last !== '') seen.answers += 1;
      } else if (move === 'tls') {
        if (!last.startsWith('220 2.0.0')) continue;
        const secured = await secure(link);
        if (secured === undefined) break;
        link = secured;
        all.push(link);
      } else if ('send' in move) await say(move.send);
      else if ('message' in move) {
        const [first, second] = move.message;
        const welcome = !client.orderly || last.startsWith('354');
        await say(welcome ? first : 'NOOP\r\n');
        if (!welcome || second === '') continue;
        await sleep(move.pause);
        await say(second);
      } else await sleep(move.pause);
    }
    if (!link.closed) await link.end(PATIENCE);
  } catch (error) {
    seen.hung = error instanceof Error ? error.message : String(error);
  } finally {
    // The inner one last: the other way round Node 20 reads through what it has freed.
    for (const each of all.reverse()) each.destroy();
  }
  seen.heard = all
    .reverse()
    .map(({ transcript }) => transcript)
    .join('');
  return seen;
};

/** Complete replies, each with its lines. */
const repliesOf = (heard: string): string[] => heard.match(/(?:\d{3}-[^\n]*\n)*\d{3}(?: [^\n]*)?\r\n/g) ?? [];

const MARK = /Q\d+q/g;

/** What is wrong with what a client heard. */
function* clientFaults(seen: Seen, mta: FuzzMta, convert: boolean): Generator<string> {
  const { heard, client, hung } = seen;
  if (hung !== undefined) yield `hung: ${hung}`;
  if (!/^(?:[2-5]\d\d[ -][^\r\n\0]*\r\n)*$/.test(heard))
    yield `not replies: ${JSON.stringify(heard.slice(0, 400))}`;
  const replies = repliesOf(heard);
  for (const [i, reply] of replies.entries()) {
    const answer = replies[i + 1];
    if (!reply.startsWith('354') || answer === undefined) continue;
    if (/^2/.test(answer)) yield* acceptedFaults(answer, seen, mta, convert);
    else if (!/^[45]/.test(answer)) yield `a message was answered ${answer}`;
  }
  const marks = heard.match(MARK) ?? [];
  if (new Set(replies.filter((each) => MARK.test(each)).map(String)).size > new Set(marks).size)
    yield 'a message was acknowledged twice';
  if (client.orderly && replies.length > seen.answers + 1)
    yield `${replies.length} replies to ${seen.answers} waits: ${JSON.stringify(heard.slice(-300))}`;
}

function* acceptedFaults(answer: string, seen: Seen, mta: FuzzMta, convert: boolean): Generator<string> {
  const mark = answer.match(MARK)?.[0];
  const message = mta.delivered.find((each) => each.mark === mark);
  if (message === undefined) {
    yield `a false 250: ${JSON.stringify(answer)}`;
    return;
  }
  const raw = message.raw.replace(/^Received: .*\r\n(?:[ \t].*\r\n)*/, '');
  if (!convert && !seen.said.includes(raw))
    yield `the message that went up is not what was said: ${JSON.stringify(raw.slice(0, 300))}`;
}

/** From strangers only mail for the domain of the site goes up, and its every reading must be local. */
const LOCAL = /^<(?:[A-Za-z0-9.+_-]+|"(?:[a-z ]+|a\\"b)")@local\.example\.?>(?: |$)/i;

function* upstreamFaults(mta: FuzzMta, { clients }: FuzzCase): Generator<string> {
  const strangers = clients.every(({ from, moves }) => from !== '127.0.0.1' && !moves.includes('tls'));
  for (const connection of mta.connections) {
    const difference = disagreement(connection);
    if (difference !== undefined) yield `strict and lenient servers differ: ${difference}`;
    if (connection.outOfTurn !== undefined) yield `out of turn ${connection.outOfTurn}`;
  }
  if (!strangers) return;
  for (const { recipients } of mta.delivered)
    for (const each of recipients) if (!LOCAL.test(each)) yield `a stranger's mail for ${each}`;
}

function* leaks({ proxy, events }: Running): Generator<string> {
  if (proxy.sessions > 0) yield `${proxy.sessions} sessions are left`;
  for (const { busy, connecting, waiting } of proxy.figures.values())
    if (busy + connecting + waiting > 0)
      yield `left: ${busy} busy, ${connecting} connecting, ${waiting} waiting`;
  for (const event of events) if (event.type === 'internal-error') yield event.text;
}

const settled = ({ proxy }: Running): boolean =>
  proxy.sessions === 0 &&
  [...proxy.figures.values()].every(({ busy, connecting, waiting }) => busy + connecting + waiting === 0);

/** All that was wrong, in words; nothing when the case passed. */
export const runCase = async (each: FuzzCase, { certificate }: Tools): Promise<string[]> => {
  const mta = await FuzzMta.start(each);
  const sekisho = await startSekisho({
    upstreams: [{ port: mta.port, waitTimeout: 3 * second }],
    timeouts: TIMEOUTS,
    limits: { dataRate: 0, ...(each.small ? SMALL : {}) },
    listener: {
      tls: each.tls ? 'starttls' : 'none',
      data: { lineLimit: 998, overLong: 'reject', eightBit: 'pass', bareLf: each.bareLf },
    },
    tls: each.tls ? [certificate] : [],
    ...(each.tls ? { logins: [passwords({ alice: 'secret' })] } : {}),
  });
  try {
    const seen = await Promise.all(each.clients.map((client) => play(sekisho.port, client)));
    await eventually('all is settled', () => settled(sekisho), PATIENCE).catch(() => undefined);
    return [
      ...seen.flatMap((client) => [...clientFaults(client, mta, each.bareLf === 'convert')]),
      ...upstreamFaults(mta, each),
      ...leaks(sekisho),
    ];
  } finally {
    await sekisho.stop();
    await mta.stop();
  }
};
