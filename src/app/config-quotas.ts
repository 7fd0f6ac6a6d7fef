/** The part of `sekisho.yaml` that says how much may come: `quotas`. */
import { z } from 'zod';
import { type Cidr, IpSet, parseCidr } from '../base/ip.js';
import { periodOf } from '../policy/limit.js';
import { QUOTA_COUNTS, QUOTA_SUBJECTS, type Quota, type QuotaCount } from '../proxy/quotas.js';
import { count, octets, oneOf, text } from './config-fields.js';

const TRUSTED = 'trusted';

const nameError = 'must be 1 to 64 of a-z, 0-9 and -';
const exemptError = 'must be trusted, or a network such as 192.0.2.0/24 that does not hold every address';
const rateError = 'must be a number and a period from 1s to 30d, such as 100/1h';
const bytesError = 'must be a size and a period from 1s to 30d, such as 500MB/1d';
const periodError = 'must be a time from 1s to 30d, such as 1h';
const PERIOD = /^\d{1,7}[smhd]$/;

/** What stands before and after the slash, whose shape has been checked; undefined: out of range. */
const rateOf = (given: string): { readonly most: number; readonly period: number } | undefined => {
  const [amount = '', time = ''] = given.split('/');
  const most = octets(amount);
  const period = periodOf(time);
  const fits = most !== undefined && most >= 1 && most <= 2 ** 50;
  return fits && period !== undefined ? { most, period } : undefined;
};

const rate = (shape: RegExp, error: string): z.ZodType<string> =>
  z
    .string({ error })
    .regex(shape, { error })
    .refine((given) => rateOf(given) !== undefined, { error });

const Rate = rate(/^\d{1,9}\/\d{1,7}[smhd]$/, rateError);

const Exempt = z
  .string({ error: exemptError })
  .refine((given) => given === TRUSTED || ((cidr) => cidr.ok && cidr.value.prefix > 0)(parseCidr(given)), {
    error: exemptError,
  });

export const QuotaEntry = z.strictObject(
  {
    name: z
      .string({ error: nameError })
      .regex(/^[a-z0-9-]{1,64}$/, { error: nameError })
      .optional(),
    per: oneOf(QUOTA_SUBJECTS),
    listeners: z
      .array(text('the name of a listener'), { error: 'must be a list of listeners' })
      .min(1, 'must hold at least one entry')
      .optional(),
    exempt: z.array(Exempt, { error: 'must be a list of networks' }).optional(),
    concurrent: count(1, 1_000_000).optional(),
    connections: Rate.optional(),
    messages: Rate.optional(),
    recipients: Rate.optional(),
    bytes: rate(/^\d{1,12}(?:KB|MB|GB)?\/\d{1,7}[smhd]$/, bytesError).optional(),
    refused: Rate.optional(),
    // biome-ignore lint/suspicious/noThenProperty: it is what policies call it too; nobody awaits a configuration.
    then: oneOf(['defer', 'deny']).optional(),
    for: z
      .string({ error: periodError })
      .regex(PERIOD, { error: periodError })
      .refine((given) => periodOf(given) !== undefined, { error: periodError })
      .optional(),
  },
  { error: 'must be a quota: a map with per and what is counted' },
);

export type QuotaInput = z.infer<typeof QuotaEntry>;

const networksOf = (exempt: readonly string[]): Cidr[] =>
  exempt.flatMap((each) => {
    const cidr = each === TRUSTED ? undefined : parseCidr(each);
    return cidr?.ok === true ? [cidr.value] : [];
  });

const countsOf = (given: QuotaInput): QuotaCount[] =>
  QUOTA_COUNTS.flatMap((what) => {
    const parsed = rateOf(given[what] ?? '');
    return parsed === undefined ? [] : [{ what, ...parsed }];
  });

/** The fields have been checked; `listeners`: the names that there are. */
export const quotasOf = (
  given: readonly QuotaInput[],
  listeners: readonly string[],
  faults: string[],
): Quota[] => {
  const names = new Set<string>();
  return given.map((each) => {
    const counts = countsOf(each);
    const whats = [
      ...(each.concurrent === undefined ? [] : ['concurrent']),
      ...counts.map(({ what }) => what),
    ];
    const name = each.name ?? `${whats.join('-')}-per-${each.per}`;
    const fault = (message: string): void => void faults.push(`quota ${name}: ${message}`);
    if (names.has(name)) fault('there are two of this name. Give one a name: of its own.');
    names.add(name);
    if (whats.length === 0) fault(`it counts nothing. Give concurrent or one of ${QUOTA_COUNTS.join(', ')}.`);
    const { per } = each;
    if (
      (per === 'sender' || per === 'login') &&
      (whats.includes('connections') || whats.includes('concurrent'))
    )
      fault(
        `the ${per} is not known when a connection comes. Count connections per client, network or listener.`,
      );
    if (each.for !== undefined && counts.length === 0)
      fault('for: goes only with what is counted in a period. Remove it.');
    for (const listener of each.listeners ?? [])
      if (!listeners.includes(listener)) fault(`there is no SMTP listener "${listener}".`);
    const exempt = each.exempt ?? [];
    return {
      name,
      per,
      concurrent: each.concurrent,
      counts,
      listeners: each.listeners && new Set(each.listeners),
      lasts: each.for === undefined ? 0 : (periodOf(each.for) ?? 0),
      // biome-ignore lint/suspicious/noThenProperty: see above.
      then: each.then ?? 'defer',
      exempt: IpSet.of(networksOf(exempt)),
      sparesTrusted: exempt.includes(TRUSTED),
    };
  });
};
