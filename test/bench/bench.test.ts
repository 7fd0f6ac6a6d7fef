/** The benchmark itself: its arithmetic, its tables, and a tiny run. */
import { readFileSync } from 'node:fs';
import t from 'tap';
import { noPackages } from '../support/packages.js';
import { eventually } from '../support/sekisho.js';
import { BARS, type Bar, judge, rowOf } from './bars.js';
import { load } from './generator.js';
import { hold } from './hold.js';
import { fastSink } from './peers/sinks.js';
import { SUBJECTS } from './peers/subjects.js';
import { twoProcesses } from './peers/variants.js';
import { cpuOf, familyOf, memoryOf } from './procfs.js';
import { REASONS, reasonsIn } from './reasons.js';
import { END, readmeSection, report, START, withSection } from './render.js';
import { COMMITTED, type Figures, type Results, ResultsSchema } from './results.js';
import { runWorkload } from './rounds.js';
import { median, medianRatio } from './statistics.js';
import { warm } from './warming.js';
import { unitsOf, WORKLOADS, type Workload } from './workloads.js';

const figures = (given: Partial<Figures>): Figures => ({
  ...{ rate: 100, sinkCpu: 50, generatorCpu: 10, generatorBusy: 0.1, p50: 1_000, p99: 2_000 },
  ...{ errors: 0, error: '' },
  ...given,
});

const results = (subjects: Readonly<Record<string, readonly Figures[]>>, name = 'W1'): Results => ({
  taken: '2026-01-02T03:04:05.000Z',
  machine: { cpus: 2, model: 'Test', memory: 1, kernel: '6.1', node: 'v20.1.0' },
  ...{ rounds: 3, seconds: 1, micro: [] },
  workloads: [
    {
      ...{
        name,
        title: 'a title',
        unit: 'message',
        missing: [{ name: 'haraka', reason: 'npm is not there' }],
      },
      subjects: Object.entries(subjects).map(([subject, rounds]) => ({ name: subject, rounds: [...rounds] })),
    },
  ],
});

const barOf = (name: string): Bar => {
  const bar = BARS.find(({ of }) => of === name);
  if (bar === undefined) throw new Error(`no bar for ${name}`);
  return bar;
};

const workloadOf = (name: string): Workload => {
  const workload = WORKLOADS.find((each) => each.name === name);
  if (workload === undefined) throw new Error(`no ${name}`);
  return workload;
};

t.test('medians, and ratios within a round', async (t) => {
  t.equal(median([3, 1, 2]), 2);
  t.equal(median([4, 1, 2, 3]), 2.5);
  t.ok(Number.isNaN(median([])));
  // One round was disturbed, for both: the ratio does not see it.
  t.equal(medianRatio([50, 500, 51], [100, 1_000, 102]), 0.5);
  t.equal(medianRatio([50, undefined, 60], [100, 100]), 0.5, 'a round that one of them lacks does not count');
  t.ok(Number.isNaN(medianRatio([1], [0])));
});

t.test('units', async (t) => {
  const units = (name: string): number => unitsOf(workloadOf(name), { messages: 10, refused: 3 });
  t.same(
    ['W1', 'W3', 'W4', 'V1', 'SA-memory'].map(units),
    [10, 50, 3, 13, 10],
    'messages, megabytes, attempts, sessions, legitimate messages',
  );
});

t.test('a bar is met at it, not one past it, and never with errors', async (t) => {
  const bar = barOf('W1');
  const met = (cpu: number, errors = 0): boolean =>
    judge(results({ haproxy: [figures({ cpu: 100 })], sekisho: [figures({ cpu, errors })] }), bar).met;
  t.equal(met(85), true);
  t.equal(met(86), false);
  t.equal(met(50, 1), false);
  const rate = barOf('S1-disk');
  const atLeast = (given: number): boolean =>
    judge(results({ direct: [figures({})], sekisho: [figures({ rate: given })] }, 'S1-disk'), rate).met;
  t.equal(atLeast(100), true);
  t.equal(atLeast(99), false);
  t.equal(judge(results({}), bar).met, false, 'what was not measured is not met');
  for (const { of, what, subject = 'sekisho', peer } of BARS) {
    const workload = WORKLOADS.find(({ name }) => name === of);
    t.ok(what === 'time' || workload?.subjects.includes(subject), `${of} has ${subject}`);
    if (peer !== undefined) t.ok(workload?.subjects.includes(peer), `${of} has ${peer}`);
  }
  for (const { name, subjects } of WORKLOADS)
    for (const each of subjects)
      t.ok(
        SUBJECTS.some((one) => one.name === each),
        `${name}: ${each}`,
      );
});

t.test('two processes against one, and what the cores allow', async (t) => {
  // 20 + 30 µs of each session are the generator's and the mail server's.
  const shared = { generatorCpu: 20, sinkCpu: 30 };
  const given = (workload: string, cpu: number, rate: number): Results =>
    results(
      {
        'sekisho-lmdb': [figures({ cpu: 200, rate: 5_000, ...shared })],
        'sekisho-2': [figures({ cpu, rate, ...shared })],
      },
      workload,
    );
  const [rate, cpu] = BARS.filter(({ of }) => of.startsWith('P2'));
  if (rate === undefined || cpu === undefined) throw new Error('no bars');
  t.match(judge(given('P2-room', 210, 8_500), rate), { value: 1.7, met: true });
  t.match(judge(given('P2-room', 210, 8_400), rate), { value: 1.68, met: false });
  t.match(judge(given('P2', 236, 7_500), cpu), { value: 1.18, met: true });
  t.match(judge(given('P2', 240, 7_500), cpu), { value: 1.2, met: false });
  const text = readmeSection(given('P2', 210, 7_500));
  t.match(text, '| P2, sekisho-2: CPU of sekisho-lmdb’s | ≤ 1.18 × | 1.05 × | met |');
  t.match(text, 'at most 1.60 × the rate of one');
  t.match(text, '| P2 sekisho-2 | 7,500 | 1.50 × | 210 | 1.05 × | 50 |');
});

t.test('a subject is used until its CPU a unit falls no more', async (t) => {
  const warmed = async (cpu: readonly (number | undefined)[], most = 12): Promise<unknown> => {
    let run = 0;
    return warm(async () => cpu[Math.min(run++, cpu.length - 1)], 2, most);
  };
  t.same(await warmed([100, 101, 99]), { seconds: 6, settled: true }, 'at its best at once');
  t.same(
    await warmed([900, 700, 690, 500, 490, 495, 300]),
    { seconds: 12, settled: true },
    'a pause in falling',
  );
  t.same(await warmed([100, 97, 94, 91, 91]), { seconds: 10, settled: true }, 'small falls add up');
  t.same(await warmed([100, 140, 94, 95, 96]), { seconds: 10, settled: true }, 'one that was disturbed');
  t.same(await warmed([900, 800, 700, 600], 4), { seconds: 8, settled: false });
  t.same(await warmed([undefined]), { seconds: 2, settled: true });
  const [warmest, falling] = [
    { seconds: 12, settled: true },
    { seconds: 7, settled: false },
  ];
  const tell = (workloads: Results['workloads']): string => report({ ...results({}), workloads });
  const warmedBy = (name: string, warmth: { seconds: number; settled: boolean }): Results['workloads'] =>
    results({ sekisho: [figures({})] }, name).workloads.map((each) => ({
      ...each,
      subjects: each.subjects.map((subject) => ({ ...subject, warmed: warmth })),
    }));
  t.match(tell(warmedBy('W1', warmest)), 'until its CPU a unit fell no more, for 12 s at most.');
  t.match(
    tell([...warmedBy('W1', warmest), ...warmedBy('W4', falling)]),
    'for 12 s at most; it was still falling for sekisho in W4.',
  );
});

t.test('tables', async (t) => {
  const given = results({
    direct: [figures({ rate: 1_000 })],
    haproxy: [figures({ rate: 500, cpu: 100 })],
    sekisho: [figures({ rate: 750, cpu: 80, memory: 50e6, errors: 2, error: 'MAIL: answered 451' })],
  });
  const text = report(given);
  t.match(text, '| W1: CPU of haproxy’s | ≤ 0.85 × | 0.80 × | **not met** (errors) |');
  t.match(text, '| sekisho (**2 errors**) | 750 | 0.75 × | 80 | 50 | 1.00 / 2.00 | 50 | 10 % |');
  t.match(text, 'haraka could not be had: npm is not there');
  t.match(readmeSection(given), '| W1 a title | 100 (0.50) | – | 80 (0.75) (errors) | – | – |');
  const readme = `a\n${START}\nold\n${END}\nb\n`;
  t.equal(withSection(readme, given), `a\n${START}\n${readmeSection(given)}\n${END}\nb\n`);
  t.equal(withSection(`a\n${END}\n${START}\n`, given), undefined);
});

t.test('why a row is not met', async (t) => {
  const reasons = reasonsIn(
    '# Why\n\nwords\n\n## W1 haproxy; W1 nginx\n\nto the\nkernel\n\n## W3 nginx\n\npages\n',
  );
  t.same([...reasons.keys()], ['W1 haproxy', 'W1 nginx', 'W3 nginx']);
  const given = results({
    haproxy: [figures({ cpu: 100 })],
    nginx: [figures({ cpu: 100 })],
    sekisho: [figures({ cpu: 90 })],
  });
  const text = readmeSection(given, reasons);
  t.match(text, '- W1: CPU of haproxy’s; W1: CPU of nginx’s: to the\n  kernel');
  t.notMatch(text, 'pages', 'only of what is not met');
  t.match(text, '| W5: memory | ≤ 8 KB | – KB | not measured |', 'what was not measured is there, too');
  t.notMatch(report(given), 'not measured');
  t.match(
    readmeSection(given, new Map()),
    'W1: CPU of haproxy’s; W1: CPU of nginx’s: **no reason is known**',
  );
  const large = (cpu: number): string =>
    readmeSection(results({ haproxy: [figures({ cpu: 100 })], sekisho: [figures({ cpu })] }, 'W3'), reasons);
  t.match(large(101), '| W3: CPU of haproxy’s | aim: ≤ 1 × | 1.01 × | not reached |');
  t.match(large(99), '| 0.99 × | reached |');
  t.notMatch(large(101), 'Why a row', 'nobody must reach what is only aimed at');
  const rows = BARS.map(rowOf);
  t.equal(new Set(rows).size, rows.length, 'each row has a name of its own');
  for (const [row, why] of REASONS) {
    t.ok(rows.includes(row), `${row} is a row`);
    t.not(why, '', `${row} has words`);
  }
  const committed = ResultsSchema.parse(JSON.parse(readFileSync(COMMITTED, 'utf8')));
  for (const bar of BARS) {
    const { met, value } = judge(committed, bar);
    if (!met && Number.isFinite(value) && bar.aim !== true)
      t.ok(REASONS.has(rowOf(bar)), `${rowOf(bar)} is not met: reasons.md tells why`);
  }
});

t.test('the README tells what the committed results say', async (t) => {
  const committed = ResultsSchema.parse(JSON.parse(readFileSync(COMMITTED, 'utf8')));
  const readme = readFileSync('README.md', 'utf8');
  t.equal(withSection(readme, committed), readme, 'else: npm run bench:readme');
});

t.test(
  'what processes have used',
  { skip: process.platform === 'linux' ? false : 'needs /proc' },
  async (t) => {
    const before = cpuOf(process.pid);
    const end = performance.now() + 10_000;
    while (cpuOf(process.pid) - before < 50_000 && performance.now() < end);
    t.ok(cpuOf(process.pid) - before >= 50_000, 'work is counted');
    t.ok(memoryOf(process.pid) > 10e6, 'memory, too');
    t.equal(cpuOf(2 ** 30), 0, 'nobody has used nothing');
  },
);

const reason = noPackages();
const options = reason === undefined ? {} : { skip: reason };

t.test('the generator tells what went wrong', options, async (t) => {
  const sink = await fastSink(true);
  t.teardown(() => sink.stop());
  const said = await load({ port: sink.port, seconds: 1, connections: 2 });
  t.equal(said.messages, 0);
  t.ok(said.errors > 0);
  t.match(said.error, /^RCPT: answered 550 /);
  const mixed = await load({ port: sink.port, seconds: 1, connections: 2, refused: 100, messages: 2 });
  t.equal(mixed.errors, 0, mixed.error);
  t.equal(mixed.refused, mixed.sessions * 2, 'two attempts a session');
});

t.test('a tiny run', options, async (t) => {
  const subjects = SUBJECTS.filter(({ name }) => name === 'direct' || name === 'sekisho');
  const plan = { rounds: 1, seconds: 1, warmUp: 0.5, warmUps: 2 };
  for (const name of ['W1', 'W4']) {
    const measured = await runWorkload(workloadOf(name), subjects, plan, (text) => t.comment(text));
    t.same(measured.missing, []);
    t.same(
      measured.subjects.map((each) => each.name),
      ['direct', 'sekisho'],
    );
    for (const { name: subject, warmed, rounds } of measured.subjects) {
      const [only] = rounds;
      t.equal(only?.errors, 0, `${name} ${subject}: ${only?.error}`);
      t.ok((only?.rate ?? 0) > 0 && (only?.p99 ?? 0) > 0, `${name} ${subject} was used`);
      t.equal(only?.cpu === undefined, subject === 'direct');
      t.same(warmed, subject === 'direct' ? { seconds: 0.5, settled: true } : { seconds: 1, settled: false });
    }
  }
});

/** How the kernel gives CPU to a process: field 41 of its stat (proc(5)), a number of sched(7). */
const policyOf = (pid: number): number =>
  Number(
    readFileSync(`/proc/${pid}/stat`, 'utf8')
      .replace(/^.*\) /s, '')
      .split(' ')[38],
  );
const CAP_SYS_NICE = 23n;
const mayHold = (): boolean => {
  const effective = /^CapEff:\s*(\S+)/m.exec(readFileSync('/proc/self/status', 'utf8'))?.[1] ?? '0';
  return ((BigInt(`0x${effective}`) >> CAP_SYS_NICE) & 1n) === 1n;
};
const [SCHED_OTHER, SCHED_DEADLINE] = [0, 6];

t.test('two processes: what both use is counted, not what their supervisor uses', options, async (t) => {
  const sink = await fastSink(false);
  const running = await twoProcesses(sink.port);
  t.teardown(async () => {
    await running.stop();
    await sink.stop();
  });
  await eventually('both are there', () => familyOf(running.pid).length === 3);
  const before = cpuOf(running.pid);
  const said = await load({ port: running.port, seconds: 1 });
  t.equal(said.errors, 0, said.error);
  t.ok(cpuOf(running.pid) - before > said.messages * 30, 'more than 30 µs for each of the messages');
  if (!mayHold()) return void t.comment('nobody can be held without CAP_SYS_NICE');
  hold(running.pid, 0.3);
  const all = familyOf(running.pid).map((pid) => [pid, policyOf(pid)] as const);
  t.strictSame(
    all,
    all.map(([pid]) => [pid, pid === running.pid ? SCHED_OTHER : SCHED_DEADLINE]),
    'those that serve are held, and not their supervisor',
  );
  const held = await load({ port: running.port, seconds: 1 });
  t.equal(held.errors, 0, held.error);
});
