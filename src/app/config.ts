/** `sekisho.yaml`, flags, or both, to what the proxy must be told. Faults name file, line, column, key and remedy. */
import { createHash } from 'node:crypto';
import { readFileSync } from 'node:fs';
import { isIP } from 'node:net';
import os from 'node:os';
import { err, ok, type Result } from '../base/result.js';
import { runTests } from '../policy/check.js';
import { loadPolicy, type Policy, type PolicyError, renderError } from '../policy/compile.js';
import { readDocument } from '../policy/document.js';
import { shapeFaults } from '../policy/shape.js';
import { simplePolicy } from '../policy/simple.js';
import { type ReadFile, Source } from '../policy/source.js';
import {
  DEFAULT_DATA,
  DEFAULT_LIMITS,
  DEFAULT_TIMEOUTS,
  DEFAULT_UPSTREAM,
  type ListenerOptions,
  type ProxyOptions,
  type UpstreamOptions,
} from '../proxy/options.js';
import { readMaterial, type TlsMaterial } from '../proxy/tls.js';
import {
  type ConfigInput,
  ConfigSchema,
  camel,
  configKeysAt,
  LATER,
  type ListenInput,
  milliseconds,
  octets,
  type UpstreamInput,
} from './config-schema.js';

export type LogFormat = 'json' | 'classic';
export type LogLevel = 'debug' | 'info' | 'warn' | 'error';

/** What a command line says; it overrides the file. */
export interface Flags {
  readonly config?: string | undefined;
  readonly listen?: readonly string[] | undefined;
  readonly upstream?: readonly string[] | undefined;
  readonly localDomain?: readonly string[] | undefined;
  readonly trust?: readonly string[] | undefined;
  readonly policy?: string | undefined;
  readonly observe?: boolean | undefined;
  readonly log?: string | undefined;
  readonly logLevel?: string | undefined;
}

export interface Setup {
  readonly proxy: Omit<ProxyOptions, 'note'>;
  readonly log: { readonly format: LogFormat; readonly level: LogLevel };
  /** How long a drain may take, ms. */
  readonly drain: number;
  /** Every file that was read, for watching. */
  readonly files: readonly string[];
}

/** Lines fit for people; each names its place. */
export type Faults = readonly string[];

export const DEFAULT_DRAIN = 30_000;

/** Reads files and remembers which. */
class Files {
  readonly seen: string[] = [];
  readonly read: ReadFile = (path) => {
    this.seen.push(path);
    try {
      return ok(readFileSync(path, 'utf8'));
    } catch (error) {
      return err(why(error as NodeJS.ErrnoException));
    }
  };
}

const why = (error: NodeJS.ErrnoException): string => {
  switch (error.code) {
    case 'ENOENT':
      return 'no such file';
    case 'EACCES':
      return 'no permission to read it';
    case 'EISDIR':
      return 'it is a folder, not a file';
    default:
      return error.message;
  }
};

/** Parses the text of a configuration file. */
export const readConfig = (
  file: string,
  content: string,
  readFile: ReadFile,
): Result<{ config: ConfigInput; source: Source }, readonly PolicyError[]> => {
  const document = readDocument(content);
  const source = new Source(file, readFile, document);
  if (document.faults.length > 0) return err(document.faults.map((fault) => ({ file, key: '', ...fault })));
  // An empty file is an empty configuration.
  const parsed = ConfigSchema.safeParse(document.root ?? {});
  if (parsed.success) return ok({ config: parsed.data, source });
  for (const { path, onKey, message, remedy } of shapeFaults(parsed.error, document.root, configKeysAt)) {
    const report = onKey ? source.reportKey : source.report;
    const later = onKey && LATER.has(String(path.at(-1)));
    if (later) report(path, 'not available yet in this version', 'Take it out.');
    else report(path, message, remedy);
  }
  return err(source.errors);
};

/** `ADDR:PORT`, `[v6]:PORT`, or `PORT` alone for all addresses. */
export const parseEndpoint = (text: string): { host: string; port: number } | undefined => {
  const match = /^(?:(?:\[([0-9A-Fa-f:.]+)\]|([^:[\]\s]*)):)?(\d{1,5})$/.exec(text);
  if (match === null || Number(match[3]) > 65_535) return undefined;
  return { host: match[1] ?? match[2] ?? '', port: Number(match[3]) };
};

const listenOf = (texts: readonly string[], faults: string[]): ListenInput[] =>
  texts.flatMap((text) => {
    const endpoint = parseEndpoint(text);
    if (endpoint !== undefined && (endpoint.host === '' || isIP(endpoint.host) !== 0)) return [endpoint];
    faults.push(`--listen ${text}: not an address and port. Write 192.0.2.1:25, [2001:db8::1]:25 or 25.`);
    return [];
  });

const upstreamsOf = (texts: readonly string[], faults: string[]): UpstreamInput[] =>
  texts.flatMap((text) => {
    const endpoint = parseEndpoint(text);
    if (endpoint !== undefined && endpoint.host !== '' && endpoint.port > 0) return [endpoint];
    faults.push(`--upstream ${text}: not a host and port. Write mail.example.org:25 or 127.0.0.1:2525.`);
    return [];
  });

const word = <W extends string>(
  flag: string,
  given: string | undefined,
  words: readonly W[],
  faults: string[],
) => {
  if (given === undefined || (words as readonly string[]).includes(given)) return given as W | undefined;
  faults.push(`${flag} ${given}: must be ${words.join(', ')}.`);
  return undefined;
};

/** Values of a section, in the units of the proxy: ms and octets. */
const values = (section: Readonly<Record<string, unknown>> | undefined): Record<string, number> =>
  Object.fromEntries(
    Object.entries(section ?? {}).map(([name, value]) => [
      camel(name),
      typeof value === 'string' ? (milliseconds(value) ?? octets(value) ?? 0) : Number(value),
    ]),
  );

const listenerOptions = (given: ListenInput, index: number, certified: boolean): ListenerOptions => ({
  name: given.name ?? (index === 0 ? 'mx' : `mx${index + 1}`),
  host: given.host ?? '',
  port: given.port,
  data: {
    lineLimit: given.line_limit ?? DEFAULT_DATA.lineLimit,
    overLong: given.long_lines ?? DEFAULT_DATA.overLong,
    eightBit: given.eight_bit ?? DEFAULT_DATA.eightBit,
    bareLf: given.bare_lf ?? DEFAULT_DATA.bareLf,
  },
  tls: given.tls ?? (certified ? 'starttls' : 'none'),
  tlsFloor: given.tls_floor ?? '1.2',
});

const upstreamOptions = ({
  host,
  port = 25,
  name,
  identity: _,
  ...rest
}: UpstreamInput): UpstreamOptions => ({
  ...DEFAULT_UPSTREAM,
  ...values(rest),
  host,
  port,
  name: name ?? `${host}:${port}`,
});

/** The policy that a configuration and flags name; its own tests must pass. */
const policyOf = (
  config: ConfigInput,
  flags: Flags,
  source: Source | undefined,
  files: Files,
): Result<Policy, Faults> => {
  const localDomains = flags.localDomain ?? config.local_domains ?? [];
  const trust = flags.trust ?? config.trust ?? [];
  const fromFlags = flags.localDomain !== undefined || flags.trust !== undefined;
  if (flags.policy !== undefined && fromFlags) {
    return err([
      '--policy: a policy file says itself what is local and trusted. Leave out --local-domain and --trust.',
    ]);
  }
  const named =
    config.policy === undefined || fromFlags ? undefined : (source?.resolve(config.policy) ?? config.policy);
  const path = flags.policy ?? named;
  if (path === undefined) {
    const policy = simplePolicy({ localDomains, trust });
    return policy.ok
      ? policy
      : err(policy.error.map(({ key, message, remedy }) => `${key}: ${message}. ${remedy}`.trim()));
  }
  if (flags.policy === undefined && (config.local_domains ?? config.trust) !== undefined) {
    return err([
      `${source?.file}: policy and local_domains or trust exclude one another. Move them into the policy.`,
    ]);
  }
  return policyFile(path, files.read);
};

/** Loads a policy file and runs the tests it bears. */
export const policyFile = (path: string, read: ReadFile): Result<Policy, Faults> => {
  const text = read(path);
  if (!text.ok) return err([`${path}: cannot read the policy: ${text.error}.`]);
  const policy = loadPolicy(path, text.value, read);
  if (!policy.ok) return err(policy.error.map(renderError));
  const failed = runTests(policy.value).filter((test) => !test.ok);
  return failed.length === 0 ? policy : err(failed.map((test) => renderFailedTest(path, test)));
};

export const renderFailedTest = (
  path: string,
  { name, line, column, expected, got, why: reason }: ReturnType<typeof runTests>[number],
): string => {
  const wanted = expected.rule === undefined ? expected.kind : `${expected.kind} by rule "${expected.rule}"`;
  const was = got.rule === undefined ? got.kind : `${got.kind} by rule "${got.rule}"`;
  return `${path}:${line}:${column}: test "${name}" failed: expected ${wanted}, got ${was} (${reason})`;
};

/** Reads the certificates with their keys; the paths are relative to the configuration file. */
const certificates = (
  config: ConfigInput,
  source: Source | undefined,
  files: Files,
  faults: string[],
): TlsMaterial[] =>
  (config.tls === undefined ? [] : [config.tls].flat()).flatMap(({ cert, key }) => {
    const paths = [cert, key].map((each) => source?.resolve(each) ?? each);
    const texts = paths.map((each) => files.read(each));
    for (const [i, text] of texts.entries())
      if (!text.ok) faults.push(`${paths[i]}: cannot read it: ${text.error}.`);
    const [certText, keyText] = texts;
    if (certText?.ok !== true || keyText?.ok !== true) return [];
    const material = readMaterial(certText.value, keyText.value);
    if (material.ok) return [material.value];
    faults.push(`${paths.join(', ')}: ${material.error}.`);
    return [];
  });

/** Certificates that have expired, or will within two weeks, in words for the log. */
export const expiryWarnings = (materials: readonly TlsMaterial[], now: number): string[] =>
  materials.flatMap(({ names, expires }) => {
    const days = Math.floor((expires - now) / 86_400_000);
    if (days >= 14) return [];
    const when = new Date(expires).toISOString().slice(0, 10);
    return [
      `the certificate for ${names.join(', ')} ${days < 0 ? `EXPIRED on ${when}: clients will refuse it` : `expires on ${when}`}`,
    ];
  });

/** Marks the Received lines of this instance, the same after every restart. */
const tokenOf = (listeners: readonly ListenerOptions[], upstreams: readonly UpstreamOptions[]): string =>
  createHash('sha256')
    .update(
      JSON.stringify([
        os.hostname(),
        listeners.map(({ host, port }) => [host, port]),
        upstreams.map((u) => u.name),
      ]),
    )
    .digest('hex')
    .slice(0, 16);

const duplicates = (names: readonly string[]): string[] =>
  names.filter((name, i) => names.indexOf(name) !== i);

/** Reads everything that flags and files say. All faults are reported, not the first alone. */
export const loadSetup = (flags: Flags): Result<Setup, Faults> => {
  const files = new Files();
  let config: ConfigInput = {};
  let source: Source | undefined;
  if (flags.config !== undefined) {
    const text = files.read(flags.config);
    if (!text.ok) return err([`${flags.config}: cannot read the configuration: ${text.error}.`]);
    const read = readConfig(flags.config, text.value, files.read);
    if (!read.ok) return err(read.error.map(renderError));
    ({ config, source } = read.value);
  }
  const faults: string[] = [];
  const listen =
    flags.listen === undefined ? (config.listen ?? [{ port: 25 }]) : listenOf(flags.listen, faults);
  const given = config.upstream === undefined ? [] : [config.upstream].flat();
  const upstream = flags.upstream === undefined ? given : upstreamsOf(flags.upstream, faults);
  const format = word('--log', flags.log, ['json', 'classic'] as const, faults);
  const level = word('--log-level', flags.logLevel, ['debug', 'info', 'warn', 'error'] as const, faults);
  if (upstream.length === 0 && faults.length === 0) {
    faults.push(
      'no upstream: say where the mail server listens, --upstream HOST:PORT or upstream: in the file.',
    );
  }
  const materials = certificates(config, source, files, faults);
  const listeners = listen.map((each, i) => listenerOptions(each, i, config.tls !== undefined));
  for (const { name, tls } of listeners) {
    if (tls !== 'none' && config.tls === undefined)
      faults.push(`listener ${name}: tls: ${tls} needs a certificate. Add tls: { cert: FILE, key: FILE }.`);
  }
  for (const name of duplicates(listeners.map((each) => each.name)))
    faults.push(`two listeners are called "${name}".`);
  const upstreams = upstream.map(upstreamOptions);
  for (const name of duplicates(upstreams.map((each) => each.name)))
    faults.push(`two upstreams are called "${name}".`);
  for (const { host } of listeners) {
    if (host !== '' && isIP(host) === 0) faults.push(`listen: host "${host}" is not an IP address.`);
  }
  const policy = policyOf(config, flags, source, files);
  if (!policy.ok) faults.push(...policy.error);
  if (!policy.ok || faults.length > 0) return err(faults);
  return ok({
    proxy: {
      listeners,
      upstreams,
      policy: policy.value,
      observe: flags.observe ?? config.observe ?? false,
      hostname: config.hostname,
      ownName: ownName(),
      instanceToken: tokenOf(listeners, upstreams),
      received: config.received ?? true,
      limits: { ...DEFAULT_LIMITS, ...values(config.limits) },
      timeouts: { ...DEFAULT_TIMEOUTS, ...values(config.timeouts) },
      resolvers: config.resolvers ?? [],
      tls: materials,
    },
    log: { format: format ?? config.log?.format ?? 'json', level: level ?? config.log?.level ?? 'info' },
    drain: milliseconds(config.drain ?? '') ?? DEFAULT_DRAIN,
    files: files.seen,
  });
};

/** This host's name as it may stand in EHLO. */
const ownName = (): string => {
  const name = os.hostname();
  return /^[A-Za-z0-9](?:[A-Za-z0-9.-]*[A-Za-z0-9])?$/.test(name) ? name : 'localhost';
};
