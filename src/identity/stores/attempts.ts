/** The guard of a store that asks another server: each attempt has a deadline, and `close` breaks off all of them. */
import type { Outcome, Proof } from '../credentials.js';
import { Deadline } from './deadline.js';
import { Guard } from './guard.js';

export interface AttemptOptions {
  /** Milliseconds for one attempt, the connecting included. */
  readonly timeout: number;
  /** Attempts at once, from 1. */
  readonly maxAttempts: number;
}

export const DEFAULT_ATTEMPTS: AttemptOptions = { timeout: 10_000, maxAttempts: 100 };

type Unavailable = Extract<Outcome, { kind: 'unavailable' }>;

export class Attempts {
  readonly #guard: Guard;
  readonly #timeout: number;
  readonly #closing = new AbortController();

  constructor(name: string, { timeout, maxAttempts }: AttemptOptions) {
    this.#guard = new Guard(name, maxAttempts);
    this.#timeout = timeout;
  }

  get closed(): boolean {
    return this.#guard.closed;
  }

  /** Judges a proof by `work`, whose every wait must end with the signal. What it throws becomes `unavailable`. */
  judge(proof: Proof, work: (signal: AbortSignal) => Promise<Outcome>): Promise<Outcome> {
    return this.#guard.judge(proof, () => this.within(work));
  }

  /** The same for what is no proof: one step of an exchange. */
  run<T>(work: (signal: AbortSignal) => Promise<T>): Promise<T | Unavailable> {
    return this.#guard.run(() => this.within(work));
  }

  /** The same deadline for what is no attempt, such as making a connection for all of them. Rejects. */
  within<T>(work: (signal: AbortSignal) => Promise<T>): Promise<T> {
    return Deadline.over(this.#timeout, this.#closing.signal, ({ signal }) => work(signal));
  }

  async close(): Promise<void> {
    const closed = this.#guard.close();
    this.#closing.abort(new Error('it is being closed'));
    await closed;
  }
}
