/** A real Sekisho in this process, on free loopback ports, for tests that look at its events and figures. */
import type { Note, SekishoEvent } from '../../src/base/events.js';
import { IpSet } from '../../src/base/ip.js';
import { Authenticator } from '../../src/identity/authenticator.js';
import type { CredentialStore } from '../../src/identity/credentials.js';
import { DEFAULT_THROTTLE, Throttle, type ThrottleOptions } from '../../src/identity/throttle.js';
import { loadPolicy, type Policy } from '../../src/policy/compile.js';
import { renderError } from '../../src/policy/errors.js';
import { simplePolicy } from '../../src/policy/simple.js';
import {
  DEFAULT_DATA,
  DEFAULT_LIMITS,
  DEFAULT_TIMEOUTS,
  DEFAULT_UPSTREAM,
  type ListenerOptions,
  type ProxyOptions,
  type UpstreamOptions,
} from '../../src/proxy/options.js';
import { SmtpProxy } from '../../src/proxy/proxy.js';
import { type Quota, Quotas } from '../../src/proxy/quotas.js';
import { type BanOptions, Bans, DEFAULT_BANS } from '../../src/windows/bans.js';
import { MemoryStore } from '../../src/windows/stores/memory.js';

export interface Setting {
  readonly upstreams: readonly (Partial<UpstreamOptions> & { readonly port: number })[];
  readonly policy?: Policy;
  readonly limits?: Partial<ProxyOptions['limits']>;
  readonly timeouts?: Partial<ProxyOptions['timeouts']>;
  readonly listener?: Partial<ListenerOptions>;
  readonly observe?: boolean;
  readonly tls?: ProxyOptions['tls'];
  readonly state?: ProxyOptions['state'];
  readonly now?: ProxyOptions['now'];
  readonly clientCa?: ProxyOptions['clientCa'];
  readonly devices?: ProxyOptions['devices'];
  readonly spool?: ProxyOptions['spool'];
  /** Where credentials are proven. */
  readonly logins?: readonly CredentialStore[];
  readonly throttle?: Partial<ThrottleOptions>;
  readonly onLogin?: ProxyOptions['onLogin'];
  readonly receivedLogin?: boolean;
  readonly strangers?: ProxyOptions['strangers'];
  /** Points for offences; without them only bans by hand are kept. */
  readonly bans?: Partial<BanOptions>;
  readonly quotas?: readonly Quota[];
  /** Hears every event too. */
  readonly listen?: Note;
}

export interface Running {
  readonly proxy: SmtpProxy;
  readonly port: number;
  readonly events: SekishoEvent[];
  /** Events of one type. */
  of<T extends SekishoEvent['type']>(type: T): Extract<SekishoEvent, { type: T }>[];
  stop(): Promise<void>;
}

/** Local: local.example and below it nothing. Trusted: 127.0.0.1. */
export const testPolicy = (localDomains = ['local.example'], trust = ['127.0.0.1/32']): Policy => {
  const policy = simplePolicy({ localDomains, trust });
  if (!policy.ok) throw new Error(policy.error.map(renderError).join('\n'));
  return policy.value;
};

export const policyOf = (text: string): Policy => {
  const policy = loadPolicy('test.yaml', text, () => ({ ok: false, error: 'no files' }));
  if (!policy.ok) throw new Error(policy.error.map(renderError).join('\n'));
  return policy.value;
};

export const startSekisho = async (setting: Setting): Promise<Running> => {
  const events: SekishoEvent[] = [];
  let bans: Bans | undefined;
  let quotas: Quotas | undefined;
  const note: Note = (event) => {
    events.push(event);
    bans?.hear(event);
    quotas?.hear(event);
    setting.listen?.(event);
  };
  const now = setting.now ?? Date.now;
  const state = setting.state ?? new MemoryStore();
  const banned = setting.bans && { ...DEFAULT_BANS, exempt: IpSet.of([]), ...setting.bans };
  bans = new Bans(state, banned, note, now);
  quotas = new Quotas(setting.quotas ?? [], state, note, now);
  const throttle = new Throttle(state, { ...DEFAULT_THROTTLE, delay: 10, ...setting.throttle }, note, now);
  const shared = { throttle, state, note, now, secret: Buffer.alloc(32, 7) };
  const authenticator =
    setting.logins === undefined ? undefined : new Authenticator({ stores: setting.logins, ...shared });
  const proxy = new SmtpProxy({
    listeners: [
      {
        name: 'mx',
        host: '127.0.0.1',
        port: 0,
        data: DEFAULT_DATA,
        tls: 'none',
        tlsFloor: '1.2',
        clientCerts: 'none',
        requireLogin: false,
        ...setting.listener,
      },
    ],
    upstreams: setting.upstreams.map((each) => ({
      ...DEFAULT_UPSTREAM,
      name: `127.0.0.1:${each.port}`,
      host: '127.0.0.1',
      ...each,
    })),
    policy: setting.policy ?? testPolicy(),
    observe: setting.observe ?? false,
    hostname: undefined,
    ownName: 'sekisho.local.example',
    instanceToken: 'testtoken',
    received: true,
    receivedLogin: setting.receivedLogin ?? true,
    limits: { ...DEFAULT_LIMITS, ...setting.limits },
    timeouts: { ...DEFAULT_TIMEOUTS, ...setting.timeouts },
    resolvers: [],
    authenticator,
    onLogin: setting.onLogin,
    tls: setting.tls ?? [],
    state,
    ...(setting.now === undefined ? {} : { now: setting.now }),
    clientCa: setting.clientCa,
    devices: setting.devices ?? [],
    ...(setting.spool === undefined ? {} : { spool: setting.spool }),
    ...(setting.strangers === undefined ? {} : { strangers: setting.strangers }),
    bans,
    quotas,
    note,
  });
  bans.knows = (ip) => proxy.knows(ip);
  quotas.knows = bans.knows;
  const [listening] = await proxy.start();
  return {
    proxy,
    port: listening?.port ?? 0,
    events,
    of: (type) => events.filter((event) => event.type === type) as never,
    stop: () => proxy.stop(),
  };
};

/** Waits until `holds`, or fails with what was waited for: when it never comes, and not because a machine is busy. */
export const eventually = async (
  what: string,
  holds: () => boolean | Promise<boolean>,
  patience = 60_000,
): Promise<void> => {
  const until = Date.now() + patience;
  while (!(await holds())) {
    if (Date.now() >= until) throw new Error(`never came about: ${what}`);
    await new Promise((resolve) => setTimeout(resolve, 10));
  }
};
