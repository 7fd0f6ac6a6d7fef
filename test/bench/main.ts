/**
 * `npm run bench`: Sekisho beside its peers, on this machine. Needs root and apt (HAProxy, nginx, Postfix, sendmail and a C
 * compiler are Debian's) and npm (Haraka); nothing of it is installed into the project.
 *
 *   --quick              W1 to W4 and F1 against direct, HAProxy and nginx, short, Sekisho not quite warm: about two minutes
 *   --workload W1,W4     only these, without micro-benchmarks
 *   --subject a,b        only these subjects
 *   --rounds N           interleaved rounds (3)
 *   --seconds N          of each measurement (1.5)
 *   --micro              the micro-benchmarks alone
 *   --windows N          open windows to look up in (1000000); 0: none
 *   --out DIR            where results.json and results.md go
 *   --part               what was measured replaces its part of DIR's results.json, the rest stays
 *   --readme             measures nothing: the README's section is made anew from test/bench/results.json
 */
import { existsSync, mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import os from 'node:os';
import path from 'node:path';
import { parseArgs } from 'node:util';
import { noPackages } from '../support/packages.js';
import { SUBJECTS, type Subject } from './peers/subjects.js';
import { report, withSection } from './render.js';
import { COMMITTED, type Results, ResultsSchema } from './results.js';
import { type Plan, runWorkload } from './rounds.js';
import { WORKLOADS, type Workload } from './workloads.js';

const QUICK = ['W1', 'W2', 'W3', 'W4', 'F1'];
const QUICK_SUBJECTS = ['direct', 'haproxy', 'nginx', 'sekisho'];

const { values: given } = parseArgs({
  options: {
    quick: { type: 'boolean', default: false },
    workload: { type: 'string' },
    subject: { type: 'string' },
    rounds: { type: 'string' },
    seconds: { type: 'string' },
    micro: { type: 'boolean', default: false },
    windows: { type: 'string', default: '1000000' },
    out: { type: 'string' },
    part: { type: 'boolean', default: false },
    readme: { type: 'boolean', default: false },
  },
});

const fail = (text: string, code: number): never => {
  console.error(`bench: ${text}`);
  process.exit(code);
};

const positive = (name: string, text: string | undefined, otherwise: number): number => {
  const value = text === undefined ? otherwise : Number(text);
  return value > 0 ? value : fail(`--${name}: more than 0, not ${text}`, 2);
};

/** What was named, in the order of the table. */
const chosen = <T extends { readonly name: string }>(
  what: string,
  all: readonly T[],
  names: readonly string[],
): T[] => {
  const unknown = names.find((name) => !all.some((each) => each.name === name));
  if (unknown !== undefined)
    fail(`no ${what} ${unknown}; there are ${all.map(({ name }) => name).join(', ')}`, 2);
  return all.filter(({ name }) => names.includes(name));
};

const readResults = (file: string): Results => ResultsSchema.parse(JSON.parse(readFileSync(file, 'utf8')));

const makeSection = (): void => {
  const made = withSection(readFileSync('README.md', 'utf8'), readResults(COMMITTED));
  if (made === undefined) return fail('README.md has no marks for the section', 1);
  writeFileSync('README.md', made);
};

const workloads = (): Workload[] => {
  if (given.micro) return [];
  const usual = given.quick ? QUICK : WORKLOADS.map(({ name }) => name);
  return chosen('workload', WORKLOADS, given.workload?.split(',') ?? usual);
};

/** Of a workload: those that it is made for, unless others were named. */
const subjectsOf = (workload: Workload): Subject[] => {
  const usual = workload.subjects.filter((each) => !given.quick || QUICK_SUBJECTS.includes(each));
  return chosen('subject', SUBJECTS, given.subject?.split(',') ?? usual);
};

const plan: Plan = {
  rounds: positive('rounds', given.rounds, given.quick ? 2 : 3),
  seconds: positive('seconds', given.seconds, given.quick ? 1.2 : 1.5),
  warmUp: given.quick ? 0.75 : 1,
  warmUps: given.quick ? 6 : 12,
};

const run = async (): Promise<Results> => {
  const tell = (text: string): void => console.error(text);
  const results: Results = {
    taken: new Date().toISOString(),
    machine: {
      cpus: os.cpus().length,
      model: os.cpus()[0]?.model.trim() ?? '',
      memory: os.totalmem(),
      kernel: os.release(),
      node: process.version,
    },
    rounds: plan.rounds,
    seconds: plan.seconds,
    workloads: [],
    micro: [],
  };
  for (const workload of workloads())
    results.workloads.push(await runWorkload(workload, subjectsOf(workload), plan, tell));
  const all = !given.quick && given.workload === undefined && given.subject === undefined;
  // It loads what is built, which nothing else needs.
  if (given.micro || all)
    results.micro = (await import('./micro.js')).micro(Number(given.windows), ['memory'], tell);
  return results;
};

/** What was measured anew, and of before what was not. */
const merged = (before: Results, now: Results): Results => ({
  ...now,
  workloads: WORKLOADS.flatMap(({ name }) => {
    const same = (results: Results) => results.workloads.find((each) => each.name === name);
    return same(now) ?? same(before) ?? [];
  }),
  micro: now.micro.length > 0 ? now.micro : before.micro,
});

const write = (dir: string, results: Results): void => {
  const file = path.join(dir, 'results.json');
  const whole = given.part && existsSync(file) ? merged(readResults(file), results) : results;
  mkdirSync(dir, { recursive: true });
  writeFileSync(file, `${JSON.stringify(whole, null, 2)}\n`);
  writeFileSync(path.join(dir, 'results.md'), `${report(whole)}\n`);
};

// What was started is ended at the exit.
for (const signal of ['SIGINT', 'SIGTERM'] as const) process.once(signal, () => process.exit(1));

if (given.readme) makeSection();
else {
  const reason = noPackages();
  if (reason !== undefined) fail(reason, 1);
  const results = await run();
  console.log(report(results));
  if (given.out !== undefined) write(given.out, results);
}
