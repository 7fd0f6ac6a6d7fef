/** LOGIN (draft-murchison-sasl-login): user name and password, each asked for. Old, never a standard, still in use. */
import type { SaslMechanism } from './mechanism.js';
import { decodePassword, decodeUser } from './text.js';
import { challenge, exchange, failed, type Move, verify } from './turns.js';

const takeUser = (response: Buffer): Move => {
  const user = decodeUser(response);
  if (user === undefined) return failed('malformed', 'LOGIN with a user name that is none');
  return challenge('Password:', (secret) => {
    const password = decodePassword(secret);
    return password === undefined
      ? failed('malformed', 'LOGIN with a password that is none', user)
      : verify({ kind: 'password', user, password });
  });
};

export const LOGIN: SaslMechanism = {
  name: 'LOGIN',
  plaintext: true,
  needs: 'password',
  // The words are the ones that clients know; the draft's own ("User Name") some do not. `AUTH LOGIN <user>` and
  // `AUTH LOGIN =` are older than the draft and common.
  begin: () =>
    exchange((response) =>
      response === undefined || response.length === 0 ? challenge('Username:', takeUser) : takeUser(response),
    ),
};
