/** One process of several. Its supervisor tells it all by the channel between them, and it ends when that is gone. */

import { type FromProcess, PROTOCOL, ToProcess } from '../../app/fleet/messages.js';
import { FleetProcess } from '../../app/fleet/process.js';
import { complain } from '../output.js';

/** Resolves when it is on its way; a supervisor that is gone hears nothing. */
const send = (message: FromProcess): Promise<void> =>
  new Promise((resolve) => {
    if (process.send === undefined || !process.connected) return resolve();
    process.send(message, undefined, undefined, () => resolve());
  });

export const serveAsOneOf = async (): Promise<void> => {
  if (process.send === undefined)
    return complain(
      ['this is how sekisho serve --processes N starts its processes; it is not for people'],
      2,
    );
  let running: FleetProcess | undefined;
  const leave = (): void => {
    if (running === undefined) process.exit(0);
    running.drain();
  };
  // A terminal's signals reach the supervisor too, and it alone decides.
  for (const signal of ['SIGINT', 'SIGHUP', 'SIGUSR2'] as const) process.on(signal, () => {});
  process.on('SIGTERM', leave);
  process.on('disconnect', leave);
  process.on('message', (message) => {
    const parsed = ToProcess.safeParse(message);
    if (!parsed.success) return;
    if (parsed.data.type !== 'begin') return running?.hear(parsed.data);
    FleetProcess.begin(parsed.data, send).then(
      (process) => {
        running = process;
      },
      async (error: unknown) => {
        await send({ type: 'failed', why: error instanceof Error ? error.message : String(error) });
        process.exit(2);
      },
    );
  });
  await send({ type: 'hello', protocol: PROTOCOL });
};
