/** What is wrong with rules that are well formed: they can never be reached, or they open the relay. */
import { IpSet } from '../base/ip.js';
import type { CompiledCondition, Operand } from './conditions.js';
import type { KeyPath } from './errors.js';
import { listedCovers } from './listed.js';
import type { Domains } from './lists.js';
import { type Sources, tlsCovers } from './proofs.js';
import type { Verb } from './schema.js';
import type { Source } from './source.js';

/** A rule with what the checks need to know about it. */
export interface Draft {
  readonly name: string;
  readonly verb: Verb;
  readonly shadow: boolean;
  readonly conditions: readonly CompiledCondition[];
  readonly iKnow: boolean;
  /** `rules[n]`. */
  readonly at: KeyPath;
}

/**
 * Shares of the address space from which on a client list is "everybody": a sixteenth of IPv4 (a /4), or
 * a sixty-fourth of IPv6 (a /6; all global unicast space, 2000::/3, is an eighth). Private and reserved
 * blocks together stay far below; splitting 0.0.0.0/0 into halves or quarters does not.
 */
const EVERYBODY = { 4: 1 / 16, 6: 1 / 64 } as const;

const find = (draft: Draft, key: string): CompiledCondition | undefined =>
  draft.conditions.find(({ condition }) => condition.key === key);

const everybody = (operand: Operand): string | undefined => {
  if (operand.kind !== 'networks') return undefined;
  const set =
    operand.lists.length === 1
      ? operand.lists[0]!.set
      : IpSet.of(operand.lists.flatMap(({ entries }) => entries));
  for (const family of [4, 6] as const) {
    const share = set.share(family);
    if (share >= EVERYBODY[family])
      return `client holds ${share === 1 ? 'every' : `${+(share * 100).toPrecision(3)}% of all`} IPv${family} address${share === 1 ? '' : 'es'}`;
  }
  return undefined;
};

const OWN_NETWORKS = 'Name your own networks under client, or say i_know: open relay.';

/** The rule asks for something that only a person or device the site knows can have. */
const demandsProof = (draft: Draft): boolean =>
  draft.conditions.some(
    ({ operand }) =>
      operand.kind === 'logins' ||
      operand.kind === 'windows' ||
      (operand.kind === 'tls' &&
        (operand.wanted.fingerprints !== undefined || operand.wanted.subjects !== undefined)),
  );

/** An allow rule without `to` relays for whomever it matches, so it has to say who that is. */
export const checkOpenRelay = (draft: Draft, source: Source): void => {
  if (draft.verb !== 'allow' || draft.iKnow || find(draft, 'to') !== undefined) return;
  if (demandsProof(draft)) return;
  const client = find(draft, 'client');
  if (client !== undefined) {
    const why = everybody(client.operand);
    if (why !== undefined)
      source.report([...draft.at, 'allow', 'client'], `open relay: ${why}`, OWN_NETWORKS);
    return;
  }
  if (find(draft, 'client_name') !== undefined) return;
  const claims = ['from', 'helo'].filter((key) => find(draft, key) !== undefined);
  const why =
    claims.length > 0
      ? `anybody can claim any ${claims.join(' and any ')}`
      : 'it lets everybody send anywhere';
  source.report([...draft.at, 'allow'], `open relay: ${why}`, OWN_NETWORKS);
};

/**
 * The networks that a rule lets send anywhere because they are what they are: the site's own. A rule that admits to be
 * an open relay tells nothing of whose they are.
 */
export const ownNetworks = (draft: Draft): readonly IpSet[] => {
  if (draft.verb !== 'allow' || draft.shadow || draft.iKnow || demandsProof(draft)) return [];
  const operand = find(draft, 'to') === undefined ? find(draft, 'client')?.operand : undefined;
  return operand?.kind === 'networks' ? operand.lists.map(({ set }) => set) : [];
};

const domainsCover = (earlier: readonly Domains[], later: readonly Domains[]): boolean =>
  later.every(
    (list) =>
      earlier.includes(list) || list.entries.every((entry) => earlier.some(({ set }) => set.covers(entry))),
  );

const sourcesCover = (earlier: Sources, later: Sources): boolean =>
  earlier === undefined || (later !== undefined && [...later].every((source) => earlier.has(source)));

/** True if all that fulfils `later` fulfils `earlier` too. */
const covers = (earlier: Operand, later: Operand): boolean => {
  if (earlier.kind === 'networks' && later.kind === 'networks')
    return later.lists.every(
      (list) =>
        earlier.lists.includes(list) ||
        list.entries.every((cidr) => earlier.lists.some(({ set }) => set.covers(cidr))),
    );
  if (earlier.kind === 'domains' && later.kind === 'domains')
    return (earlier.nullSender || !later.nullSender) && domainsCover(earlier.lists, later.lists);
  if (earlier.kind === 'names' && later.kind === 'names')
    return [...later.names].every((name) => earlier.names.has(name));
  if (earlier.kind === 'tls' && later.kind === 'tls') return tlsCovers(earlier.wanted, later.wanted);
  if (earlier.kind === 'logins' && later.kind === 'logins') return earlier.logins.covers(later.logins);
  if (earlier.kind === 'windows' && later.kind === 'windows')
    return sourcesCover(earlier.sources, later.sources);
  if (earlier.kind === 'listed' && later.kind === 'listed') return listedCovers(earlier.names, later.names);
  return false;
};

/**
 * True if whatever matches `later` has matched `earlier` before. `to` is stricter in an allow rule (every
 * reading) than in the others (any reading), so an allow rule never hides a later deny by its recipients.
 * The one address that slips through, <postmaster> behind a deny, does not make a rule worth keeping.
 */
const hides = (earlier: Draft, later: Draft): boolean =>
  earlier.conditions.every(({ condition: { key }, operand }) => {
    if (key === 'to' && earlier.verb === 'allow' && later.verb !== 'allow') return false;
    const same = find(later, key);
    return same !== undefined && covers(operand, same.operand);
  });

/** Reports every rule that an earlier one keeps from ever being judged. */
export const checkReachable = (drafts: readonly Draft[], source: Source): void => {
  const deciding: Draft[] = [];
  for (const draft of drafts) {
    const earlier = deciding.find((candidate) => hides(candidate, draft));
    if (earlier !== undefined) {
      const reason = earlier.conditions.length === 0 ? 'always matches' : 'matches all that this one does';
      source.report(
        draft.at,
        `can never be reached: rule "${earlier.name}" ${reason}`,
        'Move it up, or remove it.',
      );
    } else if (!draft.shadow) deciding.push(draft);
  }
};
