/**
 * Follows a log file through whatever happens to it: not there yet, not readable for now, renamed (the old file is read
 * on until it has been quiet for a while, for a server writes into it until it is told), cut short (copytruncate), and
 * filled again at once.
 *
 * No position is kept over a restart: the end of the file is read again, up to `TAIL` octets. Each line has its own
 * time, so to read a login twice opens nothing that was not open, while a store in memory gets its windows back.
 *
 * @logdna/tail-file was tried: it ends when a file is missing for two seconds or not readable, takes what is left of a
 * renamed file into memory whole, and misses a file that was cut short and grew past its old length between two looks.
 */

import { constants } from 'node:fs';
import { type FileHandle, open, stat } from 'node:fs/promises';
import type { Note } from '../../base/events.js';
import { LogLines } from './log-line.js';

/** Octets of a line; longer ones are left out. */
export const LINE_OCTETS = 8_192;
/** How much of a file's end is read at its opening, octets. */
export const TAIL = 4 * 1_048_576;
const CHUNK = 65_536;
/** Octets before the place reached by which a file is known again. */
const MARK = 64;
/** Milliseconds between looks. */
const INTERVAL = 250;
/** How long a renamed file is read on after it last grew, ms, and how many of them. */
const QUIET = 60_000;
const MOST_OLD = 2;

/** Takes one line; the next is read when it is done. */
export type TakeLine = (line: string, live: boolean) => Promise<void>;

/** One file that is open, whatever its name has become. */
class OpenFile {
  readonly key: string;
  readonly #handle: FileHandle;
  #position: number;
  #lines: LogLines;
  #mark: Buffer = Buffer.alloc(0);
  /** Monotonic, ms. */
  grewAt = performance.now();

  private constructor(handle: FileHandle, key: string, start: number) {
    this.#handle = handle;
    this.key = key;
    this.#position = start;
    this.#lines = new LogLines(LINE_OCTETS, start > 0);
  }

  static async open(path: string): Promise<OpenFile> {
    // Non-blocking: a FIFO would keep us waiting for its writer.
    const handle = await open(path, constants.O_RDONLY | constants.O_NONBLOCK);
    try {
      const stats = await handle.stat();
      if (!stats.isFile()) throw new Error('it is not a file');
      return new OpenFile(handle, `${stats.dev}:${stats.ino}`, Math.max(0, stats.size - TAIL));
    } catch (error) {
      await handle.close();
      throw error;
    }
  }

  get empty(): boolean {
    return this.#position === 0;
  }

  /** Reads to the end. `stopped` is asked between chunks. */
  async drain(take: (line: string) => Promise<void>, stopped: () => boolean): Promise<void> {
    await this.#whole();
    const chunk = Buffer.alloc(CHUNK);
    while (!stopped()) {
      const { bytesRead } = await this.#handle.read(chunk, 0, CHUNK, this.#position);
      if (bytesRead === 0) return;
      const read = Buffer.from(chunk.subarray(0, bytesRead));
      this.#position += bytesRead;
      this.#mark = Buffer.concat([this.#mark, read]).subarray(-MARK);
      this.grewAt = performance.now();
      for (const line of this.#lines.feed(read)) await take(line);
    }
  }

  close(): Promise<void> {
    return this.#handle.close();
  }

  /** A file that is shorter, or has other octets where we were, was cut short: it is begun anew. */
  async #whole(): Promise<void> {
    const { size } = await this.#handle.stat();
    const { length } = this.#mark;
    if (size === this.#position) return;
    if (size > this.#position) {
      if (length === 0) return;
      const before = Buffer.alloc(length);
      const { bytesRead } = await this.#handle.read(before, 0, length, this.#position - length);
      if (bytesRead === length && before.equals(this.#mark)) return;
    }
    this.#position = Math.max(0, size - TAIL);
    this.#lines = new LogLines(LINE_OCTETS, this.#position > 0);
    this.#mark = Buffer.alloc(0);
  }
}

const codeOf = (error: unknown): string | undefined =>
  error instanceof Error && 'code' in error && typeof error.code === 'string' ? error.code : undefined;

const reason = (error: unknown): string => {
  switch (codeOf(error)) {
    case 'ENOENT':
    case 'ENOTDIR':
      return 'it is not there yet; waiting for it';
    case 'EACCES':
    case 'EPERM':
      return 'no permission to read it; trying again (on Debian, group adm may read logs)';
    default:
      return `${error instanceof Error ? error.message : String(error)}; trying again`;
  }
};

export class LogFollower {
  readonly #path: string;
  readonly #take: TakeLine;
  readonly #note: Note;
  #current: OpenFile | undefined;
  #old: OpenFile[] = [];
  #live = false;
  #stopped = false;
  #timer: NodeJS.Timeout | undefined;
  #looking: Promise<void> = Promise.resolve();
  /** What was last complained of, so that it is said once. */
  #fault: string | undefined;

  constructor(path: string, take: TakeLine, note: Note) {
    this.#path = path;
    this.#take = take;
    this.#note = note;
  }

  start(): void {
    this.#looking = this.#look().finally(() => {
      if (!this.#stopped) this.#timer = setTimeout(() => this.start(), INTERVAL).unref();
    });
  }

  async stop(): Promise<void> {
    this.#stopped = true;
    clearTimeout(this.#timer);
    await this.#looking;
    await Promise.all([...this.#old, this.#current].map((file) => file?.close()));
  }

  async #look(): Promise<void> {
    try {
      await this.#readAll();
      const key = await this.#key();
      if (key !== this.#current?.key) await this.#turn(key);
    } catch (error) {
      this.#complain(reason(error));
    }
  }

  /** Whoever cannot be read any more (a network file system that went away) is opened anew. */
  async #readAll(): Promise<void> {
    try {
      await this.#read();
    } catch (error) {
      const files = [...this.#old, this.#current];
      [this.#old, this.#current] = [[], undefined];
      for (const file of files) await file?.close().catch(() => {});
      throw error;
    }
  }

  async #read(): Promise<void> {
    const stopped = (): boolean => this.#stopped;
    const take = (line: string): Promise<void> => this.#take(line, this.#live);
    for (const file of this.#old) await file.drain(take, stopped);
    await this.#current?.drain(take, stopped);
    if (this.#current !== undefined) this.#live = true;
    // One that was renamed may grow until its writer has been told of the new one.
    const since = performance.now() - QUIET;
    const done = this.#current?.empty === false ? this.#old.filter(({ grewAt }) => grewAt < since) : [];
    this.#old = this.#old.filter((file) => !done.includes(file));
    for (const file of done) await file.close();
  }

  /** Which file bears the name now; undefined: none. */
  async #key(): Promise<string | undefined> {
    try {
      const { dev, ino } = await stat(this.#path);
      return `${dev}:${ino}`;
    } catch (error) {
      if (codeOf(error) !== 'ENOENT') throw error;
      if (this.#current === undefined) {
        // What comes later is new.
        this.#live = true;
        throw error;
      }
      return undefined;
    }
  }

  /** The name belongs to another file, or to none. */
  async #turn(key: string | undefined): Promise<void> {
    // Between the two renames of a rotation there is none: the old one is read on.
    if (key === undefined) return;
    const known = this.#old.find((file) => file.key === key);
    const next = known ?? (await OpenFile.open(this.#path));
    this.#old = this.#old.filter((file) => file !== known);
    if (this.#current !== undefined) this.#old.push(this.#current);
    this.#current = next;
    while (this.#old.length > MOST_OLD) await this.#old.shift()?.close();
    if (this.#fault !== undefined) this.#note({ type: 'warning', text: `${this.#path}: can be read again` });
    this.#fault = undefined;
    await this.#readAll();
  }

  #complain(why: string): void {
    if (why === this.#fault || this.#stopped) return;
    this.#fault = why;
    this.#note({ type: 'warning', text: `${this.#path}: ${why}` });
  }
}
