/**
 * What an old server's files say of who may send where, in terms that a policy has too. Each importer fills it in with
 * its own server's meaning of every line; `writePolicy` turns it into a policy.
 */
import type { Cidr } from '../../base/ip.js';

/** Where something stands; line from 1. */
export interface Origin {
  readonly file: string;
  readonly line: number;
  /** The line, or the parameter, as it stands there. */
  readonly text: string;
}

/** An entry of a list of domains as a policy writes it: `example.org`, `.example.org`, `user@example.org`, `[192.0.2.1]`. */
export interface DomainItem {
  readonly entry: string;
  readonly origin: Origin;
}

export interface Reply {
  readonly code: number;
  readonly enhanced?: string;
  readonly text: string;
}

/** `relay`: may send anywhere. `plain`: as a stranger, whatever wider entries say. `refuse`: nothing at all. */
export type Act = 'relay' | 'plain' | 'refuse';

export interface Access {
  readonly act: Act;
  /** Of a refusal; undefined for Sekisho's own. */
  readonly reply?: Reply | undefined;
  readonly origin: Origin;
}

export interface ClientItem extends Access {
  readonly network: Cidr;
}

/** Of a client's name, a sender or a recipient; `entry` as in a `DomainItem`. */
export interface NamedItem extends Access {
  readonly entry: string;
}

export interface Note {
  readonly origin: Origin;
  readonly why: string;
}

export interface Site {
  /** `sendmail`, `Postfix`, `qmail`, `Exim`. */
  readonly system: string;
  /** What it takes mail for, as its own. */
  readonly local: DomainItem[];
  /** What it takes mail for, to pass it on. */
  readonly relayed: DomainItem[];
  /** In the order in which the first that matches decides. */
  readonly clients: ClientItem[];
  /** By name: the old server believed what the reverse map said, a policy confirms it. First match. */
  readonly names: NamedItem[];
  /** First match; `relay` does not occur. */
  readonly senders: NamedItem[];
  /** First match; `relay` does not occur. */
  readonly recipients: NamedItem[];
  /** Why it relays for anyone. */
  readonly open: Note[];
  /** Lines that have no part in the policy, and why. */
  readonly leftOut: Note[];
  /** Files that were read. */
  readonly files: string[];
}

export const emptySite = (system: string): Site => ({
  system,
  local: [],
  relayed: [],
  clients: [],
  names: [],
  senders: [],
  recipients: [],
  open: [],
  leftOut: [],
  files: [],
});

/** The text of a file of the old server, undefined if there is none. */
export type ReadText = (path: string) => string | undefined;

/** The name of a file without its folder: a copied tree keeps the names and not the places. */
export const baseName = (path: string): string => path.slice(path.lastIndexOf('/') + 1);

export const join = (folder: string, name: string): string =>
  name.startsWith('/') ? name : `${folder.replace(/\/+$/, '')}/${name}`;
