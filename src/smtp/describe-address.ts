/** What Sekisho makes of an address, laid open for people: `sekisho address`. */
import { type PathFault, parsePath, pathText, printPath } from './address.js';
import { type Hazard, hazard } from './hazard.js';
import type { Path, Reading } from './path.js';
import { readings } from './routes.js';

export type AddressDescription =
  /** Not an address under the strict grammar: it never reaches the MTA. */
  | { readonly outcome: 'fault'; readonly fault: PathFault }
  | {
      /** `hazard`: well formed, and refused whoever the client is. */
      readonly outcome: 'hazard' | 'address';
      readonly path: Path;
      /** As the upstream would hear it, with angle brackets. */
      readonly canonical: string;
      /** As logs and policies have it, without brackets, domains as A-labels. */
      readonly text: string;
      readonly hazard: Hazard | undefined;
      readonly readings: readonly Reading[];
      /** True if MAIL FROM would be refused for having more readings than one. */
      readonly routedSender: boolean;
    };

/** Describes an address as a person types it: Unicode text, with or without angle brackets. */
export const describeAddress = (text: string): AddressDescription => {
  const bare = text.trim();
  const bracketed = bare.startsWith('<') ? bare : `<${bare}>`;
  const wire = Buffer.from(bracketed, 'utf8').toString('latin1');
  const parsed = parsePath(wire, { utf8: true, nullAllowed: true });
  if (!parsed.ok) return { outcome: 'fault', fault: parsed.error };
  const path = parsed.value;
  const danger = hazard(path);
  const sender = path.kind === 'routed' ? path.final : path;
  return {
    outcome: danger === undefined ? 'address' : 'hazard',
    path,
    canonical: printPath(path),
    text: pathText(path),
    hazard: danger,
    readings: path.kind === 'null' ? [] : readings(path),
    routedSender: sender.kind !== 'null' && readings(sender).length > 1,
  };
};
