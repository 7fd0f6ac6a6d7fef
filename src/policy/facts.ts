/**
 * What a verdict may depend on, and what a verdict is. Facts are gathered by the proxy (or by `explain`
 * and `check` from a command line) and handed in whole: a decision does no I/O.
 */
import type { VerdictKind } from '../base/events.js';
import type { Ip } from '../base/ip.js';
import type { Reading } from '../smtp/path.js';
import type { Limit } from './limit.js';

/** A fact that may not be known just now. `unknown` carries the reason for the log. */
export type Known<T> =
  | { readonly known: true; readonly value: T }
  | { readonly known: false; readonly why: string };

/** A login that was proven from the client's address a while ago (see windows/window). */
export interface WindowFact {
  readonly login: string;
  readonly source: string;
  /** Milliseconds since 1970. */
  readonly until: number;
  /** Recipients used, and how many there may be; 0 is no bound. */
  readonly used: number;
  readonly budget: number;
}

/** What DNS lists say of the client's address. */
export interface ListedFact {
  /** The names of those that have it. */
  readonly lists: readonly string[];
  /** Their weights together reach the threshold. */
  readonly blocked: boolean;
}

export const NOT_LISTED: ListedFact = { lists: [], blocked: false };

export interface Facts {
  readonly client: Ip;
  /** The forward-confirmed name of the client; value `undefined` when it has none. */
  readonly clientName: Known<string | undefined>;
  readonly listener: string;
  /** TLS version in force, such as `TLSv1.3`; absent in clear text. */
  readonly tls?: string | undefined;
  /** The name of the login by SMTP AUTH; absent: nobody logged in. */
  readonly login?: string | undefined;
  /** A client certificate: its SHA-256 fingerprint in lower-case hex, and its subject if the chain was verified. */
  readonly certificate?: { readonly fingerprint: string; readonly subject: string | undefined } | undefined;
  /** The open windows of the client's address; absent: nobody asked. */
  readonly windows?: Known<readonly WindowFact[]> | undefined;
  /** Absent: nobody asked. A list that does not answer has nobody on it, and a trusted client is on none. */
  readonly listed?: Known<ListedFact> | undefined;
  /** HELO or EHLO argument, `''` before it. */
  readonly helo: string;
  /** Domain of MAIL FROM in A-label form and the whole address lower-cased; both '' for `<>`. */
  readonly from: { readonly address: string; readonly domain: string };
  /** Every reading of the recipient, at least one; `address` is printed without brackets, lower-cased domain. */
  readonly to: { readonly address: string; readonly readings: readonly Reading[] };
}

/** Why the verdict is as it is: a closed set, fit for a metric label. */
/** `listed` and `greylisted`: a rule allows it, and the listener screens strangers. */
export type VerdictReason = 'rule' | 'no-rule' | 'unknown-fact' | 'listed' | 'greylisted';

/** The words with which a refusal is uttered; absent means the catalogue's own. */
export interface RuleReply {
  /** 4xx for defer, 5xx for deny. */
  readonly code: number;
  readonly enhanced: string;
  readonly text: string;
}

export interface ShadowVerdict {
  readonly rule: string;
  readonly would: VerdictKind;
}

export interface Verdict {
  readonly kind: VerdictKind;
  /** Name of the rule that decided, undefined when none matched. */
  readonly rule: string | undefined;
  readonly reason: VerdictReason;
  /** For people: why, in one line. */
  readonly why: string;
  readonly reply: RuleReply | undefined;
  /** What the proxy has to count before it lets the recipient pass. */
  readonly limit?: Limit;
  /** An allow rule lets strangers pass only who come again after so long, ms. */
  readonly greylist?: number;
  /** The window by which an allow rule let the recipient pass; absent where it asks for none. */
  readonly window?: WindowFact;
  /** Shadow rules that matched before the deciding rule and would have said something else or the same. */
  readonly shadows: readonly ShadowVerdict[];
}

/** Which facts a compiled policy can ask for at all: what it does not need is not looked up. */
export interface FactNeeds {
  readonly clientName: boolean;
  readonly window: boolean;
  readonly listed: boolean;
  /** The DNS lists that conditions name. */
  readonly lists: ReadonlySet<string>;
}
