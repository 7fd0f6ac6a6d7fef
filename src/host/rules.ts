/**
 * The routes and rules that sockets under foreign addresses need, as text for `ip` and `nft`. Pure: `sekisho tproxy`
 * prints and applies them. Tried with strict rp_filter, for IPv4 and IPv6; no sysctl has to change.
 */

/** Marks packets that belong to sockets of this host, whatever their address; `SK`. */
export const MARK = 0x534b;
/** The routing table that delivers them here. */
export const ROUTING_TABLE = 0x534b;
/** The order of our routing rule: before the tables of the system. */
export const RULE_ORDER = 5_347;
/** The table of nftables that is ours alone. */
export const NFT_TABLE = 'sekisho_tproxy';

/** A listener that takes connections meant for others. */
export interface Interception {
  readonly how: 'redirect' | 'tproxy';
  /** Where it listens. */
  readonly port: number;
  /** For whom they are meant: addresses and networks. */
  readonly v4: readonly string[];
  readonly v6: readonly string[];
}

/** What has to be so on this host. */
export interface Plan {
  /** Connections go out under clients' addresses, or are taken by a tproxy listener. */
  readonly transparent: boolean;
  /** Ports of mail servers on this host that see clients' addresses: closed to all others. */
  readonly ownPorts: readonly number[];
  readonly interceptions: readonly Interception[];
}

export const FAMILIES = [4, 6] as const;

/** Words behind `ip -4` or `ip -6`. */
export const RULE = ['fwmark', `${MARK}`, 'lookup', `${ROUTING_TABLE}`, 'pref', `${RULE_ORDER}`] as const;
export const ROUTE = ['local', 'default', 'dev', 'lo', 'table', `${ROUTING_TABLE}`] as const;

const set = (members: readonly (string | number)[]): string =>
  members.length === 1 ? `${members[0]}` : `{ ${members.join(', ')} }`;

/** The port of mail servers everywhere. */
const SMTP = 25;

/** What a packet to one of the destinations looks like, by family. */
const destinations = ({
  v4,
  v6,
}: Interception): readonly { readonly word: 'ip' | 'ip6'; readonly matches: string }[] => {
  const both = [
    { word: 'ip', all: v4 },
    { word: 'ip6', all: v6 },
  ] as const;
  return both
    .filter(({ all }) => all.length > 0)
    .map(({ word, all }) => ({ word, matches: `${word} daddr ${set(all)} tcp dport ${SMTP}` }));
};

const mangle = ({ interceptions }: Plan): string[] => [
  '  # What belongs to a socket of this host is delivered here, whatever its address.',
  '  chain prerouting {',
  '    type filter hook prerouting priority mangle; policy accept;',
  `    meta l4proto tcp socket transparent 1 meta mark set ${MARK} accept`,
  ...interceptions
    .filter(({ how }) => how === 'tproxy')
    .flatMap((each) =>
      destinations(each).map(
        ({ word, matches }) =>
          `    iif != lo ${matches} tproxy ${word} to :${each.port} meta mark set ${MARK} accept`,
      ),
    ),
  '  }',
];

const own = (ports: readonly number[]): string[] => [
  '  # The mail server is on this host: its answers to clients come back to Sekisho rather than go out.',
  '  chain output {',
  '    type route hook output priority mangle; policy accept;',
  `    meta l4proto tcp ct direction original fib daddr type local fib saddr type != local ct mark set ${MARK}`,
  `    ct direction reply ct mark ${MARK} meta mark set ${MARK}`,
  '  }',
  '  # Nobody but this host reaches it around Sekisho.',
  '  chain input {',
  '    type filter hook input priority filter; policy accept;',
  `    iif != lo tcp dport ${set(ports)} reject with tcp reset`,
  '  }',
];

const redirects = (interceptions: readonly Interception[]): string[] => [
  '  # Connections to the mail servers behind this gateway come to Sekisho.',
  '  chain intercept {',
  '    type nat hook prerouting priority dstnat; policy accept;',
  ...interceptions.flatMap((each) =>
    destinations(each).map(({ matches }) => `    iif != lo ${matches} redirect to :${each.port}`),
  ),
  '  }',
];

/** The rules for `nft -f`: they replace those that were there, at once. */
export const nftRules = (plan: Plan): string => {
  const redirected = plan.interceptions.filter(({ how }) => how === 'redirect');
  return [
    // So that the next line finds one.
    `table inet ${NFT_TABLE} {}`,
    `delete table inet ${NFT_TABLE}`,
    `table inet ${NFT_TABLE} {`,
    ...(plan.transparent ? mangle(plan) : []),
    ...(plan.ownPorts.length > 0 ? own(plan.ownPorts) : []),
    ...(redirected.length > 0 ? redirects(redirected) : []),
    '}',
    '',
  ].join('\n');
};

/** A script to copy and paste; with `--remove` as its way back. */
export const script = (plan: Plan): string => {
  const routing = FAMILIES.flatMap((family) => [
    `ip -${family} rule del ${RULE.join(' ')} 2>/dev/null`,
    `ip -${family} rule add ${RULE.join(' ')}`,
    `ip -${family} route replace ${ROUTE.join(' ')}`,
  ]);
  return [
    '# Routes and rules for Sekisho. As root; "sekisho tproxy --apply" does the same. They are gone after a restart of the',
    '# host, and come again with deploy/systemd/tproxy.conf.',
    ...(plan.transparent
      ? ['# Packets marked by the rules below are delivered on this host.', ...routing]
      : []),
    "nft -f - <<'RULES'",
    nftRules(plan).trimEnd(),
    'RULES',
    ...(plan.transparent && plan.ownPorts.length === 0
      ? [
          '# The mail server, on its host: its way to the clients must lead through this host, so that its answers come by here.',
          '#   ip route replace default via THIS_HOST',
          '# What else it sends then comes by here too: sysctl net.ipv4.ip_forward=1 net.ipv6.conf.all.forwarding=1',
        ]
      : []),
    '# The way back:',
    ...wayBack.map((line) => `#   ${line}`),
    '',
  ].join('\n');
};

const wayBack = [
  `nft delete table inet ${NFT_TABLE}`,
  ...FAMILIES.flatMap((family) => [
    `ip -${family} rule del ${RULE.join(' ')}`,
    `ip -${family} route del ${ROUTE.join(' ')}`,
  ]),
];
