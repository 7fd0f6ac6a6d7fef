/** EXTERNAL (RFC 4422 A): the client's certificate says who it is, the message at most whom it wants to be. */
import type { SaslContext, SaslMechanism } from './mechanism.js';
import { decodeUser } from './text.js';
import { clientFirst, exchange, failed, type Move, verify } from './turns.js';

const judge = (message: Buffer, { certificate }: SaslContext): Move => {
  // Whether the certificate may be `user` is for the store to say: it alone knows whose certificate this is.
  const user = message.length === 0 ? '' : decodeUser(message);
  if (user === undefined) return failed('malformed', 'EXTERNAL with a user name that is none');
  return certificate === undefined
    ? failed('wrong', 'EXTERNAL without a verified certificate', user)
    : verify({ kind: 'external', user, certificate });
};

export const EXTERNAL: SaslMechanism = {
  name: 'EXTERNAL',
  plaintext: false,
  needs: 'external',
  requires: 'certificate',
  begin: (context) => exchange(clientFirst((message) => judge(message, context))),
};
