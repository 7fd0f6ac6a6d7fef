/** A workload in interleaved rounds: in each, every subject once, so that what disturbs one disturbs its peers. */
import { hold } from './hold.js';
import { measure, measureIdle, type Pair } from './measure.js';
import type { Subject } from './peers/subjects.js';
import { SINKS } from './peers/subjects.js';
import type { Figures, WorkloadResult } from './results.js';
import { type Warmed, warm } from './warming.js';
import type { Workload } from './workloads.js';

export interface Plan {
  readonly rounds: number;
  /** Of each measurement. */
  readonly seconds: number;
  /** Seconds of each run before the first round, and how many such runs a subject gets at most; see warming.ts. */
  readonly warmUp: number;
  readonly warmUps: number;
}

const reasonOf = (error: unknown): string => (error instanceof Error ? error.message : String(error));

export const runWorkload = async (
  workload: Workload,
  subjects: readonly Subject[],
  plan: Plan,
  tell: (text: string) => void,
): Promise<WorkloadResult> => {
  const idle = workload.unit === 'idle session';
  const sink = await SINKS[workload.sink](workload.refuses === true);
  const running: { name: string; pair: Pair; warmed: Warmed | undefined; rounds: Figures[] }[] = [];
  const missing: WorkloadResult['missing'] = [];
  try {
    for (const subject of subjects) {
      try {
        const pair: Pair = { sink, subject: await subject.start?.(sink.port), own: subject.load ?? {} };
        const one: (typeof running)[number] = { name: subject.name, pair, warmed: undefined, rounds: [] };
        running.push(one);
        if (!idle && plan.warmUps > 0) {
          const once = async () => (await measure(workload, pair, plan.warmUp)).cpu;
          one.warmed = await warm(once, plan.warmUp, plan.warmUps);
          const still = one.warmed.settled ? '' : ', and its CPU a unit was still falling';
          tell(`${workload.name} ${subject.name}: used for ${one.warmed.seconds} s beforehand${still}`);
        }
        if (workload.held !== undefined && pair.subject !== undefined) hold(pair.subject.pid, workload.held);
      } catch (error) {
        // What cannot be prepared as it should be is not measured as it should not be.
        if (running.at(-1)?.name === subject.name) await running.pop()?.pair.subject?.stop();
        missing.push({ name: subject.name, reason: reasonOf(error) });
        tell(`${workload.name} ${subject.name}: cannot be had: ${reasonOf(error)}`);
      }
    }
    // Memory is no matter of chance.
    const rounds = idle ? 1 : plan.rounds;
    for (let round = 0; round < rounds; round += 1) {
      // Nobody is always the first after a pause, or the one behind the heaviest.
      const order = running.map((_, i) => running[(i + round) % running.length]);
      for (const one of order) {
        if (one === undefined) continue;
        const figures = idle
          ? await measureIdle(workload, one.pair)
          : await measure(workload, one.pair, plan.seconds);
        one.rounds.push(figures);
        const cpu = figures.cpu === undefined ? '' : `, ${figures.cpu.toFixed(1)} µs of CPU each`;
        const bad = figures.errors === 0 ? '' : `, ${figures.errors} errors (${figures.error})`;
        tell(`${workload.name} round ${round + 1} ${one.name}: ${figures.rate.toFixed(0)}/s${cpu}${bad}`);
      }
    }
  } finally {
    for (const { pair } of running) await pair.subject?.stop();
    await sink.stop();
  }
  const { name, title, unit } = workload;
  return {
    ...{ name, title, unit, missing },
    subjects: running.map(({ name: subject, warmed, rounds }) => ({ name: subject, warmed, rounds })),
  };
};
