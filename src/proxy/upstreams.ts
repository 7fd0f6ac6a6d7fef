/**
 * All upstreams, in order of preference: the first that is up takes the transaction, and keeps it. What the
 * client is shown (name, capabilities) is what the preferred one said last.
 */
import type { Note } from '../base/events.js';
import type { Ip } from '../base/ip.js';
import { NO_CAPABILITIES } from '../smtp/capabilities.js';
import type { Deadlines } from './deadlines.js';
import type { Timeouts, UpstreamOptions } from './options.js';
import { type Applicant, Pool, type UpstreamIdentity } from './pool.js';
import type { Introduction, UpstreamConnection } from './upstream.js';
import { type Way, Ways } from './ways.js';

/** A connection on loan, with the pool that it goes back to. */
export interface Loan {
  readonly pool: Pool;
  readonly connection: UpstreamConnection;
  readonly reused: boolean;
}

export interface LoanApplicant {
  /** Who asks, for upstreams that want to know; `named`: with the confirmed name. */
  introduce(named: boolean): Introduction | Promise<Introduction>;
  lent(loan: Loan): void;
  unavailable(busy: boolean): void;
}

/** Those known to be down come last, in their own order: they are tried only when no other lends. */
const upFirst = (pools: readonly Pool[]): readonly Pool[] =>
  [...pools].sort((a, b) => Number(a.up === false) - Number(b.up === false));

const isBound = ({ bound }: Pool): boolean => bound;

/** Tries one pool after the other until one lends. */
class Attempt implements Applicant {
  /** The applicant has heard, or has cancelled. */
  over = false;
  guest: Introduction | undefined;
  readonly #order: readonly Pool[];
  readonly #applicant: LoanApplicant;
  readonly #onOver: (applicant: LoanApplicant) => void;
  #index = -1;
  #busy = false;

  constructor(pools: readonly Pool[], applicant: LoanApplicant, onOver: (applicant: LoanApplicant) => void) {
    this.#order = pools.length === 1 ? pools : upFirst(pools);
    this.#applicant = applicant;
    this.#onOver = onOver;
  }

  start(): void {
    if (!this.#order.some(isBound)) return this.next();
    const named = this.#order.some(({ options }) => options.identity === 'xclient');
    const guest = this.#applicant.introduce(named);
    const known = (introduction: Introduction): void => {
      this.guest = introduction;
      if (!this.over) this.next();
    };
    if (guest instanceof Promise) void guest.then(known);
    else known(guest);
  }

  next(): void {
    this.#index += 1;
    const pool = this.#order[this.#index];
    if (pool !== undefined) return pool.acquire(this);
    this.#end();
    this.#applicant.unavailable(this.#busy);
  }

  acquired(connection: UpstreamConnection, reused: boolean): void {
    this.#end();
    this.#applicant.lent({ pool: this.#order[this.#index] as Pool, connection, reused });
  }

  unavailable(busy: boolean): void {
    this.#busy ||= busy;
    this.next();
  }

  cancel(): void {
    this.#end();
    this.#order[this.#index]?.cancel(this);
  }

  #end(): void {
    this.over = true;
    this.#onOver(this.#applicant);
  }
}

export class Upstreams {
  readonly pools: readonly Pool[];
  /** Those that wait. */
  readonly #attempts = new Map<LoanApplicant, Attempt>();
  readonly #onOver = (applicant: LoanApplicant): void => void this.#attempts.delete(applicant);
  /** This host's name in EHLO. */
  readonly ownName: string;
  readonly #ways: Ways<Pool>;
  #onChange: () => void = () => {};

  constructor(
    options: readonly UpstreamOptions[],
    ownName: string,
    timeouts: Timeouts,
    deadlines: Deadlines,
    note: Note,
  ) {
    this.ownName = ownName;
    this.pools = options.map(
      (each) => new Pool(each, ownName, timeouts, deadlines, note, () => this.#onChange()),
    );
    this.#ways = new Ways(this.pools);
  }

  /** The upstreams for a client that connected to `destination`; undefined: there are none. */
  wayFor(destination: Ip, intercepted: boolean): Way<Pool> | undefined {
    return this.#ways.for(destination, intercepted);
  }

  /** The name and capabilities of the one preferred among these, as last heard; this host's own name until then. */
  identityOf(pools: readonly Pool[]): UpstreamIdentity {
    let known: UpstreamIdentity | undefined;
    for (const { up, identity } of pools) {
      if (identity === undefined) continue;
      if (up === true) return identity;
      known ??= identity;
    }
    return known ?? { hostname: this.ownName, capabilities: NO_CAPABILITIES };
  }

  /** Asks for a connection to one of `pools`, the first preferred; the applicant hears exactly once, perhaps before this returns, unless it cancels. */
  acquire(applicant: LoanApplicant, pools: readonly Pool[]): void {
    const attempt = new Attempt(pools, applicant, this.#onOver);
    attempt.start();
    // Nearly always a connection was at rest.
    if (!attempt.over) this.#attempts.set(applicant, attempt);
  }

  cancel(applicant: LoanApplicant): void {
    if (this.#attempts.size > 0) this.#attempts.get(applicant)?.cancel();
  }

  /** Probes all; resolves when each has answered or failed, or after `patience` ms. */
  async probe(patience: number): Promise<void> {
    for (const pool of this.pools) pool.probe();
    await new Promise<void>((resolve) => {
      const timer = setTimeout(resolve, patience);
      this.#onChange = () => {
        if (this.pools.some(({ up }) => up === undefined)) return;
        clearTimeout(timer);
        resolve();
      };
    });
    this.#onChange = () => {};
  }

  stop(): void {
    for (const pool of this.pools) pool.stop();
  }
}
