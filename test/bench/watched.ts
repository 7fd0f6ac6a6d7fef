/**
 * What it costs mail to be watched: `npm run bench:watched [SECONDS]` sends sessions (half of them messages, half refused
 * attempts to relay), by turns unwatched and with a scrape each second and ten pages open, at a rate that leaves Sekisho
 * room and as fast as it can. Sekisho has one core for itself; generator, mail server, and pages with the scraper are
 * processes of their own on the others. Prints Markdown.
 */
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import os from 'node:os';
import path from 'node:path';
import { load } from './generator.js';
import { sekisho } from './peers/sekisho.js';
import { fastSink } from './peers/sinks.js';
import { cpuOf } from './procfs.js';
import { median, medianRatio } from './statistics.js';

const SECONDS = Number(process.argv[2] ?? 4);
const ROUNDS = 9;
const PAGES = 10;
/** Of what it can take. */
const PART = 0.5;

const cores = os.cpus().length;
if (cores < 2) {
  console.error('bench: two cores are needed, one of them for Sekisho alone');
  process.exit(1);
}
const elsewhere = ['taskset', '-c', Array.from({ length: cores - 1 }, (_, i) => i).join(',')] as const;
const sink = await fastSink(false, [...elsewhere]);
const server = await sekisho(sink.port, { before: ['taskset', '-c', `${cores - 1}`] });
const watcher = spawn(
  elsewhere[0],
  [
    ...elsewhere.slice(1),
    ...[process.execPath, '--import=tsx', path.join(import.meta.dirname ?? '.', 'watcher.ts')],
    ...[`${server.admin}`, `${PAGES}`],
  ],
  { stdio: ['pipe', 'pipe', 'inherit'] },
);

const tell = async (line: 'on' | 'off'): Promise<string> => {
  watcher.stdin.write(`${line}\n`);
  return String((await once(watcher.stdout, 'data'))[0]).trim();
};

interface Figures {
  readonly rate: number;
  /** Microseconds of CPU of Sekisho a session. */
  readonly each: number;
  readonly p50: number;
  readonly p99: number;
}

const round = async (rate: number, seconds = SECONDS): Promise<Figures> => {
  const before = cpuOf(server.pid);
  const said = await load({ port: server.port, seconds, rate, refused: 50 }, elsewhere);
  if (said.errors > 0) throw new Error(`${said.errors} sessions failed: ${said.error}`);
  const [used, count] = [cpuOf(server.pid) - before, said.sessions];
  return { rate: count / said.seconds, each: used / count, p50: said.p50, p99: said.p99 };
};

const row = (name: string, figures: readonly Figures[]): string => {
  const of = (what: keyof Figures): number => median(figures.map((each) => each[what]));
  const ms = (what: 'p50' | 'p99'): string => (of(what) / 1_000).toFixed(1);
  return `| ${name} | ${Math.round(of('rate'))} | ${of('each').toFixed(1)} | ${ms('p50')} | ${ms('p99')} |`;
};

const compare = async (name: string, rate: number): Promise<void> => {
  const alone: Figures[] = [];
  const watched: Figures[] = [];
  for (let i = 0; i < ROUNDS; i += 1) {
    // By turns first, so that what gets slower or faster on the way touches both alike.
    for (const on of i % 2 === 0 ? [false, true] : [true, false]) {
      await tell(on ? 'on' : 'off');
      (on ? watched : alone).push(await round(rate));
    }
    const [a, b] = [row('', alone.slice(-1)), row('', watched.slice(-1))];
    console.error(`${name}, round ${i + 1}: ${a} watched: ${b} ${await tell('off')}`);
  }
  const ratio = (what: keyof Figures): string =>
    medianRatio(
      watched.map((each) => each[what]),
      alone.map((each) => each[what]),
    ).toFixed(3);
  const most = Math.max(...alone.map((each) => each.rate));
  const cost = median(
    watched.map((each, i) => (each.each - (alone[i]?.each ?? 0)) * (rate === 0 ? most : rate)),
  );
  console.log(row(`${name}, unwatched`, alone));
  console.log(row(`${name}, a scrape each second and ${PAGES} pages`, watched));
  const ratios = (['rate', 'each', 'p50', 'p99'] as const).map(ratio).join(' | ');
  console.log(
    `| ${name}, ratio, median of ${ROUNDS} rounds; ${(cost / 1_000).toFixed(0)} ms of CPU a second | ${ratios} |`,
  );
};

try {
  await tell('off');
  await round(0, 8);
  const most = await round(0, 4);
  console.log('| | sessions/s | CPU µs a session | session p50 ms | p99 ms |\n|---|--:|--:|--:|--:|');
  await compare('half of what it can take', Math.round(most.rate * PART));
  await compare('as fast as it can', 0);
} finally {
  watcher.stdin.end();
  await server.stop();
  await sink.stop();
}
