import { randomBytes } from 'node:crypto';

/**
 * Makes session identifiers: unique over restarts, and short, since they stand in each Received line. `kind` keeps those
 * of one protocol apart from those of another.
 */
export const sessionIds = (kind = ''): (() => string) => {
  const prefix = `${Math.floor(Date.now() / 1000).toString(36)}${randomBytes(2).toString('hex')}${kind}`;
  let count = 0;
  return () => {
    count += 1;
    return `${prefix}-${count.toString(36)}`;
  };
};
