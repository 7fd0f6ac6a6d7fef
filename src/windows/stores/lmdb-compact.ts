/**
 * Gives back what an LMDB file holds of free space: LMDB uses it again, but never makes the file smaller. Only while
 * nobody else has it open, for who has goes on with the old file.
 */
import {
  closeSync,
  existsSync,
  fsyncSync,
  openSync,
  readFileSync,
  renameSync,
  rmSync,
  statSync,
} from 'node:fs';
import path from 'node:path';
import { err, ok, type Result } from '../../base/result.js';
import { LMDB_FILE, LmdbEnv } from './lmdb-env.js';
import { soundFile } from './lmdb-file.js';

/** Octets. */
export interface Compaction {
  readonly before: number;
  readonly after: number;
}

const sync = (file: string): void => {
  const descriptor = openSync(file, 'r');
  try {
    fsyncSync(descriptor);
  } finally {
    closeSync(descriptor);
  }
};

/**
 * Other processes that have it open. Each holds a lock on LMDB's lock file from before it opens the other until it ends,
 * and Linux lists those of this PID namespace in /proc/locks; LMDB's own table has only those that have read just now.
 * Undefined: it cannot be told, as when our own is not among them.
 */
const others = (lockInode: number): string[] | undefined => {
  const held = new RegExp(`^\\d+: POSIX +\\S+ +\\S+ +(\\d+) [0-9a-f]+:[0-9a-f]+:${lockInode} `, 'gm');
  let listed: string;
  try {
    listed = readFileSync('/proc/locks', 'utf8');
  } catch {
    return undefined;
  }
  const pids = new Set([...listed.matchAll(held)].map(([, pid = '']) => pid));
  return pids.delete(`${process.pid}`) ? [...pids] : undefined;
};

/**
 * Copies what is in use to a file beside it and puts that in its place. Whenever it is cut off, the one or the other is
 * there and whole. `meanwhile` runs before the last look at who has it open, for tests.
 */
export const compactFile = async (
  folder: string,
  meanwhile = (): Promise<void> => Promise.resolve(),
): Promise<Result<Compaction, string>> => {
  const file = path.join(folder, LMDB_FILE);
  const fresh = `${file}.compact`;
  const fault = (why: string): Result<never, string> => err(`store: ${file}: ${why}`);
  if (!existsSync(file)) return fault('there is no such file. sekisho serve makes it.');
  const opened = LmdbEnv.visit(folder);
  if (!opened.ok) return opened;
  const env = opened.value;
  const lock = `${file}-lock`;
  const lockInode = statSync(lock).ino;
  const inUse = (): string | undefined => {
    const pids = others(lockInode);
    if (pids === undefined) return 'somebody (/proc/locks does not tell who)';
    return pids.length === 0 ? undefined : `process ${pids.join(', ')}`;
  };
  try {
    const before = statSync(file).size;
    const user = inUse();
    if (user !== undefined) return fault(`${user} has it open. Stop sekisho serve first.`);
    // One that was cut off before.
    rmSync(fresh, { force: true });
    await env.root.backup(fresh, true);
    sync(fresh);
    const copy = soundFile(fresh);
    if (!copy.ok) return fault(`the copy is damaged: ${copy.error}. Nothing was changed.`);
    await meanwhile();
    const newcomer = inUse();
    if (newcomer !== undefined)
      return fault(`${newcomer} has opened it meanwhile. Nothing was changed. Stop sekisho serve first.`);
    renameSync(fresh, file);
    // Who opens the new file begins anew: the locks tell of changes that it has not seen.
    rmSync(lock, { force: true });
    sync(folder);
    const late = inUse();
    if (late !== undefined)
      return fault(`it is done, but ${late} has just opened the old one. Restart it now.`);
    return ok({ before, after: copy.value.octets });
  } catch (error) {
    return fault(error instanceof Error ? error.message : String(error));
  } finally {
    await env.close();
    rmSync(fresh, { force: true });
  }
};
