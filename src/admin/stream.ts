/**
 * Decisions to whoever listens, as server-sent events. A listener has a bounded queue (see feed.ts) and one batch
 * on its way; one that takes nothing for a while is dropped. Mail never waits for any of them.
 */
import type { OutgoingHttpHeaders, ServerResponse } from 'node:http';
import type { Decision, DecisionTest } from './decisions.js';
import { type DecisionSource, type FeedBatch, FeedItem } from './feed.js';

export interface StreamLimits {
  readonly listeners: number;
  /** Milliseconds in which a listener must have taken what was sent. */
  readonly patience: number;
  /** Milliseconds between signs of life. */
  readonly heartbeat: number;
}

export const DEFAULT_STREAM_LIMITS: StreamLimits = { listeners: 256, patience: 30_000, heartbeat: 15_000 };

const frame = (event: string, json: string, id?: number): string =>
  `${id === undefined ? '' : `id: ${id}\n`}event: ${event}\ndata: ${json}\n\n`;

const frames = ({ items, missed }: FeedBatch): string => {
  const lost = missed > 0 ? frame('missed', JSON.stringify({ count: missed })) : '';
  // A reply speaks of an earlier decision: its id is not how far the listener has come.
  return (
    lost +
    items.map((each) => frame(each.kind, each.json, each.kind === 'decision' ? each.id : undefined)).join('')
  );
};

/** True when all is out, false when the listener is gone or too slow. */
const drained = (response: ServerResponse, patience: number): Promise<boolean> =>
  new Promise((resolve) => {
    const end = (taken: boolean) => (): void => {
      clearTimeout(timer);
      response.off('drain', onDrain);
      response.off('close', onClose);
      resolve(taken);
    };
    const onDrain = end(true);
    const onClose = end(false);
    const timer = setTimeout(end(false), patience);
    response.once('drain', onDrain);
    response.once('close', onClose);
  });

export class DecisionStreams {
  readonly #decisions: DecisionSource;
  readonly #limits: StreamLimits;
  readonly #listening = new Set<ServerResponse>();

  constructor(decisions: DecisionSource, limits: StreamLimits = DEFAULT_STREAM_LIMITS) {
    this.#decisions = decisions;
    this.#limits = limits;
  }

  get count(): number {
    return this.#listening.size;
  }

  get full(): boolean {
    return this.count >= this.#limits.listeners;
  }

  /** Serves one listener to its end. `after`: begins with the decisions kept whose id is higher. */
  async serve(
    response: ServerResponse,
    headers: OutgoingHttpHeaders,
    test: DecisionTest,
    after: number | undefined,
  ): Promise<void> {
    this.#listening.add(response);
    const feed = this.#decisions.subscribe(test);
    response.once('close', () => feed.close());
    response.on('error', () => feed.close());
    const heartbeat = setInterval(() => {
      if (!response.writableNeedDrain) response.write(': alive\n\n');
    }, this.#limits.heartbeat);
    try {
      response.writeHead(200, {
        ...headers,
        'content-type': 'text/event-stream; charset=utf-8',
        'x-accel-buffering': 'no',
        connection: 'close',
      });
      response.write(`retry: 3000\n\n${after === undefined ? '' : await this.#kept(test, after)}`);
      for await (const batch of feed) {
        if (response.write(frames(batch))) continue;
        if (!(await drained(response, this.#limits.patience))) break;
      }
    } finally {
      clearInterval(heartbeat);
      feed.close();
      this.#listening.delete(response);
      this.#end(response);
    }
  }

  /** Sends everybody away; they come again by themselves. */
  close(): void {
    this.#decisions.close();
  }

  async #kept(test: DecisionTest, after: number): Promise<string> {
    const newer = (each: Decision): boolean => each.id > after && test(each);
    const items = [...(await this.#decisions.list(Number.POSITIVE_INFINITY, newer))].reverse();
    return frames({ items: items.map((each) => new FeedItem('decision', each)), missed: 0 });
  }

  #end(response: ServerResponse): void {
    // What a slow listener has not taken it will not get.
    if (response.writableNeedDrain || response.destroyed) response.destroy();
    else response.end(frame('end', '{}'));
  }
}
