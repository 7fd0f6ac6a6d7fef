/**
 * Changes of policy while mail flows: by signal or because a file changed. The new one is compiled and its
 * tests are run first; on any fault the old one stays in force.
 */
import { unwatchFile, watchFile } from 'node:fs';
import type { Note } from '../base/events.js';
import { expiryWarnings, type Flags, loadSetup, type Setup } from './config.js';

/** Milliseconds between looks at the files, and of quiet before a change is believed to be complete. */
const INTERVAL = 1_000;
const QUIET = 300;

/** What only a restart changes. */
const fixed = ({ proxy: { policy: _, observe: __, tls: ___, ...rest }, log, drain }: Setup): string =>
  JSON.stringify([rest, log, drain]);

/** Puts in force what a reload can change. */
export type Apply = (changed: Pick<Setup['proxy'], 'policy' | 'observe' | 'tls'>) => void;

export class Reloader {
  readonly #flags: Flags;
  readonly #first: string;
  readonly #apply: Apply;
  readonly #note: Note;
  #watched: readonly string[] = [];
  #timer: NodeJS.Timeout | undefined;
  readonly #changed = (): void => {
    clearTimeout(this.#timer);
    this.#timer = setTimeout(() => this.reload(), QUIET);
  };

  constructor(flags: Flags, setup: Setup, apply: Apply, note: Note) {
    this.#flags = flags;
    this.#first = fixed(setup);
    this.#apply = apply;
    this.#note = note;
    this.#watch(setup.files);
  }

  /** Reads everything anew. True if the new policy is in force. */
  reload(): boolean {
    const setup = loadSetup(this.#flags);
    if (!setup.ok) {
      this.#note({ type: 'reload', ok: false, reason: setup.error.join('; '), policy: this.#name });
      return false;
    }
    const { proxy, files } = setup.value;
    this.#watch(files);
    this.#apply(proxy);
    for (const text of expiryWarnings(proxy.tls, Date.now())) this.#note({ type: 'warning', text });
    this.#note({ type: 'reload', ok: true, policy: this.#name });
    if (fixed(setup.value) !== this.#first) {
      this.#note({
        type: 'warning',
        text: 'the configuration changed beyond the policy: restart to apply it',
      });
    }
    return true;
  }

  stop(): void {
    clearTimeout(this.#timer);
    this.#watch([]);
  }

  get #name(): string {
    return this.#flags.policy ?? this.#flags.config ?? 'command line';
  }

  /** By name, not by inode: editors and deployment tools replace files. */
  #watch(files: readonly string[]): void {
    for (const file of this.#watched) if (!files.includes(file)) unwatchFile(file, this.#changed);
    for (const file of files) {
      if (!this.#watched.includes(file))
        watchFile(file, { interval: INTERVAL, persistent: false }, this.#changed);
    }
    this.#watched = [...new Set(files)];
  }
}
