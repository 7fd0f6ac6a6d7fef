/** Names of a rule's `to`, for trying what is routed through them. */
import type { CompiledCondition } from './conditions.js';
import type { DomainEntry } from './domain-set.js';

/** Lists may hold a hundred thousand entries; a few of each are as good as all. */
const MOST = 4;

const nameIn = (entry: DomainEntry): string => {
  if (entry.kind === 'literal') return entry.ip.includes(':') ? `[IPv6:${entry.ip}]` : `[${entry.ip}]`;
  return entry.kind === 'domain' && !entry.itself ? `below.${entry.domain}` : entry.domain;
};

/** What may stand behind the `@` of a recipient that the rule is about: a few domains and address literals. */
export const throughOf = (conditions: readonly CompiledCondition[]): readonly string[] => {
  const names = conditions.flatMap(({ condition, operand }) =>
    condition.key === 'to' && operand.kind === 'domains'
      ? operand.lists.flatMap(({ entries }) => entries.slice(0, MOST).map(nameIn))
      : [],
  );
  return [...new Set(names)].slice(0, MOST);
};
