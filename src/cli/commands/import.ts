/** `sekisho import`: the files of an old server become a policy, with what was left out and what changes. */
import { existsSync, readFileSync, statSync, writeFileSync } from 'node:fs';
import { whyUnreadable } from '../../app/read-file.js';
import { LogDecisions, readDecisions } from '../../app/recorded.js';
import { err } from '../../base/result.js';
import { runTests } from '../../policy/check.js';
import { loadPolicy, type Policy, renderError } from '../../policy/compile.js';
import { siteFromExim } from '../../policy/importers/from-exim.js';
import { siteFromPostfix } from '../../policy/importers/from-postfix.js';
import { siteFromQmail } from '../../policy/importers/from-qmail.js';
import { siteFromSendmail } from '../../policy/importers/from-sendmail.js';
import { oldServer } from '../../policy/importers/old-answer.js';
import { sampleOf, withOldAnswer } from '../../policy/importers/sample.js';
import type { ReadText, Site } from '../../policy/importers/site.js';
import { writePolicy } from '../../policy/importers/write-policy.js';
import { Replay, type ReplayResult } from '../../policy/replay.js';
import { complain, print } from '../output.js';
import { groupLines } from './replay.js';

const IMPORTERS: Readonly<Record<string, (folder: string, read: ReadText) => Site>> = {
  sendmail: siteFromSendmail,
  postfix: siteFromPostfix,
  qmail: siteFromQmail,
  exim: siteFromExim,
};

interface Options {
  readonly output?: string;
  readonly diff?: boolean;
  readonly log?: string;
  readonly json?: boolean;
}

/** Files of old servers are in whatever character set there was; what matters in them is ASCII. */
const reader =
  (unreadable: string[]): ReadText =>
  (file) => {
    try {
      return readFileSync(file, 'latin1').replace(/\r\n?/g, '\n');
    } catch (error) {
      const code = (error as NodeJS.ErrnoException).code;
      if (code !== 'ENOENT' && code !== 'ENOTDIR') unreadable.push(`${file}: ${whyUnreadable(error)}`);
      return undefined;
    }
  };

const compiled = (text: string): { policy: Policy } | { faults: readonly string[] } => {
  const policy = loadPolicy('policy', text, () => err('an imported policy names no files'));
  if (!policy.ok) return { faults: policy.error.map(renderError) };
  const failed = runTests(policy.value).filter((test) => !test.ok);
  if (failed.length === 0) return { policy: policy.value };
  return { faults: failed.map(({ name, why }) => `test "${name}" failed: ${why}`) };
};

const compare = async (site: Site, policy: Policy, log: string | undefined): Promise<Replay> => {
  const replay = new Replay(policy, { examples: 3 });
  const server = oldServer(site);
  if (log === undefined) for (const decision of sampleOf(site)) replay.add(decision);
  else
    for await (const decision of readDecisions(log, new LogDecisions()))
      replay.add(withOldAnswer(server, decision));
  return replay;
};

const report = (site: Site, notes: readonly string[]): string[] => [
  `Read: ${site.files.join(', ')}`,
  ...(notes.length === 0
    ? ['Everything in them has its part in the policy.']
    : ['Not in the policy, or not as it was:', ...notes.map((note) => `  ${note}`)]),
];

const differences = ({ total, changed, cannot, changes }: ReplayResult): string[] => [
  `${total} answers compared: ${changed} change, ${total - changed - cannot.count} stay, ${cannot.count} cannot be told`,
  ...changes.flatMap(groupLines),
];

/** Exit code 0: done. 1: with --diff, some answers change. 2: nothing to read, or a policy that does not hold. */
export const importCommand = async (system: string, folder: string, options: Options): Promise<void> => {
  const importer = IMPORTERS[system];
  if (importer === undefined)
    return complain([`import ${system}: must be one of ${Object.keys(IMPORTERS).join(', ')}`], 2);
  // `postconf -n` may have been saved to a file of any name.
  const isFile = statSync(folder, { throwIfNoEntry: false })?.isFile() === true;
  const unreadable: string[] = [];
  const read = reader(unreadable);
  const site = isFile
    ? importer('.', (path) => (path === './main.cf' ? read(folder) : read(path)))
    : importer(folder, read);
  if (unreadable.length > 0) return complain(unreadable, 2);
  if (site.files.length === 0) return complain([`${folder}: no files of ${site.system} are there`], 2);
  const { text, notes } = writePolicy(site);
  const result = compiled(text);
  if ('faults' in result) {
    process.stderr.write(`${text}\n`);
    return complain(['the policy made of these files does not hold:', ...result.faults], 2);
  }
  if (options.diff === true) {
    let replay: Replay;
    try {
      replay = await compare(site, result.policy, options.log);
    } catch (error) {
      return complain([`--log ${options.log}: cannot read the log: ${whyUnreadable(error)}`], 2);
    }
    print(
      options.json === true
        ? JSON.stringify({ notes, ...replay.result }, null, 2)
        : [...report(site, notes), '', ...differences(replay.result)].join('\n'),
    );
    process.exitCode = replay.result.changed > 0 ? 1 : 0;
    return;
  }
  if (options.output === undefined) print(text);
  else if (existsSync(options.output)) return complain([`--output ${options.output}: is there already`], 2);
  else writeFileSync(options.output, text, { flag: 'wx' });
  for (const line of report(site, notes)) process.stderr.write(`${line}\n`);
};
