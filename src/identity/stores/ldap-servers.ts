/** Several directory servers with the same content: which to ask, and one connection to each for searches. */
import { ResultCodeError } from 'ldapts';
import { Deadline, orAborted } from './deadline.js';
import { LdapConnection, type LdapServer, type LdapTls } from './ldap-connection.js';

/** A server that failed is asked last for so long, ms. */
const DOWN = 30_000;
/** A search connection that nobody used for so long is not trusted: firewalls forget quiet ones. ms. */
const QUIET = 60_000;

/** RFC 4511 4.1.9: busy (51) and unavailable (52) say nothing about the question; another server may know. */
const elsewhere = (error: unknown): boolean =>
  !(error instanceof ResultCodeError) || error.code === 51 || error.code === 52;

/** What went wrong, in one line, without ldapts' own bookkeeping. */
export const textOf = (error: unknown): string => {
  if (!(error instanceof Error)) return 'unknown error';
  const text = error.message.replace(/\s+/g, ' ').replace(/^Socket error\. Message type: \w+ \(0x\w+\) /, '');
  return text
    .replace(/ Message type: \w+ \(0x\w+\)$/, '')
    .replace(/^ ?Code: /, 'result code ')
    .trim();
};

interface Pooled {
  readonly connection: Promise<LdapConnection>;
  used: number;
}

export interface LdapServersOptions {
  readonly servers: readonly LdapServer[];
  readonly tls: LdapTls;
  /** Who searches; undefined: nobody in particular. The password is never empty. */
  readonly account: { readonly dn: string; readonly password: string } | undefined;
  /** ms */
  readonly timeout: number;
  /** Ends everything. */
  readonly closing: AbortSignal;
  readonly onFault: (server: LdapServer, why: string) => void;
}

export class LdapServers {
  readonly #options: LdapServersOptions;
  readonly #downUntil = new Map<LdapServer, number>();
  readonly #pool = new Map<LdapServer, Pooled>();

  constructor(options: LdapServersOptions) {
    this.#options = options;
  }

  /**
   * Asks the servers in order until one answers; those that failed lately come last. Each gets its share of the time
   * that is left. Throws the server's own answer (ResultCodeError), or what the last one failed of.
   */
  async ask<T>(
    deadline: Deadline,
    work: (server: LdapServer, signal: AbortSignal) => Promise<T>,
  ): Promise<T> {
    const { servers, onFault } = this.#options;
    const now = Date.now();
    const isDown = (server: LdapServer): boolean => (this.#downUntil.get(server) ?? 0) > now;
    const order = [...servers.filter((each) => !isDown(each)), ...servers.filter(isDown)];
    let last: unknown = new Error('no server is configured');
    for (const [i, server] of order.entries()) {
      if (deadline.signal.aborted) throw last;
      try {
        const answer = await Deadline.over(deadline.left / (order.length - i), deadline.signal, (share) =>
          work(server, share.signal),
        );
        this.#downUntil.delete(server);
        return answer;
      } catch (error) {
        if (!elsewhere(error)) throw error;
        last = new Error(order.length === 1 ? textOf(error) : `${server.url}: ${textOf(error)}`);
        if (this.#options.closing.aborted) throw last;
        this.#downUntil.set(server, Date.now() + DOWN);
        onFault(server, textOf(error));
      }
    }
    throw last;
  }

  /** A connection of its own, for the time of `work`. */
  async alone<T>(
    server: LdapServer,
    signal: AbortSignal,
    work: (connection: LdapConnection) => Promise<T>,
  ): Promise<T> {
    const connection = await LdapConnection.open(server, this.#options.tls, signal);
    try {
      return await work(connection);
    } finally {
      connection.end();
    }
  }

  /** The connection for searches, bound as the search account; opened anew when it went away or fails now. */
  async pooled<T>(
    server: LdapServer,
    signal: AbortSignal,
    work: (connection: LdapConnection) => Promise<T>,
  ): Promise<T> {
    const known = this.#pool.get(server);
    const pooled = this.#fit(known) ? known : this.#open(server, known);
    try {
      return await this.#use(server, pooled, signal, work);
    } catch (error) {
      // The server may have closed it for being idle just as we asked; the fresh one decides.
      if (pooled !== known || error instanceof ResultCodeError || signal.aborted) throw error;
      const newer = this.#pool.get(server);
      return this.#use(server, newer ?? this.#open(server, undefined), signal, work);
    }
  }

  #fit(pooled: Pooled | undefined): pooled is Pooled {
    return pooled !== undefined && Date.now() - pooled.used < QUIET;
  }

  async #use<T>(
    server: LdapServer,
    pooled: Pooled,
    signal: AbortSignal,
    work: (connection: LdapConnection) => Promise<T>,
  ): Promise<T> {
    pooled.used = Date.now();
    try {
      const connection = await orAborted(signal, pooled.connection);
      return await work(connection);
    } catch (error) {
      // A connection on which one question got no answer is given up for all.
      if (!(error instanceof ResultCodeError)) this.#drop(server, pooled);
      throw error;
    }
  }

  #drop(server: LdapServer, pooled: Pooled): void {
    if (this.#pool.get(server) === pooled) this.#pool.delete(server);
    pooled.connection.then(
      (connection) => connection.end(),
      () => {},
    );
  }

  #open(server: LdapServer, old: Pooled | undefined): Pooled {
    if (old !== undefined) this.#drop(server, old);
    const { account, closing, timeout, tls } = this.#options;
    const opening = Deadline.over(timeout, closing, async ({ signal }) => {
      const connection = await LdapConnection.open(server, tls, signal);
      if (account === undefined) return connection;
      try {
        await connection.within(signal, (client) => client.bind(account.dn, account.password));
        return connection;
      } catch (error) {
        connection.end();
        // Not a ResultCodeError: "invalid credentials" here is about our account and not about the user.
        throw new Error(`cannot bind as ${account.dn}: ${textOf(error)}`);
      }
    });
    opening.catch(() => {});
    const pooled = { connection: opening, used: Date.now() };
    this.#pool.set(server, pooled);
    return pooled;
  }

  close(): void {
    for (const [server, pooled] of [...this.#pool]) this.#drop(server, pooled);
  }
}
