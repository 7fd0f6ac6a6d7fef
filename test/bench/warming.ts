/**
 * A server runs for months, and its first seconds tell nothing of them: a subject on Node is compiled anew, part by part, for
 * ten seconds and more, while one in C is at its best at once. So each is used until that shows no more.
 */

export interface Warmed {
  /** Of use, before anything was counted. */
  readonly seconds: number;
  /** False: the CPU of a unit was still falling when patience ended. */
  readonly settled: boolean;
}

/** What falls by less in a run is taken for noise; several such falls in a row add up against the same figure. */
const FALL = 0.95;
/** So many runs in a row without a fall. */
const STEADY = 2;

/**
 * Runs `once` until the CPU of a unit that it resolves with falls no more, or `most` times. Undefined, as for the mail server
 * alone: once is enough.
 */
export const warm = async (
  once: () => Promise<number | undefined>,
  seconds: number,
  most: number,
): Promise<Warmed> => {
  let least = Number.POSITIVE_INFINITY;
  let steady = 0;
  let runs = 0;
  while (runs < most && steady < STEADY) {
    const cpu = await once();
    runs += 1;
    if (cpu === undefined) return { seconds: runs * seconds, settled: true };
    if (cpu < least * FALL) [least, steady] = [cpu, 0];
    else steady += 1;
  }
  return { seconds: runs * seconds, settled: steady >= STEADY };
};
