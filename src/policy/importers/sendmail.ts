/**
 * `{ sendmail: … }`: sendmail's own files, each read as sendmail means it. Which it is follows from the
 * base name:
 *
 * - `local-host-names`, `sendmail.cw` (class w): `example.com` is itself alone.
 * - `relay-domains`, `sendmail.cR` (class R): `example.com` is itself and all below; lines that are
 *   addresses or octet prefixes (`192.168.1`) are networks.
 * - `access` (the source text, not the database): keys tagged `RELAY` only. Untagged and `To:` domains,
 *   with all below, are domains; untagged and `Connect:` addresses and octet prefixes are networks.
 *   Client host names are not read: sendmail believed the reverse map, a policy names `client_name`.
 */
import { parseCidr, parseIp } from '../../base/ip.js';
import { err, ok, type Result } from '../../base/result.js';
import { normalDomain, parseDomainEntry } from '../domain-set.js';
import {
  collect,
  contentLines,
  type EntryTypes,
  type Field,
  type FileList,
  type ListKind,
  type ReadEntry,
} from './common.js';

/** True for what sendmail would compare with a client's address. */
export const looksNumeric = (text: string): boolean =>
  /^[\d.]+(\/\d+)?$/.test(text) || /^ipv6:/i.test(text) || text.includes('::');

/** An address, CIDR block, or prefix: whole octets (`192.168`), or whole groups behind `IPv6:`. */
export const readPrefix = (text: string): Result<EntryTypes['networks'], string> => {
  const v6 = /^ipv6:/i.test(text) ? text.slice(5) : undefined;
  if (v6 !== undefined) {
    const groups = v6.replace(/:$/, '').split(':');
    const isPrefix = !v6.includes('::') && !v6.includes('/') && groups.length < 8;
    return parseCidr(isPrefix ? `${groups.join(':')}::/${groups.length * 16}` : v6);
  }
  const octets = text.replace(/\.$/, '').split('.');
  if (text.includes('/') || text.includes(':') || octets.length > 3) return parseCidr(text);
  return parseCidr(`${[...octets, '0', '0', '0'].slice(0, 4).join('.')}/${octets.length * 8}`);
};

/** A domain of class R or of the access map: itself and all below, with or without a leading dot. */
const readRelayDomain = (text: string): Result<EntryTypes['domains'], string> => {
  if (text.includes('@') || text.startsWith('[')) return parseDomainEntry(text);
  const domain = normalDomain(text.startsWith('.') ? text.slice(1) : text);
  return domain === undefined
    ? err('not a domain')
    : ok({ kind: 'domain', domain, itself: true, below: true });
};

/** A name of class w: itself alone. */
const readLocalName = (text: string): Result<EntryTypes['domains'], string> => {
  if (text.startsWith('.')) return err('not a host name: class w knows no subdomains');
  return parseDomainEntry(text);
};

const pick = <K extends ListKind>(
  kind: K,
  networks: ReadEntry<'networks'>,
  domains: ReadEntry<'domains'>,
): ReadEntry<K> => (kind === 'networks' ? networks : domains) as ReadEntry<K>;

const relayDomains = <K extends ListKind>(kind: K): ReadEntry<K> =>
  pick(
    kind,
    (text) => (looksNumeric(text) ? readPrefix(text) : undefined),
    (text) => (looksNumeric(text) ? undefined : readRelayDomain(text)),
  );

/** A class file gives the first word of each line. */
function* firstWords(text: string): Generator<Field> {
  for (const field of contentLines(text)) yield { ...field, text: field.text.split(/\s/, 1)[0]! };
}

const TAGS = { networks: 'connect', domains: 'to' } as const;

/** The keys of an access source that say RELAY and concern this kind of list. */
const accessKeys = <K extends ListKind>(kind: K, text: string): { fields: Field[]; faults: Field[] } => {
  const fields: Field[] = [];
  const faults: Field[] = [];
  for (const field of contentLines(text)) {
    const parts = /^(\S+)\s+(.+)$/.exec(field.text);
    if (parts === null) {
      faults.push(field);
      continue;
    }
    const [, key = '', value = ''] = parts;
    const tag = /^(?!ipv6:)([a-z][a-z_]*):(?!:)(.*)$/i.exec(key);
    const concerns = tag === null || tag[1]!.toLowerCase() === TAGS[kind];
    if (/^"?relay"?$/i.test(value.trim()) && concerns)
      fields.push({ ...field, text: tag === null ? key : tag[2]! });
  }
  return { fields, faults };
};

const readAccess = <K extends ListKind>(kind: K, text: string): FileList<K> => {
  const { fields, faults } = accessKeys(kind, text);
  const list = collect(fields, relayDomains(kind));
  const incomplete = faults.map(({ line, column }) => ({
    line,
    column,
    message: 'a key without a value: an access line is a key, blanks, and what to do, such as RELAY',
  }));
  return { entries: list.entries, faults: [...list.faults, ...incomplete].sort((a, b) => a.line - b.line) };
};

/** Reads one of sendmail's files; the error tells that the name is none of those that are understood. */
export const readSendmailList = <K extends ListKind>(
  kind: K,
  path: string,
  text: string,
): Result<FileList<K>, string> => {
  const name = path.slice(path.lastIndexOf('/') + 1).toLowerCase();
  if (name === 'access') return ok(readAccess(kind, text));
  if (name === 'relay-domains' || name === 'sendmail.cr')
    return ok(collect(firstWords(text), relayDomains(kind)));
  if (name !== 'local-host-names' && name !== 'sendmail.cw')
    return err('cannot tell what kind of sendmail file this is by its name');
  const networks: ReadEntry<'networks'> = (word) =>
    parseIp(word) === undefined ? undefined : parseCidr(word);
  return ok(collect(firstWords(text), pick(kind, networks, readLocalName)));
};
