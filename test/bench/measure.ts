/** One measurement: the generator runs against a subject, and what everybody used is read before and after. */
import { type LoadOptions, load, stay } from './generator.js';
import { DESCRIPTORS, type Running } from './peers/running.js';
import { cpuOf, memoryOf } from './procfs.js';
import type { Figures } from './results.js';
import { unitsOf, type Workload } from './workloads.js';

export interface Pair {
  readonly sink: Running;
  /** Undefined: the generator talks to the sink itself. */
  readonly subject: Running | undefined;
  /** What the generator is told for this subject alone. */
  readonly own: LoadOptions;
}

const cpus = ({ sink, subject }: Pair): { sink: number; subject: number } => ({
  sink: cpuOf(sink.pid),
  subject: subject === undefined ? 0 : cpuOf(subject.pid),
});

export const measure = async (workload: Workload, pair: Pair, seconds: number): Promise<Figures> => {
  const { sink, subject } = pair;
  const port = (subject ?? sink).port;
  const end = workload.beside === undefined ? undefined : await stay({ ...workload.beside, port });
  const before = cpus(pair);
  const said = await load({ ...workload.load, ...pair.own, port, seconds });
  const after = cpus(pair);
  const beside = await end?.();
  sink.tidy?.();
  const units = Math.max(1, unitsOf(workload, said));
  return {
    rate: units / said.seconds,
    ...(subject === undefined
      ? {}
      : { cpu: (after.subject - before.subject) / units, memory: memoryOf(subject.pid) }),
    sinkCpu: (after.sink - before.sink) / units,
    generatorCpu: said.cpu / units,
    generatorBusy: said.cpu / (said.seconds * 1e6),
    p50: said.p50,
    p99: said.p99,
    errors: said.errors + (beside?.errors ?? 0),
    error: said.error || (beside?.error ?? ''),
  };
};

/** How many can be idle here: whoever stands in between needs two descriptors for each. */
const idleAt = (wanted: number): number => Math.min(wanted, Math.floor((DESCRIPTORS - 1_000) / 200) * 100);

/** Octets of memory an idle session, in `memory`. */
export const measureIdle = async (workload: Workload, pair: Pair): Promise<Figures> => {
  const { sink, subject = sink } = pair;
  const before = { memory: memoryOf(subject.pid), cpu: cpuOf(subject.pid), sink: cpuOf(sink.pid) };
  const count = idleAt(Number(workload.load.idle));
  const end = await stay({ idle: count, port: subject.port });
  await new Promise((resolve) => setTimeout(resolve, 500));
  const memory = (memoryOf(subject.pid) - before.memory) / count;
  const said = await end();
  return {
    rate: count / said.seconds,
    cpu: (cpuOf(subject.pid) - before.cpu) / count,
    memory,
    sinkCpu: (cpuOf(sink.pid) - before.sink) / count,
    generatorCpu: said.cpu / count,
    generatorBusy: said.cpu / (said.seconds * 1e6),
    p50: 0,
    p99: 0,
    errors: said.errors + count - said.sessions,
    error: said.error,
  };
};
