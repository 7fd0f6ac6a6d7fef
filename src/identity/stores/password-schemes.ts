/**
 * What stands in the password field of a line: `{SCHEME}text` or `{SCHEME.b64}text` as Dovecot writes it, or a bare
 * crypt(3) hash as Apache's htpasswd does. Told apart by what it is, not by the name of the file.
 */
import { err, ok, type Result } from '../../base/result.js';
import type { ScramKeys } from '../credentials.js';
import { fromBase64, parseScramKeys } from '../sasl/scram-keys.js';
import { cryptCost, cryptForm } from './crypt.js';

export type DigestAlgorithm = 'sha1' | 'sha256' | 'sha512';

/** What a line keeps of a password. */
export type Stored =
  | { readonly kind: 'plain'; readonly password: string }
  | {
      readonly kind: 'digest';
      readonly algorithm: DigestAlgorithm;
      readonly digest: Buffer;
      readonly salt: Buffer;
    }
  | { readonly kind: 'crypt'; readonly hash: string }
  | { readonly kind: 'argon2'; readonly hash: string }
  | { readonly kind: 'pbkdf2'; readonly salt: string; readonly rounds: number; readonly key: Buffer }
  | { readonly kind: 'scram'; readonly keys: ScramKeys }
  | { readonly kind: 'cram-md5'; readonly context: Buffer }
  /** `*`, `!…` or nothing: there is such a user, and no password is right. */
  | { readonly kind: 'locked' };

export interface Secret {
  /** For people: `ARGON2ID`. */
  readonly scheme: string;
  readonly stored: Stored;
  /** Fields of the same cost have the same words here. */
  readonly cost: string;
}

export interface FieldFault {
  /** Well written, as far as one can see, but not for Sekisho: the user cannot log in, and nothing else is wrong. */
  readonly unsupported: boolean;
  /** Never quotes the field. */
  readonly message: string;
}

/** More than this would keep a worker for longer than anybody waits. */
const MOST = { rounds: 1_000_000, bcrypt: 15, memory: 1_048_576, passes: 64, lanes: 16, pbkdf2: 5_000_000 };

type Parsed = Result<{ stored: Stored; cost: string }, FieldFault>;

const bad = (message: string): { readonly ok: false; readonly error: FieldFault } =>
  err({ unsupported: false, message });
const not = (message: string): { readonly ok: false; readonly error: FieldFault } =>
  err({ unsupported: true, message });

const parseCrypt = (text: string, forms: readonly string[]): Parsed => {
  if (text.startsWith('$argon2')) return parseArgon2(text);
  if (/^\$(?:y|7|gy|sha1|md5|3)[$,]/.test(text)) return not('this kind of crypt(3) hash is not supported');
  const form = cryptForm(text);
  if (form === undefined)
    return bad('is not a hash of any known kind; for a password in clear write {PLAIN} before it');
  if (!forms.includes(form)) return bad('is a hash of another kind than its scheme says');
  const cost = cryptCost(text);
  if (cost > (form === 'bcrypt' ? MOST.bcrypt : MOST.rounds)) return not('the cost of the hash is too high');
  if (form === 'bcrypt' && cost < 4) return bad('the cost of the hash is less than bcrypt allows');
  return ok({ stored: { kind: 'crypt', hash: text }, cost: `${form} ${cost}` });
};

const ARGON2 =
  /^\$argon2(id?)\$v=19\$m=([0-9]{1,9}),t=([0-9]{1,6}),p=([0-9]{1,3})\$[A-Za-z0-9+/]{11,86}\$[A-Za-z0-9+/]{16,86}$/;

const parseArgon2 = (text: string, variant?: string): Parsed => {
  const found = ARGON2.exec(text);
  if (found === null) return bad('is not an Argon2 hash ($argon2id$v=19$m=…,t=…,p=…$salt$hash)');
  const [, kind = '', m, t, p] = found;
  if (variant !== undefined && kind !== variant) return bad('is a hash of another kind than its scheme says');
  const [memory, passes, lanes] = [Number(m), Number(t), Number(p)];
  if (memory < 8 * lanes || passes < 1 || lanes < 1) return bad('has parameters that Argon2 does not allow');
  if (memory > MOST.memory || passes > MOST.passes || lanes > MOST.lanes)
    return not('the cost of the hash is too high');
  return ok({ stored: { kind: 'argon2', hash: text }, cost: `argon2${kind} ${memory} ${passes} ${lanes}` });
};

const parsePbkdf2 = (text: string): Parsed => {
  const found = /^\$1\$([^$]{1,64})\$([0-9]{1,9})\$([0-9a-fA-F]{40})$/.exec(text);
  if (found === null) return bad('is not a PBKDF2 hash ($1$salt$rounds$key)');
  const [, salt = '', count, key = ''] = found;
  const rounds = Number(count);
  if (rounds < 1) return bad('is not a PBKDF2 hash ($1$salt$rounds$key)');
  if (rounds > MOST.pbkdf2) return not('the cost of the hash is too high');
  return ok({
    stored: { kind: 'pbkdf2', salt, rounds, key: Buffer.from(key, 'hex') },
    cost: `pbkdf2 ${rounds}`,
  });
};

const parseScram = (text: string): Parsed => {
  const keys = parseScramKeys(text);
  if (!keys.ok) return bad(keys.error);
  if (keys.value.iterations > MOST.pbkdf2) return not('the iteration count is too high');
  return ok({ stored: { kind: 'scram', keys: keys.value }, cost: `scram ${keys.value.iterations}` });
};

const parseDigest = (octets: Buffer, algorithm: DigestAlgorithm, salted: boolean): Parsed => {
  const length = DIGEST_LENGTH[algorithm];
  const salt = octets.length - length;
  if (salted ? salt < 1 || salt > 64 : salt !== 0)
    return bad(`is not a digest of ${length} octets${salted ? ' with a salt behind it' : ''}`);
  return ok({
    stored: { kind: 'digest', algorithm, digest: octets.subarray(0, length), salt: octets.subarray(length) },
    cost: 'digest',
  });
};

const DIGEST_LENGTH: Readonly<Record<DigestAlgorithm, number>> = { sha1: 20, sha256: 32, sha512: 64 };

const DIGESTS: Readonly<Record<string, readonly [DigestAlgorithm, boolean]>> = {
  SHA: ['sha1', false],
  SHA1: ['sha1', false],
  SHA256: ['sha256', false],
  SHA512: ['sha512', false],
  SSHA: ['sha1', true],
  SSHA256: ['sha256', true],
  SSHA512: ['sha512', true],
};

const CRYPTS: Readonly<Record<string, readonly string[]>> = {
  CRYPT: ['md5', 'sha256', 'sha512', 'bcrypt', 'des'],
  'SHA512-CRYPT': ['sha512'],
  'SHA256-CRYPT': ['sha256'],
  'BLF-CRYPT': ['bcrypt'],
  'MD5-CRYPT': ['md5'],
  MD5: ['md5'],
  APR1: ['md5'],
  'DES-CRYPT': ['des'],
};

const hex = (text: string): Buffer | undefined =>
  /^(?:[0-9a-fA-F]{2})*$/.test(text) ? Buffer.from(text, 'hex') : undefined;

/** Undoes `.b64` or `.hex`; without either, digests are in base64 (or hex, if the length fits that) and texts are texts. */
const octetsOf = (scheme: string, encoding: string | undefined, text: string): Buffer | undefined => {
  if (encoding === 'HEX') return hex(text);
  if (encoding !== undefined) return fromBase64(text);
  const digest = DIGESTS[scheme];
  if (scheme === 'CRAM-MD5' || scheme === 'HMAC-MD5') return hex(text);
  if (digest === undefined) return Buffer.from(text);
  const asHex = !digest[1] && text.length === DIGEST_LENGTH[digest[0]] * 2 ? hex(text) : undefined;
  return asHex ?? fromBase64(text);
};

const parseAs = (scheme: string, octets: Buffer): Parsed => {
  const digest = DIGESTS[scheme];
  if (digest !== undefined) return parseDigest(octets, ...digest);
  if (scheme === 'CRAM-MD5' || scheme === 'HMAC-MD5')
    return octets.length === 32
      ? ok({ stored: { kind: 'cram-md5', context: octets }, cost: 'cram-md5' })
      : bad('is not a CRAM-MD5 context of 32 octets');
  const text = octets.toString('utf8');
  if (!Buffer.from(text).equals(octets)) return bad('is not UTF-8');
  const forms = CRYPTS[scheme];
  if (forms !== undefined) return parseCrypt(text, forms);
  switch (scheme) {
    case 'PLAIN':
    case 'CLEARTEXT':
    case 'CLEAR':
      return ok({ stored: { kind: 'plain', password: text }, cost: 'plain' });
    case 'ARGON2ID':
      return parseArgon2(text, 'id');
    case 'ARGON2I':
      return parseArgon2(text, 'i');
    case 'PBKDF2':
      return parsePbkdf2(text);
    case 'SCRAM-SHA-256':
      return parseScram(text);
    default:
      return not('this scheme is not supported');
  }
};

/** Schemes that Sekisho can check, upper case. */
export const SCHEMES: readonly string[] = [
  ...['PLAIN', 'CLEARTEXT', ...Object.keys(CRYPTS), ...Object.keys(DIGESTS)],
  ...['ARGON2ID', 'ARGON2I', 'PBKDF2', 'SCRAM-SHA-256', 'CRAM-MD5'],
];

const BARE: Readonly<Record<string, string>> = {
  md5: 'MD5-CRYPT',
  sha256: 'SHA256-CRYPT',
  sha512: 'SHA512-CRYPT',
  bcrypt: 'BLF-CRYPT',
  des: 'DES-CRYPT',
};

/** A name for what stands under CRYPT, or under no scheme at all. */
const named = (scheme: string, { stored }: { readonly stored: Stored }): string => {
  if (scheme !== 'CRYPT') return scheme;
  if (stored.kind === 'argon2') return stored.hash.startsWith('$argon2id') ? 'ARGON2ID' : 'ARGON2I';
  if (stored.kind !== 'crypt') return scheme;
  return stored.hash.startsWith('$apr1$') ? 'APR1' : (BARE[cryptForm(stored.hash) ?? ''] ?? scheme);
};

/** Reads the password field of a line. */
export const parseSecret = (field: string): Result<Secret, FieldFault> => {
  const braced = /^\{([A-Za-z0-9-]{1,32})(?:\.(b64|base64|hex))?\}(.*)$/is.exec(field);
  const scheme = (braced?.[1] ?? 'CRYPT').toUpperCase();
  const text = braced?.[3] ?? field;
  if (text === '' || /^[!*]/.test(field)) return ok({ scheme, stored: { kind: 'locked' }, cost: 'locked' });
  const octets = octetsOf(scheme, braced?.[2]?.toUpperCase(), text);
  if (octets === undefined) return bad('is not in the encoding of its scheme (base64, or hex)');
  const parsed = parseAs(scheme, octets);
  return parsed.ok ? ok({ scheme: named(scheme, parsed.value), ...parsed.value }) : parsed;
};
