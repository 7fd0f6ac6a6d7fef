/** A time by which something has to be done, as an AbortSignal that other signals and close() can end too. */
import { setMaxListeners } from 'node:events';

const reasonOf = (signal: AbortSignal): Error =>
  signal.reason instanceof Error ? signal.reason : new Error('stopped');

export class Deadline {
  readonly signal: AbortSignal;
  readonly #controller = new AbortController();
  readonly #end: number;
  readonly #timer: NodeJS.Timeout;
  readonly #parent: AbortSignal;
  readonly #follow = (): void => this.#controller.abort(reasonOf(this.#parent));

  /** `time`: milliseconds from now. It ends earlier, and for its parent's reason, when the parent does. */
  constructor(time: number, parent: AbortSignal) {
    this.signal = this.#controller.signal;
    // Any number of attempts may wait for one signal.
    setMaxListeners(0, this.signal, parent);
    this.#end = performance.now() + time;
    this.#timer = setTimeout(
      () => this.#controller.abort(new Error(`no answer within ${Math.ceil(time)} ms`)),
      time,
    );
    this.#parent = parent;
    if (parent.aborted) this.#follow();
    else parent.addEventListener('abort', this.#follow);
  }

  /** Milliseconds, from 0. */
  get left(): number {
    return Math.max(0, this.#end - performance.now());
  }

  /** To be called whatever came of it. */
  clear(): void {
    clearTimeout(this.#timer);
    this.#parent.removeEventListener('abort', this.#follow);
  }

  /** Gives `work` a deadline and clears it afterwards. `work` has to heed the signal. */
  static async over<T>(
    time: number,
    parent: AbortSignal,
    work: (deadline: Deadline) => Promise<T>,
  ): Promise<T> {
    const deadline = new Deadline(time, parent);
    try {
      return await work(deadline);
    } finally {
      deadline.clear();
    }
  }
}

/** What `promise` brings, unless the signal ends first. */
export const orAborted = async <T>(signal: AbortSignal, promise: Promise<T>): Promise<T> => {
  let stop = (): void => {};
  const aborted = new Promise<never>((_, reject) => {
    stop = () => reject(reasonOf(signal));
  });
  if (signal.aborted) stop();
  else signal.addEventListener('abort', stop);
  try {
    return await Promise.race([aborted, promise]);
  } finally {
    signal.removeEventListener('abort', stop);
  }
};

/** Resolves after `time` ms, or rejects when the signal ends. */
export const pause = async (time: number, signal: AbortSignal): Promise<void> => {
  let timer: NodeJS.Timeout | undefined;
  try {
    await orAborted(
      signal,
      new Promise<void>((resolve) => {
        timer = setTimeout(resolve, time);
      }),
    );
  } finally {
    clearTimeout(timer);
  }
};
