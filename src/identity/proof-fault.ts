/** What may be a user name and a password at all, for every store alike: nothing else is ever handed on. */
import type { Proof } from './credentials.js';

/** Octets in UTF-8. RFC 4616 2 wants 255 at least; a store's own server may take fewer. */
export const USER_OCTETS = 255;
export const PASSWORD_OCTETS = 255;
/** Octets of a bearer token: what fits into an AUTH exchange of 12,288 octets (RFC 4954 4) with room to spare. */
export const TOKEN_OCTETS = 8_192;

/** An ASCII control, DEL or a C1 control: no login's name has one, for it would break lines of files and logs. */
const CONTROL = /[\u0000-\u001f\u007f-\u009f]/;
/** CR, LF or NUL end a line or a string in every protocol and file there is. A tab or a bell may be in a password. */
const BREAK = /[\r\n\0]/;
/** Half of a pair: it has no UTF-8. */
const SURROGATE = /\p{Surrogate}/u;

/** Why this cannot be the name of a user, or undefined. */
export const userFault = (user: string): string | undefined => {
  if (user === '') return 'the user name is empty';
  if (Buffer.byteLength(user) > USER_OCTETS) return `the user name is longer than ${USER_OCTETS} octets`;
  return CONTROL.test(user) || SURROGATE.test(user) ? 'the user name has a control character' : undefined;
};

/** Why this cannot be a password, or undefined. An empty one is none: LDAP takes it for "nobody in particular". */
export const passwordFault = (password: string): string | undefined => {
  if (password === '') return 'the password is empty';
  if (Buffer.byteLength(password) > PASSWORD_OCTETS)
    return `the password is longer than ${PASSWORD_OCTETS} octets`;
  return BREAK.test(password) || SURROGATE.test(password)
    ? 'the password has CR, LF or NUL in it'
    : undefined;
};

/** Why a proof is wrong before anybody has looked at it, or undefined. Never bears a secret. */
export const proofFault = (proof: Proof): string | undefined => {
  switch (proof.kind) {
    case 'password':
      return userFault(proof.user) ?? passwordFault(proof.password);
    case 'cram-md5':
      return userFault(proof.user);
    case 'external':
      return proof.user === '' ? undefined : userFault(proof.user);
    case 'token': {
      const fault = proof.user === undefined ? undefined : userFault(proof.user);
      if (fault !== undefined) return fault;
      if (proof.token === '') return 'the token is empty';
      if (proof.token.length > TOKEN_OCTETS) return `the token is longer than ${TOKEN_OCTETS} octets`;
      return /[^\u0020-\u007e]/.test(proof.token) ? 'the token has characters that none has' : undefined;
    }
  }
};
