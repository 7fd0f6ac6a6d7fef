/** One SMTP listener: what stands behind its door. */
import type net from 'node:net';
import type { Admission } from '../base/admission.js';
import type { Peer } from '../base/events.js';
import type { Ip } from '../base/ip.js';
import { Door, type Refusal } from '../door/door.js';
import type { Client } from '../door/preamble.js';
import { printReply, REPLIES, type Reply } from '../smtp/reply.js';
import type { ClientTls } from './devices.js';
import { MessageStream } from './message-stream.js';
import type { ListenerOptions, Listening } from './options.js';
import { SessionRunner } from './runner.js';
import type { Service } from './service.js';
import { ShieldBook } from './shield-book.js';
import type { Secured } from './tls.js';
import { Course } from './ways.js';

const REFUSALS: Readonly<Record<Refusal['reason'], Reply>> = {
  total: REPLIES.tooManyConnections,
  'per-address': REPLIES.tooManyFromYou,
  shutdown: REPLIES.shuttingDown,
  descriptors: REPLIES.tooManyConnections,
  banned: REPLIES.banned,
  quota: REPLIES.overQuota,
  // Nothing is said to whom nobody knows.
  'proxy-header': REPLIES.tooManyConnections,
  destination: REPLIES.noService,
};

export class Listener {
  readonly #service: Service;
  readonly #options: ListenerOptions;
  readonly #door: Door<Secured>;
  readonly #shields: ShieldBook;

  constructor(service: Service, options: ListenerOptions, admission: Admission) {
    this.#service = service;
    this.#options = options;
    this.#shields = new ShieldBook(options.shield, service.limits.headerBytes);
    const { name, host, port, tls, proxyFrom, intercept } = options;
    const { tlsHandshake, proxyHeader } = service.timeouts;
    const proxy = proxyFrom && { from: proxyFrom, timeout: proxyHeader };
    const descriptors = service.descriptors.get(name);
    const implicitTls = tls === 'implicit';
    const takes = (ip: Ip): boolean => service.upstreams.wayFor(ip, intercept !== undefined) !== undefined;
    const what = {
      ...{ name, host, port, descriptors, implicitTls, tlsHandshake, keepAlive: false, proxy },
      ...{ intercept, takes },
    };
    this.#door = new Door(what, {
      note: service.note,
      admission,
      screen: (ip, socket) => this.#screen(ip, socket),
      wrap: (socket, ip, done) => service.tls.wrap(socket, this.#tlsFor(ip), done),
      begin: (socket, client, secured) => this.#begin(socket, client, secured),
      farewell: ({ reason }) => printReply(REFUSALS[reason]),
    });
  }

  /** Rejects with an error whose message is fit for people. */
  listen(): Promise<readonly Listening[]> {
    return this.#door.open();
  }

  /** Where clients are taken in; none: not yet, or no longer. */
  get listening(): readonly Listening[] {
    return this.#door.opened;
  }

  /** Takes no more connections; those that are here already go on as ever. Resolves when the last of them has ended. */
  rest(): Promise<void> {
    return this.#door.rest();
  }

  /** Takes no more connections. */
  close(): void {
    this.#door.close();
  }

  #screen(ip: Ip, socket: net.Socket): Refusal | undefined | Promise<Refusal | undefined> {
    const { bans, strangers, quotas } = this.#service;
    const { name } = this.#options;
    const full = quotas?.takePlace(ip, name, (leave) => socket.once('close', leave));
    if (full !== undefined) return full;
    if (bans === undefined || strangers.knows(ip)) return quotas?.countConnection(ip, name);
    const refusal = bans.refusal(ip);
    return quotas === undefined ? refusal : refusal.then((each) => each ?? quotas.countConnection(ip, name));
  }

  /** What TLS this client may and must speak. */
  #tlsFor(ip: Ip): ClientTls {
    return this.#service.devices.tlsFor(ip, this.#options);
  }

  readonly #makeStream = (peer: Peer, ip: Ip): MessageStream => {
    const { limits, timeouts, instanceToken, devices, note } = this.#service;
    const device = devices.find(ip)?.shield;
    return new MessageStream(this.#options.data, limits, timeouts, instanceToken, {
      rules: (preset) => this.#shields.rules(preset, device),
      onHit: ({ patch, what }, enforced) => note({ type: 'shield-hit', peer, patch, enforced, why: what }),
    });
  };

  #begin(socket: net.Socket, client: Client, secured: Secured | undefined): void {
    const { ip, port, via, server } = client;
    const way = this.#service.upstreams.wayFor(server.ip, this.#options.intercept !== undefined);
    // The door has seen that there is one.
    if (way === undefined) return void socket.destroy();
    const { name } = this.#options;
    const begun: Peer = {
      session: this.#service.nextSessionId(),
      listener: name,
      address: ip.text,
      port,
      name: undefined,
      helo: undefined,
      protocol: 'SMTP',
    };
    const peer = via === undefined ? begun : { ...begun, via: via.text };
    const runner = new SessionRunner(
      this.#service,
      socket,
      peer,
      client,
      this.#makeStream,
      this.#tlsFor(ip),
      this.#options,
      new Course(way),
    );
    this.#service.sessions.add(runner);
    this.#service.note({ type: 'connect', peer });
    if (secured !== undefined) runner.secured(secured);
    runner.open();
  }
}
