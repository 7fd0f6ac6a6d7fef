/** From the configuration to the store of windows, marks and counts, and to the keeper of the windows. */
import { existsSync, statSync } from 'node:fs';
import path from 'node:path';
import type { Note } from '../base/events.js';
import { IpSet } from '../base/ip.js';
import { err, ok, type Result } from '../base/result.js';
import { Windows } from '../windows/keeper.js';
import type { StateStore } from '../windows/store.js';
import { LmdbStore } from '../windows/stores/lmdb.js';
import { type Compaction, compactFile } from '../windows/stores/lmdb-compact.js';
import { LMDB_FILE } from '../windows/stores/lmdb-env.js';
import { MemoryStore } from '../windows/stores/memory.js';
import { RedisStore } from '../windows/stores/redis.js';
import type { Setup } from './config.js';

/** The store that `store` names; an error says why it cannot be had. Warnings go to `note`. */
export const buildStore = ({ store }: Pick<Setup, 'store'>, note: Note): Result<StateStore, string> => {
  switch (store.kind) {
    case 'memory':
      return ok(new MemoryStore());
    case 'lmdb':
      return LmdbStore.open(store.folder, note);
    case 'redis':
      return ok(new RedisStore(store.options, note));
  }
};

/**
 * Root does what is done to the file as its owner: what root made, the user that runs `sekisho serve` could not open. The
 * configuration and its secrets have been read by then.
 */
const becomeOwner = (folder: string): void => {
  const { getuid, setuid, setgid, setgroups } = process;
  if (getuid?.() !== 0 || !existsSync(folder)) return;
  const file = path.join(folder, LMDB_FILE);
  const { uid, gid } = statSync(existsSync(file) ? file : folder);
  if (uid === 0) return;
  setgroups?.([gid]);
  setgid?.(gid);
  setuid?.(uid);
};

/** The same for a command beside the process that keeps the store: it never makes or replaces what is another's. */
export const openStore = ({ store }: Pick<Setup, 'store'>, note: Note): Result<StateStore, string> => {
  if (store.kind !== 'lmdb') return buildStore({ store }, note);
  becomeOwner(store.folder);
  return LmdbStore.visit(store.folder);
};

/** Makes the file of an LMDB store as small as what it holds; an error where there is none, or somebody has it open. */
export const compactStore = ({ store }: Pick<Setup, 'store'>): Promise<Result<Compaction, string>> => {
  if (store.kind !== 'lmdb') return Promise.resolve(err(`store: ${store.kind} has no file. Only lmdb has.`));
  becomeOwner(store.folder);
  return compactFile(store.folder);
};

/** Opens windows as `roaming` says. */
export const buildWindows = (
  { roaming: { length, budget, mostLogins, shared } }: Pick<Setup, 'roaming'>,
  store: StateStore,
  note: Note,
): Windows => new Windows(store, { length, budget, mostLogins, shared: IpSet.of(shared) }, note, Date.now);
