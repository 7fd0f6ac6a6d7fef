import { escapeText } from '../../app/log-classic.js';
import { describeAddress } from '../../smtp/describe-address.js';
import type { Reading } from '../../smtp/path.js';
import { print } from '../output.js';

const readingText = (reading: Reading): string => {
  if (reading.kind === 'domain') return `${reading.domain} (${reading.via})`;
  if (reading.kind === 'literal') return `[${reading.ip}] (${reading.via})`;
  return reading.kind;
};

const describe = (text: string): { text: string; good: boolean } => {
  const found = describeAddress(text);
  const head = escapeText(text);
  if (found.outcome === 'fault') {
    return {
      text: `${head}\n  not an address: ${found.fault}; it never reaches the mail server\n`,
      good: false,
    };
  }
  const lines = [head, `  sent as    ${escapeText(found.canonical)}`];
  if (found.hazard !== undefined) lines.push(`  refused    ${found.hazard}, whoever the client is`);
  for (const reading of found.readings) lines.push(`  may go to  ${escapeText(readingText(reading))}`);
  if (found.readings.length > 1)
    lines.push('  A rule that allows must match every one of these; a rule that denies needs one.');
  if (found.routedSender) lines.push('  As a sender it is refused: it can be read in more ways than one.');
  return { text: `${lines.join('\n')}\n`, good: found.outcome === 'address' };
};

/** Exit code 1 if any of them would never be passed on. */
export const address = (addresses: readonly string[], { json }: { json?: boolean }): void => {
  const found = addresses.map((each) => ({ address: each, ...describeAddress(each) }));
  if (json === true) print(JSON.stringify(found, null, 2));
  else for (const each of addresses) print(describe(each).text);
  if (found.some(({ outcome }) => outcome !== 'address')) process.exitCode = 1;
};
