/** The verdict on one recipient: the first rule that matches decides; where none does, relaying is denied. */
import type { CompiledRule, Policy } from './compile.js';
import type { Facts, ShadowVerdict, Verdict } from './facts.js';
import type { Truth } from './match.js';
import { fittingWindow } from './proofs.js';

const NO_RULE: Verdict = {
  kind: 'deny',
  rule: undefined,
  reason: 'no-rule',
  why: 'no rule allows it',
  reply: undefined,
  shadows: [],
};

/** All conditions have to hold. What is not known matters only if everything else holds. */
const truthOf = ({ conditions }: CompiledRule, facts: Facts): Truth => {
  let truth: Truth = 'yes';
  for (const condition of conditions) {
    const one = condition.holds(facts);
    if (one === 'no') return 'no';
    if (one === 'unknown') truth = 'unknown';
  }
  return truth;
};

/** A rule that would match but for a fact that is not known defers: a later try may know it. */
const notKnown = ({ name, conditions }: CompiledRule, facts: Facts): Verdict => {
  const open = conditions.find((condition) => condition.holds(facts) === 'unknown');
  return {
    kind: 'defer',
    rule: name,
    reason: 'unknown-fact',
    why: `rule "${name}": ${open?.why(facts) ?? 'a fact is not known'}`,
    reply: undefined,
    shadows: [],
  };
};

/** The verdict of a rule that matches, with the window by which it does. */
const matched = ({ verdict, window }: CompiledRule, { windows }: Facts): Verdict => {
  if (window === undefined || windows?.known !== true) return verdict;
  const fitting = fittingWindow(windows.value, window.sources);
  return fitting === undefined ? verdict : { ...verdict, window: fitting };
};

/** Is told of every rule that is judged, in order, up to and with the one that decides; `into` is the looker-on's own. */
export type Visit<T = undefined> = (rule: CompiledRule, truth: Truth, into: T) => void;

/** The one place where rules are judged; `explain` looks on through `visit`. */
export const judge = <T = undefined>(policy: Policy, facts: Facts, visit?: Visit<T>, into?: T): Verdict => {
  let shadows: ShadowVerdict[] | undefined;
  let verdict = NO_RULE;
  for (const rule of policy.rules) {
    const truth = truthOf(rule, facts);
    visit?.(rule, truth, into as T);
    if (truth === 'no') continue;
    if (rule.shadow) {
      shadows ??= [];
      shadows.push({ rule: rule.name, would: truth === 'yes' ? rule.verb : 'defer' });
      continue;
    }
    verdict = truth === 'yes' ? matched(rule, facts) : notKnown(rule, facts);
    break;
  }
  return shadows === undefined ? verdict : { ...verdict, shadows };
};

/** Decides about one recipient. Synchronous, without I/O; a few microseconds whatever the size of the lists. */
export const decide = (policy: Policy, facts: Facts): Verdict => judge(policy, facts);
