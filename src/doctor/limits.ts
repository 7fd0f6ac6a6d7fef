/** Are there descriptors enough for as many sessions as the configuration allows? */
import type { Setup } from '../app/config.js';
import { processesOfProc } from '../audit/processes.js';
import { Tree } from '../audit/tree.js';
import { type Finding, finding, type Here } from './finding.js';

/** Files, the store, the log, the resolver, the admin endpoint. */
const REST = 256;

/** What the configuration may take at most. */
export const descriptorsNeeded = ({ proxy, mailProxies }: Setup): number => {
  const upstream = proxy.upstreams.reduce((sum, { maxConnections }) => sum + maxConnections, 0);
  // A POP3 or IMAP session has a connection on either side, and shares the bound on connections.
  const mail = mailProxies.length > 0 ? proxy.limits.connections : 0;
  return proxy.limits.connections + upstream + mail + REST;
};

const LIMIT = /^Max open files\s+(\d+|unlimited)\s+(\d+|unlimited)/m;

const numberOf = (text: string | undefined): number =>
  text === 'unlimited' ? Number.POSITIVE_INFINITY : Number(text);

/** Soft limit of a process, and hard limit; undefined where there is no such process or no /proc. */
const limitsOf = (tree: Tree, pid: number | 'self'): { soft: number; hard: number } | undefined => {
  const match = LIMIT.exec(tree.text(`/proc/${pid}/limits`) ?? '');
  return match === null ? undefined : { soft: numberOf(match[1]), hard: numberOf(match[2]) };
};

export const limitFindings = (setup: Setup, here: Here): readonly Finding[] => {
  const tree = new Tree(here.root);
  const running = processesOfProc(tree).find(
    ({ product, text }) => product === 'sekisho' && /\bserve\b/.test(text),
  );
  const pid = running?.pid ?? 'self';
  const limits = limitsOf(tree, pid);
  const needed = descriptorsNeeded(setup);
  if (limits === undefined)
    return [
      finding('limits', 'note', 'how many descriptors a process may have cannot be seen on this system'),
    ];
  // Node raises its own soft limit to the hard one when it starts.
  const most = pid === 'self' ? limits.hard : limits.soft;
  const whose = pid === 'self' ? 'a process started from this shell' : `sekisho serve (process ${pid})`;
  if (most >= needed)
    return [finding('limits', 'ok', `${whose} may have ${most} descriptors; ${needed} are needed at most`)];
  return [
    finding(
      'limits',
      'warn',
      `${whose} may have ${most} descriptors, and the limits on connections allow for ${needed}`,
      `systemd: LimitNOFILE=${needed} in the unit; elsewhere: ulimit -n ${needed}`,
      `or lower limits.connections (now ${setup.proxy.limits.connections}): past it clients get 421, without descriptors they wait.`,
    ),
  ];
};
