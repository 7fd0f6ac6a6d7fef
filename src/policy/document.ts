/** From YAML text to plain values, with the line and column of every part. */
import {
  type Document,
  isAlias,
  isMap,
  isPair,
  isScalar,
  isSeq,
  LineCounter,
  type Node,
  parseDocument,
  visit,
} from 'yaml';
import type { KeyPath } from './errors.js';

/** Where something stands, both from 1. */
export interface Place {
  readonly line: number;
  readonly column: number;
}

export interface SyntaxFault extends Place {
  readonly message: string;
  readonly remedy: string;
}

export interface PolicyDocument {
  readonly root: unknown;
  readonly faults: readonly SyntaxFault[];
  /** The place of a value, or of its key with `onKey`; of the nearest parent where the path leads nowhere. */
  placeOf(path: KeyPath, onKey?: boolean): Place;
}

const REMEDIES: Readonly<Record<string, string>> = {
  DUPLICATE_KEY: 'Remove one, or join the two',
  TAB_AS_INDENT: 'Indent with spaces',
  BAD_INDENT: 'Entries of one list or map begin in the same column',
  MULTIPLE_DOCS: 'A policy is one document: remove the line ---',
};

/** The first line of the parser's message, without its own idea of the place. */
const plainMessage = (message: string): string => {
  const line = message.split('\n')[0]!.replace(/ at line \d+, column \d+:?$/, '');
  return line.charAt(0).toLowerCase() + line.slice(1);
};

const stringOf = (node: unknown): string => (isScalar(node) ? String(node.value) : '');

/** The start offsets of the key and of the value that one step leads to. */
const step = (node: unknown, key: string | number): { key: unknown; value: unknown } | undefined => {
  if (isSeq(node) && typeof key === 'number') return { key: undefined, value: node.items[key] };
  if (!isMap(node)) return undefined;
  const pair = node.items.find((item) => isPair(item) && stringOf(item.key) === String(key));
  return pair === undefined ? undefined : { key: pair.key, value: pair.value };
};

const startOf = (node: unknown): number | undefined => (node as Node | null | undefined)?.range?.[0];

const offsetOf = (doc: Document, path: KeyPath, onKey: boolean): number => {
  let node: unknown = doc.contents;
  let offset = startOf(node) ?? 0;
  for (const [i, key] of path.entries()) {
    const target = isAlias(node) ? node.resolve(doc) : node;
    const found = step(target, key);
    if (found === undefined) return offset;
    const last = i === path.length - 1;
    offset =
      (last && onKey ? startOf(found.key) : undefined) ??
      startOf(found.value) ??
      startOf(found.key) ??
      offset;
    node = found.value;
  }
  return offset;
};

/** The offset of an alias without an anchor, 0 if there is none. */
const danglingAlias = (doc: Document): number => {
  let offset = 0;
  visit(doc, {
    Alias: (_, node) => {
      if (node.resolve(doc) !== undefined) return undefined;
      offset = startOf(node) ?? 0;
      return visit.BREAK;
    },
  });
  return offset;
};

export const readDocument = (text: string): PolicyDocument => {
  const lines = new LineCounter();
  const doc = parseDocument(text, { lineCounter: lines, prettyErrors: false, version: '1.2' });
  const placeAt = (offset: number): Place => {
    const { line, col } = lines.linePos(offset);
    return { line: Math.max(1, line), column: Math.max(1, col) };
  };
  const faults = [...doc.errors, ...doc.warnings].map((fault) => ({
    ...placeAt(fault.pos[0]),
    message: plainMessage(fault.message),
    remedy: REMEDIES[fault.code] === undefined ? '' : `${REMEDIES[fault.code]}.`,
  }));
  let root: unknown;
  // toJS resolves aliases, and throws on a bomb of them (maxAliasCount) or one that points nowhere.
  try {
    if (doc.errors.length === 0) root = doc.toJS({ maxAliasCount: 100 });
  } catch (error) {
    faults.push({
      ...placeAt(danglingAlias(doc)),
      message: plainMessage(String((error as Error).message)),
      remedy: '',
    });
  }
  return { root, faults, placeOf: (path, onKey = false) => placeAt(offsetOf(doc, path, onKey)) };
};
