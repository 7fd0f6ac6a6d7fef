/** From the lines of a log to windows that end as if Sekisho had been told at once. */
import type { Note } from '../../base/events.js';
import { type Ip, parseIp } from '../../base/ip.js';
import type { WindowResult } from '../keeper.js';
import { type LogEntry, readLine } from './log-line.js';
import { LOG_FORMATS, type LogFormatName, type LogLogin, type LogReader, nameFault } from './log-patterns.js';
import { momentOf, type Zone } from './log-time.js';

/** What logs need of the rest of the house. */
export interface LogPorts {
  readonly note: Note;
  /** Milliseconds since 1970. */
  readonly now: () => number;
  /** How long a window is open, ms. */
  readonly windowLength: number;
  /** `login` was proven from `ip` at `at`. */
  readonly open: (login: string, ip: Ip, at: number) => Promise<WindowResult>;
}

/** How the lines of a source are read. */
export interface LogReading {
  /** For people: the file or the unit. */
  readonly name: string;
  /** A format of the table, or a site's own pattern. */
  readonly format: LogFormatName | LogReader;
  /** Of times that name none; undefined: this host's. */
  readonly zone: Zone | undefined;
}

/** A clock may be ahead of ours so far, ms. */
const MOST_AHEAD = 120_000;
/** Between two attempts while the store does not answer, ms. */
const FIRST_WAIT = 500;
const MOST_WAIT = 10_000;

export class LogLogins {
  readonly #reading: LogReading;
  readonly #ports: LogPorts;
  #reader: LogReader;
  #stopped = false;
  #wake: (() => void) | undefined;

  constructor(reading: LogReading, ports: LogPorts) {
    this.#reading = reading;
    this.#ports = ports;
    this.#reader = this.#newReader();
  }

  /** A line of a file. `live`: it came just now, and without a time of its own it means now. */
  async line(text: string, live: boolean): Promise<void> {
    const { format } = this.#reading;
    const whole = typeof format !== 'string' || LOG_FORMATS[format].programs === undefined;
    const entry = whole
      ? { time: undefined, program: undefined, pid: undefined, message: text }
      : readLine(text);
    if (entry !== undefined) await this.entry(entry, live);
  }

  async entry(entry: LogEntry, live: boolean): Promise<void> {
    const login = this.#concerns(entry) ? this.#reader(entry) : undefined;
    if (login === 'ambiguous')
      this.#ports.note({
        type: 'warning',
        text: `${this.#reading.name}: a line can be read in two ways by the pattern, and opens nothing: ${entry.message.slice(0, 500)}`,
      });
    else if (login !== undefined) await this.#proven(login, live);
  }

  stop(): void {
    this.#stopped = true;
    this.#wake?.();
  }

  #newReader(): LogReader {
    const { format } = this.#reading;
    return typeof format === 'string' ? LOG_FORMATS[format].reader() : format;
  }

  #concerns({ program }: LogEntry): boolean {
    const { format } = this.#reading;
    if (typeof format !== 'string') return true;
    const { programs, ownFile } = LOG_FORMATS[format];
    return programs === undefined || program === undefined ? ownFile : programs.test(program);
  }

  async #proven({ user, address, time }: LogLogin, live: boolean): Promise<void> {
    const ip = parseIp(address);
    if (ip === undefined) return;
    const { now, windowLength, open, note } = this.#ports;
    const at = this.#at(time, live);
    if (at !== undefined && at + windowLength <= now()) return;
    const why = nameFault(user) ?? this.#timeFault(at);
    if (why !== undefined || at === undefined) {
      if (at === undefined && !live) return;
      note({ type: 'window-refused', login: user, address: ip.text, source: 'log', why: why ?? '' });
      return;
    }
    for (let wait = FIRST_WAIT; !this.#stopped; wait = Math.min(wait * 2, MOST_WAIT)) {
      const result = await open(user, ip, Math.min(at, now()));
      // The line stays where it is until the store answers, and those after it wait too.
      if (result !== 'unknown' || at + windowLength <= now() + wait) return;
      await this.#sleep(wait);
    }
  }

  #at(time: LogEntry['time'], live: boolean): number | undefined {
    const now = this.#ports.now();
    if (typeof time === 'number') return time;
    if (time !== undefined) return momentOf(time, this.#reading.zone, now);
    return live ? now : undefined;
  }

  #timeFault(at: number | undefined): string | undefined {
    if (at === undefined) return 'its line bears no time that there is';
    return at > this.#ports.now() + MOST_AHEAD
      ? `its line bears a time that is yet to come: is zone right for ${this.#reading.name}?`
      : undefined;
  }

  #sleep(ms: number): Promise<void> {
    return new Promise((resolve) => {
      const timer = setTimeout(resolve, ms);
      this.#wake = () => {
        clearTimeout(timer);
        resolve();
      };
    });
  }
}
