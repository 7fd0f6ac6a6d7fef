/**
 * Several processes as one service: started, watched, replaced when they end or hang, told of every change together, and
 * ended together. The sockets are held here, so that whatever becomes of a process no connection is refused.
 */
import type { Aggregator, Asked, Member } from '../../admin/aggregate.js';
import { isSnapshot } from '../../admin/snapshot.js';
import type { Note } from '../../base/events.js';
import type { Flags, Setup } from '../config.js';
import { type Read, readSetup } from '../read-setup.js';
import { fixed } from '../reload.js';
import { BEAT, type Contents, Faults, PROTOCOL, type Question } from './messages.js';
import { Pace } from './pace.js';
import { type Ready, type Socket, Worker } from './worker.js';

/** Milliseconds without a sign of life after which a process is ended, and those it may take to begin. */
export const HANG = 10_000;
export const START = 60_000;
/** Milliseconds that reading a changed setup may take, and those over the drain that an end may take. */
const PREPARE = 30_000;
const GRACE = 5_000;

/** A socket and the listener that it is for. */
export interface NamedSocket {
  readonly name: string;
  readonly socket: Socket;
}

export interface CrowdPorts {
  readonly note: Note;
  readonly aggregator: Aggregator;
  readonly decisions: (items: readonly unknown[], missed: number) => void;
  /** No process can serve any more. */
  readonly gaveUp: (why: string) => void;
}

/** What a process is in the crowd. */
interface Place {
  readonly worker: Worker;
  readonly member: Member;
  /** What it began with, or was told since. */
  files: Contents;
  /** One on trial is not replaced when it ends. */
  trial: boolean;
  told: string;
}

export class Crowd {
  readonly #flags: Flags;
  readonly #sockets: readonly NamedSocket[];
  readonly #secret: string;
  readonly #ports: CrowdPorts;
  readonly #places = new Set<Place>();
  readonly #pace = new Pace();
  #read: Read;
  #leader: Place | undefined;
  #watching = false;
  #ending = false;
  #begun = false;
  #ticker: NodeJS.Timeout | undefined;
  #lastTick = performance.now();
  readonly #awaited = new Set<NodeJS.Timeout>();

  constructor(flags: Flags, read: Read, sockets: readonly NamedSocket[], secret: Buffer, ports: CrowdPorts) {
    this.#flags = flags;
    this.#read = read;
    this.#sockets = sockets;
    this.#secret = secret.toString('base64');
    this.#ports = ports;
  }

  /** The first process alone, for what is wrong is then said once; then the others. Gives how the first began, or why none can. */
  async start(): Promise<Ready | { readonly why: string; readonly fault: boolean }> {
    this.#ticker = setInterval(() => this.#tick(), BEAT);
    for (;;) {
      const place = this.#launch(true);
      const ready = await place.worker.ready;
      if (ready !== undefined) {
        place.trial = false;
        this.#begun = true;
        await Promise.all(this.#fill().map(({ worker }) => worker.ready));
        return ready;
      }
      const { why, fault } = await place.worker.ended;
      if (this.#ending) return { why: 'it was ended', fault: false };
      if (fault !== undefined) return { why: fault, fault: true };
      const delay = this.#pace.ended(0);
      if (this.#pace.hopeless) return { why: `no process can serve: ${why}`, fault: false };
      await new Promise((resolve) => setTimeout(resolve, delay));
    }
  }

  get setup(): Setup {
    return this.#read.setup;
  }

  /** Those that serve and are to go on. */
  get workers(): readonly Worker[] {
    return this.#serving().map(({ worker }) => worker);
  }

  /** Those whose counts are not final. */
  get asked(): readonly Asked[] {
    return [...this.#places].map(({ worker, member }) => ({
      member,
      snapshot: async () => {
        const answer = await worker.ask({ what: 'metrics' }, HANG);
        if (!isSnapshot(answer)) throw new Error('no answer');
        return answer;
      },
    }));
  }

  /** What each process that serves answers; undefined where it did not within `patience` ms. */
  ask(question: Question, patience: number): Promise<readonly (readonly [Worker, unknown])[]> {
    return Promise.all(
      this.workers.map(async (worker) => [worker, await worker.ask(question, patience)] as const),
    );
  }

  /** Whether decisions are to be sent as they are made. */
  watch(on: boolean): void {
    this.#watching = on;
    for (const { worker } of this.#places) worker.send({ type: 'watch', on });
  }

  /** Puts a changed setup in force in all processes, or, if one of them refuses it, in none; gives what is wrong. */
  async reload(): Promise<readonly string[]> {
    const read = readSetup(this.#flags);
    if (!('setup' in read)) return read;
    const answers = await this.ask({ what: 'prepare', files: read.files }, PREPARE);
    // Who does not answer is replaced before long, by one that reads the same files.
    const faults = answers.flatMap(([, answer]) => Faults.safeParse(answer).data ?? []);
    if (faults.length > 0) return [...new Set(faults)];
    this.#read = read;
    const asked = this.#serving();
    for (const place of asked) place.files = read.files;
    await this.ask({ what: 'commit' }, PREPARE);
    return [];
  }

  /** Each process gives way to a new one, of the program and the configuration of this moment; gives why not all did. */
  async roll(): Promise<string | undefined> {
    const read = readSetup(this.#flags);
    if (!('setup' in read)) return read.join('; ');
    const before = this.#read;
    if (placesOf(read.setup) !== placesOf(before.setup))
      return 'listeners, admin or processes have changed, which only a restart can put in force';
    this.#read = read;
    for (const old of this.#serving()) {
      const place = this.#launch(true);
      if ((await place.worker.ready) === undefined) {
        if (this.#serving().every(({ files }) => files !== read.files)) this.#read = before;
        return (await place.worker.ended).why;
      }
      place.trial = false;
      this.#retire(old);
    }
    return undefined;
  }

  /** Nobody is taken in any more; what has begun may finish for up to `ms`. Resolves when all have ended. */
  async drain(ms: number): Promise<void> {
    this.#finish();
    for (const { worker } of this.#places) {
      worker.leaving = true;
      if (worker.serving) worker.send({ type: 'drain', ms });
      else worker.kill('it was not ready yet');
    }
    await this.#allEnded(ms + GRACE);
  }

  /** Ends all at once. */
  async stop(): Promise<void> {
    this.#finish();
    for (const { worker } of this.#places) {
      worker.leaving = true;
      worker.send({ type: 'stop' });
    }
    await this.#allEnded(GRACE);
  }

  async #allEnded(ms: number): Promise<void> {
    const timer = setTimeout(() => {
      for (const { worker } of this.#places) worker.kill('it did not end in time');
    }, ms);
    await Promise.all([...this.#places].map(({ worker }) => worker.ended));
    clearTimeout(timer);
  }

  #finish(): void {
    this.#ending = true;
    clearInterval(this.#ticker);
    for (const timer of this.#awaited) clearTimeout(timer);
    for (const { socket } of this.#sockets) if (typeof socket !== 'number') socket.close();
  }

  #serving(): readonly Place[] {
    return [...this.#places].filter(({ worker }) => worker.serving && !worker.leaving);
  }

  /** Starts as many as are wanting. */
  #fill(): readonly Place[] {
    const staying = [...this.#places].filter(({ worker }) => !worker.leaving).length;
    const wanting = this.#ending ? 0 : this.#read.setup.processes - staying - this.#awaited.size;
    return Array.from({ length: Math.max(0, wanting) }, () => this.#launch(false));
  }

  #launch(trial: boolean): Place {
    const taken = new Set([...this.#places].map(({ worker }) => worker.number));
    let number = 1;
    while (taken.has(number)) number += 1;
    const { aggregator, decisions } = this.#ports;
    const member = aggregator.join(String(number));
    const { files } = this.#read;
    const worker = new Worker(
      number,
      this.#sockets.map(({ socket }) => socket),
      {
        ...{ type: 'begin', protocol: PROTOCOL, process: number, files, secret: this.#secret },
        flags: this.#flags,
        sockets: this.#sockets.map(({ name }) => name),
      },
      {
        decisions,
        last: (snapshot) => {
          if (isSnapshot(snapshot)) member.report(member.ask(), snapshot);
        },
      },
    );
    const place: Place = { worker, member, files, trial, told: '' };
    this.#places.add(place);
    void worker.ready.then((ready) => (ready === undefined ? undefined : this.#begins(place)));
    void worker.ended.then((ended) => this.#ended(place, ended));
    return place;
  }

  #begins(place: Place): void {
    const { worker } = place;
    this.#ports.note({ type: 'process-started', process: worker.number, pid: worker.pid });
    // What has been put in force since it began to begin.
    if (place.files !== this.#read.files) void this.#catchUp(place);
    if (this.#watching) worker.send({ type: 'watch', on: true });
    this.#elect();
  }

  async #catchUp(place: Place): Promise<void> {
    const { files } = this.#read;
    place.files = files;
    await place.worker.ask({ what: 'prepare', files }, PREPARE);
    await place.worker.ask({ what: 'commit' }, PREPARE);
  }

  #ended(place: Place, { why, served }: { readonly why: string; readonly served: number }): void {
    const { worker, member, trial } = place;
    this.#places.delete(place);
    if (worker.leaving) member.left();
    else member.ended();
    if (this.#leader === place) this.#leader = undefined;
    const about = { process: worker.number, pid: worker.pid, expected: worker.leaving };
    this.#ports.note({ type: 'process-ended', ...about, why });
    if (this.#ending || worker.leaving || trial || !this.#begun) return;
    this.#elect();
    const delay = this.#pace.ended(served);
    if (this.#pace.hopeless && this.#serving().length === 0)
      return this.#ports.gaveUp(`no process can serve any more: ${why}`);
    const timer = setTimeout(() => {
      this.#awaited.delete(timer);
      this.#fill();
    }, delay);
    this.#awaited.add(timer);
  }

  /** One process reads logs and answers Whoson. */
  #elect(): void {
    if (this.#leader !== undefined && !this.#leader.worker.leaving) return;
    const [next] = this.#serving();
    this.#leader = next;
    next?.worker.send({ type: 'lead' });
  }

  #retire({ worker }: Place): void {
    const ms = this.#read.setup.drain;
    worker.leaving = true;
    worker.send({ type: 'retire', ms });
    this.#elect();
    const timer = setTimeout(() => worker.kill('it did not end in time'), 2 * ms + GRACE);
    void worker.ended.then(() => clearTimeout(timer));
  }

  #tick(): void {
    const now = performance.now();
    const late = now - this.#lastTick > 3 * BEAT;
    this.#lastTick = now;
    for (const { worker } of this.#places) {
      // Who slept itself has heard nobody.
      if (late) worker.heard = now;
      const patience = worker.serving ? HANG : START;
      if (now - worker.heard >= patience)
        worker.kill(`it gave no sign of life for ${patience / 1000} s, and was ended`);
    }
    this.#tellConnections();
  }

  /** Limits on connections at once hold for all processes together. */
  #tellConnections(): void {
    for (const place of this.#places) {
      let total = 0;
      const sums = new Map<string, number>();
      for (const { worker } of this.#places) {
        if (worker === place.worker) continue;
        total += worker.connections.total;
        for (const [address, count] of worker.connections.addresses)
          sums.set(address, (sums.get(address) ?? 0) + count);
      }
      const connections = { total, addresses: [...sums] };
      const told = JSON.stringify(connections);
      if (told === place.told) continue;
      place.told = told;
      place.worker.send({ type: 'elsewhere', connections });
    }
  }
}

/** What cannot change while the sockets are held. */
const placesOf = ({ proxy, mailProxies, admin, processes }: Setup): string =>
  JSON.stringify([
    [...proxy.listeners, ...mailProxies].map(({ name, host, port }) => [name, host, port]),
    ...[admin?.place, processes],
  ]);

/** A changed setup is in force only as far as a reload goes. */
export const goesBeyond = (before: Setup, after: Setup): boolean => fixed(before) !== fixed(after);
