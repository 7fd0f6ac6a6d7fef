/**
 * The connections to one upstream: at most N at once, reused where nothing binds them to a client, with a
 * bounded waiting line. A connection that was used rests only after RSET and its 250, or straight after a
 * clean 250 to a final dot; never after a fault, a deadline or an unexpected octet.
 */

import { monotonic, secondsSince } from '../base/clock.js';
import type { Note } from '../base/events.js';
import type { UpstreamSnapshot } from '../base/snapshot.js';
import type { Capabilities } from '../smtp/capabilities.js';
import type { Deadlines, Ticked } from './deadlines.js';
import { canShow } from './dial.js';
import type { Timeouts, UpstreamOptions } from './options.js';
import { type Introduction, UpstreamConnection, type UpstreamOwner } from './upstream.js';
import { NO_UPSTREAM_TLS } from './upstream-tls.js';

/** Someone who waits for a connection. Exactly one of the two is called, unless it is cancelled. */
export interface Applicant {
  /** Who it asks for; only asked where connections are bound to clients. */
  readonly guest: Introduction | undefined;
  acquired(connection: UpstreamConnection, reused: boolean): void;
  /** `busy`: the waiting line is full or the wait was too long; otherwise the upstream is down. */
  unavailable(busy: boolean): void;
}

interface Waiting {
  readonly applicant: Applicant;
  readonly dueAt: number;
  /** The connection that is being made for it and nobody else. */
  own?: UpstreamConnection | undefined;
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
/** Milliseconds of clear text after a TLS handshake failed where TLS is but welcome. */
const CLEAR_FOR = 600_000;

export class Pool implements UpstreamOwner, Ticked {
  readonly options: UpstreamOptions;
  /**
   * Each connection is made for one client and ends with its transaction, because the upstream knows it by that client's
   * name. This is the one place where that is decided.
   */
  readonly bound: boolean;
  /** undefined until first tried. */
  up: boolean | undefined;
  identity: UpstreamIdentity | undefined;
  /** Out of service for new transactions, by hand. */
  draining = false;

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
  /** TLS is not tried before. */
  #clearUntil = 0;
  #stopped = false;
  #downBecause: string | undefined;

  constructor(
    options: UpstreamOptions,
    ownName: string,
    timeouts: Timeouts,
    deadlines: Deadlines,
    note: Note,
    onChange: () => void,
  ) {
    this.options = options;
    this.bound = options.identity !== 'received';
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

  get snapshot(): UpstreamSnapshot {
    const { name, host, port, maxConnections } = this.options;
    const { up, ...figures } = this.figures;
    const { hostname } = this.identity ?? {};
    return {
      ...{ name, host, port, maxConnections, draining: this.draining, ...figures },
      ...(up === undefined ? {} : { up }),
      ...(hostname === undefined ? {} : { hostname }),
      ...(up === false && this.#downBecause !== undefined ? { reason: this.#downBecause } : {}),
    };
  }

  /** Lends a connection, now or later. */
  acquire(applicant: Applicant): void {
    if (this.draining || !canShow(this.options, applicant.guest)) return applicant.unavailable(false);
    const idle = this.bound ? undefined : this.#freshest();
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

  /**
   * Takes no new transactions, or takes them again. What is in hand goes on, who waits is sent to the next upstream, and
   * probes go on, so that its health and what it can do stay known.
   */
  drain(draining: boolean): void {
    this.draining = draining;
    if (!draining) return;
    for (const connection of this.#idle.splice(0)) connection.quit();
    for (const { applicant } of this.#waiting.splice(0)) applicant.unavailable(false);
  }

  /** Takes a lent connection back. `clean`: the last reply was a 250 to a final dot, so no RSET is needed. */
  release(connection: UpstreamConnection, how: 'reuse' | 'close', clean: boolean): void {
    connection.user = undefined;
    if (connection.closed) return;
    if (how === 'close' || !connection.quiet) connection.destroy('the transaction was broken off');
    else if (this.#stopped || this.draining || this.bound) connection.quit();
    else {
      const now = monotonic();
      if (this.#worn(connection, now)) connection.quit();
      else if (clean) this.#rest(connection, now);
      else connection.reset();
    }
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
    const seconds = secondsSince(connection.openedAt);
    this.#note({ type: 'upstream-connect', upstream: this.options.name, seconds });
    this.#offer(connection, undefined);
  }

  rested(connection: UpstreamConnection): void {
    this.#rest(connection, monotonic());
  }

  #rest(connection: UpstreamConnection, now: number): void {
    this.#lastProof = now;
    this.#offer(connection, now);
  }

  gone(connection: UpstreamConnection, why: string): void {
    const failedToConnect = this.#connecting.delete(connection);
    this.#busy.delete(connection);
    const at = this.#idle.indexOf(connection);
    if (at >= 0) this.#idle.splice(at, 1);
    if (this.#stopped) return;
    const waiting = this.#waiting.find(({ own }) => own === connection);
    if (waiting !== undefined) waiting.own = undefined;
    if (failedToConnect && connection.tlsFailed && this.options.tls.mode === 'opportunistic') {
      return this.#goOnInClear(why, waiting !== undefined);
    }
    if (failedToConnect && this.#concernsGuest(connection)) this.#turnedAway(waiting, connection, why);
    else if (failedToConnect) this.#down(why);
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

  /**
   * The next in line gets it, else it rests from `now` on; one that nobody asked for (a probe) is closed. `now` is undefined
   * for one that has served nobody yet.
   */
  #offer(connection: UpstreamConnection, now: number | undefined): void {
    const next = this.#nextFor(connection);
    if (next !== undefined) {
      next.applicant.acquired(connection, now !== undefined);
      return;
    }
    this.#busy.delete(connection);
    const { maxMessages } = this.options;
    if (this.#stopped || this.draining || this.bound || now === undefined || maxMessages <= 1) {
      connection.quit();
      return;
    }
    connection.idleSince = now;
    this.#idle.push(connection);
  }

  #nextFor(connection: UpstreamConnection): Waiting | undefined {
    if (!this.bound) return this.#waiting.shift();
    const at = this.#waiting.findIndex(({ own }) => own === connection);
    return at < 0 ? undefined : this.#waiting.splice(at, 1)[0];
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
    for (const waiting of this.bound ? this.#waiting : []) {
      if (waiting.own === undefined && this.#room() > 0) waiting.own = this.#connect(waiting.applicant.guest);
    }
    while (!this.bound && this.#waiting.length > this.#connecting.size && this.#room() > 0) this.#connect();
  }

  #connect(guest?: Introduction): UpstreamConnection {
    const { host, port, tls, shield, identity } = this.options;
    const how = { host, port, shield, identity };
    const target = { ...how, tls: monotonic() < this.#clearUntil ? NO_UPSTREAM_TLS : tls };
    const connection = new UpstreamConnection(
      target,
      this.#ownName,
      this.#timeouts,
      this.#deadlines,
      this,
      guest,
    );
    this.#connecting.add(connection);
    return connection;
  }

  /** Whoever could break the handshake could have hidden STARTTLS as well: mail goes on, and it is told once. */
  #goOnInClear(why: string, forSomebody: boolean): void {
    if (monotonic() >= this.#clearUntil) {
      this.#clearUntil = monotonic() + CLEAR_FOR;
      const reason = `${why}; it goes on in clear text for ${CLEAR_FOR / 60_000} minutes`;
      this.#note({ type: 'upstream-fault', upstream: this.options.name, reason, during: 'tls' });
    }
    if (forSomebody) this.#connectForWaiting();
    else this.#connect();
  }

  /** What a server says to one client says nothing of its health, nor does whether it can be reached from the client's address. */
  #concernsGuest({ guest, reached }: UpstreamConnection): boolean {
    return guest !== undefined && (reached || this.options.identity === 'tproxy');
  }

  #turnedAway(waiting: Waiting | undefined, { reached, guest }: UpstreamConnection, why: string): void {
    const reason = reached ? why : `${why} (from ${guest?.client.ip.text})`;
    this.#note({ type: 'upstream-fault', upstream: this.options.name, reason, during: 'identity' });
    // Whether it is there at all, this host's own address shall tell.
    if (!reached && monotonic() - this.#lastProbe >= RETRY_AFTER) this.probe();
    if (waiting === undefined) return;
    this.#waiting.splice(this.#waiting.indexOf(waiting), 1);
    waiting.applicant.unavailable(false);
  }

  #proved({ hostname, capabilities, greeting, tls, guest }: UpstreamConnection): void {
    this.#lastProof = monotonic();
    // What it offers to one client it need not offer to the next.
    if (guest === undefined || this.identity === undefined) this.identity = { hostname, capabilities };
    if (this.up !== true) {
      this.up = true;
      this.#note({
        type: 'upstream-up',
        upstream: this.options.name,
        banner: greeting,
        ...(tls === undefined ? {} : { tls }),
      });
    }
    this.#onChange();
  }

  /** A connection attempt failed: nobody need wait for another. */
  #down(why: string): void {
    this.#lastProbe = monotonic();
    this.#noAttemptBefore = this.#lastProbe + RETRY_AFTER;
    this.#downBecause = why;
    if (this.up !== false) {
      this.up = false;
      this.#note({ type: 'upstream-down', upstream: this.options.name, reason: why });
    }
    this.#onChange();
    if (this.#busy.size > 0) return;
    for (const { applicant } of this.#waiting.splice(0)) applicant.unavailable(false);
  }
}
