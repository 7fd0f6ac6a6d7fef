/**
 * The shape of `sekisho.yaml`. Limits, timeouts and the like have the names of proxy/options in snake_case, and
 * are derived from there, so that no option can be forgotten here.
 */
import { z } from 'zod';
import { parseCidr } from '../base/ip.js';
import { TLS_VERSIONS } from '../base/tls-versions.js';
import { DEFAULT_LIMITS, DEFAULT_TIMEOUTS, IDENTITIES } from '../proxy/options.js';
import { PATCH_IDS } from '../shield/patches.js';
import { AdminField } from './config-admin.js';
import {
  camel,
  count,
  Duration,
  duration,
  Fingerprint,
  fingerprintError,
  HostName,
  milliseconds,
  octets,
  oneOf,
  PemFile,
  ProxyFrom,
  Size,
  snake,
  text,
} from './config-fields.js';
import { FailedLogins, LoginEntry, loginEntryJsonSchema } from './config-logins.js';
import { MAIL_PROXY_KEYS } from './config-mail.js';
import { Processes } from './config-processes.js';
import { QuotaEntry } from './config-quotas.js';
import { SHIELD_CHOICES, SHIELD_SHAPE, SpoolField } from './config-shield.js';
import { sourceKeysAt } from './config-sources.js';
import { RoamingField, STATE_SHAPES } from './config-state.js';
import { StoreField } from './config-store.js';
import { StrangersField, strangerKeysAt } from './config-strangers.js';
import { INTERCEPTIONS, WAY_SHAPE } from './config-ways.js';

export { camel, milliseconds, octets, snake };

const port = (least: number): z.ZodNumber => count(least, 65_535);

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

const atLeastOne = 'must hold at least one entry';
const LISTENER_NAME = /^[a-z0-9-]{1,32}$/;
const nameError = 'must be 1 to 32 of a-z, 0-9 and -';

const CLIENT_CERTS = ['none', 'ask', 'require'] as const;

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
    tls_floor: oneOf(TLS_VERSIONS).optional(),
    client_certs: oneOf(CLIENT_CERTS).optional(),
    dnsbl: oneOf(['none', 'shadow', 'reject']).optional(),
    greylist: duration(0).optional(),
    require: z.literal('login', { error: 'must be login' }).optional(),
    data: oneOf(['stream', 'spool']).optional(),
    proxy_from: ProxyFrom.optional(),
    intercept: oneOf(INTERCEPTIONS).optional(),
    ...SHIELD_SHAPE,
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
    tls: oneOf(['none', 'opportunistic', 'required', 'implicit']).optional(),
    tls_name: HostName.optional(),
    tls_ca: PemFile.optional(),
    tls_fingerprint: z
      .union([Fingerprint, z.array(Fingerprint).min(1, atLeastOne)], { error: fingerprintError })
      .optional(),
    tls_verify: z.boolean({ error: 'must be true or false' }).optional(),
    tls_floor: oneOf(TLS_VERSIONS).optional(),
    shield: oneOf(SHIELD_CHOICES).optional(),
    identity: oneOf(IDENTITIES).optional(),
    ...WAY_SHAPE,
  },
  { error: 'must be an upstream: a map with host and port' },
);

const Certificate = z.strictObject(
  {
    cert: PemFile,
    key: PemFile,
    client_ca: PemFile.optional(),
    client_certs: oneOf(CLIENT_CERTS).optional(),
  },
  { error: 'must be a map with cert and key' },
);

const networkFault = (given: unknown): string | undefined => {
  const cidr = parseCidr(String(given));
  if (!cidr.ok) return cidr.error;
  return cidr.value.prefix === 0
    ? "holds every address: that is what a listener's own options are for"
    : undefined;
};

const Network = z
  .string({ error: 'must be a network such as 192.0.2.0/24' })
  .refine((given) => networkFault(given) === undefined, { error: ({ input }) => networkFault(input) });

const Device = z.strictObject(
  {
    name: z.string({ error: nameError }).regex(LISTENER_NAME, { error: nameError }),
    networks: z.array(Network, { error: 'must be a list of networks' }).min(1, atLeastOne),
    tls_floor: oneOf(TLS_VERSIONS).optional(),
    starttls: z.boolean({ error: 'must be true or false' }).optional(),
    plaintext_auth: z.boolean({ error: 'must be true or false' }).optional(),
    ...SHIELD_SHAPE,
  },
  { error: 'must be a device network: a map with name and networks' },
);

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
    devices: z.array(Device, { error: 'must be a list of device networks' }).optional(),
    logins: z
      .array(LoginEntry, { error: 'must be a list of places where credentials are proven' })
      .min(1, atLeastOne)
      .optional(),
    failed_logins: FailedLogins.optional(),
    policy: text('the path of a policy file').optional(),
    local_domains: z
      .array(text('a domain'), { error: 'must be a list of domains' })
      .min(1, atLeastOne)
      .optional(),
    trust: z.array(text('a network'), { error: 'must be a list of networks' }).optional(),
    observe: z.boolean({ error: 'must be true or false' }).optional(),
    hostname: HostName.optional(),
    received: z.boolean({ error: 'must be true or false' }).optional(),
    received_login: z.boolean({ error: 'must be true or false' }).optional(),
    resolvers: z.array(text('IP or IP:PORT'), { error: 'must be a list of DNS servers' }).optional(),
    store: StoreField.optional(),
    roaming: RoamingField.optional(),
    spool: SpoolField.optional(),
    strangers: StrangersField.optional(),
    quotas: z.array(QuotaEntry, { error: 'must be a list of quotas' }).optional(),
    limits: Limits.optional(),
    timeouts: Timeouts.optional(),
    drain: Duration.optional(),
    processes: Processes.optional(),
    admin: AdminField.optional(),
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
export type CertificateInput = z.infer<typeof Certificate>;
export type DeviceInput = z.infer<typeof Device>;
export type ListenInput = z.infer<typeof Listen>;
export type UpstreamInput = z.infer<typeof Upstream>;

/** The keys that may stand where `path` leads. */
export const configKeysAt = (path: readonly (string | number)[]): readonly string[] | undefined => {
  const [first, second, third] = path;
  if (first === 'strangers') return strangerKeysAt(path.slice(1));
  if (first === 'roaming' && second === 'proxies') return third === undefined ? undefined : MAIL_PROXY_KEYS;
  if (third === 'patches') return PATCH_IDS;
  if (first === 'roaming' && (second === 'logs' || second === 'whoson')) return sourceKeysAt(path.slice(1));
  const shapes: Readonly<Record<string, object>> = {
    listen: Listen.shape,
    upstream: Upstream.shape,
    tls: Certificate.shape,
    devices: Device.shape,
    quotas: QuotaEntry.shape,
    limits: Limits.shape,
    spool: SpoolField.shape,
    failed_logins: FailedLogins.shape,
    timeouts: Timeouts.shape,
    log: { format: 0, level: 0 },
    admin: AdminField.shape,
    ...STATE_SHAPES,
  };
  if (first === undefined) return Object.keys(ConfigSchema.shape);
  const shape = shapes[first];
  return shape === undefined ||
    ((first === 'listen' || first === 'devices' || first === 'quotas') && second === undefined)
    ? undefined
    : Object.keys(shape);
};

/** The JSON Schema (draft 2020-12) that ships for editors. */
export const configJsonSchema = (): unknown => ({
  title: 'Sekisho configuration',
  ...(z.toJSONSchema(ConfigSchema, {
    override: ({ zodSchema, jsonSchema }) => {
      if (zodSchema === (LoginEntry as unknown)) Object.assign(jsonSchema, loginEntryJsonSchema());
    },
  }) as object),
});
