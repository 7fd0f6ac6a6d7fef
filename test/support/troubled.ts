/** Servers in trouble: a slow line to a real one, and scripted ones that talk nonsense or hang up. */
import { once } from 'node:events';
import { readFileSync } from 'node:fs';
import net from 'node:net';
import type { Test } from 'tap';

const listening = async (t: Test, onConnection: (socket: net.Socket) => void): Promise<number> => {
  const sockets = new Set<net.Socket>();
  const server = net.createServer((socket) => {
    sockets.add(socket);
    socket.on('error', () => {});
    socket.on('close', () => sockets.delete(socket));
    onConnection(socket);
  });
  server.listen({ host: '127.0.0.1', port: 0 });
  await once(server, 'listening');
  t.teardown(() => {
    for (const socket of sockets) socket.destroy();
    server.close();
  });
  return (server.address() as net.AddressInfo).port;
};

/** A server that does what `script` does with each connection; `nth` counts them from 0. */
export const scripted = (t: Test, script: (socket: net.Socket, nth: number) => void): Promise<number> => {
  let nth = 0;
  return listening(t, (socket) => {
    script(socket, nth);
    nth += 1;
  });
};

/** Says its lines one by one, each after something has been received; the first at once. Then it is silent. */
export const saying = (t: Test, lines: readonly string[]): Promise<number> =>
  scripted(t, (socket) => {
    const rest = [...lines];
    const next = (): void => {
      const line = rest.shift();
      if (line !== undefined) socket.write(line, 'latin1');
    };
    socket.on('data', next);
    next();
  });

/** A line to a real server over which its answers come octet by octet, `interval` ms apart. */
export const trickling = (t: Test, port: number, interval: number): Promise<number> =>
  listening(t, (client) => {
    const server = net.connect({ host: '127.0.0.1', port });
    const waiting: number[] = [];
    const timer = setInterval(() => {
      const octet = waiting.shift();
      if (octet !== undefined && client.writable) client.write(Buffer.of(octet));
    }, interval);
    const over = (): void => {
      clearInterval(timer);
      server.destroy();
      client.destroy();
    };
    server.on('data', (chunk: Buffer) => waiting.push(...chunk));
    client.on('data', (chunk) => server.write(chunk));
    server.on('error', over).on('close', over);
    client.on('close', over);
  });

/** A real server whose answers are altered on the way. It sees a client of another address than its own. */
export const rewriting = (t: Test, port: number, pattern: RegExp, by: string): Promise<number> =>
  listening(t, (client) => {
    const server = net.connect({ host: '127.0.0.1', port, localAddress: '127.0.0.2' });
    server.on('data', (chunk) => client.write(chunk.toString('latin1').replace(pattern, by), 'latin1'));
    client.on('data', (chunk) => server.write(chunk));
    server.on('error', () => client.destroy()).on('close', () => client.destroy());
    client.on('close', () => server.destroy());
  });

const BABBLE: readonly Buffer[] = [
  Buffer.from([0x15, 0x03, 0x03, 0x00, 0x02, 0x02, 0x28, 0x0a]),
  Buffer.from('HTTP/1.1 400 Bad Request\r\n\r\n'),
  Buffer.from('SSH-2.0-OpenSSH_9.2p1\r\n'),
  Buffer.from(Array.from({ length: 256 }, (_, i) => i)),
  Buffer.alloc(200_000, 'a'),
  Buffer.from('OK\n+ \r\n* \r\n250\r\n'),
];

/** Another sort of nonsense for each connection, whatever it is asked. */
export const babbling = (t: Test): Promise<number> =>
  scripted(t, (socket, nth) => {
    const babble = BABBLE[nth % BABBLE.length] ?? '';
    socket.write(babble);
    socket.on('data', () => socket.write(babble));
  });

/** Hangs up in the middle of its first answer. */
export const hangingUp = (t: Test, start: string): Promise<number> =>
  scripted(t, (socket) => socket.end(start, 'latin1'));

/** Connections that are established at a port of a server on this host. */
export const connectionsAt = (port: number): number => {
  const local = new RegExp(
    `^\\s*\\d+: [0-9A-F]+:${port.toString(16).toUpperCase().padStart(4, '0')} \\S+ 01 `,
  );
  return readFileSync('/proc/net/tcp', 'utf8')
    .split('\n')
    .filter((line) => local.test(line)).length;
};
