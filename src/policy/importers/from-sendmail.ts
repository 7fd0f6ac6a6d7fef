/**
 * sendmail's /etc/mail as a site: `access` (source text), relay-domains, local-host-names, mailertable, virtusertable,
 * and what sendmail.mc or .cf reveals. Meanings after cf/README of sendmail 8.9 to 8.17.
 */
import { normalDomain } from '../domain-set.js';
import { contentLines } from './common.js';
import { looksNumeric, readPrefix } from './sendmail.js';
import { readSendmailConfig, type SendmailConfig } from './sendmail-config.js';
import {
  type Access,
  baseName,
  emptySite,
  join,
  type NamedItem,
  type Origin,
  type ReadText,
  type Reply,
  type Site,
} from './site.js';

const lineOf = (text: string, line: number): string => text.split('\n')[line - 1]?.trim() ?? '';

interface Line {
  readonly text: string;
  readonly origin: Origin;
}

const linesOf = (file: string, text: string): Line[] =>
  [...contentLines(text)].map((field) => ({
    text: field.text,
    origin: { file, line: field.line, text: lineOf(text, field.line) },
  }));

/** Class w: itself alone. `localhost` and addresses in brackets too. */
const addLocal = (site: Site, word: string, origin: Origin): void => {
  if (/^\[[\d.]+\]$/.test(word)) site.local.push({ entry: word, origin });
  else if (normalDomain(word) === undefined) site.leftOut.push({ origin, why: `"${word}" is no domain` });
  else if (word.includes('.')) site.local.push({ entry: word.toLowerCase(), origin });
  else if (word.toLowerCase() !== 'localhost')
    site.leftOut.push({ origin, why: `"${word}" has no dot: mail for it comes from this host alone` });
};

/** Class R relays to a domain and for the hosts in it; addresses and octet prefixes are clients. */
const addRelay = (site: Site, word: string, origin: Origin, below: boolean): void => {
  if (looksNumeric(word)) {
    const network = readPrefix(word);
    if (network.ok) site.clients.push({ act: 'relay', network: network.value, origin });
    else site.leftOut.push({ origin, why: network.error });
    return;
  }
  const domain = normalDomain(word.replace(/^\./, ''));
  if (domain === undefined) {
    site.leftOut.push({ origin, why: `"${word}" is neither a domain nor an address` });
    return;
  }
  const entry = below ? `.${domain}` : domain;
  site.relayed.push({ entry, origin });
  site.names.push({ act: 'relay', entry, origin });
};

/** `ERROR:5.7.1:550 text`, `ERROR:"550 text"`, `550 text`; without a code 550 5.7.1 "Access denied". */
const replyOf = (value: string): Reply | undefined => {
  const match = /^(?:ERROR:)?(?:(\d\.\d+\.\d+):)?"?(?:([45]\d\d)\s+)?(?:(\d\.\d+\.\d+)\s+)?([^"]*)"?$/i.exec(
    value,
  );
  if (match === null) return undefined;
  const [, before, code, within, text = ''] = match;
  const enhanced = before ?? within;
  const shown = text
    .replace(/[^\x20-\x7e]/g, '')
    .trim()
    .slice(0, 200);
  const number = code === undefined ? (enhanced?.startsWith('4') ? 450 : 550) : Number(code);
  return {
    code: number,
    ...(enhanced === undefined ? {} : { enhanced }),
    text: shown === '' ? 'Access denied' : shown,
  };
};

type Decision = Pick<Access, 'act' | 'reply'> | { readonly why: string; readonly also?: Pick<Access, 'act'> };

const decisionOf = (value: string): Decision => {
  const word = value.replace(/^"|"$/g, '').trim();
  if (/^RELAY$/i.test(word)) return { act: 'relay' };
  if (/^(?:OK|SKIP)$/i.test(word)) return { act: 'plain' };
  if (/^REJECT$/i.test(word)) return { act: 'refuse' };
  if (/^DISCARD$/i.test(word))
    return { why: 'DISCARD became a refusal, so that the sender learns of it', also: { act: 'refuse' } };
  if (/^(?:ERROR:|\d{3}\s)/i.test(word)) {
    const reply = replyOf(value);
    return reply === undefined ? { why: `"${word}" is not understood` } : { act: 'refuse', reply };
  }
  if (/^QUARANTINE\b/i.test(word)) return { why: 'a quarantine is the queue of the mail server: left to it' };
  return { why: `"${word}" is not understood` };
};

const OTHER_TAGS: Readonly<Record<string, string>> = {
  clientrate: 'see limits in sekisho.yaml',
  clientconn: 'see limits in sekisho.yaml',
  greetpause: 'see greet_pause in sekisho.yaml',
};

/** A key that is no address: a mailbox, or a domain with all below it. */
const namedEntry = (key: string): string | undefined => {
  const at = key.lastIndexOf('@');
  if (at > 0) {
    const domain = normalDomain(key.slice(at + 1));
    return domain === undefined ? undefined : `${key.slice(0, at)}@${domain}`.toLowerCase();
  }
  const domain = normalDomain(key.replace(/^\./, ''));
  return domain === undefined || at === 0 ? undefined : `.${domain}`;
};

/** What an untagged or tagged key of an address, a name or a mailbox does. */
const addAccess = (site: Site, tag: string, key: string, access: Access): void => {
  const { origin, act } = access;
  if (looksNumeric(key)) {
    if (tag !== '' && tag !== 'connect') {
      site.leftOut.push({ origin, why: `${tag}: with an address literal` });
      return;
    }
    const network = readPrefix(key);
    if (network.ok) site.clients.push({ ...access, network: network.value });
    else site.leftOut.push({ origin, why: network.error });
    return;
  }
  if (/^localhost$/i.test(key)) {
    if (act === 'relay' && tag !== 'from') addLoopback(site, origin);
    return;
  }
  const entry = namedEntry(key);
  if (entry === undefined) {
    const why = key.endsWith('@')
      ? 'a local part at any domain: a policy has no such condition'
      : `"${key}" is neither a domain nor a mailbox nor an address`;
    site.leftOut.push({ origin, why });
    return;
  }
  const mailbox = !entry.startsWith('.');
  if ((tag === '' || tag === 'connect') && !mailbox) site.names.push({ ...access, entry });
  if ((tag === '' || tag === 'to') && act === 'relay') site.relayed.push({ entry, origin });
  if (tag === 'to' && act !== 'relay') site.recipients.push({ ...access, entry });
  if ((tag === '' || tag === 'from') && act !== 'relay') site.senders.push({ ...access, entry });
  if (tag === 'from' && act === 'relay')
    site.leftOut.push({ origin, why: 'relaying by a mere sender: anybody can write one (relay_mail_from)' });
};

const addLoopback = (site: Site, origin: Origin): void => {
  for (const text of ['127', 'IPv6:::1']) {
    const network = readPrefix(text);
    if (network.ok) site.clients.push({ act: 'relay', network: network.value, origin });
  }
};

const readAccess = (site: Site, file: string, text: string): void => {
  for (const { text: content, origin } of linesOf(file, text)) {
    const parts = /^(\S+)\s+(.+)$/.exec(content);
    if (parts === null) {
      site.leftOut.push({ origin, why: 'a key without a value' });
      continue;
    }
    const [, whole = '', value = ''] = parts;
    const tagged = /^(?!ipv6:)([a-z][a-z_]*):(.*)$/i.exec(whole);
    const tag = (tagged?.[1] ?? '').toLowerCase();
    const key = tagged?.[2] ?? whole;
    if (!['', 'connect', 'from', 'to'].includes(tag)) {
      site.leftOut.push({
        origin,
        why: OTHER_TAGS[tag] ?? `the tag ${tagged?.[1]}: is no matter of relaying`,
      });
      continue;
    }
    const decision = decisionOf(value.trim());
    if ('why' in decision) {
      site.leftOut.push({ origin, why: decision.why });
      if (decision.also !== undefined) addAccess(site, tag, key, { ...decision.also, origin });
    } else addAccess(site, tag, key, { ...decision, origin });
  }
};

/** The access map is asked for the whole, then for ever wider parts: the most specific entry decides. */
const mostSpecificFirst = (site: Site): void => {
  site.clients.sort((a, b) => b.network.prefix - a.network.prefix);
  const weight = ({ entry }: NamedItem): number =>
    entry.startsWith('.') ? entry.split('.').length : 1_000 + entry.length;
  for (const list of [site.names, site.senders, site.recipients]) list.sort((a, b) => weight(b) - weight(a));
};

const OPENING: Readonly<Record<string, string>> = {
  promiscuous_relay: 'FEATURE(promiscuous_relay): it relays for anyone',
  relay_local_from: 'FEATURE(relay_local_from): it relays for anyone who writes a local sender',
  relay_mail_from: 'FEATURE(relay_mail_from): it relays for anyone who writes a listed sender',
  loose_relay_check: 'FEATURE(loose_relay_check): the percent hack goes through it',
  relay_based_on_MX: 'FEATURE(relay_based_on_MX): it relays to any domain whose owner names it as MX',
};

const readFeatures = (site: Site, config: SendmailConfig): void => {
  for (const [name, origin] of config.features) {
    const why = OPENING[name];
    if (why !== undefined) site.open.push({ origin, why });
    if (name === 'relay_entire_domain')
      site.leftOut.push({
        origin,
        why: "relays for every host of the server's own domain, by name: list the networks of these hosts",
      });
  }
  if (config.smartHost !== undefined)
    site.leftOut.push({
      origin: config.smartHost,
      why: 'a smart host is where the mail server sends: it stays there',
    });
};

const covered = (site: Site, domain: string): boolean =>
  [...site.local, ...site.relayed].some(({ entry }) => {
    const bare = entry.replace(/^\./, '');
    return bare === domain || (entry.startsWith('.') && domain.endsWith(`.${bare}`));
  });

/** A domain that only a table knows was taken by an open relay alone: without it, its mail would stop. */
const readTable = (site: Site, file: string, text: string, kind: 'mailertable' | 'virtusertable'): void => {
  const seen = new Set<string>();
  for (const { text: content, origin } of linesOf(file, text)) {
    const key = content.split(/\s/, 1)[0] ?? '';
    const name = (kind === 'virtusertable' ? key.slice(key.lastIndexOf('@') + 1) : key).toLowerCase();
    const below = name.startsWith('.');
    const domain = normalDomain(name.replace(/^\./, ''));
    if (domain === undefined || name === '.' || seen.has(name) || covered(site, domain)) continue;
    seen.add(name);
    const list = kind === 'mailertable' ? site.relayed : site.local;
    if (site.open.length > 0) list.push({ entry: below ? `.${domain}` : domain, origin });
    else
      site.leftOut.push({
        origin,
        why: `${domain} is in no list of what the server took mail for: if it should, add it`,
      });
  }
};

export const siteFromSendmail = (folder: string, read: ReadText): Site => {
  const site = emptySite('sendmail');
  const get = (name: string): { file: string; text: string } | undefined => {
    const file = join(folder, name);
    const text = read(file);
    if (text !== undefined && !site.files.includes(file)) site.files.push(file);
    return text === undefined ? undefined : { file, text };
  };
  const config = readSendmailConfig(['sendmail.mc', 'sendmail.cf'].flatMap((name) => get(name) ?? []));
  readFeatures(site, config);
  const below = !config.features.has('relay_hosts_only');
  for (const { word, origin } of config.w) addLocal(site, word, origin);
  for (const { word, origin } of config.r) addRelay(site, word, origin, below);
  const firstWords = (names: readonly string[], add: (word: string, origin: Origin) => void): void => {
    // The configuration names its files by their places on the old host; here they lie in one folder.
    for (const name of new Set(names.map(baseName))) {
      const found = get(name);
      for (const { text, origin } of found === undefined ? [] : linesOf(found.file, found.text))
        add(text.split(/\s/, 1)[0] ?? '', origin);
    }
  };
  firstWords(['local-host-names', 'sendmail.cw', ...config.wFiles], (word, origin) =>
    addLocal(site, word, origin),
  );
  firstWords(['relay-domains', 'sendmail.cR', ...config.rFiles], (word, origin) =>
    addRelay(site, word, origin, below),
  );
  const access = get('access');
  if (access !== undefined) readAccess(site, access.file, access.text);
  for (const kind of ['mailertable', 'virtusertable'] as const) {
    const table = get(kind);
    if (table !== undefined) readTable(site, table.file, table.text, kind);
  }
  mostSpecificFirst(site);
  return site;
};
