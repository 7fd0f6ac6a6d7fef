/**
 * One coarse ticker for all deadlines: a timer for each socket would cost more than the sockets do.
 * Whoever has a deadline is ticked once a second, so a deadline is kept to the second.
 */

import { monotonic } from '../base/clock.js';
import { REPLIES, type Reply } from '../smtp/reply.js';
import type { Timeouts } from './options.js';

/** The deadline that a client missed while commands are awaited of it; `begun`: when each of them began to run. */
export const overdue = (
  now: number,
  begun: Readonly<Record<'command' | 'idle' | 'session', number>>,
  timeouts: Pick<Timeouts, 'command' | 'idle' | 'session'>,
  inTransaction: boolean,
): Reply | undefined => {
  if (now - begun.command >= timeouts.command) return REPLIES.commandTimeout;
  if (now - begun.idle >= timeouts.idle) return REPLIES.idleTimeout;
  return !inTransaction && now - begun.session >= timeouts.session ? REPLIES.sessionTimeout : undefined;
};

/** Something with deadlines of its own. */
export interface Ticked {
  /** `now` in milliseconds of the monotonic clock. */
  tick(now: number): void;
}

export class Deadlines {
  readonly #all = new Set<Ticked>();
  #timer: NodeJS.Timeout | undefined;
  readonly #interval: number;

  /** @param interval milliseconds between ticks */
  constructor(interval = 1_000) {
    this.#interval = interval;
  }

  add(ticked: Ticked): void {
    this.#all.add(ticked);
    this.#timer ??= setInterval(() => this.#tick(), this.#interval).unref();
  }

  delete(ticked: Ticked): void {
    this.#all.delete(ticked);
  }

  get size(): number {
    return this.#all.size;
  }

  stop(): void {
    clearInterval(this.#timer);
    this.#timer = undefined;
  }

  #tick(): void {
    const now = monotonic();
    for (const ticked of this.#all) ticked.tick(now);
  }
}
