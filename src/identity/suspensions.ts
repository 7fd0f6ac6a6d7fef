/** Logins that may not be used for a while: marks in the state store, shared by all processes. */
import type { Note } from '../base/events.js';
import { type StateStore, StoreError } from '../windows/store.js';

/** The longest period of a limit, ms: see policy/limit. */
const REMEMBERED = 30 * 86_400_000;
const lastKey = (login: string): string => `suspended:${login}`;

/** Every method rejects with the store's StoreError, and with nothing else. */
export class Suspensions {
  readonly #state: StateStore;
  readonly #note: Note;

  constructor(state: StateStore, note: Note) {
    this.#state = state;
    this.#note = note;
  }

  /**
   * Suspends the login and closes its windows; where they cannot be closed they are as good as closed, since
   * nobody lets a suspended login pass. `until` in ms since 1970, Infinity: until lifted.
   */
  async suspend(login: string, until: number, why: string, now: number): Promise<void> {
    await this.#state.mark('suspended', { key: login, value: why.slice(0, 256), until }, now);
    this.#note({ type: 'login-suspended', login, until, why });
    try {
      await this.#state.close({ login }, now);
      const mark = { key: lastKey(login), value: now.toString(36), until: now + REMEMBERED };
      await this.#state.mark('seen', mark, now);
    } catch (error) {
      if (!(error instanceof StoreError)) throw error;
      this.#note({ type: 'store-error', operation: error.operation, why: error.message });
    }
  }

  /** Something that is another after each suspension; undefined: there was none for long. */
  async last(login: string, now: number): Promise<string | undefined> {
    return (await this.#state.marked('seen', lastKey(login), now))?.value;
  }

  /** True if it was suspended. */
  async lift(login: string, why: string, now: number): Promise<boolean> {
    const was = await this.#state.unmark('suspended', login, now);
    if (was) this.#note({ type: 'login-lifted', login, why });
    return was;
  }

  async isSuspended(login: string, now: number): Promise<boolean> {
    return (await this.#state.marked('suspended', login, now)) !== undefined;
  }
}
