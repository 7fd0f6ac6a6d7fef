/** A transcript through real sockets, with a real MTA that answers as the transcript says. */
import { type LegacyAction, startLegacyMta } from '../../src/demo/legacy-mta.js';
import { startSekisho } from './sekisho.js';
import { SmtpClient } from './smtp-client.js';
import {
  compare,
  dataLines,
  dialogueOf,
  type Fault,
  linesOf,
  type Transcript,
  turnsOf,
} from './transcript.js';
import { disagreement } from './upstream-readers.js';

/** Deadline for the MTA, ms, in those transcripts alone in which it falls silent; they are kept to the second. */
const SHORT = 1_000;

const actionOf = (answer: readonly string[]): LegacyAction | undefined => {
  if (answer.length === 0) return undefined;
  if (answer[0] === '(closes)') return { close: 'fin' };
  return { say: answer[0] === '(nothing)' ? [] : answer };
};

/** Each turn's replies, and nothing else, before the next is said. */
const converse = async (client: SmtpClient, transcript: Transcript): Promise<Fault> => {
  for (const { say, see } of turnsOf(transcript)) {
    client.send(say);
    const seen: string[] = [];
    const lines = see.filter(({ text }) => text !== '(closed)');
    while (seen.length < lines.length) {
      const reply = await client.reply().catch(() => '');
      if (reply === '') break;
      seen.push(...reply.split('\r\n'));
    }
    const fault = compare(transcript, 'S', lines, seen);
    if (fault !== undefined) return fault;
    if (lines.length === see.length) continue;
    await client.end();
    const more = await client.reply();
    if (more !== '') return compare(transcript, 'S', see.slice(-1), [more]);
  }
  return undefined;
};

/** What the proxy itself put in front. */
const withoutReceived = (data: string): string => data.replace(/^Received: .*\r\n(?:[ \t].*\r\n)*/, '');

export const runSockets = async (transcript: Transcript): Promise<Fault> => {
  const dialogue = dialogueOf(transcript);
  const { keywords, banner, client: address, policy, limits, data } = transcript.scene;
  const heard: string[] = [];
  const silent = dialogue.some(({ answer }) => /^(?:\(nothing\)$|\d{3}-)/.test(answer.at(-1) ?? ''));
  const mta = await startLegacyMta({
    ehlo: keywords,
    ...(banner === undefined ? {} : { banner }),
    script: (step, argument) => {
      // Greeting, reset between two transactions and farewell are no part of the dialogue.
      if (['connect', 'EHLO', 'HELO', 'RSET', 'QUIT', 'body'].includes(step)) return undefined;
      heard.push(step === 'dot' ? '.' : `${step}${argument === '' ? '' : ` ${argument}`}`);
      return actionOf(dialogue[heard.length - 1]?.answer ?? []);
    },
  });
  const sekisho = await startSekisho({
    upstreams: [{ port: mta.port }],
    policy,
    limits,
    listener: { data },
    timeouts: silent
      ? { upstreamMail: SHORT, upstreamRcpt: SHORT, upstreamData: SHORT, upstreamDataEnd: SHORT }
      : {},
  });
  const client = await SmtpClient.connect(sekisho.port, address);
  try {
    await client.reply();
    const want = linesOf(transcript, 'D');
    const got = (): string[] => mta.messages.flatMap((message) => dataLines(withoutReceived(message.data)));
    return (
      (await converse(client, transcript)) ??
      compare(transcript, 'U', linesOf(transcript, 'U'), heard) ??
      mta.connections.map(disagreement).find((each) => each !== undefined) ??
      (want.length === 0 ? undefined : compare(transcript, 'D', want, got()))
    );
  } finally {
    client.destroy();
    await sekisho.stop();
    await mta.close();
  }
};
