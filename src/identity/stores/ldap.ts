/**
 * Passwords that an LDAP directory judges (RFC 4511), by a bind as the user. The user's entry is found by a search, or
 * its DN follows from the name.
 */
import { randomBytes, randomInt } from 'node:crypto';
import { type Client, type Entry, NoSuchObjectError, ResultCodeError } from 'ldapts';
import type { Note } from '../../base/events.js';
import { type Attempt, type CredentialStore, type Outcome, type Proof, wrong } from '../credentials.js';
import { userFault } from '../proof-fault.js';
import { Deadline, pause } from './deadline.js';
import { Guard } from './guard.js';
import type { LdapConnection, LdapServer, LdapTls } from './ldap-connection.js';
import { dnFor, filterFor } from './ldap-names.js';
import { LdapServers } from './ldap-servers.js';

export interface LdapSearch {
  readonly kind: 'search';
  /** Who searches; undefined: anonymous. */
  readonly account: { readonly dn: string; readonly password: string } | undefined;
  readonly base: string;
  /** With `{user}` in it. */
  readonly filter: string;
  readonly scope: 'base' | 'one' | 'sub';
}

export interface LdapTemplate {
  readonly kind: 'template';
  /** A DN with `{user}` in it. */
  readonly dn: string;
}

export interface LdapOptions {
  /** In the order in which they are asked; at least one. */
  readonly servers: readonly LdapServer[];
  readonly tls: LdapTls;
  readonly find: LdapSearch | LdapTemplate;
  /** Where the entry has the login's one spelling. */
  readonly nameAttribute: string;
  /** Where the entry says what the login may put in MAIL FROM; undefined: the directory does not say. */
  readonly sendersAttribute: string | undefined;
  /** Of an attempt as a whole, ms. */
  readonly timeout: number;
  /** Attempts in hand at once. */
  readonly maxAttempts: number;
  readonly note: Note;
}

/** How many wrong passwords the store remembers the cost of. */
const REMEMBERED = 32;

/** RFC 4511 4.1.9: no such object (32), inappropriate authentication (48: no password in it), invalid credentials. */
const WRONG: ReadonlySet<number> = new Set([32, 48, 49]);
/** A name that makes a DN no longer one: only when the DN was made of the name. */
const INVALID_DN = 34;

/** The texts of an attribute, whatever the case of its name; in an order that does not depend on the server's mood. */
const valuesOf = (entry: Entry, attribute: string): string[] => {
  const wanted = attribute.toLowerCase();
  const key = Object.keys(entry).find((each) => each.toLowerCase() === wanted && each !== 'dn');
  const found = key === undefined ? [] : [entry[key] ?? []].flat();
  return found.filter((value): value is string => typeof value === 'string').sort();
};

export class LdapStore implements CredentialStore {
  readonly name: string;
  readonly proves = new Set(['password'] as const);
  readonly #options: LdapOptions;
  readonly #guard: Guard;
  readonly #closing = new AbortController();
  readonly #servers: LdapServers;
  /** What wrong passwords cost lately, ms: so long must an unknown user take. */
  readonly #costs: number[] = [];

  constructor(options: LdapOptions) {
    const { servers, tls, find, timeout, note } = options;
    this.#options = options;
    this.name = `ldap ${servers[0]?.url ?? ''}`;
    this.#guard = new Guard(this.name, options.maxAttempts);
    this.#servers = new LdapServers({
      servers,
      tls,
      account: find.kind === 'search' ? find.account : undefined,
      timeout,
      closing: this.#closing.signal,
      onFault: ({ url }, why) => note({ type: 'store-error', operation: 'ldap', why: `${url}: ${why}` }),
    });
  }

  async verify(proof: Proof, _attempt: Attempt): Promise<Outcome> {
    if (proof.kind !== 'password') return wrong('an LDAP directory judges passwords only');
    const { user, password } = proof;
    // The guard refuses an empty password. A bind with one succeeds as nobody (RFC 4513 5.1.2): #bind asks once more.
    return this.#guard.judge(proof, () =>
      Deadline.over(this.#options.timeout, this.#closing.signal, (deadline) => {
        const { find } = this.#options;
        return find.kind === 'search'
          ? this.#searchAndBind(find, user, password, deadline)
          : this.#bindDirectly(find, user, password, deadline);
      }),
    );
  }

  async close(): Promise<void> {
    this.#closing.abort(new Error('the store is closed'));
    this.#servers.close();
    await this.#guard.close();
  }

  get #attributes(): string[] {
    const { nameAttribute, sendersAttribute } = this.#options;
    return sendersAttribute === undefined ? [nameAttribute] : [nameAttribute, sendersAttribute];
  }

  async #searchAndBind(
    find: LdapSearch,
    user: string,
    password: string,
    deadline: Deadline,
  ): Promise<Outcome> {
    const entries = await this.#search(find, user, deadline);
    const [entry] = entries;
    if (entries.length > 1) {
      this.#warn(`more than one entry matches the user ${JSON.stringify(user)}; nobody is logged in`);
      return this.#unknown(find, 'more than one entry matches', deadline);
    }
    if (entry === undefined) return this.#unknown(find, 'no entry matches', deadline);
    if (!isDnOfEntry(entry.dn)) return this.#unknown(find, 'the entry has no DN', deadline);
    const since = performance.now();
    const refused = await this.#servers.ask(deadline, (server, signal) =>
      this.#servers.alone(server, signal, (connection) => this.#bind(connection, entry.dn, password, signal)),
    );
    if (refused === undefined) return this.#loginOf(entry);
    this.#costs.push(performance.now() - since);
    if (this.#costs.length > REMEMBERED) this.#costs.shift();
    return refused;
  }

  async #search(find: LdapSearch, user: string, deadline: Deadline): Promise<readonly Entry[]> {
    const work = (client: Client) =>
      client.search(find.base, {
        scope: find.scope,
        filter: filterFor(find.filter, user),
        attributes: this.#attributes,
        // Two are as bad as many. References to other servers are not followed.
        sizeLimit: 2,
        timeLimit: Math.ceil(this.#options.timeout / 1_000),
      });
    try {
      const found = await this.#servers.ask(deadline, (server, signal) =>
        this.#servers.pooled(server, signal, (connection) => connection.within(signal, work)),
      );
      return found.searchEntries;
    } catch (error) {
      if (!(error instanceof NoSuchObjectError)) throw error;
      throw new Error(`the base ${find.base} does not exist, or the account that searches may not see it`);
    }
  }

  /** Takes as long as a wrong password for a user who exists: a bind, and what the hash costs. */
  async #unknown(find: LdapSearch, why: string, deadline: Deadline): Promise<Outcome> {
    const since = performance.now();
    const nobody = `cn=nobody-${randomBytes(8).toString('hex')}${find.base === '' ? '' : `,${find.base}`}`;
    await this.#servers.ask(deadline, (server, signal) =>
      this.#servers.alone(server, signal, (connection) =>
        this.#bind(connection, nobody, randomBytes(12).toString('hex'), signal),
      ),
    );
    const cost = this.#costs[randomInt(REMEMBERED) % Math.max(1, this.#costs.length)] ?? 0;
    const rest = Math.min(cost - (performance.now() - since), deadline.left - 10);
    if (rest > 0) await pause(rest, deadline.signal);
    return wrong(why);
  }

  async #bindDirectly(
    find: LdapTemplate,
    user: string,
    password: string,
    deadline: Deadline,
  ): Promise<Outcome> {
    const dn = dnFor(find.dn, user);
    return this.#servers.ask(deadline, (server, signal) =>
      this.#servers.alone(server, signal, async (connection) => {
        const refused = await this.#bind(connection, dn, password, signal, INVALID_DN);
        if (refused !== undefined) return refused;
        // "Alice" and "alice" are one entry: its own spelling is the login's name.
        const entry = await connection.within(signal, (client) => this.#read(client, dn));
        return entry === undefined ? this.#unreadable(dn) : this.#loginOf(entry);
      }),
    );
  }

  async #read(client: Client, dn: string): Promise<Entry | undefined> {
    try {
      const options = { scope: 'base' as const, filter: '(objectClass=*)', attributes: this.#attributes };
      return (await client.search(dn, options)).searchEntries[0];
    } catch (error) {
      if (error instanceof NoSuchObjectError) return undefined;
      throw error;
    }
  }

  /** What the directory has against this password, or undefined when it takes it. Throws when it cannot tell. */
  async #bind(
    connection: LdapConnection,
    dn: string,
    password: string,
    signal: AbortSignal,
    alsoWrong?: number,
  ): Promise<Extract<Outcome, { kind: 'wrong' }> | undefined> {
    if (dn === '' || password === '') return wrong('an empty name or password proves nothing');
    try {
      await connection.within(signal, (client) => client.bind(dn, password));
      return undefined;
    } catch (error) {
      if (!(error instanceof ResultCodeError)) throw error;
      if (!WRONG.has(error.code) && error.code !== alsoWrong) throw error;
      return wrong(`the directory refuses the bind (result ${error.code})`);
    }
  }

  #loginOf(entry: Entry): Outcome {
    const { nameAttribute, sendersAttribute } = this.#options;
    const name = valuesOf(entry, nameAttribute).find((value) => userFault(value) === undefined);
    if (name === undefined) return this.#unreadable(entry.dn);
    if (sendersAttribute === undefined) return { kind: 'ok', login: { name } };
    return { kind: 'ok', login: { name, senders: valuesOf(entry, sendersAttribute) } };
  }

  #unreadable(dn: string): Outcome {
    const why = `${JSON.stringify(dn)} shows no usable ${this.#options.nameAttribute}`;
    this.#warn(`${why}: nobody can log in by it. Let the directory show it, or set name_attribute`);
    return wrong(why);
  }

  #warn(text: string): void {
    this.#options.note({ type: 'warning', text: `${this.name}: ${text}.` });
  }
}

/** A bind with an empty DN is a bind as nobody; ldapts takes a word such as EXTERNAL for a mechanism. */
const isDnOfEntry = (dn: string): boolean => dn.includes('=');
