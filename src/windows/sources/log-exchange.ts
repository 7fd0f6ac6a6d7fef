/**
 * The protocol logs of Exchange's POP3 and IMAP4 front ends: comma-separated, `#Fields:` first, times in UTC. The user's
 * column is filled by the server once a login has succeeded, and it stands, like the address, before all that a client
 * chooses. Logs of the back end (`…BE…`) name the front end as the client: do not follow those.
 */
import type { LogEntry } from './log-line.js';
import type { LogReader } from './log-patterns.js';
import { timeAt } from './log-time.js';

const DEFAULT_FIELDS = [
  ...['datetime', 'sessionid', 'seqnumber', 'sip', 'cip', 'user', 'duration', 'rqsize', 'rpsize'],
  ...['command', 'parameters', 'context', 'puid'],
];
const LOGINS = /^(?:pass|apop|auth|login|authenticate)$/i;
const SUCCESS = /^R="?OK"?(?:;|$)/i;
const ENDPOINT = /^\[?([0-9A-Fa-f.:]*[0-9A-Fa-f])\]?:\d{1,5}$/;

/** The fields of a row (RFC 4180 2.5 to 2.7); undefined: its quotes do not match. */
export const csvFields = (row: string): string[] | undefined => {
  const fields: string[] = [];
  const field = /(?:"((?:[^"]|"")*)"|([^",]*))(,|$)/y;
  while (field.lastIndex <= row.length) {
    const match = field.exec(row);
    if (match === null) return undefined;
    fields.push(match[1]?.replaceAll('""', '"') ?? match[2] ?? '');
    if (match[3] === '') return fields;
  }
  return undefined;
};

export const exchangeReader = (): LogReader => {
  let columns: readonly string[] = DEFAULT_FIELDS;
  return ({ message }: LogEntry) => {
    if (message.startsWith('#')) {
      const named = /^#Fields: ([\w,-]{1,1000})$/i.exec(message)?.[1];
      if (named !== undefined) columns = named.toLowerCase().split(',');
      return undefined;
    }
    const row = csvFields(message);
    // Older versions have fewer columns at the end.
    if (row === undefined || row.length > columns.length) return undefined;
    const of = (name: string): string => row[columns.indexOf(name)] ?? '';
    if (!LOGINS.test(of('command')) || !SUCCESS.test(of('context')) || of('user') === '') return undefined;
    const address = ENDPOINT.exec(of('cip'))?.[1];
    const time = timeAt(of('datetime'))?.time;
    return address === undefined || time === undefined ? undefined : { user: of('user'), address, time };
  };
};
