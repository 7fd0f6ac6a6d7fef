/** Password fields to be written into a file of users. What is read from one is in password-schemes. */
import { createHash, randomBytes, randomInt } from 'node:crypto';
import { hash as argon2 } from '@node-rs/argon2';
import bcrypt from 'bcryptjs';
import { err, ok, type Result } from '../../base/result.js';
import { passwordFault } from '../proof-fault.js';
import { prepare } from '../sasl/saslprep.js';
import { DEFAULT_SCRAM_SHAPE, deriveScramKeys, printScramKeys } from '../sasl/scram-keys.js';
import { shaCryptText } from './crypt.js';
import type { NewScheme } from './new-schemes.js';
import { cramContextOf } from './password-check.js';

/** OWASP Password Storage Cheat Sheet: Argon2id with 19 MiB, two passes, one lane. KiB. */
const ARGON2ID = { memoryCost: 19_456, timeCost: 2, parallelism: 1, algorithm: 2 } as const;
/** The binary logarithm of bcrypt's rounds; OWASP asks for 10 at least. */
const BCRYPT_COST = 12;
/** bcrypt reads no more octets, so a longer password would be weaker than it looks. */
const BCRYPT_OCTETS = 72;
const SHA512_ROUNDS = 100_000;

const SALT = './0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz';
const cryptSalt = (): string => Array.from({ length: 16 }, () => SALT[randomInt(SALT.length)]).join('');

const ssha512 = (password: string): string => {
  const salt = randomBytes(16);
  const digest = createHash('sha512').update(password).update(salt).digest();
  return Buffer.concat([digest, salt]).toString('base64');
};

const scram = async (password: string): Promise<Result<string, string>> => {
  const { saltLength, iterations } = DEFAULT_SCRAM_SHAPE;
  const keys = await deriveScramKeys(password, randomBytes(saltLength), iterations);
  return keys.ok ? ok(printScramKeys(keys.value)) : err(`for SCRAM ${keys.error}`);
};

const fieldOf = async (scheme: NewScheme, password: string): Promise<Result<string, string>> => {
  switch (scheme) {
    case 'ARGON2ID':
      return ok(`{ARGON2ID}${await argon2(password, ARGON2ID)}`);
    case 'BLF-CRYPT':
      if (Buffer.byteLength(password) > BCRYPT_OCTETS)
        return err(`bcrypt reads no more than ${BCRYPT_OCTETS} octets of a password: take ARGON2ID`);
      return ok(`{BLF-CRYPT}${await bcrypt.hash(password, BCRYPT_COST)}`);
    case 'SHA512-CRYPT':
      return ok(`{SHA512-CRYPT}${shaCryptText('sha512', password, cryptSalt(), SHA512_ROUNDS)}`);
    case 'SSHA512':
      return ok(`{SSHA512}${ssha512(password)}`);
    case 'SCRAM-SHA-256':
      return scram(password);
    case 'CRAM-MD5':
      return ok(`{CRAM-MD5}${cramContextOf(password).toString('hex')}`);
    case 'PLAIN':
      // In clear it could have a colon, which would end the field.
      return ok(
        password.includes(':')
          ? `{PLAIN.b64}${Buffer.from(password).toString('base64')}`
          : `{PLAIN}${password}`,
      );
  }
};

/** As a client's password is before it is compared with what is kept (RFC 4013); as it is where that cannot be. */
export const preparedPassword = (password: string): string => prepare(password, 'query') ?? password;

/**
 * The field for a password, prepared (RFC 4013) as clients' passwords are before they are compared. The error never bears
 * the password.
 */
export const makeSecret = async (scheme: NewScheme, password: string): Promise<Result<string, string>> => {
  const prepared = preparedPassword(password);
  const fault = passwordFault(prepared);
  return fault === undefined ? fieldOf(scheme, prepared) : err(fault);
};
