/** One process as its supervisor sees it: from its start to its end, what it is asked, and when it was heard last. */
import { type ChildProcess, spawn } from 'node:child_process';
import type { BoundSocket } from '../../door/bound-socket.js';
import type { Listening } from '../../proxy/options.js';
import { type Connections, FromProcess, PROTOCOL, type Question, type ToProcess } from './messages.js';

/** A socket to listen on: one that the supervisor bound, or a descriptor that was handed to it. */
export type Socket = BoundSocket | number;

export interface Ready {
  readonly listening: readonly Listening[];
  readonly upstreams: string;
}

/** How a process ended. `fault`: it could not serve, and no other could. */
export interface Ended {
  readonly why: string;
  readonly fault: string | undefined;
  /** Milliseconds for which it served. */
  readonly served: number;
}

export interface WorkerPorts {
  readonly decisions: (items: readonly unknown[], missed: number) => void;
  /** What it counted, at its end. */
  readonly last: (snapshot: unknown) => void;
}

const launch = (sockets: readonly Socket[]): ChildProcess => {
  const [, script = ''] = process.argv;
  const fds = sockets.map((socket) => (typeof socket === 'number' ? socket : socket.fd));
  return spawn(process.execPath, [...process.execArgv, script, 'process'], {
    stdio: ['ignore', 'inherit', 'inherit', 'ipc', ...fds],
  });
};

const endedHow = (code: number | null, signal: NodeJS.Signals | null): string =>
  signal === null ? `exit code ${code ?? '?'}` : `killed by ${signal}`;

export class Worker {
  /** Resolves with how it begins; undefined: it ended before. */
  readonly ready: Promise<Ready | undefined>;
  readonly ended: Promise<Ended>;
  /** When it was heard last, by the monotonic clock, ms. */
  heard = performance.now();
  connections: Connections = { total: 0, addresses: [] };
  /** It was told to end. */
  leaving = false;
  serving = false;
  readonly #child: ChildProcess;
  readonly #ports: WorkerPorts;
  readonly #asked = new Map<number, (body: unknown) => void>();
  #readySince: number | undefined;
  #counter = 0;
  #fault: string | undefined;
  #killed: string | undefined;
  #resolveReady: (ready: Ready | undefined) => void = () => {};

  constructor(
    readonly number: number,
    sockets: readonly Socket[],
    begin: Extract<ToProcess, { type: 'begin' }>,
    ports: WorkerPorts,
  ) {
    this.#ports = ports;
    this.#child = launch(sockets);
    this.ready = new Promise((resolve) => {
      this.#resolveReady = resolve;
    });
    this.ended = new Promise((resolve) => {
      const end = (why: string): void => {
        this.#resolveReady(undefined);
        this.serving = false;
        for (const answer of this.#asked.values()) answer(undefined);
        const served = this.#readySince === undefined ? 0 : performance.now() - this.#readySince;
        resolve({ why: this.#killed ?? why, fault: this.#fault, served });
      };
      this.#child.once('exit', (code, signal) => end(this.#fault ?? endedHow(code, signal)));
      this.#child.once('error', (error) => end(error.message));
    });
    this.#child.on('message', (message) => this.#hear(message));
    this.send(begin);
  }

  get pid(): number {
    return this.#child.pid ?? 0;
  }

  /** One that has ended hears nothing. */
  send(message: ToProcess): void {
    if (this.#child.connected) this.#child.send(message, () => {});
  }

  /** Undefined: it did not answer within `patience` ms. */
  ask(question: Question, patience: number): Promise<unknown> {
    this.#counter += 1;
    const id = this.#counter;
    return new Promise((resolve) => {
      const answer = (body: unknown): void => {
        clearTimeout(timer);
        this.#asked.delete(id);
        resolve(body);
      };
      const timer = setTimeout(() => answer(undefined), patience);
      this.#asked.set(id, answer);
      this.send({ type: 'ask', id, question });
    });
  }

  /** Ends it at once, also one that hangs. */
  kill(why: string): void {
    this.#killed ??= why;
    this.#child.kill('SIGKILL');
  }

  #hear(message: unknown): void {
    this.heard = performance.now();
    const parsed = FromProcess.safeParse(message);
    if (!parsed.success) return;
    const said = parsed.data;
    switch (said.type) {
      case 'hello':
        if (said.protocol !== PROTOCOL)
          this.#fail('it is of another version than its supervisor: restart Sekisho as a whole');
        return;
      case 'ready':
        this.serving = true;
        this.#readySince = performance.now();
        return this.#resolveReady(said);
      case 'failed':
        this.#fault = said.why;
        return;
      case 'beat':
        this.connections = said.connections;
        return;
      case 'answer':
        return this.#asked.get(said.id)?.(said.body);
      case 'decisions':
        return this.#ports.decisions(said.items, said.missed);
      case 'last':
        return this.#ports.last(said.snapshot);
    }
  }

  #fail(why: string): void {
    this.#fault = why;
    this.kill(why);
  }
}
