/** The `limit:` of an allow rule: how much it lets through, counted for whom, and what comes then. */
import type { CompiledCondition } from './conditions.js';
import type { KeyPath } from './errors.js';
import { LIMIT_COUNTS, type LimitInput, type Verb } from './schema.js';
import type { Source } from './source.js';

export type LimitWhat = (typeof LIMIT_COUNTS)[number];
export type LimitPer = LimitInput['per'];

export interface Limit {
  readonly counts: readonly {
    readonly what: LimitWhat;
    readonly most: number;
    /** Milliseconds. */
    readonly period: number;
  }[];
  readonly per: LimitPer;
  readonly then: 'defer' | 'deny' | 'suspend';
  /** How long a suspension lasts, ms; Infinity: until it is lifted. */
  readonly lasts: number;
}

const UNIT: Readonly<Record<string, number>> = { s: 1_000, m: 60_000, h: 3_600_000, d: 86_400_000 };
const LONGEST = 30 * 86_400_000;
const PERIOD_ERROR = 'must be a time from 1s to 30d, such as 15m';

/** Milliseconds of `15m`, `30d`; undefined when out of range. The shape has been checked. */
export const periodOf = (text: string): number | undefined => {
  const ms = Number(text.slice(0, -1)) * (UNIT[text.slice(-1)] ?? 0);
  return ms >= 1_000 && ms <= LONGEST ? ms : undefined;
};

const LONGEST_GREYLIST = 86_400_000;

/** Milliseconds of an allow rule's `greylist`; undefined once its faults have been reported. */
export const compileGreylist = (
  text: string,
  verb: Verb,
  at: KeyPath,
  source: Source,
): number | undefined => {
  if (verb !== 'allow') source.reportKey(at, `a ${verb} rule has no greylist`, 'Write it at an allow rule.');
  const ms = periodOf(text);
  if (ms !== undefined && ms <= LONGEST_GREYLIST) return ms;
  source.report(at, 'must be a time from 1s to 24h, such as 5m');
  return undefined;
};

/** Undefined once its faults have been reported. */
export const compileLimit = (
  input: LimitInput,
  verb: Verb,
  conditions: readonly CompiledCondition[],
  at: KeyPath,
  source: Source,
): Limit | undefined => {
  const faults = source.errors.length;
  if (verb !== 'allow')
    source.reportKey(at, `a ${verb} rule has no limit`, 'Only what is allowed is counted.');
  const counts = LIMIT_COUNTS.flatMap((what) => {
    const [most = '', period = ''] = input[what]?.split('/') ?? [];
    if (most === '') return [];
    const ms = periodOf(period);
    if (ms === undefined) source.report([...at, what], PERIOD_ERROR);
    const number = Number(most);
    if (number < 1 || number > 1e9) source.report([...at, what], 'must count from 1 to 1000000000');
    return [{ what, most: number, period: ms ?? 1_000 }];
  });
  if (counts.length === 0) source.report(at, 'counts nothing', `Give one of ${LIMIT_COUNTS.join(', ')}.`);
  const { per, then = 'defer' } = input;
  if ((per === 'login' || per === 'window') && !conditions.some(({ condition }) => condition.key === per))
    source.report([...at, 'per'], `the rule does not ask for a ${per}`, `Add ${per}: any to its conditions.`);
  if (then === 'suspend' && per !== 'login' && per !== 'window')
    source.report([...at, 'then'], 'only a login can be suspended', 'Use per: login or per: window.');
  if (input.for !== undefined && then !== 'suspend')
    source.reportKey([...at, 'for'], 'goes only with then: suspend', 'Remove it.');
  const lasts = input.for === undefined ? Number.POSITIVE_INFINITY : periodOf(input.for);
  if (lasts === undefined) source.report([...at, 'for'], PERIOD_ERROR);
  if (lasts === undefined || source.errors.length > faults) return undefined;
  return { counts, per, then, lasts };
};
