/** Everything that the routes work on. The one who wires (app) gives it; nothing here reaches further. */
import type { Note, SekishoEvent } from '../base/events.js';
import type { Result } from '../base/result.js';
import type { Policy, PolicyError } from '../policy/compile.js';
import type { Explanation } from '../policy/explain.js';
import type { Facts } from '../policy/facts.js';
import type { Windows } from '../windows/keeper.js';
import type { Mark, StateStore } from '../windows/store.js';
import type { Decisions } from './decisions.js';
import type { History } from './history.js';
import type { Inspector } from './inspector.js';
import type { TopCounters } from './top.js';

export interface PolicyInForce {
  readonly policy: Policy;
  /** Judged, logged and counted, but everything passes. */
  readonly observe: boolean;
  /** The file as it was read; absent where flags or the configuration itself are the policy. */
  readonly text?: string;
  /** SHA-256 of the policy and of all files that it names, in lower-case hex. */
  readonly hash: string;
  /** Milliseconds since 1970. */
  readonly since: number;
}

export interface LastReload {
  /** Milliseconds since 1970. */
  readonly at: number;
  readonly ok: boolean;
  readonly faults: readonly string[];
}

/** What can be known of the policy, and done about it. */
export interface PolicyDesk {
  inForce(): PolicyInForce;
  lastReload(): LastReload | undefined;
  /** Compiles the text of another policy. It may name no files but those that the policy in force names. */
  candidate(text: string): Result<Policy, readonly PolicyError[]>;
  /** Reads everything anew; the error says what is wrong, and the old policy stays in force. */
  reload(): Result<undefined, readonly string[]>;
}

export const LOG_LEVELS = ['debug', 'info', 'warn', 'error'] as const;

/** How loud an event has to be to be logged; whoever changes it changes it for the running log. */
export interface LogControl {
  level: (typeof LOG_LEVELS)[number];
}

/** An explanation with what the store knows. */
export interface Standing {
  readonly explanation: Explanation;
  /** The login that was given is suspended, and was left out of account. */
  readonly suspended?: Mark;
  /** Of the rule that lets the mail pass: what is used before this mail; absent where there is no limit. */
  readonly limits?: readonly {
    readonly what: string;
    readonly used: number;
    readonly most: number;
    /** Milliseconds. */
    readonly resetIn: number;
  }[];
  /** What the store did not answer, in words. */
  readonly unknown: readonly string[];
}

/** What the last self-test of the relay found. */
export interface LastSelfTest extends Omit<Extract<SekishoEvent, { type: 'self-test' }>, 'type'> {
  /** Milliseconds since 1970. */
  readonly at: number;
}

export interface House {
  readonly inspector: Inspector;
  readonly state: StateStore;
  /** Whoever opens and closes windows by the rules of the site; what it has to say goes to `note` alone. */
  readonly windows: (note: Note) => Windows;
  readonly policy: PolicyDesk;
  /** Judges as the proxy would at this moment, and changes nothing. Windows among the facts are not asked for. */
  readonly explain: (facts: Facts) => Promise<Standing>;
  readonly decisions: Decisions;
  readonly history: History;
  /** Undefined: there was none yet. */
  readonly lastSelfTest: () => LastSelfTest | undefined;
  readonly top: TopCounters;
  /** The answer to a scrape with this Accept header. */
  readonly scrape: (
    accept: string | undefined,
  ) => Promise<{ readonly contentType: string; readonly body: string }>;
  readonly log: LogControl;
  readonly note: Note;
  /** Milliseconds since 1970. */
  readonly now: () => number;
  readonly version: string;
  /** Milliseconds since 1970. */
  readonly started: number;
}
