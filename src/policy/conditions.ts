/** From the conditions of one rule as written to conditions that can be asked. */
import type { KeyPath } from './errors.js';
import {
  type Domains,
  type Lists,
  type Networks,
  resolveDomains,
  resolveNetworks,
  type Word,
} from './lists.js';
import {
  type Condition,
  clientCondition,
  clientNameCondition,
  fromCondition,
  heloCondition,
  listenerCondition,
  tlsCondition,
  toCondition,
} from './match.js';
import type { ConditionKey, ConditionsInput, Verb } from './schema.js';
import type { Source } from './source.js';

/**
 * The facts that this version can supply. A condition on any other is refused at load time rather than
 * taken for true or false.
 */
export const SUPPLIED_FACTS: ReadonlySet<ConditionKey> = new Set([
  'client',
  'client_name',
  'listener',
  'helo',
  'tls',
  'from',
  'to',
]);

const NEEDS: Readonly<Partial<Record<ConditionKey, string>>> = {
  login: 'a login',
  window: 'a window (POP-before-SMTP)',
  listed: 'DNS blocklists',
};

/** What a condition compares with, kept for the checks at load time. */
export type Operand =
  | { readonly kind: 'networks'; readonly lists: readonly Networks[] }
  | { readonly kind: 'domains'; readonly lists: readonly Domains[]; readonly nullSender: boolean }
  | { readonly kind: 'names'; readonly names: ReadonlySet<string> }
  | { readonly kind: 'tls'; readonly wanted: boolean | string };

export interface CompiledCondition {
  readonly condition: Condition;
  readonly operand: Operand;
}

const listOf = <T>(input: T | readonly T[]): readonly T[] =>
  (Array.isArray(input) ? input : [input]) as readonly T[];

const wordsOf = (input: string | readonly string[], at: KeyPath): Word[] =>
  typeof input === 'string' ? [{ text: input, at }] : input.map((text, i) => ({ text, at: [...at, i] }));

/** The entries that can match at all where only host names are compared. */
const nameCount = ({ set }: Domains): number => set.counts.domains;
const allCount = ({ entries }: Domains): number => entries.length;

const NULL_SENDER = /^(?:null|<>)$/;

class Builder {
  constructor(
    readonly verb: Verb,
    readonly at: KeyPath,
    readonly lists: Lists,
    readonly source: Source,
  ) {}

  client(input: string | readonly string[]): CompiledCondition | undefined {
    const at = [...this.at, 'client'];
    const { lists, complete } = resolveNetworks(wordsOf(input, at), this.lists, this.source);
    const size = lists.reduce((sum, { entries }) => sum + entries.length, 0);
    if (!this.#usable(at, complete, size, input)) return undefined;
    const condition = clientCondition(
      textOf(input),
      lists.map(({ set }) => set),
    );
    return { condition, operand: { kind: 'networks', lists } };
  }

  listener(input: string | readonly string[]): CompiledCondition | undefined {
    const names = new Set(listOf(input));
    if (!this.#usable([...this.at, 'listener'], true, names.size, input)) return undefined;
    return { condition: listenerCondition(textOf(input), names), operand: { kind: 'names', names } };
  }

  domains(
    key: 'client_name' | 'helo' | 'from' | 'to',
    input: string | readonly string[],
  ): CompiledCondition | undefined {
    const at = [...this.at, key];
    const all = wordsOf(input, at);
    const words = key === 'from' ? all.filter(({ text }) => !NULL_SENDER.test(text)) : all;
    const nullSender = words.length < all.length;
    const { lists, complete } = resolveDomains(words, this.lists, this.source, key === 'helo');
    const count = key === 'client_name' || key === 'helo' ? nameCount : allCount;
    const literals = key === 'helo' ? lists.reduce((sum, { set }) => sum + set.counts.literals, 0) : 0;
    const size = lists.reduce((sum, list) => sum + count(list), literals) + (nullSender ? 1 : 0);
    if (!this.#usable(at, complete, size, input)) return undefined;
    const sets = lists.map(({ set }) => set);
    return {
      condition: this.#condition(key, textOf(input), sets, nullSender),
      operand: { kind: 'domains', lists, nullSender },
    };
  }

  #condition(
    key: 'client_name' | 'helo' | 'from' | 'to',
    text: string,
    sets: Domains['set'][],
    nullSender: boolean,
  ): Condition {
    if (key === 'client_name') return clientNameCondition(text, sets);
    if (key === 'helo') return heloCondition(text, sets);
    return key === 'from' ? fromCondition(text, sets, nullSender) : toCondition(text, sets, this.verb);
  }

  /** A condition that nothing can fulfil is a slip: the rule would silently never match. */
  #usable(at: KeyPath, complete: boolean, size: number, input: string | readonly string[]): boolean {
    if (complete && size === 0) {
      const what =
        listOf(input).length === 0 ? 'an empty list' : `nothing in ${textOf(input)} that could match here`;
      this.source.report(at, `${what}, so the rule never matches`, 'Give entries, or remove the rule.');
    }
    return complete && size > 0;
  }
}

const textOf = (input: string | readonly string[]): string => listOf(input).join(', ');

export interface CompiledConditions {
  readonly conditions: readonly CompiledCondition[];
  /** False if a condition was faulty and is missing. */
  readonly complete: boolean;
}

/** Compiles the conditions that stand at `at`; the cheap ones come first, `client_name` last. */
export const compileConditions = (
  input: ConditionsInput,
  verb: Verb,
  at: KeyPath,
  lists: Lists,
  source: Source,
): CompiledConditions => {
  const builder = new Builder(verb, at, lists, source);
  const conditions: CompiledCondition[] = [];
  let complete = true;
  const keep = (compiled: CompiledCondition | undefined): void => {
    if (compiled === undefined) complete = false;
    else conditions.push(compiled);
  };
  if (input.listener !== undefined) keep(builder.listener(input.listener));
  if (input.tls !== undefined) {
    keep({ condition: tlsCondition(input.tls), operand: { kind: 'tls', wanted: input.tls } });
  }
  if (input.client !== undefined) keep(builder.client(input.client));
  for (const key of ['helo', 'from', 'to', 'client_name'] as const) {
    const given = input[key];
    if (given !== undefined) keep(builder.domains(key, given));
  }
  for (const key of Object.keys(NEEDS) as ConditionKey[]) {
    if (input[key] === undefined || SUPPLIED_FACTS.has(key)) continue;
    source.reportKey(
      [...at, key],
      `needs ${NEEDS[key]}, which this version cannot supply yet`,
      'Remove this rule or condition.',
    );
    complete = false;
  }
  return { conditions, complete };
};
