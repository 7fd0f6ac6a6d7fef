/**
 * What one listener of the live view hears. Of more decisions than anybody can read it gets a part, and is told how much
 * more there was: ten open pages must not cost more than the mail that they tell of.
 */
import type { Decision, DecisionTest, Reply } from './decisions.js';

export interface FeedOptions {
  /** What may wait; past it the oldest are lost and counted. */
  readonly bound: number;
  /** The listener is woken at most so often, ms. */
  readonly pace: number;
  /** Decisions a second, after a burst of `bound`; the rest is counted. Infinity: all. */
  readonly most: number;
}

/** For a person who reads. */
export const DEFAULT_FEED: FeedOptions = { bound: 256, pace: 250, most: 20 };

/** Of decisions that a listener got, so many may wait for their reply. */
const OPEN = 1_024;

/** Made when it is first wanted, and then the same for all listeners. */
export const once = <T>(make: () => T): (() => T) => {
  let made: T | undefined;
  return () => {
    made ??= make();
    return made;
  };
};

/** One thing to tell a listener; its JSON is made once for all of them. */
export class FeedItem {
  #json: string | undefined;

  constructor(
    /** `reply`: what became of an earlier decision, by its id. */
    readonly kind: 'decision' | 'reply',
    readonly body: Decision | ({ readonly id: number } & Reply),
  ) {}

  get id(): number {
    return this.body.id;
  }

  get json(): string {
    const { body } = this;
    this.#json ??= JSON.stringify(
      'time' in body ? { ...body, time: new Date(body.time).toISOString() } : body,
    );
    return this.#json;
  }
}

/** Where decisions come from: this process, or several. */
export interface DecisionSource {
  list(limit: number, test: DecisionTest): readonly Decision[] | Promise<readonly Decision[]>;
  subscribe(test: DecisionTest): Feed;
  close(): void;
}

export interface FeedBatch {
  readonly items: readonly FeedItem[];
  /** How many were lost because there were too many, or the listener was slow. */
  readonly missed: number;
}

/** What one listener hears: batches, until it is closed. Ends by itself when nobody awaits it and it is closed. */
export class Feed implements AsyncIterable<FeedBatch> {
  #queue: FeedItem[] = [];
  #missed = 0;
  #closed = false;
  #wake: (() => void) | undefined;
  #timer: NodeJS.Timeout | undefined;
  /** How many decisions it may get just now, and since when that is so. */
  #left: number;
  #since = performance.now();
  /** What it got without a reply. */
  readonly #open = new Set<number>();

  constructor(
    readonly test: DecisionTest,
    readonly options: FeedOptions,
    private readonly onClose: (feed: Feed) => void,
  ) {
    this.#left = options.most === Number.POSITIVE_INFINITY ? options.most : options.bound;
  }

  /** Takes a decision that passes its test, or counts it as missed. */
  decided({ id, reply }: Decision, item: () => FeedItem): void {
    if (this.#closed) return;
    if (this.#left < 1) this.#refill();
    if (this.#left < 1) {
      this.#missed += 1;
      this.#soon();
      return;
    }
    this.#left -= 1;
    if (reply === undefined) this.#await(id);
    this.#push(item());
  }

  /** So many were lost before they came here. */
  miss(count: number): void {
    if (this.#closed || count === 0) return;
    this.#missed += count;
    this.#soon();
  }

  /** Takes the reply to a decision, if it got that one. */
  replied(id: number, item: () => FeedItem): void {
    if (!this.#closed && this.#open.delete(id)) this.#push(item());
  }

  #await(id: number): void {
    const [oldest] = this.#open;
    if (this.#open.size >= OPEN && oldest !== undefined) this.#open.delete(oldest);
    this.#open.add(id);
  }

  #refill(): void {
    const { bound, most } = this.options;
    const now = performance.now();
    this.#left = Math.min(bound, this.#left + ((now - this.#since) * most) / 1_000);
    this.#since = now;
  }

  #push(item: FeedItem): void {
    this.#queue.push(item);
    if (this.#queue.length > this.options.bound) {
      this.#queue.shift();
      this.#missed += 1;
    }
    this.#soon();
  }

  #soon(): void {
    if (this.#wake !== undefined) this.#timer ??= setTimeout(() => this.#ring(), this.options.pace);
  }

  close(): void {
    if (this.#closed) return;
    this.#closed = true;
    this.#queue = [];
    this.onClose(this);
    this.#ring();
  }

  async *[Symbol.asyncIterator](): AsyncGenerator<FeedBatch> {
    try {
      while (!this.#closed) {
        if (this.#queue.length === 0 && this.#missed === 0)
          await new Promise<void>((resolve) => {
            this.#wake = resolve;
          });
        const items = this.#queue;
        const missed = this.#missed;
        this.#queue = [];
        this.#missed = 0;
        if (items.length > 0 || missed > 0) yield { items, missed };
      }
    } finally {
      this.close();
    }
  }

  #ring(): void {
    clearTimeout(this.#timer);
    this.#timer = undefined;
    const wake = this.#wake;
    this.#wake = undefined;
    wake?.();
  }
}
