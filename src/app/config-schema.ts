/**
 * The shape of `sekisho.yaml`. Limits, timeouts and the like have the names of proxy/options in snake_case, and
 * are derived from there, so that no option can be forgotten here.
 */
import { z } from 'zod';
import { DEFAULT_LIMITS, DEFAULT_TIMEOUTS } from '../proxy/options.js';

/** `maxIdle` as the file has it: `max_idle`. */
export const snake = (name: string): string => name.replace(/[A-Z]/g, (letter) => `_${letter.toLowerCase()}`);

export const camel = (name: string): string =>
  name.replace(/_([a-z])/g, (_, letter: string) => letter.toUpperCase());

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

const duration = (least: 0 | 1): z.ZodType<string> => {
  const error = `must be a time such as 30s, 5m or 1h, ${least === 0 ? '' : 'at least 1ms and '}at most 24h`;
  const fits = (text: string): boolean => {
    const time = milliseconds(text);
    return time !== undefined && time >= least && time <= 86_400_000;
  };
  return z.string({ error }).regex(DURATION, { error }).refine(fits, { error });
};
const Duration = duration(1);

const count = (least: number, most = 1_000_000_000): z.ZodNumber => {
  const error = `must be a whole number from ${least} to ${most}`;
  return z.int({ error }).min(least, { error }).max(most, { error });
};

const sizeError = 'must be a number of octets, or a size such as 50MB';
const Size = z.union([count(0, 2 ** 40), z.string().regex(SIZE, { error: sizeError })], { error: sizeError });

const port = (least: number): z.ZodNumber => count(least, 65_535);
const text = (what: string): z.ZodString => z.string({ error: `must be ${what}` }).min(1, `must be ${what}`);
const oneOf = <const W extends readonly [string, ...string[]]>(words: W) =>
  z.enum(words, { error: `must be ${words.join(' or ')}` });

/** The least that makes sense where 1 does not. */
const LEAST: Readonly<Record<string, number>> = {
  messageBytes: 0,
  dataRate: 0,
  commandLine: 512,
  commandLineExtended: 512,
};

const Limits = z.strictObject(
  Object.fromEntries(
    Object.keys(DEFAULT_LIMITS).map((name) => [
      snake(name),
      (name.endsWith('Bytes') ? Size : count(LEAST[name] ?? 1)).optional(),
    ]),
  ),
  { error: 'must be a map of limits' },
);

const Timeouts = z.strictObject(
  Object.fromEntries(
    Object.keys(DEFAULT_TIMEOUTS).map((name) => [
      snake(name),
      (name === 'greetPause' ? duration(0) : Duration).optional(),
    ]),
  ),
  { error: 'must be a map of times' },
);

const LISTENER_NAME = /^[a-z0-9-]{1,32}$/;
const nameError = 'must be 1 to 32 of a-z, 0-9 and -';

const Listen = z.strictObject(
  {
    name: z.string({ error: nameError }).regex(LISTENER_NAME, { error: nameError }).optional(),
    host: text('an IP address').optional(),
    port: port(0),
    bare_lf: oneOf(['reject', 'convert']).optional(),
    long_lines: oneOf(['reject', 'pass']).optional(),
    line_limit: count(78, 1_000_000).optional(),
    eight_bit: oneOf(['reject', 'pass']).optional(),
    tls: oneOf(['none', 'starttls', 'implicit']).optional(),
    tls_floor: oneOf(['1.0', '1.1', '1.2', '1.3']).optional(),
  },
  { error: 'must be a listener: a map with name, host and port' },
);

const Upstream = z.strictObject(
  {
    host: text('a host name or an IP address'),
    port: port(1).optional(),
    name: z
      .string()
      .regex(/^[A-Za-z0-9.:_-]{1,64}$/, { error: 'must be 1 to 64 of A-Z a-z 0-9 . : _ -' })
      .optional(),
    max_connections: count(1, 100_000).optional(),
    max_waiting: count(0).optional(),
    wait_timeout: Duration.optional(),
    max_messages: count(1).optional(),
    max_age: Duration.optional(),
    max_idle: Duration.optional(),
    probe_interval: Duration.optional(),
    identity: z
      .literal('received', { error: 'must be received: the others come in a later version' })
      .optional(),
  },
  { error: 'must be an upstream: a map with host and port' },
);

const Certificate = z.strictObject(
  { cert: text('the path of a PEM file'), key: text('the path of a PEM file') },
  { error: 'must be a map with cert and key' },
);

const atLeastOne = 'must hold at least one entry';

export const ConfigSchema = z.strictObject(
  {
    listen: z.array(Listen, { error: 'must be a list of listeners' }).min(1, atLeastOne).optional(),
    upstream: z
      .union([Upstream, z.array(Upstream).min(1, atLeastOne)], {
        error: 'must be an upstream or a list of them',
      })
      .optional(),
    tls: z
      .union([Certificate, z.array(Certificate).min(1, atLeastOne)], {
        error: 'must be a map with cert and key, or a list',
      })
      .optional(),
    policy: text('the path of a policy file').optional(),
    local_domains: z
      .array(text('a domain'), { error: 'must be a list of domains' })
      .min(1, atLeastOne)
      .optional(),
    trust: z.array(text('a network'), { error: 'must be a list of networks' }).optional(),
    observe: z.boolean({ error: 'must be true or false' }).optional(),
    hostname: z
      .string()
      .regex(/^[A-Za-z0-9](?:[A-Za-z0-9.-]{0,253}[A-Za-z0-9])?$/, { error: 'must be a host name' })
      .optional(),
    received: z.boolean({ error: 'must be true or false' }).optional(),
    resolvers: z.array(text('IP or IP:PORT'), { error: 'must be a list of DNS servers' }).optional(),
    limits: Limits.optional(),
    timeouts: Timeouts.optional(),
    drain: Duration.optional(),
    log: z
      .strictObject(
        {
          format: oneOf(['json', 'classic']).optional(),
          level: oneOf(['debug', 'info', 'warn', 'error']).optional(),
        },
        { error: 'must be a map with format and level' },
      )
      .optional(),
  },
  { error: 'must be a configuration: a map with listen, upstream and policy' },
);

export type ConfigInput = z.infer<typeof ConfigSchema>;
export type ListenInput = z.infer<typeof Listen>;
export type UpstreamInput = z.infer<typeof Upstream>;

/** Keys that are designed and not built yet: named as such, and never ignored. */
export const LATER: ReadonlySet<string> = new Set(['logins', 'roaming', 'store', 'admin', 'require']);

/** The keys that may stand where `path` leads. */
export const configKeysAt = ([first, second]: readonly (string | number)[]):
  | readonly string[]
  | undefined => {
  const shapes: Readonly<Record<string, object>> = {
    listen: Listen.shape,
    upstream: Upstream.shape,
    tls: Certificate.shape,
    limits: Limits.shape,
    timeouts: Timeouts.shape,
    log: { format: 0, level: 0 },
  };
  if (first === undefined) return Object.keys(ConfigSchema.shape);
  const shape = shapes[first];
  return shape === undefined || (first === 'listen' && second === undefined) ? undefined : Object.keys(shape);
};

/** The JSON Schema (draft 2020-12) that ships for editors. */
export const configJsonSchema = (): unknown => ({
  title: 'Sekisho configuration',
  ...(z.toJSONSchema(ConfigSchema) as object),
});
