/** `sekisho.yaml`, flags, or both, to what the proxy must be told. Faults name file, line, column, key and remedy. */
import { createHash } from 'node:crypto';
import { isIP } from 'node:net';
import os from 'node:os';
import { err, ok, type Result } from '../base/result.js';
import { DEFAULT_THROTTLE, type ThrottleOptions } from '../identity/throttle.js';
import { type Policy, type PolicyError, renderError } from '../policy/compile.js';
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
import type { Quota } from '../proxy/quotas.js';
import type { MailProxyOptions } from '../windows/sources/mail-options.js';
import type { SourceOptions } from '../windows/sources/sources.js';
import { type AdminSetup, adminFixed, adminSetup } from './config-admin.js';
import { balancers, parseEndpoint } from './config-fields.js';
import { loginFaults, loginPlans, type StartStore } from './config-logins.js';
import { mailProxies } from './config-mail.js';
import { parseProcesses, processesOf } from './config-processes.js';
import { quotasOf } from './config-quotas.js';
import {
  type ConfigInput,
  ConfigSchema,
  camel,
  configKeysAt,
  type ListenInput,
  milliseconds,
  octets,
  type UpstreamInput,
} from './config-schema.js';
import { shieldOverrides, spoolOptions } from './config-shield.js';
import { sourceOptions } from './config-sources.js';
import { type RoamingSetup, roamingSetup } from './config-state.js';
import { type StoreSetup, storeSetup } from './config-store.js';
import { listFaults, type StrangerSetup, strangerSetup } from './config-strangers.js';
import {
  authorities,
  deviceRules,
  type Reading,
  type TlsSetup,
  tlsSetup,
  upstreamTls,
} from './config-tls.js';
import { interceptionOf, wayFaults, wayOptions } from './config-ways.js';
import type { LoginTools } from './logins/source.js';
import { ownName } from './own-name.js';
import { type Faults, faults as faultsOf, policyFile, readTextFile } from './policy-file.js';

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
  /** A number, or auto. */
  readonly processes?: string | undefined;
  /** Nothing is served by it: the DNS lists that a policy names need not be there. */
  readonly offline?: boolean;
}

export interface Setup {
  readonly proxy: Omit<ProxyOptions, 'note' | 'state'>;
  /** Where windows, marks and counts are kept. */
  readonly store: StoreSetup;
  readonly strangers: StrangerSetup;
  readonly quotas: readonly Quota[];
  readonly roaming: RoamingSetup;
  readonly mailProxies: readonly MailProxyOptions[];
  readonly sources: SourceOptions;
  readonly log: { readonly format: LogFormat; readonly level: LogLevel };
  /** The admin endpoint; undefined: there is none. */
  readonly admin: AdminSetup | undefined;
  readonly origin: PolicyOrigin;
  /** Where credentials are proven, in order. */
  readonly logins: readonly StartStore[];
  readonly throttle: ThrottleOptions;
  readonly loginTools: Omit<LoginTools, 'note'>;
  /** The sections that only a restart changes and that nothing else here shows. */
  readonly given: unknown;
  /** Addresses and networks for which intercepted connections may be meant. */
  readonly destinations: readonly string[];
  /** How long a drain may take, ms. */
  readonly drain: number;
  /** How many processes serve. */
  readonly processes: number;
  /** Every file that was read, for watching. */
  readonly files: readonly string[];
}

export const DEFAULT_DRAIN = 30_000;

/** Reads files and remembers which. */
class Files {
  readonly seen: string[] = [];
  constructor(private readonly from: ReadFile) {}
  readonly read: ReadFile = (path) => {
    this.seen.push(path);
    return this.from(path);
  };
}

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
  const faults = parsed.success
    ? loginFaults(parsed.data.logins ?? [])
    : shapeFaults(parsed.error, document.root, configKeysAt);
  if (parsed.success && faults.length === 0) return ok({ config: parsed.data, source });
  for (const { path, onKey, message, remedy } of faults) {
    const report = onKey ? source.reportKey : source.report;
    report(path, message, remedy);
  }
  return err(source.errors);
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

const listenerOptions = (
  given: ListenInput,
  index: number,
  { materials, clientCerts }: TlsSetup,
): ListenerOptions => ({
  name: given.name ?? (index === 0 ? 'mx' : `mx${index + 1}`),
  host: given.host ?? '',
  port: given.port,
  data: {
    lineLimit: given.line_limit ?? DEFAULT_DATA.lineLimit,
    overLong: given.long_lines ?? DEFAULT_DATA.overLong,
    eightBit: given.eight_bit ?? DEFAULT_DATA.eightBit,
    bareLf: given.bare_lf ?? DEFAULT_DATA.bareLf,
  },
  tls: given.tls ?? (materials.length > 0 ? 'starttls' : 'none'),
  tlsFloor: given.tls_floor ?? '1.2',
  clientCerts: given.client_certs ?? clientCerts,
  requireLogin: given.require === 'login',
  proxyFrom: balancers(given.proxy_from),
  ...(given.data === 'spool' ? { spool: true } : {}),
  ...interceptionOf(given),
  screening: { dnsbl: given.dnsbl ?? 'none', greylist: milliseconds(given.greylist ?? '') ?? 0 },
  ...shieldOverrides(given),
});

const upstreamOptions = (given: UpstreamInput, reading: Reading): UpstreamOptions => {
  const { host, port = 25, name, identity, shield, destinations, domains, ...rest } = given;
  const figures = Object.fromEntries(Object.entries(rest).filter(([key]) => !key.startsWith('tls')));
  return {
    ...DEFAULT_UPSTREAM,
    ...values(figures),
    host,
    port,
    name: name ?? `${host}:${port}`,
    tls: upstreamTls(reading, given),
    shield: shield ?? DEFAULT_UPSTREAM.shield,
    identity: identity ?? DEFAULT_UPSTREAM.identity,
    ...wayOptions({ destinations, domains }),
  };
};

/** Where the policy came from. */
export interface PolicyOrigin {
  /** The file as it was read; undefined where flags or the configuration itself are the policy. */
  readonly text: string | undefined;
  /** SHA-256 of all that it was made from, in lower-case hex. */
  readonly hash: string;
  /** The policy file and the files that it names. */
  readonly files: readonly string[];
}

/** The policy that a configuration and flags name, and where it came from; its own tests must pass. */
const policyAndOrigin = (
  config: ConfigInput,
  flags: Flags,
  source: Source | undefined,
  files: Files,
): Result<{ policy: Policy; origin: PolicyOrigin }, Faults> => {
  const read = new Map<string, string>();
  const noted: ReadFile = (path) => {
    const content = files.read(path);
    if (content.ok) read.set(path, content.value);
    return content;
  };
  const policy = policyOf(config, flags, source, noted);
  if (!policy.ok) return policy;
  const made =
    read.size > 0 ? [...read] : [config.local_domains, config.trust, flags.localDomain, flags.trust];
  const hash = createHash('sha256').update(JSON.stringify(made)).digest('hex');
  const origin = { text: read.get(policy.value.source), hash, files: [...read.keys()] };
  return ok({ policy: policy.value, origin });
};

/** The policy that a configuration and flags name; its own tests must pass. */
const policyOf = (
  config: ConfigInput,
  flags: Flags,
  source: Source | undefined,
  read: ReadFile,
): Result<Policy, Faults> => {
  const localDomains = flags.localDomain ?? config.local_domains ?? [];
  const trust = flags.trust ?? config.trust ?? [];
  const fromFlags = flags.localDomain !== undefined || flags.trust !== undefined;
  if (flags.policy !== undefined && fromFlags) {
    return err(
      faultsOf(
        '--policy: a policy file says itself what is local and trusted. Leave out --local-domain and --trust.',
      ),
    );
  }
  const named =
    config.policy === undefined || fromFlags ? undefined : (source?.resolve(config.policy) ?? config.policy);
  const path = flags.policy ?? named;
  if (path === undefined) {
    const policy = simplePolicy({ localDomains, trust });
    return policy.ok
      ? policy
      : err(
          faultsOf(...policy.error.map(({ key, message, remedy }) => `${key}: ${message}. ${remedy}`.trim())),
        );
  }
  if (flags.policy === undefined && (config.local_domains ?? config.trust) !== undefined) {
    return err(
      faultsOf(
        `${source?.file}: policy and local_domains or trust exclude one another. Move them into the policy.`,
      ),
    );
  }
  return policyFile(path, read);
};

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

/** An entry of `logins:` that tries passwords at the upstream itself. */
const asksUpstream = (entry: unknown): boolean =>
  typeof entry === 'object' && entry !== null && 'upstream' in entry && entry.upstream === true;

const duplicates = (names: readonly string[]): string[] =>
  names.filter((name, i) => names.indexOf(name) !== i);

/** Reads everything that flags and files say. All faults are reported, not the first alone. `from`: where files are read. */
export const loadSetup = (flags: Flags, from: ReadFile = readTextFile): Result<Setup, Faults> => {
  const files = new Files(from);
  let config: ConfigInput = {};
  let source: Source | undefined;
  if (flags.config !== undefined) {
    const text = files.read(flags.config);
    if (!text.ok) return err(faultsOf(`${flags.config}: cannot read the configuration: ${text.error}.`));
    const read = readConfig(flags.config, text.value, files.read);
    if (!read.ok) return err(faultsOf(...read.error.map(renderError)));
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
  const reading: Reading = { source, read: files.read, faults };
  const tls = tlsSetup(reading, config.tls);
  const listeners = listen.map((each, i) => listenerOptions(each, i, tls));
  for (const { name, tls: mode } of listeners) {
    if (mode !== 'none' && config.tls === undefined)
      faults.push(`listener ${name}: tls: ${mode} needs a certificate. Add tls: { cert: FILE, key: FILE }.`);
  }
  const devices = deviceRules(config.devices ?? []);
  for (const name of duplicates(devices.map((each) => each.name)))
    faults.push(`two device networks are called "${name}".`);
  const upstreams = upstream.map((each) => upstreamOptions(each, reading));
  for (const name of duplicates(upstreams.map((each) => each.name)))
    faults.push(`two upstreams are called "${name}".`);
  for (const { host } of listeners) {
    if (host !== '' && isIP(host) === 0) faults.push(`listen: host "${host}" is not an IP address.`);
  }
  faults.push(...wayFaults(listeners, upstreams));
  const store = storeSetup(config.store, { source, read: files.read, faults });
  const loginTools = {
    resolve: (path: string) => source?.resolve(path) ?? path,
    read: files.read,
    upstream: upstreams[0] ?? { host: '127.0.0.1', port: 25 },
  };
  const logins = loginPlans(config.logins ?? [], loginTools, faults);
  for (const { name, requireLogin } of listeners) {
    if (requireLogin && config.logins === undefined)
      faults.push(`listener ${name}: require: login needs logins: in the file, or nobody could ever log in.`);
  }
  const [first] = upstreams;
  const byUpstream = config.logins?.some(asksUpstream) === true;
  if (byUpstream && first?.identity.startsWith('proxy'))
    faults.push(
      `logins: upstream: true cannot be used while the upstream expects a PROXY header (identity: ${first.identity}). Name a port without: upstream: ${first.host}:587.`,
    );
  const mail = mailProxies(config.roaming?.proxies ?? [], {
    faults,
    authorities: (path) => authorities(reading, path),
    certified: config.tls !== undefined,
  });
  for (const name of duplicates([...listeners, ...mail].map((each) => each.name)))
    faults.push(`two listeners are called "${name}".`);
  const roaming = roamingSetup(config.roaming);
  const strangers = strangerSetup(config.strangers, roaming.shared, faults);
  const quotas = quotasOf(
    config.quotas ?? [],
    listeners.map(({ name }) => name),
    faults,
  );
  const many = flags.processes === undefined ? config.processes : parseProcesses(flags.processes, faults);
  const processes = processesOf(many ?? 1, store, faults);
  if (processes !== 1 && listeners.some(({ intercept }) => intercept === 'tproxy'))
    faults.push('intercept: tproxy is for one process: write intercept: redirect, or processes: 1.');
  const admin = adminSetup(config.admin, { source, read: files.read, faults });
  const policy = policyAndOrigin(config, flags, source, files);
  if (!policy.ok)
    return err({
      lines: [...faults, ...policy.error.lines],
      testsOnly: policy.error.testsOnly && faults.length === 0,
    });
  if (flags.offline !== true) faults.push(...listFaults(policy.value.policy.needs, listeners, strangers));
  if (faults.length > 0) return err(faultsOf(...faults));
  return ok({
    proxy: {
      listeners,
      upstreams,
      policy: policy.value.policy,
      observe: flags.observe ?? config.observe ?? false,
      hostname: config.hostname,
      ownName: ownName(),
      instanceToken: tokenOf(listeners, upstreams),
      received: config.received ?? true,
      receivedLogin: config.received_login ?? true,
      spool: spoolOptions(config.spool, (path) => source?.resolve(path) ?? path),
      limits: { ...DEFAULT_LIMITS, ...values(config.limits) },
      timeouts: { ...DEFAULT_TIMEOUTS, ...values(config.timeouts) },
      resolvers: config.resolvers ?? [],
      tls: tls.materials,
      clientCa: tls.clientCa,
      devices,
      strangers: strangers.options,
    },
    store,
    strangers,
    quotas,
    roaming,
    mailProxies: mail,
    admin,
    origin: policy.value.origin,
    sources: sourceOptions(config.roaming ?? {}, loginTools.resolve),
    log: { format: format ?? config.log?.format ?? 'json', level: level ?? config.log?.level ?? 'info' },
    logins,
    throttle: { ...DEFAULT_THROTTLE, ...values(config.failed_logins) },
    loginTools,
    given: [
      ...[config.logins, config.failed_logins, adminFixed(admin), config.strangers, config.quotas],
      ...upstream.map(({ destinations, domains }) => [destinations, domains]),
    ],
    destinations: upstream.flatMap(({ host, destinations = [host] }) => destinations),
    drain: milliseconds(config.drain ?? '') ?? DEFAULT_DRAIN,
    processes,
    files: files.seen,
  });
};
