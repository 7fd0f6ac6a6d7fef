/**
 * What a server keeps of a password for SCRAM-SHA-256 (RFC 5802 3, RFC 7677): derived, printed, parsed, and made up
 * for users who do not exist.
 */
import { createHash, createHmac, pbkdf2, timingSafeEqual } from 'node:crypto';
import { err, ok, type Result } from '../../base/result.js';
import type { ScramKeys } from '../credentials.js';
import { prepare } from './saslprep.js';

/** RFC 7677 4: at least 4,096. */
export const SCRAM_MIN_ITERATIONS = 4096;
/** A password checked against keys costs so many rounds (some seconds); whoever writes more has made a slip. */
export const SCRAM_MAX_ITERATIONS = 10_000_000;
/** Octets. What Dovecot and Sekisho draw is 16. */
export const SCRAM_MIN_SALT = 4;
export const SCRAM_MAX_SALT = 128;
/** Octets of a SHA-256 digest. */
export const SCRAM_KEY_LENGTH = 32;

const SCHEME = '{SCRAM-SHA-256}';

export const hmac = (key: Buffer | string, text: Buffer | string): Buffer =>
  createHmac('sha256', key).update(text).digest();

export const hash = (octets: Buffer): Buffer => createHash('sha256').update(octets).digest();

/** RFC 5802 3's Hi(), in a thread of its own. */
const saltedPassword = (password: string, salt: Buffer, iterations: number): Promise<Buffer> =>
  new Promise((resolve, reject) => {
    pbkdf2(password, salt, iterations, SCRAM_KEY_LENGTH, 'sha256', (error, salted) =>
      error === null ? resolve(salted) : reject(error),
    );
  });

/** RFC 5802 3: the keys that follow from a SaltedPassword. */
export const keysOfSalted = (salted: Buffer, salt: Buffer, iterations: number): ScramKeys => ({
  salt,
  iterations,
  storedKey: hash(hmac(salted, 'Client Key')),
  serverKey: hmac(salted, 'Server Key'),
});

const faultOf = (salt: Buffer, iterations: number): string | undefined => {
  if (salt.length < SCRAM_MIN_SALT || salt.length > SCRAM_MAX_SALT) {
    return `the salt has ${salt.length} octets, ${SCRAM_MIN_SALT} to ${SCRAM_MAX_SALT} would be right`;
  }
  return Number.isInteger(iterations) &&
    iterations >= SCRAM_MIN_ITERATIONS &&
    iterations <= SCRAM_MAX_ITERATIONS
    ? undefined
    : `the iteration count is ${iterations}, ${SCRAM_MIN_ITERATIONS} to ${SCRAM_MAX_ITERATIONS} would be right`;
};

/**
 * The keys of a password that is to be stored, off the event loop. Never rejects; an error when SASLprep forbids the
 * password, or when salt or count are out of bounds. The error never bears the password.
 */
export const deriveScramKeys = async (
  password: string,
  salt: Buffer,
  iterations: number,
): Promise<Result<ScramKeys, string>> => {
  const prepared = prepare(password, 'stored');
  if (prepared === undefined) {
    return err('the password is empty or has characters that SASLprep (RFC 4013) forbids');
  }
  const fault = faultOf(salt, iterations);
  if (fault !== undefined) return err(fault);
  return ok(keysOfSalted(await saltedPassword(prepared, salt, iterations), salt, iterations));
};

/** Whether a password (as a mechanism hands it on, that is prepared) is the one of the keys; off the event loop. */
export const provesScramPassword = async (keys: ScramKeys, password: string): Promise<boolean> => {
  const salted = await saltedPassword(password, keys.salt, keys.iterations);
  return timingSafeEqual(keysOfSalted(salted, keys.salt, keys.iterations).storedKey, keys.storedKey);
};

/** As Dovecot's passwd-file and `doveadm pw -s SCRAM-SHA-256` write it. */
export const printScramKeys = ({ salt, iterations, storedKey, serverKey }: ScramKeys): string =>
  `${SCHEME}${iterations},${[salt, storedKey, serverKey].map((each) => each.toString('base64')).join(',')}`;

/** Canonical base64 (RFC 4648 4) with its padding; undefined for anything else. */
export const fromBase64 = (text: string): Buffer | undefined => {
  const octets = Buffer.from(text, 'base64');
  return octets.toString('base64') === text ? octets : undefined;
};

/**
 * Reads `iterations,salt,storedkey,serverkey`, the last three in base64, with or without `{SCRAM-SHA-256}` in front.
 * The error says which part is wrong and never quotes it.
 */
export const parseScramKeys = (text: string): Result<ScramKeys, string> => {
  const bare = text.slice(0, SCHEME.length).toUpperCase() === SCHEME ? text.slice(SCHEME.length) : text;
  const parts = bare.split(',');
  const [count = '', ...rest] = parts;
  if (parts.length !== 4) return err(`has ${parts.length} parts, iterations,salt,storedkey,serverkey are 4`);
  if (!/^[1-9][0-9]{0,8}$/.test(count)) return err('the iteration count is not a number');
  const [salt, storedKey, serverKey] = rest.map(fromBase64);
  if (salt === undefined) return err('the salt is not base64');
  const fault = faultOf(salt, Number(count));
  if (fault !== undefined) return err(fault);
  if (storedKey?.length !== SCRAM_KEY_LENGTH) return err('the stored key is not 32 octets in base64');
  if (serverKey?.length !== SCRAM_KEY_LENGTH) return err('the server key is not 32 octets in base64');
  return ok({ salt, iterations: Number(count), storedKey, serverKey });
};

/** What made-up keys have to look like, so that they pass for the ones of the store. */
export interface ScramShape {
  /** Octets. */
  readonly saltLength: number;
  readonly iterations: number;
}

export const DEFAULT_SCRAM_SHAPE: ScramShape = { saltLength: 16, iterations: SCRAM_MIN_ITERATIONS };

/**
 * Keys for a user who does not exist: nobody can prove them, and a name always gets the same salt. The secret has to
 * outlive a restart (salts that change would tell made-up users from real ones); `user` is spelt as the store would
 * look it up.
 */
export const madeUpScramKeys = (
  secret: Buffer,
  user: string,
  shape: ScramShape = DEFAULT_SCRAM_SHAPE,
): ScramKeys => {
  const draw = (what: string): Buffer => hmac(secret, `${what}\0${user}`);
  const salt = Buffer.concat([draw('salt 1'), draw('salt 2'), draw('salt 3'), draw('salt 4')]);
  return {
    salt: salt.subarray(0, shape.saltLength),
    iterations: shape.iterations,
    storedKey: draw('stored key'),
    serverKey: draw('server key'),
  };
};
