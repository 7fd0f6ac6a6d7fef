/** The decisions of several processes as one stream, for whoever listens at the endpoint of all. */
import type { Decision, DecisionTest } from '../../admin/decisions.js';
import { DEFAULT_FEED, type DecisionSource, Feed, FeedItem, once } from '../../admin/feed.js';

/** Decisions whose reply may still come. */
const AWAITED = 4_096;

const isRecord = (value: unknown): value is Record<string, unknown> =>
  typeof value === 'object' && value !== null;

/** For what came from a process: the fields by which a listener chooses. */
export const isDecision = (value: unknown): value is Decision =>
  isRecord(value) &&
  typeof value.id === 'number' &&
  (typeof value.time === 'number' || typeof value.time === 'string') &&
  typeof value.client === 'string' &&
  typeof value.from === 'string' &&
  typeof value.to === 'string' &&
  Array.isArray(value.shadows);

type ReplyBody = Extract<FeedItem['body'], { code: number }>;
const isReply = (value: unknown): value is ReplyBody =>
  isRecord(value) && typeof value.id === 'number' && typeof value.code === 'number';

export class LiveDecisions implements DecisionSource {
  readonly #feeds = new Set<Feed>();
  readonly #awaited = new Map<number, Decision>();
  readonly #watch: (on: boolean) => void;
  readonly #kept: () => Promise<readonly Decision[]>;

  /** `watch`: whether the processes are to send theirs; `kept`: all that they remember, the newest first. */
  constructor(watch: (on: boolean) => void, kept: () => Promise<readonly Decision[]>) {
    this.#watch = watch;
    this.#kept = kept;
  }

  async list(limit: number, test: DecisionTest): Promise<readonly Decision[]> {
    return (await this.#kept()).filter(test).slice(0, limit);
  }

  subscribe(test: DecisionTest): Feed {
    const feed = new Feed(test, DEFAULT_FEED, (closed) => {
      this.#feeds.delete(closed);
      if (this.#feeds.size === 0) this.#watch(false);
    });
    if (this.#feeds.size === 0) this.#watch(true);
    this.#feeds.add(feed);
    return feed;
  }

  close(): void {
    for (const feed of this.#feeds) feed.close();
  }

  /** From one process. */
  hear(items: readonly unknown[], missed: number): void {
    for (const feed of this.#feeds) feed.miss(missed);
    for (const item of items) {
      if (!isRecord(item)) continue;
      if (item.kind === 'decision' && isDecision(item.body)) this.#decided(item.body);
      if (item.kind === 'reply' && isReply(item.body)) this.#replied(item.body);
    }
  }

  #decided(decision: Decision): void {
    const [oldest] = this.#awaited.keys();
    if (this.#awaited.size >= AWAITED && oldest !== undefined) this.#awaited.delete(oldest);
    this.#awaited.set(decision.id, decision);
    const item = once(() => new FeedItem('decision', decision));
    for (const feed of this.#feeds) if (feed.test(decision)) feed.decided(decision, item);
  }

  #replied(reply: ReplyBody): void {
    const decision = this.#awaited.get(reply.id);
    if (decision === undefined) return;
    this.#awaited.delete(reply.id);
    const item = once(() => new FeedItem('reply', reply));
    for (const feed of this.#feeds) if (feed.test(decision)) feed.replied(reply.id, item);
  }
}
