/** Results as Markdown: a whole report, and the section of the README. */
import { BARS, type Judged, judge, rowOf } from './bars.js';
import { REASONS, type Reasons } from './reasons.js';
import { type Figures, type Micro, type Results, roundsOf, type WorkloadResult } from './results.js';
import { median, medianRatio } from './statistics.js';

const fixed = (value: number, digits = 0): string =>
  Number.isFinite(value)
    ? value.toLocaleString('en', { maximumFractionDigits: digits, minimumFractionDigits: digits })
    : '–';

/** About three digits. */
const short = (value: number): string => fixed(value, value >= 100 ? 0 : value >= 10 ? 1 : 2);

const of = (rounds: readonly Figures[], what: (figures: Figures) => number | undefined): number =>
  median(rounds.map(what).filter((value) => value !== undefined));

/** The median of the rounds' ratios to the peer. */
const against = (
  workload: WorkloadResult,
  subject: string,
  peer: string,
  what: (figures: Figures) => number | undefined,
): number => medianRatio(roundsOf(workload, subject).map(what), roundsOf(workload, peer).map(what));

const times = (ratio: number): string => (Number.isFinite(ratio) ? `${ratio.toFixed(2)} ×` : '–');

const table = (head: readonly string[], rows: readonly (readonly string[])[]): string =>
  [head, head.map((_, i) => (i === 0 ? '---' : '--:')), ...rows]
    .map((cells) => `| ${cells.join(' | ')} |`)
    .join('\n');

const errorsOf = (rounds: readonly Figures[]): number => rounds.reduce((sum, { errors }) => sum + errors, 0);

const named = (subject: string, rounds: readonly Figures[]): string => {
  const errors = errorsOf(rounds);
  return errors > 0 ? `${subject} (**${fixed(errors)} errors**)` : subject;
};

const ms = (microseconds: number): string => fixed(microseconds / 1_000, microseconds < 10_000 ? 2 : 0);

const idleTable = (workload: WorkloadResult): string =>
  table(
    ['', 'KB a session', 'CPU µs a session'],
    workload.subjects.map(({ name, rounds }) => [
      named(name, rounds),
      fixed(of(rounds, ({ memory }) => memory) / 1_000, 1),
      fixed(of(rounds, ({ cpu }) => cpu)),
    ]),
  );

const loadTable = (workload: WorkloadResult): string =>
  table(
    [
      '',
      `${workload.unit}s/s`,
      'of direct',
      'CPU µs each',
      'mail server’s',
      'session ms p50 / p99',
      'MB',
      'generator’s share of a core',
    ],
    workload.subjects.map(({ name, rounds }) => [
      named(name, rounds),
      fixed(of(rounds, ({ rate }) => rate)),
      times(against(workload, name, 'direct', ({ rate }) => rate)),
      fixed(of(rounds, ({ cpu }) => cpu)),
      fixed(of(rounds, ({ sinkCpu }) => sinkCpu)),
      `${ms(of(rounds, ({ p50 }) => p50))} / ${ms(of(rounds, ({ p99 }) => p99))}`,
      fixed(of(rounds, ({ memory }) => memory) / 1e6),
      `${fixed(of(rounds, ({ generatorBusy }) => generatorBusy) * 100)} %`,
    ]),
  );

const workloadPart = (workload: WorkloadResult): string =>
  [
    `### ${workload.name}: ${workload.title}`,
    workload.unit === 'idle session' ? idleTable(workload) : loadTable(workload),
    ...workload.missing.map(({ name, reason }) => `${name} could not be had: ${reason}`),
  ].join('\n\n');

const judgedName = ({ of: workload, what, subject, peer }: Judged['bar']): string =>
  `${workload}${subject === undefined ? '' : `, ${subject}`}: ${what}${peer === undefined ? '' : ` of ${peer}’s`}`;

const verdict = ({ bar, value, errors, met }: Judged): string => {
  if (!Number.isFinite(value)) return 'not measured';
  if (bar.aim === true) return met ? 'reached' : 'not reached';
  return met ? 'met' : `**not met**${errors > 0 ? ' (errors)' : ''}`;
};

const judgedRow = (judged: Judged): string[] => {
  const { what, bound, unit, aim } = judged.bar;
  return [
    judgedName(judged.bar),
    `${aim === true ? 'aim: ' : ''}${what === 'rate' ? '≥' : '≤'} ${bound} ${unit}`,
    `${short(judged.value)} ${unit}`,
    verdict(judged),
  ];
};

const barTable = (judged: readonly Judged[]): string =>
  judged.length === 0 ? '' : table(['', 'bar', 'measured', ''], judged.map(judgedRow));

/** The rows that are not met, those of the same reason together. */
const whyNot = (judged: readonly Judged[], reasons: Reasons): string => {
  const unmet = judged.filter(({ met, value, bar }) => !met && Number.isFinite(value) && bar.aim !== true);
  const texts = new Map<string, string[]>();
  for (const { bar } of unmet) {
    const text = reasons.get(rowOf(bar)) ?? '**no reason is known**';
    texts.set(text, [...(texts.get(text) ?? []), judgedName(bar)]);
  }
  return [...texts]
    .map(([text, rows]) => `- ${rows.join('; ')}: ${text.replace(/\n(?=.)/g, '\n  ')}`)
    .join('\n');
};

const microTable = (micro: readonly Micro[]): string =>
  micro.length === 0
    ? ''
    : table(
        ['', 'µs', 'for each'],
        micro.map(({ name, unit, microseconds, note }) => [
          name,
          fixed(microseconds, microseconds < 10 ? 3 : 0),
          `${unit}; ${note}`,
        ]),
      );

const parts = (texts: readonly string[]): string => texts.filter((text) => text !== '').join('\n\n');

const judgedOf = (results: Results): Judged[] => BARS.map((bar) => judge(results, bar));

/** Everything, for a person who reads one run. */
export const report = (results: Results): string =>
  parts([
    barTable(judgedOf(results).filter(({ value }) => Number.isFinite(value))),
    warmth(results).trim(),
    ...results.workloads.map(workloadPart),
    microTable(results.micro),
  ]);

const FRONT = ['W1', 'W2', 'W3', 'W4', 'F1', 'F3'];
const PEERS = ['haproxy', 'nginx', 'sekisho', 'postfix', 'haraka'];

/** A row a workload, a column a peer. */
const compared = (
  results: Results,
  names: readonly string[],
  columns: readonly string[],
  cell: (workload: WorkloadResult, subject: string) => string,
): string[][] =>
  results.workloads
    .filter(({ name }) => names.includes(name))
    .map((workload) => [
      `${workload.name} ${workload.title}`,
      ...columns.map((subject) => {
        const rounds = roundsOf(workload, subject);
        const mark = errorsOf(rounds) > 0 ? ' (errors)' : '';
        return rounds.length === 0 ? '–' : `${cell(workload, subject)}${mark}`;
      }),
    ]);

const cpuCell = (workload: WorkloadResult, subject: string): string =>
  `${fixed(of(roundsOf(workload, subject), ({ cpu }) => cpu))} (${short(against(workload, subject, 'direct', ({ rate }) => rate))})`;

const addedCell = (workload: WorkloadResult, subject: string): string => {
  const added = (what: (figures: Figures) => number): string => {
    const direct = roundsOf(workload, 'direct');
    const rounds = roundsOf(workload, subject).map(
      (each, i) => what(each) - (direct[i] ? what(direct[i]) : 0),
    );
    return ms(median(rounds));
  };
  return `${added(({ p50 }) => p50)} / ${added(({ p99 }) => p99)}`;
};

const sendmailRows = (results: Results): string[][] =>
  results.workloads
    .filter(({ name }) => /^S[^-]*-/.test(name))
    .map((workload) => {
      const direct = of(roundsOf(workload, 'direct'), ({ rate }) => rate);
      const ours = of(roundsOf(workload, 'sekisho'), ({ rate }) => rate);
      const cpu = (subject: string): number =>
        of(roundsOf(workload, subject), (each) => (each.sinkCpu + (each.cpu ?? 0)) / 1_000);
      const each = roundsOf(workload, 'sekisho').map(
        ({ rate }, i) => rate / (roundsOf(workload, 'direct')[i]?.rate ?? Number.NaN),
      );
      const errors = errorsOf(workload.subjects.flatMap(({ rounds }) => rounds));
      return [
        `${workload.name} ${workload.title.replace(/^sendmail, /, '')}${errors > 0 ? ' (errors)' : ''}`,
        fixed(direct),
        fixed(ours),
        `${short(median(each))} × (${each.map(short).join(', ')})`,
        `${short(cpu('direct'))} → ${short(cpu('sekisho'))}`,
      ];
    });

const variantRows = (results: Results): string[][] =>
  results.workloads
    .filter(({ name }) => name === 'V1')
    .flatMap((workload) =>
      workload.subjects.map(({ name, rounds }) => [
        named(name, rounds),
        fixed(of(rounds, ({ cpu }) => cpu)),
        times(against(workload, name, 'sekisho', ({ cpu }) => cpu)),
        fixed(of(rounds, ({ memory }) => memory) / 1e6),
      ]),
    );

/**
 * The rate against one process that two would have on this machine if a session cost them no more than it costs one: all
 * cores busy, and generator and mail server taking their part of them.
 */
const mostOfTwo = ({ workloads, machine }: Results): number => {
  const workload = workloads.find(({ name }) => name === 'P2');
  if (workload === undefined) return Number.NaN;
  const one = roundsOf(workload, 'sekisho-lmdb');
  const possible = roundsOf(workload, 'sekisho-2').map(({ sinkCpu, generatorCpu }, round) => {
    const alone = one[round]?.cpu;
    return alone === undefined ? undefined : (machine.cpus * 1e6) / (alone + sinkCpu + generatorCpu);
  });
  return medianRatio(
    possible,
    one.map(({ rate }) => rate),
  );
};

const processRows = (results: Results): string[][] =>
  results.workloads
    .filter(({ name }) => name.startsWith('P2'))
    .flatMap((workload) =>
      workload.subjects.map(({ name, rounds }) => [
        `${workload.name} ${named(name, rounds)}`,
        fixed(of(rounds, ({ rate }) => rate)),
        times(against(workload, name, 'sekisho-lmdb', ({ rate }) => rate)),
        fixed(of(rounds, ({ cpu }) => cpu)),
        times(against(workload, name, 'sekisho-lmdb', ({ cpu }) => cpu)),
        fixed(of(rounds, ({ generatorCpu, sinkCpu }) => generatorCpu + sinkCpu)),
      ]),
    );

const missing = (results: Results): string => {
  const all = new Map(
    results.workloads.flatMap((each) => each.missing.map(({ name, reason }) => [name, reason])),
  );
  return [...all].map(([name, reason]) => `${name} could not be had: ${reason}`).join('\n');
};

/** How long everybody was used beforehand, and who was not at his best even then. */
const warmth = ({ workloads }: Results): string => {
  const all = workloads.flatMap(({ name, subjects }) =>
    subjects.flatMap((each) =>
      each.warmed === undefined ? [] : { of: name, name: each.name, ...each.warmed },
    ),
  );
  if (all.length === 0) return '';
  const longest = Math.max(...all.map(({ seconds }) => seconds));
  const falling = all
    .filter(({ settled }) => !settled)
    .map(({ of: workload, name }) => `${name} in ${workload}`);
  return ` Each was used beforehand until its CPU a unit fell no more, for ${longest} s at most${falling.length === 0 ? '' : `; it was still falling for ${falling.join(', ')}`}.`;
};

const headed = (title: string, text: string): string => (text === '' ? '' : `${title}\n\n${text}`);
const rowsOf = (head: readonly string[], rows: readonly (readonly string[])[]): string =>
  rows.length === 0 ? '' : table(head, rows);

/** What stands in the README between its marks. */
export const readmeSection = (results: Results, reasons: Reasons = REASONS): string => {
  const { machine, rounds, seconds, taken } = results;
  const idle = results.workloads.find(({ name }) => name === 'W5');
  return parts([
    `Taken on ${taken.slice(0, 10)}: ${machine.cpus} cores (${machine.model}) for generator, proxy and mail server together, Linux ${machine.kernel}, Node ${machine.node.slice(1)}; medians of ${rounds} interleaved rounds of ${seconds} s, and of the ratios to the peer of the same round. TLS off; Sekisho with policy, Received line, log, metrics, limits and virtual patches on.${warmth(results)}`,
    headed('The bar:', barTable(judgedOf(results))),
    headed('Why a row is not met:', whyNot(judgedOf(results), reasons)),
    headed(
      'CPU of the proxy’s own processes in µs a unit, and in parentheses the rate against the sink alone (three processes share the cores, so the CPU is the steadier figure):',
      rowsOf(['', ...PEERS], compared(results, FRONT, PEERS, cpuCell)),
    ),
    headed(
      'With 1,000 slow clients beside, the same:',
      rowsOf(['', ...PEERS.slice(0, 3)], compared(results, ['X1'], PEERS.slice(0, 3), cpuCell)),
    ),
    headed(
      'What is added to a session of one client at a time, ms, p50 / p99:',
      rowsOf(['', ...PEERS], compared(results, ['L1'], PEERS, addedCell)),
    ),
    headed(
      'Memory of an idle session (PSS, without the kernel’s):',
      idle === undefined ? '' : idleTable(idle),
    ),
    headed(
      'A real sendmail that only queues, alone and behind Sekisho; ratios of all rounds in parentheses:',
      rowsOf(
        ['', 'alone /s', 'behind /s', 'ratio', 'CPU ms each, sendmail and proxy'],
        sendmailRows(results),
      ),
    ),
    headed(
      'More switched on (each session on a connection of its own, half of them refused):',
      rowsOf(['', 'CPU µs a session', 'of sekisho’s', 'MB'], variantRows(results)),
    ),
    headed(
      `One process, one with LMDB, and two that share it (\`--processes 2\`), one message a connection. In P2 generator and mail server use the same cores, so that at most ${times(mostOfTwo(results))} the rate of one could be had, were a session no dearer by two; in P2-room the kernel holds each process to 40 % of a core, so that they have room:`,
      rowsOf(
        [
          '',
          'messages/s',
          'of one’s with LMDB',
          'CPU µs each',
          'of one’s with LMDB',
          'generator’s and mail server’s',
        ],
        processRows(results),
      ),
    ),
    headed('Single pieces:', microTable(results.micro)),
    missing(results),
  ]);
};

export const START = '<!-- bench:start -->';
export const END = '<!-- bench:end -->';

/** The README with its section made anew; undefined when it has no marks. */
export const withSection = (readme: string, results: Results): string | undefined => {
  const [from, to] = [readme.indexOf(START), readme.indexOf(END)];
  if (from < 0 || to < from) return undefined;
  return `${readme.slice(0, from + START.length)}\n${readmeSection(results)}\n${readme.slice(to)}`;
};
