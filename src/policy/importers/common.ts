/** What the readers of list files have in common. Each knows the meaning that one owner gives its lines. */
import { type Cidr, parseCidr } from '../../base/ip.js';
import type { Result } from '../../base/result.js';
import { type DomainEntry, parseDomainEntry } from '../domain-set.js';
import { printable } from '../errors.js';

/** What a list holds. */
export interface EntryTypes {
  readonly networks: Cidr;
  readonly domains: DomainEntry;
}
export type ListKind = keyof EntryTypes;

/** One fault in a list file; line and column from 1. */
export interface LineFault {
  readonly line: number;
  readonly column: number;
  readonly message: string;
}

export interface FileList<K extends ListKind> {
  readonly entries: readonly EntryTypes[K][];
  readonly faults: readonly LineFault[];
}

/** Reads one entry; `undefined` passes it over as no business of this kind of list. */
export type ReadEntry<K extends ListKind> = (text: string) => Result<EntryTypes[K], string> | undefined;

/** The reader for entries as Sekisho's own policies write them. */
export const ownEntry = <K extends ListKind>(kind: K): ((text: string) => Result<EntryTypes[K], string>) =>
  (kind === 'networks' ? parseCidr : parseDomainEntry) as (text: string) => Result<EntryTypes[K], string>;

export interface Field {
  readonly text: string;
  readonly line: number;
  readonly column: number;
}

/** The lines that say something: comments and blanks gone, without a byte order mark. */
export function* contentLines(text: string): Generator<Field> {
  let number = 0;
  for (const raw of (text.startsWith('\ufeff') ? text.slice(1) : text).split('\n')) {
    number++;
    const hash = raw.indexOf('#');
    const line = hash < 0 ? raw : raw.slice(0, hash);
    const content = line.trim();
    if (content !== '')
      yield { text: content, line: number, column: line.length - line.trimStart().length + 1 };
  }
}

/** Reads every field with `read`, keeping the entries and the faults apart. */
export const collect = <K extends ListKind>(fields: Iterable<Field>, read: ReadEntry<K>): FileList<K> => {
  const entries: EntryTypes[K][] = [];
  const faults: LineFault[] = [];
  for (const { text, line, column } of fields) {
    const result = read(text);
    if (result === undefined) continue;
    if (result.ok) entries.push(result.value);
    else faults.push({ line, column, message: `"${printable(text)}": ${result.error}` });
  }
  return { entries, faults };
};
