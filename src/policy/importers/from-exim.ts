/**
 * Exim as a site: the lists local_domains, relay_to_domains and relay_from_hosts that its default ACL asks, and Debian's
 * update-exim4.conf.conf that fills them. Meanings after the chapter "Domain, host, address, and local part lists".
 */
import { parseCidr } from '../../base/ip.js';
import { normalDomain } from '../domain-set.js';
import { contentLines } from './common.js';
import { baseName, emptySite, join, type Origin, type ReadText, type Site } from './site.js';

/** Items of a list: between colons, a doubled colon being one, or another separator that `<` names. */
const items = (value: string): string[] => {
  const other = /^\s*<\s*([^\s\w])\s*(.*)$/s.exec(value);
  const separator = other?.[1] ?? ':';
  const text = other?.[2] ?? value;
  const held = separator === ':' ? text.replace(/::/g, '\u0001') : text;
  return held
    .split(separator)
    .map((item) => item.replace(/\u0001/g, ':').trim())
    .filter((item) => item !== '');
};

interface Named {
  readonly value: string;
  readonly origin: Origin;
}

/** `domainlist name = …` and `hostlist name = …`, with lines that a backslash goes on, and macros filled in. */
const listsOf = (file: string, text: string): Map<string, Named> => {
  const found = new Map<string, Named>();
  const macros = new Map<string, string>();
  const lines = text.split('\n');
  for (let i = 0; i < lines.length; i += 1) {
    const start = i;
    let line = (lines[i] ?? '').replace(/\r$/, '');
    while (line.endsWith('\\') && i + 1 < lines.length) {
      i += 1;
      line = `${line.slice(0, -1)}${(lines[i] ?? '').trim()}`;
    }
    if (/^\s*#/.test(line)) continue;
    let whole = line.trim();
    for (const [name, value] of macros) whole = whole.replaceAll(name, value);
    const macro = /^([A-Z]\w*)\s*=\s*(.*)$/.exec(line.trim());
    if (macro !== null) {
      macros.set(macro[1] ?? '', macro[2] ?? '');
      continue;
    }
    const match =
      /^(?:domainlist|hostlist)\s+(\w+)\s*=\s*(.*)$/.exec(whole) ??
      /^(primary_hostname)\s*=\s*(.*)$/.exec(whole);
    if (match !== null)
      found.set(match[1] ?? '', {
        value: match[2] ?? '',
        origin: { file, line: start + 1, text: line.trim() },
      });
  }
  return found;
};

class Reader {
  readonly #lists: Map<string, Named>;

  constructor(
    readonly site: Site,
    readonly folder: string,
    readonly read: ReadText,
    lists: Map<string, Named>,
  ) {
    this.#lists = lists;
  }

  leave(origin: Origin, why: string): void {
    this.site.leftOut.push({ origin, why });
  }

  /** Items with other lists and files opened up. */
  items(named: Named | undefined, depth = 0): { text: string; origin: Origin }[] {
    if (named === undefined || depth > 20) return [];
    return items(named.value).flatMap((item) => {
      const { origin } = named;
      if (item.startsWith('+')) return this.items(this.#lists.get(item.slice(1)), depth + 1);
      const file = /^(?:lsearch;|partial-lsearch;|net-lsearch;|iplsearch;)?(\/.*)$/.exec(item)?.[1];
      if (file !== undefined) return this.#fileItems(file, origin);
      return [{ text: item, origin }];
    });
  }

  #fileItems(file: string, origin: Origin): { text: string; origin: Origin }[] {
    for (const place of [join(this.folder, file), join(this.folder, baseName(file))]) {
      const text = this.read(place);
      if (text === undefined) continue;
      this.site.files.push(place);
      return [...contentLines(text)].map((field) => ({
        // A key of lsearch ends at a colon or a blank; a file of items has one a line.
        text: /^[0-9a-f:.]+(?:\/\d+)?$/i.test(field.text)
          ? field.text
          : (field.text.split(/[:\s]/, 1)[0] ?? ''),
        origin: { file: place, line: field.line, text: field.text },
      }));
    }
    this.leave(origin, `${file} is not there: its entries are missing`);
    return [];
  }

  domains(named: Named | undefined, into: Site['local']): void {
    const primary = this.#lists.get('primary_hostname')?.value;
    for (const { text, origin } of this.items(named)) {
      if (text === '@') {
        const own = primary === undefined ? undefined : normalDomain(primary);
        if (own !== undefined) into.push({ entry: own, origin });
        else this.leave(origin, "@ is the host's own name, which stands nowhere: add it");
        continue;
      }
      const below = text.startsWith('*.') || text.startsWith('.');
      const domain = normalDomain(text.replace(/^\*?\./, '').toLowerCase());
      if (text === '*' && into === this.site.relayed)
        this.site.open.push({ origin, why: 'it relays to every domain' });
      else if (domain === undefined || (!domain.includes('.') && domain !== 'localhost'))
        this.leave(origin, `"${text}" is no domain that a list can hold`);
      else if (domain !== 'localhost') {
        if (below)
          this.leave(origin, `"${text}" was meant without ${domain} itself; the policy takes that too`);
        into.push({ entry: below ? `.${domain}` : domain, origin });
      }
    }
  }

  hosts(named: Named | undefined): void {
    for (const { text, origin } of this.items(named)) {
      const negated = text.startsWith('!');
      const bare = text.replace(/^!\s*/, '');
      if (bare === '*') {
        this.site.open.push({ origin, why: 'it relays for every client' });
        continue;
      }
      if (bare === '') continue;
      const network = parseCidr(bare.replace(/^\[([^\]]*)\]/, '$1'));
      if (network.ok) {
        this.site.clients.push({ act: negated ? 'plain' : 'relay', network: network.value, origin });
        continue;
      }
      const domain = normalDomain(bare.replace(/^\*?\./, ''));
      if (domain === undefined || bare === '@[]' || bare === '@')
        this.leave(origin, `"${text}" is no network: if it means the host itself, loopback may be meant`);
      else
        this.site.names.push({
          act: negated ? 'plain' : 'relay',
          entry: bare === domain ? domain : `.${domain}`,
          origin,
        });
    }
  }
}

/** Debian's update-exim4.conf.conf: lists with `;` between. */
const debianLists = (file: string, text: string): Map<string, Named> => {
  const found = new Map<string, Named>();
  const names: Readonly<Record<string, string>> = {
    dc_other_hostnames: 'local_domains',
    dc_relay_domains: 'relay_to_domains',
    dc_relay_nets: 'relay_from_hosts',
  };
  for (const [index, line] of text.split('\n').entries()) {
    const match = /^\s*(dc_\w+)='([^']*)'/.exec(line) ?? /^\s*(dc_\w+)="([^"]*)"/.exec(line);
    const name = names[match?.[1] ?? ''];
    if (match !== null && name !== undefined)
      found.set(name, {
        value: `<; ${match[2] ?? ''}`,
        origin: { file, line: index + 1, text: line.trim() },
      });
  }
  return found;
};

export const siteFromExim = (folder: string, read: ReadText): Site => {
  const site = emptySite('Exim');
  for (const name of ['update-exim4.conf.conf', 'exim4.conf', 'exim.conf', 'configure']) {
    const file = join(folder, name);
    const text = read(file);
    if (text === undefined) continue;
    site.files.push(file);
    const lists = name === 'update-exim4.conf.conf' ? debianLists(file, text) : listsOf(file, text);
    const reader = new Reader(site, folder, read, lists);
    reader.domains(lists.get('local_domains'), site.local);
    reader.domains(lists.get('relay_to_domains'), site.relayed);
    reader.hosts(lists.get('relay_from_hosts'));
    break;
  }
  return site;
};
