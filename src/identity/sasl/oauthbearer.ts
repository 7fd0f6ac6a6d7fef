/** OAUTHBEARER (RFC 7628): a GS2 header, then `key=value` pairs, each closed by %x01, and another %x01. */
import { bearerToken, judgeToken, type Refusal, refuse } from './bearer.js';
import { gs2Header } from './gs2.js';
import type { SaslContext, SaslMechanism } from './mechanism.js';
import { decodeText } from './text.js';
import { clientFirst, exchange, failed, type Move } from './turns.js';

/** RFC 7628 3.1, from the %x01 after the header on. */
const PAIRS = /^\u0001((?:[A-Za-z]+=[\t\r\n -~]*\u0001)+)\u0001$/;

/** The value of `auth`; undefined unless it is there exactly once. The others (host, port) say nothing we do not know. */
const authOf = (pairs: string): string | undefined => {
  const values = pairs
    .split('\u0001')
    .flatMap((pair) => (/^auth=/i.test(pair) ? [pair.slice('auth='.length)] : []));
  return values.length === 1 ? values[0] : undefined;
};

const refusalOf = ({ oauth }: SaslContext): Refusal => ({
  status: 'invalid_token',
  scope: oauth?.scope,
  'openid-configuration': oauth?.configuration,
});

const judge = (message: Buffer, context: SaslContext): Move => {
  const text = decodeText(message) ?? '';
  const header = gs2Header(text);
  const [, pairs] = PAIRS.exec(text.slice(header?.text.length)) ?? [];
  const auth = pairs === undefined ? undefined : authOf(pairs);
  // RFC 7628 3.1: there is no OAUTHBEARER-PLUS, so nobody binds to a channel.
  if (header === undefined || header.flag === 'p' || auth === undefined) {
    return failed('malformed', 'OAUTHBEARER with a message that is none');
  }
  const user = header.authzid;
  // RFC 7628 4.3: a client without a token asks where to get one by sending an empty `auth`.
  if (auth === '') return refuse(refusalOf(context), 'the client sent no token', user);
  const token = bearerToken(auth);
  return token === undefined
    ? failed('malformed', 'OAUTHBEARER without a bearer token', user)
    : judgeToken(token, user, refusalOf(context));
};

export const OAUTHBEARER: SaslMechanism = {
  name: 'OAUTHBEARER',
  plaintext: true,
  needs: 'token',
  begin: (context) => exchange(clientFirst((message) => judge(message, context))),
};
