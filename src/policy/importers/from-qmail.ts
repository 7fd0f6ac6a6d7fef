/**
 * qmail as a site: control/rcpthosts, morercpthosts, locals, virtualdomains, me, and tcprules' source (tcp.smtp).
 * Meanings after qmail-smtpd(8), qmail-send(8) and tcprules(1).
 */
import { type Cidr, parseCidr } from '../../base/ip.js';
import { normalDomain } from '../domain-set.js';
import { contentLines } from './common.js';
import { emptySite, join, type Origin, type ReadText, type Site } from './site.js';

interface Line {
  readonly text: string;
  readonly origin: Origin;
}

/** `.example.org` in rcpthosts is all below, without the domain itself. */
const addDomain = (site: Site, list: Site['local'], text: string, origin: Origin): void => {
  const dotted = text.startsWith('.');
  const domain = normalDomain(text.replace(/^\./, '').toLowerCase());
  if (domain === undefined) site.leftOut.push({ origin, why: `"${text}" is no domain` });
  else if (!domain.includes('.')) {
    if (domain !== 'localhost') site.leftOut.push({ origin, why: `"${text}" has no dot` });
  } else {
    if (dotted)
      site.leftOut.push({
        origin,
        why: `"${text}" was meant without ${domain} itself; the policy takes that too`,
      });
    list.push({ entry: dotted ? `.${domain}` : domain, origin });
  }
};

/** `192.168.1.` and `10.0.0.1-20`, an address, `` for all; undefined for names and what is no address. */
const networksOf = (text: string): Cidr[] | undefined => {
  if (text === '')
    return ['0.0.0.0/0', '::/0']
      .flatMap((all) => (parseCidr(all).ok ? [parseCidr(all)] : []))
      .flatMap((each) => (each.ok ? [each.value] : []));
  const range = /^((?:\d+\.)*)(\d+)-(\d+)(\.?)$/.exec(text);
  if (range !== null) {
    const [, before = '', from = '', to = '', dot = ''] = range;
    const first = Number(from);
    const last = Number(to);
    if (last > 255 || first > last) return undefined;
    const each = Array.from({ length: last - first + 1 }, (_, i) =>
      networksOf(`${before}${first + i}${dot}`),
    );
    return each.some((one) => one === undefined) ? undefined : each.flatMap((one) => one ?? []);
  }
  const octets = text.replace(/\.$/, '').split('.');
  const prefix =
    text.endsWith('.') && octets.length < 4
      ? `${[...octets, '0', '0', '0'].slice(0, 4).join('.')}/${octets.length * 8}`
      : text;
  const cidr = parseCidr(prefix);
  return cidr.ok ? [cidr.value] : undefined;
};

/** tcprules looks for the most specific line, not for the first. */
const readRules = (site: Site, lines: readonly Line[]): void => {
  for (const { text, origin } of lines) {
    const match = /^([^:]*):(allow|deny)(.*)$/.exec(text);
    if (match === null) {
      site.leftOut.push({ origin, why: 'not a rule: address:allow or address:deny' });
      continue;
    }
    const [, address = '', verb, settings = ''] = match;
    const relays = /,\s*RELAYCLIENT=/.test(settings);
    const act = verb === 'deny' ? 'refuse' : relays ? 'relay' : 'plain';
    if (address.startsWith('=')) {
      const domain = normalDomain(address.replace(/^=\.?/, ''));
      if (domain === undefined) site.leftOut.push({ origin, why: 'a name that is no domain' });
      else site.names.push({ act, entry: address.startsWith('=.') ? `.${domain}` : domain, origin });
      continue;
    }
    const networks = networksOf(address.replace(/^.*@/, ''));
    if (networks === undefined) site.leftOut.push({ origin, why: `"${address}" is no address` });
    else if (address === '' && act === 'relay') site.open.push({ origin, why: 'it relays for every client' });
    // A line for all is what holds anyway.
    else if (address !== '' || act === 'refuse')
      for (const network of networks) site.clients.push({ act, network, origin });
  }
  site.clients.sort((a, b) => b.network.prefix - a.network.prefix);
};

/** `folder`: /var/qmail/control; tcp.smtp is looked for beside it too. */
export const siteFromQmail = (folder: string, read: ReadText): Site => {
  const site = emptySite('qmail');
  const lines = (name: string): Line[] | undefined => {
    const file = join(folder, name);
    const text = read(file);
    if (text === undefined) return undefined;
    site.files.push(file);
    return [...contentLines(text)].map((field) => ({
      text: field.text,
      origin: { file, line: field.line, text: field.text },
    }));
  };
  const locals = lines('locals') ?? lines('me') ?? [];
  const hosts = lines('rcpthosts');
  const virtual = lines('virtualdomains') ?? [];
  for (const { text, origin } of locals) addDomain(site, site.local, text, origin);
  for (const { text, origin } of virtual) {
    const domain = text.split(':', 1)[0] ?? '';
    if (domain.includes('@'))
      site.leftOut.push({ origin, why: 'one mailbox: it belongs to a domain that is listed' });
    else if (domain !== '') addDomain(site, site.local, domain, origin);
  }
  const known = new Set(site.local.map(({ entry }) => entry));
  for (const { text, origin } of [...(hosts ?? []), ...(lines('morercpthosts') ?? [])])
    if (!known.has(text.toLowerCase())) addDomain(site, site.relayed, text, origin);
  if (hosts === undefined && site.files.length > 0)
    site.open.push({
      origin: { file: join(folder, 'rcpthosts'), line: 1, text: '' },
      why: 'there is no rcpthosts: qmail relays for anyone',
    });
  readRules(site, lines('tcp.smtp') ?? lines('../tcp.smtp') ?? []);
  return site;
};
