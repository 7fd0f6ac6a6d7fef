/** What the audit gathers about mail servers on a host, and what it concludes. */

export type ProductId =
  | 'sendmail'
  | 'postfix'
  | 'qmail'
  | 'exim'
  | 'opensmtpd'
  | 'smail'
  | 'courier'
  | 'exchange'
  | 'sekisho'
  | 'unknown';

/** The systems whose ways of starting daemons are known. */
export type SystemId =
  | 'linux'
  | 'sunos4'
  | 'solaris'
  | 'hpux'
  | 'tru64'
  | 'freebsd'
  | 'openbsd'
  | 'netbsd'
  | 'macos'
  | 'unknown';

export type Tri = 'yes' | 'no' | 'unknown';

/** Who can connect to a listener. */
export type Reach = 'world' | 'loopback' | 'nobody' | 'unknown';

/** Shell commands for root on the audited system, in order; a line that begins with `#` is a note to the person. */
export interface Remedy {
  /** End what runs now. */
  readonly stop: readonly string[];
  /** Keep it from starting again. */
  readonly keep: readonly string[];
  /** Everything as it was. */
  readonly undo: readonly string[];
}

interface Seen {
  readonly product: ProductId;
  /** A file, `file:line`, a process or a socket. */
  readonly where: string;
  /** What stands there. */
  readonly text: string;
}

/** A process that is part of a mail server. */
export interface ProcessSeen extends Seen {
  readonly kind: 'process';
  readonly pid: number | undefined;
  /** Whether by its name or arguments it takes mail from the network; false: a queue runner, a helper. */
  readonly listens: boolean;
}

/** A listening socket on a mail port. */
export interface SocketSeen extends Seen {
  readonly kind: 'socket';
  readonly address: string;
  readonly port: number;
  readonly reach: Reach;
  readonly pid: number | undefined;
}

/** Something that starts a mail server, or would if it were not switched off. */
export interface StartSeen extends Seen {
  readonly kind: 'start';
  /** Such as `systemd`, `rc script`, `inetd`. */
  readonly by: string;
  /** Whether it starts one at the next boot (cron and inetd: when their time comes). */
  readonly on: Tri;
  /** What it starts takes mail from the network; `loopback` and `nobody` where its arguments say so. */
  readonly reach: Reach;
  readonly remedy: Remedy;
}

/** Installed software with its version. */
export interface PackageSeen extends Seen {
  readonly kind: 'package';
  readonly version: string;
}

/** What the server's own configuration says of where it listens. */
export interface SettingSeen extends Seen {
  readonly kind: 'setting';
  readonly reach: Reach;
  readonly version?: string;
}

export type Evidence = ProcessSeen | SocketSeen | StartSeen | PackageSeen | SettingSeen;

export interface Finding {
  readonly product: ProductId;
  readonly title: string;
  readonly version: string | undefined;
  /** What is known of that version, for people. */
  readonly known: readonly string[];
  readonly runs: Tri;
  readonly boots: Tri;
  readonly reach: Reach;
  /** Somebody should do something: it runs or will, and more than this host can reach it, or nobody knows. */
  readonly alarming: boolean;
  readonly evidence: readonly Evidence[];
  readonly remedy: Remedy;
}

export interface Audit {
  readonly system: SystemId;
  readonly systemName: string;
  readonly findings: readonly Finding[];
  /** What could not be looked at, and so is not in the findings. */
  readonly blind: readonly string[];
}

/** The widest of several. */
export const widest = (reaches: readonly Reach[]): Reach => {
  for (const each of ['world', 'unknown', 'loopback'] as const) if (reaches.includes(each)) return each;
  return reaches.length === 0 ? 'unknown' : 'nobody';
};
