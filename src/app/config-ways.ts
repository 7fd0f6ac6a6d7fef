/** Which upstream is for whom, what a listener intercepts, and clients' own addresses towards the upstream: keys and faults. */
import { z } from 'zod';
import { type Cidr, IpSet, parseCidr, parseIp } from '../base/ip.js';
import { DomainSet, parseDomainEntry } from '../policy/domain-set.js';
import type { ListenerOptions, UpstreamOptions } from '../proxy/options.js';
import type { ListenInput, UpstreamInput } from './config-schema.js';

export const INTERCEPTIONS = ['none', 'redirect', 'tproxy'] as const;

const atLeastOne = 'must hold at least one entry';

const networkFault = (given: unknown): string | undefined => {
  const cidr = parseCidr(String(given));
  return cidr.ok ? undefined : cidr.error;
};

const domainFault = (given: unknown): string | undefined => {
  const entry = parseDomainEntry(String(given));
  if (!entry.ok) return entry.error;
  return entry.value.kind === 'domain'
    ? undefined
    : 'must be a domain: example.org, or .example.org for all below it too';
};

/** Who an upstream is for; without both it is for everybody. */
export const WAY_SHAPE = {
  destinations: z
    .array(
      z
        .string({ error: 'must be an address or a network' })
        .refine((given) => networkFault(given) === undefined, { error: ({ input }) => networkFault(input) }),
      { error: 'must be a list of addresses or networks' },
    )
    .min(1, atLeastOne)
    .optional(),
  domains: z
    .array(
      z
        .string({ error: 'must be a domain' })
        .refine((given) => domainFault(given) === undefined, { error: ({ input }) => domainFault(input) }),
      { error: 'must be a list of domains' },
    )
    .min(1, atLeastOne)
    .optional(),
};

const blocks = (given: readonly string[]): Cidr[] =>
  given.flatMap((each) => {
    const cidr = parseCidr(each);
    return cidr.ok ? [cidr.value] : [];
  });

export const wayOptions = ({
  destinations,
  domains,
}: Pick<UpstreamInput, 'destinations' | 'domains'>): Pick<UpstreamOptions, 'destinations' | 'domains'> => ({
  ...(destinations === undefined ? {} : { destinations: IpSet.of(blocks(destinations)) }),
  ...(domains === undefined
    ? {}
    : {
        domains: DomainSet.of(
          domains.flatMap((each) => {
            const entry = parseDomainEntry(each);
            return entry.ok ? [entry.value] : [];
          }),
        ),
      }),
});

export const interceptionOf = ({ intercept }: ListenInput): Pick<ListenerOptions, 'intercept'> =>
  intercept === undefined || intercept === 'none' ? {} : { intercept };

const isLoopback = (host: string): boolean => {
  const ip = parseIp(host);
  return host === 'localhost' || (ip?.family === 4 && ip.text.startsWith('127.'));
};

/** What cannot work, whatever else is so. */
export const wayFaults = (
  listeners: readonly ListenerOptions[],
  upstreams: readonly UpstreamOptions[],
): readonly string[] => [
  ...upstreams
    .filter(({ identity, host }) => identity === 'tproxy' && isLoopback(host))
    .map(
      ({ name, host }) =>
        `upstream ${name}: identity: tproxy does not work with ${host}: Linux sends nothing from there to another address. Let the mail server listen on an address of this host and write that; "sekisho tproxy --apply" closes its port to everybody else.`,
    ),
  ...listeners
    .filter(({ intercept, proxyFrom }) => intercept !== undefined && proxyFrom !== undefined)
    .map(
      ({ name }) =>
        `listener ${name}: intercept and proxy_from exclude one another: a balancer's connections are meant for this host. Use two listeners.`,
    ),
  ...(listeners.some(({ intercept }) => intercept !== undefined) &&
  !upstreams.some(({ host, destinations }) => destinations !== undefined || parseIp(host) !== undefined)
    ? [
        'a listener intercepts, but no upstream says for which addresses: write destinations: [192.0.2.25], or an address as host.',
      ]
    : []),
];
