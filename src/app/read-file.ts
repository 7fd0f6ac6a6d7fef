/** Files that people name, read with reasons that people understand. */
import { readFileSync } from 'node:fs';
import { err, ok } from '../base/result.js';
import type { ReadFile } from '../policy/source.js';

/** What hinders reading a file, in words. */
export const whyUnreadable = (error: unknown): string => {
  switch (error instanceof Error && 'code' in error ? error.code : undefined) {
    case 'ENOENT':
      return 'no such file';
    case 'EACCES':
      return 'no permission to read it';
    case 'EISDIR':
      return 'it is a folder, not a file';
    default:
      return error instanceof Error ? error.message : String(error);
  }
};

export const readTextFile: ReadFile = (path) => {
  try {
    return ok(readFileSync(path, 'utf8'));
  } catch (error) {
    return err(whyUnreadable(error));
  }
};
