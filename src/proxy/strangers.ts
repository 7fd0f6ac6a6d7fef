/**
 * Who is no stranger: the site's own networks by the policy in force, and whoever has an open window. Strangers may have
 * to wait, to be looked up, and to come again; the others never.
 */
import type { Note } from '../base/events.js';
import { type Ip, IpSet } from '../base/ip.js';
import { DEFAULT_DNSBL, Dnsbl, type DnsblOptions } from '../door/dnsbl.js';
import { Suspensions } from '../identity/suspensions.js';
import type { Policy } from '../policy/compile.js';
import { type Known, type ListedFact, NOT_LISTED } from '../policy/facts.js';
import { type StateStore, StoreError } from '../windows/store.js';
import { type Window, windowKey } from '../windows/window.js';
import type { ScreeningOptions } from './options.js';
import type { TarpitOptions } from './tarpit.js';

export interface StrangerOptions {
  /** Networks that are no strangers, beside those that the policy lets send anywhere. */
  readonly exempt: IpSet;
  readonly dnsbl: DnsblOptions;
  /** Undefined: refusals are not held back. */
  readonly tarpit?: TarpitOptions;
}

export const NO_STRANGER_OPTIONS: StrangerOptions = {
  exempt: IpSet.of([]),
  dnsbl: { ...DEFAULT_DNSBL, lists: [] },
};

/** What of a session is looked at. */
export interface Screenable {
  readonly client: Ip;
  readonly screening: ScreeningOptions;
}

export class Strangers {
  readonly #options: StrangerOptions;
  readonly #state: StateStore;
  readonly #note: Note;
  readonly #now: () => number;
  readonly #suspensions: Suspensions;
  readonly #dnsbl: Dnsbl;
  /** The policy in force now. */
  readonly #policy: () => Policy;
  /** What was said of the client of a session stays so for as long as the session lasts. */
  readonly #listed = new WeakMap<object, ListedFact | Promise<ListedFact>>();

  constructor(
    options: StrangerOptions,
    state: StateStore,
    note: Note,
    now: () => number,
    policy: () => Policy,
  ) {
    this.#options = options;
    this.#state = state;
    this.#note = note;
    this.#now = now;
    this.#policy = policy;
    this.#suspensions = new Suspensions(state, note);
    this.#dnsbl = new Dnsbl(options.dnsbl, note);
  }

  /** One of the site's own. */
  knows(ip: Ip): boolean {
    if (this.#options.exempt.has(ip)) return true;
    for (const set of this.#policy().trusted) if (set.has(ip)) return true;
    return false;
  }

  /** There is an open window, by what is known now; nobody asks where the policy knows no windows. */
  async hasWindow(ip: Ip): Promise<boolean> {
    if (!this.#policy().needs.window) return false;
    const windows = await this.windows(ip);
    return windows.known && windows.value.length > 0;
  }

  /** The open windows of an address. One whose login is suspended is none, even where it could not be closed. */
  async windows(client: Ip): Promise<Known<readonly Window[]>> {
    try {
      const now = this.#now();
      const windows = await this.#state.lookup(windowKey(client), now);
      const suspended = await Promise.all(
        windows.map(({ login }) => this.#suspensions.isSuspended(login, now)),
      );
      return { known: true, value: windows.filter((_, i) => suspended[i] === false) };
    } catch (error) {
      if (!(error instanceof StoreError)) throw error;
      this.#note({ type: 'store-error', operation: error.operation, why: error.message });
      return { known: false, why: error.message };
    }
  }

  /**
   * Calls `greet` when the banner is due: at once, or for strangers after `pause` ms (then with true). Where the listener
   * wants them looked up, that begins here: by the time of the first recipient the answers are there.
   */
  beforeBanner(session: Screenable, pause: number, greet: (paused: boolean) => void): void {
    const { client, screening } = session;
    if (screening.dnsbl !== 'none') void this.listed(session, client);
    if (pause === 0 || this.knows(client)) return greet(false);
    void this.hasWindow(client).then((open) => {
      if (open) greet(false);
      else setTimeout(() => greet(true), pause);
    });
  }

  /** What DNS lists say of the client of a session: asked once, and of strangers alone. Never rejects. */
  listed(session: object, client: Ip): ListedFact | Promise<ListedFact> {
    const held = this.#listed.get(session);
    if (held !== undefined) return held;
    const listed = this.knows(client) ? NOT_LISTED : this.#dnsbl.lookUp(client);
    this.#listed.set(session, listed);
    return listed;
  }
}
