/**
 * State in a file that the processes of one host share and that outlives them. What was acknowledged is on the disk.
 * lmdb-js keeps one read snapshot for a while, so a read of what others wrote begins with `resetReadTxn`.
 */
import type { Note } from '../../base/events.js';
import { ok, type Result } from '../../base/result.js';
import type { Count, Mark, MarkKind, StateStore } from '../store.js';
import type { Opening, Window } from '../window.js';
import { LmdbEnv } from './lmdb-env.js';
import { LmdbCounts, LmdbMarks } from './lmdb-marks.js';
import { LmdbWindows } from './lmdb-windows.js';

export class LmdbStore implements StateStore {
  readonly name: string;
  readonly #env: LmdbEnv;
  readonly #windows: LmdbWindows;
  readonly #marks: LmdbMarks;
  readonly #counts: LmdbCounts;

  private constructor(env: LmdbEnv) {
    this.name = `lmdb ${env.folder}`;
    this.#env = env;
    this.#windows = new LmdbWindows(env);
    this.#marks = new LmdbMarks(env);
    this.#counts = new LmdbCounts(env);
  }

  /** Of the process whose folder it is: see `LmdbEnv.open`. */
  static open(folder: string, note: Note): Result<LmdbStore, string> {
    const env = LmdbEnv.open(folder, note);
    return env.ok ? ok(new LmdbStore(env.value)) : env;
  }

  /** Of a command beside it: see `LmdbEnv.visit`. */
  static visit(folder: string): Result<LmdbStore, string> {
    const env = LmdbEnv.visit(folder);
    return env.ok ? ok(new LmdbStore(env.value)) : env;
  }

  open(window: Window, most: number, now: number): Promise<Opening> {
    return this.#windows.open(window, most, now);
  }

  lookup(key: string, now: number): Promise<readonly Window[]> {
    return this.#windows.lookup(key, now);
  }

  spend(key: string, login: string, amount: number, now: number): Promise<boolean> {
    return this.#windows.spend(key, login, amount, now);
  }

  close(which: { readonly key?: string; readonly login?: string }, now: number): Promise<number> {
    return this.#windows.close(which, now);
  }

  list(limit: number, now: number): Promise<readonly Window[]> {
    return this.#windows.list(limit, now);
  }

  size(now: number): Promise<number> {
    return this.#windows.size(now);
  }

  mark(kind: MarkKind, mark: Mark, now: number): Promise<void> {
    return this.#marks.mark(kind, mark, now);
  }

  markOnce(kind: MarkKind, mark: Mark, now: number): Promise<Mark | undefined> {
    return this.#marks.markOnce(kind, mark, now);
  }

  marked(kind: MarkKind, key: string, now: number): Promise<Mark | undefined> {
    return this.#marks.marked(kind, key, now);
  }

  unmark(kind: MarkKind, key: string, now: number): Promise<boolean> {
    return this.#marks.unmark(kind, key, now);
  }

  marks(kind: MarkKind, limit: number, now: number): Promise<readonly Mark[]> {
    return this.#marks.marks(kind, limit, now);
  }

  count(key: string, amount: number, period: number): Promise<Count> {
    return this.#counts.count(key, amount, period);
  }

  uncount(key: string): Promise<void> {
    return this.#counts.uncount(key);
  }

  async ping(): Promise<void> {
    this.#env.read('connect', () => this.#env.root.getStats());
  }

  async dispose(): Promise<void> {
    await this.#env.close();
  }
}
