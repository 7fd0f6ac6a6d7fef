/** Events as JSON lines, one object each, on standard output. */
import pino from 'pino';
import type { Note, Peer, SekishoEvent } from '../base/events.js';
import type { LogFormat, LogLevel } from './config.js';
import { LineGatherer } from './line-gatherer.js';
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
    case 'auth':
      return event.result === 'ok' ? 'info' : 'warn';
    case 'window-opened':
      return event.renewed ? 'debug' : 'info';
    case 'connection-refused':
      // Who is banned was told once, and whose quota it was is told from time to time.
      return event.reason === 'banned' || event.reason === 'quota' ? 'debug' : 'warn';
    case 'dnsbl-lookup':
      if (event.result === 'refused') return 'warn';
      return event.result === 'listed' || event.result === 'clean' ? 'debug' : 'info';
    case 'greylist':
    case 'tarpit':
      return 'debug';
    case 'store-error':
      return 'error';
    case 'login-suspended':
    case 'banned':
    case 'window-refused':
    case 'framing-fault':
    case 'shield-hit':
    case 'limit-exceeded':
    case 'upstream-fault':
    case 'warning':
    case 'admin-refused':
      return 'warn';
    case 'reload':
      return event.ok ? 'info' : 'error';
    case 'self-test':
      return event.open.length === 0 ? 'info' : 'error';
    case 'process-ended':
      return event.expected ? 'info' : 'error';
    case 'upstream-down':
    case 'internal-error':
      return 'error';
    default:
      return 'info';
  }
};

/** Fills in who it was, where the event does not say so itself. */
const addPeer = (fields: Record<string, unknown>, peer: Peer): void => {
  const add = (name: string, value: unknown): void => {
    if (value !== undefined) fields[name] ??= value;
  };
  const { certificate, window } = peer;
  add('session', peer.session);
  add('listener', peer.listener);
  add('client', peer.address);
  add('clientPort', peer.port);
  add('via', peer.via);
  add('clientName', peer.name);
  if (peer.name === undefined) add('named', peer.named);
  add('helo', peer.helo);
  add('protocol', peer.protocol);
  add('tls', peer.tls);
  add('certificate', certificate?.fingerprint);
  add('certificateSubject', certificate?.subject);
  add('login', peer.login);
  add('window', window?.login);
  add('windowSource', window?.source);
};

/** The fields of a JSON line. Replies are put on one line. */
export const fieldsOf = (event: SekishoEvent): Record<string, unknown> => {
  const fields: Record<string, unknown> = { event: event.type };
  for (const name in event)
    if (name !== 'type' && name !== 'peer') fields[name] = event[name as keyof SekishoEvent];
  if ('peer' in event) addPeer(fields, event.peer);
  if ('reply' in event) fields.reply = event.reply.replace(/\r\n/g, ' / ');
  return fields;
};

const LOUDNESS: Readonly<Record<LogLevel, number>> = { debug: 0, info: 1, warn: 2, error: 3 };

/** How loud an event has to be; whoever changes it changes it for the running log. */
export interface LogControl {
  level: LogLevel;
}

/** A subscriber that writes what is at least as loud as `control.level`. */
export const createLog = (
  format: LogFormat,
  control: LogControl | LogLevel,
  out: { write(text: string): unknown } = new LineGatherer(process.stdout),
): Note => {
  const least: LogControl = typeof control === 'string' ? { level: control } : control;
  const loud = (level: LogLevel): boolean => LOUDNESS[level] >= LOUDNESS[least.level];
  if (format === 'classic') {
    return (event) => {
      if (loud(levelOf(event))) out.write(`${classicLine(event, new Date())}\n`);
    };
  }
  const logger = pino(
    {
      level: 'debug',
      base: { pid: process.pid },
      timestamp: pino.stdTimeFunctions.isoTime,
      formatters: { level: (label) => ({ level: label }) },
    },
    out,
  );
  return (event) => {
    const level = levelOf(event);
    if (loud(level)) logger[level](fieldsOf(event));
  };
};
