/**
 * Follows a unit in systemd's journal by its own reader. Journal files are compressed, chained and may change under the
 * eyes of whoever reads them; no other program is promised to read them right. So `journalctl` runs as a child, when a
 * `journal` is configured and not otherwise, with fixed arguments, no shell, no standard input, and an environment of
 * two variables; it is read no faster than windows are opened, and started again when it ends.
 *
 * `_SYSTEMD_UNIT` is what journald itself knows of the writer, so no other program of the host can forge a line.
 */
import { type ChildProcess, spawn } from 'node:child_process';
import type { Note } from '../../base/events.js';
import type { LogEntry } from './log-line.js';
import { LogLines } from './log-line.js';

export interface JournalOptions {
  /** Such as `dovecot.service`. */
  readonly unit: string;
  /** Journal files elsewhere than where journald keeps its own. */
  readonly directory: string | undefined;
}

/** `.service` and the like; no option of journalctl begins so. */
export const UNIT_NAME = /^[A-Za-z0-9][A-Za-z0-9:_.@\\-]{0,200}\.(?:service|scope|socket|slice)$/;

/** Octets of an entry as JSON; longer ones are left out. */
const ENTRY_OCTETS = 32_768;
const FIRST_WAIT = 1_000;
const MOST_WAIT = 60_000;
/** What ran so long, ms, was no false start. */
const SETTLED = 30_000;
const FIELDS = 'MESSAGE,SYSLOG_IDENTIFIER,SYSLOG_PID,_PID,_SYSTEMD_UNIT';

const isRecord = (value: unknown): value is Readonly<Record<string, unknown>> =>
  typeof value === 'object' && value !== null && !Array.isArray(value);

/** journalctl writes text as a string, and what is not UTF-8 or has control characters as a list of octets. */
const textOf = (value: unknown): string | undefined => {
  if (typeof value === 'string') return value;
  const octets = Array.isArray(value) && value.every((each) => Number.isInteger(each));
  return octets ? Buffer.from(value).toString('utf8') : undefined;
};

/** An entry of `--output=json`; undefined: it is none, or of another unit. */
export const journalEntry = (line: string, unit: string): LogEntry | undefined => {
  let entry: unknown;
  try {
    entry = JSON.parse(line);
  } catch {
    return undefined;
  }
  if (!isRecord(entry) || textOf(entry._SYSTEMD_UNIT) !== unit) return undefined;
  const message = textOf(entry.MESSAGE);
  const micros = Number(textOf(entry.__REALTIME_TIMESTAMP));
  if (message === undefined || !Number.isFinite(micros)) return undefined;
  const pid = textOf(entry.SYSLOG_PID) ?? textOf(entry._PID);
  return { time: Math.floor(micros / 1_000), program: textOf(entry.SYSLOG_IDENTIFIER), pid, message };
};

export class JournalFollower {
  readonly #options: JournalOptions;
  readonly #take: (entry: LogEntry) => Promise<void>;
  readonly #note: Note;
  /** How far back to begin, ms. */
  readonly #length: number;
  #child: ChildProcess | undefined;
  #stopped = false;
  #wake: (() => void) | undefined;
  #running: Promise<void> = Promise.resolve();

  constructor(options: JournalOptions, length: number, take: (entry: LogEntry) => Promise<void>, note: Note) {
    this.#options = options;
    this.#length = length;
    this.#take = take;
    this.#note = note;
  }

  start(): void {
    this.#running = this.#run();
  }

  async stop(): Promise<void> {
    this.#stopped = true;
    this.#child?.kill('SIGTERM');
    this.#wake?.();
    await this.#running;
  }

  async #run(): Promise<void> {
    let wait = FIRST_WAIT;
    while (!this.#stopped) {
      const begun = performance.now();
      const why = await this.#once();
      if (this.#stopped) return;
      if (performance.now() - begun > SETTLED) wait = FIRST_WAIT;
      const text = `journal of ${this.#options.unit}: ${why}; trying again in ${wait / 1_000} s`;
      this.#note({ type: 'warning', text });
      await new Promise<void>((resolve) => {
        const timer = setTimeout(resolve, wait).unref();
        this.#wake = () => {
          clearTimeout(timer);
          resolve();
        };
      });
      wait = Math.min(wait * 2, MOST_WAIT);
    }
  }

  /** Runs it until it ends, and says why. */
  async #once(): Promise<string> {
    const { unit, directory } = this.#options;
    // What is read again opens nothing that was not open: every entry has its own time.
    const since = `@${Math.floor((Date.now() - this.#length) / 1_000)}`;
    const place = directory === undefined ? [] : [`--directory=${directory}`];
    const child = spawn(
      'journalctl',
      [
        ...['--follow', '--no-tail', '--all', '--quiet', '--no-pager', '--output=json'],
        ...[`--output-fields=${FIELDS}`, `--since=${since}`, ...place, `_SYSTEMD_UNIT=${unit}`],
      ],
      { stdio: ['ignore', 'pipe', 'pipe'], env: { PATH: '/usr/bin:/bin', LC_ALL: 'C.UTF-8' }, cwd: '/' },
    );
    this.#child = child;
    let said = '';
    child.stderr.on('data', (chunk) => {
      said = (said + String(chunk)).slice(-500);
    });
    const ended = new Promise<string>((resolve) => {
      child.once('error', (error) => resolve(`journalctl cannot be run: ${error.message}`));
      child.once('close', (code, signal) =>
        resolve(`journalctl ended (${signal ?? code}) ${said.trim()}`.trimEnd()),
      );
    });
    try {
      const lines = new LogLines(ENTRY_OCTETS);
      for await (const chunk of child.stdout)
        if (Buffer.isBuffer(chunk))
          for (const line of lines.feed(chunk)) {
            const entry = journalEntry(line, unit);
            if (entry !== undefined && !this.#stopped) await this.#take(entry);
          }
    } catch {
      // Its end says more.
    }
    return ended;
  }
}
