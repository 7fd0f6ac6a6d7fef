/** `sekisho serve --processes N`: the process that starts the others, and is the one that a person or a service manager talks to. */
import { randomBytes } from 'node:crypto';
import { Aggregator } from '../../admin/aggregate.js';
import type { LastReload } from '../../admin/house.js';
import { createMetrics } from '../../admin/metrics.js';
import { fanOut, type Note } from '../../base/events.js';
import { BoundSocket } from '../../door/bound-socket.js';
import type { Descriptors, Listening } from '../../proxy/options.js';
import type { Flags, Setup } from '../config.js';
import { expiryWarnings, watchExpiry } from '../config-tls.js';
import { createLog } from '../log.js';
import type { Read } from '../read-setup.js';
import { BEYOND, FileWatch, policyName } from '../reload.js';
import { runSelfTest } from '../self-test.js';
import { ServiceStatus } from '../service-status.js';
import { VERSION } from '../version.js';
import { Crowd, goesBeyond, type NamedSocket } from './crowd.js';
import { FleetEndpoint } from './endpoint.js';
import { LiveDecisions } from './live-decisions.js';

/** Sockets for all listeners: those that were handed over, and the others bound here. An error is fit for people. */
const bindAll = ({ proxy, mailProxies }: Setup, handed: Descriptors): readonly NamedSocket[] | string => {
  const sockets: NamedSocket[] = [];
  for (const { name, host, port } of [...proxy.listeners, ...mailProxies]) {
    const given = handed.get(name);
    if (given !== undefined) {
      sockets.push(...given.map((socket) => ({ name, socket })));
      continue;
    }
    const bound = BoundSocket.bind(host, port);
    if (!bound.ok) {
      for (const { socket } of sockets) if (typeof socket !== 'number') socket.close();
      return bound.error;
    }
    sockets.push({ name, socket: bound.value });
  }
  return sockets;
};

export interface Supervised {
  readonly processes: number;
  readonly listening: readonly Listening[];
  readonly upstreams: string;
  readonly adminAt: string | undefined;
}

/** Why it cannot serve; `fault`: what it was told is wrong, and no restart mends it. */
export interface CannotServe {
  readonly why: string;
  readonly fault: boolean;
}

export class Supervisor {
  readonly #flags: Flags;
  readonly #crowd: Crowd;
  readonly #watch: FileWatch;
  readonly note: Note;
  /** For the service manager. */
  readonly status = new ServiceStatus();
  #first: Setup;
  #endpoint: FleetEndpoint | undefined;
  #last: LastReload | undefined;
  /** Reloads and replacements come one after the other. */
  #turn: Promise<unknown> = Promise.resolve();
  #ending = false;
  /** Called when no process can serve any more. */
  onGaveUp: (why: string) => void = () => {};

  private constructor(flags: Flags, read: Read, sockets: readonly NamedSocket[]) {
    const { setup } = read;
    this.#flags = flags;
    this.#first = setup;
    const metrics = createMetrics({ version: VERSION, listeners: [], upstreams: [], connections: 0 });
    const subscribers = [createLog(setup.log.format, setup.log.level), metrics.note, this.status.note];
    this.note = fanOut(subscribers, (error) =>
      process.stderr.write(`sekisho: a subscriber failed: ${String(error)}\n`),
    );
    const aggregator = new Aggregator();
    const live: LiveDecisions = new LiveDecisions(
      (on) => this.#crowd.watch(on),
      () => FleetEndpoint.kept(this.#crowd),
    );
    this.#crowd = new Crowd(flags, read, sockets, randomBytes(32), {
      ...{ note: this.note, aggregator },
      decisions: (items, missed) => live.hear(items, missed),
      gaveUp: (why) => this.onGaveUp(why),
    });
    this.#watch = new FileWatch(() => void this.reload());
    if (setup.admin !== undefined)
      this.#endpoint = new FleetEndpoint(setup.admin, {
        ...{ crowd: this.#crowd, aggregator, live, metrics, note: this.note },
        lastReload: () => this.#last,
        reload: () => this.reload(),
      });
  }

  /** Binds the sockets, save those that somebody else has bound (`handed`). An error is fit for people. */
  static of(flags: Flags, read: Read, handed: Descriptors): Supervisor | string {
    const sockets = bindAll(read.setup, handed);
    return typeof sockets === 'string' ? sockets : new Supervisor(flags, read, sockets);
  }

  /** Starts the processes. Whoever calls then calls `stop` where it cannot serve. */
  async start(): Promise<Supervised | CannotServe> {
    const ready = await this.#crowd.start();
    if ('why' in ready) return ready;
    const { setup } = this.#crowd;
    let adminAt: string | undefined;
    try {
      adminAt = await this.#endpoint?.start();
    } catch (error) {
      return { why: error instanceof Error ? error.message : String(error), fault: true };
    }
    for (const each of ready.listening) this.note({ type: 'listening', ...each });
    watchExpiry(() => this.#crowd.setup.proxy.tls, this.note);
    this.#selfTest();
    if (setup.proxy.observe)
      this.note({ type: 'warning', text: 'observing only: everything passes, an open relay stays open' });
    this.#watch.set(setup.files);
    const { listening, upstreams } = ready;
    return { processes: setup.processes, listening, upstreams, adminAt };
  }

  /** Reads everything anew, for all; gives what is wrong, and then the old policy stays in force in all of them. */
  reload(): Promise<readonly string[]> {
    return this.#inTurn(async () => {
      const faults = await this.#crowd.reload();
      this.#last = { at: Date.now(), ok: faults.length === 0, faults };
      this.#tell(faults);
      return faults;
    });
  }

  #tell(faults: readonly string[]): void {
    const policy = policyName(this.#flags);
    if (faults.length > 0) return this.note({ type: 'reload', ok: false, reason: faults.join('; '), policy });
    const { setup } = this.#crowd;
    this.#watch.set(setup.files);
    this.#endpoint?.apply(setup);
    for (const text of expiryWarnings(setup.proxy.tls, Date.now())) this.note({ type: 'warning', text });
    this.note({ type: 'reload', ok: true, policy });
    if (goesBeyond(this.#first, setup)) this.note({ type: 'warning', text: BEYOND });
    this.#selfTest();
  }

  /** Replaces each process by a new one. */
  async roll(): Promise<void> {
    await this.#inTurn(async () => {
      const why = await this.#crowd.roll();
      const { setup } = this.#crowd;
      if (why === undefined) {
        this.#first = setup;
        this.#watch.set(setup.files);
        this.#endpoint?.apply(setup);
        this.#selfTest();
      }
      const text =
        why === undefined ? 'every process has been replaced' : `not every process has been replaced: ${why}`;
      this.note({ type: 'warning', text });
    });
  }

  /** The second time, or where nothing is to be awaited: `stop`. */
  async drain(): Promise<void> {
    this.#ending = true;
    this.#watch.stop();
    await this.#crowd.drain(this.#crowd.setup.drain);
    await this.#endpoint?.stop();
  }

  async stop(): Promise<void> {
    this.#ending = true;
    this.#watch.stop();
    await Promise.all([this.#crowd.stop(), this.#endpoint?.stop()]);
  }

  /** Connections to all processes, as they told last. */
  get connections(): number {
    return this.#crowd.workers.reduce((sum, { connections }) => sum + connections.total, 0);
  }

  /** How many processes serve. */
  get serving(): number {
    return this.#crowd.workers.length;
  }

  get ending(): boolean {
    return this.#ending;
  }

  #selfTest(): void {
    const { proxy } = this.#crowd.setup;
    runSelfTest(proxy.policy, proxy, this.note);
  }

  #inTurn<T>(work: () => Promise<T>): Promise<T> {
    const done = this.#turn.then(work, work);
    this.#turn = done.catch(() => undefined);
    return done;
  }
}
