/** Reads the smuggling corpus: C escapes, `{{X*N}}` repeats, `{{pause ms}}`, `{{TLS}}`; `|` parts lock-step writes. */
import cases from '../corpus/smuggling-cases.json' with { type: 'json' };

export type SmugglingCase = (typeof cases)[number];

export const smugglingCases: readonly SmugglingCase[] = cases;

/** One thing to do: send octets (Latin-1), wait ms, or begin TLS. */
export type Move = { readonly send: string } | { readonly pause: number } | 'tls';

const ESCAPES: Readonly<Record<string, string>> = {
  r: '\r',
  n: '\n',
  t: '\t',
  '0': '\0',
  '\\': '\\',
  '"': '"',
};

const unescapeC = (text: string): string =>
  text.replace(/\\(?:x([0-9a-f]{2})|(.))/gis, (_, hex: string | undefined, char: string) =>
    hex === undefined ? (ESCAPES[char] ?? char) : String.fromCharCode(Number.parseInt(hex, 16)),
  );

/** The moves that a text of the corpus stands for. Unknown marks are an error, so that no case is read wrongly. */
export const movesOf = (text: string): Move[] =>
  text.split(/(\{\{.*?\}\})/s).flatMap((part): Move[] => {
    if (part === '') return [];
    const mark = /^\{\{(.*)\}\}$/s.exec(part)?.[1];
    if (mark === undefined) return [{ send: unescapeC(part) }];
    const repeat = /^(.*)\*(\d+)$/s.exec(mark);
    if (repeat !== null) return [{ send: unescapeC(repeat[1] ?? '').repeat(Number(repeat[2])) }];
    const pause = /^pause (\d+)$/.exec(mark);
    if (pause !== null) return [{ pause: Number(pause[1]) }];
    if (mark.startsWith('TLS')) return ['tls'];
    throw new Error(`unknown mark in the corpus: ${part}`);
  });

/** Joins what is sent without a pause into one write. */
export const joined = (moves: readonly Move[]): Move[] => {
  const out: Move[] = [];
  for (const move of moves) {
    const last = out.at(-1);
    if (typeof move === 'object' && 'send' in move && typeof last === 'object' && 'send' in last) {
      out[out.length - 1] = { send: last.send + move.send };
    } else out.push(move);
  }
  return out;
};
