/** XOAUTH2, Google's forerunner of OAUTHBEARER: `user=… ^A auth=Bearer … ^A ^A`. Many clients know no other. */
import { bearerToken, judgeToken } from './bearer.js';
import type { SaslContext, SaslMechanism } from './mechanism.js';
import { decodeText, userName } from './text.js';
import { clientFirst, exchange, failed, type Move } from './turns.js';

const MESSAGE = /^user=([^\u0001]+)\u0001auth=([^\u0001]+)\u0001\u0001$/;

const judge = (message: Buffer, { oauth }: SaslContext): Move => {
  const [, name, auth] = MESSAGE.exec(decodeText(message) ?? '') ?? [];
  const user = name === undefined ? undefined : userName(name);
  if (user === undefined || auth === undefined) {
    return failed('malformed', 'XOAUTH2 with a message that is none');
  }
  const token = bearerToken(auth);
  return token === undefined
    ? failed('malformed', 'XOAUTH2 without a bearer token', user)
    : judgeToken(token, user, { status: '401', schemes: 'bearer', scope: oauth?.scope });
};

export const XOAUTH2: SaslMechanism = {
  name: 'XOAUTH2',
  plaintext: true,
  needs: 'token',
  begin: (context) => exchange(clientFirst((message) => judge(message, context))),
};
