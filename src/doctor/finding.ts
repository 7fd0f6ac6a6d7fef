/** What a look at an installation finds, and what is to be done about it. */

/** `fault`: mail can be abused or is lost. `warn`: it will be, or may be. `note`: worth knowing. `ok`: looked at, fine. */
export type Level = 'fault' | 'warn' | 'note' | 'ok';

/** The parts of the examination, in the order in which they are told. */
export const SUBJECTS = [
  'policy',
  'listeners',
  'upstream',
  'clients',
  'certificates',
  'clock',
  'resolver',
  'files',
  'limits',
] as const;
export type Subject = (typeof SUBJECTS)[number];

export interface Finding {
  readonly subject: Subject;
  readonly level: Level;
  /** What was seen, in one sentence. */
  readonly what: string;
  /** What to do, a line each; commands can be copied. */
  readonly remedy: readonly string[];
}

export const finding = (
  subject: Subject,
  level: Level,
  what: string,
  ...remedy: readonly string[]
): Finding => ({ subject, level, what, remedy });

/** What is known of the host on which the examination is made. */
export interface Here {
  /** Addresses by which other hosts may reach this one: no loopback, no link-local ones. */
  readonly addresses: readonly string[];
  /** Milliseconds since 1970. */
  readonly now: () => number;
  /** Milliseconds for each connection, reply and look-up. */
  readonly patience: number;
  /** Where /proc is. */
  readonly root: string;
}
