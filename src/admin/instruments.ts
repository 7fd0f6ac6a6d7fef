/**
 * Counters and histograms for the mail path. They are prom-client's to the outside; counting itself is an addition to
 * a number that the caller keeps at hand: prom-client's own cached children cost some 130 to 270 ns each time, and a message
 * is twenty times.
 */
import { Counter, Histogram, type Registry } from 'prom-client';

/** A count with its labels. */
export class Cell {
  value = 0;
  constructor(readonly labels: Readonly<Record<string, string>>) {}
}

/** Series of one metric; what comes past it is counted under `other`, so that no mistake can fill a database. */
export const MOST_SERIES = 2_000;
const OTHER = 'other';

type Key = string | number;

interface Level<T> {
  readonly deeper: Map<Key, Level<T>>;
  leaf: T | undefined;
}

const level = <T>(): Level<T> => ({ deeper: new Map(), leaf: undefined });

/** One `T` for each combination of label values; a look-up allocates nothing. */
class Children<T> {
  readonly #names: readonly string[];
  readonly #make: (labels: Record<string, string>) => T;
  readonly #root: Level<T> = level();
  readonly all: T[] = [];

  constructor(names: readonly string[], make: (labels: Record<string, string>) => T) {
    this.#names = names;
    this.#make = make;
  }

  find(a?: Key, b?: Key, c?: Key): T {
    let at: Level<T> | undefined = this.#root;
    if (a !== undefined) at = at.deeper.get(a);
    if (b !== undefined) at = at?.deeper.get(b);
    if (c !== undefined) at = at?.deeper.get(c);
    return at?.leaf ?? this.#add([a, b, c].filter((each) => each !== undefined));
  }

  #add(given: readonly Key[]): T {
    const keys = this.all.length < MOST_SERIES ? given : this.#names.map(() => OTHER);
    let at = this.#root;
    for (const key of keys) {
      const next = at.deeper.get(key) ?? level<T>();
      at.deeper.set(key, next);
      at = next;
    }
    if (at.leaf !== undefined) return at.leaf;
    at.leaf = this.#make(Object.fromEntries(this.#names.map((name, i) => [name, String(keys[i])])));
    this.all.push(at.leaf);
    return at.leaf;
  }
}

export interface Description {
  readonly name: string;
  readonly help: string;
  readonly labelNames?: readonly string[];
}

/** A counter of cells. */
export class CellCounter extends Counter {
  readonly #children: Children<Cell>;

  constructor({ name, help, labelNames = [] }: Description, registry: Registry) {
    super({ name, help, labelNames, registers: [registry] });
    this.#children = new Children(labelNames, (labels) => new Cell(labels));
    if (labelNames.length === 0) this.#children.find();
  }

  /** The count for these label values, in the order of the metric's labels. */
  cell(a?: Key, b?: Key, c?: Key): Cell {
    return this.#children.find(a, b, c);
  }

  override async get(): ReturnType<Counter['get']> {
    const values = this.#children.all.map(({ labels, value }) => ({ labels, value }));
    return { ...(await super.get()), values };
  }
}

/** From a millisecond, a reply of Sekisho's own, to ten minutes, RFC 5321's longest wait. Seconds. */
export const SMTP_BUCKETS: readonly number[] = [
  ...[0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5],
  ...[1, 2.5, 5, 10, 30, 60, 120, 300, 600],
];

/** One histogram series: how many observations fell between two bounds. */
export class Tally {
  /** The last: above all bounds. */
  readonly counts = new Float64Array(SMTP_BUCKETS.length + 1);
  sum = 0;

  constructor(readonly labels: Readonly<Record<string, string>>) {}

  observe(seconds: number): void {
    let i = 0;
    while (i < SMTP_BUCKETS.length && seconds > (SMTP_BUCKETS[i] ?? 0)) i += 1;
    this.counts[i] = (this.counts[i] ?? 0) + 1;
    this.sum += seconds;
  }
}

/** A histogram of tallies with the bounds of `SMTP_BUCKETS`. */
export class TallyHistogram extends Histogram {
  readonly #name: string;
  readonly #children: Children<Tally>;

  constructor({ name, help, labelNames = [] }: Description, registry: Registry) {
    super({ name, help, labelNames, buckets: [...SMTP_BUCKETS], registers: [registry] });
    this.#name = name;
    this.#children = new Children(labelNames, (labels) => new Tally(labels));
    if (labelNames.length === 0) this.#children.find();
  }

  tally(a?: Key): Tally {
    return this.#children.find(a);
  }

  override async get(): ReturnType<Histogram['get']> {
    const values = this.#children.all.flatMap((tally) => this.#valuesOf(tally));
    return { ...(await super.get()), values };
  }

  #valuesOf({ labels, counts, sum }: Tally) {
    let below = 0;
    const buckets = [...SMTP_BUCKETS, '+Inf'].map((le, i) => {
      below += counts[i] ?? 0;
      return { metricName: `${this.#name}_bucket`, labels: { ...labels, le: String(le) }, value: below };
    });
    return [
      ...buckets,
      { metricName: `${this.#name}_sum`, labels, value: sum },
      { metricName: `${this.#name}_count`, labels, value: below },
    ];
  }
}
