/**
 * Whole messages that wait for their MTA: the beginning in memory, the rest in a file that has no name any more once it
 * is open. The room is bounded, for one message and for all of them; nothing is kept longer than its session.
 */
import { randomBytes } from 'node:crypto';
import { type FileHandle, open, unlink } from 'node:fs/promises';
import path from 'node:path';
import { Held } from './held.js';

export interface SpoolOptions {
  /** Where the files lie for as long as they have names. */
  readonly folder: string;
  /** Octets of a message that are kept in memory; what goes beyond is written to a file. */
  readonly memory: number;
  /** Octets of one message, and of all together. */
  readonly message: number;
  readonly total: number;
}

export const DEFAULT_SPOOL: Omit<SpoolOptions, 'folder'> = {
  memory: 256 * 1024,
  message: 100 * 1024 * 1024,
  total: 1024 * 1024 * 1024,
};

/** Octets that may wait to be written before the client is made to wait. */
const MOST_WAITING = 1024 * 1024;
const BLOCK = 64 * 1024;

/** What all messages share. */
export class SpoolRoom {
  /** Octets in use. */
  used = 0;

  constructor(readonly options: SpoolOptions) {}

  /** Rejects with an error fit for people when nothing can be kept there. */
  async check(): Promise<void> {
    try {
      await (await this.file()).close();
    } catch (error) {
      const why = error instanceof Error ? error.message : String(error);
      throw new Error(`spool: nothing can be written to ${this.options.folder}: ${why}`);
    }
  }

  /** Opens a file and takes its name away. Rejects when the folder will not have it. */
  async file(): Promise<FileHandle> {
    const name = path.join(this.options.folder, `sekisho-${process.pid}-${randomBytes(8).toString('hex')}`);
    const file = await open(name, 'wx+', 0o600);
    try {
      await unlink(name);
    } catch (error) {
      await file.close();
      throw error;
    }
    return file;
  }
}

export interface SpoolListener {
  /** What waited has been written. */
  room(): void;
  /** The disk failed or is full: the message cannot be kept. */
  failed(why: string): void;
}

export class Spool {
  /** Octets taken so far. */
  bytes = 0;

  readonly #room: SpoolRoom;
  readonly #listener: SpoolListener;
  readonly #memory = new Held();
  #inMemory = 0;
  readonly #queue = new Held();
  #waiting = 0;
  #file: FileHandle | undefined;
  #written = 0;
  #writing: Promise<void> | undefined;
  #failed: string | undefined;
  #freed = false;

  constructor(room: SpoolRoom, listener: SpoolListener) {
    this.#room = room;
    this.#listener = listener;
  }

  /** `wait`: taken, but no more before `room`. `full`: not taken. */
  add(view: Buffer): 'ok' | 'wait' | 'full' {
    const { memory, message, total } = this.#room.options;
    const full = this.bytes + view.length > message || this.#room.used + view.length > total;
    if (full || this.#failed !== undefined || this.#freed) return 'full';
    this.bytes += view.length;
    this.#room.used += view.length;
    // Once something has gone to the file, all that follows must.
    if (this.#file === undefined && this.#writing === undefined && this.#inMemory + view.length <= memory) {
      this.#memory.add(view);
      this.#inMemory += view.length;
      return 'ok';
    }
    this.#queue.add(view);
    this.#waiting += view.length;
    this.#writing ??= this.#write();
    return this.#waiting > MOST_WAITING ? 'wait' : 'ok';
  }

  /** All of it in order, once. Rejects when the disk failed. */
  async *blocks(): AsyncGenerator<Buffer> {
    for (const piece of this.#memory.take()) yield piece;
    await this.#writing;
    if (this.#failed !== undefined) throw new Error(this.#failed);
    for (let at = 0; at < this.#written; ) {
      const block = Buffer.allocUnsafe(Math.min(BLOCK, this.#written - at));
      const read = (await this.#file?.read(block, 0, block.length, at))?.bytesRead ?? 0;
      if (read === 0) throw new Error('the spool file is shorter than what was written');
      at += read;
      yield block.subarray(0, read);
    }
  }

  /** Forgets the message. */
  free(): void {
    if (this.#freed) return;
    this.#freed = true;
    this.#room.used -= this.bytes;
    this.#memory.clear();
    this.#queue.clear();
    const close = (): void => void this.#file?.close().catch(() => undefined);
    if (this.#writing === undefined) close();
    else void this.#writing.then(close);
  }

  async #write(): Promise<void> {
    try {
      this.#file ??= await this.#room.file();
      while (this.#waiting > 0 && !this.#freed) {
        const octets = Buffer.concat(this.#queue.take());
        await this.#writeAll(this.#file, octets);
        this.#waiting -= octets.length;
        if (this.#waiting <= MOST_WAITING && !this.#freed) this.#listener.room();
      }
    } catch (error) {
      this.#failed = error instanceof Error ? error.message : String(error);
      if (!this.#freed) this.#listener.failed(this.#failed);
    } finally {
      this.#writing = undefined;
    }
  }

  async #writeAll(file: FileHandle, octets: Buffer): Promise<void> {
    for (let at = 0; at < octets.length; ) {
      const { bytesWritten } = await file.write(octets, at, octets.length - at, this.#written);
      at += bytesWritten;
      this.#written += bytesWritten;
    }
  }
}
