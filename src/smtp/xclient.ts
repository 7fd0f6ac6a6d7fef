/**
 * XCLIENT (Postfix' XCLIENT_README): tells a server that trusts us who the client is. Of what is known only the attributes
 * that its EHLO names are said; the address comes last, for from then on the server may no longer listen to us.
 */
import type { Ip } from '../base/ip.js';
import type { Endpoint } from '../base/proxy-header.js';
import { err, ok, type Result } from '../base/result.js';

/** Octets of a command with CRLF. */
const MAX_COMMAND = 512;

export interface XclientFacts {
  readonly client: Endpoint;
  /** Where it connected. */
  readonly server: Endpoint;
  /** Confirmed host name; undefined: it has none, or `nameKnown` is false. */
  readonly name: string | undefined;
  /** False: the resolver failed. */
  readonly nameKnown: boolean;
  readonly helo: string | undefined;
  readonly login: string | undefined;
  readonly esmtp: boolean;
}

/** RFC 3461 4: all but printable ASCII, `+`, `=` and blanks in hexadecimal. */
const xtext = (text: string): string =>
  [...Buffer.from(text, 'utf8')]
    .map((octet) =>
      octet > 0x20 && octet < 0x7f && octet !== 0x2b && octet !== 0x3d
        ? String.fromCharCode(octet)
        : `+${octet.toString(16).toUpperCase().padStart(2, '0')}`,
    )
    .join('');

const addressText = ({ family, text }: Ip): string => (family === 6 ? `IPV6:${text}` : text);

/** The attributes that a 250 reply to EHLO offers, upper case; undefined: none, and no XCLIENT. */
export const xclientAttributes = (lines: readonly string[]): ReadonlySet<string> | undefined => {
  for (const line of lines.slice(1)) {
    const [keyword = '', ...attributes] = line.trim().toUpperCase().split(/ +/);
    if (keyword === 'XCLIENT') return new Set(attributes);
  }
  return undefined;
};

const UNAVAILABLE = '[UNAVAILABLE]';

/** A line break that xtext hides puts lines into an old MTA's queue file (CVE-2020-28021 and its kin). */
const claim = (text: string | undefined): string =>
  text === undefined || text === '' || /[\x00-\x1f\x7f-\x9f]/.test(text) ? UNAVAILABLE : xtext(text);

/** Every attribute with its value, ADDR last. */
const attributes = (facts: XclientFacts): readonly (readonly [string, string])[] => [
  ['NAME', facts.name === undefined ? (facts.nameKnown ? UNAVAILABLE : '[TEMPUNAVAIL]') : xtext(facts.name)],
  ['PORT', String(facts.client.port)],
  ['PROTO', facts.esmtp ? 'ESMTP' : 'SMTP'],
  ['HELO', claim(facts.helo)],
  ['LOGIN', claim(facts.login)],
  ['DESTADDR', addressText(facts.server.ip)],
  ['DESTPORT', String(facts.server.port)],
  ['ADDR', addressText(facts.client.ip)],
];

/**
 * The commands, each within 512 octets and with CRLF. A value that is longer than a command is said to be unavailable.
 * An error, fit for people, where the server would not hear the address.
 */
export const printXclient = (
  offered: ReadonlySet<string> | undefined,
  facts: XclientFacts,
): Result<readonly string[], string> => {
  if (offered === undefined) return err('it does not offer XCLIENT to this host');
  if (!offered.has('ADDR')) return err('it offers XCLIENT, but without ADDR');
  const commands: string[] = [];
  let command = 'XCLIENT';
  for (const [name, value] of attributes(facts).filter(([each]) => offered.has(each))) {
    const fits = `XCLIENT ${name}=${value}\r\n`.length <= MAX_COMMAND;
    const word = ` ${name}=${fits ? value : UNAVAILABLE}`;
    if (`${command}${word}\r\n`.length > MAX_COMMAND) {
      commands.push(`${command}\r\n`);
      command = 'XCLIENT';
    }
    command += word;
  }
  commands.push(`${command}\r\n`);
  return ok(commands);
};
