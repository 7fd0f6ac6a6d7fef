/** What is known to be open in a mail server that says it is this or that, and what Sekisho does about it. */
import { HOLES, type Hole, versionsOf } from './holes.js';
import { type EnginePatchId, type PatchId, SHIELD_PATCHES } from './patches.js';
import { type PresetName, presetFor, presetMode } from './presets.js';
import { compareVersions, type Product } from './product.js';

export interface OpenHole {
  readonly id: string;
  readonly cve: readonly string[];
  readonly what: string;
  readonly versions: string;
  /** Patches that are on for this server. */
  readonly closedBy: readonly (PatchId | EnginePatchId)[];
  /** Something has to be done for it to be closed, or it cannot be. */
  readonly remark?: string;
}

export interface Advice {
  readonly product: Product;
  readonly preset: PresetName;
  /** Of this version, by its number. */
  readonly holes: readonly OpenHole[];
  /** The first version in which no hole of the table is open. */
  readonly upgradeTo: string | undefined;
  readonly remarks: readonly string[];
}

const affects = ({ affected }: Hole, version: string): boolean =>
  affected.some(
    ({ from, before }) =>
      (from === undefined || compareVersions(version, from) >= 0) &&
      (before === undefined || compareVersions(version, before) < 0),
  );

const isShield = (id: PatchId | EnginePatchId): id is PatchId => id in SHIELD_PATCHES;

const open = (hole: Hole, preset: PresetName): OpenHole => {
  const closedBy = hole.closedBy.filter((id) => !isShield(id) || presetMode(preset)(id) === 'reject');
  const remark =
    hole.why ??
    (hole.closedBy.includes('spool')
      ? 'only on listeners with data: spool'
      : closedBy.length === 0
        ? `not by default: set ${hole.closedBy.map((id) => `patches: { ${id}: reject }`).join(' or ')}`
        : undefined);
  const { id, cve, what } = hole;
  return {
    id,
    cve,
    what,
    versions: versionsOf(hole),
    closedBy,
    ...(remark === undefined ? {} : { remark }),
  };
};

/** The greatest version in which something was mended. */
const lastFix = (holes: readonly Hole[]): string | undefined =>
  holes
    .flatMap(({ affected }) => affected.flatMap(({ before }) => before ?? []))
    .reduce<string | undefined>(
      (best, each) => (best === undefined || compareVersions(each, best) > 0 ? each : best),
      undefined,
    );

const remarksOf = ({ name, version, configuration, vendor }: Product): string[] => {
  const out: string[] = [];
  if (name === undefined)
    out.push(
      'The greeting does not say what it is. Set shield: on the upstream if you know; strict is taken.',
    );
  else if (version === undefined)
    out.push('The greeting does not say which version it is: what is listed may be mended.');
  if (vendor !== undefined)
    out.push(`Built by a vendor (${vendor}), who may have mended holes under this number: ask the vendor.`);
  if (configuration !== undefined && version !== undefined && compareVersions(configuration, version) < 0)
    out.push(
      `Its configuration is older than the program (${configuration}): it keeps the rules of that time.`,
    );
  if (configuration !== undefined && compareVersions(configuration, '8.9') < 0)
    out.push(
      'A configuration from before 8.9 relays for anyone, whatever the program: never let it be reached around Sekisho.',
    );
  if (name === 'Exchange')
    out.push('The number is that of Windows or of Exchange, and does not tell which updates were installed.');
  return out;
};

export const advise = (product: Product): Advice => {
  const { name, version } = product;
  const preset = presetFor(product);
  const known = HOLES.filter((hole) => hole.product === name);
  const holes = known
    .filter((hole) => hole.affected.length > 0 && (version === undefined || affects(hole, version)))
    .map((hole) => open(hole, preset));
  const fix = lastFix(known);
  const behind = fix !== undefined && (version === undefined || compareVersions(version, fix) < 0);
  return { product, preset, holes, upgradeTo: behind ? fix : undefined, remarks: remarksOf(product) };
};
