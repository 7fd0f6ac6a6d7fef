/**
 * Whose login a SASL exchange is about, read from the client's responses. Only what a server that says yes has thereby
 * confirmed counts; where it is not certain who that is, there is no name.
 */

/** RFC 4648 4, canonical padding; `=` alone is the empty initial response (RFC 5034 4, RFC 4959 3). */
const BASE64 = /^(?:[A-Za-z0-9+/]{4})*(?:[A-Za-z0-9+/]{2}==|[A-Za-z0-9+/]{3}=)?$/;

/** Undefined when it is not base64. */
export const fromBase64 = (text: string): Buffer | undefined => {
  if (text === '=') return Buffer.alloc(0);
  return BASE64.test(text) ? Buffer.from(text, 'base64') : undefined;
};

const UTF8 = new TextDecoder('utf-8', { fatal: true, ignoreBOM: true });

/** A login as windows and limits know it: UTF-8, 1 to 255 octets, nothing invisible, no space at its ends. */
export const loginName = (octets: Buffer): string | undefined => {
  if (octets.length === 0 || octets.length > 255) return undefined;
  try {
    const name = UTF8.decode(octets);
    return /[\p{C}\p{Zl}\p{Zp}]|^\s|\s$/u.test(name) ? undefined : name;
  } catch {
    return undefined;
  }
};

/** RFC 4616 2: authzid NUL authcid NUL passwd. One who acts for another is nobody: the server may know him as either. */
const plainName = (response: Buffer): string | undefined => {
  const parts = response.toString('latin1').split('\0');
  const [authzid = '', authcid = ''] = parts;
  if (parts.length !== 3 || (authzid !== '' && authzid !== authcid)) return undefined;
  return loginName(Buffer.from(authcid, 'latin1'));
};

/** RFC 2195 2: name SP 32 hex digits. */
const cramName = (response: Buffer): string | undefined => {
  const name = /^(.+) [0-9a-f]{32}$/s.exec(response.toString('latin1'))?.[1];
  return name === undefined ? undefined : loginName(Buffer.from(name, 'latin1'));
};

/** RFC 5802 7: gs2-header, then `n=` with `,` and `=` as =2C and =3D. */
const scramName = (response: Buffer): string | undefined => {
  const match = /^(?:[ny]|p=[A-Za-z0-9.-]+),(?:a=([^,]*))?,n=([^,]+),r=/.exec(response.toString('latin1'));
  const [, authzid, name = ''] = match ?? [];
  if (match === null || (authzid !== undefined && authzid !== name) || /=(?!2C|3D)/.test(name))
    return undefined;
  return loginName(Buffer.from(name.replaceAll('=2C', ',').replaceAll('=3D', '='), 'latin1'));
};

interface Reader {
  /** How many responses an exchange has that goes well. */
  readonly least: number;
  readonly most: number;
  /** The response with the secret in it: before this one goes on, the throttle is asked. */
  readonly secretIn: number;
  /** From the first response. */
  readonly name: (response: Buffer) => string | undefined;
}

const SCRAM: Reader = { least: 2, most: 3, secretIn: 1, name: scramName };
const READERS: ReadonlyMap<string, Reader> = new Map([
  ['PLAIN', { least: 1, most: 1, secretIn: 1, name: plainName }],
  ['LOGIN', { least: 2, most: 2, secretIn: 2, name: loginName }],
  ['CRAM-MD5', { least: 1, most: 1, secretIn: 1, name: cramName }],
  ['SCRAM-SHA-1', SCRAM],
  ['SCRAM-SHA-256', SCRAM],
  ['SCRAM-SHA-512', SCRAM],
]);

/** Known to the logs, though nobody can tell from outside who has logged in by them. */
const NAMELESS: ReadonlySet<string> = new Set([
  ...['ANONYMOUS', 'DIGEST-MD5', 'EXTERNAL', 'GSSAPI', 'NTLM', 'OAUTHBEARER', 'XOAUTH2'],
]);

export class SaslName {
  /** A word of a closed set: the mechanism, or `OTHER`. */
  readonly label: string;
  /** Responses so far. */
  responses = 0;
  readonly #reader: Reader | undefined;
  #name: string | undefined;
  #guess: Buffer | undefined;

  /** `mechanism` in upper case. */
  constructor(mechanism: string) {
    this.#reader = READERS.get(mechanism);
    this.label = this.#reader !== undefined || NAMELESS.has(mechanism) ? mechanism : 'OTHER';
  }

  /** Takes the client's next response, in base64. True: this is the one with the secret in it. */
  respond(text: string): boolean {
    this.responses += 1;
    const octets = fromBase64(text);
    if (this.responses === 1) this.#name = octets === undefined ? undefined : this.#reader?.name(octets);
    if (this.responses === this.#reader?.secretIn) this.#guess = octets;
    return this.responses === (this.#reader?.secretIn ?? 1);
  }

  /** Who claims to log in, as far as that can be told. */
  get claimed(): string | undefined {
    return this.#name;
  }

  /** The password that was tried, where the mechanism shows it. */
  get guess(): string | undefined {
    if (this.label === 'LOGIN') return this.#guess?.toString();
    return this.label === 'PLAIN' ? this.#guess?.toString().split('\0')[2] : undefined;
  }

  /** Who has logged in if the server says yes now. */
  get proven(): string | undefined {
    const { least, most } = this.#reader ?? { least: 1, most: 0 };
    return this.responses >= least && this.responses <= most ? this.#name : undefined;
  }
}
