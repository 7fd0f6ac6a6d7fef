/** What a person reads in a terminal. */

/** Faults to standard error, one a line, and the exit code. */
export const complain = (faults: readonly string[], code: 1 | 2): void => {
  for (const fault of faults) process.stderr.write(`sekisho: ${fault}\n`);
  process.exitCode = code;
};

export const print = (text: string): void => {
  process.stdout.write(text.endsWith('\n') ? text : `${text}\n`);
};
