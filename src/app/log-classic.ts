/**
 * Events in the shape that syslog readers, pflogsumm and fail2ban's postfix filters know. Whatever came from
 * the wire is escaped, so that it can neither end a line nor hide in one.
 */
import os from 'node:os';
import type { Peer, SekishoEvent } from '../base/events.js';

/** Controls, format and other invisible characters, and line separators, as `\x..` or `\u....`. */
export const escapeText = (text: string): string =>
  text.replace(/[\p{C}\p{Zl}\p{Zp}]/gu, (character) => {
    const code = character.codePointAt(0) ?? 0;
    return code < 0x100 ? `\\x${code.toString(16).padStart(2, '0')}` : `\\u{${code.toString(16)}}`;
  });

const oneLine = (reply: string): string => reply.replace(/\r\n/g, ' / ');

const host = ({ name, address }: Peer): string => `${name ?? 'unknown'}[${address}]`;

const envelope = (peer: Peer, from: string, to?: string): string =>
  `from=<${from}>${to === undefined ? '' : ` to=<${to}>`} proto=${peer.protocol} helo=<${peer.helo ?? ''}>`;

/** The text behind `sekisho[pid]: `, not yet escaped. */
export const classicText = (event: SekishoEvent): string => {
  switch (event.type) {
    case 'listening':
      return `listening on [${event.address}]:${event.port} (${event.listener})`;
    case 'connect':
      return `connect from ${host(event.peer)}`;
    case 'disconnect':
      return `disconnect from ${host(event.peer)} reason=${event.reason} commands=${event.commands} delay=${event.seconds.toFixed(1)}`;
    case 'connection-refused':
      return `warning: connection refused: unknown[${event.address}]: ${event.reason}`;
    case 'command':
      return `command from ${host(event.peer)}: ${event.verb} ${event.code}`;
    case 'decision':
      return `${event.enforced ? 'decision' : 'observe'}: ${event.verdict} (${event.rule ?? event.reason}) RCPT from ${host(event.peer)}: ${envelope(event.peer, event.from, event.to)}`;
    case 'shadow':
      return `shadow: rule "${event.rule}" would ${event.would} RCPT from ${host(event.peer)}: ${envelope(event.peer, event.from, event.to)}`;
    case 'recipient': {
      const what = event.result === 'accepted' ? 'accept' : 'reject';
      return `NOQUEUE: ${what}: RCPT from ${host(event.peer)}: ${oneLine(event.reply)}; ${envelope(event.peer, event.from, event.to)}`;
    }
    case 'sender-refused':
      return `NOQUEUE: reject: MAIL from ${host(event.peer)}: ${oneLine(event.reply)}; ${envelope(event.peer, event.from)}`;
    case 'message':
      return (
        `${event.peer.session}: message ${event.result}: client=${host(event.peer)} from=<${event.from}> ` +
        `to=${event.to.map((to) => `<${to}>`).join(',')} nrcpt=${event.to.length} size=${event.bytes} ` +
        `relay=${event.upstream} delay=${event.seconds.toFixed(2)} reply="${oneLine(event.reply)}"`
      );
    case 'tls-handshake':
      return event.result === 'ok'
        ? `TLS from unknown[${event.address}]: ${event.version ?? ''} with ${event.cipher ?? ''}`
        : `warning: unknown[${event.address}]: TLS handshake failed: ${event.reason ?? ''}`;
    case 'framing-fault':
      return `warning: ${host(event.peer)}: framing fault: ${event.kind}`;
    case 'limit-exceeded':
      return `warning: ${host(event.peer)}: limit exceeded: ${event.limit}`;
    case 'upstream-up':
      return `upstream ${event.upstream} is up: ${event.banner}`;
    case 'upstream-down':
      return `error: upstream ${event.upstream} is down: ${event.reason}`;
    case 'upstream-fault':
      return `warning: upstream ${event.upstream} failed during ${event.during}: ${event.reason}`;
    case 'upstream-connect':
      return `upstream ${event.upstream} connected in ${event.seconds.toFixed(3)} s`;
    case 'upstream-reuse':
      return `upstream ${event.upstream} connection reused`;
    case 'reload':
      return event.ok
        ? `reload: policy ${event.policy} is in force`
        : `error: reload failed, the old policy stays in force: ${event.reason ?? ''}`;
    case 'drain':
      return `draining ${event.sessions} sessions, for up to ${event.seconds} s`;
    case 'stopped':
      return `stopped, ${event.sessions} sessions broken off`;
    case 'warning':
      return `warning: ${event.text}`;
    case 'internal-error':
      return `error: internal error${event.session === undefined ? '' : ` in session ${event.session}`}: ${event.text}`;
  }
};

const MONTHS = ['Jan', 'Feb', 'Mar', 'Apr', 'May', 'Jun', 'Jul', 'Aug', 'Sep', 'Oct', 'Nov', 'Dec'];

/** RFC 3164 4.1.2: local time, day padded with a space. */
const stamp = (time: Date): string =>
  `${MONTHS[time.getMonth()]} ${String(time.getDate()).padStart(2, ' ')} ${time.toTimeString().slice(0, 8)}`;

/** The whole line without its end. */
export const classicLine = (event: SekishoEvent, time: Date): string =>
  `${stamp(time)} ${os.hostname()} sekisho[${process.pid}]: ${escapeText(classicText(event))}`;
