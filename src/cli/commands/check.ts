import { loadSetup } from '../../app/config.js';
import { policyFile, readTextFile } from '../../app/policy-file.js';
import { complain, print } from '../output.js';

const checkPolicy = (path: string): void => {
  const policy = policyFile(path, readTextFile);
  if (!policy.ok) return complain(policy.error.lines, policy.error.testsOnly ? 1 : 2);
  const { rules, tests } = policy.value;
  const hint = tests.length === 0 ? '. Write some: they are run before each reload' : '';
  print(`${path}: ${rules.length} rules, ${tests.length} tests, 0 failed${hint}`);
};

/** A policy, or a configuration with its policy; tests that fail are exit code 1, faults 2. */
export const check = ({ config, policy }: { config?: string; policy?: string }): void => {
  if (config === undefined && policy === undefined) {
    return complain(['check: name a file, --policy FILE or --config FILE'], 2);
  }
  if (config !== undefined) {
    const setup = loadSetup({ config, policy });
    if (!setup.ok) return complain(setup.error.lines, setup.error.testsOnly ? 1 : 2);
    const { listeners, upstreams } = setup.value.proxy;
    print(`${config}: ${listeners.length} listeners, ${upstreams.length} upstreams`);
  }
  if (policy !== undefined) checkPolicy(policy);
};
