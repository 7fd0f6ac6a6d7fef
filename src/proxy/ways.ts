/**
 * Which upstreams may take a mail: by the address to which the client connected and by the recipient's domain. What an
 * upstream lists is for it and for the others that list it; the rest is for those that list nothing. An intercepting
 * listener takes nothing for an address that is in no list, or it would forward to anywhere.
 */
import { type Ip, parseIp } from '../base/ip.js';
import { pathText } from '../smtp/address.js';
import type { Path } from '../smtp/path.js';
import { noWay, REPLIES } from '../smtp/reply.js';
import type { Judgement } from '../smtp/session/events.js';
import type { UpstreamOptions } from './options.js';

interface Destined {
  readonly options: Pick<UpstreamOptions, 'host' | 'destinations' | 'domains'>;
}

/** The upstreams that are open to one session, in order of preference. */
export class Way<P extends Destined> {
  readonly #byDomain: boolean;

  constructor(readonly pools: readonly P[]) {
    this.#byDomain = pools.some(({ options }) => options.domains !== undefined);
  }

  /** Those for a recipient; undefined: none is. Who has no domain is for the first. */
  for(to: Path): readonly P[] | undefined {
    if (!this.#byDomain) return this.pools;
    const path = to.kind === 'routed' ? to.final : to;
    if (path.kind !== 'mailbox') return this.pools.slice(0, 1);
    const { domain } = path;
    const listing = this.pools.filter(({ options: { domains } }) =>
      domain.kind === 'name' ? domains?.has(domain.ascii) : domains?.hasLiteral(domain.ip),
    );
    const chosen =
      listing.length > 0 ? listing : this.pools.filter(({ options }) => options.domains === undefined);
    return chosen.length > 0 ? chosen : undefined;
  }
}

const same = <P>(a: readonly P[], b: readonly P[]): boolean =>
  a === b || (a.length === b.length && a.every((each, i) => each === b[i]));

/** The way that one transaction takes: that of its first recipient. One who must go elsewhere comes again by himself. */
export class Course<P extends Destined> {
  #chosen: readonly P[] | undefined;

  constructor(readonly way: Way<P>) {}

  /** The upstreams for the transaction. */
  get pools(): readonly P[] {
    return this.#chosen ?? this.way.pools;
  }

  /** Another transaction. */
  begin(): void {
    this.#chosen = undefined;
  }

  /** What the client hears, now that it is known whether there is a way to the recipient. */
  take(to: Path, judgement: Judgement): Judgement {
    if (!judgement.permit) return judgement;
    const pools = this.way.for(to);
    if (pools === undefined) return { permit: false, reply: noWay(`<${pathText(to)}>`) };
    this.#chosen ??= pools;
    return same(this.#chosen, pools) ? judgement : { permit: false, reply: REPLIES.anotherServer };
  }
}

export class Ways<P extends Destined> {
  readonly #all: Way<P>;
  /** Every upstream that lists addresses, and those that do not. */
  readonly #listing: readonly P[];
  readonly #rest: Way<P>;

  constructor(readonly pools: readonly P[]) {
    this.#all = new Way(pools);
    this.#listing = pools.filter(({ options }) => options.destinations !== undefined);
    this.#rest = new Way(pools.filter(({ options }) => options.destinations === undefined));
  }

  /** The way of a client that connected to `destination`; `intercepted`: which was another host's. */
  for(destination: Ip, intercepted: boolean): Way<P> | undefined {
    if (this.#listing.length === 0 && !intercepted) return this.#all;
    const listing = this.#listing.filter(({ options }) => options.destinations?.has(destination) === true);
    if (listing.length > 0) return new Way(listing);
    if (!intercepted) return this.#rest.pools.length > 0 ? this.#rest : undefined;
    // An upstream is for its own address, unless it says otherwise.
    const itself = this.#rest.pools.filter(({ options }) => parseIp(options.host)?.text === destination.text);
    return itself.length > 0 ? new Way(itself) : undefined;
  }
}
