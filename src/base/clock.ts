/** A clock that never goes back. */

// The global itself is got anew at each use.
const clock = performance;

/** Milliseconds since some moment before the process began. */
export const monotonic = (): number => clock.now();

/** Seconds from `then`, of that clock, to `now`, to the microsecond. */
export const secondsSince = (then: number, now = monotonic()): number =>
  Math.round((now - then) * 1_000) / 1e6;
