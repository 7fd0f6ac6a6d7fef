/** What is looked at when somebody asks: states, not happenings. */
import { Gauge, type Registry } from 'prom-client';
import type { Note } from '../base/events.js';
import type { Merge } from './snapshot.js';

/** The connections to one upstream at present. */
export interface UpstreamFigures {
  readonly connecting: number;
  readonly busy: number;
  readonly idle: number;
  /** Transactions that wait for a connection. */
  readonly waiting: number;
  /** Connections at once, at most. */
  readonly most: number;
  /** undefined until first tried. */
  readonly up: boolean | undefined;
}

/** Where a running Sekisho is asked how it is. */
export interface Figures {
  upstreams(): ReadonlyMap<string, UpstreamFigures>;
  /** When the first of the certificates in force expires, milliseconds since 1970; undefined: there is none. */
  expiry(): number | undefined;
  /** These two ask the store, and may reject. */
  windowsOpen(): Promise<number>;
  loginsSuspended(): Promise<number>;
}

/** A store is asked no more often than this, and a scrape waits no longer than that for it, ms. */
const STORE_INTERVAL = 10_000;
const STORE_PATIENCE = 500;

/** A figure that takes asking: the last answer, undefined while there is none. */
export class SlowFigure {
  readonly #ask: () => Promise<number>;
  readonly #interval: number;
  readonly #patience: number;
  #asking: Promise<void> | undefined;
  #askedAt = Number.NEGATIVE_INFINITY;
  #value: number | undefined;

  constructor(ask: () => Promise<number>, interval = STORE_INTERVAL, patience = STORE_PATIENCE) {
    this.#ask = ask;
    this.#interval = interval;
    this.#patience = patience;
  }

  /** Never rejects: a store that cannot answer has no figures. */
  async read(): Promise<number | undefined> {
    const now = performance.now();
    if (this.#asking === undefined && now - this.#askedAt >= this.#interval) {
      this.#askedAt = now;
      this.#asking = this.#refresh().finally(() => {
        this.#asking = undefined;
      });
    }
    if (this.#asking !== undefined) {
      let timer: NodeJS.Timeout | undefined;
      const late = new Promise<void>((resolve) => {
        timer = setTimeout(resolve, this.#patience);
      });
      await Promise.race([this.#asking, late]);
      clearTimeout(timer);
    }
    return this.#value;
  }

  async #refresh(): Promise<void> {
    try {
      this.#value = await this.#ask();
    } catch {
      this.#value = undefined;
    }
  }
}

/** The rules of the policy in force, as far as they are worth counting. */
export interface CountedPolicy {
  readonly rules: readonly { readonly name: string; readonly verb: string; readonly shadow: boolean }[];
  readonly observe: boolean;
}

export interface Gauges {
  readonly note: Note;
  /** Sets what is only looked at when asked. Rejects never. */
  look(): Promise<void>;
  attach(figures: Figures): void;
  enforced(yes: boolean): void;
}

const define = (registry: Registry) => {
  const gauge = (merge: Merge, name: string, help: string, ...labelNames: string[]): Gauge =>
    new Gauge({ name, help, labelNames, aggregator: merge, registers: [registry] });
  return {
    build: gauge('max', 'sekisho_build_info', 'Always 1; which Sekisho this is.', 'version', 'node'),
    active: gauge('sum', 'sekisho_connections_active', 'Client sessions at present.', 'listener'),
    most: gauge('sum', 'sekisho_connections_max', 'Client connections at once, at most.'),
    windows: gauge(
      'max',
      'sekisho_windows_open',
      'Windows that are open. Absent while the store cannot answer.',
    ),
    suspended: gauge(
      'max',
      'sekisho_logins_suspended',
      'Logins that are suspended. Absent while the store cannot answer.',
    ),
    expiry: gauge(
      'min',
      'sekisho_tls_certificate_expiry_timestamp_seconds',
      'When the first of the certificates shown to clients expires, seconds since 1970.',
    ),
    up: gauge('min', 'sekisho_upstream_up', '1 while the upstream answers, 0 while it does not.', 'upstream'),
    upstream: gauge(
      'sum',
      'sekisho_upstream_connections',
      'Connections to an upstream at present, by state.',
      'upstream',
      'state',
    ),
    upstreamMost: gauge(
      'sum',
      'sekisho_upstream_connections_max',
      'Connections to an upstream at once, at most.',
      'upstream',
    ),
    waiting: gauge(
      'sum',
      'sekisho_upstream_waiting',
      'Transactions that wait for a connection to an upstream.',
      'upstream',
    ),
    enforced: gauge('min', 'sekisho_policy_enforced', '1 if verdicts are enforced, 0 under --observe.'),
    reloaded: gauge(
      'min',
      'sekisho_policy_last_reload_successful',
      '1 if the last load of the policy was put in force, 0 if it was faulty and the one before it is still in force.',
    ),
    reloadedAt: gauge(
      'max',
      'sekisho_policy_last_reload_timestamp_seconds',
      'When the policy in force was loaded, seconds since 1970.',
    ),
    openForms: gauge(
      'max',
      'sekisho_relay_selftest_open_forms',
      'Forms of relaying that the policy in force opens to strangers. Anything but 0 is an open relay.',
    ),
  };
};

/** The gauges of a process that began at `now`, milliseconds since 1970, with a policy in force. */
export const gauges = (
  registry: Registry,
  about: { readonly version: string; readonly listeners: readonly string[]; readonly most: number },
  now: number,
): Gauges => {
  const all = define(registry);
  all.build.set({ version: about.version, node: process.version }, 1);
  for (const listener of about.listeners) all.active.set({ listener }, 0);
  all.most.set(about.most);
  all.reloaded.set(1);
  all.reloadedAt.set(now / 1000);
  for (const gauge of [all.windows, all.suspended, all.expiry, all.openForms]) gauge.remove();
  return new LiveGauges(all);
};

class LiveGauges implements Gauges {
  readonly #all: ReturnType<typeof define>;
  readonly #active = new Map<string, number>();
  #figures: Figures | undefined;
  #windows: SlowFigure | undefined;
  #suspended: SlowFigure | undefined;

  constructor(all: ReturnType<typeof define>) {
    this.#all = all;
  }

  attach(figures: Figures): void {
    this.#figures = figures;
    this.#windows = new SlowFigure(() => figures.windowsOpen());
    this.#suspended = new SlowFigure(() => figures.loginsSuspended());
  }

  enforced(yes: boolean): void {
    this.#all.enforced.set(Number(yes));
  }

  readonly note: Note = (event) => {
    switch (event.type) {
      case 'connect':
        return this.#enter(event.peer.listener, 1);
      case 'disconnect':
        return this.#enter(event.peer.listener, -1);
      case 'reload':
        this.#all.reloaded.set(Number(event.ok));
        if (event.ok) this.#all.reloadedAt.setToCurrentTime();
        return;
      case 'self-test':
        return this.#all.openForms.set(event.open.length);
      default:
        return;
    }
  };

  #enter(listener: string, by: 1 | -1): void {
    this.#active.set(listener, (this.#active.get(listener) ?? 0) + by);
  }

  async look(): Promise<void> {
    const { active, expiry, windows, suspended } = this.#all;
    for (const [listener, count] of this.#active) active.set({ listener }, count);
    if (this.#figures === undefined) return;
    this.#lookUpstream(this.#figures);
    const until = this.#figures.expiry();
    set(expiry, until === undefined ? undefined : until / 1000);
    const [open, held] = await Promise.all([this.#windows?.read(), this.#suspended?.read()]);
    set(windows, open);
    set(suspended, held);
  }

  #lookUpstream(figures: Figures): void {
    const { up, upstream: connections, upstreamMost, waiting } = this.#all;
    for (const [upstream, now] of figures.upstreams()) {
      if (now.up !== undefined) up.set({ upstream }, Number(now.up));
      for (const state of ['connecting', 'busy', 'idle'] as const)
        connections.set({ upstream, state }, now[state]);
      upstreamMost.set({ upstream }, now.most);
      waiting.set({ upstream }, now.waiting);
    }
  }
}

/** A gauge without labels, or none where nothing is known. */
const set = (gauge: Gauge, value: number | undefined): void => {
  if (value === undefined) gauge.remove();
  else gauge.set(value);
};
