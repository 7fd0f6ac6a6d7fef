import { loadSetup } from '../../app/config.js';
import { compactStore } from '../../app/state.js';
import { complain } from '../output.js';
import { type StateOptions, tell } from '../state.js';

/** Exit code 2: it is no LMDB store, or somebody has it open. */
export const compact = async (options: StateOptions): Promise<void> => {
  const setup = loadSetup({ config: options.config });
  if (!setup.ok) return complain(setup.error.lines, 2);
  const done = await compactStore(setup.value);
  if (!done.ok) return complain([done.error], 2);
  const { before, after } = done.value;
  tell(options, done.value, [`${before} octets before, ${after} now`]);
};
