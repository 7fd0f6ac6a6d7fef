/** Where the metrics look for what no event tells. */
import type { Figures } from '../admin/metrics.js';
import type { Note } from '../base/events.js';
import type { UpstreamOptions } from '../proxy/options.js';
import type { SmtpProxy } from '../proxy/proxy.js';
import { type StateStore, StoreError } from '../windows/store.js';

/** Suspended logins beyond these are not counted: nobody looks at the difference. */
const MOST_SUSPENDED = 10_000;

export const figuresOf = (
  proxy: SmtpProxy,
  upstreams: readonly UpstreamOptions[],
  state: StateStore,
  note: Note,
): Figures => {
  const most = new Map(upstreams.map(({ name, maxConnections }) => [name, maxConnections]));
  const asked = async (ask: Promise<number>): Promise<number> => {
    try {
      return await ask;
    } catch (error) {
      if (error instanceof StoreError)
        note({ type: 'store-error', operation: error.operation, why: error.message });
      throw error;
    }
  };
  return {
    upstreams: () =>
      new Map([...proxy.figures].map(([name, now]) => [name, { ...now, most: most.get(name) ?? 0 }])),
    expiry: () =>
      proxy.expiries.length === 0 ? undefined : Math.min(...proxy.expiries.map(({ expires }) => expires)),
    windowsOpen: () => asked(state.size(Date.now())),
    loginsSuspended: () =>
      asked(state.marks('suspended', MOST_SUSPENDED, Date.now()).then(({ length }) => length)),
  };
};
