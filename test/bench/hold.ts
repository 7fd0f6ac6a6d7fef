/** Holds processes to a part of a core, whatever else there is to do: by the kernel's deadline scheduler (sched(7)). */
import { execFileSync } from 'node:child_process';
import { workersOf } from './procfs.js';

/** Nanoseconds in which each gets its part. */
const PERIOD = 10_000_000;

/** Of each process at or below `root` that does the work, the main thread, in which all of a session is done. Needs root. */
export const hold = (root: number, part: number): void => {
  const times = ['--sched-runtime', `${Math.round(PERIOD * part)}`];
  times.push('--sched-deadline', `${PERIOD}`, '--sched-period', `${PERIOD}`);
  for (const pid of workersOf(root))
    execFileSync('chrt', ['--reset-on-fork', '--deadline', ...times, '--pid', '0', `${pid}`], {
      stdio: 'pipe',
    });
};
