/** How many processes serve together: the key `processes` and the flag `--processes`. */
import os from 'node:os';
import { z } from 'zod';
import type { StoreSetup } from './config-store.js';

export const MOST_PROCESSES = 64;

const processesError = `must be auto, or a whole number from 1 to ${MOST_PROCESSES}`;

export const Processes = z.union([z.literal('auto'), z.int().min(1).max(MOST_PROCESSES)], {
  error: processesError,
});

export type ProcessesInput = z.infer<typeof Processes>;

/** Of the command line; faults say what would be right. */
export const parseProcesses = (text: string, faults: string[]): ProcessesInput => {
  const parsed = Processes.safeParse(/^\d{1,3}$/.test(text) ? Number(text) : text);
  if (parsed.success) return parsed.data;
  faults.push(`--processes ${text}: ${processesError}.`);
  return 1;
};

/** `auto`: one for each core that this process may use. */
const countOf = (given: ProcessesInput): number =>
  given === 'auto' ? Math.min(os.availableParallelism(), MOST_PROCESSES) : given;

/**
 * How many processes there are to be. Several need a store that they share: what one alone knew of bans, windows, suspended
 * logins and counts would not hold at the others.
 */
export const processesOf = (given: ProcessesInput, store: StoreSetup, faults: string[]): number => {
  if (given !== 1 && store.kind === 'memory')
    faults.push(
      `processes: ${given}: several processes need a store that they share, or a ban or a suspended login would hold at one of them alone. Add store: { lmdb: FOLDER } or { redis: URL }.`,
    );
  return countOf(given);
};
