/** Decisions of this process to its supervisor, while somebody there listens to them. */
import type { Decisions } from '../../admin/decisions.js';
import type { Feed } from '../../admin/feed.js';

/**
 * What may wait, and how many a second: what one listener wants to see of all is chosen at the other end, so that more
 * than anybody reads has to get there.
 */
const TAP = { bound: 1_024, most: 500 };

export class DecisionTap {
  readonly #decisions: Decisions | undefined;
  readonly #send: (items: unknown[], missed: number) => void;
  #feed: Feed | undefined;

  constructor(decisions: Decisions | undefined, send: (items: unknown[], missed: number) => void) {
    this.#decisions = decisions;
    this.#send = send;
  }

  open(): void {
    if (this.#feed !== undefined || this.#decisions === undefined) return;
    this.#feed = this.#decisions.subscribe(() => true, TAP);
    void this.#pour(this.#feed);
  }

  close(): void {
    this.#feed?.close();
    this.#feed = undefined;
  }

  async #pour(feed: Feed): Promise<void> {
    for await (const { items, missed } of feed)
      this.#send(
        items.map(({ kind, body }) => ({ kind, body })),
        missed,
      );
  }
}
