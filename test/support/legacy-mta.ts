/** The demo's legacy MTA behind a Sekisho that is tested: what it heard is read again at the end of the file. */
import { type LegacyMta, type LegacyOptions, startLegacyMta as start } from '../../src/demo/legacy-mta.js';
import { overhearAll } from './overheard.js';

export type {
  LegacyAction,
  LegacyMessage,
  LegacyMta,
  LegacyOptions,
  LegacyStep,
} from '../../src/demo/legacy-mta.js';

export const startLegacyMta = async (options: LegacyOptions = {}): Promise<LegacyMta> => {
  const mta = await start(options);
  overhearAll(`legacy MTA at ${mta.port}`, () => mta.connections);
  return mta;
};
