/** Where a connection was meant to go that a rule of the firewall brought here. */
import type net from 'node:net';
import { networkInterfaces } from 'node:os';
import { err, ok, type Result } from '../base/result.js';
import { libcIfLoaded } from '../host/libc.js';
import { originalDestination } from '../host/transparent.js';
import type { Client } from './preamble.js';

export type Interception = 'redirect' | 'tproxy';

/** It came to the listener itself: whatever stood for its destination would lead here again. */
const STRAIGHT = 'it came straight here, by no rule of the firewall';

const isOwn = (address: string): boolean =>
  Object.values(networkInterfaces()).some((all) => all?.some((each) => each.address === address) === true);

/** The client as it would have been at the host that it meant; `ports`: where the listener listens. */
export const intercepted = (
  socket: net.Socket,
  client: Client,
  how: Interception,
  ports: readonly number[],
): Result<Client, string> => {
  const { server } = client;
  if (how === 'tproxy') {
    // The socket bears the destination; a listener at 25 itself sees no difference in the port.
    return ports.includes(server.port) && isOwn(server.ip.text) ? err(STRAIGHT) : ok(client);
  }
  const libc = libcIfLoaded();
  if (!libc.ok) return libc;
  const meant = originalDestination(libc.value, socket);
  if (!meant.ok) return meant;
  const { ip, port: wanted } = meant.value;
  if (ip.text === server.ip.text && wanted === server.port) return err(STRAIGHT);
  return ok({ ...client, server: { ip, port: wanted } });
};
