/**
 * The connections to one upstream: at most N at once, reused where nothing binds them to a client, with a
 * bounded waiting line. A connection that was used rests only after RSET and its 250, or straight after a
 * clean 250 to a final dot; never after a fault, a deadline or an unexpected octet.
 */
import type { Note } from '../base/events.js';
import type { Capabilities } from '../smtp/capabilities.js';
import { type Deadlines, monotonic, type Ticked } from './deadlines.js';
import type { Timeouts, UpstreamOptions } from './options.js';
import { UpstreamConnection, type UpstreamOwner } from './upstream.js';

/** Someone who waits for a connection. Exactly one of the two is called, unless it is cancelled. */
export interface Applicant {
  acquired(connection: UpstreamConnection, reused: boolean): void;
  /** `busy`: the waiting line is full or the wait was too long; otherwise the upstream is down. */
  unavailable(busy: boolean): void;
}

interface Waiting {
  readonly applicant: Applicant;
  readonly dueAt: number;
}

/** What is known of an upstream from its last greeting. */
export interface UpstreamIdentity {
  readonly hostname: string;
  readonly capabilities: Capabilities;
}

export interface PoolFigures {
  readonly connecting: number;
  readonly busy: number;
  readonly idle: number;
  readonly waiting: number;
  readonly up: boolean | undefined;
}

/** Milliseconds between a failed connection attempt and the next. */
const RETRY_AFTER = 1_000;

export class Pool implements UpstreamOwner, Ticked {
  readonly options: UpstreamOptions;
  /** undefined until first tried. */
  up: boolean | undefined;
  identity: UpstreamIdentity | undefined;

  readonly #ownName: string;
  readonly #timeouts: Timeouts;
  readonly #deadlines: Deadlines;
  readonly #note: Note;
  readonly #onChange: () => void;
  readonly #idle: UpstreamConnection[] = [];
  readonly #connecting = new Set<UpstreamConnection>();
  /** Lent out, or being reset. */
  readonly #busy = new Set<UpstreamConnection>();
  readonly #waiting: Waiting[] = [];
  #lastProof = Number.NEGATIVE_INFINITY;
  #lastProbe = Number.NEGATIVE_INFINITY;
  /** After a failed attempt the next waits a little, or a refused port would be hammered. */
  #noAttemptBefore = 0;
  #stopped = false;

  constructor(
    options: UpstreamOptions,
    ownName: string,
    timeouts: Timeouts,
    deadlines: Deadlines,
    note: Note,
    onChange: () => void,
  ) {
    this.options = options;
    this.#ownName = ownName;
    this.#timeouts = timeouts;
    this.#deadlines = deadlines;
    this.#note = note;
    this.#onChange = onChange;
    deadlines.add(this);
  }

  get figures(): PoolFigures {
    return {
      connecting: this.#connecting.size,
      busy: this.#busy.size,
      idle: this.#idle.length,
      waiting: this.#waiting.length,
      up: this.up,
    };
  }

  /** Lends a connection, now or later. */
  acquire(applicant: Applicant): void {
    const idle = this.#freshest();
    if (idle !== undefined) {
      idle.idleSince = 0;
      this.#busy.add(idle);
      this.#note({ type: 'upstream-reuse', upstream: this.options.name });
      applicant.acquired(idle, true);
      return;
    }
    if (this.up === false && this.#busy.size === 0 && monotonic() < this.#noAttemptBefore) {
      applicant.unavailable(false);
      return;
    }
    if (this.#waiting.length >= this.options.maxWaiting + Math.max(0, this.#room())) {
      applicant.unavailable(true);
      return;
    }
    this.#waiting.push({ applicant, dueAt: monotonic() + this.options.waitTimeout });
    this.#connectForWaiting();
  }

  cancel(applicant: Applicant): void {
    const at = this.#waiting.findIndex((waiting) => waiting.applicant === applicant);
    if (at >= 0) this.#waiting.splice(at, 1);
  }

  /** Takes a lent connection back. `clean`: the last reply was a 250 to a final dot, so no RSET is needed. */
  release(connection: UpstreamConnection, how: 'reuse' | 'close', clean: boolean): void {
    connection.user = undefined;
    if (connection.closed) return;
    if (how === 'close' || !connection.quiet) connection.destroy('the transaction was broken off');
    else if (this.#stopped || this.#worn(connection)) connection.quit();
    else if (clean) this.rested(connection);
    else connection.reset();
  }

  /** Connects once to learn whether the upstream is well and what it can do. */
  probe(): void {
    this.#lastProbe = monotonic();
    if (this.#connecting.size === 0) this.#connect();
  }

  stop(): void {
    this.#stopped = true;
    for (const connection of this.#idle.splice(0)) connection.quit();
    for (const connection of this.#connecting) connection.destroy('shutdown');
    for (const { applicant } of this.#waiting.splice(0)) applicant.unavailable(false);
    this.#deadlines.delete(this);
  }

  ready(connection: UpstreamConnection): void {
    this.#connecting.delete(connection);
    this.#busy.add(connection);
    this.#proved(connection);
    const seconds = (monotonic() - connection.openedAt) / 1000;
    this.#note({ type: 'upstream-connect', upstream: this.options.name, seconds });
    this.#offer(connection, false);
  }

  rested(connection: UpstreamConnection): void {
    this.#lastProof = monotonic();
    this.#offer(connection, true);
  }

  gone(connection: UpstreamConnection, why: string): void {
    const failedToConnect = this.#connecting.delete(connection);
    this.#busy.delete(connection);
    const at = this.#idle.indexOf(connection);
    if (at >= 0) this.#idle.splice(at, 1);
    if (this.#stopped) return;
    if (failedToConnect) this.#down(why);
    this.#connectForWaiting();
  }

  tick(now: number): void {
    while (this.#waiting[0] !== undefined && this.#waiting[0].dueAt <= now) {
      this.#waiting.shift()?.applicant.unavailable(true);
    }
    for (const connection of this.#idle.filter((each) => this.#worn(each, now))) {
      this.#idle.splice(this.#idle.indexOf(connection), 1);
      connection.quit();
    }
    this.#connectForWaiting();
    const since = Math.max(this.#lastProbe, this.up === false ? this.#lastProbe : this.#lastProof);
    const interval =
      this.up === false ? Math.min(5_000, this.options.probeInterval) : this.options.probeInterval;
    if (now - since >= interval && this.#idle.length === 0) this.probe();
  }

  /** The next in line gets it, else it rests; one that nobody asked for (a probe) is closed. */
  #offer(connection: UpstreamConnection, rest: boolean): void {
    const next = this.#waiting.shift();
    if (next !== undefined) {
      next.applicant.acquired(connection, rest);
      return;
    }
    this.#busy.delete(connection);
    if (this.#stopped || !rest || this.options.maxMessages <= 1) {
      connection.quit();
      return;
    }
    connection.idleSince = monotonic();
    this.#idle.push(connection);
  }

  /** The connection used last is the likeliest to be alive; the others grow old and are closed. */
  #freshest(): UpstreamConnection | undefined {
    for (;;) {
      const connection = this.#idle.pop();
      if (connection === undefined || !(connection.closed || this.#worn(connection))) return connection;
      connection.quit();
    }
  }

  #worn(connection: UpstreamConnection, now = monotonic()): boolean {
    const { maxMessages, maxAge, maxIdle } = this.options;
    return (
      connection.messages >= maxMessages ||
      now - connection.openedAt >= maxAge ||
      (connection.idleSince > 0 && now - connection.idleSince >= maxIdle)
    );
  }

  /** Connections that may still be opened. */
  #room(): number {
    return this.options.maxConnections - this.#busy.size - this.#connecting.size - this.#idle.length;
  }

  #connectForWaiting(): void {
    if (monotonic() < this.#noAttemptBefore) return;
    while (this.#waiting.length > this.#connecting.size && this.#room() > 0) this.#connect();
  }

  #connect(): void {
    this.#connecting.add(
      new UpstreamConnection(this.options, this.#ownName, this.#timeouts, this.#deadlines, this),
    );
  }

  #proved({ hostname, capabilities, greeting }: UpstreamConnection): void {
    this.#lastProof = monotonic();
    this.identity = { hostname, capabilities };
    if (this.up !== true) {
      this.up = true;
      this.#note({ type: 'upstream-up', upstream: this.options.name, banner: greeting });
    }
    this.#onChange();
  }

  /** A connection attempt failed: nobody need wait for another. */
  #down(why: string): void {
    this.#lastProbe = monotonic();
    this.#noAttemptBefore = this.#lastProbe + RETRY_AFTER;
    if (this.up !== false) {
      this.up = false;
      this.#note({ type: 'upstream-down', upstream: this.options.name, reason: why });
    }
    this.#onChange();
    if (this.#busy.size > 0) return;
    for (const { applicant } of this.#waiting.splice(0)) applicant.unavailable(false);
  }
}
