/** What a login may put in MAIL FROM: the policy's `senders:`, else what the credential store lists. */
import type { Mailbox, Path } from '../smtp/path.js';
import { normalDomain } from './domain-set.js';
import { type Domains, type Lists, resolveDomains } from './lists.js';
import { LoginSet, loginFault } from './login-set.js';
import type { SenderInput } from './schema.js';
import type { Source } from './source.js';

/** One line of `senders:`; any of the three lets a sender pass. */
export interface SenderRule {
  readonly logins: LoginSet;
  readonly own: boolean;
  readonly any: boolean;
  readonly domains: readonly Domains['set'][];
}

export type SenderAnswer = { readonly ok: true } | { readonly ok: false; readonly why: string };

const OWN: Omit<SenderRule, 'logins'> = { own: true, any: false, domains: [] };
const OK: SenderAnswer = { ok: true };

interface Address {
  readonly local: string;
  /** '' where there is none. */
  readonly domain: string;
}

const domainOf = ({ domain }: Mailbox): string => (domain.kind === 'name' ? domain.ascii : `[${domain.ip}]`);

/** A source route says nothing of who sends: RFC 5321 4.1.1.3 has it ignored. */
const addressOf = (path: Exclude<Path, { kind: 'null' }>): Address => {
  const last = path.kind === 'routed' ? path.final : path;
  if (last.kind === 'mailbox') return { local: last.local.toLowerCase(), domain: domainOf(last) };
  return { local: last.kind === 'postmaster' ? 'postmaster' : last.local.toLowerCase(), domain: '' };
};

/** `entry`: a mailbox, `@domain` for all of a domain, `*` for anything. */
const entryHas = (entry: string, { local, domain }: Address): boolean => {
  if (entry === '*') return true;
  const at = entry.lastIndexOf('@');
  if (at < 0 || domain === '') return false;
  const written = entry.slice(at + 1);
  const same = (normalDomain(written) ?? written.toLowerCase()) === domain;
  return same && (at === 0 || entry.slice(0, at).toLowerCase() === local);
};

const isOwn = (name: string, listed: readonly string[] | undefined, address: Address): boolean => {
  if (listed !== undefined && listed.length > 0) return listed.some((entry) => entryHas(entry, address));
  // A name such as `@example.org` must not become a whole domain.
  if (name.includes('@')) return name.lastIndexOf('@') > 0 && entryHas(name, address);
  return name.toLowerCase() === address.local;
};

/**
 * Whether `login` may send as `from`. The first line of `senders:` that names the login decides, else only its own
 * addresses are its to use. The null sender is always allowed. `why` is for the log.
 */
export const senderAllowed = (
  { senders }: { readonly senders: readonly SenderRule[] },
  login: { readonly name: string; readonly senders?: readonly string[] },
  from: Path,
): SenderAnswer => {
  if (from.kind === 'null') return OK;
  const rule = senders.find(({ logins }) => logins.has(login.name)) ?? OWN;
  if (rule.any) return OK;
  const address = addressOf(from);
  const { local, domain } = address;
  const listed =
    domain !== '' && rule.domains.some((set) => set.has(domain) || set.hasMailbox(`${local}@${domain}`));
  if (listed || (rule.own && isOwn(login.name, login.senders, address))) return OK;
  return { ok: false, why: `the sender is not one that login ${login.name} may use` };
};

const listOf = (input: string | readonly string[]): readonly string[] =>
  typeof input === 'string' ? [input] : input;

/** Compiles one line of `senders:`; undefined once its faults have been reported. */
export const compileSender = (
  input: SenderInput,
  index: number,
  lists: Lists,
  source: Source,
): SenderRule | undefined => {
  const at = ['senders', index];
  const logins = listOf(input.login);
  let right = true;
  for (const login of logins) {
    const fault = loginFault(login);
    if (fault === undefined) continue;
    source.reportEntry([...at, 'login'], login, fault);
    right = false;
  }
  const all = listOf(input.from).map((text, i) => ({
    text,
    at: typeof input.from === 'string' ? [...at, 'from'] : [...at, 'from', i],
  }));
  if (logins.length === 0 || all.length === 0) {
    source.report(
      [...at, logins.length === 0 ? 'login' : 'from'],
      'an empty list',
      'Give entries, or remove the line.',
    );
    return undefined;
  }
  const words = all.filter(({ text }) => text !== 'own' && text !== 'any');
  const found = resolveDomains(words, lists, source, false);
  if (!found.complete || !right) return undefined;
  return {
    logins: new LoginSet(logins),
    own: all.some(({ text }) => text === 'own'),
    any: all.some(({ text }) => text === 'any'),
    domains: found.lists.map(({ set }) => set),
  };
};
