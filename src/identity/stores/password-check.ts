/** Whether a password is the one of which a line keeps something. Slow on purpose for most: see hash-pool. */
import { createHash, createHmac, pbkdf2Sync, timingSafeEqual } from 'node:crypto';
import { verifySync } from '@node-rs/argon2';
import { prepare } from '../sasl/saslprep.js';
import { provesScramPassword } from '../sasl/scram-keys.js';
import { cryptMatches } from './crypt.js';
import { cramContext, cramDigest } from './md5-context.js';
import type { Stored } from './password-schemes.js';

/** Texts of any length, compared in a time that does not tell where they differ. */
const same = (a: string | Buffer, b: string | Buffer): boolean =>
  timingSafeEqual(createHash('sha256').update(a).digest(), createHash('sha256').update(b).digest());

/** What a CRAM-MD5 server keeps. HMAC-MD5 takes a key of more than a block by its sum (RFC 2104 2). */
export const cramContextOf = (password: string): Buffer => {
  const key = Buffer.from(password);
  return cramContext(key.length > 64 ? createHash('md5').update(key).digest() : key);
};

/** Cheap enough for the event loop. */
export const isQuick = ({ kind }: Stored): boolean =>
  kind === 'plain' || kind === 'digest' || kind === 'cram-md5' || kind === 'locked';

/** The synchronous part of it: for `isQuick` ones, or in a worker. */
export const quickMatches = (stored: Stored, password: string): boolean => {
  switch (stored.kind) {
    case 'plain':
      // What a client sends has been prepared (RFC 4013), what somebody wrote into a file has not.
      return (
        same(prepare(stored.password, 'query') ?? stored.password, password) ||
        same(stored.password, password)
      );
    case 'digest': {
      const sum = createHash(stored.algorithm).update(password).update(stored.salt).digest();
      return same(sum, stored.digest);
    }
    case 'cram-md5':
      return same(cramContextOf(password), stored.context);
    case 'crypt':
      return cryptMatches(stored.hash, password);
    case 'argon2':
      return verifySync(stored.hash, password);
    case 'pbkdf2':
      return same(pbkdf2Sync(password, stored.salt, stored.rounds, stored.key.length, 'sha1'), stored.key);
    case 'scram':
    case 'locked':
      return false;
  }
};

export const matches = async (stored: Stored, password: string): Promise<boolean> => {
  if (stored.kind !== 'scram') return quickMatches(stored, password);
  const prepared = prepare(password, 'query');
  return prepared !== undefined && provesScramPassword(stored.keys, prepared);
};

/** Whether a CRAM-MD5 response (RFC 2195) proves the password; false for what cannot tell. */
export const answersChallenge = (stored: Stored, challenge: string, digest: string): boolean => {
  switch (stored.kind) {
    case 'plain':
      return same(createHmac('md5', stored.password).update(challenge).digest('hex'), digest);
    case 'cram-md5':
      return same(cramDigest(stored.context, Buffer.from(challenge)).toString('hex'), digest);
    default:
      return false;
  }
};
