/** From the conditions of one rule as written to conditions that can be asked. */
import type { KeyPath } from './errors.js';
import { LISTED_NAME, type ListNames, listedCondition } from './listed.js';
import {
  type Domains,
  type Lists,
  type Networks,
  resolveDomains,
  resolveNetworks,
  type Word,
} from './lists.js';
import { LoginSet, loginFault } from './login-set.js';
import {
  type Condition,
  clientCondition,
  clientNameCondition,
  fromCondition,
  heloCondition,
  listenerCondition,
  toCondition,
} from './match.js';
import { loginCondition, type Sources, type TlsWanted, tlsCondition, windowCondition } from './proofs.js';
import type { ConditionsInput, Verb } from './schema.js';
import type { Source } from './source.js';

/** What a condition compares with, kept for the checks at load time. */
export type Operand =
  | { readonly kind: 'networks'; readonly lists: readonly Networks[] }
  | { readonly kind: 'domains'; readonly lists: readonly Domains[]; readonly nullSender: boolean }
  | { readonly kind: 'names'; readonly names: ReadonlySet<string> }
  | { readonly kind: 'tls'; readonly wanted: TlsWanted }
  | { readonly kind: 'logins'; readonly logins: LoginSet }
  | { readonly kind: 'windows'; readonly sources: Sources }
  | { readonly kind: 'listed'; readonly names: ListNames };

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

  login(input: string | readonly string[]): CompiledCondition | undefined {
    const at = [...this.at, 'login'];
    const words = wordsOf(input, at);
    const faults = words.flatMap(({ text, at: place }) => {
      const fault = loginFault(text);
      if (fault !== undefined) this.source.reportEntry(place, text, fault);
      return fault === undefined ? [] : [fault];
    });
    if (!this.#usable(at, faults.length === 0, words.length, input)) return undefined;
    const logins = new LoginSet(listOf(input));
    return { condition: loginCondition(textOf(input), logins), operand: { kind: 'logins', logins } };
  }

  window(input: string | readonly string[]): CompiledCondition | undefined {
    const words = listOf(input);
    if (!this.#usable([...this.at, 'window'], true, words.length, input)) return undefined;
    const sources: Sources = words.includes('any') ? undefined : new Set(words);
    return { condition: windowCondition(textOf(input), sources), operand: { kind: 'windows', sources } };
  }

  listed(input: string | readonly string[]): CompiledCondition | undefined {
    const at = [...this.at, 'listed'];
    const words = wordsOf(input, at);
    const wrong = words.filter(({ text }) => !LISTED_NAME.test(text));
    for (const { text, at: place } of wrong)
      this.source.reportEntry(
        place,
        text,
        'not the name of a DNS list. Write any, or a name of dnsbl.lists.',
      );
    if (!this.#usable(at, wrong.length === 0, words.length, input)) return undefined;
    const names = words.some(({ text }) => text === 'any')
      ? undefined
      : new Set(words.map(({ text }) => text));
    return { condition: listedCondition(textOf(input), names), operand: { kind: 'listed', names } };
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

/** As certificates are known in the facts: lower-case hex without colons. */
export const fingerprintHex = (fingerprint: string): string =>
  fingerprint.slice('sha256:'.length).replaceAll(':', '').toLowerCase();

type TlsInput = NonNullable<ConditionsInput['tls']>;

const tlsWanted = (input: TlsInput): TlsWanted => {
  if (typeof input === 'boolean') return { secure: input, least: 0 };
  if (typeof input !== 'string') {
    const { least, fingerprint, subject } = input;
    return {
      secure: true,
      least: Number(least ?? 0),
      ...(fingerprint === undefined
        ? {}
        : { fingerprints: new Set(listOf(fingerprint).map(fingerprintHex)) }),
      ...(subject === undefined ? {} : { subjects: new Set(listOf(subject)) }),
    };
  }
  return input.startsWith('sha256:')
    ? { secure: true, least: 0, fingerprints: new Set([fingerprintHex(input)]) }
    : { secure: true, least: Number(input) };
};

const tlsText = (input: TlsInput): string =>
  typeof input === 'object'
    ? Object.entries(input)
        .map(([key, value]) => `${key} ${textOf(value ?? [])}`)
        .join(' and ')
    : String(input);

const tls = (input: TlsInput): CompiledCondition => {
  const wanted = tlsWanted(input);
  return { condition: tlsCondition(tlsText(input), wanted), operand: { kind: 'tls', wanted } };
};

const textOf = (input: string | readonly string[]): string => listOf(input).join(', ');

export interface CompiledConditions {
  readonly conditions: readonly CompiledCondition[];
  /** False if a condition was faulty and is missing. */
  readonly complete: boolean;
}

/** Compiles the conditions that stand at `at`; the cheap ones come first. */
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
    keep(tls(input.tls));
  }
  if (input.login !== undefined) keep(builder.login(input.login));
  if (input.client !== undefined) keep(builder.client(input.client));
  for (const key of ['helo', 'from', 'to', 'client_name'] as const) {
    const given = input[key];
    if (given !== undefined) keep(builder.domains(key, given));
  }
  if (input.window !== undefined) keep(builder.window(input.window));
  if (input.listed !== undefined) keep(builder.listed(input.listed));
  return { conditions, complete };
};
