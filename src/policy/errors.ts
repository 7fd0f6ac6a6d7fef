/** Faults in a policy as values: where, what, and what would be right. */

export interface PolicyError {
  /** The policy, or the list file that the fault is in. */
  readonly file: string;
  /** From 1. */
  readonly line: number;
  /** From 1. */
  readonly column: number;
  /** The place in the policy, such as `rules[2].allow.client`; '' for the file as a whole. */
  readonly key: string;
  /** What is wrong, without a full stop. */
  readonly message: string;
  /** What would be right, a sentence; '' where nothing can be said. */
  readonly remedy: string;
}

/** `policies/x.yaml:12:7: rules[2].allow.cleint: unknown key. Did you mean "client"?` */
export const renderError = ({ file, line, column, key, message, remedy }: PolicyError): string =>
  `${file}:${line}:${column}: ${key === '' ? '' : `${key}: `}${message}${remedy === '' ? '' : `. ${remedy}`}`;

/** Steps from the root of the document: keys and indexes. */
export type KeyPath = readonly (string | number)[];

/** `rules[2].allow.client`. */
export const keyText = (path: KeyPath): string =>
  path.reduce<string>((text, step) => {
    if (typeof step === 'number') return `${text}[${step}]`;
    return text === '' ? step : `${text}.${step}`;
  }, '');

/** Takes one fault; where it stands in the file is worked out from the path. */
export type Report = (path: KeyPath, message: string, remedy?: string) => void;

/** Parts `host bits set: did you mean 192.0.2.0/24?` into the fault and its remedy. */
export const splitRemedy = (fault: string): { readonly message: string; readonly remedy: string } => {
  const at = fault.indexOf(': did you mean ');
  return at < 0
    ? { message: fault, remedy: '' }
    : { message: fault.slice(0, at), remedy: `D${fault.slice(at + 3)}` };
};

/** Levenshtein distance with neighbours swapped counted as one (optimal string alignment). */
const distance = (a: string, b: string): number => {
  let before: number[] = [];
  let above = Array.from({ length: b.length + 1 }, (_, j) => j);
  for (let i = 1; i <= a.length; i++) {
    const row = [i];
    for (let j = 1; j <= b.length; j++) {
      const change = a[i - 1] === b[j - 1] ? 0 : 1;
      let cost = Math.min(above[j]! + 1, row[j - 1]! + 1, above[j - 1]! + change);
      const swapped = i > 1 && j > 1 && a[i - 1] === b[j - 2] && a[i - 2] === b[j - 1];
      if (swapped) cost = Math.min(cost, before[j - 2]! + 1);
      row.push(cost);
    }
    before = above;
    above = row;
  }
  return above[b.length]!;
};

/** The candidate that `word` is most likely a slip of the pen for, if one is near enough. */
export const nearest = (word: string, candidates: Iterable<string>): string | undefined => {
  const typed = word.slice(0, 64).toLowerCase();
  let best: string | undefined;
  let least = Math.max(1, Math.floor(typed.length / 3)) + 1;
  for (const candidate of candidates) {
    const d = distance(typed, candidate.toLowerCase());
    if (d < least) [best, least] = [candidate, d];
  }
  return best;
};

/** `Did you mean "client"?`, or what else can be said. */
export const didYouMean = (word: string, candidates: readonly string[], otherwise = ''): string => {
  const guess = nearest(word, candidates);
  return guess === undefined ? otherwise : `Did you mean "${guess}"?`;
};

/** Text from a file as it may stand in an error. */
export const printable = (text: string): string => {
  const clean = text.replace(/[^\x20-\x7e]/g, '?');
  return clean.length > 80 ? `${clean.slice(0, 77)}...` : clean;
};
