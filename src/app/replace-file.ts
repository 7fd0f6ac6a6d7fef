/** Changes a file that others read meanwhile: they see the old one or the new one, and of two changes none is lost. */
import { randomBytes } from 'node:crypto';
import { link, open, readFile, realpath, rename, rm, stat, writeFile } from 'node:fs/promises';
import os from 'node:os';
import path from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { err, ok, type Result } from '../base/result.js';

/** Milliseconds to wait for somebody else's change, and between looks. */
const PATIENCE = 15_000;
const PAUSE = 40;
/** Changes by hand, meanwhile, after which we give up. */
const TRIES = 5;

const codeOf = (error: unknown): string =>
  error instanceof Error && 'code' in error ? String(error.code) : '';

const messageOf = (error: unknown, file: string): string => {
  const code = codeOf(error);
  if (code === 'EACCES' || code === 'EPERM')
    return `${file}: no permission to change it: its folder must be writable, and its owner is kept`;
  if (code === 'ENOENT') return `${file}: its folder does not exist`;
  return `${file}: ${error instanceof Error ? error.message : 'unknown error'}`;
};

/** The text, or undefined when there is no such file. */
const textOf = async (file: string): Promise<string | undefined> => {
  try {
    return await readFile(file, 'utf8');
  } catch (error) {
    if (codeOf(error) === 'ENOENT') return undefined;
    throw error;
  }
};

const isDead = (pid: number): boolean => {
  try {
    process.kill(pid, 0);
    return false;
  } catch (error) {
    return codeOf(error) === 'ESRCH';
  }
};

/** Whoever wrote this was of this host and is gone. */
const isStale = (mark: string): boolean => {
  const [pid, host] = mark.split(' ');
  return host === os.hostname() && /^[1-9][0-9]*$/.test(pid ?? '') && isDead(Number(pid));
};

/** Takes a dead holder's lock away, and no other: renaming is the step that only one can take. */
const clear = async (lock: string, stale: string, unique: string): Promise<void> => {
  try {
    await rename(lock, unique);
    if ((await readFile(unique, 'utf8')) !== stale) await link(unique, lock);
  } catch (error) {
    if (!['ENOENT', 'EEXIST'].includes(codeOf(error))) throw error;
  } finally {
    await rm(unique, { force: true });
  }
};

/** Takes the lock, whose content says by whom it is held. Undefined: somebody else kept it for too long. */
const acquire = async (lock: string): Promise<string | undefined> => {
  const unique = `${lock}.${process.pid}.${randomBytes(6).toString('hex')}`;
  const mark = `${process.pid} ${os.hostname()} ${randomBytes(6).toString('hex')}`;
  await writeFile(unique, mark, { mode: 0o600, flag: 'wx' });
  try {
    const end = Date.now() + PATIENCE;
    while (Date.now() < end) {
      try {
        await link(unique, lock);
        return mark;
      } catch (error) {
        if (codeOf(error) !== 'EEXIST') throw error;
      }
      const holder = await textOf(lock);
      if (holder !== undefined && isStale(holder)) await clear(lock, holder, `${unique}.stale`);
      else await sleep(PAUSE);
    }
    return undefined;
  } finally {
    await rm(unique, { force: true });
  }
};

/** What tells one version of a file from the next; undefined: there is none. */
const versionOf = async (file: string): Promise<string | undefined> => {
  try {
    const { ino, size, mtimeNs } = await stat(file, { bigint: true });
    return [ino, size, mtimeNs].join();
  } catch (error) {
    if (codeOf(error) === 'ENOENT') return undefined;
    throw error;
  }
};

/** Writes beside the file and syncs: mode and owner as they are; a new file is for its owner alone. */
const writeBeside = async (file: string, text: string): Promise<string> => {
  const beside = `${file}.${process.pid}.${randomBytes(6).toString('hex')}.tmp`;
  const handle = await open(beside, 'wx', 0o600);
  try {
    try {
      const [now, own] = [await stat(file), await handle.stat()];
      if (now.uid !== own.uid || now.gid !== own.gid) await handle.chown(now.uid, now.gid);
      await handle.chmod(now.mode & 0o7777);
    } catch (error) {
      if (codeOf(error) !== 'ENOENT') throw error;
    }
    await handle.writeFile(text);
    await handle.sync();
    return beside;
  } catch (error) {
    await rm(beside, { force: true });
    throw error;
  } finally {
    await handle.close();
  }
};

const syncFolder = async (file: string): Promise<void> => {
  const folder = await open(path.dirname(file), 'r');
  try {
    await folder.sync();
  } finally {
    await folder.close();
  }
};

/** Reads, changes, replaces. False: the file, or the lock, changed hands meanwhile. */
const attempt = async <E>(
  file: string,
  change: (text: string | undefined) => Result<string, E>,
  holds: () => Promise<boolean>,
): Promise<Result<boolean, E>> => {
  const before = await versionOf(file);
  const changed = change(await textOf(file));
  if (!changed.ok) return changed;
  const beside = await writeBeside(file, changed.value);
  if ((await versionOf(file)) !== before || !(await holds())) {
    await rm(beside, { force: true });
    return ok(false);
  }
  await rename(beside, file);
  await syncFolder(file);
  return ok(true);
};

/**
 * Replaces the text of a file by what `change` makes of it (undefined: there is no such file), at once and for good. A
 * symbolic link stays one. `change` may be called again when somebody changed the file by hand meanwhile.
 */
export const changeFile = async (
  name: string,
  change: (text: string | undefined) => Result<string, string>,
): Promise<Result<undefined, string>> => {
  try {
    const file = await realpath(name).catch(() => path.resolve(name));
    const lock = `${file}.lock`;
    const mark = await acquire(lock);
    if (mark === undefined) return err(`${file}: somebody else is changing it: ${lock} is theirs`);
    const holds = async (): Promise<boolean> => (await textOf(lock)) === mark;
    try {
      for (let i = 0; i < TRIES; i += 1) {
        const done = await attempt(file, change, holds);
        if (!done.ok) return done;
        if (done.value) return ok(undefined);
      }
      return err(`${file}: somebody else keeps changing it. Try again`);
    } finally {
      if (await holds()) await rm(lock, { force: true });
    }
  } catch (error) {
    return err(messageOf(error, name));
  }
};
