/** Where the admin endpoint listens: a TCP port or a UNIX socket. */
import { chmodSync, lstatSync, unlinkSync } from 'node:fs';
import net from 'node:net';
import type { FastifyInstance } from 'fastify';
import { listenFault } from '../base/listen-fault.js';
import type { AdminOptions } from './options.js';

/** A socket that nobody listens on any more is in the way of the next start. */
const clearSocket = async (path: string): Promise<void> => {
  const found = lstatSync(path, { throwIfNoEntry: false });
  if (found === undefined) return;
  if (!found.isSocket()) throw new Error(`admin: ${path} is there already and is no socket`);
  const alive = await new Promise<boolean>((resolve) => {
    const probe = net.connect({ path });
    probe.once('connect', () => resolve(true)).once('error', () => resolve(false));
    probe.once('close', () => probe.destroy());
    setTimeout(() => probe.destroy(), 1_000).unref();
  });
  if (alive) throw new Error(`admin: another program already listens on ${path}`);
  unlinkSync(path);
};

/** Listens; gives where, as a URL or `unix:PATH`. Rejects with an error fit for people. */
export const listenAdmin = async (app: FastifyInstance, { place, tls }: AdminOptions): Promise<string> => {
  if (place.kind === 'socket') {
    await clearSocket(place.path);
    try {
      await app.listen({ path: place.path });
      chmodSync(place.path, place.mode);
    } catch (error) {
      throw new Error(
        `admin: cannot listen on ${place.path}: ${error instanceof Error ? error.message : error}`,
      );
    }
    return `unix:${place.path}`;
  }
  const { host, port } = place;
  try {
    await app.listen({ host, port });
  } catch (error) {
    throw error instanceof Error ? new Error(`admin: ${listenFault(error, host, port)}`) : error;
  }
  const bound = app.server.address();
  const at = typeof bound === 'object' && bound !== null ? bound : { address: host, port };
  const address = at.address.includes(':') ? `[${at.address}]` : at.address;
  return `${tls === undefined ? 'http' : 'https'}://${address}:${at.port}/`;
};
