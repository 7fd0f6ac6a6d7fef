/**
 * Recorded decisions judged anew by a candidate policy: what would change, grouped by what decided before and what
 * would decide then. Pure, and bounded in memory however long the record is. What a record does not hold (a name
 * nobody asked for, windows nobody looked up, a blocklist's answer) is not guessed: where it matters, the decision
 * counts as one that cannot be judged again. Limits are not replayed: they depend on all that came before.
 */
import type { VerdictKind } from '../base/events.js';
import { parseIp } from '../base/ip.js';
import { describeAddress } from '../smtp/describe-address.js';
import type { Path } from '../smtp/path.js';
import type { Policy } from './compile.js';
import { judge } from './decide.js';
import { envelopeFacts } from './envelope.js';
import type { Facts, Known, WindowFact } from './facts.js';

/** One decision as the log and the live view keep it; the fields bear the names of the log's. */
export interface RecordedDecision {
  /** Milliseconds since 1970. */
  readonly time?: number | undefined;
  readonly session?: string | undefined;
  readonly client: string;
  /** Forward-confirmed; without one the client has none if `named`, else nobody asked. */
  readonly clientName?: string | undefined;
  readonly named?: boolean | undefined;
  readonly listener: string;
  readonly helo?: string | undefined;
  readonly tls?: string | undefined;
  /** SHA-256 fingerprint in hex, and the subject if it was verified. */
  readonly certificate?: string | undefined;
  readonly certificateSubject?: string | undefined;
  readonly login?: string | undefined;
  /** The login was suspended, and judged as if nobody had logged in. */
  readonly suspended?: boolean | undefined;
  /** The open windows of the client; absent: nobody looked. */
  readonly windows?: readonly { readonly login: string; readonly source: string }[] | undefined;
  readonly from: string;
  readonly to: string;
  /** Absent where the record only shows that there was such mail, not what the policy said to it. */
  readonly verdict?: VerdictKind | undefined;
  readonly rule?: string | undefined;
  readonly reason?: string | undefined;
}

/** What a policy says to one decision; `rule` is undefined where none matched. */
export interface Outcome {
  readonly verdict: VerdictKind;
  readonly rule: string | undefined;
}

export interface ReplayExample
  extends Pick<
    RecordedDecision,
    'time' | 'session' | 'client' | 'clientName' | 'helo' | 'login' | 'from' | 'to'
  > {
  /** Why the candidate says so: one line, wire text unescaped. */
  readonly why: string;
}

export interface ReplayGroup {
  readonly before: Outcome;
  readonly after: Outcome;
  readonly count: number;
  readonly examples: readonly ReplayExample[];
}

export interface ReplayResult {
  /** Decisions that were given. */
  readonly total: number;
  /** Same verdict by the same rule. */
  readonly same: number;
  /** Another verdict. */
  readonly changed: number;
  /** Same verdict by another rule. */
  readonly moved: number;
  /** What the record does not hold enough for. */
  readonly cannot: { readonly count: number; readonly why: readonly { why: string; count: number }[] };
  /** Where the verdict changes, most frequent first. */
  readonly changes: readonly ReplayGroup[];
  /** Where only the rule changes, most frequent first. */
  readonly moves: readonly ReplayGroup[];
}

export interface ReplayOptions {
  /** Compare with this policy rather than with the verdicts in the record. */
  readonly against?: Policy | undefined;
  /** Examples kept of each group; 3 by default. */
  readonly examples?: number;
}

/** Groups kept of each kind; what would make another one is counted, not shown. */
const MOST_GROUPS = 500;

const NOT_RECORDED: Known<never> = { known: false, why: 'the record does not say' };

const pathOf = (text: string): Path | undefined => {
  const described = describeAddress(text);
  return described.outcome === 'address' ? described.path : undefined;
};

const windowFacts = (windows: RecordedDecision['windows']): Known<readonly WindowFact[]> =>
  windows === undefined
    ? NOT_RECORDED
    : {
        known: true,
        value: windows.map(({ login, source }) => ({
          ...{ login, source, until: Number.POSITIVE_INFINITY, used: 0, budget: 0 },
        })),
      };

/** The facts that the record holds, or why it is no decision at all. */
export const recordedFacts = (recorded: RecordedDecision): Facts | string => {
  const client = parseIp(recorded.client);
  if (client === undefined) return 'no address of the client';
  const from = recorded.from === '' ? pathOf('<>') : pathOf(recorded.from);
  const to = pathOf(recorded.to);
  if (from === undefined || to === undefined || to.kind === 'null') return 'not an address';
  const { clientName, named, tls, login, suspended, certificate, certificateSubject } = recorded;
  return {
    client,
    clientName:
      clientName !== undefined || named === true ? { known: true, value: clientName } : NOT_RECORDED,
    listener: recorded.listener,
    ...(tls === undefined ? {} : { tls }),
    ...(login === undefined || suspended === true ? {} : { login }),
    ...(certificate === undefined
      ? {}
      : { certificate: { fingerprint: certificate, subject: certificateSubject } }),
    windows: windowFacts(recorded.windows),
    helo: (recorded.helo ?? '').toLowerCase(),
    ...envelopeFacts(from, to),
  };
};

interface Judged extends Outcome {
  readonly why: string;
}

/**
 * The verdict, or the facts that are missing for it. A rule that waits for a fact not on record is taken both ways:
 * only if the verdicts differ is the fact needed.
 */
const judgeAnew = (policy: Policy, facts: Facts): Judged | { readonly missing: string } => {
  let rules = policy.rules;
  let first: Judged | undefined;
  let missing = '';
  for (;;) {
    let judged = 0;
    const { kind, rule, reason, why } = judge({ ...policy, rules }, facts, () => {
      judged += 1;
    });
    const open = reason === 'unknown-fact' ? rules[judged - 1] : undefined;
    const verdict = { verdict: open?.verb ?? kind, rule, why };
    if (first !== undefined && first.verdict !== verdict.verdict) return { missing };
    // Whatever the fact is, the verdict is the same, and the last rule on the way is sure to decide if no other does.
    first = verdict;
    if (open === undefined) return first;
    missing ||= open.conditions.find((condition) => condition.holds(facts) === 'unknown')?.key ?? 'a fact';
    rules = rules.slice(judged);
  }
};

/** Counts by a key, at most `MOST_GROUPS` keys. */
class Groups {
  readonly #examples: number;
  readonly #groups = new Map<string, ReplayGroup & { count: number; examples: ReplayExample[] }>();

  constructor(examples: number) {
    this.#examples = examples;
  }

  add(before: Outcome, after: Outcome, example: () => ReplayExample): void {
    const key = JSON.stringify([before.verdict, before.rule, after.verdict, after.rule]);
    let group = this.#groups.get(key);
    if (group === undefined) {
      if (this.#groups.size >= MOST_GROUPS) return;
      group = { before, after, count: 0, examples: [] };
      this.#groups.set(key, group);
    }
    group.count += 1;
    if (group.examples.length < this.#examples) group.examples.push(example());
  }

  get sorted(): readonly ReplayGroup[] {
    return [...this.#groups.values()].sort((a, b) => b.count - a.count);
  }
}

const outcome = ({ verdict, rule }: Outcome): Outcome => ({ verdict, rule });

/** Takes decisions one by one. */
export class Replay {
  readonly #candidate: Policy;
  readonly #against: Policy | undefined;
  readonly #changes: Groups;
  readonly #moves: Groups;
  readonly #missing = new Map<string, number>();
  #total = 0;
  #same = 0;
  #changed = 0;
  #moved = 0;
  #cannot = 0;

  constructor(candidate: Policy, { against, examples = 3 }: ReplayOptions = {}) {
    this.#candidate = candidate;
    this.#against = against;
    this.#changes = new Groups(examples);
    this.#moves = new Groups(examples);
  }

  add(recorded: RecordedDecision): void {
    this.#total += 1;
    const facts = recordedFacts(recorded);
    if (typeof facts === 'string') return this.#skip(facts);
    const before = this.#before(recorded, facts);
    if ('missing' in before) return this.#skip(before.missing);
    const after = judgeAnew(this.#candidate, facts);
    if ('missing' in after) return this.#skip(after.missing);
    this.#compare(recorded, before, after);
  }

  #before(recorded: RecordedDecision, facts: Facts): Outcome | { readonly missing: string } {
    if (this.#against !== undefined) return judgeAnew(this.#against, facts);
    const { verdict, rule } = recorded;
    return verdict === undefined ? { missing: 'the verdict' } : { verdict, rule };
  }

  #compare(recorded: RecordedDecision, before: Outcome, after: Judged): void {
    if (before.verdict === after.verdict && before.rule === after.rule) {
      this.#same += 1;
      return;
    }
    const { time, session, client, clientName, helo, login, from, to } = recorded;
    const example = (): ReplayExample => ({
      ...{ time, session, client, clientName, helo, login, from, to, why: after.why },
    });
    const changed = before.verdict !== after.verdict;
    if (changed) this.#changed += 1;
    else this.#moved += 1;
    (changed ? this.#changes : this.#moves).add(outcome(before), outcome(after), example);
  }

  #skip(why: string): void {
    this.#cannot += 1;
    if (this.#missing.size < MOST_GROUPS || this.#missing.has(why))
      this.#missing.set(why, (this.#missing.get(why) ?? 0) + 1);
  }

  get result(): ReplayResult {
    return {
      total: this.#total,
      same: this.#same,
      changed: this.#changed,
      moved: this.#moved,
      cannot: {
        count: this.#cannot,
        why: [...this.#missing].map(([why, count]) => ({ why, count })).sort((a, b) => b.count - a.count),
      },
      changes: this.#changes.sorted,
      moves: this.#moves.sorted,
    };
  }
}

/** Judges all of them anew. */
export const replay = (
  decisions: Iterable<RecordedDecision>,
  candidate: Policy,
  options: ReplayOptions = {},
): ReplayResult => {
  const run = new Replay(candidate, options);
  for (const decision of decisions) run.add(decision);
  return run.result;
};
