/**
 * Read, decide, write if nobody else wrote meanwhile, else anew: how processes that share a file change one entry.
 * Conditional writes are batched and run off the event loop, unlike lmdb-js' synchronous transactions; its asynchronous
 * ones were seen to hang (3.5.6 on Node 20.20).
 *
 * Changes of one entry by the same process do not race: those that come while one is being written wait, and are then
 * decided one after the other and written together. Else of a hundred at once one would win with each commit, and the
 * others would have been for nothing.
 */
import { randomInt } from 'node:crypto';
import type { Database, RootDatabase } from 'lmdb';

/** Milliseconds that a write may take, with all its attempts. Whoever waits for another's has as long of his own. */
export const PATIENCE = 5_000;

/** lmdb-js tells the reason by another promise, which ends the process if nobody listens to it. */
const reasonOf = (error: unknown): Promise<unknown> | undefined =>
  error instanceof Error && 'commitError' in error && error.commitError instanceof Promise
    ? error.commitError
    : undefined;

let guarded = false;
/**
 * When a commit fails (the disk is full), lmdb-js rejects promises that nobody can get hold of, which would end the
 * process; those whom the write concerns are told by their own. All other rejections end it as before.
 */
export const guardCommits = (): void => {
  if (guarded) return;
  guarded = true;
  process.on('unhandledRejection', (error: unknown) => {
    const reason = reasonOf(error);
    if (reason === undefined) throw error;
    reason.catch(() => undefined);
  });
};

/** For writes whose failure is told by the condition that they stand under, or does not matter. */
export const quietly = (write: Promise<unknown>): void =>
  void write.catch((error: unknown) => reasonOf(error)?.catch(() => undefined));

/** What to write: a value, nothing (the entry goes), or `keep`. */
export type Decision<V, T> =
  | { readonly keep: true; readonly result: T }
  | { readonly value: V | undefined; readonly result: T; readonly also?: () => void };

const within = async <T>(work: Promise<T>, time: number): Promise<T> => {
  let timer: NodeJS.Timeout | undefined;
  const late = new Promise<never>((_, reject) => {
    const why = `no write within ${PATIENCE} ms: another process holds the lock`;
    timer = setTimeout(() => reject(new Error(why)), Math.max(time, 1));
  });
  const told = work.catch(async (error: unknown) => {
    await reasonOf(error);
    throw error;
  });
  try {
    return await Promise.race([told, late]);
  } finally {
    clearTimeout(timer);
  }
};

const entryOf = <V, K extends string | [string, string]>(
  database: Database<V, K>,
  key: K,
  sound: (value: unknown) => boolean,
): ReturnType<Database<V, K>['getEntry']> | 'damaged' => {
  try {
    const entry = database.getEntry(key);
    return entry === undefined || sound(entry.value) ? entry : 'damaged';
  } catch {
    // A value that cannot be decoded. Where it is the file that cannot be read, taking the entry out fails too.
    return 'damaged';
  }
};

/** A change that somebody has asked for, whatever it resolves with. */
interface Asked<V> {
  /** Decides by what it finds; what it resolves with is told once that is on the disk. */
  readonly decide: (held: V | undefined) => {
    readonly step: Decision<V, unknown>;
    readonly tell: () => void;
  };
  readonly fail: (error: unknown) => void;
}

/** All the changes of one database. One value that is not `sound` is as good as none. */
export class EntryChanges<V, K extends string | [string, string]> {
  readonly #root: RootDatabase;
  readonly #database: Database<V, K>;
  readonly #sound: (value: unknown) => boolean;
  /** By entry that is being written: those that wait. */
  readonly #waiting = new Map<string, Asked<V>[]>();

  constructor(root: RootDatabase, database: Database<V, K>, sound: (value: unknown) => boolean) {
    this.#root = root;
    this.#database = database;
    this.#sound = sound;
  }

  /** Resolves when what was decided is on the disk. `decide` may be called more than once. */
  change<T>(key: K, decide: (held: V | undefined) => Decision<V, T>): Promise<T> {
    return new Promise<T>((resolve, reject) => {
      const asked: Asked<V> = {
        decide: (held) => {
          const step = decide(held);
          return { step, tell: () => resolve(step.result) };
        },
        fail: reject,
      };
      const name = typeof key === 'string' ? key : key.join('\0');
      const waiting = this.#waiting.get(name);
      if (waiting === undefined) void this.#serve(key, name, [asked]);
      else waiting.push(asked);
    });
  }

  async #serve(key: K, name: string, first: readonly Asked<V>[]): Promise<void> {
    for (let all = first; all.length > 0; all = this.#waiting.get(name) ?? []) {
      this.#waiting.set(name, []);
      try {
        for (const tell of await this.#write(key, all)) tell();
      } catch (error) {
        for (const { fail } of all) fail(error);
      }
    }
    this.#waiting.delete(name);
  }

  /** Gives what tells each of them. */
  async #write(key: K, all: readonly Asked<V>[]): Promise<readonly (() => void)[]> {
    const database = this.#database;
    const end = performance.now() + PATIENCE;
    for (;;) {
      this.#root.resetReadTxn();
      const entry = entryOf(database, key, this.#sound);
      if (entry === 'damaged') {
        if (performance.now() >= end) throw new Error('an entry that is damaged');
        await within(database.remove(key), end - performance.now());
        continue;
      }
      let value = entry?.value;
      const tells: (() => void)[] = [];
      const also: (() => void)[] = [];
      let changed = false;
      for (const { decide } of all) {
        const { step, tell } = decide(value);
        tells.push(tell);
        if ('keep' in step) continue;
        changed = true;
        value = step.value;
        // Writes to other databases, under the same condition.
        if (step.also !== undefined) also.push(step.also);
      }
      if (!changed) return tells;
      const write = (): void => {
        // Never the version of an entry that was there before.
        if (value === undefined) quietly(database.remove(key));
        else quietly(database.put(key, value, randomInt(1, 2 ** 47)));
        for (const each of also) each();
      };
      const written =
        entry?.version === undefined
          ? database.ifNoExists(key, write)
          : database.ifVersion(key, entry.version, write);
      if (await within(written, end - performance.now())) return tells;
    }
  }
}
