/** What all sessions of one proxy share. */
import { tmpdir } from 'node:os';
import type { Note } from '../base/events.js';
import type { SessionSnapshot } from '../base/snapshot.js';
import { sessionIds } from '../door/session-ids.js';
import type { Authenticator } from '../identity/authenticator.js';
import { offeredKeywords, smallerLimit } from '../smtp/capabilities.js';
import { DEFAULT_LENIENCY, type Leniency } from '../smtp/command.js';
import type { SessionSettings } from '../smtp/session/state.js';
import type { Bans } from '../windows/bans.js';
import type { Deadlines } from './deadlines.js';
import { Devices } from './devices.js';
import { Judge, type Law } from './judge.js';
import { ClientNames } from './names.js';
import type { Descriptors, Limits, ProxyOptions, Timeouts } from './options.js';
import type { Pool } from './pool.js';
import type { Quotas } from './quotas.js';
import { DEFAULT_SPOOL, SpoolRoom } from './spool.js';
import { NO_STRANGER_OPTIONS, Strangers } from './strangers.js';
import { DEFAULT_TARPIT, Tarpit } from './tarpit.js';
import { TlsKeeper } from './tls.js';
import { Upstreams } from './upstreams.js';

/** What a runner tells when its client is gone for good. */
export interface Closable {
  shutdown(): void;
  abort(): void;
  /** A picture of it, for whoever looks. */
  snapshot(): SessionSnapshot;
}

export class Service {
  law: Law;
  readonly limits: Limits;
  readonly timeouts: Timeouts;
  readonly leniency: Leniency = DEFAULT_LENIENCY;
  readonly received: boolean;
  readonly receivedLogin: boolean;
  readonly authenticator: Authenticator | undefined;
  readonly onLogin: ProxyOptions['onLogin'];
  readonly instanceToken: string;
  readonly note: Note;
  readonly upstreams: Upstreams;
  readonly strangers: Strangers;
  readonly bans: Bans | undefined;
  readonly quotas: Quotas | undefined;
  readonly tarpit: Tarpit;
  readonly judge: Judge;
  readonly tls: TlsKeeper;
  readonly spool: SpoolRoom;
  readonly descriptors: Descriptors;
  /** What old devices may, of which a session asks when it begins. */
  devices: Devices;
  readonly nextSessionId = sessionIds();
  readonly sessions = new Set<Closable>();
  /** Called when the last session has ended. */
  onEmpty: () => void = () => {};

  readonly #hostname: string | undefined;
  /** Made last, by whether STARTTLS is offered and whether a login is asked for. Nearly always it is still right. */
  readonly #settings: (SessionSettings | undefined)[] = [];

  constructor(
    options: ProxyOptions,
    readonly deadlines: Deadlines,
  ) {
    this.law = { policy: options.policy, observe: options.observe };
    this.limits = options.limits;
    this.timeouts = options.timeouts;
    this.received = options.received;
    this.receivedLogin = options.receivedLogin;
    this.authenticator = options.authenticator;
    this.onLogin = options.onLogin;
    this.instanceToken = options.instanceToken;
    this.note = options.note;
    this.bans = options.bans;
    this.quotas = options.quotas;
    this.#hostname = options.hostname;
    const ownName = options.hostname ?? options.ownName;
    this.upstreams = new Upstreams(options.upstreams, ownName, options.timeouts, deadlines, options.note);
    const { state, note, now = Date.now } = options;
    this.strangers = new Strangers(
      options.strangers ?? NO_STRANGER_OPTIONS,
      state,
      note,
      now,
      () => this.law.policy,
    );
    const slow = options.strangers?.tarpit ?? DEFAULT_TARPIT;
    this.tarpit = new Tarpit(slow, note, (ip) => this.strangers.knows(ip));
    this.judge = new Judge(
      new ClientNames(options.timeouts.resolve, options.resolvers),
      this.strangers,
      note,
      state,
      now,
      options.quotas,
    );
    this.spool = new SpoolRoom(options.spool ?? { ...DEFAULT_SPOOL, folder: tmpdir() });
    this.tls = new TlsKeeper(options.tls, options.clientCa);
    this.devices = new Devices(options.devices);
    this.descriptors = options.descriptors ?? new Map();
  }

  /** The server's name as clients see it for whose mail these are there. */
  hostnameOf(pools: readonly Pool[]): string {
    const { hostname } = this.upstreams.identityOf(pools);
    return this.#hostname ?? (hostname === '' ? this.upstreams.ownName : hostname);
  }

  /** What a session that begins now offers its client. One object for all to whom the same is offered. */
  sessionSettings(starttls: boolean, requireLogin: boolean, pools: readonly Pool[]): SessionSettings {
    const { capabilities } = this.upstreams.identityOf(pools);
    const hostname = this.hostnameOf(pools);
    const logins = this.authenticator?.available === true;
    const at = (starttls ? 1 : 0) + (requireLogin ? 2 : 0);
    const last = this.#settings[at];
    if (last?.capabilities === capabilities && last.hostname === hostname && last.logins === logins)
      return last;
    const { messageBytes, recipients, errors, commands, idleCommands } = this.limits;
    const own = { maxSize: messageBytes, starttls: false };
    const settings = {
      hostname,
      capabilities,
      keywords: offeredKeywords(capabilities, { ...own, starttls }),
      secureKeywords: offeredKeywords(capabilities, own),
      starttls,
      logins,
      requireLogin,
      messageBytes: smallerLimit(messageBytes, capabilities.size),
      recipients,
      errors,
      commands,
      idleCommands,
    };
    this.#settings[at] = settings;
    return settings;
  }

  closed(session: Closable): void {
    this.sessions.delete(session);
    if (this.sessions.size === 0) this.onEmpty();
  }
}
