/**
 * Changes of policy while mail flows: by signal or because a file changed. The new one is compiled and its
 * tests are run first; on any fault the old one stays in force.
 */
import { unwatchFile, watchFile } from 'node:fs';
import type { Note } from '../base/events.js';
import { err, ok, type Result } from '../base/result.js';
import { type Flags, loadSetup, type Setup } from './config.js';
import { expiryWarnings } from './config-tls.js';

/** Milliseconds between looks at the files, and of quiet before a change is believed to be complete. */
const INTERVAL = 1_000;
const QUIET = 300;

/** What only a restart changes. */
export const fixed = (setup: Setup): string => {
  const { proxy, store, roaming, mailProxies, sources, log, drain, processes, given } = setup;
  const { policy: _, observe: __, tls: ___, clientCa: ____, devices: _____, ...rest } = proxy;
  return JSON.stringify([rest, store, roaming, mailProxies, sources, log, drain, processes, given]);
};

/** Puts in force what a reload can change. */
export type Apply = (changed: Setup) => void;

/** What became of the last reload. */
export interface LastReload {
  /** Milliseconds since 1970. */
  readonly at: number;
  readonly ok: boolean;
  readonly faults: readonly string[];
}

/** Looks at files, and calls when one of them has changed and been left alone for a moment. */
export class FileWatch {
  #watched: readonly string[] = [];
  #timer: NodeJS.Timeout | undefined;
  readonly #changed: () => void;

  constructor(changed: () => void) {
    this.#changed = () => {
      clearTimeout(this.#timer);
      this.#timer = setTimeout(changed, QUIET);
    };
  }

  /** Of these from now on, and of no others. By name, not by inode: editors and deployment tools replace files. */
  set(files: readonly string[]): void {
    for (const file of this.#watched) if (!files.includes(file)) unwatchFile(file, this.#changed);
    for (const file of files) {
      if (!this.#watched.includes(file))
        watchFile(file, { interval: INTERVAL, persistent: false }, this.#changed);
    }
    this.#watched = [...new Set(files)];
  }

  stop(): void {
    clearTimeout(this.#timer);
    this.set([]);
  }
}

/** The name of a policy in the log. */
export const policyName = (flags: Flags): string => flags.policy ?? flags.config ?? 'command line';

export const BEYOND = 'the configuration changed beyond the policy: restart to apply it';

export class Reloader {
  readonly #flags: Flags;
  readonly #first: string;
  readonly #apply: Apply;
  readonly #note: Note;
  readonly #watch = new FileWatch(() => void this.reload());
  /** Undefined: there was none yet. */
  last: LastReload | undefined;

  constructor(flags: Flags, setup: Setup, apply: Apply, note: Note) {
    this.#flags = flags;
    this.#first = fixed(setup);
    this.#apply = apply;
    this.#note = note;
    this.#watch.set(setup.files);
  }

  /** Reads everything anew; the error says what is wrong, and then the old policy stays in force. */
  reload(): Result<undefined, readonly string[]> {
    const setup = loadSetup(this.#flags);
    this.last = { at: Date.now(), ok: setup.ok, faults: setup.ok ? [] : setup.error.lines };
    if (!setup.ok) {
      this.#note({
        type: 'reload',
        ok: false,
        reason: setup.error.lines.join('; '),
        policy: policyName(this.#flags),
      });
      return err(setup.error.lines);
    }
    const { proxy, files } = setup.value;
    this.#watch.set(files);
    this.#apply(setup.value);
    for (const text of expiryWarnings(proxy.tls, Date.now())) this.#note({ type: 'warning', text });
    this.#note({ type: 'reload', ok: true, policy: policyName(this.#flags) });
    if (fixed(setup.value) !== this.#first) {
      this.#note({ type: 'warning', text: BEYOND });
    }
    return ok(undefined);
  }

  stop(): void {
    this.#watch.stop();
  }
}
