/** What OAUTHBEARER and XOAUTH2 share: a bearer token is judged, and a refusal is explained before it is final. */
import { TOKEN_OCTETS } from '../proof-fault.js';
import { challenge, done, failed, type Move, verify } from './turns.js';

/** RFC 6750 2.1, b64token. The scheme is case-insensitive (RFC 7235 2.1). */
const BEARER = /^Bearer +([A-Za-z0-9._~+/-]+=*)$/i;

/** The token of an `auth=` value; undefined when there is none, or when it is too long. */
export const bearerToken = (value: string): string | undefined => {
  const token = BEARER.exec(value)?.[1];
  return token === undefined || token.length > TOKEN_OCTETS ? undefined : token;
};

/** What the client is told of a refusal, in JSON: each value a text, undefined ones left out. */
export type Refusal = Readonly<Record<string, string | undefined>>;

/**
 * A refusal goes out as a challenge; the client's answer, whatever it is (%x01 with OAUTHBEARER, nothing with XOAUTH2),
 * is a dummy (RFC 7628 3.2.3).
 */
export const refuse = (refusal: Refusal, why: string, user: string | undefined): Move =>
  challenge(JSON.stringify(refusal), () => failed('wrong', why, user));

export const judgeToken = (token: string, user: string | undefined, refusal: Refusal): Move =>
  verify({ kind: 'token', user, token }, (outcome) => {
    switch (outcome.kind) {
      case 'ok':
        return done(outcome.login);
      case 'wrong':
        return refuse(refusal, outcome.why, user);
      case 'unavailable':
        return failed('unavailable', outcome.why, user);
    }
  });
