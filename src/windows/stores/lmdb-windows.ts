/** The windows in an LMDB file. */
import type { Database } from 'lmdb';
import type { StoreOperation } from '../store.js';
import { isOpen, isWindow, type Opening, openIn, openOnes, spendIn, type Window } from '../window.js';
import { type Decision, quietly } from './lmdb-change.js';
import type { Change, LmdbEnv } from './lmdb-env.js';

/** Every so many writes some entries are looked at for what has expired, and at each question for the size. */
const SWEEP_EVERY = 64;
const SWEEP_ON_WRITE = 256;
const SWEEP_ON_SIZE = 2_000;

const isSound = (value: unknown): value is readonly Window[] => Array.isArray(value) && value.every(isWindow);

/** What was read back, or an error for what is none of ours. */
const windowsOf = (held: unknown): readonly Window[] => {
  if (held !== undefined && !isSound(held)) throw new Error('an entry that is damaged');
  return held ?? [];
};

export class LmdbWindows {
  readonly #env: LmdbEnv;
  readonly #windows: Database<readonly Window[], string>;
  /** By login and key: whose windows are where; its size is the number of windows. */
  readonly #logins: Database<true, [string, string]>;
  readonly #change: Change<readonly Window[], string>;
  #hand: string | undefined;
  #writes = 0;

  constructor(env: LmdbEnv) {
    this.#env = env;
    this.#windows = env.root.openDB({ name: 'windows', useVersions: true });
    this.#change = env.changes(this.#windows, isSound);
    this.#logins = env.root.openDB({ name: 'logins' });
  }

  /** The new windows of a key, and the index that goes with them. */
  #put<T>(
    key: string,
    before: readonly Window[],
    windows: readonly Window[],
    result: T,
  ): Decision<readonly Window[], T> {
    const also = (): void => {
      for (const { login } of before)
        if (!windows.some((each) => each.login === login)) quietly(this.#logins.remove([login, key]));
      for (const { login } of windows)
        if (!before.some((each) => each.login === login)) quietly(this.#logins.put([login, key], true));
    };
    return { value: windows.length === 0 ? undefined : windows, result, also };
  }

  async open(window: Window, most: number, now: number): Promise<Opening> {
    const { key } = window;
    const opening = await this.#change<Opening>('open', key, (held = []) => {
      const { result, windows } = openIn(held, window, most, now);
      return result === 'full' ? { keep: true, result } : this.#put(key, held, windows, result);
    });
    // What is wrong with the others is no reason to take this one for not opened.
    if (++this.#writes % SWEEP_EVERY === 0) await this.#sweep(SWEEP_ON_WRITE, now).catch(() => undefined);
    return opening;
  }

  async lookup(key: string, now: number): Promise<readonly Window[]> {
    const held = this.#env.read('lookup', () => windowsOf(this.#windows.get(key)));
    return openOnes(held, now);
  }

  spend(key: string, login: string, amount: number, now: number): Promise<boolean> {
    return this.#change<boolean>('spend', key, (held = []) => {
      const value = spendIn(held, login, amount, now);
      return value === undefined ? { keep: true, result: false } : { value, result: true };
    });
  }

  async close(
    { key, login }: { readonly key?: string; readonly login?: string },
    now: number,
  ): Promise<number> {
    const keys = this.#env.read('close', () => {
      if (key !== undefined) return [key];
      if (login === undefined) return [...this.#windows.getKeys()];
      return [...this.#logins.getKeys({ start: [login, ''], end: [login, '\uffff'] })].map(
        ([, each]) => each,
      );
    });
    const stays = (window: Window): boolean =>
      isOpen(window, now) && login !== undefined && window.login !== login;
    const closed = await Promise.all(keys.map((each) => this.#keep('close', each, stays, now)));
    return closed.reduce((sum, count) => sum + count, 0);
  }

  /** Drops the windows of a key that do not stay, and says how many of them were open. */
  #keep(
    operation: StoreOperation,
    key: string,
    stays: (window: Window) => boolean,
    now: number,
  ): Promise<number> {
    return this.#change<number>(operation, key, (held = []) => {
      const left = held.filter(stays);
      const closed = held.filter((window) => isOpen(window, now) && !stays(window)).length;
      return left.length === held.length ? { keep: true, result: 0 } : this.#put(key, held, left, closed);
    });
  }

  async list(limit: number, now: number): Promise<readonly Window[]> {
    return this.#env.read('list', () => {
      const listed: Window[] = [];
      for (const { value } of this.#windows.getRange({ snapshot: false })) {
        listed.push(
          ...windowsOf(value)
            .filter((each) => isOpen(each, now))
            .slice(0, limit - listed.length),
        );
        if (listed.length >= limit) break;
      }
      return listed;
    });
  }

  async size(now: number): Promise<number> {
    await this.#sweep(SWEEP_ON_SIZE, now);
    return this.#env.read('list', () => {
      const stats: { entryCount?: number } = this.#logins.getStats();
      return stats.entryCount ?? 0;
    });
  }

  async #sweep(limit: number, now: number): Promise<void> {
    const range = this.#hand === undefined ? {} : { start: this.#hand, exclusiveStart: true };
    this.#hand = undefined;
    const seen = this.#env.read('list', () => [...this.#windows.getRange({ ...range, limit })]);
    this.#hand = seen.length < limit ? undefined : seen.at(-1)?.key;
    const expired = seen.filter(({ value }) => !isSound(value) || value.some((each) => !isOpen(each, now)));
    await Promise.all(
      expired.map(({ key }) => this.#keep('list', key, (window) => isOpen(window, now), now)),
    );
  }
}
