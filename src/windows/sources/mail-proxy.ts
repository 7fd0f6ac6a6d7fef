/**
 * The POP3 and IMAP proxy as a whole: it stands in front of a server that exists already, watches until that server says
 * that a login succeeded, opens a window for whoever it was, and from then on only moves octets.
 */

import type net from 'node:net';
import type { TLSSocket } from 'node:tls';
import { Admission } from '../../base/admission.js';
import { monotonic } from '../../base/clock.js';
import type { Peer } from '../../base/events.js';
import { Door, type Refusal } from '../../door/door.js';
import { shutDown } from '../../door/drain.js';
import type { Client } from '../../door/preamble.js';
import { sessionIds } from '../../door/session-ids.js';
import type { MailPorts, MailProxyOptions } from './mail-options.js';
import { farewell, MailSession } from './mail-session.js';

/** A socket that is listening. */
export interface MailListening {
  readonly listener: string;
  readonly address: string;
  readonly port: number;
}

/** Milliseconds between looks at the deadlines. */
const TICK = 1_000;

const REFUSALS: Readonly<Record<Refusal['reason'], string>> = {
  total: 'too many connections, try again later',
  descriptors: 'too many connections, try again later',
  'per-address': 'too many connections from you',
  banned: 'your address is banned for a while',
  quota: 'too much for now, try again later',
  shutdown: 'shutting down, try again later',
  'proxy-header': 'try again later',
  destination: 'no service here',
};

const PROTOCOLS = { pop3: 'POP3', imap: 'IMAP' } as const;

/** What all listeners share. */
interface House {
  readonly ports: MailPorts;
  readonly sessions: Set<MailSession>;
  nextId(): string;
  onEmpty: () => void;
}

class MailListener {
  readonly #house: House;
  readonly #options: MailProxyOptions;
  readonly #door: Door<TLSSocket>;

  constructor(house: House, options: MailProxyOptions) {
    this.#house = house;
    this.#options = options;
    const { name, host, port, tls, tlsFloor, protocol, limits, timeouts, proxyFrom } = options;
    const { note, wrap, screen } = house.ports;
    const { tlsHandshake, proxyHeader } = timeouts;
    const proxy = proxyFrom && { from: proxyFrom, timeout: proxyHeader };
    const descriptors = house.ports.descriptors?.get(name);
    const implicitTls = tls === 'implicit';
    const what = { name, host, port, descriptors, implicitTls, tlsHandshake, keepAlive: true, proxy };
    this.#door = new Door(what, {
      note,
      admission: new Admission(limits),
      screen: (ip) => screen?.(ip),
      wrap: (socket, _, done) => {
        const secured = wrap(socket, tlsFloor, () => done(secured));
        return secured;
      },
      begin: (socket, client, secured) => this.#begin(socket, client, secured),
      farewell: ({ reason }) => farewell(protocol, REFUSALS[reason]),
    });
  }

  /** Rejects with an error whose message is fit for people. */
  listen(): Promise<readonly MailListening[]> {
    return this.#door.open();
  }

  get open(): boolean {
    return this.#door.opened.length > 0;
  }

  rest(): Promise<void> {
    return this.#door.rest();
  }

  close(): void {
    this.#door.close();
  }

  #begin(socket: net.Socket, client: Client, secured: TLSSocket | undefined): void {
    const { ip, port, via } = client;
    const { sessions, ports } = this.#house;
    const peer: Peer = {
      session: this.#house.nextId(),
      listener: this.#options.name,
      address: ip.text,
      port,
      ...(via === undefined ? {} : { via: via.text }),
      name: undefined,
      helo: undefined,
      protocol: PROTOCOLS[this.#options.protocol],
    };
    const session = new MailSession(socket, peer, client, this.#options, ports, () => {
      sessions.delete(session);
      if (sessions.size === 0) this.#house.onEmpty();
    });
    sessions.add(session);
    if (secured !== undefined) session.secured(secured);
    void session.open();
  }
}

export class MailProxy {
  readonly #listeners: readonly MailListener[];
  readonly #sessions = new Set<MailSession>();
  readonly #house: House;
  #timer: NodeJS.Timeout | undefined;

  constructor(options: readonly MailProxyOptions[], ports: MailPorts) {
    this.#house = { ports, sessions: this.#sessions, nextId: sessionIds('m'), onEmpty: () => {} };
    this.#listeners = options.map((each) => new MailListener(this.#house, each));
  }

  /** Rejects with an error fit for people when a socket cannot be bound. */
  async start(): Promise<readonly MailListening[]> {
    this.#timer = setInterval(() => {
      const now = monotonic();
      for (const session of this.#sessions) session.tick(now);
    }, TICK).unref();
    try {
      const listening: MailListening[] = [];
      for (const listener of this.#listeners) listening.push(...(await listener.listen()));
      return listening;
    } catch (error) {
      await this.stop();
      throw error;
    }
  }

  /** All that is to listen does. */
  get open(): boolean {
    return this.#listeners.every(({ open }) => open);
  }

  /** Client sessions at present. */
  get sessions(): number {
    return this.#sessions.size;
  }

  /** Takes no more connections; those that are here already go on as ever. Resolves when the last of them has ended. */
  async rest(): Promise<void> {
    await Promise.all(this.#listeners.map((listener) => listener.rest()));
  }

  /** Takes no more connections, lets who has logged in finish for up to `ms` (IMAP: until it is quiet), then stops. */
  async drain(ms: number): Promise<void> {
    for (const listener of this.#listeners) listener.close();
    const onEmpty = (done: () => void): void => {
      this.#house.onEmpty = done;
    };
    await shutDown(this.#sessions, onEmpty, ms);
    await this.stop();
  }

  /** Ends everything at once. */
  async stop(): Promise<void> {
    for (const listener of this.#listeners) listener.close();
    for (const session of [...this.#sessions]) session.abort();
    clearInterval(this.#timer);
  }
}
