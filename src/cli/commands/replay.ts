import { escapeText } from '../../app/log-classic.js';
import { policyFile, readTextFile } from '../../app/policy-file.js';
import { whyUnreadable } from '../../app/read-file.js';
import { LogDecisions, readDecisions } from '../../app/recorded.js';
import type { Policy } from '../../policy/compile.js';
import type { Outcome, ReplayExample, ReplayGroup, ReplayResult } from '../../policy/replay.js';
import { Replay } from '../../policy/replay.js';
import { complain, print } from '../output.js';

interface Options {
  readonly policy: string;
  readonly against?: string;
  readonly examples: string;
  readonly json?: boolean;
}

const outcomeText = ({ verdict, rule }: Outcome): string =>
  `${verdict} (${rule === undefined ? 'no rule allows it' : rule})`;

const exampleLines = ({ time, client, clientName, login, helo, from, to, why }: ReplayExample): string[] => {
  const when = time === undefined ? '' : `${new Date(time).toISOString()} `;
  const who = `${clientName ?? ''}[${client}]${login === undefined ? '' : ` login <${login}>`}`;
  return [`    ${when}${who} helo=<${helo ?? ''}> <${from}> to <${to}>`, `        ${why}`].map(escapeText);
};

/** How many answers change from what to what, with examples. */
export const groupLines = ({ before, after, count, examples }: ReplayGroup): string[] => [
  escapeText(`  ${count} x ${outcomeText(before)} -> ${outcomeText(after)}`),
  ...examples.flatMap(exampleLines),
];

const FACTS: Readonly<Record<string, string>> = {
  client_name: "the client's name, which nobody had asked for",
  window: "the client's windows, which nobody had looked up",
  listed: 'what blocklists said',
  'the verdict': 'the verdict itself: compare with --against POLICY',
};

const text = ({ total, same, changed, moved, cannot, changes, moves }: ReplayResult): string => {
  const lines = [
    `${total} decisions: ${changed} change, ${same} stay as they are, ${moved} come out the same by another rule, ${cannot.count} cannot be judged again`,
  ];
  if (changes.length > 0) lines.push('', 'What would change:', ...changes.flatMap(groupLines));
  if (moves.length > 0) lines.push('', 'Same verdict by another rule:', ...moves.flatMap(groupLines));
  if (cannot.count > 0) {
    lines.push('', 'Cannot be judged again, because the log does not say:');
    for (const { why, count } of cannot.why) lines.push(`  ${count} x ${FACTS[why] ?? why}`);
  }
  return lines.join('\n');
};

/** The policy, or undefined after the complaint. */
const load = (file: string): Policy | undefined => {
  const policy = policyFile(file, readTextFile);
  if (policy.ok) return policy.value;
  complain(policy.error.lines, 2);
  return undefined;
};

/** Exit code 0: nothing changes. 1: some verdict does. 2: a fault, or nothing in the log that could be compared. */
export const replayCommand = async (logs: readonly string[], options: Options): Promise<void> => {
  const examples = Number(options.examples);
  if (!Number.isInteger(examples) || examples < 0 || examples > 1_000)
    return complain([`--examples ${options.examples}: must be a number from 0 to 1000`], 2);
  const candidate = load(options.policy);
  const against = options.against === undefined ? undefined : load(options.against);
  if (candidate === undefined || (against === undefined && options.against !== undefined)) return;
  const run = new Replay(candidate, { against, examples });
  const lines = new LogDecisions();
  for (const log of logs) {
    try {
      for await (const decision of readDecisions(log, lines)) run.add(decision);
    } catch (error) {
      return complain([`${log}: cannot read the log: ${whyUnreadable(error)}`], 2);
    }
  }
  if (lines.broken > 0) process.stderr.write(`sekisho: ${lines.broken} lines are broken and left out\n`);
  const { result } = run;
  print(options.json === true ? JSON.stringify(result, null, 2) : text(result));
  if (result.total === 0)
    return complain(['no decisions in the log: it must be the JSON log of sekisho serve'], 2);
  if (result.cannot.count === result.total) return complain(['nothing could be compared'], 2);
  process.exitCode = result.changed > 0 ? 1 : 0;
};
