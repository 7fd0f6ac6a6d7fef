/** Explains a verdict with what the store knows: which window holds and until when, what limits have counted. */
import type { Note } from '../base/events.js';
import type { Ip } from '../base/ip.js';
import type { Policy } from '../policy/compile.js';
import { type Explanation, escaped, explain, renderExplanation } from '../policy/explain.js';
import type { Facts, Known } from '../policy/facts.js';
import { type Mark, type StateStore, StoreError } from '../windows/store.js';
import { type Window, windowKey } from '../windows/window.js';
import { LimitKeeper, type LimitUse } from './limits.js';

export interface Standing {
  readonly explanation: Explanation;
  /** The login that was given is suspended, and was left out of account. */
  readonly suspended?: Mark;
  /** Of the rule that lets the mail pass: what is used before this mail; absent where there is no limit. */
  readonly limits?: readonly LimitUse[];
  /** What the store did not answer, in words. */
  readonly unknown: readonly string[];
}

const nothing: Note = () => undefined;

/** Each answer of the store, or undefined and the reason among `unknown`. */
const asking =
  (unknown: string[]) =>
  async <T>(ask: () => Promise<T>): Promise<Known<T>> => {
    try {
      return { known: true, value: await ask() };
    } catch (error) {
      if (!(error instanceof StoreError)) throw error;
      unknown.push(`${error.operation}: ${error.message}`);
      return { known: false, why: error.message };
    }
  };

/** The open windows of an address. One whose login is suspended is none. */
const windowsOf = async (state: StateStore, client: Ip, now: number): Promise<readonly Window[]> => {
  const windows = await state.lookup(windowKey(client), now);
  const marks = await Promise.all(windows.map(({ login }) => state.marked('suspended', login, now)));
  return windows.filter((_, i) => marks[i] === undefined);
};

/** Judges as the proxy would at this moment, and changes nothing. Windows among the facts are not asked for. */
export const explainNow = async (
  policy: Policy,
  given: Facts,
  state: StateStore,
  now: number,
): Promise<Standing> => {
  const unknown: string[] = [];
  const ask = asking(unknown);
  let facts = given;
  if (facts.windows === undefined && policy.needs.window)
    facts = { ...facts, windows: await ask(() => windowsOf(state, given.client, now)) };
  const { login, ...anonymous } = facts;
  const mark = login === undefined ? undefined : await ask(() => state.marked('suspended', login, now));
  const suspended = mark?.known === true ? mark.value : undefined;
  // Not known: it counts for nothing until it is.
  if (mark?.known === false || suspended !== undefined) facts = anonymous;
  const explanation = explain(policy, facts);
  const { verdict } = explanation;
  const used =
    verdict.kind === 'allow' && verdict.limit !== undefined
      ? await ask(() => new LimitKeeper(state, nothing).used(verdict, facts, now))
      : undefined;
  return {
    explanation,
    ...(suspended === undefined ? {} : { suspended }),
    ...(used?.known === true ? { limits: used.value } : {}),
    unknown,
  };
};

const when = (time: number): string =>
  Number.isFinite(time) ? new Date(time).toISOString() : 'it is lifted';

/** As text for a terminal, lines ended by LF. */
export const renderStanding = ({ explanation, suspended, limits = [], unknown }: Standing): string => {
  const { window } = explanation.verdict;
  const lines = unknown.map((why) => `the store did not answer: ${why}`);
  if (suspended !== undefined)
    lines.push(
      `the login <${suspended.key}> is suspended until ${when(suspended.until)}: ${suspended.value}`,
    );
  if (window !== undefined) {
    const budget = window.budget > 0 ? ` of ${window.budget}` : '';
    lines.push(
      `window of <${window.login}> by ${window.source} until ${when(window.until)}, ${window.used} recipients${budget} used`,
    );
  }
  for (const { what, used, most, resetIn } of limits) {
    const anew = used === 0 ? '' : `, begins anew in ${Math.ceil(resetIn / 1_000)} s`;
    lines.push(`used: ${used} of ${most} ${what}${anew}`);
  }
  return renderExplanation(explanation) + lines.map((line) => `   ${escaped(line)}\n`).join('');
};
