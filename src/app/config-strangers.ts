/** The part of `sekisho.yaml` about those whom the site does not know: DNS lists and bans. */
import { z } from 'zod';
import { type Cidr, IpSet, parseCidr } from '../base/ip.js';
import { type CodePattern, parseCodes } from '../door/answer-codes.js';
import { DEFAULT_DNSBL, type DnsblOptions, type DnsList } from '../door/dnsbl.js';
import type { FactNeeds } from '../policy/facts.js';
import type { ListenerOptions } from '../proxy/options.js';
import type { StrangerOptions } from '../proxy/strangers.js';
import { DEFAULT_TARPIT } from '../proxy/tarpit.js';
import { type BanOptions, DEFAULT_BANS } from '../windows/bans.js';
import { count, Duration, duration, milliseconds, text } from './config-fields.js';

const atLeastOne = 'must hold at least one entry';

const networkFault = (given: unknown): string | undefined => {
  const cidr = parseCidr(String(given));
  if (!cidr.ok) return cidr.error;
  return cidr.value.prefix === 0 ? 'holds every address: nobody would be a stranger' : undefined;
};

const Network = z
  .string({ error: 'must be a network such as 192.0.2.0/24' })
  .refine((given) => networkFault(given) === undefined, { error: ({ input }) => networkFault(input) });

const zoneError = 'must be the zone of a DNS list, such as zen.spamhaus.org';
const nameError = 'must be 1 to 64 of A-Z a-z 0-9 . _ -, and not any';
const codesError = 'must be an answer such as 127.0.0.2, 127.0.0.2-11 or 127.0.*.1-3';
const Codes = z.string({ error: codesError }).refine((given) => parseCodes(given).ok, { error: codesError });

const ListEntry = z.strictObject(
  {
    zone: z
      .string({ error: zoneError })
      .regex(/^[A-Za-z0-9_](?:[A-Za-z0-9_-]*\.)+[A-Za-z0-9-]{1,63}\.?$/, { error: zoneError })
      .max(180, { error: zoneError }),
    name: z
      .string({ error: nameError })
      .regex(/^(?!any$)[A-Za-z0-9][A-Za-z0-9._-]{0,63}$/, { error: nameError })
      .optional(),
    weight: z
      .int({ error: 'must be a whole number from -100 to 100, less than 0 for an allow-list' })
      .min(-100)
      .max(100)
      .optional(),
    codes: z.array(Codes, { error: 'must be a list of answers' }).min(1, atLeastOne).optional(),
  },
  { error: 'must be a DNS list: a map with zone' },
);

const Dnsbl = z.strictObject(
  {
    lists: z.array(ListEntry, { error: 'must be a list of DNS lists' }).min(1, atLeastOne),
    threshold: count(1, 10_000).optional(),
    servers: z.array(text('IP or IP:PORT'), { error: 'must be a list of DNS servers' }).optional(),
    timeout: Duration.optional(),
    tries: count(1, 5).optional(),
    cache: count(1, 10_000_000).optional(),
    listed_for: Duration.optional(),
    unlisted_for: Duration.optional(),
  },
  { error: 'must be a map with lists' },
);

const Bans = z.strictObject(
  {
    points: count(1, 1_000_000).optional(),
    within: Duration.optional(),
    time: Duration.optional(),
    most_time: Duration.optional(),
    framing: count(0, 1_000).optional(),
    relay: count(0, 1_000).optional(),
    login: count(0, 1_000).optional(),
    dnsbl: count(0, 1_000).optional(),
    silent: z.boolean({ error: 'must be true or false' }).optional(),
  },
  { error: 'must be a map; {} means the defaults' },
);

const Tarpit = z.strictObject(
  {
    delay: duration(0).optional(),
    most_delay: Duration.optional(),
    sessions: count(1, 100_000).optional(),
  },
  { error: 'must be a map with delay, most_delay and sessions' },
);

export const StrangersField = z.strictObject(
  {
    exempt: z.array(Network, { error: 'must be a list of networks' }).optional(),
    dnsbl: Dnsbl.optional(),
    bans: Bans.optional(),
    tarpit: Tarpit.optional(),
  },
  { error: 'must be a map with exempt, dnsbl, bans and tarpit' },
);

export type StrangersInput = z.infer<typeof StrangersField>;

/** The keys below `strangers`, for what was meant by an unknown one. */
export const strangerKeysAt = ([first, second, third]: readonly (string | number)[]):
  | readonly string[]
  | undefined => {
  if (first === undefined) return Object.keys(StrangersField.shape);
  if (first === 'bans') return Object.keys(Bans.shape);
  if (first === 'tarpit') return Object.keys(Tarpit.shape);
  if (first !== 'dnsbl') return undefined;
  if (second === undefined) return Object.keys(Dnsbl.shape);
  return second === 'lists' && third !== undefined ? Object.keys(ListEntry.shape) : undefined;
};

export interface StrangerSetup {
  readonly options: StrangerOptions;
  /** Undefined: nobody is banned but by hand. */
  readonly bans: BanOptions | undefined;
}

/** The fields have been checked. */
const cidrs = (networks: readonly string[]): Cidr[] =>
  networks.flatMap((each) => {
    const cidr = parseCidr(each);
    return cidr.ok ? [cidr.value] : [];
  });

const listOf = ({ zone, name, weight, codes }: z.infer<typeof ListEntry>): DnsList => {
  const bare = zone.replace(/\.$/, '');
  const patterns: CodePattern[] = (codes ?? []).flatMap((each) => {
    const parsed = parseCodes(each);
    return parsed.ok ? [parsed.value] : [];
  });
  return { name: name ?? bare, zone: bare, weight: weight ?? 1, codes: patterns };
};

const time = (given: string | undefined, otherwise: number): number => milliseconds(given ?? '') ?? otherwise;

const dnsblOptions = (given: z.infer<typeof Dnsbl>, faults: string[]): DnsblOptions => {
  const lists = given.lists.map(listOf);
  for (const [i, { name }] of lists.entries())
    if (lists.findIndex((each) => each.name === name) < i)
      faults.push(`strangers.dnsbl: two lists are called "${name}". Give one a name: of its own.`);
  return {
    lists,
    threshold: given.threshold ?? DEFAULT_DNSBL.threshold,
    servers: given.servers ?? DEFAULT_DNSBL.servers,
    timeout: time(given.timeout, DEFAULT_DNSBL.timeout),
    tries: given.tries ?? DEFAULT_DNSBL.tries,
    cache: given.cache ?? DEFAULT_DNSBL.cache,
    mostAge: time(given.listed_for, DEFAULT_DNSBL.mostAge),
    negativeAge: time(given.unlisted_for, DEFAULT_DNSBL.negativeAge),
  };
};

const banOptions = (given: z.infer<typeof Bans>, exempt: IpSet): BanOptions => {
  const { points, most, period, time: once, mostTime, silent } = DEFAULT_BANS;
  const lasts = time(given.time, once);
  return {
    points: {
      framing: given.framing ?? points.framing,
      relay: given.relay ?? points.relay,
      login: given.login ?? points.login,
      dnsbl: given.dnsbl ?? points.dnsbl,
    },
    most: given.points ?? most,
    period: time(given.within, period),
    time: lasts,
    mostTime: Math.max(lasts, time(given.most_time, mostTime)),
    silent: given.silent ?? silent,
    exempt,
  };
};

/** `shared`: networks in which an address stands for many people, of whom nobody is banned for another. */
export const strangerSetup = (
  given: StrangersInput | undefined,
  shared: readonly Cidr[],
  faults: string[],
): StrangerSetup => {
  const { exempt = [], dnsbl, bans, tarpit } = given ?? {};
  const networks = cidrs(exempt);
  const lists = dnsbl === undefined ? { ...DEFAULT_DNSBL, lists: [] } : dnsblOptions(dnsbl, faults);
  return {
    options: {
      exempt: IpSet.of(networks),
      dnsbl: lists,
      tarpit: {
        delay: time(tarpit?.delay, DEFAULT_TARPIT.delay),
        mostDelay: time(tarpit?.most_delay, DEFAULT_TARPIT.mostDelay),
        sessions: tarpit?.sessions ?? DEFAULT_TARPIT.sessions,
      },
    },
    bans: bans === undefined ? undefined : banOptions(bans, IpSet.of([...networks, ...shared])),
  };
};

/** DNS lists that are asked for and are not there. */
export const listFaults = (
  needs: FactNeeds,
  listeners: readonly ListenerOptions[],
  { options }: StrangerSetup,
): string[] => {
  const names = new Set(options.dnsbl.lists.map(({ name }) => name));
  const remedy = 'Add strangers: { dnsbl: { lists: [ { zone: … } ] } } to sekisho.yaml.';
  const unknown = [...needs.lists].filter((name) => !names.has(name));
  const faults = unknown.map(
    (name) => `policy: listed: ${name}: there is no DNS list of this name. ${remedy}`,
  );
  if (names.size > 0) return faults;
  if (needs.listed && unknown.length === 0) faults.push(`policy: listed: there are no DNS lists. ${remedy}`);
  for (const { name, screening } of listeners)
    if (screening !== undefined && screening.dnsbl !== 'none')
      faults.push(`listener ${name}: dnsbl: ${screening.dnsbl}: there are no DNS lists. ${remedy}`);
  return faults;
};
