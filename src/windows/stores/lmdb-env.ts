/** The LMDB file of a folder: opening it, setting it aside, reading and changing it. */
import { existsSync, mkdirSync, renameSync, statSync } from 'node:fs';
import { createRequire } from 'node:module';
import path from 'node:path';
import type { Database, RootDatabase } from 'lmdb';
import type { Note } from '../../base/events.js';
import { err, ok, type Result } from '../../base/result.js';
import { StoreError, type StoreOperation } from '../store.js';
import { type Decision, EntryChanges, guardCommits } from './lmdb-change.js';
import { soundFile } from './lmdb-file.js';

export const LMDB_FILE = 'state.mdb';
const FORMAT = 1;

/** Loaded by whoever has such a store, and nobody else: it is native code, and it makes up code of its own. */
const lmdb = (): typeof import('lmdb') => createRequire(import.meta.url)('lmdb');

const messageOf = (error: unknown): string => (error instanceof Error ? error.message : String(error));

/** Whether this is a store of ours: made by this format, or new. */
const isOurs = (root: RootDatabase): boolean => {
  const meta = root.openDB<number, string>({ name: 'meta' });
  const format = meta.get('format');
  if (format === undefined && [...root.getKeys()].length <= 1) {
    meta.putSync('format', FORMAT);
    return true;
  }
  return format === FORMAT;
};

const openRoot = (file: string): Result<RootDatabase, string> => {
  const sound = soundFile(file);
  if (!sound.ok) return sound;
  let root: RootDatabase | undefined;
  guardCommits();
  try {
    root = lmdb().open({ path: file, maxDbs: 8, maxReaders: 256, overlappingSync: false });
    if (isOurs(root)) return ok(root);
    void root.close();
    return err('it is no store of this version of Sekisho');
  } catch (error) {
    void root?.close();
    return err(messageOf(error));
  }
};

/** Changes an entry as is decided by what it holds. Rejects with StoreError. */
export type Change<V, K> = <T>(
  operation: StoreOperation,
  key: K,
  decide: (held: V | undefined) => Decision<V, T>,
) => Promise<T>;

export class LmdbEnv {
  readonly folder: string;
  readonly root: RootDatabase;

  private constructor(folder: string, root: RootDatabase) {
    this.folder = folder;
    this.root = root;
  }

  /**
   * Opens the file of a folder, which is made if need be. A file that is damaged or not ours is put aside with a
   * warning, and an empty one is begun. An error: the folder cannot be used.
   */
  static open(folder: string, note: Note): Result<LmdbEnv, string> {
    const file = path.join(folder, LMDB_FILE);
    const unusable = (why: string): Result<never, string> =>
      err(`store: ${folder}: ${why}. It must be a folder in which this user may write.`);
    try {
      mkdirSync(folder, { recursive: true, mode: 0o750 });
    } catch (error) {
      return unusable(messageOf(error));
    }
    const first = openRoot(file);
    if (first.ok) return ok(new LmdbEnv(folder, first.value));
    const aside = `${file}.bad-${Date.now()}`;
    try {
      renameSync(file, aside);
    } catch {
      return unusable(first.error);
    }
    const text = `store: ${file} cannot be used (${first.error}). It is now ${aside}; open windows, suspensions and counts begin anew`;
    note({ type: 'warning', text });
    const second = openRoot(file);
    return second.ok ? ok(new LmdbEnv(folder, second.value)) : unusable(second.error);
  }

  /** For a command beside the process whose file it is: nothing is set aside, and nothing made that is another's. */
  static visit(folder: string): Result<LmdbEnv, string> {
    const file = path.join(folder, LMDB_FILE);
    if (!existsSync(folder)) return err(`store: ${folder}: there is no such folder. sekisho serve makes it.`);
    if (!existsSync(file) && statSync(folder).uid !== process.getuid?.())
      return err(`store: ${file}: there is no such file. sekisho serve makes it.`);
    const root = openRoot(file);
    if (root.ok) return ok(new LmdbEnv(folder, root.value));
    return err(
      `store: ${file} cannot be used: ${root.error}. Run this as the user that runs sekisho serve; a damaged file is set aside when that starts.`,
    );
  }

  read<T>(operation: StoreOperation, read: () => T): T {
    try {
      this.root.resetReadTxn();
      return read();
    } catch (error) {
      throw new StoreError(operation, messageOf(error));
    }
  }

  /** How entries of a database are changed; what a change resolves with is on the disk. */
  changes<V, K extends string | [string, string]>(
    database: Database<V, K>,
    sound: (value: unknown) => boolean,
  ): Change<V, K> {
    const changes = new EntryChanges(this.root, database, sound);
    return async (operation, key, decide) => {
      try {
        return await changes.change(key, decide);
      } catch (error) {
        throw new StoreError(operation, messageOf(error));
      }
    };
  }

  async close(): Promise<void> {
    await this.root.close();
  }
}
