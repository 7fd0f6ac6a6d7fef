/** What the entries of `logins:` that ask another server have in common. */
import { z } from 'zod';
import { isLoopback } from '../../base/near.js';
import { err, ok, type Result } from '../../base/result.js';
import { TLS_VERSIONS } from '../../base/tls-versions.js';
import { type AttemptOptions, DEFAULT_ATTEMPTS } from '../../identity/stores/attempts.js';
import type { LoginNames } from '../../identity/stores/login-names.js';
import type { PasswordServer, PasswordServerOptions } from '../../identity/stores/password-server.js';
import type { PeerTls, Trust } from '../../identity/stores/peer.js';
import { readAuthorities } from '../../proxy/certificates.js';
import {
  count,
  Duration,
  Fingerprint,
  fingerprintError,
  fingerprintHex,
  HostName,
  milliseconds,
  oneOf,
  PemFile,
  parseEndpoint,
} from '../config-fields.js';
import type { LoginSource, LoginTools } from './source.js';

export const serverError = 'must be a host and a port, such as mail.example.org:995';
export const Server = z
  .string({ error: serverError })
  .refine((place) => endpoint(place) !== undefined, { error: serverError });

/** `host:port` that one can connect to. */
export const endpoint = (place: string): { host: string; port: number } | undefined => {
  const parsed = parseEndpoint(place);
  return parsed === undefined || parsed.host === '' || parsed.port === 0 ? undefined : parsed;
};

export const ATTEMPT_FIELDS = {
  timeout: Duration.optional(),
  max_attempts: count(1, 10_000).optional(),
};

export const TLS_FIELDS = {
  tls: oneOf(['none', 'starttls', 'implicit']).optional(),
  tls_floor: oneOf(TLS_VERSIONS).optional(),
  tls_name: HostName.optional(),
  tls_ca: PemFile.optional(),
  tls_fingerprint: z
    .union([Fingerprint, z.array(Fingerprint).min(1, fingerprintError)], { error: fingerprintError })
    .optional(),
  tls_verify: z.boolean({ error: 'must be true or false' }).optional(),
};

export const DOMAIN_FIELD = { domain: HostName.optional() };

export const ASK_FIELD = { ask: oneOf(['name', 'address']).optional() };

/** All that a server takes which is asked by logging in there. */
export const PASSWORD_SERVER_FIELDS = { ...ATTEMPT_FIELDS, ...TLS_FIELDS, ...DOMAIN_FIELD, ...ASK_FIELD };

type Inferred<F extends z.core.$ZodShape> = z.infer<z.ZodObject<F>>;
export type AttemptInput = Inferred<typeof ATTEMPT_FIELDS>;
export type TlsInput = Inferred<typeof TLS_FIELDS>;
export type NamesInput = Inferred<typeof DOMAIN_FIELD> & Partial<Inferred<typeof ASK_FIELD>>;
export type PasswordServerInput = AttemptInput & TlsInput & NamesInput;

export const attemptsOf = ({ timeout, max_attempts }: AttemptInput): AttemptOptions => ({
  timeout: milliseconds(timeout ?? '') ?? DEFAULT_ATTEMPTS.timeout,
  maxAttempts: max_attempts ?? DEFAULT_ATTEMPTS.maxAttempts,
});

export const namesOf = ({ domain, ask }: NamesInput): LoginNames => ({
  domain: domain?.toLowerCase(),
  ask: ask ?? 'name',
});

/** Nobody but this host can listen. */
export const staysHere = (host: string): boolean => host.toLowerCase() === 'localhost' || isLoopback(host);

type Files = Pick<LoginTools, 'resolve' | 'read'>;

const trustOf = (entry: TlsInput, files: Files): Result<Trust, string> => {
  const { tls_ca, tls_fingerprint, tls_verify, tls_name } = entry;
  if (tls_verify === false) return ok({ kind: 'insecure' });
  if (tls_fingerprint !== undefined)
    return ok({ kind: 'fingerprint', sha256: [tls_fingerprint].flat().map(fingerprintHex) });
  if (tls_ca === undefined) return ok({ kind: 'name', name: tls_name, ca: undefined });
  const path = files.resolve(tls_ca);
  const content = files.read(path);
  if (!content.ok) return err(`tls_ca: ${path}: cannot read it: ${content.error}.`);
  const pem = readAuthorities(content.value);
  return pem.ok ? ok({ kind: 'name', name: tls_name, ca: pem.value }) : err(`tls_ca: ${path}: ${pem.error}.`);
};

/** How to speak TLS; `mode` is what the entry says, or else `usual`. */
export const tlsOf = (entry: TlsInput, usual: PeerTls['mode'], files: Files): PeerTls => {
  const trust = trustOf(entry, files);
  if (!trust.ok) throw new Error(`${trust.error} (it was there when it was checked)`);
  return { mode: entry.tls ?? usual, floor: entry.tls_floor ?? '1.2', trust: trust.value };
};

/** What is wrong with the keys about TLS. */
export const tlsFaults = (entry: TlsInput, mode: PeerTls['mode'], files: Files): string[] => {
  const { tls_ca, tls_fingerprint, tls_verify, tls_name, tls_floor } = entry;
  const checks = { tls_ca, tls_fingerprint, tls_name };
  const given = (keys: Readonly<Record<string, unknown>>): string[] =>
    Object.keys(keys).filter((key) => keys[key] !== undefined);
  const faults: string[] = [];
  if (mode === 'none') {
    const idle = given({ ...checks, tls_verify, tls_floor });
    if (idle.length > 0) faults.push(`${idle.join(', ')}: there is no TLS. Say tls: starttls or implicit.`);
  } else if (tls_verify === false && given(checks).length > 0)
    faults.push(`tls_verify: false checks nothing. Leave it out, or leave out ${given(checks).join(', ')}.`);
  else if (tls_fingerprint !== undefined && (tls_ca ?? tls_name) !== undefined)
    faults.push('tls_fingerprint says which certificate it is. Leave out tls_ca and tls_name.');
  const trust = trustOf(entry, files);
  return trust.ok ? faults : [...faults, trust.error];
};

const IMPLICIT_PORTS: ReadonlySet<number> = new Set([443, 465, 993, 995]);

/** Without a word of the site: TLS, unless the server is on this very host. */
export const usualMode = ({ host, port }: { host: string; port: number }): PeerTls['mode'] => {
  if (IMPLICIT_PORTS.has(port)) return 'implicit';
  return staysHere(host) ? 'none' : 'starttls';
};

export const nameFaults = ({ domain, ask }: NamesInput): string[] =>
  ask !== undefined && domain === undefined
    ? ['ask: says how a login of the domain is asked about. Add domain: example.org, or leave it out.']
    : [];

type Place = { readonly host: string; readonly port: number };

const NOWHERE: Place = { host: '', port: 0 };

/** A kind whose entry names a server (`key: host:port`) at which passwords are tried. */
export const passwordServer = <S extends z.ZodType<PasswordServerInput>>(
  key: string,
  schema: S,
  place: (entry: z.infer<S>, tools: Omit<LoginTools, 'note'>) => Place | undefined,
  create: (options: PasswordServerOptions) => PasswordServer,
): LoginSource<S> => ({
  key,
  schema,
  check: (entry, tools) => {
    const at = place(entry, tools) ?? NOWHERE;
    return [...tlsFaults(entry, entry.tls ?? usualMode(at), tools), ...nameFaults(entry)];
  },
  create: (entry, tools) => {
    const at = place(entry, tools) ?? NOWHERE;
    const tls = tlsOf(entry, usualMode(at), tools);
    return create({ ...at, ...attemptsOf(entry), tls, names: namesOf(entry) });
  },
});
