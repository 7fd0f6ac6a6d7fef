/**
 * Events in the shape that syslog readers, pflogsumm and fail2ban's postfix filters know. Whatever came from
 * the wire is escaped, so that it can neither end a line nor hide in one.
 */
import os from 'node:os';
import type { AuthResult, Peer, SekishoEvent } from '../base/events.js';

/** Controls, format and other invisible characters, and line separators, as `\x..` or `\u....`. */
export const escapeText = (text: string): string =>
  text.replace(/[\p{C}\p{Zl}\p{Zp}]/gu, (character) => {
    const code = character.codePointAt(0) ?? 0;
    return code < 0x100 ? `\\x${code.toString(16).padStart(2, '0')}` : `\\u{${code.toString(16)}}`;
  });

const oneLine = (reply: string): string => reply.replace(/\r\n/g, ' / ');

const host = ({ name, address }: Peer): string => `${name ?? 'unknown'}[${address}]`;

const envelope = (peer: Peer, from: string, to?: string): string =>
  `from=<${from}>${to === undefined ? '' : ` to=<${to}>`} proto=${peer.protocol} helo=<${peer.helo ?? ''}>${peer.login === undefined ? '' : ` login=<${peer.login}>`}${peer.window === undefined ? '' : ` window=<${peer.window.login}>`}`;

/** fail2ban looks for "failed"; what was no guess is not called so. */
const AUTH_WORDS: Readonly<Record<Exclude<AuthResult, 'ok'>, string>> = {
  wrong: 'failed',
  suspended: 'failed',
  locked: 'failed',
  malformed: 'aborted',
  cancelled: 'aborted',
  unavailable: 'not possible',
};

const moment = (time: number): string =>
  Number.isFinite(time) ? new Date(time).toISOString() : 'it is lifted';

/** Of an open relay a few forms say enough for one line; the JSON line has them all. */
const FORMS_SHOWN = 5;

const selfTestText = ({ open, forms, policy }: Extract<SekishoEvent, { type: 'self-test' }>): string => {
  if (open.length === 0) return `self-test: policy ${policy} opens none of ${forms} forms of relaying`;
  const ways = open
    .slice(0, FORMS_SHOWN)
    .map(({ form, rcpt, rule, how }) => `${form} (${rcpt}, ${how}) by rule "${rule}"`);
  const more = open.length > FORMS_SHOWN ? `; and ${open.length - FORMS_SHOWN} more` : '';
  return `error: OPEN RELAY: policy ${policy} lets strangers relay, in ${open.length} of ${forms} forms: ${ways.join('; ')}${more}`;
};

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
      return `warning: connection refused: unknown[${event.address}]: ${event.reason}${event.why === undefined ? '' : `: ${event.why}`}`;
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
    case 'shield-hit':
      return `warning: ${host(event.peer)}: virtual patch ${event.patch} ${event.enforced ? 'refused' : 'would refuse'} a message: ${event.why}`;
    case 'auth': {
      const { peer, mechanism, result, login, why, protocol } = event;
      const who = `login=<${login ?? ''}> proto=${protocol}`;
      if (result === 'ok') return `${host(peer)}: SASL ${mechanism} authentication succeeded: ${who}`;
      return `warning: ${host(peer)}: SASL ${mechanism} authentication ${AUTH_WORDS[result]}: ${why}; ${who}`;
    }
    case 'login-suspended':
      return `warning: login <${event.login}> is suspended until ${moment(event.until)}: ${event.why}`;
    case 'login-lifted':
      return `login <${event.login}> is no longer suspended: ${event.why}`;
    case 'window-opened':
      return `window ${event.renewed ? 'renewed' : 'opened'}: [${event.address}] login=<${event.login}> by ${event.source} until ${moment(event.until)}`;
    case 'window-refused':
      return `window refused: [${event.address}] login=<${event.login}> by ${event.source}: ${event.why}`;
    case 'window-closed':
      return `window closed: [${event.address ?? 'any'}] login=<${event.login ?? 'any'}>: ${event.why}`;
    case 'banned':
      return `warning: [${event.address}] is banned until ${moment(event.until)}: ${event.why}`;
    case 'ban-lifted':
      return `[${event.address}] is no longer banned: ${event.why}`;
    case 'dnsbl-lookup':
      return `${event.result === 'refused' ? 'warning: ' : ''}DNS list ${event.list}: [${event.address}] ${event.result}${event.why === undefined ? '' : `: ${event.why}`}`;
    case 'greylist':
      return `greylist ${event.result}: ${host(event.peer)}: ${envelope(event.peer, event.from, event.to)}`;
    case 'tarpit':
      return `tarpit ${event.result}: ${host(event.peer)}: ${event.seconds} s`;
    case 'store-error':
      return `error: store: ${event.operation}: ${event.why}`;
    case 'self-test':
      return selfTestText(event);
    case 'limit-exceeded':
      return `warning: ${host(event.peer)}: limit exceeded: ${event.limit}${event.why === undefined ? '' : `: ${event.why}`}`;
    case 'upstream-up':
      return `upstream ${event.upstream} is up${event.tls === undefined ? '' : ` over ${event.tls}`}: ${event.banner}`;
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
    case 'admin-change':
      return `admin: ${event.action} ${event.target} by ${event.who} from [${event.address}]: ${event.status}`;
    case 'admin-refused':
      return `warning: admin: [${event.address}]${event.who === '' ? '' : ` (${event.who})`} refused: ${event.why}`;
    case 'process-started':
      return `process ${event.process} serves, pid ${event.pid}`;
    case 'process-ended':
      return `${event.expected ? '' : 'error: '}process ${event.process} (pid ${event.pid}) ended: ${event.why}`;
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
