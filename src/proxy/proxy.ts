/** The proxy as a whole: listeners in front, upstreams behind, one policy in force. */

import type net from 'node:net';
import type { TLSSocket } from 'node:tls';
import { Admission, type Connections } from '../base/admission.js';
import type { Ip } from '../base/ip.js';
import type { SessionSnapshot, UpstreamSnapshot } from '../base/snapshot.js';
import { shutDown } from '../door/drain.js';
import type { Policy } from '../policy/compile.js';
import { Deadlines } from './deadlines.js';
import { type DeviceRule, Devices } from './devices.js';
import { Listener } from './listener.js';
import type { Listening, ProxyOptions } from './options.js';
import type { PoolFigures } from './pool.js';
import { Service } from './service.js';
import type { Expiry, TlsFloor, TlsMaterial } from './tls.js';

/** How long the start waits for the upstreams' greetings, ms; Sekisho starts without them if it must. */
const FIRST_PROBE = 3_000;

export class SmtpProxy {
  readonly #options: ProxyOptions;
  readonly #deadlines = new Deadlines();
  readonly #service: Service;
  readonly #listeners: readonly Listener[];
  readonly #admission: Admission;

  constructor(options: ProxyOptions) {
    this.#options = options;
    this.#service = new Service(options, this.#deadlines);
    this.#admission = new Admission(options.limits);
    this.#listeners = options.listeners.map((each) => new Listener(this.#service, each, this.#admission));
  }

  /** Looks at the upstreams, then listens. Rejects with an error fit for people when a socket cannot be bound. */
  async start(): Promise<readonly Listening[]> {
    if (this.#options.listeners.some(({ spool }) => spool === true)) await this.#service.spool.check();
    await this.#service.upstreams.probe(FIRST_PROBE);
    try {
      const listening: Listening[] = [];
      for (const listener of this.#listeners) listening.push(...(await listener.listen()));
      return listening;
    } catch (error) {
      await this.stop();
      throw error;
    }
  }

  /** All that is to listen does. */
  get open(): boolean {
    return this.#listeners.every(({ listening }) => listening.length > 0);
  }

  /** Puts another policy in force; a transaction that has begun keeps the one with which it began. */
  setPolicy(policy: Policy, observe: boolean): void {
    this.#service.law = { policy, observe };
  }

  /** One of the site's own networks, by the policy in force or by `strangers.exempt`. */
  knows(ip: Ip): boolean {
    return this.#service.strangers.knows(ip);
  }

  /** Puts other certificates in force, from the next handshake on. */
  setCertificates(materials: readonly TlsMaterial[], clientCa?: string): void {
    this.#service.tls.replace(materials, clientCa);
  }

  /** TLS towards clients of other protocols, by the same certificates. */
  secure(socket: net.Socket, tlsFloor: TlsFloor, done: () => void): TLSSocket {
    return this.#service.tls.wrap(socket, { tls: 'implicit', tlsFloor, clientCerts: 'none' }, () => done());
  }

  /** Puts other exemptions for devices in force, for sessions that begin from now on. */
  setDevices(rules: readonly DeviceRule[]): void {
    this.#service.devices = new Devices(rules);
  }

  /** Until when the certificates in force are good. */
  get expiries(): readonly Expiry[] {
    return this.#service.tls.expiries();
  }

  /** Client sessions at present. */
  get sessions(): number {
    return this.#service.sessions.size;
  }

  /** At most `limit` of the sessions that `fits` wants, the oldest first. */
  snapshots(limit: number, fits?: (session: SessionSnapshot) => boolean): readonly SessionSnapshot[] {
    const found: SessionSnapshot[] = [];
    for (const session of this.#service.sessions) {
      if (found.length >= limit) break;
      const snapshot = session.snapshot();
      if (fits === undefined || fits(snapshot)) found.push(snapshot);
    }
    return found;
  }

  /** The sockets on which clients are taken in; none before the start and while it drains. */
  get listening(): readonly Listening[] {
    return this.#listeners.flatMap((listener) => listener.listening);
  }

  /** The upstreams, in order of preference. */
  get upstreams(): readonly UpstreamSnapshot[] {
    return this.#service.upstreams.pools.map((pool) => pool.snapshot);
  }

  /** Takes an upstream out of service for new transactions, or puts it back. False: there is none of that name. */
  drainUpstream(name: string, draining: boolean): boolean {
    const pool = this.#service.upstreams.pools.find(({ options }) => options.name === name);
    pool?.drain(draining);
    return pool !== undefined;
  }

  /** The upstream connections at present, by upstream. */
  get figures(): ReadonlyMap<string, PoolFigures> {
    return new Map(this.#service.upstreams.pools.map((pool) => [pool.options.name, pool.figures]));
  }

  /** Connections at present, and the addresses that have a `share`th part of what they may or more. */
  connections(share: number): Connections {
    return this.#admission.present(share);
  }

  /** Counts for the limits what other processes have, too. */
  elsewhere(connections: Connections): void {
    this.#admission.elsewhere(connections);
  }

  /** Takes no more connections; those that are here already go on as ever. Resolves when the last of them has ended. */
  async rest(): Promise<void> {
    await Promise.all(this.#listeners.map((listener) => listener.rest()));
  }

  /** Takes no more connections, lets transactions finish for up to `ms`, then stops. */
  async drain(ms: number): Promise<void> {
    const { sessions, note } = this.#service;
    note({ type: 'drain', sessions: sessions.size, seconds: ms / 1000 });
    for (const listener of this.#listeners) listener.close();
    const onEmpty = (done: () => void): void => {
      this.#service.onEmpty = done;
    };
    await shutDown(sessions, onEmpty, ms);
    await this.stop();
  }

  /** Ends everything at once. A message in mid-air is not acknowledged, and the MTA discards it. */
  async stop(): Promise<void> {
    for (const listener of this.#listeners) listener.close();
    const sessions = [...this.#service.sessions];
    for (const session of sessions) session.abort();
    this.#service.upstreams.stop();
    this.#deadlines.stop();
    await this.#options.authenticator?.close();
    this.#options.note({ type: 'stopped', sessions: sessions.length });
  }
}
