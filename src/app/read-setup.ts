/** A setup with the files that it was read from, as they were. */
import { type Flags, loadSetup, type Setup } from './config.js';
import { readTextFile } from './read-file.js';

/** A setup with the files that it was read from. */
export interface Read {
  readonly setup: Setup;
  readonly files: Readonly<Record<string, string>>;
}

/** Reads everything that flags and files say, and remembers the files; the error says what is wrong. */
export const readSetup = (flags: Flags): Read | readonly string[] => {
  const files: Record<string, string> = {};
  const setup = loadSetup(flags, (path) => {
    const content = readTextFile(path);
    if (content.ok) files[path] = content.value;
    return content;
  });
  return setup.ok ? { setup: setup.value, files } : setup.error.lines;
};
