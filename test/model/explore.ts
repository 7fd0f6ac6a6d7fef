/** Breadth-first search through every state that a session can come to. */
import type { Effects, SessionEvent } from '../../src/smtp/session/events.js';
import type { SessionSettings, SessionState } from '../../src/smtp/session/state.js';
import { lettersFor } from './alphabet.js';
import { type Invariant, type Violation, World } from './world.js';

export type Step = (state: SessionState, event: SessionEvent, out: Effects) => void;

export interface Finding extends Violation {
  /** The shortest way there. */
  readonly trace: readonly string[];
}

export interface Explored {
  readonly states: number;
  readonly steps: number;
  /** Events from the start to the farthest state looked at. */
  readonly depth: number;
  /** No state was left unexplored: what holds, holds at any depth. */
  readonly complete: boolean;
  readonly findings: readonly Finding[];
  /** The kinds of event that happened on the way. */
  readonly heard: ReadonlySet<SessionEvent['type']>;
}

export interface Bounds {
  readonly depth: number;
  readonly states: number;
  /** Stop after that many findings, or at the first that breaks `until`. */
  readonly findings: number;
  readonly until?: Invariant;
}

/** Numbers for objects that are never copied: paths and commands of the alphabet. */
const numbering = (): ((value: object | undefined) => number) => {
  const numbers = new Map<object, number>();
  return (value) => {
    if (value === undefined) return -1;
    const known = numbers.get(value);
    if (known !== undefined) return known;
    numbers.set(value, numbers.size);
    return numbers.size - 1;
  };
};

/** How a state was reached: the letter, and the index of the state before. */
interface Way {
  readonly from: number;
  readonly name: string;
}

const traceOf = (ways: readonly Way[], last: number): string[] => {
  const trace: string[] = [];
  for (let at = last; at > 0; at = ways[at]?.from ?? 0) trace.unshift(ways[at]?.name ?? '?');
  return trace;
};

export const explore = (step: Step, settings: SessionSettings, bounds: Bounds): Explored => {
  const ids = numbering();
  const root = World.begin(settings);
  const seen = new Set([root.key(ids)]);
  const ways: Way[] = [{ from: 0, name: 'start' }];
  const findings: Finding[] = [];
  const heard = new Set<SessionEvent['type']>();
  let frontier: { world: World; at: number }[] = [{ world: root, at: 0 }];
  let steps = 0;
  let depth = 0;
  for (; frontier.length > 0 && depth < bounds.depth && seen.size < bounds.states; depth += 1) {
    const next: typeof frontier = [];
    for (const { world, at } of frontier) {
      for (const { name, event } of lettersFor(world)) {
        const after = world.copy();
        after.happen(event, step);
        steps += 1;
        heard.add(event.type);
        for (const violation of after.violations) {
          findings.push({ ...violation, trace: [...traceOf(ways, at), name] });
        }
        const sought = findings.at(-1)?.invariant === bounds.until && bounds.until !== undefined;
        if (sought || findings.length >= bounds.findings) {
          return { states: seen.size, steps, depth: depth + 1, complete: false, findings, heard };
        }
        const key = after.key(ids);
        if (after.violations.length > 0 || seen.has(key)) continue;
        seen.add(key);
        ways.push({ from: at, name });
        next.push({ world: after, at: ways.length - 1 });
      }
    }
    frontier = next;
  }
  return { states: seen.size, steps, depth, complete: frontier.length === 0, findings, heard };
};
