/**
 * A TCP socket that is bound and held by one process, and listened on by others, which all take from its one queue. As long
 * as the holder lives no connection is refused: with nobody there it waits in the queue.
 *
 * Node has no public way to bind without listening, and who listens takes connections in. `net._createServerHandle` is
 * what its own cluster module binds by for the same purpose (there since Node 0.10, still in 24); nothing else here knows it.
 */
import net from 'node:net';
import { getSystemErrorName } from 'node:util';
import { listenFault } from '../base/listen-fault.js';
import { err, ok, type Result } from '../base/result.js';

interface Handle {
  readonly fd: number;
  getsockname(out: { address?: string; port?: number }): number;
  close(): void;
}

const isHandle = (value: unknown): value is Handle =>
  typeof value === 'object' &&
  value !== null &&
  'fd' in value &&
  typeof value.fd === 'number' &&
  'getsockname' in value &&
  typeof value.getsockname === 'function' &&
  'close' in value &&
  typeof value.close === 'function';

const createHandle = (host: string, port: number): unknown => {
  const create: unknown = Reflect.get(net, '_createServerHandle');
  if (typeof create !== 'function') throw new Error(`Node ${process.version} cannot share sockets`);
  const family = host === '' ? undefined : net.isIPv6(host) ? 6 : 4;
  return create(host === '' ? null : host, port, family, undefined, 0);
};

export class BoundSocket {
  readonly #handle: Handle;

  private constructor(
    handle: Handle,
    readonly address: string,
    readonly port: number,
  ) {
    this.#handle = handle;
  }

  /** Binds; `host` '' is every address, port 0 a free one. An error is fit for people. */
  static bind(host: string, port: number): Result<BoundSocket, string> {
    const handle = createHandle(host, port);
    const fault = (code: number): Result<never, string> => {
      const name = getSystemErrorName(code);
      return err(listenFault({ code: name, message: name }, host, port));
    };
    if (typeof handle === 'number') return fault(handle);
    if (!isHandle(handle)) return err(`Node ${process.version} cannot share sockets`);
    const at: { address?: string; port?: number } = {};
    // An address in use is told when it is first asked after, not by bind.
    const code = handle.getsockname(at);
    if (code === 0) return ok(new BoundSocket(handle, at.address ?? host, at.port ?? port));
    handle.close();
    return fault(code);
  }

  /** Of this process. */
  get fd(): number {
    return this.#handle.fd;
  }

  /** Lets go of it: once all who listen have done so too, connections are refused. */
  close(): void {
    this.#handle.close();
  }
}
