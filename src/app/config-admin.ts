/** The part of `sekisho.yaml` about the admin endpoint. Off unless it is there: who is on this host may be anybody. */
import { statSync } from 'node:fs';
import { isIP } from 'node:net';
import { z } from 'zod';
import { type AdminOptions, type AdminPlace, DEFAULT_ADMIN_LIMITS } from '../admin/options.js';
import { parseTokens, type Token } from '../admin/tokens.js';
import { isLoopback } from '../base/near.js';
import type { ReadFile, Source } from '../policy/source.js';
import { count, HostName, PemFile, parseEndpoint, text } from './config-fields.js';

/** The port of the examples. */
export const ADMIN_PORT = 9587;

const listenError = `must be ADDRESS:PORT such as 127.0.0.1:${ADMIN_PORT}, a port alone for loopback, or unix:/path/of/a/socket`;

const endpointOf = (given: string): AdminPlace | undefined => {
  if (given.startsWith('unix:'))
    return given.length > 5 ? { kind: 'socket', path: given.slice(5), mode: 0o600 } : undefined;
  const endpoint = parseEndpoint(given);
  if (endpoint === undefined) return undefined;
  const host = endpoint.host === '' ? '127.0.0.1' : endpoint.host;
  return isIP(host) === 0 ? undefined : { kind: 'tcp', host, port: endpoint.port };
};

const modeError = 'must be four octal digits in quotes, such as "0660"';

export const AdminField = z.strictObject(
  {
    listen: z
      .string({ error: listenError })
      .refine((given) => endpointOf(given) !== undefined, { error: listenError })
      .optional(),
    socket_mode: z
      .string({ error: modeError })
      .regex(/^0[0-7]{3}$/, { error: modeError })
      .optional(),
    tokens: text('the path of a file of tokens').optional(),
    hosts: z.array(HostName, { error: 'must be a list of host names' }).optional(),
    tls: z
      .strictObject({ cert: PemFile, key: PemFile }, { error: 'must be a map with cert and key' })
      .optional(),
    requests_per_minute: count(10, 10_000_000).optional(),
    connections: count(10, 100_000).optional(),
    decisions: count(100, 100_000).optional(),
  },
  { error: `must be a map with listen, such as { listen: 127.0.0.1:${ADMIN_PORT} }` },
);

export type AdminInput = z.infer<typeof AdminField>;

export interface AdminSetup extends AdminOptions {
  /** How many of the last decisions are remembered. */
  readonly decisions: number;
}

export const DEFAULT_DECISIONS = 1_000;

/** Where faults go and files come from; paths are relative to the configuration file. */
export interface AdminReading {
  readonly source: Source | undefined;
  readonly read: ReadFile;
  readonly faults: string[];
}

const fileText = ({ source, read, faults }: AdminReading, what: string, path: string): string | undefined => {
  const resolved = source?.resolve(path) ?? path;
  const content = read(resolved);
  if (content.ok) return content.value;
  faults.push(`admin.${what}: ${resolved}: cannot read it: ${content.error}.`);
  return undefined;
};

const tokensOf = (reading: AdminReading, path: string): readonly Token[] => {
  const content = fileText(reading, 'tokens', path);
  if (content === undefined) return [];
  const resolved = reading.source?.resolve(path) ?? path;
  const tokens = parseTokens(resolved, content, statSync(resolved).mode);
  if (tokens.ok) return tokens.value;
  reading.faults.push(...tokens.error.map((fault) => `admin.tokens: ${fault}`));
  return [];
};

/** What `admin` says; undefined: there is no endpoint. */
export const adminSetup = (given: AdminInput | undefined, reading: AdminReading): AdminSetup | undefined => {
  if (given === undefined) return undefined;
  const { listen = `127.0.0.1:${ADMIN_PORT}`, socket_mode: mode } = given;
  const found = endpointOf(listen);
  if (found === undefined) return undefined;
  const place: AdminPlace =
    found.kind === 'socket' ? { ...found, mode: Number.parseInt(mode ?? '0600', 8) } : found;
  if (mode !== undefined && place.kind === 'tcp')
    reading.faults.push('admin.socket_mode: is for a UNIX socket alone. Take it out.');
  if (place.kind === 'tcp' && !isLoopback(place.host) && given.tokens === undefined)
    reading.faults.push(
      `admin.listen: ${listen} can be reached from the network, so it needs tokens: add tokens: FILE, or listen on 127.0.0.1.`,
    );
  const cert = given.tls && fileText(reading, 'tls.cert', given.tls.cert);
  const key = given.tls && fileText(reading, 'tls.key', given.tls.key);
  return {
    place,
    tokens: given.tokens === undefined ? [] : tokensOf(reading, given.tokens),
    tls: cert === undefined || key === undefined ? undefined : { cert, key },
    hosts: (given.hosts ?? []).map((name) => name.toLowerCase()),
    limits: {
      ...DEFAULT_ADMIN_LIMITS,
      ...(given.requests_per_minute === undefined ? {} : { requests: given.requests_per_minute }),
      ...(given.connections === undefined ? {} : { connections: given.connections }),
    },
    decisions: given.decisions ?? DEFAULT_DECISIONS,
  };
};

/** What only a restart changes. */
export const adminFixed = (setup: AdminSetup | undefined): unknown => {
  if (setup === undefined) return undefined;
  const { tokens: _, tls, ...rest } = setup;
  return { ...rest, tls: tls !== undefined };
};
