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

/** Tries one pool after the other until one lends. */
class Attempt implements Applicant {
  #index = -1;
  #order: readonly Pool[];
  #busy = false;
  guest: Introduction | undefined;
  cancelled = false;

  constructor(
    pools: readonly Pool[],
    readonly applicant: LoanApplicant,
  ) {
    // Those known to be down come last, in their own order: they are tried only when no other lends.
    this.#order = [...pools].sort((a, b) => Number(a.up === false) - Number(b.up === false));
  }

  start(): void {
    if (!this.#order.some(({ bound }) => bound)) return this.next();
    const named = this.#order.some(({ options }) => options.identity === 'xclient');
    const guest = this.applicant.introduce(named);
    const known = (introduction: Introduction): void => {
      this.guest = introduction;
      if (!this.cancelled) this.next();
    };
    if (guest instanceof Promise) void guest.then(known);
    else known(guest);
  }

  next(): void {
    this.#index += 1;
    const pool = this.#order[this.#index];
    if (pool === undefined) this.applicant.unavailable(this.#busy);
    else pool.acquire(this);
  }

  acquired(connection: UpstreamConnection, reused: boolean): void {
    this.applicant.lent({ pool: this.#order[this.#index] as Pool, connection, reused });
  }

  unavailable(busy: boolean): void {
    this.#busy ||= busy;
    this.next();
  }

  cancel(): void {
    this.cancelled = true;
    this.#order[this.#index]?.cancel(this);
  }
}

export class Upstreams {
  readonly pools: readonly Pool[];
  readonly #attempts = new Map<LoanApplicant, Attempt>();
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
    const attempt = new Attempt(pools, {
      introduce: (named) => applicant.introduce(named),
      lent: (loan) => {
        this.#attempts.delete(applicant);
        applicant.lent(loan);
      },
      unavailable: (busy) => {
        this.#attempts.delete(applicant);
        applicant.unavailable(busy);
      },
    });
    this.#attempts.set(applicant, attempt);
    attempt.start();
  }

  cancel(applicant: LoanApplicant): void {
    this.#attempts.get(applicant)?.cancel();
    this.#attempts.delete(applicant);
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
