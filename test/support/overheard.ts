/**
 * Everything that Sekisho says to the mail servers of the tests is kept, and read once more as the test file ends: by a
 * strict reader and by a lenient one (`upstream-readers.ts`). A connection that they hear differently fails the file.
 */
import { once } from 'node:events';
import net from 'node:net';
import t, { type Test } from 'tap';
import { disagreement, type Overheard, readStrictly } from './upstream-readers.js';

/** Version 1, or 2 with addresses of IPv4 or none. */
const PROXY_HEADER = /^(?:PROXY TCP[46] [^\r]*\r\n|\r\n\r\n\0\r\nQUIT\n[ !](?:\x11\0\x0c.{12}|\0\0\0))/s;

interface Kept {
  /** Which server, for a person. */
  readonly where: string;
  readonly overheard: () => readonly Overheard[];
}

const kept: Kept[] = [];

t.teardown(() => {
  const all = kept.flatMap(({ where, overheard }) => overheard().map((each) => ({ where, each })));
  const heard = all.map(({ each }) => readStrictly(each));
  const sum = (of: (each: (typeof heard)[number]) => number): number =>
    heard.reduce((total, each) => total + of(each), 0);
  t.comment(
    `overheard ${all.length} connections to mail servers, ${sum(({ commands }) => commands.length)} commands, ${sum(({ messages }) => messages.length)} messages`,
  );
  const faults = all.flatMap(({ where, each }) => {
    const fault = disagreement(each);
    return fault === undefined ? [] : [`${where}: ${fault}`];
  });
  if (faults.length > 0)
    throw new Error(`what went upstream is not read by all alike:\n${faults.slice(0, 20).join('\n')}`);
});

/** Has the connections of a server read again at the end; those that come to it later too. */
export const overhearAll = (where: string, overheard: () => readonly Overheard[]): void => {
  kept.push({ where, overheard });
};

/** One connection as it goes on. */
export class Overhearing implements Overheard {
  raw = '';
  readonly dataAt: number[] = [];
  #answer = '';

  constructor(where: string) {
    overhearAll(where, () => [this]);
  }

  /** Octets from Sekisho, Latin-1. A PROXY header before all else (one segment) is not the session's. */
  said(octets: string): void {
    this.raw += this.raw === '' ? octets.replace(PROXY_HEADER, '') : octets;
  }

  /** Octets from the server: behind a 354 the data begins. */
  answered(octets: string): void {
    this.#answer += octets;
    for (let end = this.#answer.indexOf('\n'); end >= 0; end = this.#answer.indexOf('\n')) {
      if (this.#answer.startsWith('354 ')) this.dataAt.push(this.raw.length);
      this.#answer = this.#answer.slice(end + 1);
    }
  }
}

/** A port through which a real server is reached, and all that is said to it is kept. */
export const overheardPort = async (t: Test, where: string, port: number): Promise<number> => {
  const sockets = new Set<net.Socket>();
  const server = net.createServer({ noDelay: true, allowHalfOpen: true }, (client) => {
    const heard = new Overhearing(where);
    const target = net.connect({ host: '127.0.0.1', port, noDelay: true, allowHalfOpen: true });
    for (const [from, to] of [
      [client, target],
      [target, client],
    ] as const) {
      sockets.add(from);
      from.on('error', () => to.destroy());
      from.on('close', () => {
        sockets.delete(from);
        to.destroy();
      });
      from.on('data', (chunk: Buffer) => {
        if (from === client) heard.said(chunk.toString('latin1'));
        else heard.answered(chunk.toString('latin1'));
      });
      from.pipe(to);
    }
  });
  server.listen({ host: '127.0.0.1', port: 0 });
  await once(server, 'listening');
  t.teardown(() => {
    for (const socket of sockets) socket.destroy();
    server.close();
  });
  const address = server.address();
  return typeof address === 'object' && address !== null ? address.port : 0;
};
