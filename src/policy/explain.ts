/** Why a verdict is as it is: every rule that was judged, and each of its conditions. */
import type { Policy } from './compile.js';
import { judge } from './decide.js';
import type { Facts, Verdict } from './facts.js';
import type { Limit } from './limit.js';
import type { Truth } from './match.js';
import type { ConditionKey, Verb } from './schema.js';

export interface ConditionReport {
  readonly key: ConditionKey;
  /** As the policy has it. */
  readonly text: string;
  readonly truth: Truth;
  /** One line; text from the wire in it is unescaped. */
  readonly why: string;
}

export interface RuleReport {
  readonly rule: string;
  readonly verb: Verb;
  readonly shadow: boolean;
  readonly truth: Truth;
  /** All of them, also behind the first that does not hold. */
  readonly conditions: readonly ConditionReport[];
}

export interface Explanation {
  /** In order, up to and with the rule that decided; those behind it were not judged. */
  readonly rules: readonly RuleReport[];
  /** Names of the rules behind the one that decided. */
  readonly notReached: readonly string[];
  readonly verdict: Verdict;
}

/** Judges as `decide` does, and tells how. */
export const explain = (policy: Policy, facts: Facts): Explanation => {
  const rules: RuleReport[] = [];
  const verdict = judge(policy, facts, ({ name, verb, shadow, conditions }, truth) => {
    const reports = conditions.map((condition) => ({
      key: condition.key,
      text: condition.text,
      truth: condition.holds(facts),
      why: condition.why(facts),
    }));
    rules.push({ rule: name, verb, shadow, truth, conditions: reports });
  });
  return { rules, notReached: policy.rules.slice(rules.length).map(({ name }) => name), verdict };
};

const MARKS: Readonly<Record<Truth, string>> = { yes: '+', no: '-', unknown: '?' };
const OUTCOMES: Readonly<Record<Truth, string>> = {
  yes: 'matches',
  no: 'does not match',
  unknown: 'not known',
};

/** Control characters and all beyond ASCII as `\x..` and `\u....`, so that nothing forges a line. */
export const escaped = (text: string): string =>
  text.replace(/[^\x20-\x7e]/g, (c) => {
    const code = c.charCodeAt(0);
    return code < 0x100
      ? `\\x${code.toString(16).padStart(2, '0')}`
      : `\\u${code.toString(16).padStart(4, '0')}`;
  });

const limitText = ({ counts, per, then }: Limit): string => {
  const terms = counts.map(({ what, most, period }) => `${most} ${what} in ${period / 1000} s`);
  return `counted per ${per}: ${terms.join(', ')}; past that: ${then}`;
};

/** An explanation as text for a terminal, lines ended by LF. */
export const renderExplanation = ({ rules, notReached, verdict }: Explanation): string => {
  const lines: string[] = [];
  for (const { rule, verb, shadow, truth, conditions } of rules) {
    lines.push(
      `${MARKS[truth]} ${rule}: ${verb}${shadow ? ' (shadow, not enforced)' : ''}: ${OUTCOMES[truth]}`,
    );
    for (const condition of conditions)
      lines.push(`    ${MARKS[condition.truth]} ${condition.key}: ${escaped(condition.why)}`);
    if (conditions.length === 0) lines.push('    + always');
  }
  if (notReached.length > 0) lines.push(`  not reached: ${notReached.join(', ')}`);
  lines.push(`=> ${verdict.kind}: ${escaped(verdict.why)}`);
  if (verdict.limit !== undefined) lines.push(`   ${limitText(verdict.limit)}`);
  if (verdict.greylist !== undefined)
    lines.push(`   strangers have to come again after ${verdict.greylist / 1000} s`);
  return `${lines.join('\n')}\n`;
};
