/** System calls through koffi, against the kernel itself and against Node's own sockets. */
import net from 'node:net';
import t from 'tap';
import { parseIp } from '../../src/base/ip.js';
import {
  AF_INET,
  AF_INET6,
  AF_UNIX,
  errnoText,
  loadLibc,
  readSocketAddress,
  SOCK_DGRAM,
  SOCK_STREAM,
  socketAddress,
} from '../../src/host/libc.js';

const SOL_SOCKET = 1;
const SO_TYPE = 3;

t.test('a socket made by hand is one of Node', async (t) => {
  const loaded = await loadLibc();
  if (!loaded.ok) throw new Error(loaded.error);
  t.equal(await loadLibc(), loaded, 'once');
  const libc = loaded.value;
  for (const [host, family] of [
    ['127.0.0.1', AF_INET],
    ['::1', AF_INET6],
  ] as const) {
    const ip = parseIp(host);
    if (ip === undefined) throw new Error(host);
    const made = libc.socket(family, SOCK_STREAM);
    if (!made.ok) throw new Error(errnoText(made.error));
    const fd = made.value;
    t.ok(libc.bind(fd, socketAddress(ip, 0)).ok);
    t.ok(libc.listen(fd, 8).ok);
    const name = libc.name(fd);
    const bound = name.ok ? readSocketAddress(name.value) : undefined;
    t.match(bound, { family: ip.family, words: ip.words });
    const type = libc.option(fd, SOL_SOCKET, SO_TYPE, 4);
    t.ok(type.ok && type.value.equals(Buffer.from(Int32Array.of(SOCK_STREAM).buffer)));
    const server = net.createServer((socket) => socket.end('hello'));
    await new Promise<void>((resolve) => server.listen({ fd }, resolve));
    t.match(server.address(), { address: host, port: bound?.port });
    const client = net.connect({ host, port: bound?.port ?? 0 });
    const said = await new Promise((resolve) => client.once('data', (chunk) => resolve(String(chunk))));
    t.equal(said, 'hello');
    client.destroy();
    server.close();
  }
});

t.test('what fails says what and why', async (t) => {
  const loaded = await loadLibc();
  if (!loaded.ok) throw new Error(loaded.error);
  const libc = loaded.value;
  t.strictSame(libc.socket(9_999, SOCK_STREAM), {
    ok: false,
    error: { code: 'EAFNOSUPPORT', call: 'socket' },
  });
  const made = libc.socket(AF_UNIX, SOCK_DGRAM);
  if (!made.ok) throw new Error(errnoText(made.error));
  const fd = made.value;
  t.match(libc.send(fd, Buffer.from('x')), { error: { code: 'ENOTCONN', call: 'send' } });
  libc.close(fd);
  const closed = libc.setOption(fd, SOL_SOCKET, SO_TYPE, 1);
  t.equal(closed.ok ? '' : errnoText(closed.error), 'setsockopt: EBADF');
});

t.test('addresses as the kernel has them', async (t) => {
  for (const text of ['192.0.2.255', '0.0.0.0', '2001:db8::ff00:1', 'fe80::1']) {
    const ip = parseIp(text);
    if (ip === undefined) throw new Error(text);
    const { family, words } = ip;
    for (const port of [0, 25, 65_535])
      t.strictSame(readSocketAddress(socketAddress(ip, port)), { family, words: [...words], port });
  }
  t.equal(readSocketAddress(Buffer.from([1, 0, 0x2f, 0x74])), undefined, 'of another kind');
  t.equal(readSocketAddress(Buffer.from([AF_INET, 0, 0, 25])), undefined, 'cut short');
  t.equal(readSocketAddress(Buffer.alloc(0)), undefined);
});
