/** CRAM-MD5 (RFC 2195): the server speaks first, the client answers `user SP hex(HMAC-MD5(password, challenge))`. */
import type { SaslMechanism } from './mechanism.js';
import { decodeText, userName } from './text.js';
import { challenge, exchange, failed, type Move, verify } from './turns.js';

/** A user name may have spaces in it, a digest has none. RFC 2195 2 says lower case; some clients are not so exact. */
const RESPONSE = /^(.*) ([0-9a-f]{32})$/is;

const judge = (sent: string, response: Buffer): Move => {
  const [, name, digest] = RESPONSE.exec(decodeText(response) ?? '') ?? [];
  if (name === undefined || digest === undefined) {
    return failed('malformed', 'CRAM-MD5 wants a user name, a space and 32 hexadecimal digits');
  }
  const user = userName(name);
  return user === undefined
    ? failed('malformed', 'CRAM-MD5 with a user name that is none')
    : verify({ kind: 'cram-md5', user, challenge: sent, digest: digest.toLowerCase() });
};

export const CRAM_MD5: SaslMechanism = {
  name: 'CRAM-MD5',
  plaintext: false,
  needs: 'cram-md5',
  begin: ({ nonce, time, hostname }) =>
    exchange((response) => {
      // RFC 4954 4: no initial response where the server speaks first, not even an empty one.
      if (response !== undefined) return failed('malformed', 'CRAM-MD5 has no initial response');
      const sent = `<${nonce}.${time}@${hostname}>`;
      return challenge(sent, (answer) => judge(sent, answer));
    }),
};
