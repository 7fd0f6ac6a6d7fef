/** All that opens windows beside the proxies: logs, journals and Whoson, started and stopped together. */
import type { Note } from '../../base/events.js';
import type { Windows } from '../keeper.js';
import { LogFollower } from './log-follower.js';
import { JournalFollower, type JournalOptions } from './log-journal.js';
import { LogLogins } from './log-logins.js';
import type { LogFormatName } from './log-patterns.js';
import { sitePattern } from './log-site-pattern.js';
import { zoneOf } from './log-time.js';
import { Whoson, type WhosonOptions } from './whoson.js';

/** One log as the configuration has it: everything in it has been checked. */
export interface LogOptions {
  readonly place: { readonly file: string } | { readonly journal: JournalOptions };
  /** A format of the table, or a site's own pattern. */
  readonly format: LogFormatName | { readonly pattern: string };
  /** Of times that name none; undefined: this host's. */
  readonly zone: string | undefined;
}

export interface SourceOptions {
  readonly logs: readonly LogOptions[];
  readonly whoson: WhosonOptions | undefined;
}

export interface SourcePorts {
  readonly note: Note;
  /** Milliseconds since 1970. */
  readonly now: () => number;
  /** How long a window is open, ms. */
  readonly windowLength: number;
  readonly windows: Pick<Windows, 'open' | 'at' | 'close'>;
}

interface Running {
  start(): void;
  stop(): Promise<void>;
}

const formatOf = (format: LogOptions['format']) => {
  if (typeof format === 'string') return format;
  const pattern = sitePattern(format.pattern);
  if (!pattern.ok) throw new Error(pattern.error);
  return pattern.value;
};

const follow = (
  { place, format, zone }: LogOptions,
  { note, now, windowLength, windows }: SourcePorts,
): Running => {
  const name = 'file' in place ? place.file : place.journal.unit;
  const reading = { name, format: formatOf(format), zone: zone === undefined ? undefined : zoneOf(zone) };
  const logins = new LogLogins(reading, {
    ...{ note, now, windowLength },
    open: (login, ip, at) => windows.open(login, ip, 'log', at),
  });
  const follower =
    'file' in place
      ? new LogFollower(place.file, (line, live) => logins.line(line, live), note)
      : new JournalFollower(place.journal, windowLength, (entry) => logins.entry(entry, false), note);
  return {
    start: () => follower.start(),
    stop: () => {
      logins.stop();
      return follower.stop();
    },
  };
};

export class WindowSources {
  readonly #logs: readonly Running[];
  readonly #whoson: Whoson | undefined;

  constructor({ logs, whoson }: SourceOptions, ports: SourcePorts) {
    const { windows, note } = ports;
    this.#logs = logs.map((log) => follow(log, ports));
    this.#whoson =
      whoson === undefined
        ? undefined
        : new Whoson(whoson, {
            note,
            open: (login, ip) => windows.open(login, ip, 'whoson'),
            at: (ip) => windows.at(ip),
            close: (login, ip) => windows.close({ login, ip }, 'logged out (whoson)'),
          });
  }

  /** Rejects with an error fit for people when a socket cannot be bound. */
  async start(): Promise<
    readonly { readonly listener: string; readonly address: string; readonly port: number }[]
  > {
    const listening = this.#whoson === undefined ? [] : [await this.#whoson.start()];
    for (const log of this.#logs) log.start();
    return listening;
  }

  async stop(): Promise<void> {
    this.#whoson?.stop();
    await Promise.all(this.#logs.map((log) => log.stop()));
  }
}
