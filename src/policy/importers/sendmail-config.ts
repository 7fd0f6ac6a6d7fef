/** What sendmail.mc and sendmail.cf reveal: the classes w and R, the files they read, and the features that relay. */
import type { Origin } from './site.js';

export interface SendmailConfig {
  /** Feature names, such as `promiscuous_relay`, each where it stands. */
  readonly features: ReadonlyMap<string, Origin>;
  /** Names put into class w and R by the configuration itself. */
  readonly w: readonly { readonly word: string; readonly origin: Origin }[];
  readonly r: readonly { readonly word: string; readonly origin: Origin }[];
  /** Files that fill the classes, if the configuration names them. */
  readonly wFiles: readonly string[];
  readonly rFiles: readonly string[];
  readonly smartHost: Origin | undefined;
}

const words = (text: string): string[] =>
  text.split(/[\s,]+/).filter((word) => word !== '' && !word.startsWith('$'));

interface Building {
  readonly features: Map<string, Origin>;
  readonly w: { word: string; origin: Origin }[];
  readonly r: { word: string; origin: Origin }[];
  readonly wFiles: string[];
  readonly rFiles: string[];
  smartHost: Origin | undefined;
}

/** An m4 line: `FEATURE(`name')`, `LOCAL_DOMAIN(`…')`, `RELAY_DOMAIN(`…')`, `define(`SMART_HOST', …)`; dnl ends a line. */
const mcLine = (line: string, origin: Origin, found: Building): void => {
  const text = line.replace(/\bdnl\b.*$/, '');
  for (const [, name = ''] of text.matchAll(/FEATURE\(\s*`?([a-z_A-Z]+)/g)) found.features.set(name, origin);
  for (const [, list = ''] of text.matchAll(/LOCAL_DOMAIN\(\s*`([^']*)'/g))
    for (const word of words(list)) found.w.push({ word, origin });
  for (const [, list = ''] of text.matchAll(/RELAY_DOMAIN\(\s*`([^']*)'/g))
    for (const word of words(list)) found.r.push({ word, origin });
  for (const [, file = ''] of text.matchAll(/RELAY_DOMAIN_FILE\(\s*`([^']*)'/g)) found.rFiles.push(file);
  if (/define\(\s*`SMART_HOST'/.test(text)) found.smartHost = origin;
};

/** A line of the generated file: `Cw…`, `Fw…`, `CR…`, `FR…`, `DS…`, and the marks that features leave in comments. */
const cfLine = (line: string, origin: Origin, found: Building): void => {
  const feature =
    /^#####\s+\$Id:\s+([a-zA-Z_]+)\.m4,v/.exec(line)?.[1] ??
    /^#####.*\bcf\/feature\/([a-zA-Z_]+)\.m4/.exec(line)?.[1];
  if (feature !== undefined && !found.features.has(feature)) found.features.set(feature, origin);
  const list = /^C(\{w\}|\{R\}|w|R)\s*(\S.*)$/.exec(line);
  if (list !== null)
    for (const word of words(list[2] ?? ''))
      ((list[1] ?? '').includes('w') ? found.w : found.r).push({ word, origin });
  const file = /^F(\{w\}|\{R\}|w|R)\s*(?:-o\s+)?(\/[^\s%]+)/.exec(line);
  if (file !== null) ((file[1] ?? '').includes('w') ? found.wFiles : found.rFiles).push(file[2] ?? '');
  if (/^DS\s*\S/.test(line)) found.smartHost = origin;
};

export const readSendmailConfig = (
  files: readonly { readonly file: string; readonly text: string }[],
): SendmailConfig => {
  const found: Building = { features: new Map(), w: [], r: [], wFiles: [], rFiles: [], smartHost: undefined };
  for (const { file, text } of files) {
    const read = file.endsWith('.mc') ? mcLine : cfLine;
    text.split('\n').forEach((line, index) => {
      read(line.replace(/\r$/, ''), { file, line: index + 1, text: line.trim() }, found);
    });
  }
  return found;
};
