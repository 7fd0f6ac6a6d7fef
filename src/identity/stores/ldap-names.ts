/** User names inside LDAP filters and distinguished names: the only places where a client's text meets LDAP syntax. */
import { Filter, FilterParser } from 'ldapts';

const PLACE = '{user}';

/** What a directory's text must not be replaced by: `$&` and the like mean something to String.replace. */
const fill = (template: string, value: string): string => template.split(PLACE).join(value);

/** RFC 4515 3: `* ( ) \` and NUL as `\xx`. */
export const filterFor = (template: string, user: string): string => fill(template, Filter.escape(user));

/**
 * RFC 4514 2.4, a value of an RDN. All that is ASCII and neither letter, digit nor one of `-._@` goes as hex, which
 * every server reads alike; so does white space, whose meaning differs by its place.
 */
export const escapeDn = (value: string): string =>
  value.replace(/[\u0000-\u007f]/g, (char) =>
    /[A-Za-z0-9._@-]/.test(char) ? char : `\\${char.charCodeAt(0).toString(16).padStart(2, '0')}`,
  );

export const dnFor = (template: string, user: string): string => fill(template, escapeDn(user));

/** The attribute that a template compares the user with first: `uid` of `(&(uid={user})(mailHost=x))`. */
export const comparedAttribute = (template: string): string | undefined =>
  /(?:^|[(,+\s])([A-Za-z][A-Za-z0-9-]*)\s*=\s*\{user\}/.exec(template)?.[1];

/** ldapts takes a filter whose last parentheses are missing; servers read such a thing each in its own way. */
const balanced = (filter: string): boolean => {
  let depth = 0;
  for (const char of filter) {
    if (char === '(') depth += 1;
    if (char === ')') depth -= 1;
    if (depth < 0) return false;
  }
  return depth === 0;
};

/** Why this is no filter with a place for the user, or undefined. */
export const filterFault = (template: string): string | undefined => {
  if (!template.includes(PLACE)) return 'must have {user} in it, such as (uid={user})';
  const fault = 'is not an LDAP filter (RFC 4515), such as (&(objectClass=person)(uid={user}))';
  try {
    FilterParser.parseString(filterFor(template, 'x'));
    return balanced(template) ? undefined : fault;
  } catch {
    return fault;
  }
};

/** `attribute=value` joined by commas or plus signs; what servers read as a DN (RFC 4514 3). */
const RDN = /^\s*[A-Za-z0-9.-]+\s*=(?:[^,+"\\<>;]|\\.)+$/;
const SEPARATOR = /(?<!\\)[,+]/;

/** Whether this looks like a distinguished name of at least one RDN. */
export const isDn = (text: string): boolean => text.split(SEPARATOR).every((rdn) => RDN.test(rdn));

/** Why this is no DN with a place for the user, or undefined. */
export const dnTemplateFault = (template: string): string | undefined =>
  template.includes(PLACE) && isDn(dnFor(template, 'x')) && comparedAttribute(template) !== undefined
    ? undefined
    : 'must be a DN with {user} as a value in it, such as uid={user},ou=people,dc=example,dc=org';
