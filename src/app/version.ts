import { readFileSync } from 'node:fs';

const read = (): string => {
  const read: unknown = JSON.parse(readFileSync(new URL('../../package.json', import.meta.url), 'utf8'));
  if (typeof read === 'object' && read !== null && 'version' in read && typeof read.version === 'string')
    return read.version;
  throw new Error('package.json names no version');
};

/** This Sekisho's version, as its package says. */
export const VERSION = read();
