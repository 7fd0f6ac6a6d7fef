import type { Flags, Setup } from '../../app/config.js';
import { type Read, readSetup } from '../../app/read-setup.js';
import { Reloader } from '../../app/reload.js';
import { ServiceStatus } from '../../app/service-status.js';
import { Serving } from '../../app/serving.js';
import type { Note } from '../../base/events.js';
import { endpointText } from '../../base/listen-fault.js';
import { err, type Result } from '../../base/result.js';
import { assignSockets, takeHandedSockets } from '../../host/handed-sockets.js';
import { type ServiceManager, serviceManager, type Vital } from '../../host/service-manager.js';
import type { Descriptors, Listening } from '../../proxy/options.js';
import { complain } from '../output.js';

/** The sockets that whoever started us has bound, for the listeners of the configuration. */
const handedOver = ({ proxy, mailProxies }: Setup): Result<Descriptors, readonly string[]> => {
  const sockets = takeHandedSockets(process.env, process.pid);
  return sockets.ok
    ? assignSockets(sockets.value, [...proxy.listeners, ...mailProxies])
    : err([sockets.error]);
};

/** Where some sockets were handed over, it is told which were not. */
const tellUnhanded = ({ proxy, mailProxies }: Setup, handed: Descriptors, note: Note): void => {
  if (handed.size === 0) return;
  for (const { name } of [...proxy.listeners, ...mailProxies])
    if (!handed.has(name))
      note({
        type: 'warning',
        text: `no socket was handed over for the listener ${name}: it has bound one itself`,
      });
};

/** SIGTERM and SIGINT drain; a second one stops at once. */
const endOnSignals = (drain: () => Promise<void>, stop: () => Promise<void>): void => {
  const leave = (): never => process.exit(0);
  let ending = false;
  const end = (): void => {
    void (ending ? stop() : drain()).then(leave);
    ending = true;
  };
  process.on('SIGTERM', end);
  process.on('SIGINT', end);
};

/** Tells the service manager, if there is one, that all is ready, and reloads on SIGHUP. */
const announce = (
  manager: ServiceManager | undefined,
  vital: Vital,
  reload: () => unknown | Promise<unknown>,
): void => {
  process.on('SIGHUP', async () => {
    manager?.reloading();
    await reload();
    manager?.ready(vital);
  });
  manager?.ready(vital);
};

const sayReady = (
  listening: readonly Listening[],
  by: string,
  upstreams: string,
  adminAt: string | undefined,
): void => {
  const places = listening.map(
    ({ listener, address, port }) => `${endpointText(address, port)} (${listener})`,
  );
  if (adminAt !== undefined) process.stdout.write(`sekisho: admin on ${adminAt}\n`);
  process.stdout.write(`sekisho: ready, listening on ${places.join(', ')}${by}; upstream ${upstreams}\n`);
};

const serveAlone = async (flags: Flags, setup: Setup, descriptors: Descriptors): Promise<void> => {
  const status = new ServiceStatus();
  let serving: Serving | undefined;
  let reloader: Reloader | undefined;
  let listening: readonly Listening[];
  let adminAt: string | undefined;
  try {
    serving = await Serving.of(setup, { subscribers: [status.note], descriptors });
    const started = serving;
    listening = [...(await serving.listen()), ...(await serving.follow())];
    reloader = new Reloader(flags, setup, (changed) => started.apply(changed), serving.composed.note);
    adminAt = await serving.admin?.start(setup, serving.composed, reloader);
  } catch (error) {
    reloader?.stop();
    await serving?.stop();
    return complain([(error as Error).message], 2);
  }
  const { proxy, mail, note } = serving.composed;
  serving.begin();
  tellUnhanded(setup, descriptors, note);
  const manager = await serviceManager(process.env, note);
  const facts = () => ({
    sessions: proxy.sessions + mail.sessions,
    down: [...proxy.figures].filter(([, { up }]) => up !== true).map(([name]) => name),
    listening: proxy.listening,
  });
  const alive = (): boolean => status.draining || (proxy.open && mail.open);
  announce(manager, { alive, status: () => status.text(facts()) }, () => reloader.reload());
  endOnSignals(
    () => {
      manager?.stopping(setup.drain);
      reloader.stop();
      return serving.drain(setup.drain);
    },
    () => serving.stop(),
  );
  sayReady(listening, '', serving.upstreamText, adminAt);
};

/** Several processes; this one only watches over them. */
const serveTogether = async (flags: Flags, read: Read, descriptors: Descriptors): Promise<void> => {
  const { Supervisor } = await import('../../app/fleet/supervise.js');
  const supervisor = Supervisor.of(flags, read, descriptors);
  if (typeof supervisor === 'string') return complain([supervisor], 2);
  const giveUp = (why: string, code: 1 | 2): void => {
    complain([why], code);
    void supervisor.stop().then(() => process.exit(code));
  };
  supervisor.onGaveUp = (why) => giveUp(why, 1);
  const { note, status } = supervisor;
  const manager = await serviceManager(process.env, note);
  endOnSignals(
    () => {
      manager?.stopping(read.setup.drain);
      return supervisor.drain();
    },
    () => supervisor.stop(),
  );
  const started = await supervisor.start();
  if (supervisor.ending) return;
  if ('why' in started) return giveUp(started.why, started.fault ? 2 : 1);
  const { processes, listening, upstreams, adminAt } = started;
  tellUnhanded(read.setup, descriptors, note);
  // It is well while one process serves; the others are its own business.
  const facts = () => ({
    sessions: supervisor.connections,
    down: [],
    listening,
    serving: supervisor.serving,
  });
  const alive = (): boolean => supervisor.ending || supervisor.serving > 0;
  announce(manager, { alive, status: () => status.text(facts()) }, () => supervisor.reload());
  process.on('SIGUSR2', () => void supervisor.roll());
  sayReady(listening, ` by ${processes} processes`, upstreams, adminAt);
};

export const serve = async (flags: Flags): Promise<void> => {
  const read = readSetup(flags);
  if (!('setup' in read)) return complain(read, 2);
  const { setup } = read;
  const descriptors = handedOver(setup);
  if (!descriptors.ok) return complain(descriptors.error, 2);
  return setup.processes === 1
    ? serveAlone(flags, setup, descriptors.value)
    : serveTogether(flags, read, descriptors.value);
};
