/**
 * One truthful answer for the processes of a machine. How snapshots travel is not known here: whoever has the processes
 * gives a function that asks one.
 *
 * Counters and histograms never go backwards: what a process had counted when it was last heard is kept after it has ended,
 * and an answer that comes late, after a newer one or after the end, changes nothing. A process that hangs does not fail
 * a scrape: its last snapshot stands for it, and `sekisho_process_up` says so.
 */
import type { Family, Merge, Sample, Snapshot } from './snapshot.js';

export const PROCESS_UP = 'sekisho_process_up';
const PROCESS_UP_HELP =
  'By process: 1 if it answered this scrape, 0 if it did not (what it said last stands for it) or has ended.';

const cumulative = ({ type }: Family): boolean => type !== 'gauge';

const keyOf = ({ name, labels }: Sample): string =>
  JSON.stringify([name, Object.entries(labels).sort(([a], [b]) => (a < b ? -1 : 1))]);

/** Samples of one name and labels, on the way to one value. */
interface Sum {
  readonly sample: Sample;
  value: number;
  count: number;
}

const add = (sum: Sum, value: number, merge: Merge): void => {
  sum.count += 1;
  if (merge === 'min') sum.value = Math.min(sum.value, value);
  else if (merge === 'max') sum.value = Math.max(sum.value, value);
  else if (merge !== 'first') sum.value += value;
};

const mergeSamples = (families: readonly Family[], merge: Merge): Sample[] => {
  const sums = new Map<string, Sum>();
  for (const sample of families.flatMap(({ samples }) => samples)) {
    const key = keyOf(sample);
    const sum = sums.get(key);
    if (sum === undefined) sums.set(key, { sample, value: sample.value, count: 1 });
    else add(sum, sample.value, merge);
  }
  return [...sums.values()].map(({ sample, value, count }) => ({
    ...sample,
    value: merge === 'average' ? value / count : value,
  }));
};

/** One snapshot of several: counters, histograms and summaries summed, gauges as each says. Order is that of the first. */
export const mergeSnapshots = (snapshots: readonly Snapshot[]): Snapshot => {
  const byName = new Map<string, Family[]>();
  for (const family of snapshots.flat()) {
    const same = byName.get(family.name);
    if (same === undefined) byName.set(family.name, [family]);
    else same.push(family);
  }
  return [...byName.values()].flatMap((families) => {
    const [first] = families;
    if (first === undefined) return [];
    const merge = cumulative(first) ? 'sum' : first.merge;
    return merge === 'omit' ? [] : [{ ...first, samples: mergeSamples(families, merge) }];
  });
};

/** A process from its start to its end. */
export interface Member {
  /** To be asked before the process is: answers are compared by it, so that a late one does no harm. */
  ask(): number;
  /** The answer to the request of that number. */
  report(request: number, snapshot: Snapshot): void;
  /** The process has ended: what it counted stays, what it showed at the moment is gone. */
  ended(): void;
  /** It has ended because it was to: nobody misses it, and it is not shown as down. */
  left(): void;
}

interface Slot {
  asked: number;
  /** Of the last snapshot. */
  answered: number;
  last: Snapshot;
  alive: boolean;
}

/** Remembers what each process said last, and what those counted that are no more. */
export class Aggregator {
  readonly #slots = new Map<string, Slot>();
  #retained: Snapshot = [];

  /**
   * A process begins. `name` is of a small set, such as the number of its place: it is a label. Another one of that
   * name has ended.
   */
  join(name: string): Member {
    this.#end(this.#slots.get(name));
    const slot: Slot = { asked: 0, answered: 0, last: [], alive: true };
    this.#slots.set(name, slot);
    return {
      ask: () => {
        slot.asked += 1;
        return slot.asked;
      },
      report: (request, snapshot) => {
        if (!slot.alive || request <= slot.answered || request > slot.asked) return;
        slot.answered = request;
        slot.last = snapshot;
      },
      ended: () => this.#end(slot),
      left: () => {
        this.#end(slot);
        if (this.#slots.get(name) === slot) this.#slots.delete(name);
      },
    };
  }

  /** The processes of this moment as one, with those that have ended in the counters. */
  merged(): Snapshot {
    const slots = [...this.#slots];
    const up: Family = {
      name: PROCESS_UP,
      help: PROCESS_UP_HELP,
      type: 'gauge',
      merge: 'max',
      samples: slots.map(([process, { alive, asked, answered }]) => ({
        name: PROCESS_UP,
        labels: { process },
        value: Number(alive && asked === answered),
      })),
    };
    const living = slots.filter(([, { alive }]) => alive).map(([, { last }]) => last);
    return [...mergeSnapshots([...living, this.#retained]), up];
  }

  #end(slot: Slot | undefined): void {
    if (slot?.alive !== true) return;
    slot.alive = false;
    this.#retained = mergeSnapshots([this.#retained, slot.last.filter(cumulative)]);
    slot.last = [];
  }
}

/** A process that can be asked. */
export interface Asked {
  readonly member: Member;
  /** Its metrics; may reject, and need never answer. */
  snapshot(): Promise<Snapshot>;
}

/** Asks all at once, waits no longer than `patience` ms for the slowest, and gives what there is. */
export const gather = async (
  aggregator: Aggregator,
  processes: readonly Asked[],
  patience: number,
): Promise<Snapshot> => {
  let timer: NodeJS.Timeout | undefined;
  const late = new Promise<void>((resolve) => {
    timer = setTimeout(resolve, patience);
  });
  const answers = processes.map(async (process) => {
    const request = process.member.ask();
    try {
      process.member.report(request, await process.snapshot());
    } catch {
      // It is as good as hung, and is shown so.
    }
  });
  await Promise.race([Promise.all(answers), late]);
  clearTimeout(timer);
  return aggregator.merged();
};
