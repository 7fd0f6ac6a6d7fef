/** What a value in a configuration may be, for every section alike: the errors say what would be right. */
import { z } from 'zod';
import { IpSet, parseCidr } from '../base/ip.js';

const DURATION = /^(\d{1,9})(ms|s|m|h)$/;
const SIZE = /^(\d{1,12})(KB|MB|GB)?$/;
const UNITS: Readonly<Record<string, number>> = { ms: 1, s: 1_000, m: 60_000, h: 3_600_000 };
const MULTIPLES: Readonly<Record<string, number>> = { KB: 1_024, MB: 1_048_576, GB: 1_073_741_824 };

/** Milliseconds of `30s`, `5m`, `500ms`, `1h`; undefined for anything else. */
export const milliseconds = (text: string): number | undefined => {
  const match = DURATION.exec(text);
  return match === null ? undefined : Number(match[1]) * (UNITS[match[2] ?? ''] ?? 1);
};

/** Octets of `50MB`, `1000`; multiples are of 1024. Undefined for anything else. */
export const octets = (text: string): number | undefined => {
  const match = SIZE.exec(text);
  return match === null ? undefined : Number(match[1]) * (MULTIPLES[match[2] ?? ''] ?? 1);
};

export const duration = (least: 0 | 1): z.ZodType<string> => {
  const error = `must be a time such as 30s, 5m or 1h, ${least === 0 ? '' : 'at least 1ms and '}at most 24h`;
  const fits = (text: string): boolean => {
    const time = milliseconds(text);
    return time !== undefined && time >= least && time <= 86_400_000;
  };
  return z.string({ error }).regex(DURATION, { error }).refine(fits, { error });
};
export const Duration = duration(1);

export const count = (least: number, most = 1_000_000_000): z.ZodNumber => {
  const error = `must be a whole number from ${least} to ${most}`;
  return z.int({ error }).min(least, { error }).max(most, { error });
};

const sizeError = 'must be a number of octets, or a size such as 50MB';
export const Size = z.union([count(0, 2 ** 40), z.string().regex(SIZE, { error: sizeError })], {
  error: sizeError,
});

export const text = (what: string): z.ZodString =>
  z.string({ error: `must be ${what}` }).min(1, `must be ${what}`);
export const oneOf = <const W extends readonly [string, ...string[]]>(words: W) =>
  z.enum(words, { error: `must be ${words.join(' or ')}` });

/** `maxIdle` as the file has it: `max_idle`. */
export const snake = (name: string): string => name.replace(/[A-Z]/g, (letter) => `_${letter.toLowerCase()}`);

export const camel = (name: string): string =>
  name.replace(/_([a-z])/g, (_, letter: string) => letter.toUpperCase());

/** `ADDR:PORT`, `[v6]:PORT`, or `PORT` alone for all addresses. */
export const parseEndpoint = (text: string): { host: string; port: number } | undefined => {
  const match = /^(?:(?:\[([0-9A-Fa-f:.]+)\]|([^:[\]\s]*)):)?(\d{1,5})$/.exec(text);
  if (match === null || Number(match[3]) > 65_535) return undefined;
  return { host: match[1] ?? match[2] ?? '', port: Number(match[3]) };
};

export const PemFile = text('the path of a PEM file');

export const HostName = z
  .string({ error: 'must be a host name' })
  .regex(/^[A-Za-z0-9](?:[A-Za-z0-9.-]{0,253}[A-Za-z0-9])?$/, { error: 'must be a host name' });

export const fingerprintError = 'must be sha256: and 64 hex digits, colons allowed';
export const Fingerprint = z
  .string({ error: fingerprintError })
  .regex(/^sha256:[0-9A-Fa-f]{2}(?::?[0-9A-Fa-f]{2}){31}$/, { error: fingerprintError });

/** Lower-case hex without colons, as fingerprints are compared. */
export const fingerprintHex = (fingerprint: string): string =>
  fingerprint.slice('sha256:'.length).replaceAll(':', '').toLowerCase();

const balancerFault = (given: unknown): string | undefined => {
  const cidr = parseCidr(String(given));
  if (!cidr.ok) return cidr.error;
  return cidr.value.prefix === 0
    ? 'holds every address: whoever connects could claim to be anybody. Name the balancers alone'
    : undefined;
};

/** `proxy_from` of a listener: balancers whose PROXY header is believed, and must come. */
export const ProxyFrom = z
  .array(
    z
      .string({ error: 'must be a network such as 192.0.2.0/24' })
      .refine((given) => balancerFault(given) === undefined, { error: ({ input }) => balancerFault(input) }),
    { error: 'must be a list of networks' },
  )
  .min(1, 'must hold at least one entry');

/** Undefined: nobody. */
export const balancers = (given: readonly string[] | undefined): IpSet | undefined =>
  given &&
  IpSet.of(
    given.flatMap((each) => {
      const cidr = parseCidr(each);
      return cidr.ok ? [cidr.value] : [];
    }),
  );
