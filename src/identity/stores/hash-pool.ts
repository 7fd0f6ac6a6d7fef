/** Threads that hash, so that the event loop never does. They start when they are needed and do not keep the process alive. */
import { Worker } from 'node:worker_threads';
import type { HashAnswer, HashJob } from './hash-worker.js';

export interface PoolOptions {
  /** Threads at most. Argon2id takes memory in each. */
  readonly threads: number;
  /** Jobs that may wait for a thread. */
  readonly waiting: number;
  /** Milliseconds from the call to the answer. */
  readonly timeout: number;
}

interface Job extends HashJob {
  readonly done: (answer: boolean | Error) => void;
  timer: NodeJS.Timeout | undefined;
}

/** Compiled, always: where the sources run as they are (in tests), threads cannot load them. */
const WORKER = new URL(
  import.meta.url.endsWith('.ts') ? '../../../dist/identity/stores/hash-worker.js' : './hash-worker.js',
  import.meta.url,
);

export class HashPool {
  readonly #options: PoolOptions;
  readonly #idle: Worker[] = [];
  /** Each busy thread with its job. */
  readonly #busy = new Map<Worker, Job>();
  readonly #queue: Job[] = [];
  #closed = false;

  constructor(options: PoolOptions) {
    this.#options = options;
  }

  /** Whether the password fits the field. Rejects when there is no room, no time, no memory, or no pool any more. */
  check(field: string, password: string): Promise<boolean> {
    return new Promise((resolve, reject) => {
      if (this.#closed) return reject(new Error('closed'));
      if (this.#queue.length >= this.#options.waiting && !this.#hasRoom)
        return reject(new Error('busy: too many passwords wait to be hashed'));
      const job: Job = {
        field,
        password,
        done: (answer) => {
          clearTimeout(job.timer);
          if (answer instanceof Error) reject(answer);
          else resolve(answer);
        },
        timer: undefined,
      };
      job.timer = setTimeout(() => this.#late(job), this.#options.timeout);
      this.#queue.push(job);
      this.#next();
    });
  }

  /** Ends all threads; jobs in hand are rejected. */
  async close(): Promise<void> {
    this.#closed = true;
    for (const job of this.#queue.splice(0)) job.done(new Error('closed'));
    const workers = [...this.#idle.splice(0), ...this.#busy.keys()];
    for (const job of this.#busy.values()) job.done(new Error('closed'));
    this.#busy.clear();
    await Promise.all(workers.map((worker) => worker.terminate()));
  }

  get #hasRoom(): boolean {
    return this.#idle.length > 0 || this.#busy.size < this.#options.threads;
  }

  #next(): void {
    while (this.#queue.length > 0 && this.#hasRoom) {
      const job = this.#queue.shift();
      if (job === undefined) return;
      const worker = this.#idle.pop() ?? this.#start();
      this.#busy.set(worker, job);
      worker.ref();
      worker.postMessage({ field: job.field, password: job.password } satisfies HashJob);
    }
  }

  #start(): Worker {
    const worker = new Worker(WORKER, { name: 'sekisho-hash', stdin: false, stdout: false, stderr: false });
    worker.on('message', (answer: HashAnswer) => {
      const job = this.#busy.get(worker);
      if (job === undefined) return;
      this.#busy.delete(worker);
      worker.unref();
      this.#idle.push(worker);
      job.done(answer ?? new Error('the hash could not be computed (not enough memory?)'));
      this.#next();
    });
    // An error is followed by `exit`, which does the rest.
    worker.on('error', ({ message }) =>
      this.#busy.get(worker)?.done(new Error(`the hashing thread failed: ${message}`)),
    );
    worker.on('exit', () => this.#gone(worker));
    return worker;
  }

  /** A thread ended, by itself or by us. */
  #gone(worker: Worker): void {
    const index = this.#idle.indexOf(worker);
    if (index >= 0) this.#idle.splice(index, 1);
    this.#busy.get(worker)?.done(new Error('the hashing thread ended'));
    this.#busy.delete(worker);
    if (!this.#closed) this.#next();
  }

  /** Out of time: waiting, it is dropped; being hashed, its thread is ended, for nothing else stops a hash. */
  #late(job: Job): void {
    job.done(new Error(`no answer within ${this.#options.timeout} ms`));
    const index = this.#queue.indexOf(job);
    if (index >= 0) this.#queue.splice(index, 1);
    for (const [worker, other] of this.#busy) if (other === job) void worker.terminate();
  }
}
