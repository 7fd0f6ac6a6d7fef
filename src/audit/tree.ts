/**
 * A host's files: this one's, or a copy of another's below a folder. In a copy, links are followed as that host would,
 * never out of the folder: `/etc/rc2.d/S88sendmail -> /etc/init.d/sendmail` is about the copy's own `/etc`.
 */
import { closeSync, lstatSync, openSync, readdirSync, readlinkSync, readSync } from 'node:fs';
import path from 'node:path';

/** Octets read of one file; what administrators write is far below that. */
const MOST = 4 << 20;
/** Links followed for one path, as Linux has it. */
const LINKS = 40;

export class Tree {
  readonly #root: string;
  readonly #blind = new Map<string, string>();

  /** `root`: an existing folder; `/` for this host. */
  constructor(root: string) {
    this.#root = path.resolve(root);
  }

  /** Files and folders that are there and could not be read, with the reason. */
  get blind(): readonly string[] {
    return [...this.#blind].map(([file, why]) => `${file}: ${why}`);
  }

  /** The first 4 MB as Latin-1, undefined if there is no such file. Lines end with LF whatever they ended with. */
  text(file: string): string | undefined {
    const real = this.#resolve(file);
    if (real === undefined) return undefined;
    return this.#try(file, () => {
      if (!lstatSync(real).isFile()) return undefined;
      const fd = openSync(real, 'r');
      try {
        // Files below /proc say that they have no length.
        const chunks: Buffer[] = [];
        for (let total = 0; total < MOST; ) {
          const chunk = Buffer.alloc(65_536);
          const count = readSync(fd, chunk, 0, chunk.length, null);
          if (count === 0) break;
          chunks.push(chunk.subarray(0, count));
          total += count;
        }
        return Buffer.concat(chunks).toString('latin1').replace(/\r\n?/g, '\n');
      } finally {
        closeSync(fd);
      }
    });
  }

  lines(file: string): readonly string[] {
    return this.text(file)?.split('\n') ?? [];
  }

  /** Names in a folder, sorted; none if there is no such folder. */
  list(folder: string): readonly string[] {
    const real = this.#resolve(folder);
    if (real === undefined) return [];
    return (
      this.#try(folder, () => (lstatSync(real).isDirectory() ? readdirSync(real).sort() : undefined)) ?? []
    );
  }

  /** Where a link points, as it is written; undefined for anything else. */
  link(file: string): string | undefined {
    const folder = this.#resolve(path.posix.dirname(file));
    if (folder === undefined) return undefined;
    try {
      return readlinkSync(path.join(folder, path.posix.basename(file)));
    } catch {
      return undefined;
    }
  }

  /** Whether something is there, a link with nothing behind it included. */
  exists(file: string): boolean {
    return this.#resolve(file) !== undefined || this.link(file) !== undefined;
  }

  #try<T>(file: string, look: () => T | undefined): T | undefined {
    try {
      return look();
    } catch (error) {
      const code = (error as NodeJS.ErrnoException).code ?? String(error);
      // A process that ended meanwhile is no fault of anybody's.
      if (code !== 'ENOENT' && code !== 'ESRCH') this.#blind.set(file, code);
      return undefined;
    }
  }

  /** The path on this host of a path on the audited one, links followed within it; undefined if nothing is there. */
  #resolve(file: string): string | undefined {
    const todo = file.split('/').filter((part) => part !== '');
    const done: string[] = [];
    for (let links = 0; ; ) {
      const part = todo.shift();
      if (part === undefined) return path.join(this.#root, ...done);
      if (part === '.') continue;
      if (part === '..') {
        done.pop();
        continue;
      }
      const here = path.join(this.#root, ...done, part);
      const stat = this.#try(`/${[...done, part].join('/')}`, () =>
        lstatSync(here, { throwIfNoEntry: false }),
      );
      if (stat === undefined) return undefined;
      if (!stat.isSymbolicLink()) {
        done.push(part);
        continue;
      }
      links += 1;
      if (links > LINKS) return undefined;
      const target = this.#try(here, () => readlinkSync(here));
      if (target === undefined) return undefined;
      if (target.startsWith('/')) done.length = 0;
      todo.unshift(...target.split('/').filter((each) => each !== ''));
    }
  }
}
