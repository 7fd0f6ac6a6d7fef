/**
 * The keys at which a login has windows: nearly always one, and a Set around each of a million would take more memory than the
 * windows themselves.
 */
export class KeysOfLogins {
  readonly #keys = new Map<string, string | Set<string>>();

  of(login: string): Iterable<string> {
    const held = this.#keys.get(login) ?? [];
    return typeof held === 'string' ? [held] : held;
  }

  add(login: string, key: string): void {
    const held = this.#keys.get(login);
    if (held === undefined) this.#keys.set(login, key);
    else if (typeof held !== 'string') held.add(key);
    else if (held !== key) this.#keys.set(login, new Set([held, key]));
  }

  delete(login: string, key: string): void {
    const held = this.#keys.get(login);
    if (held === key) this.#keys.delete(login);
    if (!(held instanceof Set)) return;
    held.delete(key);
    if (held.size === 0) this.#keys.delete(login);
  }
}
