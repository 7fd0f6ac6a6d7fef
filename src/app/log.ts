/** Events as JSON lines, one object each, on standard output. */
import pino from 'pino';
import type { Note, Peer, SekishoEvent } from '../base/events.js';
import type { LogFormat, LogLevel } from './config.js';
import { classicLine } from './log-classic.js';

/** How loud an event is. */
export const levelOf = (event: SekishoEvent): LogLevel => {
  switch (event.type) {
    case 'connect':
    case 'disconnect':
    case 'command':
    case 'upstream-connect':
    case 'upstream-reuse':
      return 'debug';
    case 'decision':
      // What is enforced is told by the recipient's own line.
      return event.enforced || event.verdict === 'allow' ? 'debug' : 'info';
    case 'recipient':
      return event.result === 'accepted' ? 'debug' : 'info';
    case 'tls-handshake':
      return event.result === 'ok' ? 'debug' : 'info';
    case 'connection-refused':
    case 'framing-fault':
    case 'limit-exceeded':
    case 'upstream-fault':
    case 'warning':
      return 'warn';
    case 'reload':
      return event.ok ? 'info' : 'error';
    case 'upstream-down':
    case 'internal-error':
      return 'error';
    default:
      return 'info';
  }
};

const peerFields = ({ session, listener, address, port, name, helo, protocol }: Peer): object => ({
  session,
  listener,
  client: address,
  clientPort: port,
  ...(name === undefined ? {} : { clientName: name }),
  ...(helo === undefined ? {} : { helo }),
  protocol,
});

/** The fields of a JSON line. Replies are put on one line. */
export const fieldsOf = (event: SekishoEvent): Record<string, unknown> => {
  const { type, ...rest } = event;
  const fields: Record<string, unknown> = { event: type, ...rest };
  if ('peer' in event) {
    delete fields.peer;
    Object.assign(fields, peerFields(event.peer));
  }
  if ('reply' in event) fields.reply = event.reply.replace(/\r\n/g, ' / ');
  return fields;
};

const ORDER: readonly LogLevel[] = ['debug', 'info', 'warn', 'error'];

/** A subscriber that writes what is at least as loud as `level`. */
export const createLog = (
  format: LogFormat,
  level: LogLevel,
  out: NodeJS.WritableStream = process.stdout,
): Note => {
  if (format === 'classic') {
    const least = ORDER.indexOf(level);
    return (event) => {
      if (ORDER.indexOf(levelOf(event)) >= least) out.write(`${classicLine(event, new Date())}\n`);
    };
  }
  const logger = pino(
    {
      level,
      base: { pid: process.pid },
      timestamp: pino.stdTimeFunctions.isoTime,
      formatters: { level: (label) => ({ level: label }) },
    },
    out,
  );
  return (event) => logger[levelOf(event)](fieldsOf(event));
};
