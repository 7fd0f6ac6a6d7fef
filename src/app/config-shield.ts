/** The parts of `sekisho.yaml` that are about virtual patches. */
import { tmpdir } from 'node:os';
import { z } from 'zod';
import { DEFAULT_SPOOL, type SpoolOptions } from '../proxy/spool.js';
import { LENIENCY_NAMES, MODES, type Mode, PATCH_IDS, type PatchId } from '../shield/patches.js';
import { PRESET_NAMES } from '../shield/presets.js';
import type { ShieldOverrides } from '../shield/rules.js';
import { octets, oneOf, Size, text } from './config-fields.js';

const patchError = `must be the name of a patch that has a mode: ${PATCH_IDS.join(', ')}`;
const Patches = z.partialRecord(z.enum(PATCH_IDS, { error: patchError }), oneOf(MODES), {
  error: 'must be a map of patches and modes',
});

const lenientError = `must be a list of leniencies: ${LENIENCY_NAMES.join(', ')}`;
const Lenient = z.array(z.enum(LENIENCY_NAMES, { error: lenientError }), { error: lenientError });

/** Of a listener, and of a network of devices. */
export const SHIELD_SHAPE = { patches: Patches.optional(), lenient: Lenient.optional() };

/** Of an upstream. */
export const SHIELD_CHOICES = ['auto', ...PRESET_NAMES] as const;

export interface ShieldInput {
  readonly patches?: Readonly<Partial<Record<PatchId, Mode>>> | undefined;
  readonly lenient?: readonly (typeof LENIENCY_NAMES)[number][] | undefined;
}

/** Nothing where nothing was said. */
export const shieldOverrides = ({ patches, lenient }: ShieldInput): { shield?: ShieldOverrides } =>
  patches === undefined && lenient === undefined
    ? {}
    : { shield: { modes: patches ?? {}, lenient: lenient ?? [] } };

/** Where messages wait on listeners with `data: spool`. */
export const SpoolField = z.strictObject(
  {
    folder: text('the path of a folder').optional(),
    memory: Size.optional(),
    message: Size.optional(),
    total: Size.optional(),
  },
  { error: 'must be a map with folder, memory, message and total' },
);

export const spoolOptions = (
  given: z.infer<typeof SpoolField> = {},
  resolve: (path: string) => string,
): SpoolOptions => {
  const size = (key: 'memory' | 'message' | 'total'): number =>
    octets(String(given[key] ?? DEFAULT_SPOOL[key])) ?? 0;
  return {
    folder: given.folder === undefined ? tmpdir() : resolve(given.folder),
    memory: size('memory'),
    message: size('message'),
    total: size('total'),
  };
};
