/**
 * All metrics of a process at one moment, as plain data: what is rendered for a scrape, and what a worker hands to
 * the process that answers for all of them. It survives JSON: there is no Infinity and no NaN in it.
 */
import type { Registry } from 'prom-client';

export type FamilyType = 'counter' | 'gauge' | 'histogram' | 'summary';

/** How a gauge of several processes becomes one. Counters and histograms are always summed. */
export type Merge = 'sum' | 'min' | 'max' | 'average' | 'first' | 'omit';

export interface Sample {
  /** With the suffix that a histogram's parts have. */
  readonly name: string;
  readonly labels: Readonly<Record<string, string>>;
  readonly value: number;
}

export interface Family {
  readonly name: string;
  readonly help: string;
  readonly type: FamilyType;
  readonly merge: Merge;
  readonly samples: readonly Sample[];
}

export type Snapshot = readonly Family[];

const TYPES: readonly string[] = ['counter', 'gauge', 'histogram', 'summary'] satisfies FamilyType[];
const MERGES: readonly string[] = ['sum', 'min', 'max', 'average', 'first', 'omit'] satisfies Merge[];
const isType = (text: unknown): text is FamilyType => TYPES.includes(String(text));
const isMerge = (text: unknown): text is Merge => MERGES.includes(String(text));
const isRecord = (value: unknown): value is Record<string, unknown> =>
  typeof value === 'object' && value !== null && !Array.isArray(value);

const isSample = (value: unknown): value is Sample =>
  isRecord(value) &&
  typeof value.name === 'string' &&
  typeof value.value === 'number' &&
  isRecord(value.labels) &&
  Object.values(value.labels).every((text) => typeof text === 'string');

const isFamily = (value: unknown): value is Family =>
  isRecord(value) &&
  typeof value.name === 'string' &&
  typeof value.help === 'string' &&
  isType(value.type) &&
  isMerge(value.merge) &&
  Array.isArray(value.samples) &&
  value.samples.every(isSample);

/** For what came from another process. */
export const isSnapshot = (value: unknown): value is Snapshot =>
  Array.isArray(value) && value.every(isFamily);

/** What a metric of prom-client says of itself; its own types call the kind a number, which it is not. */
interface Told {
  readonly help: string;
  readonly type: unknown;
  readonly aggregator: unknown;
  readonly values: readonly {
    readonly value: number;
    readonly labels: Readonly<Record<string, string | number | undefined>>;
    readonly metricName?: string;
  }[];
}

const familyOf = (name: string, { help, type, aggregator, values }: Told): Family => ({
  name,
  help,
  type: isType(type) ? type : 'gauge',
  merge: isMerge(aggregator) ? aggregator : 'sum',
  samples: values
    .filter(({ value }) => Number.isFinite(value))
    .map(({ metricName, labels, value }) => ({
      name: metricName ?? name,
      labels: Object.fromEntries(Object.entries(labels).map(([key, text]) => [key, String(text ?? '')])),
      value,
    })),
});

/** Milliseconds of work on a scrape after which the mail has its turn. */
const SLICE = 2;

/** Gives way to whatever waits once a slice of time is used up. */
export class Slices {
  #since = performance.now();

  /** True if it is time; await `turn()` then. */
  get spent(): boolean {
    return performance.now() - this.#since >= SLICE;
  }

  async turn(): Promise<void> {
    await new Promise<void>((resolve) => setImmediate(resolve));
    this.#since = performance.now();
  }
}

/** Reads all metrics of a registry, in slices. */
export const takeSnapshot = async (registry: Registry): Promise<Snapshot> => {
  const slices = new Slices();
  const families: Family[] = [];
  for (const { name } of registry.getMetricsAsArray()) {
    const told = await registry.getSingleMetric(name)?.get();
    if (told !== undefined) families.push(familyOf(name, told));
    if (slices.spent) await slices.turn();
  }
  return families;
};
