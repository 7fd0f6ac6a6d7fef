/**
 * The types of a parsed envelope path (RFC 5321 4.1.2) and of its readings.
 * `address` parses and prints them, `routes` works out the readings.
 */

/** The part behind the last `@`. */
export type Domain =
  | {
      readonly kind: 'name';
      /** A-label form, lower case, without a trailing dot: the form in which domains are compared. */
      readonly ascii: string;
      /** As it is printed to the upstream: lower case; U-labels only where the client gave them. */
      readonly text: string;
    }
  | {
      readonly kind: 'literal';
      /** Canonical address text (`192.0.2.1`, `2001:db8::1`); IPv4-mapped folded to IPv4. */
      readonly ip: string;
    };

export interface Mailbox {
  readonly kind: 'mailbox';
  /** The local part decoded: without quotes and backslashes. */
  readonly local: string;
  readonly domain: Domain;
}

export type Path =
  /** `<>`, the null reverse-path. */
  | { readonly kind: 'null' }
  /** `<postmaster>` without a domain, in any case (RFC 5321 4.5.1). */
  | { readonly kind: 'postmaster' }
  /** A local part alone: `<bob>`. */
  | { readonly kind: 'unqualified'; readonly local: string }
  | Mailbox
  /** `<@a,@b:c@d>`, the obsolete source route. `hops` has at least one entry. */
  | {
      readonly kind: 'routed';
      readonly hops: readonly Domain[];
      readonly final: Exclude<Path, { kind: 'null' | 'routed' }>;
    };

/** How a reading came about. */
export type ReadingVia =
  | 'plain'
  | 'source-route'
  | 'percent'
  | 'bang'
  | 'decnet'
  | 'double-at'
  | 'quoted'
  | 'encapsulated'
  | 'literal';

/** One place to which some MTA might send an address. */
export type Reading =
  /** A mailbox at a domain, in A-label form, or a pseudo-domain such as `host.uucp`. */
  | { readonly kind: 'domain'; readonly domain: string; readonly via: ReadingVia }
  /** An address literal. */
  | { readonly kind: 'literal'; readonly ip: string; readonly via: ReadingVia }
  /** The postmaster of the MTA itself. */
  | { readonly kind: 'postmaster' }
  /** A mailbox without a domain: what the MTA makes of it is its own affair. */
  | { readonly kind: 'unqualified' };
