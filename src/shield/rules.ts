/** What holds for one message: a mode for each patch, and the leniencies. */
import { type Area, type Leniency, type Mode, PATCH_IDS, type PatchId, SHIELD_PATCHES } from './patches.js';

export interface ShieldRules {
  readonly modes: Readonly<Record<PatchId, Mode>>;
  readonly lenient: ReadonlySet<Leniency>;
  /** Octets of a header section, and of what is held back until it has passed. */
  readonly headerBytes: number;
  /** Whether address fields and the body need be looked at, at all. */
  readonly addresses: boolean;
  readonly mime: boolean;
}

/** What a listener or a network of clients says on top of the preset. */
export interface ShieldOverrides {
  readonly modes: Readonly<Partial<Record<PatchId, Mode>>>;
  readonly lenient: readonly Leniency[];
}

/** Later overrides go before earlier ones; leniencies add up. */
export const shieldRules = (
  preset: (id: PatchId) => Mode,
  headerBytes: number,
  overrides: readonly (ShieldOverrides | undefined)[] = [],
): ShieldRules => {
  const modeOf = (id: PatchId): Mode =>
    overrides.reduce<Mode>((mode, each) => each?.modes[id] ?? mode, preset(id));
  const modes = Object.fromEntries(PATCH_IDS.map((id) => [id, modeOf(id)])) as Record<PatchId, Mode>;
  const any = (areas: readonly Area[]): boolean =>
    PATCH_IDS.some((id) => areas.includes(SHIELD_PATCHES[id].area) && modes[id] !== 'off');
  return {
    modes,
    lenient: new Set(overrides.flatMap((each) => each?.lenient ?? [])),
    headerBytes,
    addresses: any(['address']),
    mime: any(['mime', 'tnef']),
  };
};

/** What was found: `what` is for the log and holds no text of the message. */
export interface Finding {
  readonly patch: PatchId;
  readonly what: string;
}

/** Takes a finding; what it does with it is the mode's affair. */
export type Found = (patch: PatchId, what: string) => void;
