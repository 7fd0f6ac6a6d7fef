/** An event as one line of JSON, written field by field: there is one for each message, and it is read by machines. */
import type { Peer, SekishoEvent } from '../base/events.js';
import type { LogLevel } from './config.js';

/** What JSON writes with a backslash. */
const plain = (text: string): boolean => {
  for (let i = 0; i < text.length; i += 1) {
    const code = text.charCodeAt(i);
    if (code < 0x20 || code === 0x22 || code === 0x5c || (code >= 0xd800 && code < 0xe000)) return false;
  }
  return true;
};

const quoted = (text: string): string => (plain(text) ? `"${text}"` : JSON.stringify(text));

/** Most lists are of one address. */
const listText = (list: readonly unknown[]): string => {
  let text = '';
  for (const each of list) text += text === '' ? valueText(each) : `,${valueText(each)}`;
  return `[${text}]`;
};

const valueText = (value: unknown): string => {
  switch (typeof value) {
    case 'string':
      return quoted(value);
    case 'number':
      return Number.isFinite(value) ? `${value}` : 'null';
    default:
      return Array.isArray(value) ? listText(value) : JSON.stringify(value);
  }
};

const field = (name: string, value: unknown): string =>
  value === undefined ? '' : `,"${name}":${valueText(value)}`;

/** Who it was, where the event does not say so itself. */
const peerFields = (peer: Peer, own: { readonly protocol?: unknown; readonly login?: unknown }): string => {
  const { certificate, window, name } = peer;
  return (
    `,"session":${quoted(peer.session)},"listener":${quoted(peer.listener)}` +
    `,"client":${quoted(peer.address)},"clientPort":${peer.port}` +
    field('via', peer.via) +
    field('clientName', name) +
    (name === undefined ? field('named', peer.named) : '') +
    field('helo', peer.helo) +
    (own.protocol === undefined ? field('protocol', peer.protocol) : '') +
    field('tls', peer.tls) +
    (certificate === undefined
      ? ''
      : field('certificate', certificate.fingerprint) + field('certificateSubject', certificate.subject)) +
    (own.login === undefined ? field('login', peer.login) : '') +
    (window === undefined ? '' : field('window', window.login) + field('windowSource', window.source))
  );
};

let second = Number.NaN;
let secondText = '';

/** As `toISOString` has it; the text of a second is made once. */
const isoTime = (time: number): string => {
  const now = Math.floor(time / 1_000);
  if (now !== second) {
    second = now;
    secondText = new Date(time).toISOString().slice(0, -4);
  }
  return `${secondText}${String(time - now * 1_000).padStart(3, '0')}Z`;
};

/** With its line end. Replies are put on one line. `time`: whole milliseconds since 1970. */
export const jsonLine = (event: SekishoEvent, level: LogLevel, time: number): string => {
  let text = `{"level":"${level}","time":"${isoTime(time)}","pid":${process.pid},"event":"${event.type}"`;
  const own = event as unknown as Readonly<Record<string, unknown>>;
  for (const name in own) {
    if (name === 'type' || name === 'peer') continue;
    const value = own[name];
    text +=
      name === 'reply' && typeof value === 'string'
        ? `,"reply":${quoted(value.replaceAll('\r\n', ' / '))}`
        : field(name, value);
  }
  return `${text}${'peer' in event ? peerFields(event.peer, own) : ''}}\n`;
};
