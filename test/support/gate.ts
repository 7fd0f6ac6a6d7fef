/** A TCP relay before a real server, for what a healthy server never does: being slow, mad, or gone in mid-answer. */
import net from 'node:net';

export type GateMode =
  | 'pass'
  /** Takes everything and answers nothing. */
  | 'hung'
  /** The server's octets one at a time. */
  | 'slow'
  /** Connections end after the first octets of an answer. */
  | 'closing'
  /** The answers are these octets, whatever was asked. */
  | { readonly answer: (asked: Buffer) => Buffer };

export class Gate {
  mode: GateMode = 'pass';
  readonly #sockets = new Set<net.Socket>();
  /** Connections there have been. */
  count = 0;

  private constructor(
    private readonly server: net.Server,
    private readonly target: number,
    /** Milliseconds between two octets in `slow`. */
    private readonly pace: number,
  ) {
    server.on('connection', (client) => this.#accept(client));
  }

  static start(target: number, pace = 100): Promise<Gate> {
    const server = net.createServer();
    const gate = new Gate(server, target, pace);
    return new Promise((resolve) => server.listen({ host: '127.0.0.1', port: 0 }, () => resolve(gate)));
  }

  get port(): number {
    const address = this.server.address();
    return address !== null && typeof address === 'object' ? address.port : 0;
  }

  /** Connections of clients that are open now. */
  get held(): number {
    return this.#sockets.size;
  }

  #accept(client: net.Socket): void {
    this.count += 1;
    this.#sockets.add(client);
    const upstream = net.connect({ host: '127.0.0.1', port: this.target });
    const end = (): void => {
      this.#sockets.delete(client);
      client.destroy();
      upstream.destroy();
    };
    for (const socket of [client, upstream]) {
      socket.on('error', end);
      socket.on('close', end);
    }
    client.on('data', (asked) => {
      if (typeof this.mode === 'object') client.write(this.mode.answer(asked));
      else if (this.mode !== 'hung') upstream.write(asked);
    });
    let queue = Promise.resolve();
    upstream.on('data', (chunk) => {
      if (this.mode === 'slow') {
        queue = queue.then(async () => {
          for (const octet of chunk) {
            if (client.destroyed) return;
            client.write(Buffer.of(octet));
            await new Promise((resolve) => setTimeout(resolve, this.pace));
          }
        });
      } else if (this.mode === 'closing') {
        client.end(chunk.subarray(0, 3));
      } else client.write(chunk);
    });
  }

  async end(): Promise<void> {
    for (const socket of this.#sockets) socket.destroy();
    await new Promise<void>((resolve) => this.server.close(() => resolve()));
  }
}
