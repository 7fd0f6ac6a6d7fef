/** From the claims of a token that is known to be good to a login, or to why there is none. */
import { type Login, type Outcome, wrong } from '../credentials.js';
import { userFault } from '../proof-fault.js';

export type Claims = Readonly<Record<string, unknown>>;

export interface ClaimRules {
  /** The claims that may bear the login's name: the first that the token has. */
  readonly nameClaims: readonly string[];
  /** Of the claim `email`: must be verified, must not be called unverified, or nothing. */
  readonly emailVerified: 'require' | 'if_given' | 'ignore';
  /** Where the token says what the login may put in MAIL FROM; undefined: it does not say. */
  readonly sendersClaim: string | undefined;
  /** All of these must be granted. */
  readonly scopes: readonly string[];
}

export const isClaims = (value: unknown): value is Claims =>
  typeof value === 'object' && value !== null && !Array.isArray(value);

const claim = (claims: Claims, name: string): unknown =>
  Object.hasOwn(claims, name) ? claims[name] : undefined;

/** A text or a list of texts, as texts. */
export const textsOf = (value: unknown): string[] =>
  [value].flat().filter((each): each is string => typeof each === 'string');

/** RFC 8693 4.2: `scope`, divided by spaces. Microsoft calls it `scp`; some send a list. */
const scopesOf = (claims: Claims): Set<string> =>
  new Set(
    [...textsOf(claim(claims, 'scope')), ...textsOf(claim(claims, 'scp'))].flatMap((each) => each.split(' ')),
  );

/** Tokens of other kinds, as Keycloak marks them, and those that only the holder of a key may use (RFC 7800). */
const kindFault = (claims: Claims): string | undefined => {
  const kind = claim(claims, 'typ');
  if (typeof kind === 'string' && /^(?:id|refresh|offline|logout)$/i.test(kind))
    return 'it is no access token';
  return claim(claims, 'cnf') === undefined
    ? undefined
    : 'it is bound to a key, so it cannot be a bearer token';
};

const verifiedFault = (claims: Claims, rule: ClaimRules['emailVerified']): string | undefined => {
  const verified = claim(claims, 'email_verified');
  // Some issuers send the word instead of the value.
  if (rule === 'ignore' || verified === true || verified === 'true') return undefined;
  if (verified === undefined)
    return rule === 'require' ? 'it does not say that the email is verified' : undefined;
  return 'its email is not verified';
};

const nameOf = (
  claims: Claims,
  { nameClaims, emailVerified }: ClaimRules,
): { name: string } | { why: string } => {
  const from = nameClaims.find((each) => typeof claim(claims, each) === 'string');
  const name = from === undefined ? undefined : claim(claims, from);
  if (from === undefined || typeof name !== 'string')
    return { why: `it has none of ${nameClaims.join(', ')}` };
  const fault = userFault(name);
  if (fault !== undefined) return { why: `its ${from} is no login: ${fault}` };
  if (from === 'email') {
    const unverified = verifiedFault(claims, emailVerified);
    if (unverified !== undefined) return { why: unverified };
  } else if (nameClaims.includes('email') && name.includes('@')) {
    // A name of a user's own choosing that looks like an address would make them whoever has that address.
    return { why: `it has no email, and its ${from} looks like one` };
  }
  return { name };
};

/** Names compare without regard to ASCII case here: the login's name is the token's spelling in any case. */
const fold = (name: string): string =>
  name.normalize('NFC').replace(/[A-Z]/g, (letter) => letter.toLowerCase());

export const loginOf = (claims: Claims, user: string | undefined, rules: ClaimRules): Outcome => {
  const kind = kindFault(claims);
  if (kind !== undefined) return wrong(`the token is refused: ${kind}`);
  const granted = scopesOf(claims);
  const missing = rules.scopes.filter((each) => !granted.has(each));
  if (missing.length > 0) return wrong(`the token lacks the scope ${missing.join(' ')}`);
  const named = nameOf(claims, rules);
  if ('why' in named) return wrong(`the token is refused: ${named.why}`);
  if (user !== undefined && fold(user) !== fold(named.name)) return wrong('the token is of another user');
  const login: Login =
    rules.sendersClaim === undefined
      ? named
      : { ...named, senders: textsOf(claim(claims, rules.sendersClaim)) };
  return { kind: 'ok', login };
};
