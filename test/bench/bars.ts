/** What must be held: figures of Sekisho against the peer of the same round, or against a figure. */
import { type Figures, type Results, roundsOf } from './results.js';
import { median, medianRatio } from './statistics.js';

export interface Bar {
  /** A workload, or the beginning of a micro-benchmark's name. */
  readonly of: string;
  readonly what: 'CPU' | 'rate' | 'memory' | 'time';
  /** Who is judged; else `sekisho`. */
  readonly subject?: string;
  /** Without: the figure itself is what is bounded. */
  readonly peer?: string;
  /** At least for rates, at most for all else. */
  readonly bound: number;
  readonly unit: '×' | 'KB' | 'µs';
  /** To be aimed at, and not held. */
  readonly aim?: boolean;
}

const cpu = (of: string, peer: string, bound: number): Bar => ({ of, what: 'CPU', peer, bound, unit: '×' });
const rate = (of: string, bound: number): Bar => ({ of, what: 'rate', peer: 'direct', bound, unit: '×' });
const time = (of: string, bound: number): Bar => ({ of, what: 'time', bound, unit: 'µs' });

export const BARS: readonly Bar[] = [
  cpu('W1', 'haproxy', 0.85),
  cpu('W1', 'nginx', 0.75),
  cpu('W2', 'haproxy', 1.2),
  cpu('W3', 'nginx', 1),
  { ...cpu('W3', 'haproxy', 1), aim: true },
  cpu('W4', 'haproxy', 0.6),
  { of: 'W5', what: 'memory', bound: 8, unit: 'KB' },
  rate('S1-memory', 4),
  rate('S1-disk', 1),
  rate('S50-memory', 0.95),
  rate('S50-disk', 0.95),
  rate('SA-memory', 13),
  rate('SA-disk', 4.5),
  // The store is the same. Where all cores are busy and generator and mail server have their part of them, the CPU tells: 2 / 1.7.
  { of: 'P2-room', what: 'rate', subject: 'sekisho-2', peer: 'sekisho-lmdb', bound: 1.7, unit: '×' },
  { of: 'P2', what: 'CPU', subject: 'sekisho-2', peer: 'sekisho-lmdb', bound: 1.18, unit: '×' },
  time('verdict', 2),
  time('window lookup, memory', 2),
];

/** Names a row in reasons.md: a workload or piece, and the peer where there are several. */
export const rowOf = ({ of, what, subject, peer }: Bar): string =>
  what === 'CPU' && subject === undefined ? `${of} ${peer}` : of;

export interface Judged {
  readonly bar: Bar;
  /** NaN when it was not measured. */
  readonly value: number;
  /** Sessions that failed, of Sekisho or of the peer: then nothing is met. */
  readonly errors: number;
  readonly met: boolean;
}

const figureOf = (figures: Figures, what: Bar['what']): number | undefined => {
  if (what === 'rate') return figures.rate;
  if (what === 'CPU') return figures.cpu;
  return what === 'memory' && figures.memory !== undefined ? figures.memory / 1_000 : undefined;
};

const measured = ({ workloads, micro }: Results, { of, what, subject = 'sekisho', peer }: Bar): number => {
  if (what === 'time') return micro.find(({ name }) => name.startsWith(of))?.microseconds ?? Number.NaN;
  const workload = workloads.find(({ name }) => name === of);
  if (workload === undefined) return Number.NaN;
  const values = (subject: string): (number | undefined)[] =>
    roundsOf(workload, subject).map((figures) => figureOf(figures, what));
  const ours = values(subject);
  return peer === undefined
    ? median(ours.filter((value) => value !== undefined))
    : medianRatio(ours, values(peer));
};

const errorsOf = ({ workloads }: Results, { of, subject = 'sekisho', peer }: Bar): number =>
  workloads
    .filter(({ name }) => name === of)
    .flatMap((workload) => [subject, peer ?? ''].flatMap((subject) => roundsOf(workload, subject)))
    .reduce((sum, { errors }) => sum + errors, 0);

export const judge = (results: Results, bar: Bar): Judged => {
  const value = measured(results, bar);
  const errors = errorsOf(results, bar);
  return {
    bar,
    value,
    errors,
    met: errors === 0 && (bar.what === 'rate' ? value >= bar.bound : value <= bar.bound),
  };
};
