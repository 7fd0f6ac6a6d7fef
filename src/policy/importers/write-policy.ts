/**
 * A site as the text of a policy: lists with the line that each entry comes from, rules in the order in which the old
 * server asked, the tests that follow from both.
 */
import { parseIp, spanCovers, spanOf } from '../../base/ip.js';
import { DomainSet, parseDomainEntry } from '../domain-set.js';
import { someAddress, strangerTo } from './sample.js';
import type { Act, ClientItem, DomainItem, NamedItem, Origin, Reply, Site } from './site.js';

const comment = ({ file, line, text }: Origin): string =>
  `# ${file}:${line}: ${text.replace(/[^\x20-\x7e]+/g, '?').slice(0, 100)}`;

/** Plain where YAML reads it as text, else in double quotes. */
const scalar = (text: string): string =>
  /^[A-Za-z0-9.][\w.@/-]*$/.test(text) && !/^[\d.]+$|^[\d.]+e\d+$/i.test(text) ? text : JSON.stringify(text);

const padded = (entry: string, origin: Origin): string =>
  `    - ${scalar(entry).padEnd(30)} ${comment(origin)}`;

/** Entries whose meaning earlier ones have already, or that a policy does not know, are left out. */
const distinct = (items: readonly DomainItem[], before: readonly DomainItem[]): DomainItem[] => {
  const read = (item: DomainItem) => {
    const entry = parseDomainEntry(item.entry);
    return entry.ok ? [entry.value] : [];
  };
  const earlier = DomainSet.of(before.flatMap(read));
  const kept: DomainItem[] = [];
  for (const item of items) {
    const entry = read(item)[0];
    if (entry === undefined || earlier.covers(entry)) continue;
    if (DomainSet.of(kept.flatMap(read)).covers(entry)) continue;
    kept.push(item);
  }
  return kept;
};

interface Group<T> {
  readonly act: Act;
  readonly reply: Reply | undefined;
  readonly items: readonly T[];
}

const sameReply = (a: Reply | undefined, b: Reply | undefined): boolean =>
  JSON.stringify(a) === JSON.stringify(b);

interface Deciding {
  readonly act: Act;
  readonly reply?: Reply | undefined;
}

/**
 * Items that do the same, as one group. The first that matches decides, so an item may only join an earlier group past
 * groups with none of which it overlaps.
 */
const grouped = <T extends Deciding>(items: readonly T[], overlap: (a: T, b: T) => boolean): Group<T>[] => {
  const groups: { act: Act; reply: Reply | undefined; items: T[] }[] = [];
  for (const item of items) {
    let home: (typeof groups)[number] | undefined;
    for (const group of [...groups].reverse()) {
      if (group.act === item.act && sameReply(group.reply, item.reply)) home = group;
      else if (group.items.some((other) => overlap(other, item))) break;
    }
    if (home === undefined) groups.push({ act: item.act, reply: item.reply, items: [item] });
    else home.items.push(item);
  }
  return groups;
};

const networksOverlap = (a: ClientItem, b: ClientItem): boolean =>
  spanCovers(a.network, b.network) || spanCovers(b.network, a.network);

/** A mailbox and its domain, a domain and what is below it. */
const namesOverlap = (a: NamedItem, b: NamedItem): boolean => {
  const [x, y] = [parseDomainEntry(a.entry), parseDomainEntry(b.entry)];
  if (!x.ok || !y.ok) return false;
  return DomainSet.of([x.value]).covers(y.value) || DomainSet.of([y.value]).covers(x.value);
};

const replyLine = (reply: Reply | undefined): string[] => {
  if (reply === undefined) return [];
  const enhanced = reply.enhanced?.[0] === String(reply.code)[0] ? `, enhanced: ${reply.enhanced}` : '';
  return [`    reply: { code: ${reply.code}${enhanced}, text: ${JSON.stringify(reply.text.slice(0, 200))} }`];
};

const verbOf = (reply: Reply | undefined): string =>
  reply !== undefined && reply.code >= 400 && reply.code < 500 ? 'defer' : 'deny';

/** Those whose entry an earlier one does not decide already; `plain` where nothing wider says otherwise says nothing. */
const effective = (clients: readonly ClientItem[]): ClientItem[] =>
  clients.filter(({ network, act }, i) => {
    if (clients.slice(0, i).some((earlier) => spanCovers(earlier.network, network))) return false;
    return (
      act !== 'plain' ||
      clients.slice(i + 1).some((later) => later.act !== 'plain' && spanCovers(later.network, network))
    );
  });

interface Draft {
  /** Names of lists that are taken. */
  readonly names: Set<string>;
  readonly networks: string[];
  readonly domains: string[];
  readonly rules: string[];
  readonly tests: string[];
}

const listName = (draft: Draft, wanted: string): string => {
  let name = wanted;
  for (let n = 2; draft.names.has(name); n += 1) name = `${wanted}_${n}`;
  draft.names.add(name);
  return name;
};

const addNetworks = (draft: Draft, wanted: string, items: readonly ClientItem[]): string => {
  const name = listName(draft, wanted);
  draft.networks.push(`  ${name}:`, ...items.map(({ network, origin }) => padded(network.text, origin)));
  return name;
};

const addDomains = (draft: Draft, wanted: string, items: readonly DomainItem[]): string => {
  const name = listName(draft, wanted);
  draft.domains.push(`  ${name}:`, ...items.map(({ entry, origin }) => padded(entry, origin)));
  return name;
};

const rule = (
  draft: Draft,
  name: string,
  verb: string,
  conditions: string,
  more: readonly string[] = [],
): void => {
  const number = draft.rules.filter((line) => line.startsWith('  - name:')).length + 1;
  const unique = draft.rules.includes(`  - name: ${name}`) ? `${name} (${number})` : name;
  draft.rules.push(`  - name: ${unique}`, `    ${verb}: { ${conditions} }`, ...more);
};

const test = (
  draft: Draft,
  name: string,
  client: string,
  to: string,
  expect: string,
  from = 'x@sender.example',
): void => {
  draft.tests.push(
    `  - { name: ${JSON.stringify(name)}, client: ${JSON.stringify(client)}, from: ${JSON.stringify(from)}, to: ${JSON.stringify(to)}, expect: ${expect} }`,
  );
};

const OUTSIDE = 'y@victim.example';

const refusals = (draft: Draft, group: Group<NamedItem>, key: 'from' | 'to', what: string): void => {
  const list = addDomains(draft, `refused_${what}s`, group.items);
  rule(draft, `refused ${what}s`, verbOf(group.reply), `${key}: ${list}`, replyLine(group.reply));
};

/** Senders that were refused, and before them those excepted from that: to our own, and from our own networks. */
const senderRules = (
  draft: Draft,
  items: readonly NamedItem[],
  inbound: string,
  clients: readonly ClientGroup[],
): void => {
  const own = clients.filter(({ act, alone }) => act === 'relay' && alone).map(({ list }) => list);
  for (const group of grouped(items, namesOverlap)) {
    if (group.act === 'refuse') {
      refusals(draft, group, 'from', 'sender');
      continue;
    }
    const list = addDomains(draft, 'excepted_senders', group.items);
    if (inbound !== '') rule(draft, 'excepted senders', 'allow', `from: ${list}, to: ${inbound}`);
    if (own.length > 0)
      rule(draft, 'excepted senders of our own', 'allow', `from: ${list}, client: [${own.join(', ')}]`);
  }
};

interface ClientGroup extends Group<ClientItem> {
  /** The name of its list. */
  readonly list: string;
  /** Nothing before it says otherwise of any of its addresses. */
  readonly alone: boolean;
}

const LIST_OF: Readonly<Record<Act, string>> = {
  relay: 'trusted',
  plain: 'not_trusted',
  refuse: 'refused_networks',
};

const clientGroups = (draft: Draft, clients: readonly ClientItem[]): ClientGroup[] => {
  const groups = grouped(clients, networksOverlap);
  return groups.map((group, i) => ({
    ...group,
    list: addNetworks(draft, LIST_OF[group.act], group.items),
    alone: groups
      .slice(0, i)
      .every((earlier) => !earlier.items.some((a) => group.items.some((b) => networksOverlap(a, b)))),
  }));
};

const clientRules = (draft: Draft, groups: readonly ClientGroup[], inbound: string): void => {
  for (const { act, reply, list } of groups) {
    if (act === 'relay') rule(draft, 'from our own networks', 'allow', `client: ${list}`);
    else if (act === 'refuse')
      rule(draft, 'refused networks', verbOf(reply), `client: ${list}`, replyLine(reply));
    else {
      if (inbound !== '')
        rule(
          draft,
          'mail from networks without a right to relay',
          'allow',
          `client: ${list}, to: ${inbound}`,
        );
      rule(draft, 'networks without a right to relay', 'deny', `client: ${list}`);
    }
  }
};

const clientTests = (draft: Draft, clients: readonly ClientItem[]): void => {
  const deciding = (address: string): Act | undefined => {
    const ip = parseIp(address);
    if (ip === undefined) return undefined;
    return clients.find(({ network }) => spanCovers(network, spanOf(ip)))?.act;
  };
  for (const { network, origin } of clients.slice(0, 50)) {
    const address = someAddress(network);
    if (address === undefined) continue;
    const may = deciding(address) === 'relay';
    const why = `${address} ${may ? 'may' : 'may not'} send anywhere (${origin.file.replace(/^.*\//, '')}:${origin.line})`;
    test(draft, why, address, OUTSIDE, may ? 'allow' : 'deny');
  }
};

const SAMPLES = 20;

const domainTests = (draft: Draft, stranger: string, items: readonly DomainItem[], what: string): void => {
  for (const { entry } of items.filter(({ entry }) => !entry.startsWith('[')).slice(0, SAMPLES)) {
    const address = entry.includes('@') ? entry : `hoge@${entry.replace(/^\./, '')}`;
    test(draft, `${what} ${entry}`, stranger, address, 'allow');
    if (!entry.includes('@'))
      test(
        draft,
        `no percent hack by way of ${entry}`,
        stranger,
        `y%victim.example@${entry.replace(/^\./, '')}`,
        'deny',
      );
  }
};

/** What the old server did not mean to let in: everybody. */
const everybody = ({ network }: ClientItem): boolean => network.prefix === 0;

export interface Report {
  readonly text: string;
  /** What the policy does otherwise than the old server, for people. */
  readonly notes: readonly string[];
}

const noteOf = (origin: Origin, why: string): string => `${origin.file}:${origin.line}: ${why}`;

const inboundOf = (
  draft: Draft,
  site: Site,
): { text: string; local: DomainItem[]; relayed: DomainItem[] } => {
  const local = distinct(site.local, []);
  const relayed = distinct(site.relayed, local);
  const names = [
    ...(local.length > 0 ? [addDomains(draft, 'ours', local)] : []),
    ...(relayed.length > 0 ? [addDomains(draft, 'relayed', relayed)] : []),
  ];
  const text = names.length === 0 ? '' : names.length === 1 ? names[0]! : `[${names.join(', ')}]`;
  return { text, local, relayed };
};

/** The policy, and a report of what has no part in it. Nothing that makes an open relay is taken over. */
export const writePolicy = (site: Site): Report => {
  const draft: Draft = {
    names: new Set(['loopback']),
    networks: [],
    domains: [],
    rules: [],
    tests: [],
  };
  const wide = site.clients.filter((each) => each.act === 'relay' && everybody(each));
  const clients = effective(site.clients.filter((each) => !wide.includes(each)));
  const inbound = inboundOf(draft, site);
  const groups = clientGroups(draft, clients);
  for (const group of grouped(
    site.recipients.filter(({ act }) => act === 'refuse'),
    namesOverlap,
  ))
    refusals(draft, group, 'to', 'recipient');
  const senders = site.senders.slice(0, site.senders.findLastIndex(({ act }) => act === 'refuse') + 1);
  senderRules(draft, senders, inbound.text, groups);
  const simple = clients.every(({ act }) => act === 'relay');
  if (!simple) clientRules(draft, groups, inbound.text);
  if (inbound.text !== '') rule(draft, 'inbound', 'allow', `to: ${inbound.text}`);
  if (simple) clientRules(draft, groups, inbound.text);
  // Last of all: a name costs a look-up in the DNS, which nobody needs whose address or recipient was enough.
  const trusted = [...draft.names].filter((name) => /^trusted_names/.test(name));
  for (const name of trusted)
    rule(draft, 'hosts by name, confirmed forward', 'allow', `client_name: ${name}`);
  rule(draft, 'people who logged in', 'allow', 'login: any, tls: true');
  const stranger = strangerTo(site);
  test(draft, 'a stranger may not relay', stranger, OUTSIDE, 'deny');
  const refused = site.recipients.length > 0 || senders.length > 0;
  if (!refused) {
    domainTests(draft, stranger, inbound.local, 'mail comes in for');
    domainTests(draft, stranger, inbound.relayed, 'mail is passed on to');
  }
  clientTests(draft, clients);
  const text = [
    `# Made by "sekisho import" from the files of ${site.system}: ${site.files.join(', ')}`,
    ...site.open.map(({ origin, why }) => `# Not taken over: ${noteOf(origin, why)}`),
    'version: 1',
    ...(draft.networks.length > 0 ? ['networks:', ...draft.networks] : []),
    ...(draft.domains.length > 0 ? ['domains:', ...draft.domains] : []),
    'rules:                              # first match wins; nothing matched: relaying denied',
    ...draft.rules,
    'tests:',
    ...draft.tests,
    '',
  ].join('\n');
  return {
    text,
    notes: [
      ...site.open.map(({ origin, why }) => `${noteOf(origin, why)}. The policy does not.`),
      ...wide.map(({ origin }) => noteOf(origin, 'everybody may relay. The policy does not take that over.')),
      ...site.leftOut.map(({ origin, why }) => noteOf(origin, why)),
      ...site.names
        .filter(({ act }) => act === 'refuse')
        .map(({ origin }) =>
          noteOf(
            origin,
            'hosts refused by name: a rule for it would look up every client, and is left to you',
          ),
        ),
    ],
  };
};
