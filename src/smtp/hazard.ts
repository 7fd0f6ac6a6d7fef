/**
 * Local parts that never go upstream, whoever the client is: some old MTA, or a filter or delivery program
 * behind it, takes them for a program, a file, an option or a piece of shell.
 */
import { hasControl } from './atext.js';
import { capsulesOf, isOrdinary, wordsOf } from './local-part.js';
import type { Path } from './path.js';

export type Hazard =
  | 'backslash'
  | 'comment'
  | 'control'
  | 'detail-only'
  | 'empty'
  | 'encoded-word'
  | 'expansion'
  | 'file'
  | 'include'
  | 'macro'
  | 'option'
  | 'pipe'
  | 'program-alias'
  | 'quote'
  | 'shell'
  | 'traversal';

type Check = readonly [Hazard, (text: string) => boolean];

/** Wherever in the local part they stand. Most of these need quotes to be there at all. */
const ANYWHERE: readonly Check[] = [
  ['control', hasControl],
  ['empty', (text) => text.trim() === ''],
  // sendmail's prog mailer, spamassassin-milter (`root+:"|cmd"`), clamav-milter (`x|cmd`).
  ['pipe', (text) => text.includes('|')],
  ['include', (text) => /^ *:|:include:/i.test(text)],
  ['shell', (text) => /[;<>]/.test(text)],
  // Shells, and Exim's ${run{…}} (CVE-2019-10149).
  ['expansion', (text) => /`|\$[({]/.test(text)],
  // sendmail's ruleset metacharacters $+ $* $- $= $~ $& $: $@ $# $? $[ $1 $$ and a macro alone: $j.
  ['macro', (text) => /\$[-+*=~&:@#?\d$[]|^ *\$[a-z] *$/i.test(text)],
  // Dequoted, `a(b)` is `a` and a comment, `dec\ode` is `decode`, and an inner quote hides what follows.
  ['comment', (text) => /[()]/.test(text)],
  ['backslash', (text) => text.includes('\\')],
  ['quote', (text) => text.includes('"')],
  // RFC 2047 does not apply here, but mail libraries have decoded `=?x?q?=40victim.example=3e?=` all the same.
  ['encoded-word', (text) => /=\?[^?]*\?[^?]*\?/.test(text)],
  ['traversal', (text) => /(?:^|\/)\.\.?(?:\/|$)/.test(text)],
];

/** At the start of a word between routing characters: `local!/etc/passwd`, `-froot%local`. */
const AT_WORD: readonly Check[] = [
  ['option', (word) => word.startsWith('-')],
  // A telephone number (RFC 3191, and the senders of MMS gateways) is a name, not a detail without a user.
  ['detail-only', (word) => word.startsWith('+') && !/^\+\d[\d.-]{4,}$/.test(word)],
];

/** At the start of a word between routing characters or spaces (sendmail's option `o`: spaces delimit names). */
const AT_SPACE: readonly Check[] = [
  ['file', (word) => /^~?\//.test(word)],
  // The old /etc/aliases pipes these to uudecode (CVE-1999-0096); `decode+x` finds the same alias.
  ['program-alias', (word) => /^(?:uu)?decode(?:\+.*)?$/i.test(word)],
];

const firstOf = (checks: readonly Check[], text: string): Hazard | undefined =>
  checks.find(([, test]) => test(text))?.[0];

const hazardOfText = (text: string): Hazard | undefined => {
  const found = firstOf(ANYWHERE, text);
  if (found !== undefined) return found;
  for (const word of wordsOf(text)) {
    for (const part of word.text.split(' ')) {
      const hazard = firstOf(AT_SPACE, part);
      if (hazard !== undefined) return hazard;
    }
    const hazard = firstOf(AT_WORD, word.text);
    if (hazard !== undefined) return hazard;
  }
  return undefined;
};

/** What SMTP makes of the local part, inside its capsules too. In those for other systems `/` and `;` are daily bread. */
const textsOf = (local: string): string[] => {
  const capsules = capsulesOf(local).filter(({ type }) => type === 'SMTP');
  return [local, ...capsules.map(({ text }) => text)];
};

/** Why a path is never passed on, or undefined. */
export const hazard = (path: Path): Hazard | undefined => {
  const final = path.kind === 'routed' ? path.final : path;
  if (final.kind === 'null' || final.kind === 'postmaster') return undefined;
  const { local } = final;
  if (isOrdinary(local)) return undefined;
  for (const text of textsOf(local)) {
    const found = hazardOfText(text);
    if (found !== undefined) return found;
  }
  return undefined;
};
