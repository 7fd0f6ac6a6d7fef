/** The middle one of the sorted values (the mean of two); NaN of none. */
export const median = (values: readonly number[]): number => {
  const sorted = [...values].sort((a, b) => a - b);
  const [low, high] = [sorted[(sorted.length - 1) >> 1], sorted[sorted.length >> 1]];
  return low === undefined || high === undefined ? Number.NaN : (low + high) / 2;
};

/** The median of the ratios of what was measured in the same round; rounds that either lacks do not count. */
export const medianRatio = (
  ours: readonly (number | undefined)[],
  theirs: readonly (number | undefined)[],
): number =>
  median(
    ours.flatMap((value, round) => {
      const other = theirs[round];
      return value === undefined || other === undefined || other === 0 ? [] : [value / other];
    }),
  );
