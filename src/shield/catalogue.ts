/** Patches and holes together, for people and programs. */
import { HOLES, versionsOf } from './holes.js';
import { ENGINE_PATCHES, type EnginePatchId, type Mode, type PatchId, SHIELD_PATCHES } from './patches.js';
import { PRESET_NAMES, type PresetName, presetMode } from './presets.js';

export interface CatalogueEntry {
  readonly patch: PatchId | EnginePatchId;
  /** `engine`: part of how Sekisho speaks SMTP, without a mode. */
  readonly kind: 'shield' | 'engine';
  readonly looksAt: string;
  readonly limit: string;
  readonly reply: string;
  readonly metric: string;
  /** Cases of the corpus in test/corpus, or files of tests. */
  readonly proof: readonly string[];
  readonly guards: readonly {
    readonly hole: string;
    readonly cve: readonly string[];
    readonly product: string;
    readonly versions: string;
  }[];
  readonly modes?: Readonly<Record<PresetName, Mode>>;
}

const guardsOf = (patch: PatchId | EnginePatchId): CatalogueEntry['guards'] =>
  HOLES.filter(({ closedBy }) => closedBy.includes(patch)).map((hole) => ({
    hole: hole.id,
    cve: hole.cve,
    product: hole.product,
    versions: versionsOf(hole),
  }));

const modesOf = (id: PatchId): Readonly<Record<PresetName, Mode>> =>
  Object.fromEntries(PRESET_NAMES.map((name) => [name, presetMode(name)(id)])) as Record<PresetName, Mode>;

const entries = <Id extends PatchId | EnginePatchId>(
  table: Readonly<Record<Id, Pick<CatalogueEntry, 'looksAt' | 'limit' | 'reply' | 'metric' | 'proof'>>>,
): [Id, Pick<CatalogueEntry, 'looksAt' | 'limit' | 'reply' | 'metric' | 'proof'>][] =>
  Object.entries(table) as [Id, Pick<CatalogueEntry, 'looksAt' | 'limit' | 'reply' | 'metric' | 'proof'>][];

export const catalogue = (): readonly CatalogueEntry[] => [
  ...entries<PatchId>(SHIELD_PATCHES).map(([patch, { looksAt, limit, reply, metric, proof }]) => ({
    patch,
    kind: 'shield' as const,
    looksAt,
    limit,
    reply,
    metric,
    proof,
    guards: guardsOf(patch),
    modes: modesOf(patch),
  })),
  ...entries<EnginePatchId>(ENGINE_PATCHES).map(([patch, row]) => ({
    patch,
    kind: 'engine' as const,
    ...row,
    guards: guardsOf(patch),
  })),
];
