/** What stands behind: Postfix's smtp-sink, or a sink of our own that costs next to nothing. */
import path from 'node:path';
import { freePort, libraryPath, unpack } from '../../support/packages.js';
import { native } from '../native.js';
import { launch, type Running, scratch } from './running.js';

/** `refuse`: every recipient gets 5xx, as a mail server that relays for nobody would say. */
export const smtpSink = async (refuse: boolean): Promise<Running> => {
  const root = await unpack('postfix');
  const port = await freePort();
  const program = path.join(root, 'usr/sbin/smtp-sink');
  const how = refuse ? ['-f', 'RCPT'] : [];
  return launch({
    port,
    command: [program, '-u', 'nobody', '-m', '30000', ...how, `127.0.0.1:${port}`, '4096'],
    env: { LD_LIBRARY_PATH: libraryPath(root) },
    dir: scratch(),
  });
};

/** `before`: what stands before the command, as `taskset -c 0`. */
export const fastSink = async (
  refuse: boolean,
  before?: readonly [string, ...string[]],
): Promise<Running> => {
  const port = await freePort();
  const sink = [await native('sink'), `${port}`, ...(refuse ? ['refuse'] : [])] as const;
  return launch({ port, command: before === undefined ? sink : [...before, ...sink], dir: scratch() });
};
