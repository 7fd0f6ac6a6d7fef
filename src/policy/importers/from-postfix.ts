/**
 * Postfix as a site: mydestination, virtual domains, relay_domains, mynetworks, and the restrictions up to the one that
 * refuses to relay. Sources: in place, plain files, `cidr:`, and the text beside `hash:`, `btree:`, `lmdb:`, `texthash:`.
 * Meanings after postconf(5), access(5) and cidr_table(5).
 */
import { parseCidr } from '../../base/ip.js';
import { normalDomain } from '../domain-set.js';
import { contentLines } from './common.js';
import { PostfixConfig } from './postfix-config.js';
import {
  type Access,
  baseName,
  type DomainItem,
  emptySite,
  join,
  type Origin,
  type ReadText,
  type Reply,
  type Site,
} from './site.js';

interface Word {
  readonly text: string;
  readonly origin: Origin;
}

/** Words of a list parameter, `{ … }` kept together. */
const split = (value: string): string[] => value.match(/\{[^}]*\}|[^\s,]+/g) ?? [];

const TABLE = /^(hash|btree|lmdb|dbm|cdb|texthash|cidr|inline|static|regexp|pcre|\w+):(.*)$/;

class Reader {
  constructor(
    readonly site: Site,
    readonly folder: string,
    readonly read: ReadText,
  ) {}

  file(path: string): { file: string; text: string } | undefined {
    for (const place of [join(this.folder, path), join(this.folder, baseName(path))]) {
      const text = this.read(place);
      if (text === undefined) continue;
      if (!this.site.files.includes(place)) this.site.files.push(place);
      return { file: place, text };
    }
    return undefined;
  }

  leave(origin: Origin, why: string): void {
    this.site.leftOut.push({ origin, why });
  }

  /** Key and value of each line of a table's source. */
  *rows(path: string, origin: Origin): Generator<{ key: string; value: string; origin: Origin }> {
    const found = this.file(path);
    if (found === undefined) {
      this.leave(origin, `${path} is not there: its entries are missing`);
      return;
    }
    for (const { text, line } of contentLines(found.text)) {
      const [key = '', value = ''] = text.split(/\s+(.*)/s);
      yield { key, value, origin: { file: found.file, line, text } };
    }
  }

  /** The words of a list parameter with files and the keys of tables opened up. */
  words(value: string, origin: Origin): Word[] {
    return split(value).flatMap((word): Word[] => {
      const negated = word.startsWith('!') ? '!' : '';
      const bare = word.slice(negated.length);
      if (bare.startsWith('/')) {
        const found = this.file(bare);
        if (found === undefined) {
          this.leave(origin, `${bare} is not there: its entries are missing`);
          return [];
        }
        return [...contentLines(found.text)].flatMap(({ text, line }) =>
          this.words(text, { file: found.file, line, text }).map((each) => ({
            ...each,
            text: negated + each.text,
          })),
        );
      }
      const table = TABLE.exec(bare);
      if (table === null || (/^[0-9a-f:[]/i.test(bare) && bare.includes('::')) || /^\[/.test(bare))
        return [{ text: word, origin }];
      const [, type = '', path = ''] = table;
      if (['hash', 'btree', 'lmdb', 'dbm', 'cdb', 'texthash', 'cidr'].includes(type))
        return [...this.rows(path, origin)].map(({ key, origin: at }) => ({
          text: negated + key,
          origin: at,
        }));
      this.leave(origin, `${bare}: a ${type} table cannot be read here; put its entries into the policy`);
      return [];
    });
  }
}

/** A domain list. `below`: parent_domain_matches_subdomains names the parameter, so that subdomains are meant too. */
const domains = (reader: Reader, words: readonly Word[], below: boolean, into: DomainItem[]): void => {
  for (const { text, origin } of words) {
    const dotted = text.startsWith('.');
    const domain = normalDomain(dotted ? text.slice(1) : text);
    if (text.startsWith('!')) reader.leave(origin, `"${text}": write a deny rule for it`);
    else if (/^\[[\d.]+\]$/.test(text)) into.push({ entry: text, origin });
    else if (domain === undefined) reader.leave(origin, `"${text}" is no domain`);
    else if (!domain.includes('.')) {
      if (domain !== 'localhost') reader.leave(origin, `"${text}" has no dot`);
    } else {
      // A policy's leading dot is the domain itself and all below; Postfix' is all below alone.
      if (dotted && !below)
        reader.leave(origin, `"${text}" was meant without ${domain} itself; the policy takes that too`);
      into.push({ entry: below || dotted ? `.${domain}` : domain, origin });
    }
  }
};

const networks = (reader: Reader, words: readonly Word[]): void => {
  for (const { text, origin } of words) {
    const negated = text.startsWith('!');
    const network = parseCidr(text.replace(/^!/, '').replace(/^\[([^\]]*)\]/, '$1'));
    if (network.ok)
      reader.site.clients.push({ act: negated ? 'plain' : 'relay', network: network.value, origin });
    else reader.leave(origin, `"${text}": ${network.error}`);
  }
};

/** access(5): OK and numbers, REJECT, 4xx and 5xx with text; the rest is no matter of relaying. */
const actionOf = (value: string): { act: 'permit' } | { act: 'refuse'; reply?: Reply } | undefined => {
  const [word = '', rest = ''] = value.trim().split(/\s+(.*)/s);
  if (/^(?:OK|permit|\d{6,})$/i.test(word) || /^permit$/i.test(word)) return { act: 'permit' };
  if (/^(?:REJECT)$/i.test(word))
    return rest === '' ? { act: 'refuse' } : { act: 'refuse', reply: { code: 550, text: rest } };
  if (/^[45]\d\d$/.test(word)) {
    const [, enhanced, text = ''] = /^(?:(\d\.\d+\.\d+)\s+)?(.*)$/s.exec(rest) ?? [];
    return {
      act: 'refuse',
      reply: {
        code: Number(word),
        ...(enhanced === undefined ? {} : { enhanced }),
        text: text || 'Access denied',
      },
    };
  }
  return undefined;
};

interface Seen {
  /** Something that refuses to relay has come: what follows has no say in it. */
  closed: boolean;
}

const access = (reader: Reader, kind: string, path: string, origin: Origin, mayRelay: boolean): void => {
  for (const row of reader.rows(path, origin)) {
    const action = actionOf(row.value);
    if (action === undefined) {
      reader.leave(row.origin, `"${row.value}" is no matter of relaying`);
      continue;
    }
    const given: Access =
      action.act === 'permit'
        ? { act: mayRelay ? 'relay' : 'plain', origin: row.origin }
        : { act: 'refuse', reply: action.reply, origin: row.origin };
    const prefix = /^\d+(?:\.\d+){0,2}$/.test(row.key)
      ? `${[...row.key.split('.'), '0', '0', '0'].slice(0, 4).join('.')}/${row.key.split('.').length * 8}`
      : row.key;
    const network = parseCidr(prefix);
    if (kind === 'client' && network.ok) reader.site.clients.push({ ...given, network: network.value });
    else {
      const domain = normalDomain(row.key.replace(/^\./, ''));
      const mailbox = /^[^@\s]+@[^@\s]+$/.test(row.key);
      const entry = mailbox ? row.key.toLowerCase() : domain === undefined ? undefined : `.${domain}`;
      if (entry === undefined) reader.leave(row.origin, `"${row.key}" is no condition of a policy`);
      else if (kind === 'client') reader.site.names.push({ ...given, entry });
      else if (kind === 'sender' && given.act === 'relay')
        reader.site.open.push({ origin: row.origin, why: 'it relays for anyone who writes this sender' });
      else if (kind === 'sender') reader.site.senders.push({ ...given, entry });
      else if (given.act === 'relay') reader.site.relayed.push({ entry, origin: row.origin });
      else reader.site.recipients.push({ ...given, entry });
    }
  }
};

/** One list of restrictions, in order; each word, with its argument where it takes one. */
const restrictions = (
  reader: Reader,
  config: PostfixConfig,
  name: string,
  relaying: boolean,
  seen: Seen,
): void => {
  const { origin } = config.parameter(name);
  const words = split(config.expanded(name));
  for (let i = 0; i < words.length; i += 1) {
    const word = words[i] ?? '';
    const check = /^check_(client|sender|recipient|helo|.*)_access$/.exec(word);
    if (check !== null) {
      i += 1;
      const table = TABLE.exec(words[i] ?? '');
      const kind = check[1] ?? '';
      const fits = ['client', 'sender', 'recipient'].includes(kind);
      const type = table?.[1] ?? '';
      if (fits && ['hash', 'btree', 'lmdb', 'dbm', 'cdb', 'texthash', 'cidr'].includes(type))
        access(reader, kind, table?.[2] ?? '', origin, relaying && !seen.closed);
      else reader.leave(origin, `${word} ${words[i] ?? ''}: cannot be read here`);
    } else if (word === 'permit' && relaying && !seen.closed) {
      reader.site.open.push({ origin, why: `${name}: "permit" comes before anything that refuses to relay` });
      seen.closed = true;
    } else if (/^(?:reject|defer)_unauth_destination$|^(?:reject|defer)$/.test(word)) seen.closed = true;
    else if (word === 'permit_mx_backup' && relaying && !seen.closed)
      reader.site.open.push({
        origin,
        why: 'permit_mx_backup: it relays to any domain whose owner names it as MX',
      });
    else if (/^(?:reject_rbl_client|reject_rhsbl_\w+|check_policy_service)$/.test(word)) {
      i += 1;
      reader.leave(origin, `${word} ${words[i] ?? ''}: see dnsbl in sekisho.yaml`);
    }
  }
};

/** `text` is main.cf or the output of `postconf -n`. */
export const siteFromPostfix = (folder: string, read: ReadText): Site => {
  const site = emptySite('Postfix');
  const reader = new Reader(site, folder, read);
  const main = reader.file('main.cf') ?? reader.file('postconf.txt') ?? reader.file('postconf-n.txt');
  if (main === undefined) return site;
  const config = new PostfixConfig(main.file, main.text);
  const parents = split(config.expanded('parent_domain_matches_subdomains'));
  const list = (name: string): Word[] => reader.words(config.expanded(name), config.parameter(name).origin);
  if (!config.has('myhostname'))
    reader.leave(
      config.parameter('myhostname').origin,
      "myhostname is not set: the host's own name is not in the policy",
    );
  domains(
    reader,
    list('mydestination').filter(({ text }) => text !== ''),
    false,
    site.local,
  );
  domains(reader, list('virtual_mailbox_domains'), false, site.local);
  // By default these are the keys of virtual_alias_maps that are domains; its mailboxes are no list of domains.
  const aliases = list('virtual_alias_domains').filter(({ text }) => !text.includes('@'));
  domains(reader, aliases, false, site.local);
  domains(reader, list('relay_domains'), parents.includes('relay_domains'), site.relayed);
  const clients = site.clients.length;
  if (config.has('mynetworks')) networks(reader, list('mynetworks'));
  else
    reader.leave(
      config.parameter('mynetworks_style').origin,
      'mynetworks is not set: what mynetworks_style makes of the interfaces is not known here; list your networks',
    );
  const own = site.clients.splice(clients);
  const seen: Seen = { closed: false };
  // Before 2.10 there were no relay restrictions, and the recipient ones did it all.
  restrictions(reader, config, 'smtpd_client_restrictions', false, { closed: false });
  restrictions(reader, config, 'smtpd_sender_restrictions', false, { closed: false });
  restrictions(reader, config, 'smtpd_relay_restrictions', true, seen);
  const closedByRelay = seen.closed && site.open.length === 0;
  restrictions(reader, config, 'smtpd_recipient_restrictions', !closedByRelay, seen);
  if (!seen.closed)
    site.open.push({
      origin: config.parameter('smtpd_relay_restrictions').origin,
      why: 'no restriction refuses to relay',
    });
  site.clients.push(...own);
  return site;
};
