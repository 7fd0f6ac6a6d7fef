/** `- oauth: https://login.example.org/realms/mail`: bearer tokens of an OAuth 2 issuer. */
import { z } from 'zod';
import { secureUrl } from '../../identity/stores/json-http.js';
import { type OauthOptions, OauthStore } from '../../identity/stores/oauth.js';
import { count, Duration, duration, milliseconds, oneOf, text } from '../config-fields.js';
import { caFault, secretOf, type Tools } from './files.js';
import type { LoginSource, LoginTools } from './source.js';

/** Signatures with a public key (RFC 7518 3.1, RFC 8037). HS… would take a public key for the secret, none needs none. */
const ALGORITHMS = [
  ...(['RS256', 'RS384', 'RS512', 'PS256', 'PS384', 'PS512'] as const),
  ...(['ES256', 'ES384', 'ES512', 'EdDSA', 'Ed25519'] as const),
] as const;

const listOf = (what: string) =>
  z.union([text(what), z.array(text(what)).min(1, 'must hold at least one entry')], {
    error: `must be ${what}, or a list`,
  });
const Algorithm = z.enum(ALGORITHMS, { error: `must be one of ${ALGORITHMS.join(', ')}` });

const Introspection = z.strictObject(
  {
    url: text('an https URL').optional(),
    client_id: text('the name of this client at the issuer'),
    client_secret_file: text('the path of a file that holds a secret'),
    tokens: oneOf(['all', 'opaque']).optional(),
    cache: duration(0).optional(),
    cache_size: count(1, 1_000_000).optional(),
  },
  { error: 'must be a map with client_id and client_secret_file' },
);

const Schema = z.strictObject(
  {
    oauth: text('the https URL of an issuer'),
    audience: listOf('what the tokens are meant for').optional(),
    jwks_uri: text('an https URL').optional(),
    algorithms: z.array(Algorithm).min(1, 'must hold at least one entry').optional(),
    scopes: listOf('a scope').optional(),
    clock_tolerance: duration(0).optional(),
    keys_max_age: Duration.optional(),
    keys_cooldown: duration(0).optional(),
    name_claim: listOf('a claim such as email').optional(),
    email_verified: oneOf(['require', 'if_given', 'ignore']).optional(),
    senders_claim: text('a claim').optional(),
    introspection: Introspection.optional(),
    ca: text('the path of a PEM file').optional(),
    timeout: Duration.optional(),
    max_attempts: count(1, 10_000).optional(),
  },
  { error: 'must be a map with oauth and audience' },
);
type Entry = z.infer<typeof Schema>;

const NAME_CLAIMS = ['email', 'preferred_username', 'sub'];

const time = (text: string | undefined, fallback: number): number =>
  (text === undefined ? undefined : milliseconds(text)) ?? fallback;

const urlFault = (key: string, url: string | undefined): string[] =>
  url === undefined || secureUrl(url) !== undefined
    ? []
    : [
        `${key} "${url}" must be an https URL, such as https://login.example.org (http only to this host itself).`,
      ];

const fileFaults = (entry: Entry, tools: Tools): string[] => {
  const faults: string[] = [];
  if (entry.introspection !== undefined) {
    const read = secretOf(entry.introspection.client_secret_file, tools);
    if ('fault' in read) faults.push(`client_secret_file ${read.fault}.`);
  }
  const fault = entry.ca === undefined ? undefined : caFault(entry.ca, tools);
  return fault === undefined ? faults : [...faults, `ca ${fault}.`];
};

const introspectionOf = (entry: Entry, tools: Tools): OauthOptions['introspection'] => {
  const given = entry.introspection;
  if (given === undefined) return undefined;
  const read = secretOf(given.client_secret_file, tools);
  if ('fault' in read) throw new Error(read.fault);
  return {
    url: given.url === undefined ? undefined : secureUrl(given.url),
    clientId: given.client_id,
    clientSecret: read.secret,
    tokens: given.tokens ?? 'all',
    cacheTime: time(given.cache, 60_000),
    cacheSize: given.cache_size ?? 10_000,
  };
};

export const oauth: LoginSource<typeof Schema> = {
  key: 'oauth',
  schema: Schema,
  check: (entry, tools) => {
    const { audience, introspection } = entry;
    const local =
      introspection?.tokens !== undefined ? introspection.tokens === 'opaque' : introspection === undefined;
    return [
      ...urlFault('oauth', entry.oauth),
      ...urlFault('jwks_uri', entry.jwks_uri),
      ...urlFault('introspection.url', introspection?.url),
      ...(local && audience === undefined
        ? [
            'audience is missing. Say what tokens for this service are meant for, or any token of the issuer would do.',
          ]
        : []),
      ...fileFaults(entry, tools),
    ];
  },
  create: (entry, tools: LoginTools) => {
    const pem = entry.ca === undefined ? undefined : tools.read(tools.resolve(entry.ca));
    if (pem !== undefined && !pem.ok) throw new Error(`${entry.ca}: ${pem.error}`);
    return new OauthStore({
      issuer: entry.oauth,
      jwksUri: entry.jwks_uri === undefined ? undefined : secureUrl(entry.jwks_uri),
      audience: [entry.audience ?? []].flat(),
      algorithms: entry.algorithms ?? ALGORITHMS,
      clockTolerance: time(entry.clock_tolerance, 30_000) / 1_000,
      timeout: time(entry.timeout, 10_000),
      keysMaxAge: time(entry.keys_max_age, 600_000),
      keysCooldown: time(entry.keys_cooldown, 30_000),
      nameClaims: [entry.name_claim ?? NAME_CLAIMS].flat(),
      emailVerified: entry.email_verified ?? 'if_given',
      sendersClaim: entry.senders_claim,
      scopes: [entry.scopes ?? []].flat(),
      introspection: introspectionOf(entry, tools),
      ca: pem?.value,
      maxAttempts: entry.max_attempts ?? 64,
      note: tools.note,
    });
  },
};
