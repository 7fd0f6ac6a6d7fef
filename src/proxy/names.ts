/**
 * The forward-confirmed name of a client (FCrDNS): PTR, then A or AAAA of each name, and a name counts only
 * when the client's own address is among its addresses. Asked for only when the policy has a `client_name`
 * condition. A resolver that fails makes the name unknown, never absent.
 */
import { Resolver } from 'node:dns/promises';
import { monotonic } from '../base/clock.js';
import { type Ip, parseIp } from '../base/ip.js';
import { reverseLabels } from '../base/reverse-name.js';
import type { Known } from '../policy/facts.js';

type ClientName = Known<string | undefined>;

interface Cached {
  readonly name: ClientName;
  readonly until: number;
}

/** Milliseconds an answer is kept; a failure is kept shortly, so that a dead resolver is not asked for each mail. */
const KEEP = 300_000;
const KEEP_FAILURE = 10_000;
const MOST_CACHED = 10_000;
/** RFC 1912 2.1 wants one PTR; nobody needs more than a few looked at. */
const MOST_NAMES = 4;

/** The owner of an address writes its PTR: what is no host name must not stand in logs or be compared. */
const HOST_NAME = /^[A-Za-z0-9._-]{1,255}$/;

const ABSENT = new Set(['ENOTFOUND', 'ENODATA']);

/** Not `reverse()`, which takes a resolver that fails for a name that is absent. */
const reverseName = (ip: Ip): string => `${reverseLabels(ip)}.${ip.family === 4 ? 'in-addr' : 'ip6'}.arpa`;

export class ClientNames {
  readonly #resolver: Resolver;
  readonly #cache = new Map<string, Cached>();
  readonly #asking = new Map<string, Promise<ClientName>>();

  /** @param timeout milliseconds for one query; @param servers `IP` or `IP:PORT`, empty for the system's */
  constructor(timeout: number, servers: readonly string[]) {
    this.#resolver = new Resolver({ timeout, tries: 1 });
    if (servers.length > 0) this.#resolver.setServers(servers);
  }

  /** What is known without asking. */
  cached(ip: Ip): ClientName | undefined {
    const cached = this.#cache.get(ip.text);
    return cached !== undefined && cached.until > monotonic() ? cached.name : undefined;
  }

  async lookUp(ip: Ip): Promise<ClientName> {
    const known = this.cached(ip) ?? this.#asking.get(ip.text);
    if (known !== undefined) return known;
    const asking = this.#ask(ip);
    this.#asking.set(ip.text, asking);
    const name = await asking;
    this.#asking.delete(ip.text);
    if (this.#cache.size >= MOST_CACHED) this.#cache.delete(this.#cache.keys().next().value as string);
    this.#cache.set(ip.text, { name, until: monotonic() + (name.known ? KEEP : KEEP_FAILURE) });
    return name;
  }

  async #ask(ip: Ip): Promise<ClientName> {
    const names = await this.#list(() => this.#resolver.resolvePtr(reverseName(ip)));
    if (!names.known) return names;
    let failure: ClientName | undefined;
    for (const name of names.value.slice(0, MOST_NAMES).filter((each) => HOST_NAME.test(each))) {
      const addresses = await this.#list(() =>
        ip.family === 4 ? this.#resolver.resolve4(name) : this.#resolver.resolve6(name),
      );
      if (!addresses.known) failure ??= addresses;
      else if (addresses.value.some((address) => parseIp(address)?.text === ip.text)) {
        return { known: true, value: name.toLowerCase().replace(/\.$/, '') };
      }
    }
    return failure ?? { known: true, value: undefined };
  }

  async #list(query: () => Promise<string[]>): Promise<Known<string[]> & { value?: never[] | string[] }> {
    try {
      return { known: true, value: await query() };
    } catch (error) {
      const code = (error as NodeJS.ErrnoException).code ?? 'unknown';
      if (ABSENT.has(code)) return { known: true, value: [] };
      return { known: false, why: `resolver: ${code}` };
    }
  }
}
