/** Parts of what the server knows, fetched while somebody looks at them. */
import { type Failure, failureOf } from './api.js';

export class Slice<T> {
  value: T | undefined;
  failure: Failure | undefined;
  /** When the value came, ms since 1970. */
  at = 0;
  readonly #listeners = new Set<() => void>();
  #busy: Promise<void> | undefined;
  #again = false;
  #next = 0;

  constructor(
    private readonly load: () => Promise<T>,
    /** Milliseconds between two looks. */
    readonly every: number,
  ) {
    slices.push(this as Slice<unknown>);
  }

  /** Calls `changed` now and whenever something has come, until the returned function is called. */
  listen(changed: () => void): () => void {
    this.#listeners.add(changed);
    if (this.value !== undefined || this.failure !== undefined) changed();
    if (Date.now() >= this.#next) void this.refresh();
    return () => this.#listeners.delete(changed);
  }

  /** Fetches now; once more if it is being fetched already, for that may have been before a change. */
  refresh(): Promise<void> {
    if (this.#busy !== undefined) {
      this.#again = true;
      return this.#busy;
    }
    this.#busy = this.#fetch().finally(() => {
      this.#busy = undefined;
      if (!this.#again) return undefined;
      this.#again = false;
      return this.refresh();
    });
    return this.#busy;
  }

  get watched(): boolean {
    return this.#listeners.size > 0;
  }

  get due(): boolean {
    return this.watched && Date.now() >= this.#next;
  }

  async #fetch(): Promise<void> {
    this.#next = Date.now() + this.every;
    try {
      this.value = await this.load();
      this.at = Date.now();
      this.failure = undefined;
    } catch (error) {
      this.failure = failureOf(error);
    }
    for (const listener of this.#listeners) listener();
  }
}

const slices: Slice<unknown>[] = [];

/** Fetches what is due as long as the page can be seen; all that is watched at once when it comes back. */
export const startPolling = (): void => {
  setInterval(() => {
    if (document.hidden) return;
    for (const slice of slices) if (slice.due) void slice.refresh();
  }, 500);
};

/** Everything anew, as after a new token. */
export const refreshAll = (): void => {
  for (const slice of slices) if (slice.watched) void slice.refresh();
};
