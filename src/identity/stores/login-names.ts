/** How a login is called here, and how it is called when another server is asked about it. */
import { err, ok, type Result } from '../../base/result.js';
import { userFault } from '../proof-fault.js';

export interface LoginNames {
  /** Lower case: the domain of all logins of the store. A name without one gets it, a name of another is wrong. */
  readonly domain: string | undefined;
  /** With a domain: whether the server knows `alice` or `alice@example.org`. */
  readonly ask: 'name' | 'address';
}

export const AS_TYPED: LoginNames = { domain: undefined, ask: 'name' };

export interface NamedLogin {
  /** For the server. */
  readonly asked: string;
  /** For policies, limits and logs. */
  readonly known: string;
}

/**
 * Many servers fold the case of a name and do not say so; were `Alice` and `alice` two logins here, a limit per login
 * would hold for neither. So the known name is lower case. Names with spaces around them are refused for the same reason.
 */
export const nameLogin = (user: string, { domain, ask }: LoginNames): Result<NamedLogin, string> => {
  const fault = userFault(user);
  if (fault !== undefined) return err(fault);
  if (user.trim() !== user) return err('the user name begins or ends with a space');
  if (domain === undefined) return known(user, user);
  const at = user.lastIndexOf('@');
  const [name, given] = at < 0 ? [user, domain] : [user.slice(0, at), user.slice(at + 1)];
  if (given.toLowerCase() !== domain) return err(`the user name is not of ${domain}`);
  if (name === '') return err('the user name is empty');
  return known(ask === 'name' ? name : `${name}@${domain}`, `${name}@${domain}`);
};

const known = (asked: string, name: string): Result<NamedLogin, string> => {
  const folded = name.toLowerCase();
  const fault = userFault(asked) ?? userFault(folded);
  return fault === undefined ? ok({ asked, known: folded }) : err(fault);
};

/** The name that a server gave, with the store's domain if it has none; an error when nobody can be called so. */
export const nameGiven = (given: string, { domain }: LoginNames): Result<string, string> => {
  const name = domain === undefined || given.includes('@') ? given : `${given}@${domain}`;
  const fault = userFault(name);
  return fault === undefined ? ok(name) : err(`the server gave a name that none can have: ${fault}`);
};
