/** Changes to the text of a file of users: what is not changed stays as it is, comments and foreign lines included. */
import { err, ok, type Result } from '../base/result.js';
import { canonicalUser, extraText, type Line, splitLine } from '../identity/stores/passwd-lines.js';

export interface UserChange {
  readonly name: string;
  /** Password fields, one a line. */
  readonly fields: readonly string[];
  /** Undefined: none for a new user, those of before for one who is known. */
  readonly senders: readonly string[] | undefined;
  /** A user who is known gets these fields instead of his own. */
  readonly replace: boolean;
  /** What a bare name belongs to. */
  readonly domain: string | undefined;
}

interface Place {
  readonly index: number;
  readonly line: Line;
}

const placesOf = (lines: readonly string[], name: string, domain: string | undefined): Place[] =>
  lines.flatMap((text, index) => {
    const line = splitLine(text);
    const same = line !== undefined && canonicalUser(line.user, domain) === canonicalUser(name, domain);
    return same ? [{ index, line }] : [];
  });

/** All extra fields of a user's lines, each once; `senders=` anew where that is asked for. */
const extrasOf = (places: readonly Place[], senders: UserChange['senders']): string[] => {
  const found = places.flatMap(({ line }) => extraText(line).split(/[ \t]+/)).filter((each) => each !== '');
  if (senders === undefined) return [...new Set(found)];
  const others = found.filter((each) => !/^senders(?:=|$)/.test(each));
  return [...new Set(others), `senders=${senders.join(',')}`];
};

/** The line without what it need not have: uid to shell as they were, then the extra fields. */
const lineOf = (user: string, field: string, before: Line | undefined, extras: readonly string[]): string => {
  const middle = (before?.rest ?? '').split(':').slice(0, 5);
  if (extras.length === 0) return [user, field, ...middle].join(':').replace(/:+$/, '');
  return [user, field, ...Array.from({ length: 5 }, (_, i) => middle[i] ?? ''), extras.join(' ')].join(':');
};

/** Where lines end in CRLF, new ones do. */
const endOf = (lines: readonly string[]): '' | '\r' => (lines[0]?.endsWith('\r') ? '\r' : '');

/** `exists`: the user is known and is not to be replaced. */
export const withUser = (text: string, change: UserChange): Result<string, 'exists'> => {
  const lines = text.split('\n');
  const places = placesOf(lines, change.name, change.domain);
  const first = places[0];
  if (first !== undefined && !change.replace) return err('exists');
  const extras = extrasOf(places, change.senders);
  const end = endOf(lines);
  const added = change.fields.map(
    (field, i) => lineOf(first?.line.user ?? change.name, field, first?.line, i === 0 ? extras : []) + end,
  );
  if (first === undefined) {
    const whole = text === '' || text.endsWith('\n') ? text : `${text}${text.endsWith('\r') ? '' : end}\n`;
    return ok(`${whole}${added.join('\n')}\n`);
  }
  const gone = new Set(places.map(({ index }) => index));
  const changed = lines.flatMap((line, index) =>
    index === first.index ? added : gone.has(index) ? [] : [line],
  );
  const changedText = changed.join('\n');
  return ok(changedText.endsWith('\n') ? changedText : `${changedText}\n`);
};

/** `unknown`: there is no such user. */
export const withoutUser = (
  text: string,
  name: string,
  domain: string | undefined,
): Result<string, 'unknown'> => {
  const lines = text.split('\n');
  const gone = new Set(placesOf(lines, name, domain).map(({ index }) => index));
  if (gone.size === 0) return err('unknown');
  return ok(lines.filter((_, index) => !gone.has(index)).join('\n'));
};
