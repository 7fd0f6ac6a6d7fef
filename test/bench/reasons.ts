/** Why rows of the bar are not met: the texts of reasons.md. */
import { readFileSync } from 'node:fs';
import path from 'node:path';

/** By row. */
export type Reasons = ReadonlyMap<string, string>;

export const reasonsIn = (markdown: string): Reasons =>
  new Map(
    markdown
      .split(/^## /m)
      .slice(1)
      .flatMap((part) => {
        const [rows = '', ...text] = part.split('\n');
        return rows.split(';').map((row): [string, string] => [row.trim(), text.join('\n').trim()]);
      }),
  );

export const REASONS = reasonsIn(
  readFileSync(path.join(import.meta.dirname ?? 'test/bench', 'reasons.md'), 'utf8'),
);
