/** What all sessions of one proxy share. */
import { randomBytes } from 'node:crypto';
import type { Note } from '../base/events.js';
import { offeredKeywords, smallerLimit } from '../smtp/capabilities.js';
import { DEFAULT_LENIENCY, type Leniency } from '../smtp/command.js';
import type { SessionSettings } from '../smtp/session/state.js';
import type { Deadlines } from './deadlines.js';
import { Judge, type Law } from './judge.js';
import { ClientNames } from './names.js';
import type { Limits, ProxyOptions, Timeouts } from './options.js';
import { TlsKeeper } from './tls.js';
import { Upstreams } from './upstreams.js';

/** What a runner tells when its client is gone for good. */
export interface Closable {
  shutdown(): void;
  abort(): void;
}

export class Service {
  law: Law;
  readonly limits: Limits;
  readonly timeouts: Timeouts;
  readonly leniency: Leniency = DEFAULT_LENIENCY;
  readonly received: boolean;
  readonly instanceToken: string;
  readonly note: Note;
  readonly upstreams: Upstreams;
  readonly judge: Judge;
  readonly tls: TlsKeeper;
  readonly sessions = new Set<Closable>();
  /** Called when the last session has ended. */
  onEmpty: () => void = () => {};

  readonly #hostname: string | undefined;
  /** Session identifiers are unique over restarts, and short, since they stand in each Received line. */
  readonly #prefix = `${Math.floor(Date.now() / 1000).toString(36)}${randomBytes(2).toString('hex')}`;
  #counter = 0;
  #offered: { capabilities: unknown; keywords: readonly string[]; starttls: readonly string[] } | undefined;

  constructor(
    options: ProxyOptions,
    readonly deadlines: Deadlines,
  ) {
    this.law = { policy: options.policy, observe: options.observe };
    this.limits = options.limits;
    this.timeouts = options.timeouts;
    this.received = options.received;
    this.instanceToken = options.instanceToken;
    this.note = options.note;
    this.#hostname = options.hostname;
    const ownName = options.hostname ?? options.ownName;
    this.upstreams = new Upstreams(options.upstreams, ownName, options.timeouts, deadlines, options.note);
    this.tls = new TlsKeeper(options.tls);
    this.judge = new Judge(new ClientNames(options.timeouts.resolve, options.resolvers), options.note);
  }

  nextSessionId(): string {
    this.#counter += 1;
    return `${this.#prefix}-${this.#counter.toString(36)}`;
  }

  /** What a session that begins now offers its client. */
  sessionSettings(starttls: boolean): SessionSettings {
    const { hostname, capabilities } = this.upstreams.identity;
    const { messageBytes, recipients, errors, commands, idleCommands } = this.limits;
    if (this.#offered?.capabilities !== capabilities) {
      const own = { maxSize: messageBytes, starttls: false, auth: [] };
      this.#offered = {
        capabilities,
        keywords: offeredKeywords(capabilities, own),
        starttls: offeredKeywords(capabilities, { ...own, starttls: true }),
      };
    }
    return {
      hostname: this.#hostname ?? (hostname === '' ? this.upstreams.ownName : hostname),
      capabilities,
      keywords: starttls ? this.#offered.starttls : this.#offered.keywords,
      secureKeywords: this.#offered.keywords,
      starttls,
      messageBytes: smallerLimit(messageBytes, capabilities.size),
      recipients,
      errors,
      commands,
      idleCommands,
    };
  }

  closed(session: Closable): void {
    this.sessions.delete(session);
    if (this.sessions.size === 0) this.onEmpty();
  }
}
