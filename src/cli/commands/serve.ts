import { compose } from '../../app/compose.js';
import { expiryWarnings, type Flags, loadSetup, type Setup } from '../../app/config.js';
import { type Apply, Reloader } from '../../app/reload.js';
import type { Note } from '../../base/events.js';
import type { SmtpProxy } from '../../proxy/proxy.js';
import { complain } from '../output.js';

const endpoint = (address: string, port: number): string =>
  address.includes(':') ? `[${address}]:${port}` : `${address}:${port}`;

const upstreamText = (proxy: SmtpProxy): string =>
  [...proxy.figures]
    .map(([name, { up }]) => `${name} (${up === true ? 'up' : 'not reachable yet'})`)
    .join(', ');

/** SIGTERM and SIGINT drain; a second one stops at once. */
const endOnSignals = (proxy: SmtpProxy, reloader: Reloader, drain: number): void => {
  let ending = false;
  const end = (): void => {
    if (ending) {
      void proxy.stop().then(() => process.exit(0));
      return;
    }
    ending = true;
    reloader.stop();
    void proxy.drain(drain).then(() => process.exit(0));
  };
  process.on('SIGTERM', end);
  process.on('SIGINT', end);
};

export const serve = async (flags: Flags): Promise<void> => {
  const setup = loadSetup(flags);
  if (!setup.ok) return complain(setup.error, 2);
  const { proxy, note } = compose(setup.value);
  let listening: Awaited<ReturnType<SmtpProxy['start']>>;
  try {
    listening = await proxy.start();
  } catch (error) {
    return complain([(error as Error).message], 2);
  }
  const apply: Apply = ({ policy, observe, tls }) => {
    proxy.setPolicy(policy, observe);
    proxy.setCertificates(tls);
  };
  const reloader = new Reloader(flags, setup.value, apply, note);
  process.on('SIGHUP', () => reloader.reload());
  endOnSignals(proxy, reloader, setup.value.drain);
  warnAbout(setup.value, note);
  const places = listening.map(({ listener, address, port }) => `${endpoint(address, port)} (${listener})`);
  process.stdout.write(
    `sekisho: ready, listening on ${places.join(', ')}; upstream ${upstreamText(proxy)}\n`,
  );
};

const warnAbout = ({ proxy: { observe, tls } }: Setup, note: Note): void => {
  for (const text of expiryWarnings(tls, Date.now())) note({ type: 'warning', text });
  if (observe) note({ type: 'warning', text: 'observing only: everything passes, an open relay stays open' });
};
