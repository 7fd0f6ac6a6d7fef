/**
 * Domains, mailboxes and address literals, compiled for look-up: one hash look-up a label, however many
 * entries there are.
 */
import { toAscii } from '../base/idn.js';
import { parseIp } from '../base/ip.js';
import { err, ok, type Result } from '../base/result.js';

/** One entry of a list, normalised: domains in A-label form and lower case. */
export type DomainEntry =
  /** `itself` for `example.org`, `below` for all under it; `.example.org` is both. */
  | { readonly kind: 'domain'; readonly domain: string; readonly itself: boolean; readonly below: boolean }
  | { readonly kind: 'mailbox'; readonly address: string; readonly domain: string }
  /** `ip` is canonical text. */
  | { readonly kind: 'literal'; readonly ip: string };

const ITSELF = 1;
const BELOW = 2;

export class DomainSet {
  readonly #domains = new Map<string, number>();
  readonly #mailboxes = new Set<string>();
  readonly #mailboxDomains = new Set<string>();
  readonly #literals = new Set<string>();
  #named = false;
  #below = false;

  static of(entries: Iterable<DomainEntry>): DomainSet {
    const set = new DomainSet();
    for (const entry of entries) set.#add(entry);
    return set;
  }

  #add(entry: DomainEntry): void {
    if (entry.kind === 'literal') this.#literals.add(entry.ip);
    else if (entry.kind === 'mailbox') {
      this.#mailboxes.add(entry.address);
      this.#mailboxDomains.add(entry.domain);
    } else {
      const flags = (entry.itself ? ITSELF : 0) | (entry.below ? BELOW : 0);
      this.#domains.set(entry.domain, (this.#domains.get(entry.domain) ?? 0) | flags);
      this.#named = true;
      this.#below ||= entry.below;
    }
  }

  /** True if an entry covers `domain`, which is in A-label form and lower case. */
  has(domain: string): boolean {
    if (!this.#named || domain === '') return false;
    if (((this.#domains.get(domain) ?? 0) & ITSELF) !== 0) return true;
    return this.#parentCovers(domain);
  }

  #parentCovers(domain: string): boolean {
    if (!this.#below) return false;
    for (let dot = domain.indexOf('.'); dot >= 0; dot = domain.indexOf('.', dot + 1)) {
      if (((this.#domains.get(domain.slice(dot + 1)) ?? 0) & BELOW) !== 0) return true;
    }
    return false;
  }

  /** True if every domain below `domain` is covered. */
  hasBelow(domain: string): boolean {
    return ((this.#domains.get(domain) ?? 0) & BELOW) !== 0 || this.#parentCovers(domain);
  }

  /** True if `address`, all in lower case, is an entry by itself. */
  hasMailbox(address: string): boolean {
    return this.#mailboxes.size > 0 && this.#mailboxes.has(address);
  }

  /** True if some mailbox entry is at `domain`. */
  hasMailboxAt(domain: string): boolean {
    return this.#mailboxDomains.size > 0 && this.#mailboxDomains.has(domain);
  }

  /** True if a literal entry is `ip`, in canonical text. */
  hasLiteral(ip: string): boolean {
    return this.#literals.has(ip);
  }

  /** The mailbox entries, for the few questions that need all of them. */
  get mailboxes(): ReadonlySet<string> {
    return this.#mailboxes;
  }

  /** How many entries of each kind there are. */
  get counts(): { readonly domains: number; readonly mailboxes: number; readonly literals: number } {
    return { domains: this.#domains.size, mailboxes: this.#mailboxes.size, literals: this.#literals.size };
  }

  /** True if this set covers all that `entry` covers: what tells that a rule can never be reached. */
  covers(entry: DomainEntry): boolean {
    if (entry.kind === 'literal') return this.hasLiteral(entry.ip);
    if (entry.kind === 'mailbox') return this.hasMailbox(entry.address) || this.has(entry.domain);
    return (!entry.itself || this.has(entry.domain)) && (!entry.below || this.hasBelow(entry.domain));
  }
}

/** Lower-case LDH labels: what needs no conversion. A-labels go the long way, to be checked. */
const PLAIN =
  /^(?:(?!xn--)[a-z0-9_](?:[a-z0-9_-]{0,61}[a-z0-9_])?\.)*(?!xn--)[a-z0-9_](?:[a-z0-9_-]{0,61}[a-z0-9_])?$/;

/** A domain in A-label form and lower case, without a trailing dot; undefined if it is none. */
export const normalDomain = (text: string): string | undefined => {
  const bare = text.endsWith('.') ? text.slice(0, -1) : text;
  if (bare === '' || bare.length > 253) return undefined;
  if (PLAIN.test(bare)) return /(^|\.)\d+$/.test(bare) ? undefined : bare;
  const ascii = toAscii(bare.toLowerCase());
  return ascii === undefined || ascii === '' || /(^|\.)\d+$/.test(ascii) ? undefined : ascii;
};

/**
 * A local part that can be a list entry: atoms without the characters by which old MTAs route mail
 * onward. An address that bears them has several readings and cannot be allowed as a whole.
 */
const PLAIN_LOCAL = /^(?!\/)[a-z0-9#$&'*+\-/=?_`{|}~]+(?:\.[a-z0-9#$&'*+\-/=?_`{|}~]+)*$/i;

/** Reads `[192.0.2.1]` and `[IPv6:2001:db8::1]` (RFC 5321 4.1.3). */
const readLiteral = (text: string): Result<DomainEntry, string> => {
  const inner = text.endsWith(']') ? text.slice(1, -1) : '';
  const v6 = /^ipv6:/i.test(inner);
  const ip = parseIp(v6 ? inner.slice(5) : inner);
  if (ip === undefined || (!v6 && inner.includes(':')))
    return err('not an address literal: write [192.0.2.1] or [IPv6:2001:db8::1]');
  return ok({ kind: 'literal', ip: ip.text });
};

const readMailbox = (text: string, at: number): Result<DomainEntry, string> => {
  const local = text.slice(0, at);
  const domain = normalDomain(text.slice(at + 1));
  if (domain === undefined) return err('not a mailbox: what stands behind the @ is no domain');
  if (!PLAIN_LOCAL.test(local))
    return err(
      'not a plain mailbox: the part before the @ may not hold @ % ! : ^ quotes or spaces, nor begin with /',
    );
  return ok({ kind: 'mailbox', address: `${local.toLowerCase()}@${domain}`, domain });
};

/**
 * Reads one entry as Sekisho's own policies write it: `example.org`, `.example.org` (itself and all below),
 * `user@example.org`, `[192.0.2.1]`. The error text says what is wrong.
 */
export const parseDomainEntry = (text: string): Result<DomainEntry, string> => {
  if (text.startsWith('[')) return readLiteral(text);
  const at = text.lastIndexOf('@');
  if (at >= 0) return readMailbox(text, at);
  const below = text.startsWith('.');
  if (text.startsWith('*.')) return err(`not a domain: did you mean ${text.slice(1)}?`);
  const domain = normalDomain(below ? text.slice(1) : text);
  if (domain !== undefined) return ok({ kind: 'domain', domain, itself: true, below });
  if (parseIp(text) !== undefined) return err(`an address, not a domain: did you mean [${text}]?`);
  return err('neither a domain nor a mailbox nor an address literal');
};
