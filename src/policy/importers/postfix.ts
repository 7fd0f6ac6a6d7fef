/**
 * `{ postfix: … }`: a file that a Postfix list parameter names by path (mydestination, relay_domains,
 * mynetworks): entries between blanks or commas, `#` begins a comment at the start of a line.
 *
 * `example.com` is itself alone, `.example.com` is all below but not itself. That is what Postfix does
 * where parent_domain_matches_subdomains does not name the parameter; where it does, write the domains
 * with a leading dot too. Negation (`!`), nested files and `type:table` are refused, not guessed at.
 */
import { parseCidr } from '../../base/ip.js';
import { err, ok, type Result } from '../../base/result.js';
import { normalDomain, parseDomainEntry } from '../domain-set.js';
import {
  collect,
  contentLines,
  type EntryTypes,
  type Field,
  type FileList,
  type ListKind,
} from './common.js';

function* words(text: string): Generator<Field> {
  for (const { text: content, line, column } of contentLines(text)) {
    for (const match of content.matchAll(/[^\s,]+/g))
      yield { text: match[0], line, column: column + match.index };
  }
}

const refused = (text: string): string | undefined => {
  if (text.startsWith('!')) return 'a negation, which is not read from Postfix lists: write a rule for it';
  if (text.startsWith('/')) return 'a nested file: name it in the policy itself';
  return /^[a-z]+:/i.test(text) && !text.includes('::')
    ? 'a lookup table: name a plain list file instead'
    : undefined;
};

/** mynetworks puts IPv6 in brackets: `[2001:db8::]/32`. */
const readNetwork = (text: string): Result<EntryTypes['networks'], string> => {
  const why = refused(text);
  return why === undefined ? parseCidr(text.replace(/^\[([^\]]*)\]/, '$1')) : err(why);
};

const readDomain = (text: string): Result<EntryTypes['domains'], string> => {
  const why = refused(text);
  if (why !== undefined) return err(why);
  if (!text.startsWith('.')) return parseDomainEntry(text);
  const domain = normalDomain(text.slice(1));
  return domain === undefined
    ? err('not a domain')
    : ok({ kind: 'domain', domain, itself: false, below: true });
};

export const readPostfixList = <K extends ListKind>(kind: K, text: string): FileList<K> =>
  collect(
    words(text),
    (kind === 'networks' ? readNetwork : readDomain) as (text: string) => Result<EntryTypes[K], string>,
  );
