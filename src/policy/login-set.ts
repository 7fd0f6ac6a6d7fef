/** Logins as a policy names them: `any`, a name, or `*@domain` for every login of a domain. */

const DOMAIN_PATTERN = /^\*@[^@*\s]+$/;

/** The form in which logins compare: the domain part in lower case, what stands before it as it is. */
export const normalLogin = (name: string): string => {
  const at = name.lastIndexOf('@');
  return at < 0 ? name : `${name.slice(0, at)}${name.slice(at).toLowerCase()}`;
};

/** What is wrong with a word that should name logins; undefined if nothing is. */
export const loginFault = (word: string): string | undefined => {
  if (!word.includes('*') || DOMAIN_PATTERN.test(word)) return undefined;
  return 'a * stands only for all logins of a domain, as in *@example.org';
};

export class LoginSet {
  readonly #any: boolean;
  readonly #names = new Set<string>();
  readonly #domains = new Set<string>();

  constructor(words: readonly string[]) {
    this.#any = words.includes('any');
    for (const word of words) {
      if (word.startsWith('*@')) this.#domains.add(word.slice(2).toLowerCase());
      else if (word !== 'any') this.#names.add(normalLogin(word));
    }
  }

  has(login: string): boolean {
    if (this.#any) return true;
    const name = normalLogin(login);
    const at = name.lastIndexOf('@');
    return this.#names.has(name) || (at >= 0 && this.#domains.has(name.slice(at + 1)));
  }

  /** True if every login in `other` is in this set. */
  covers(other: LoginSet): boolean {
    if (this.#any) return true;
    if (other.#any) return false;
    return (
      [...other.#domains].every((domain) => this.#domains.has(domain)) &&
      [...other.#names].every((name) => this.has(name))
    );
  }
}
