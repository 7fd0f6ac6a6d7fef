/** Makes a server listen: on descriptors that somebody else has bound already, or on an address that it binds itself. */
import type net from 'node:net';
import { listenFault } from '../base/listen-fault.js';
import { err, ok, type Result } from '../base/result.js';
import { libcIfLoaded } from '../host/libc.js';
import { listenTransparently } from '../host/transparent.js';

export interface Bound {
  readonly address: string;
  readonly port: number;
}

/** Connections that may wait until they are accepted. */
const BACKLOG = 1024;

export type Where =
  /** A socket that is bound, perhaps listens already, and is this process' own to close. */
  | { readonly fd: number }
  /** '' is all addresses of the host, port 0 a free one. `transparent`: what is meant for others is taken as well. */
  | { readonly host: string; readonly port: number; readonly transparent?: boolean };

type Place = { readonly fd: number } | { readonly host?: string; readonly port: number };

/** What Node is told; the error is one for people. */
const placeOf = (where: Where): Result<Place, string> => {
  if ('fd' in where) return ok({ fd: where.fd });
  const { host, port, transparent = false } = where;
  if (!transparent) return ok({ ...(host === '' ? {} : { host }), port });
  const libc = libcIfLoaded();
  if (!libc.ok) return libc;
  const made = listenTransparently(libc.value, host, port, BACKLOG);
  return made.ok ? ok({ fd: made.value }) : err(listenFault(made.error, host, port));
};

/** Rejects with an error whose message is fit for people. */
export const listen = (server: net.Server, where: Where): Promise<Bound> =>
  new Promise((resolve, reject) => {
    const failed = (error: NodeJS.ErrnoException): void =>
      reject(
        new Error(
          'fd' in where
            ? `cannot listen on descriptor ${where.fd}: ${error.message}`
            : listenFault(error, where.host, where.port),
        ),
      );
    const place = placeOf(where);
    if (!place.ok) return reject(new Error(place.error));
    server.once('error', failed);
    // Of a descriptor, Node takes no backlog among the options.
    server.listen(place.value, BACKLOG, () => {
      server.off('error', failed);
      const bound = server.address();
      if (typeof bound === 'object' && bound !== null) resolve({ address: bound.address, port: bound.port });
      else reject(new Error(`cannot listen: ${JSON.stringify(where)} is no TCP socket`));
    });
  });
