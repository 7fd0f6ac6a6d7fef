/** Sessions of any protocol that are to finish what they have begun. */

interface Sessions {
  readonly size: number;
  [Symbol.iterator](): Iterator<{ shutdown(): void }>;
}

/** Bids each to come to an end; resolves when `onEmpty` has been called back, at the latest after `ms`. */
export const shutDown = async (
  sessions: Sessions,
  onEmpty: (done: () => void) => void,
  ms: number,
): Promise<void> => {
  const empty = new Promise<void>((resolve) => onEmpty(resolve));
  for (const session of [...sessions]) session.shutdown();
  if (sessions.size === 0) return;
  let timer: NodeJS.Timeout | undefined;
  const late = new Promise<void>((resolve) => {
    timer = setTimeout(resolve, ms);
  });
  await Promise.race([empty, late]);
  clearTimeout(timer);
};
