import { readFileSync } from 'node:fs';
import { loadSetup, renderFailedTest } from '../../app/config.js';
import { err, ok } from '../../base/result.js';
import { runTests } from '../../policy/check.js';
import { loadPolicy, renderError } from '../../policy/compile.js';
import type { ReadFile } from '../../policy/source.js';
import { complain, print } from '../output.js';

export const readTextFile: ReadFile = (path) => {
  try {
    return ok(readFileSync(path, 'utf8'));
  } catch (error) {
    return err(
      (error as NodeJS.ErrnoException).code === 'ENOENT' ? 'no such file' : (error as Error).message,
    );
  }
};

const checkPolicy = (path: string): void => {
  const text = readTextFile(path);
  if (!text.ok) return complain([`${path}: cannot read the policy: ${text.error}`], 2);
  const policy = loadPolicy(path, text.value, readTextFile);
  if (!policy.ok) return complain(policy.error.map(renderError), 2);
  const results = runTests(policy.value);
  const failed = results.filter((test) => !test.ok);
  if (failed.length > 0)
    complain(
      failed.map((test) => renderFailedTest(path, test)),
      1,
    );
  const hint = results.length === 0 ? '. Write some: they are run before each reload' : '';
  const { length } = policy.value.rules;
  print(`${path}: ${length} rules, ${results.length} tests, ${failed.length} failed${hint}`);
};

/** A policy, or a configuration with its policy; tests that fail are exit code 1, faults 2. */
export const check = ({ config, policy }: { config?: string; policy?: string }): void => {
  if (config === undefined && policy === undefined) {
    return complain(['check: name a file, --policy FILE or --config FILE'], 2);
  }
  if (config !== undefined) {
    const setup = loadSetup({ config, policy });
    if (!setup.ok)
      return complain(setup.error, setup.error.every((fault) => fault.includes(': test "')) ? 1 : 2);
    const { listeners, upstreams } = setup.value.proxy;
    print(`${config}: ${listeners.length} listeners, ${upstreams.length} upstreams`);
  }
  if (policy !== undefined) checkPolicy(policy);
};
