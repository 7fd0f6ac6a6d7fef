/** A real Sekisho in this process, on free loopback ports, for tests that look at its events and figures. */
import type { SekishoEvent } from '../../src/base/events.js';
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

export interface Setting {
  readonly upstreams: readonly (Partial<UpstreamOptions> & { readonly port: number })[];
  readonly policy?: Policy;
  readonly limits?: Partial<ProxyOptions['limits']>;
  readonly timeouts?: Partial<ProxyOptions['timeouts']>;
  readonly listener?: Partial<ListenerOptions>;
  readonly observe?: boolean;
  readonly tls?: ProxyOptions['tls'];
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
  const proxy = new SmtpProxy({
    listeners: [
      {
        name: 'mx',
        host: '127.0.0.1',
        port: 0,
        data: DEFAULT_DATA,
        tls: 'none',
        tlsFloor: '1.2',
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
    limits: { ...DEFAULT_LIMITS, ...setting.limits },
    timeouts: { ...DEFAULT_TIMEOUTS, ...setting.timeouts },
    resolvers: [],
    tls: setting.tls ?? [],
    note: (event) => events.push(event),
  });
  const [listening] = await proxy.start();
  return {
    proxy,
    port: listening?.port ?? 0,
    events,
    of: (type) => events.filter((event) => event.type === type) as never,
    stop: () => proxy.stop(),
  };
};

/** Waits until `holds`, or fails with what was waited for. */
export const eventually = async (what: string, holds: () => boolean, patience = 10_000): Promise<void> => {
  const until = Date.now() + patience;
  while (!holds()) {
    if (Date.now() >= until) throw new Error(`never came about: ${what}`);
    await new Promise((resolve) => setTimeout(resolve, 10));
  }
};
