/** What is switched on for which kind of mail server. */
import { type Area, type Mode, type PatchId, SHIELD_PATCHES } from './patches.js';
import { compareVersions, type Product } from './product.js';

interface Preset {
  readonly for: string;
  /** Areas that are not named are rejected. */
  readonly areas: Readonly<Partial<Record<Area, Mode>>>;
  readonly patches?: Readonly<Partial<Record<PatchId, Mode>>>;
}

/** A legitimate Outlook sends winmail.dat: it is refused where somebody says so, and nowhere else. */
const TNEF_PASSES = { tnef: 'off' } as const;

export const PRESETS = {
  strict: { for: 'a server of which nothing is known: everything', areas: TNEF_PASSES },
  'sendmail-8.6': {
    for: 'sendmail before 8.9, and what vendors made of it',
    areas: { ...TNEF_PASSES, dkim: 'off' },
  },
  'sendmail-8.12': {
    for: 'sendmail 8.9 to 8.17',
    areas: { ...TNEF_PASSES, dkim: 'off' },
    // Holes of 8.8 alone.
    patches: { 'mime-encoding': 'off' },
  },
  exchange: {
    for: 'Exchange and the SMTP service of Windows',
    areas: { address: 'off', dkim: 'off', tnef: 'shadow' },
    patches: { 'mime-encoding': 'off' },
  },
  qmail: {
    for: 'qmail and netqmail, which read no headers, and the programs behind them',
    areas: { ...TNEF_PASSES, address: 'off', dkim: 'off' },
    patches: { 'mime-encoding': 'off' },
  },
  modern: {
    for: 'servers that are kept up to date',
    areas: { ...TNEF_PASSES, address: 'off', dkim: 'off' },
    patches: { 'mime-encoding': 'off', 'mime-parameters': 'off', 'mime-boundary': 'off' },
  },
} as const satisfies Record<string, Preset>;

export type PresetName = keyof typeof PRESETS;
export const PRESET_NAMES = Object.keys(PRESETS) as readonly PresetName[];

export const presetMode =
  (name: PresetName) =>
  (id: PatchId): Mode => {
    const { areas, patches }: Preset = PRESETS[name];
    return patches?.[id] ?? areas[SHIELD_PATCHES[id].area] ?? 'reject';
  };

/** From which version on a server needs no special care. */
const MODERN: Readonly<Partial<Record<string, string>>> = {
  sendmail: '8.18',
  Exim: '4.94.2',
  OpenSMTPD: '6.6.2',
  Postfix: '2.8.3',
};

/** The preset for a server that says it is this. Whoever hides what it is, gets `strict`. */
export const presetFor = ({ name, version }: Product): PresetName => {
  if (name === undefined || name === 'Lotus Domino') return 'strict';
  if (name === 'qmail') return 'qmail';
  if (name === 'Exchange') return 'exchange';
  if (name === 'Courier') return 'modern';
  // Postfix never says its version unless it is told to, and has had no such holes.
  if (version === undefined) return name === 'Postfix' ? 'modern' : 'strict';
  if (compareVersions(version, MODERN[name] ?? '0') >= 0) return 'modern';
  if (name !== 'sendmail') return 'strict';
  return compareVersions(version, '8.9') < 0 ? 'sendmail-8.6' : 'sendmail-8.12';
};
