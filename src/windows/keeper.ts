/** Opens, renews and closes windows for whoever proves logins, by the rules of the site. Never rejects. */
import type { Note } from '../base/events.js';
import type { Ip, IpSet } from '../base/ip.js';
import { type StateStore, storeFault } from './store.js';
import { refusal, type Window, type WindowSource, windowKey } from './window.js';

export interface WindowOptions {
  /** How long a window is open, ms. */
  readonly length: number;
  /** Recipients in a window; 0: no bound of its own. */
  readonly budget: number;
  /** How many logins may have a window at one address at once. */
  readonly mostLogins: number;
  /** Networks in which an address stands for many people: no windows there. */
  readonly shared: IpSet;
}

/** `unknown`: the store did not answer, and nobody knows. */
export type WindowResult = 'opened' | 'renewed' | 'refused' | 'unknown';

export class Windows {
  readonly #store: StateStore;
  readonly #options: WindowOptions;
  readonly #note: Note;
  readonly #now: () => number;

  /** `now`: milliseconds since 1970. */
  constructor(store: StateStore, options: WindowOptions, note: Note, now: () => number) {
    this.#store = store;
    this.#options = options;
    this.#note = note;
    this.#now = now;
  }

  /** `login` was proven from `ip`, just now or at `at`: a window whose time is over already is refused without a word. */
  async open(login: string, ip: Ip, source: WindowSource, at?: number): Promise<WindowResult> {
    const { length, budget, mostLogins, shared } = this.#options;
    const said = { login, address: ip.text, source };
    const refuse = (why: string): 'refused' => {
      this.#note({ type: 'window-refused', ...said, why });
      return 'refused';
    };
    const why = refusal(ip, login, shared);
    if (why !== undefined) return refuse(why);
    const now = this.#now();
    const since = Math.min(at ?? now, now);
    const until = since + length;
    if (until <= now) return 'refused';
    const opened = await this.#ask(async () => {
      if ((await this.#store.marked('suspended', login, now)) !== undefined) return 'suspended';
      const window: Window = { ...said, key: windowKey(ip), since, until, used: 0, budget };
      return this.#store.open(window, mostLogins, now);
    });
    if (opened === undefined) return 'unknown';
    if (opened === 'suspended') return refuse('the login is suspended');
    if (opened === 'full') return refuse(`${mostLogins} other logins have windows at this address`);
    this.#note({ type: 'window-opened', ...said, until, renewed: opened === 'renewed' });
    return opened;
  }

  /** Closes the windows that match all that is given, and says how many; undefined: not known. */
  async close(
    which: { readonly ip?: Ip; readonly login?: string },
    why: string,
  ): Promise<number | undefined> {
    const { ip, login } = which;
    const place = ip === undefined ? {} : { key: windowKey(ip) };
    const who = login === undefined ? {} : { login };
    const closed = await this.#ask(() => this.#store.close({ ...place, ...who }, this.#now()));
    if (closed !== undefined && closed > 0)
      this.#note({ type: 'window-closed', ...who, ...(ip === undefined ? {} : { address: ip.text }), why });
    return closed;
  }

  /** The open windows at an address, the one that lasts longest first; undefined: not known. */
  at(ip: Ip): Promise<readonly Window[] | undefined> {
    return this.#ask(() => this.#store.lookup(windowKey(ip), this.#now()));
  }

  /** The open windows, at most `limit`; undefined: not known. */
  list(limit: number): Promise<readonly Window[] | undefined> {
    return this.#ask(() => this.#store.list(limit, this.#now()));
  }

  async #ask<T>(ask: () => Promise<T>): Promise<T | undefined> {
    try {
      return await ask();
    } catch (error) {
      this.#note(storeFault(error, 'windows'));
      return undefined;
    }
  }
}
