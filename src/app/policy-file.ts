/** A policy from its file, and the files it names, with the tests that it bears. */
import { err, type Result } from '../base/result.js';
import { runTests, type TestResult } from '../policy/check.js';
import { loadPolicy, type Policy, renderError } from '../policy/compile.js';
import type { ReadFile } from '../policy/source.js';

export { readTextFile } from './read-file.js';

/** What is wrong, in lines fit for people; each names its place. */
export interface Faults {
  readonly lines: readonly string[];
  /** Everything could be read; only tests in the policy failed. */
  readonly testsOnly: boolean;
}

export const faults = (...lines: readonly string[]): Faults => ({ lines, testsOnly: false });

/** Loads a policy file and runs the tests it bears. */
export const policyFile = (path: string, read: ReadFile): Result<Policy, Faults> => {
  const text = read(path);
  if (!text.ok) return err(faults(`${path}: cannot read the policy: ${text.error}.`));
  const policy = loadPolicy(path, text.value, read);
  if (!policy.ok) return err(faults(...policy.error.map(renderError)));
  const failed = runTests(policy.value).filter((test) => !test.ok);
  if (failed.length === 0) return policy;
  return err({ lines: failed.map((test) => renderFailedTest(path, test)), testsOnly: true });
};

const renderFailedTest = (
  path: string,
  { name, line, column, expected, got, why: reason }: TestResult,
): string => {
  const wanted = expected.rule === undefined ? expected.kind : `${expected.kind} by rule "${expected.rule}"`;
  const was = got.rule === undefined ? got.kind : `${got.kind} by rule "${got.rule}"`;
  return `${path}:${line}:${column}: test "${name}" failed: expected ${wanted}, got ${was} (${reason})`;
};
