/** What the commands that look into the state store share: opening it, closing it, telling what it said. */
import type { Setup } from '../app/config.js';
import { loadSetup } from '../app/config.js';
import { classicText, escapeText } from '../app/log-classic.js';
import { openStore } from '../app/state.js';
import type { Note } from '../base/events.js';
import { type StateStore, StoreError } from '../windows/store.js';
import { complain, print } from './output.js';

/** The most entries that a list shows. */
export const LISTED = 10_000;

export interface StateOptions {
  readonly config: string;
  readonly json?: boolean;
}

export interface State {
  readonly setup: Setup;
  readonly store: StateStore;
  readonly note: Note;
}

const MEMORY =
  'store: memory is seen by no other process; use store: { lmdb: DIR }, or { redis: URL }, and restart, so that this command and the proxy see the same';

/** What went wrong goes to standard error; what came about, each command says itself. */
const note: Note = (event) => {
  switch (event.type) {
    case 'warning':
    case 'store-error':
    case 'internal-error':
    case 'window-refused':
      process.stderr.write(`sekisho: ${escapeText(classicText(event))}\n`);
  }
};

/** Does some work on the store of a configuration. Exit code 2 when it cannot be had or does not answer. */
export const withState = async (
  { config }: StateOptions,
  work: (state: State) => Promise<void>,
): Promise<void> => {
  const setup = loadSetup({ config });
  if (!setup.ok) return complain(setup.error.lines, 2);
  if (setup.value.store.kind === 'memory') return complain([`${config}: ${MEMORY}`], 2);
  await withStore(setup.value, work);
};

/** The same with a configuration that has been read and names a store that processes share. */
export const withStore = async (setup: Setup, work: (state: State) => Promise<void>): Promise<void> => {
  const store = openStore(setup, note);
  if (!store.ok) return complain([store.error], 2);
  try {
    await work({ setup, store: store.value, note });
  } catch (error) {
    if (!(error instanceof StoreError)) throw error;
    complain([`store: ${error.operation}: ${error.message}`], 2);
  } finally {
    await store.value.dispose();
  }
};

/** A moment for people and programs alike; null: no end. */
export const moment = (time: number): string | null =>
  Number.isFinite(time) ? new Date(time).toISOString() : null;

/** The fact as JSON, or its lines, in which nothing that others wrote can pass for a line of ours. */
export const tell = ({ json }: StateOptions, fact: unknown, lines: readonly string[]): void => {
  if (json === true) print(JSON.stringify(fact, null, 2));
  else for (const line of lines) print(escapeText(line));
};

/** A list that was cut says so. */
export const warnIfCut = (listed: readonly unknown[]): void => {
  if (listed.length >= LISTED)
    process.stderr.write(`sekisho: only the first ${LISTED} are shown; there may be more\n`);
};
