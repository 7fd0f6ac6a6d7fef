/**
 * How POP3 and IMAP servers write that a login succeeded. One row a format: whose lines they are, and where the user
 * and the address stand.
 *
 * Clients choose the names they log in with, so every pattern begins at the message's first character, ends at its
 * last, and finds the address by what the server itself prints beyond the name. Then the name is looked at: one with
 * blanks, brackets, quotes, commas or the like, by which a line could be read in two ways, opens nothing. Failed logins
 * begin with other words and match no row. What no row can tell is who wrote the line: whoever may write to syslog as
 * `dovecot`, on this host or over the network, is believed (journald knows better: `journal: { unit: … }`).
 */
import { exchangeReader } from './log-exchange.js';
import type { LogEntry } from './log-line.js';
import type { LogTime } from './log-time.js';

/** A login that a line tells of. */
export interface LogLogin {
  readonly user: string;
  /** As it stands there. */
  readonly address: string;
  readonly time: LogTime | number | undefined;
}

/** Reads the lines of one file or journal in their order. `ambiguous`: a line that can be read in two ways. */
export type LogReader = (entry: LogEntry) => LogLogin | 'ambiguous' | undefined;

export interface LogFormat {
  /** What syslog calls the server; undefined: its lines bear no syslog head. */
  readonly programs: RegExp | undefined;
  /** The server may write a file of its own, whose lines name no program. */
  readonly ownFile: boolean;
  /** A reader keeps what it must remember from line to line. */
  readonly reader: () => LogReader;
}

const ADDRESS = '([0-9A-Fa-f.:]{2,45})';
/** A client's name as DNS gave it: the client may own the zone, so nothing but letters of host names. */
const HOST = '[A-Za-z0-9._-]{1,255}';

/** `pattern` has the groups user and address, in whichever order `order` says. */
const single =
  (pattern: RegExp, order: 'user first' | 'address first') =>
  () =>
  ({ message, time }: LogEntry): LogLogin | undefined => {
    const match = pattern.exec(message);
    if (match === null) return undefined;
    const [one = '', two = ''] = match.slice(1);
    return order === 'user first' ? { user: one, address: two, time } : { user: two, address: one, time };
  };

/**
 * `imap-login: Login: user=<bob>, method=PLAIN, rip=192.0.2.7, lip=192.0.2.1, mpid=7, TLS, session=<x>`, as
 * login_log_format_elements has it from Dovecot 1.0 to 2.4 (2.4 says `Logged in:`). The name stands between user=< and
 * the last >, method=; after that, only what Dovecot makes itself. Elements of a site's own do not match: see `pattern`.
 */
const DOVECOT = new RegExp(
  `^(?:imap|pop3)-login(?:\\(\\d+\\))?: (?:Info: )?(?:Login|Logged in): user=<(.*)>, method=[\\w-]+, rip=${ADDRESS}` +
    '(?:, rport=\\d+)?(?:, lip=[0-9A-Fa-f.:]+)?(?:, lport=\\d+)?(?:, mpid=\\d+)?(?:, (?:TLS|secured))?' +
    '(?:, session=<[\\w+/=]*>)?$',
);

/** `LOGIN, user=bob, ip=[::ffff:192.0.2.7], port=[3456], protocol=IMAP`; failures say `LOGIN FAILED, …`. */
const COURIER = new RegExp(
  `^(?:INFO: )?LOGIN, user=(.*), ip=\\[${ADDRESS}\\](?:, port=\\[\\d+\\])?(?:, protocol=\\w+)?(?:, (?:start|st)?tls=\\w+)*$`,
);

/**
 * `login: host.example [192.0.2.7] bob PLAIN+TLS User logged in SESSIONID=<…>`; failures say `badlogin: …`. The address
 * stands before the name, and before the address nothing but a host's name. IMAP adds to the name what a client wrote
 * after a plus sign, which is no part of it.
 */
const CYRUS = new RegExp(
  `^login: (?:${HOST} )?\\[${ADDRESS}\\] (.*) [\\w-]+(?:\\+TLS)? User logged in(?: SESSIONID=<[^<>]*>)?$`,
);

/**
 * `Login user=bob host=host.example [192.0.2.7] nmsgs=0/0`, and the same after Authenticated, Auth and APOP. syslog gets
 * at most 80 characters of the host: a bracket that is cut off does not match.
 */
const UW = new RegExp(
  `^(?:Login|Authenticated|Auth|APOP) user=(.*) host=(?:${HOST} )?\\[${ADDRESS}\\](?: nmsgs=\\d+/\\d+| no mailbox)?$`,
);

/**
 * `(v4.1.0) POP login by user "bob" at (host.example) 192.0.2.7 [pop_log.c:244]`, as --enable-log-login has it. Its
 * `Stats:` lines are not read: they come at the end of a session, too late.
 */
const QPOPPER = new RegExp(
  `^\\(v[\\w.]+\\) POP login by user "(.*)" at \\((?:${HOST}|[0-9A-Fa-f.:]+)\\) ${ADDRESS}(?: \\[\\w+\\.c:\\d+\\])?$`,
);

/** How many sessions of popa3d are remembered. */
const POPA3D_SESSIONS = 1_000;

/**
 * Two lines of one process: `Session from 192.0.2.7`, then `Authentication passed for bob`. Only a server that runs on
 * its own (-D) writes the first. Each process has one login; what is told twice counts once.
 */
const popa3d = (): LogReader => {
  const sessions = new Map<string, string>();
  const session = new RegExp(`^Session from ${ADDRESS}$`);
  return ({ message, pid, time }) => {
    if (pid === undefined) return undefined;
    const address = session.exec(message)?.[1];
    if (address !== undefined) {
      sessions.delete(pid);
      sessions.set(pid, address);
      const [oldest] = sessions.keys();
      if (sessions.size > POPA3D_SESSIONS && oldest !== undefined) sessions.delete(oldest);
      return undefined;
    }
    const from = sessions.get(pid);
    sessions.delete(pid);
    const user = /^Authentication passed for (.*)$/.exec(message)?.[1];
    return from === undefined || user === undefined ? undefined : { user, address: from, time };
  };
};

const cyrus = (): LogReader => {
  const read = single(CYRUS, 'address first')();
  return (entry) => {
    const login = read(entry);
    return login === undefined ? undefined : { ...login, user: login.user.replace(/\+[^@ ]*$/, '') };
  };
};

const syslog = (programs: RegExp, reader: () => LogReader, ownFile = false): LogFormat => ({
  programs,
  reader,
  ownFile,
});

export const LOG_FORMAT_NAMES = [
  'dovecot',
  'courier',
  'cyrus',
  'uw',
  'qpopper',
  'popa3d',
  'exchange',
] as const;
export type LogFormatName = (typeof LOG_FORMAT_NAMES)[number];

export const LOG_FORMATS: Readonly<Record<LogFormatName, LogFormat>> = {
  dovecot: syslog(/^dovecot$/, single(DOVECOT, 'user first'), true),
  courier: syslog(/^(?:courier-?)?(?:imap|pop3)(?:d|login)(?:-ssl)?$/, single(COURIER, 'user first')),
  cyrus: syslog(/^(?:cyrus\/)?(?:imap|pop3)[ds]?$/, cyrus),
  uw: syslog(/^(?:in\.)?(?:ipop[23]s?d|imaps?d)$/, single(UW, 'user first')),
  qpopper: syslog(/^(?:in\.)?q?popper$/, single(QPOPPER, 'user first')),
  popa3d: syslog(/^popa3d$/, popa3d),
  exchange: { programs: undefined, ownFile: true, reader: exchangeReader },
};

/**
 * By these characters a line could be read in two ways: blanks, control characters, brackets, quotes, commas. Names of
 * mailboxes have none of them.
 */
const FORGING = /[\s\p{C}<>()[\]{}"`,;]/u;

/** Why a name from a log opens nothing; undefined: it may. */
export const nameFault = (user: string): string | undefined =>
  FORGING.test(user) ? 'the name has characters by which log lines are forged' : undefined;
