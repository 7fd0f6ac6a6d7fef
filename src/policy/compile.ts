/**
 * From the text of a policy to rules that can be judged, or to every fault in it. All file contents come
 * through the injected `readFile`.
 */
import { type Ip, type IpSet, parseIp } from '../base/ip.js';
import { err, ok, type Result } from '../base/result.js';
import { compileConditions, fingerprintHex } from './conditions.js';
import { readDocument } from './document.js';
import { didYouMean, type PolicyError } from './errors.js';
import type { FactNeeds, Facts, Known, ListedFact, RuleReply, Verdict } from './facts.js';
import { compileGreylist, compileLimit } from './limit.js';
import { compileLists, type ListInputs } from './lists.js';
import type { Condition } from './match.js';
import type { Sources } from './proofs.js';
import { ruleReply } from './rule-reply.js';
import {
  type ConditionKey,
  type ListInput,
  PART,
  type RuleInput,
  type SenderInput,
  type TestInput,
  VERBS,
  type Verb,
} from './schema.js';
import { compileSender, type SenderRule } from './senders.js';
import { shapeFaults } from './shape.js';
import { checkOpenRelay, checkReachable, type Draft, ownNetworks } from './soundness.js';
import { type ReadFile, Source } from './source.js';
import { throughOf } from './through.js';

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
  /** Which windows an allow rule asks for; absent where it asks for none. */
  readonly window?: { readonly sources: Sources };
  /** A few of the domains and literals that stand under `to`, for trying what is routed through them. */
  readonly through: readonly string[];
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
  /** What the client has proven, as in the facts. */
  readonly proven: Pick<Facts, 'login' | 'windows' | 'certificate' | 'listed'>;
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
  /** The site's own networks: those that a rule lets send anywhere by nothing but their addresses. */
  readonly trusted: readonly IpSet[];
  readonly senders: readonly SenderRule[];
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
  readonly senders: readonly (SenderInput | undefined)[];
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
    senders: itemsOf(parts.senders).map((sender) => PART.sender.safeParse(sender).data),
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
  const reply = ruleReply(input.reply, verb, [...at, 'reply'], source);
  const { conditions, complete } = compileConditions(input[verb]!, verb, [...at, verb], lists, source);
  if (!complete) return undefined;
  const { name, shadow = false, i_know } = input;
  const draft: Draft = { name, verb, shadow, conditions, iKnow: i_know !== undefined, at };
  drafts.push(draft);
  if (!shadow) checkOpenRelay(draft, source);
  const plain = conditions.map(({ condition }) => condition);
  const limit = input.limit && compileLimit(input.limit, verb, conditions, [...at, 'limit'], source);
  const { greylist: wait } = input;
  const greylist = wait === undefined ? undefined : compileGreylist(wait, verb, [...at, 'greylist'], source);
  const verdict = verdictOf(name, verb, plain, reply);
  const operands = conditions.map(({ operand }) => operand);
  const windows = operands.find((operand) => operand.kind === 'windows');
  return {
    name,
    verb,
    shadow,
    conditions: plain,
    through: throughOf(conditions),
    verdict: {
      ...verdict,
      ...(limit === undefined ? {} : { limit }),
      ...(greylist === undefined ? {} : { greylist }),
    },
    ...(verb === 'allow' && windows !== undefined ? { window: { sources: windows.sources } } : {}),
  };
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

const listedFact = (listed: TestInput['listed']): Known<ListedFact> => {
  const lists = listed === undefined ? [] : [listed].flat();
  return { known: true, value: { lists, blocked: lists.length > 0 } };
};

const provenFacts = ({ login, window, certificate, listed }: TestInput): CompiledTest['proven'] => {
  const open = typeof window === 'string' ? { login: login ?? 'somebody', source: window } : window;
  const held = open && { ...open, until: Number.POSITIVE_INFINITY, used: 0, budget: 0 };
  const card = typeof certificate === 'string' ? { fingerprint: certificate } : certificate;
  return {
    ...(login === undefined ? {} : { login }),
    listed: listedFact(listed),
    windows:
      window === 'unknown'
        ? { known: false, why: 'the test says so' }
        : { known: true, value: held === undefined ? [] : [held] },
    ...(card === undefined
      ? {}
      : { certificate: { fingerprint: fingerprintHex(card.fingerprint), subject: card.subject } }),
  };
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
    proven: provenFacts(input),
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
  const senders = parts.senders.map((sender, i) =>
    sender === undefined ? undefined : compileSender(sender, i, compiling.lists, source),
  );
  const tests = parts.tests.map((test, i) =>
    test === undefined ? undefined : compileTest(test, i, ruleNames, source),
  );
  if (source.errors.length > 0) return err(inOrder(source.errors, path));
  const compiled = rules.filter((rule) => rule !== undefined);
  const asksFor = (wanted: ConditionKey): boolean =>
    compiled.some(({ conditions }) => conditions.some(({ key }) => key === wanted));
  return ok({
    rules: compiled,
    needs: {
      clientName: asksFor('client_name'),
      window: asksFor('window'),
      listed: asksFor('listed'),
      lists: listNames(compiling.drafts),
    },
    trusted: compiling.drafts.flatMap(ownNetworks),
    senders: senders.filter((sender) => sender !== undefined),
    tests: tests.filter((test) => test !== undefined),
    source: path,
  });
};

const listNames = (drafts: readonly Draft[]): ReadonlySet<string> =>
  new Set(
    drafts.flatMap(({ conditions }) =>
      conditions.flatMap(({ operand }) => (operand.kind === 'listed' ? [...(operand.names ?? [])] : [])),
    ),
  );

/** Errors of the policy itself by line and column, then those of the files it names. */
const inOrder = (errors: readonly PolicyError[], path: string): readonly PolicyError[] => {
  const own = errors.filter(({ file }) => file === path);
  const others = errors.filter(({ file }) => file !== path);
  return [...own.sort((a, b) => a.line - b.line || a.column - b.column), ...others];
};
