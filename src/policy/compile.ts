/**
 * From the text of a policy to rules that can be judged, or to every fault in it. All file contents come
 * through the injected `readFile`.
 */
import { type Ip, parseIp } from '../base/ip.js';
import { err, ok, type Result } from '../base/result.js';
import { compileConditions } from './conditions.js';
import { readDocument } from './document.js';
import { didYouMean, type PolicyError } from './errors.js';
import type { FactNeeds, Known, RuleReply, Verdict } from './facts.js';
import { compileLists, type ListInputs } from './lists.js';
import type { Condition } from './match.js';
import { ruleReply } from './rule-reply.js';
import { type ListInput, PART, type RuleInput, type TestInput, VERBS, type Verb } from './schema.js';
import { shapeFaults } from './shape.js';
import { checkOpenRelay, checkReachable, type Draft } from './soundness.js';
import { type ReadFile, Source } from './source.js';

export type { PolicyError } from './errors.js';
export { renderError } from './errors.js';
export type { ReadFile } from './source.js';

export interface CompiledRule {
  readonly name: string;
  readonly verb: Verb;
  /** Judged and told of, never decides. */
  readonly shadow: boolean;
  /** All have to hold; none: the rule always matches. */
  readonly conditions: readonly Condition[];
  /** The verdict when it matches and nothing else is to be told. */
  readonly verdict: Verdict;
}

export interface CompiledTest {
  readonly name: string;
  readonly client: Ip;
  readonly clientName: Known<string | undefined>;
  readonly listener: string;
  readonly helo: string;
  /** As in the facts. */
  readonly tls: string | undefined;
  /** As written: without or with angle brackets. */
  readonly from: string;
  readonly to: string;
  readonly expect: Verb;
  readonly rule: string | undefined;
  /** Where it stands in the policy file, both from 1. */
  readonly line: number;
  readonly column: number;
}

/** A policy in force: immutable, shared by all sessions that began under it. */
export interface Policy {
  readonly rules: readonly CompiledRule[];
  readonly needs: FactNeeds;
  readonly tests: readonly CompiledTest[];
  /** The path it was loaded from. */
  readonly source: string;
}

const verdictOf = (
  name: string,
  verb: Verb,
  conditions: readonly Condition[],
  reply: RuleReply | undefined,
): Verdict => {
  const terms = conditions.map(({ key, text }) => `${key}: ${text}`).join('; ');
  const shown = terms.length > 200 ? `${terms.slice(0, 197)}...` : terms;
  return {
    kind: verb,
    rule: name,
    reason: 'rule',
    why: `rule "${name}": ${verb} ${shown === '' ? 'always' : `{ ${shown} }`}`,
    reply,
    shadows: [],
  };
};

/** The parts of a policy whose shape is right; faults of the others have been reported. */
interface Parts {
  readonly networks: ListInputs;
  readonly domains: ListInputs;
  /** Sparse: a faulty rule is `undefined`. */
  readonly rules: readonly (RuleInput | undefined)[];
  readonly tests: readonly (TestInput | undefined)[];
}

const entriesOf = (value: unknown): [string, unknown][] =>
  typeof value === 'object' && value !== null && !Array.isArray(value) ? Object.entries(value) : [];
const itemsOf = (value: unknown): readonly unknown[] => (Array.isArray(value) ? value : []);

const listInputs = (value: unknown): ListInputs => {
  const entries = entriesOf(value);
  const lists = new Map<string, ListInput>();
  for (const [name, list] of entries) {
    const read = PART.list.safeParse(list);
    if (read.success) lists.set(name, read.data);
  }
  return { names: entries.map(([name]) => name), lists };
};

/** Reports faults of shape, and keeps what is right, so that the rest can be checked all the same. */
const readParts = (root: unknown, source: Source): Parts => {
  const whole = PART.policy.safeParse(root);
  if (!whole.success)
    for (const { path, onKey, message, remedy } of shapeFaults(whole.error, root))
      (onKey ? source.reportKey : source.report)(path, message, remedy);
  const parts: Record<string, unknown> = Object.fromEntries(entriesOf(root));
  return {
    networks: listInputs(parts.networks),
    domains: listInputs(parts.domains),
    rules: itemsOf(parts.rules).map((rule) => PART.rule.safeParse(rule).data),
    tests: itemsOf(parts.tests).map((test) => PART.test.safeParse(test).data),
  };
};

const compileRule = (input: RuleInput, index: number, compile: Compiling): CompiledRule | undefined => {
  const { source, lists, drafts } = compile;
  const at = ['rules', index];
  const verbs = VERBS.filter((verb) => input[verb] !== undefined);
  const verb = verbs[0];
  if (verb === undefined || verbs.length > 1) {
    const said =
      verb === undefined ? 'says neither allow nor deny nor defer' : `says both ${verbs.join(' and ')}`;
    source.report(at, said, 'A rule has exactly one of them; {} as its value means always.');
    return undefined;
  }
  if (input.limit !== undefined)
    source.reportKey(
      [...at, 'limit'],
      'needs counters, which this version cannot supply yet',
      'Remove the limit.',
    );
  const reply = ruleReply(input.reply, verb, [...at, 'reply'], source);
  const { conditions, complete } = compileConditions(input[verb]!, verb, [...at, verb], lists, source);
  if (!complete) return undefined;
  const { name, shadow = false, i_know } = input;
  const draft: Draft = { name, verb, shadow, conditions, iKnow: i_know !== undefined, at };
  drafts.push(draft);
  if (!shadow) checkOpenRelay(draft, source);
  const plain = conditions.map(({ condition }) => condition);
  return { name, verb, shadow, conditions: plain, verdict: verdictOf(name, verb, plain, reply) };
};

interface Compiling {
  readonly source: Source;
  readonly lists: ReturnType<typeof compileLists>;
  readonly drafts: Draft[];
}

const checkNames = (rules: Parts['rules'], source: Source): readonly string[] => {
  const first = new Map<string, number>();
  for (const [i, rule] of rules.entries()) {
    if (rule === undefined) continue;
    const earlier = first.get(rule.name);
    if (earlier === undefined) first.set(rule.name, i);
    else
      source.report(
        ['rules', i, 'name'],
        `"${rule.name}" is the name of rules[${earlier}] already`,
        'Choose another name.',
      );
  }
  return [...first.keys()];
};

const clientNameFact = (text: string | undefined): Known<string | undefined> =>
  text === 'unknown'
    ? { known: false, why: 'the test says so' }
    : {
        known: true,
        value: text === undefined || text === '' ? undefined : text.toLowerCase().replace(/\.$/, ''),
      };

const compileTest = (
  input: TestInput,
  index: number,
  ruleNames: readonly string[] | undefined,
  source: Source,
): CompiledTest | undefined => {
  const at = ['tests', index];
  const client = parseIp(input.client);
  if (client === undefined)
    source.report([...at, 'client'], 'not an IP address', 'A test has one client, such as 203.0.113.9.');
  if (input.rule !== undefined && ruleNames?.includes(input.rule) === false)
    source.report([...at, 'rule'], `no such rule: "${input.rule}"`, didYouMean(input.rule, ruleNames));
  if (client === undefined) return undefined;
  const { name, from, to, expect, rule, listener = '', helo = '' } = input;
  const clientName = clientNameFact(input.client_name);
  return {
    name,
    client,
    clientName,
    listener,
    helo: helo.toLowerCase(),
    tls: input.tls === undefined ? undefined : `TLSv${input.tls}`,
    from,
    to,
    expect,
    rule,
    ...source.placeOf(at),
  };
};

/**
 * Loads a policy: `text` is the contents of `path`. Files that it names are read through `readFile`, with
 * paths relative to the policy's folder. The error holds every fault found, in the order of the file.
 */
export const loadPolicy = (
  path: string,
  text: string,
  readFile: ReadFile,
): Result<Policy, readonly PolicyError[]> => {
  const document = readDocument(text);
  if (document.faults.length > 0)
    return err(document.faults.map((fault) => ({ file: path, key: '', ...fault })));
  const source = new Source(path, readFile, document);
  const parts = readParts(document.root, source);
  const compiling: Compiling = {
    source,
    lists: compileLists(parts.networks, parts.domains, source),
    drafts: [],
  };
  const rules = parts.rules.map((rule, i) =>
    rule === undefined ? undefined : compileRule(rule, i, compiling),
  );
  checkReachable(compiling.drafts, source);
  const names = checkNames(parts.rules, source);
  // Where a rule is faulty its name may be the one that a test means.
  const ruleNames = parts.rules.includes(undefined) ? undefined : names;
  const tests = parts.tests.map((test, i) =>
    test === undefined ? undefined : compileTest(test, i, ruleNames, source),
  );
  if (source.errors.length > 0) return err(inOrder(source.errors, path));
  const compiled = rules.filter((rule) => rule !== undefined);
  const needs = {
    clientName: compiled.some(({ conditions }) => conditions.some(({ key }) => key === 'client_name')),
  };
  return ok({ rules: compiled, needs, tests: tests.filter((test) => test !== undefined), source: path });
};

/** Errors of the policy itself by line and column, then those of the files it names. */
const inOrder = (errors: readonly PolicyError[], path: string): readonly PolicyError[] => {
  const own = errors.filter(({ file }) => file === path);
  const others = errors.filter(({ file }) => file !== path);
  return [...own.sort((a, b) => a.line - b.line || a.column - b.column), ...others];
};
