/** What processes have used, from /proc: a process with all that descend from it, those that have ended included. */
import { readdirSync, readFileSync } from 'node:fs';

/** The kernel counts in hundredths of a second (USER_HZ), on every architecture that Node runs on. */
const TICK = 10_000;

interface Stat {
  readonly pid: number;
  readonly parent: number;
  /** Microseconds of CPU, with those of children that were waited for. */
  readonly cpu: number;
}

const read = (file: string): string => {
  try {
    return readFileSync(file, 'utf8');
  } catch {
    // It has ended in between.
    return '';
  }
};

const statOf = (pid: number): Stat | undefined => {
  // The name, in parentheses, may hold anything.
  const fields = read(`/proc/${pid}/stat`)
    .replace(/^.*\) /s, '')
    .split(' ')
    .map(Number);
  if (fields.length < 15) return undefined;
  const [user = 0, system = 0, children = 0, childrenSystem = 0] = fields.slice(11, 15);
  return { pid, parent: fields[1] ?? 0, cpu: (user + system + children + childrenSystem) * TICK };
};

const family = (root: number): Stat[] => {
  const all = readdirSync('/proc')
    .filter((name) => /^\d+$/.test(name))
    .map((name) => statOf(Number(name)))
    .filter((stat) => stat !== undefined);
  const members = all.filter(({ pid }) => pid === root);
  // It grows while it is walked: children of children.
  for (const { pid } of members) members.push(...all.filter(({ parent }) => parent === pid));
  return members;
};

/** The process and all below it, by id. */
export const familyOf = (root: number): number[] => family(root).map(({ pid }) => pid);

/** Those of them that do the work: a supervisor has others for that. */
export const workersOf = (root: number): number[] => {
  const all = family(root);
  return all.map(({ pid }) => pid).filter((pid) => !all.some(({ parent }) => parent === pid));
};

/** Microseconds of CPU of the process and all below it. */
export const cpuOf = (root: number): number => family(root).reduce((sum, { cpu }) => sum + cpu, 0);

/** Proportional set size in octets: pages that several processes share count once in all. */
export const memoryOf = (root: number): number =>
  family(root).reduce(
    (sum, { pid }) =>
      sum + Number(/^Pss:\s+(\d+)/m.exec(read(`/proc/${pid}/smaps_rollup`))?.[1] ?? 0) * 1_024,
    0,
  );
