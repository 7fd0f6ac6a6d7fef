/** The proxy as a whole: listeners in front, upstreams behind, one policy in force. */
import type { Policy } from '../policy/compile.js';
import { Deadlines } from './deadlines.js';
import { Admission, Listener } from './listener.js';
import type { Listening, ProxyOptions } from './options.js';
import type { PoolFigures } from './pool.js';
import { Service } from './service.js';
import type { TlsMaterial } from './tls.js';

/** How long the start waits for the upstreams' greetings, ms; Sekisho starts without them if it must. */
const FIRST_PROBE = 3_000;

export class SmtpProxy {
  readonly #options: ProxyOptions;
  readonly #deadlines = new Deadlines();
  readonly #service: Service;
  readonly #listeners: readonly Listener[];

  constructor(options: ProxyOptions) {
    this.#options = options;
    this.#service = new Service(options, this.#deadlines);
    const admission = new Admission(options.limits);
    this.#listeners = options.listeners.map((each) => new Listener(this.#service, each, admission));
  }

  /** Looks at the upstreams, then listens. Rejects with an error fit for people when a socket cannot be bound. */
  async start(): Promise<readonly Listening[]> {
    await this.#service.upstreams.probe(FIRST_PROBE);
    try {
      const listening: Listening[] = [];
      for (const listener of this.#listeners) listening.push(await listener.listen());
      return listening;
    } catch (error) {
      await this.stop();
      throw error;
    }
  }

  /** Puts another policy in force; a transaction that has begun keeps the one with which it began. */
  setPolicy(policy: Policy, observe: boolean): void {
    this.#service.law = { policy, observe };
  }

  /** Puts other certificates in force, from the next handshake on. */
  setCertificates(materials: readonly TlsMaterial[]): void {
    this.#service.tls.replace(materials);
  }

  /** Client sessions at present. */
  get sessions(): number {
    return this.#service.sessions.size;
  }

  /** The upstream connections at present, by upstream. */
  get figures(): ReadonlyMap<string, PoolFigures> {
    return new Map(this.#service.upstreams.pools.map((pool) => [pool.options.name, pool.figures]));
  }

  /** Takes no more connections, lets transactions finish for up to `ms`, then stops. */
  async drain(ms: number): Promise<void> {
    const { sessions, note } = this.#service;
    note({ type: 'drain', sessions: sessions.size, seconds: ms / 1000 });
    for (const listener of this.#listeners) listener.close();
    const empty = new Promise<void>((resolve) => {
      this.#service.onEmpty = resolve;
    });
    for (const session of [...sessions]) session.shutdown();
    if (sessions.size > 0) {
      let timer: NodeJS.Timeout | undefined;
      const late = new Promise<void>((resolve) => {
        timer = setTimeout(resolve, ms);
      });
      await Promise.race([empty, late]);
      clearTimeout(timer);
    }
    await this.stop();
  }

  /** Ends everything at once. A message in mid-air is not acknowledged, and the MTA discards it. */
  async stop(): Promise<void> {
    for (const listener of this.#listeners) listener.close();
    const sessions = [...this.#service.sessions];
    for (const session of sessions) session.abort();
    this.#service.upstreams.stop();
    this.#deadlines.stop();
    this.#options.note({ type: 'stopped', sessions: sessions.length });
  }
}
