/**
 * Sekisho's metrics. Subscribe `note` to the events, ask `scrape` when Prometheus does. Label values are words of closed
 * sets and names of the configuration; never a user, an address, or anything else from the wire.
 */
import { readdir } from 'node:fs/promises';
import { collectDefaultMetrics, Gauge, Registry } from 'prom-client';
import type { Note } from '../base/events.js';
import { beginAtZero, countEvents, counters } from './counters.js';
import { expose, type Format, formatFor } from './exposition.js';
import { type CountedPolicy, type Figures, gauges } from './gauges.js';
import { type Snapshot, takeSnapshot } from './snapshot.js';

export type { CountedPolicy, Figures, UpstreamFigures } from './gauges.js';
export type { Snapshot } from './snapshot.js';

export interface MetricsOptions {
  readonly version: string;
  /** Names of listeners and of POP3 and IMAP proxies, and of upstreams. */
  readonly listeners: readonly string[];
  readonly upstreams: readonly string[];
  /** Client connections at once, at most. */
  readonly connections: number;
}

export interface Scrape {
  readonly contentType: Format;
  readonly body: string;
}

export interface Metrics {
  /** Hears every event. */
  readonly note: Note;
  /** Whom to ask for what no event tells; until then those gauges are absent. */
  attach(figures: Figures): void;
  /** To be told at the start and whenever another policy comes into force. */
  policy(policy: CountedPolicy): void;
  /** All metrics at this moment, for whoever answers for several processes. */
  snapshot(): Promise<Snapshot>;
  /** The answer to a scrape with this Accept header. */
  scrape(accept: string | undefined): Promise<Scrape>;
}

/** The answer to a scrape with this Accept header. */
export const render = async (snapshot: Snapshot, accept: string | undefined): Promise<Scrape> => {
  const contentType = formatFor(accept);
  return { contentType, body: await expose(snapshot, contentType) };
};

/**
 * Of the process metrics: lists of every handle and descriptor, which take milliseconds with ten thousand sessions,
 * and gauges that bear the name of a counter.
 */
const TOO_DEAR = [
  ...['nodejs_active_handles', 'nodejs_active_handles_total', 'nodejs_active_requests'],
  ...['nodejs_active_requests_total', 'nodejs_active_resources', 'nodejs_active_resources_total'],
  'process_open_fds',
];

/** Counts descriptors off the event loop. */
const openDescriptors = (registry: Registry): (() => Promise<void>) => {
  const gauge = new Gauge({
    name: 'process_open_fds',
    help: 'Number of open file descriptors.',
    aggregator: 'sum',
    registers: [registry],
  });
  return async () => {
    try {
      // One of them is that of the folder itself.
      gauge.set((await readdir('/proc/self/fd')).length - 1);
    } catch {
      gauge.remove();
    }
  };
};

export const createMetrics = (options: MetricsOptions): Metrics => {
  const registry = new Registry();
  const counted = counters(registry);
  const states = gauges(registry, { ...options, most: options.connections }, Date.now());
  beginAtZero(counted, options.listeners, options.upstreams);
  const process = new Registry();
  collectDefaultMetrics({ register: process });
  for (const name of TOO_DEAR) process.removeSingleMetric(name);
  const lookAtDescriptors = openDescriptors(process);
  const count = countEvents(counted);

  const snapshot = async (): Promise<Snapshot> => {
    await Promise.all([states.look(), lookAtDescriptors()]);
    return [...(await takeSnapshot(registry)), ...(await takeSnapshot(process))];
  };
  return {
    note: (event) => {
      count(event);
      states.note(event);
    },
    attach: (figures) => states.attach(figures),
    policy: ({ rules, observe }) => {
      states.enforced(!observe);
      for (const { name, verb, shadow } of rules) {
        if (shadow) counted.shadow.cell(name);
        else counted.decisions.cell(verb, name, 'rule');
      }
    },
    snapshot,
    scrape: async (accept) => render(await snapshot(), accept),
  };
};
