/** The one place that wires objects together. */
import { hkdfSync, randomBytes } from 'node:crypto';
import { createMetrics, type Metrics } from '../admin/metrics.js';
import { fanOut, type Note, type SekishoEvent } from '../base/events.js';
import type { Ip } from '../base/ip.js';
import { Authenticator } from '../identity/authenticator.js';
import { Throttle } from '../identity/throttle.js';
import type { Descriptors } from '../proxy/options.js';
import { SmtpProxy } from '../proxy/proxy.js';
import { Quotas } from '../proxy/quotas.js';
import { secureUpstream } from '../proxy/upstream-tls.js';
import { Bans } from '../windows/bans.js';
import type { Windows } from '../windows/keeper.js';
import { MailProxy } from '../windows/sources/mail-proxy.js';
import { WindowSources } from '../windows/sources/sources.js';
import { type StateStore, StoreError } from '../windows/store.js';
import type { Setup } from './config.js';
import { figuresOf } from './figures.js';
import { createLog, type LogControl } from './log.js';
import { buildStore, buildWindows } from './state.js';
import { VERSION } from './version.js';

export interface Composed {
  readonly proxy: SmtpProxy;
  /** Where events go: the log, and whoever else subscribed. */
  readonly note: Note;
  readonly state: StateStore;
  /** The POP3 and IMAP proxies; there may be none. */
  readonly mail: MailProxy;
  readonly metrics: Metrics;
  /** Opens and closes windows by the rules of the site. */
  readonly windows: Windows;
  /** How loud the log is. */
  readonly log: LogControl;
  /** Logs and Whoson; there may be none. */
  readonly sources: WindowSources;
}

const metricsOf = ({ proxy, mailProxies }: Setup): Metrics => {
  const metrics = createMetrics({
    version: VERSION,
    listeners: [...proxy.listeners, ...mailProxies].map(({ name }) => name),
    upstreams: proxy.upstreams.map(({ name }) => name),
    connections: proxy.limits.connections,
  });
  metrics.policy({ rules: proxy.policy.rules, observe: proxy.observe });
  return metrics;
};

/** The same over restarts and processes where there is a key to derive it from: see `Logins.secret`. */
const secretOf = (key: string | undefined): Buffer =>
  key === undefined ? randomBytes(32) : Buffer.from(hkdfSync('sha256', key, '', 'sekisho scram', 32));

const authenticatorOf = (
  { proxy, logins, loginTools }: Setup,
  state: StateStore,
  throttle: Throttle,
  note: Note,
  secret: Buffer | undefined,
): Authenticator | undefined => {
  if (logins.length === 0) return undefined;
  return new Authenticator({
    stores: logins.map((start) => start({ ...loginTools, note })),
    throttle,
    state,
    note,
    now: Date.now,
    secret: secret ?? secretOf(proxy.tls[0]?.key),
  });
};

export interface Surroundings {
  /** Hear every event beside the log. */
  readonly subscribers?: readonly Note[] | undefined;
  /** Sockets that somebody else has bound. */
  readonly descriptors?: Descriptors | undefined;
  /** Whether there is a log, or which events it is told of. */
  readonly log?: boolean | ((event: SekishoEvent) => boolean);
  /** Of logins, shared by processes; by default made of the first certificate's key, or by chance. */
  readonly secret?: Buffer | undefined;
}

/** Tells of those events alone that `which` wants told. */
const some = (which: true | ((event: SekishoEvent) => boolean), note: Note): Note =>
  which === true ? note : (event) => (which(event) ? note(event) : undefined);

/** Throws StoreError when the store cannot be had. */
export const compose = (setup: Setup, around: Surroundings = {}): Composed => {
  const { subscribers = [], descriptors, log = true, secret } = around;
  const { format, level } = setup.log;
  const control: LogControl = { level };
  const metrics = metricsOf(setup);
  const logs = log === false ? [] : [some(log, createLog(format, control))];
  let bans: Bans | undefined;
  let quotas: Quotas | undefined;
  const judge = (event: SekishoEvent): void => {
    bans?.hear(event);
    quotas?.hear(event);
  };
  const judges = setup.strangers.bans === undefined && setup.quotas.length === 0 ? [] : [judge];
  const all = [...logs, metrics.note, ...subscribers, ...judges];
  const note = fanOut(all, (error) =>
    process.stderr.write(`sekisho: a subscriber failed: ${String(error)}\n`),
  );
  const state = buildStore(setup, note);
  if (!state.ok) throw new StoreError('connect', state.error);
  bans = new Bans(state.value, setup.strangers.bans, note, Date.now);
  quotas = new Quotas(setup.quotas, state.value, note, Date.now);
  // One for all protocols: a guesser is a guesser.
  const throttle = new Throttle(state.value, setup.throttle, note);
  const authenticator = authenticatorOf(setup, state.value, throttle, note, secret);
  const windows = buildWindows(setup, state.value, note);
  const onLogin = (login: string, client: Ip): void => void windows.open(login, client, 'smtp-auth');
  const opens = setup.roaming.fromSmtpAuth ? { onLogin } : {};
  const proxy = new SmtpProxy({
    ...setup.proxy,
    ...opens,
    descriptors,
    bans,
    quotas,
    state: state.value,
    authenticator,
    note,
  });
  bans.knows = (ip) => proxy.knows(ip);
  quotas.knows = bans.knows;
  const mail = new MailProxy(setup.mailProxies, {
    note,
    descriptors,
    throttle,
    windowLength: setup.roaming.length,
    screen: (ip) => (proxy.knows(ip) ? undefined : bans?.refusal(ip)),
    open: (login, client, source) => windows.open(login, client, source),
    wrap: (socket, floor, done) => proxy.secure(socket, floor, done),
    secure: (socket, { host, tls, trust }, done) => {
      const mode = tls === 'implicit' ? 'implicit' : 'required';
      return secureUpstream(socket, host, { ...trust, mode }, done);
    },
  });
  metrics.attach(figuresOf(proxy, setup.proxy.upstreams, state.value, note));
  const sources = new WindowSources(setup.sources, {
    ...{ note, windows, now: Date.now },
    windowLength: setup.roaming.length,
  });
  return { proxy, note, state: state.value, mail, sources, windows, log: control, metrics };
};
