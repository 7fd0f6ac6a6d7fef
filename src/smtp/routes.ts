/**
 * Every place to which some MTA might send an address. A relay policy allows an address only when all of
 * these are local, so a reading too many costs a refusal of something odd, and a reading too few is an open
 * relay: in doubt there is one more.
 *
 * MTAs disagree on which of `!`, `%` and `@` binds tighter and on whether quotes protect anything. No order
 * of precedence is followed here: each word beside a routing character, on the side where that character has
 * its host, is a reading. Whatever the order, the next hop is among them.
 */
import { domainText, parseDomainName, parseLiteral } from './domain.js';
import { type Capsule, capsulesOf, isOrdinary, type Separator, type Word, wordsOf } from './local-part.js';
import type { Domain, Path, Reading, ReadingVia } from './path.js';

export { type Hazard, hazard } from './hazard.js';

/** How a separator says that a host stands behind it. */
const HOST_BEHIND: { readonly [S in Separator]?: ReadingVia } = {
  '@': 'quoted',
  at: 'quoted',
  '%': 'percent',
  // `host^user` in some sendmail.cf, `user^host` in others.
  '^': 'bang',
};

/** How a separator says that a host stands before it. */
const HOST_BEFORE: { readonly [S in Separator]?: ReadingVia } = {
  '!': 'bang',
  '^': 'bang',
  '::': 'decnet',
  // `@host:user` in quotes, and Berknet's `host:user`.
  ':': 'source-route',
};

/** A word that is no domain, as one under RFC 2606's `.invalid`: no list, not even `.example.org`, holds it. */
const pseudo = (word: string): string => {
  const safe = word.toLowerCase().replace(/[^a-z0-9._-]/g, '?');
  return `${safe === '' ? 'empty' : safe}.invalid`;
};

/** Networks whose node names are single labels: `uuvictim!x` is not the site's own host `uuvictim`. */
const NETWORKS: { readonly [V in ReadingVia]?: string } = { bang: '.uucp', decnet: '.decnet' };

const readHost = (word: string, via: ReadingVia): Reading => {
  const literal = parseLiteral(word);
  if (literal !== undefined) return { kind: 'literal', ip: literal.ip, via };
  const name = parseDomainName(word)?.ascii;
  if (name === undefined) return { kind: 'domain', domain: pseudo(word), via };
  const network = name.includes('.') ? '' : (NETWORKS[via] ?? '');
  return { kind: 'domain', domain: `${name}${network}`, via };
};

const readWord = ({ text, before, after }: Word): Reading[] => {
  const found: Reading[] = [];
  const behind = before === undefined ? undefined : HOST_BEHIND[before];
  if (behind !== undefined) found.push(readHost(text, behind));
  const ahead = after === undefined ? undefined : HOST_BEFORE[after];
  if (ahead !== undefined) found.push(readHost(text, ahead));
  // Dequoted, a comma makes a list, of which all but the last have no domain.
  if (after === ',') found.push({ kind: 'unqualified' });
  return found;
};

/** X.400 and X.500 systems answer for their address spaces themselves; only SMTP in a capsule has a domain. */
const readCapsule = ({ type, text }: Capsule): Reading[] => {
  const own: Reading = { kind: 'domain', domain: `imcea${type.toLowerCase()}.invalid`, via: 'encapsulated' };
  if (type !== 'SMTP') return [own];
  const inner = wordsOf(text)
    .flatMap(readWord)
    .map((reading): Reading => ('via' in reading ? { ...reading, via: 'encapsulated' } : reading));
  return inner.length === 0 ? [own] : inner;
};

/** RFC 1327 4.1 without the slash in front (with it, it is a hazard): `C=xx/ADMD=…/S=…`. */
const isX400 = (local: string): boolean =>
  /(?:^|\/)(?:C|A|ADMD|P|PRMD)=/i.test(local) && (local.match(/(?:^|\/)[\w.-]+=/g) ?? []).length > 1;

/** Nothing in it can route. */
const PLAIN = /^(?!IMCEA)[a-z0-9.+'_=-]*$/i;

const NOWHERE: readonly Reading[] = [];

const readLocal = (local: string): readonly Reading[] => {
  if (isOrdinary(local)) return NOWHERE;
  const found = PLAIN.test(local) ? [] : wordsOf(local).flatMap(readWord);
  found.push(...capsulesOf(local).flatMap(readCapsule));
  if (isX400(local)) found.push({ kind: 'domain', domain: 'x400.invalid', via: 'encapsulated' });
  return found;
};

const readDomain = (domain: Domain, via?: ReadingVia): Reading =>
  domain.kind === 'literal'
    ? { kind: 'literal', ip: domain.ip, via: via ?? 'literal' }
    : { kind: 'domain', domain: domainText(domain), via: via ?? 'plain' };

const allReadings = (path: Path): Reading[] => {
  switch (path.kind) {
    case 'null':
      // Nobody can be the null recipient; "all readings are local" must not hold for want of any.
      return [{ kind: 'domain', domain: 'null.invalid', via: 'plain' }];
    case 'postmaster':
      return [{ kind: 'postmaster' }];
    case 'unqualified':
      return [{ kind: 'unqualified' }, ...readLocal(path.local)];
    case 'mailbox':
      return [readDomain(path.domain), ...readLocal(path.local)];
    case 'routed':
      // RFC 5321 appendix C ignores the hops; sendmail up to 8.8 sends to the first.
      return [...path.hops.map((hop) => readDomain(hop, 'source-route')), ...allReadings(path.final)];
  }
};

const key = (reading: Reading): string => {
  if (reading.kind === 'domain') return `${reading.via} ${reading.domain}`;
  return reading.kind === 'literal' ? `${reading.via} [${reading.ip}]` : reading.kind;
};

/** Every place the path may lead to: at least one, in the order found, without repeats. */
export const readings = (path: Path): readonly Reading[] => {
  const all = allReadings(path);
  if (all.length === 1) return all;
  return [...new Map(all.map((reading) => [key(reading), reading])).values()];
};
