/** `{ file: … }`: one entry a line as Sekisho's own policies write it, `#` begins a comment. */
import { collect, contentLines, type FileList, type ListKind, ownEntry } from './common.js';

export const readPlainList = <K extends ListKind>(kind: K, text: string): FileList<K> =>
  collect(contentLines(text), ownEntry(kind));
