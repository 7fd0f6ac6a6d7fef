/** Counts connections: in all, and for each client. */

export interface AdmissionLimits {
  /** Connections in all. */
  readonly connections: number;
  /** Connections from one IPv4 address or one IPv6 /64. */
  readonly connectionsPerAddress: number;
}

/** Connections at present, of this process or of others. */
export interface Connections {
  readonly total: number;
  /** Of an address (as a key of `enter`) those that it has; addresses with few may be left out. */
  readonly addresses: readonly (readonly [string, number])[];
}

/** Addresses that are told of at most. */
const MOST_TOLD = 1_000;

export class Admission {
  readonly #limits: AdmissionLimits;
  readonly #perAddress = new Map<string, number>();
  #total = 0;
  /** What other processes that serve the same have, as they told last. */
  #elsewhere: { readonly total: number; readonly addresses: ReadonlyMap<string, number> } = {
    total: 0,
    addresses: new Map(),
  };

  constructor(limits: AdmissionLimits) {
    this.#limits = limits;
  }

  /**
   * Takes a place, or says which limit is reached. `key`: an IPv4 address, or the /64 of an IPv6 one; undefined: whose it
   * is comes to light later, by `name`.
   */
  enter(key: string | undefined): 'total' | 'per-address' | undefined {
    if (this.#total + this.#elsewhere.total >= this.#limits.connections) return 'total';
    const full = key === undefined ? undefined : this.name(key);
    if (full === undefined) this.#total += 1;
    return full;
  }

  /** Says whose a place is that was taken without a name. */
  name(key: string): 'per-address' | undefined {
    const count = this.#perAddress.get(key) ?? 0;
    const elsewhere = this.#elsewhere.addresses.get(key) ?? 0;
    if (count + elsewhere >= this.#limits.connectionsPerAddress) return 'per-address';
    this.#perAddress.set(key, count + 1);
    return undefined;
  }

  /** Gives a place back; `key`: whose it is, if that has come to light. */
  leave(key: string | undefined): void {
    this.#total -= 1;
    if (key === undefined) return;
    const count = this.#perAddress.get(key) ?? 0;
    if (count <= 1) this.#perAddress.delete(key);
    else this.#perAddress.set(key, count - 1);
  }

  /** What there is at present, with the addresses that have a `share`th part of what they may or more. */
  present(share: number): Connections {
    const least = Math.max(1, Math.floor(this.#limits.connectionsPerAddress / share));
    const many = [...this.#perAddress].filter(([, count]) => count >= least);
    return { total: this.#total, addresses: many.slice(0, MOST_TOLD) };
  }

  /** Counts those too from now on. */
  elsewhere({ total, addresses }: Connections): void {
    this.#elsewhere = { total, addresses: new Map(addresses) };
  }
}
