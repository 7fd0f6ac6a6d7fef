/**
 * All upstreams, in order of preference: the first that is up takes the transaction, and keeps it. What the
 * client is shown (name, capabilities) is what the preferred one said last.
 */
import type { Note } from '../base/events.js';
import { NO_CAPABILITIES } from '../smtp/capabilities.js';
import type { Deadlines } from './deadlines.js';
import type { Timeouts, UpstreamOptions } from './options.js';
import { type Applicant, Pool, type UpstreamIdentity } from './pool.js';
import type { UpstreamConnection } from './upstream.js';

/** A connection on loan, with the pool that it goes back to. */
export interface Loan {
  readonly pool: Pool;
  readonly connection: UpstreamConnection;
  readonly reused: boolean;
}

export interface LoanApplicant {
  lent(loan: Loan): void;
  unavailable(busy: boolean): void;
}

/** Tries one pool after the other until one lends. */
class Attempt implements Applicant {
  #index = -1;
  #order: readonly Pool[];
  #busy = false;
  cancelled = false;

  constructor(
    pools: readonly Pool[],
    readonly applicant: LoanApplicant,
  ) {
    // Those known to be down come last, in their own order: they are tried only when no other lends.
    this.#order = [...pools].sort((a, b) => Number(a.up === false) - Number(b.up === false));
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
    this.#order[this.#index]?.cancel(this);
  }
}

export class Upstreams {
  readonly pools: readonly Pool[];
  readonly #attempts = new Map<LoanApplicant, Attempt>();
  /** This host's name in EHLO. */
  readonly ownName: string;
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
  }

  /** The preferred upstream's name and capabilities, as last heard; this host's own name until then. */
  get identity(): UpstreamIdentity {
    const pool =
      this.pools.find(({ up, identity }) => up === true && identity !== undefined) ??
      this.pools.find(({ identity }) => identity !== undefined);
    return pool?.identity ?? { hostname: this.ownName, capabilities: NO_CAPABILITIES };
  }

  /** Asks for a connection; the applicant hears exactly once, perhaps before this returns, unless it cancels. */
  acquire(applicant: LoanApplicant): void {
    const attempt = new Attempt(this.pools, {
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
    attempt.next();
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
