/** How an entry of `logins:` becomes a credential store. One file a kind; `index.ts` lists them. */
import type { z } from 'zod';
import type { Note } from '../../base/events.js';
import type { CredentialStore } from '../../identity/credentials.js';
import type { ReadFile } from '../../policy/source.js';

/** What a kind may use to build its store. */
export interface LoginTools {
  /** A path as written, absolute or relative to the configuration file, made good. */
  readonly resolve: (path: string) => string;
  /** Reads a file now, and has it watched: a change reloads the configuration. */
  readonly read: ReadFile;
  /** Warnings and store errors. */
  readonly note: Note;
  /** The first upstream, for logins that the MTA itself judges. */
  readonly upstream: { readonly host: string; readonly port: number };
}

export interface LoginSource<S extends z.ZodType = z.ZodType> {
  /** The key that marks the entry, such as `passwd_file`. */
  readonly key: string;
  /** The whole entry, `key` included; a strict object whose errors say what would be right. */
  readonly schema: S;
  /** Faults that can be known without starting anything, fit for people. `{name}` needs no repeating. */
  check(entry: z.infer<S>, tools: Omit<LoginTools, 'note'>): readonly string[];
  /** Starts it; only called when `check` found nothing. */
  create(entry: z.infer<S>, tools: LoginTools): CredentialStore;
}
