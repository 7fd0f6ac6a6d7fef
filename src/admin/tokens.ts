/**
 * Who may do what on the admin endpoint: a file with a name, a role and a token on each line. Tokens are long and
 * random, so a plain SHA-256 is a good enough hash of them.
 */
import { createHash, timingSafeEqual } from 'node:crypto';
import { err, ok, type Result } from '../base/result.js';

export const ROLES = ['read', 'full'] as const;
export type Role = (typeof ROLES)[number];

export interface Token {
  readonly name: string;
  readonly role: Role;
  /** SHA-256 of the token. */
  readonly digest: Buffer;
}

/** Octets of a token; 20 characters of base64 are 120 bits. */
const LEAST = 20;
const MOST = 256;

const NAME = /^[A-Za-z0-9._-]{1,64}$/;
const HASHED = /^sha256:([0-9A-Fa-f]{64})$/;
const PLAIN = /^[\x21-\x7e]+$/;

export const digestOf = (token: string): Buffer => createHash('sha256').update(token).digest();

const secretOf = (given: string): Result<Buffer, string> => {
  const hashed = HASHED.exec(given)?.[1];
  if (hashed !== undefined) return ok(Buffer.from(hashed, 'hex'));
  if (given.startsWith('sha256:')) return err('after sha256: come 64 hex digits, as sha256sum prints them');
  if (!PLAIN.test(given) || given.length < LEAST || given.length > MOST)
    return err(
      `a token has ${LEAST} to ${MOST} printable ASCII characters: make one with openssl rand -base64 32`,
    );
  return ok(digestOf(given));
};

const tokenOf = (line: string): Result<Token, string> => {
  const [name = '', role = '', secret = '', ...more] = line.trim().split(/\s+/);
  if (secret === '' || more.length > 0)
    return err('must be NAME ROLE TOKEN, such as: oncall full sha256:9f86…');
  if (!NAME.test(name)) return err('the name must be 1 to 64 of A-Z a-z 0-9 . _ -');
  const known = ROLES.find((each) => each === role);
  if (known === undefined) return err(`the role must be ${ROLES.join(' or ')}`);
  const digest = secretOf(secret);
  return digest.ok ? ok({ name, role: known, digest: digest.value }) : digest;
};

/**
 * Reads the text of a file of tokens; `mode`: its permissions. Faults name file and line and never bear a token.
 * What is not hashed may be read by nobody but the owner; nobody else may write in it at all.
 */
export const parseTokens = (file: string, text: string, mode: number): Result<readonly Token[], string[]> => {
  const faults: string[] = [];
  const tokens: Token[] = [];
  let plain = false;
  for (const [index, line] of text.split(/\r?\n/).entries()) {
    if (/^\s*(?:#|$)/.test(line)) continue;
    const token = tokenOf(line);
    if (!token.ok) faults.push(`${file}:${index + 1}: ${token.error}.`);
    else if (tokens.some(({ name }) => name === token.value.name))
      faults.push(`${file}:${index + 1}: there is a token called "${token.value.name}" already.`);
    else tokens.push(token.value);
    plain ||= !/\ssha256:\S*\s*$/.test(line);
  }
  const octal = (mode & 0o777).toString(8).padStart(4, '0');
  if ((mode & 0o022) !== 0) faults.push(`${file}: mode ${octal} lets others write tokens: chmod 600 ${file}`);
  else if (plain && (mode & 0o044) !== 0)
    faults.push(
      `${file}: mode ${octal} lets others read the tokens: chmod 600 ${file}, or write them as sha256:…`,
    );
  if (tokens.length === 0 && faults.length === 0)
    faults.push(`${file}: there is no token in it. Write NAME ROLE TOKEN, one a line.`);
  return faults.length > 0 ? err(faults) : ok(tokens);
};

/** The token that was shown. Takes as long whichever it is, and if it is none. */
export const findToken = (tokens: readonly Token[], shown: string): Token | undefined => {
  const digest = digestOf(shown);
  let found: Token | undefined;
  for (const token of tokens) if (timingSafeEqual(token.digest, digest)) found = token;
  return found;
};
