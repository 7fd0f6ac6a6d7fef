import { type CatalogueEntry, catalogue } from '../../shield/catalogue.js';
import { LENIENCIES, MODES } from '../../shield/patches.js';
import { PRESET_NAMES, PRESETS } from '../../shield/presets.js';
import { print } from '../output.js';

const guards = ({ guards }: CatalogueEntry): string[] =>
  guards.map(
    ({ hole, cve, product, versions }) =>
      `    ${cve.length === 0 ? hole : cve.join(', ')}: ${product} (${versions})`,
  );

const modes = ({ modes }: CatalogueEntry): string[] => {
  if (modes === undefined) return [];
  return MODES.flatMap((mode) => {
    const presets = PRESET_NAMES.filter((name) => modes[name] === mode);
    return presets.length === 0 ? [] : [`    ${mode}: ${presets.join(', ')}`];
  });
};

const shown = (entry: CatalogueEntry): string[] => [
  `  ${entry.patch}`,
  `    looks at: ${entry.looksAt}`,
  `    limit: ${entry.limit}; reply: ${entry.reply}`,
  `    counted: ${entry.metric}`,
  `    proven by: ${entry.proof.join(', ')}`,
  ...modes(entry),
  ...guards(entry),
];

export const patches = ({ json }: { readonly json?: boolean }): void => {
  const all = catalogue();
  if (json === true) return print(JSON.stringify({ patches: all, leniencies: LENIENCIES }, null, 2));
  const of = (kind: CatalogueEntry['kind']): string[] =>
    all.filter((entry) => entry.kind === kind).flatMap(shown);
  print(
    [
      'On message data, each with a mode (reject, shadow, off) by preset, listener (patches:) and devices (patches:):',
      ...of('shield'),
      '',
      'Part of how Sekisho speaks SMTP, always on:',
      ...of('engine'),
      '',
      'Presets (shield: on an upstream; auto chooses by its greeting):',
      ...Object.entries(PRESETS).map(([name, preset]) => `  ${name}: ${preset.for}`),
      '',
      'Leniencies (lenient: on a listener or a network of devices), all off unless named:',
      ...Object.entries(LENIENCIES).map(([name, what]) => `  ${name}: ${what}`),
    ].join('\n'),
  );
};
