/**
 * A site's own pattern: a regular expression of RE2's language with the groups `user`, `address` and perhaps `time`. RE2
 * takes time linear in the line, so no pattern and no line can hold Sekisho up; it has no look-around and no \1.
 *
 * A pattern has to say what stands at both ends of a line. Where a line matches in two ways (once every repetition takes
 * as much as it can, once as little), user and address must come out the same, or the line opens nothing.
 */
import { RE2JS } from 're2js';
import { err, ok, type Result } from '../../base/result.js';
import { type LogEntry, readLine } from './log-line.js';
import type { LogReader } from './log-patterns.js';
import { timeAt } from './log-time.js';

/** Reads whole lines of a file, or the messages of a journal. */
export type SitePattern = LogReader;

const MOST = 1_000;

type Found = { readonly user: string; readonly address: string; readonly time: string | undefined };

const search = (pattern: RE2JS, timed: boolean, line: string): Found | undefined => {
  const matcher = pattern.matcher(line);
  if (!matcher.find()) return undefined;
  const [user, address] = [matcher.group('user'), matcher.group('address')];
  if (typeof user !== 'string' || typeof address !== 'string') return undefined;
  return { user, address, time: timed ? (matcher.group('time') ?? undefined) : undefined };
};

/** Compiles a pattern; an error says what is wrong with it, fit to follow the option's name. */
export const sitePattern = (text: string): Result<SitePattern, string> => {
  if (text.length > MOST) return err(`is longer than ${MOST} characters`);
  if (!text.startsWith('^') || !text.endsWith('$') || text.endsWith('\\$'))
    return err('must begin with ^ and end with $, or whoever chooses a user name chooses what is matched');
  let greedy: RE2JS;
  let lazy: RE2JS;
  try {
    // (?U) turns x* into x*? and the other way round.
    [greedy, lazy] = [RE2JS.compile(text), RE2JS.compile(`(?U)${text}`)];
  } catch (error) {
    return err(`is not a pattern of RE2: ${error instanceof Error ? error.message : String(error)}`);
  }
  const groups = Object.keys(greedy.namedGroups());
  const other = groups.find((name) => !['user', 'address', 'time'].includes(name));
  if (other !== undefined) return err(`has a group "${other}"; there are user, address and time`);
  for (const name of ['user', 'address'])
    if (!groups.includes(name)) return err(`must have the group (?<${name}>…)`);
  const timed = groups.includes('time');
  return ok((entry) => {
    const found = search(greedy, timed, entry.message);
    if (found === undefined) return undefined;
    const again = search(lazy, timed, entry.message);
    if (again?.user !== found.user || again.address !== found.address) return 'ambiguous';
    return { user: found.user, address: found.address, time: timeOf(entry, timed, found.time) };
  });
};

/** The journal's, the group's, or that with which a line begins. */
const timeOf = ({ time, message }: LogEntry, timed: boolean, text: string | undefined): LogEntry['time'] => {
  if (time !== undefined) return time;
  return timed ? timeAt(text ?? '')?.time : readLine(message)?.time;
};
