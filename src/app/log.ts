/** Events as lines on standard output: JSON, one object each, or what syslog readers know. */
import type { Note, SekishoEvent } from '../base/events.js';
import type { LogFormat, LogLevel } from './config.js';
import { jsonLine } from './json-line.js';
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
  const line =
    format === 'classic'
      ? (event: SekishoEvent) => `${classicLine(event, new Date())}\n`
      : (event: SekishoEvent, level: LogLevel) => jsonLine(event, level, Date.now());
  return (event) => {
    const level = levelOf(event);
    if (LOUDNESS[level] >= LOUDNESS[least.level]) out.write(line(event, level));
  };
};
