/**
 * Read, decide, write if nobody else wrote meanwhile, else anew: how processes that share a file change one entry.
 * Conditional writes are batched and run off the event loop, unlike lmdb-js' synchronous transactions; its asynchronous
 * ones were seen to hang (3.5.6 on Node 20.20).
 */
import { randomInt } from 'node:crypto';
import type { Database, RootDatabase } from 'lmdb';

/** Milliseconds that a change may take, with all its attempts. */
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

/** Resolves when what was decided is on the disk. `also` writes to other databases, under the same condition. */
export const changeEntry = async <V, K extends string | [string, string], T>(
  root: RootDatabase,
  database: Database<V, K>,
  key: K,
  sound: (value: unknown) => boolean,
  decide: (held: V | undefined) => Decision<V, T>,
): Promise<T> => {
  const end = performance.now() + PATIENCE;
  for (;;) {
    root.resetReadTxn();
    const entry = entryOf(database, key, sound);
    if (entry === 'damaged') {
      if (performance.now() >= end) throw new Error('an entry that is damaged');
      await within(database.remove(key), end - performance.now());
      continue;
    }
    const decision = decide(entry?.value);
    if ('keep' in decision) return decision.result;
    const { value, also, result } = decision;
    const write = (): void => {
      // Never the version of an entry that was there before.
      if (value === undefined) quietly(database.remove(key));
      else quietly(database.put(key, value, randomInt(1, 2 ** 47)));
      also?.();
    };
    const written =
      entry?.version === undefined
        ? database.ifNoExists(key, write)
        : database.ifVersion(key, entry.version, write);
    if (await within(written, end - performance.now())) return result;
  }
};
