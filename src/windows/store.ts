/**
 * State that must hold across sessions, processes and machines: windows, marks (suspended logins, bans, greylisting)
 * and counts (limits, failed logins). One interface; memory, LMDB and Redis implement it and pass one contract suite.
 *
 * Time comes in as `now`, milliseconds since 1970. Every method may reject with a `StoreError` when the store is
 * down or hangs past its own timeout, and with nothing else: the caller takes the fact for unknown.
 */
import type { SekishoEvent } from '../base/events.js';
import type { Opening, Window } from './window.js';

export class StoreError extends Error {
  override readonly name = 'StoreError';
  constructor(
    /** A word of a closed set, fit for a metric label. */
    readonly operation: StoreOperation,
    message: string,
  ) {
    super(message);
  }
}

/** What to note of a question to the store that failed; `who` asked it. Anything but a StoreError is a fault of ours. */
export const storeFault = (error: unknown, who: string): SekishoEvent =>
  error instanceof StoreError
    ? { type: 'store-error', operation: error.operation, why: error.message }
    : { type: 'internal-error', text: `${who}: ${String(error)}` };

export type StoreOperation = 'open' | 'lookup' | 'spend' | 'close' | 'list' | 'mark' | 'count' | 'connect';

/** What a mark may be about. */
export type MarkKind = 'suspended' | 'banned' | 'greylist' | 'seen';

export interface Mark {
  readonly key: string;
  /** At most 1,024 octets. */
  readonly value: string;
  /** Milliseconds since 1970; `Infinity`: until it is removed. */
  readonly until: number;
}

export interface Count {
  /** With what was just added. */
  readonly used: number;
  /** Milliseconds until the period ends and the count begins anew. */
  readonly resetIn: number;
}

export interface StateStore {
  /** For the log, such as `lmdb /var/lib/sekisho`. */
  readonly name: string;

  /**
   * Opens a window, or renews the one of the same key and login: `since` and `used` stay as they were, `until` becomes
   * the later one, source and address the newer. When the key already has `most` windows of other logins, nothing is
   * changed and `full` comes back.
   */
  open(window: Window, most: number, now: number): Promise<Opening>;
  /** The windows of a key that are open, the one that lasts longest first. */
  lookup(key: string, now: number): Promise<readonly Window[]>;
  /**
   * Takes `amount` recipients from the budget of a window, if they are there. False: there are not so many left (then
   * nothing is taken), or the window is closed.
   */
  spend(key: string, login: string, amount: number, now: number): Promise<boolean>;
  /** Closes the windows that match all that is given; says how many there were. */
  close(which: { readonly key?: string; readonly login?: string }, now: number): Promise<number>;
  /** All open windows in no certain order, at most `limit`. */
  list(limit: number, now: number): Promise<readonly Window[]>;
  /** How many are open; may be a little behind. */
  size(now: number): Promise<number>;

  /** Sets or replaces a mark. */
  mark(kind: MarkKind, mark: Mark, now: number): Promise<void>;
  /** Sets a mark if there is none, in one step; otherwise the one that is there comes back and nothing is changed. */
  markOnce(kind: MarkKind, mark: Mark, now: number): Promise<Mark | undefined>;
  marked(kind: MarkKind, key: string, now: number): Promise<Mark | undefined>;
  /** True if there was one. */
  unmark(kind: MarkKind, key: string, now: number): Promise<boolean>;
  marks(kind: MarkKind, limit: number, now: number): Promise<readonly Mark[]>;

  /**
   * Adds `amount` (0: only looks) to a count that begins anew `period` ms after its first addition. Built on
   * rate-limiter-flexible where the library has such a store (not LMDB). Periods run on the store's real clock, whatever `now` says.
   */
  count(key: string, amount: number, period: number, now: number): Promise<Count>;
  /** The count begins anew with its next addition. */
  uncount(key: string): Promise<void>;

  /** The store answers. */
  ping(): Promise<void>;
  dispose(): Promise<void>;
}
