/** `roaming.proxies` of the configuration: POP3 and IMAP proxies that watch logins. */
import { isIP } from 'node:net';
import { z } from 'zod';
import { TLS_VERSIONS } from '../base/tls-versions.js';
import {
  DEFAULT_MAIL_LIMITS,
  DEFAULT_MAIL_TIMEOUTS,
  DEFAULT_MAIL_TRUST,
  type MailProxyOptions,
  type MailServer,
  type MailTimeouts,
} from '../windows/sources/mail-options.js';
import {
  balancers,
  count,
  Duration,
  milliseconds,
  oneOf,
  ProxyFrom,
  parseEndpoint,
  text,
} from './config-fields.js';

const nameError = 'must be 1 to 32 of a-z, 0-9 and -';
const upstreamError = 'must be HOST:PORT';
/** Where `HOST:PORT` is. */
const serverAt = (given: string): { readonly host: string; readonly port: number } | undefined => {
  const endpoint = parseEndpoint(given);
  return endpoint === undefined || endpoint.host === '' || endpoint.port === 0 ? undefined : endpoint;
};
const fingerprintError = 'must be sha256: and 64 hex digits, colons allowed';
const flag = z.boolean({ error: 'must be true or false' });

const Fields = {
  name: z
    .string({ error: nameError })
    .regex(/^[a-z0-9-]{1,32}$/, { error: nameError })
    .optional(),
  protocol: oneOf(['pop3', 'imap']),
  host: text('an IP address').optional(),
  port: count(0, 65_535).optional(),
  tls: oneOf(['none', 'starttls', 'implicit']).optional(),
  tls_floor: oneOf(TLS_VERSIONS).optional(),
  require_tls: flag.optional(),
  upstream: z
    .string({ error: upstreamError })
    .refine((given) => serverAt(given) !== undefined, { error: upstreamError }),
  upstream_tls: oneOf(['none', 'starttls', 'implicit']).optional(),
  upstream_tls_name: text('a host name').optional(),
  upstream_tls_ca: text('the path of a PEM file').optional(),
  upstream_tls_fingerprint: z
    .string({ error: fingerprintError })
    .regex(/^sha256:[0-9A-Fa-f]{2}(?::?[0-9A-Fa-f]{2}){31}$/, { error: fingerprintError })
    .optional(),
  upstream_tls_verify: flag.optional(),
  upstream_tls_floor: oneOf(TLS_VERSIONS).optional(),
  proxy_protocol: oneOf(['none', 'v1', 'v2']).optional(),
  proxy_from: ProxyFrom.optional(),
  connections: count(1).optional(),
  connections_per_address: count(1).optional(),
  proxy_header_timeout: Duration.optional(),
  tls_handshake_timeout: Duration.optional(),
  connect_timeout: Duration.optional(),
  login_timeout: Duration.optional(),
  idle_timeout: Duration.optional(),
  keep: Duration.optional(),
};

export const MailProxyEntry = z.strictObject(Fields, {
  error: 'must be a proxy: a map with protocol and upstream',
});

export const MAIL_PROXY_KEYS: readonly string[] = Object.keys(Fields);

export type MailProxyInput = z.infer<typeof MailProxyEntry>;

/** What the rest of the configuration lends. */
export interface MailReading {
  readonly faults: string[];
  /** The PEM of authorities, or undefined and a fault. */
  readonly authorities: (path: string | undefined) => string | undefined;
  /** There is a certificate for clients. */
  readonly certified: boolean;
}

const PORTS = { pop3: 110, imap: 143 } as const;
const IMPLICIT_PORTS = { pop3: 995, imap: 993 } as const;

const serverOf = (
  given: MailProxyInput,
  fault: (why: string) => void,
  { authorities }: MailReading,
): MailServer => {
  const { host, port } = serverAt(given.upstream) ?? { host: '', port: 0 };
  const tls = given.upstream_tls ?? 'none';
  for (const key of ['name', 'ca', 'fingerprint', 'verify', 'floor'] as const)
    if (tls === 'none' && given[`upstream_tls_${key}`] !== undefined)
      fault(`upstream_tls_${key} means nothing without upstream_tls: starttls or implicit`);
  if (given.upstream_tls_verify === false && given.upstream_tls_fingerprint !== undefined)
    fault('upstream_tls_verify: false and upstream_tls_fingerprint exclude one another');
  const fingerprint = given.upstream_tls_fingerprint?.slice(7).replaceAll(':', '').toLowerCase();
  return {
    host,
    port,
    tls,
    trust: {
      name: given.upstream_tls_name,
      ca: authorities(given.upstream_tls_ca),
      fingerprints: fingerprint === undefined ? [] : [fingerprint],
      verify: given.upstream_tls_verify ?? DEFAULT_MAIL_TRUST.verify,
      floor: given.upstream_tls_floor ?? DEFAULT_MAIL_TRUST.floor,
    },
  };
};

const timesOf = (given: MailProxyInput): MailTimeouts => {
  const { proxyHeader, tlsHandshake, connect, login, idle, keep } = DEFAULT_MAIL_TIMEOUTS;
  const time = (text: string | undefined, otherwise: number): number => milliseconds(text ?? '') ?? otherwise;
  return {
    proxyHeader: time(given.proxy_header_timeout, proxyHeader),
    tlsHandshake: time(given.tls_handshake_timeout, tlsHandshake),
    connect: time(given.connect_timeout, connect),
    login: time(given.login_timeout, login),
    idle: time(given.idle_timeout, idle),
    keep: time(given.keep, keep),
  };
};

export const mailProxies = (
  entries: readonly MailProxyInput[],
  reading: MailReading,
): readonly MailProxyOptions[] =>
  entries.map((given, i) => {
    const { protocol } = given;
    const tls = given.tls ?? (reading.certified ? 'starttls' : 'none');
    const ports = tls === 'implicit' ? IMPLICIT_PORTS : PORTS;
    const before = entries.slice(0, i).filter((each) => each.protocol === protocol).length;
    const name = given.name ?? (before === 0 ? protocol : `${protocol}-${before + 1}`);
    const fault = (why: string): void => {
      reading.faults.push(`roaming proxy ${name}: ${why}.`);
    };
    if (tls !== 'none' && !reading.certified)
      fault(`tls: ${tls} needs a certificate. Add tls: { cert: FILE, key: FILE }`);
    if (given.require_tls === true && tls === 'none')
      fault('require_tls with tls: none would let nobody in. Write tls: starttls');
    if (given.host !== undefined && isIP(given.host) === 0)
      fault(`host "${given.host}" is not an IP address`);
    return {
      name,
      protocol,
      host: given.host ?? '',
      port: given.port ?? ports[protocol],
      tls,
      tlsFloor: given.tls_floor ?? '1.2',
      requireTls: given.require_tls ?? false,
      server: serverOf(given, fault, reading),
      proxyProtocol: given.proxy_protocol ?? 'none',
      proxyFrom: balancers(given.proxy_from),
      limits: {
        connections: given.connections ?? DEFAULT_MAIL_LIMITS.connections,
        connectionsPerAddress: given.connections_per_address ?? DEFAULT_MAIL_LIMITS.connectionsPerAddress,
      },
      timeouts: timesOf(given),
    };
  });
