/** PLAIN (RFC 4616): `[authzid] NUL authcid NUL password` in one message. */
import type { SaslMechanism } from './mechanism.js';
import { decodePassword, decodeUser } from './text.js';
import { clientFirst, exchange, failed, type Move, verify } from './turns.js';

/** The three parts; undefined without two NULs. A third would be in the password, which must have none. */
const split = (message: Buffer): [Buffer, Buffer, Buffer] | undefined => {
  const first = message.indexOf(0);
  const second = first < 0 ? -1 : message.indexOf(0, first + 1);
  if (second < 0) return undefined;
  return [message.subarray(0, first), message.subarray(first + 1, second), message.subarray(second + 1)];
};

const judge = (message: Buffer): Move => {
  const parts = split(message);
  if (parts === undefined) return failed('malformed', 'PLAIN wants two NULs');
  const [authzid, authcid, secret] = parts;
  const user = decodeUser(authcid);
  if (user === undefined) return failed('malformed', 'PLAIN with a user name that is none');
  const password = decodePassword(secret);
  if (password === undefined) return failed('malformed', 'PLAIN with a password that is none', user);
  if (authzid.length > 0 && decodeUser(authzid) !== user) {
    return failed('wrong', 'the client asked to act as somebody else', user);
  }
  return verify({ kind: 'password', user, password });
};

export const PLAIN: SaslMechanism = {
  name: 'PLAIN',
  plaintext: true,
  needs: 'password',
  begin: () => exchange(clientFirst(judge)),
};
