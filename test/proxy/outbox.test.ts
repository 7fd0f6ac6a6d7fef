/** What is said in one round of the event loop goes out at its end. */
import { once } from 'node:events';
import net from 'node:net';
import t, { type Test } from 'tap';
import { ClientConnection, type ClientListener } from '../../src/proxy/client.js';
import { Deadlines } from '../../src/proxy/deadlines.js';
import { DEFAULT_TIMEOUTS } from '../../src/proxy/options.js';
import { writeLater } from '../../src/proxy/outbox.js';
import { UpstreamConnection } from '../../src/proxy/upstream.js';
import { NO_UPSTREAM_TLS } from '../../src/proxy/upstream-tls.js';

/** The end of this round, and of what it brought. */
const round = (): Promise<void> => new Promise((resolve) => setImmediate(resolve));

const pair = async (t: Test): Promise<{ socket: net.Socket; peer: net.Socket; heard(): string }> => {
  const server = net.createServer({ allowHalfOpen: true });
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  const accepted = once(server, 'connection');
  const peer = net.connect((server.address() as net.AddressInfo).port, '127.0.0.1');
  let heard = '';
  peer.setEncoding('latin1').on('data', (text) => {
    heard += text;
  });
  const [socket] = (await accepted) as [net.Socket];
  t.teardown(() => {
    socket.destroy();
    peer.destroy();
    server.close();
  });
  return { socket, peer, heard: () => heard };
};

t.test('in turn, once each, when all of the round was looked at', async (t) => {
  const told: string[] = [];
  const again = { writeOut: () => told.push('again') };
  const first = {
    writeOut: () => {
      told.push('first');
      writeLater(again);
    },
  };
  writeLater(first);
  writeLater({ writeOut: () => told.push('second') });
  await Promise.resolve();
  t.same(told, []);
  await round();
  t.same(told, ['first', 'second']);
  await round();
  t.same(told, ['first', 'second', 'again'], 'what a write brings waits for the next round');
});

class Listener implements ClientListener {
  streaming: ClientListener['streaming'] = 'no';
  active = 0;
  clientActive(): void {
    this.active += 1;
  }
  clientBroken(): void {}
  clientClosed(): void {}
}

t.test('a client', async (t) => {
  const { socket, peer, heard } = await pair(t);
  const listener = new Listener();
  const client = new ClientConnection(socket, listener);

  client.say('250 one\r\n');
  client.flush();
  client.say('250 two\r\n');
  client.flush();
  t.equal(socket.bytesWritten, 0);
  await round();
  t.equal(socket.bytesWritten, 18);
  while (heard().length < 18) await once(peer, 'data');
  t.equal(heard(), '250 one\r\n250 two\r\n');

  client.say('x'.repeat(65_536));
  client.flush();
  t.equal(client.congested, false, 'as much as may wait');
  await round();
  t.equal(listener.active, 0);
  while (socket.writableLength > 0) await round();
  client.say('x'.repeat(65_537));
  client.flush();
  t.equal(client.congested, true, 'more: nothing is done for it');
  await round();
  t.equal(listener.active, 1, 'until it is out');

  const before = socket.bytesWritten;
  client.say('250 held\r\n');
  client.hold(20, () => {});
  client.flush();
  await round();
  t.equal(socket.bytesWritten, before, 'what is held waits for more than the round');
  while (listener.active < 2) await new Promise((resolve) => setTimeout(resolve, 5));
  client.flush();
  await round();
  t.equal(socket.bytesWritten, before + 10);

  client.say('221 bye\r\n');
  client.close();
  t.equal(socket.writableEnded, false, 'nor is it closed before what is said is out');
  const ended = once(peer, 'end');
  await ended;
  t.ok(heard().endsWith('221 bye\r\n'));
});

t.test('a client that is gone before the end of the round', async (t) => {
  const { socket } = await pair(t);
  const client = new ClientConnection(socket, new Listener());
  client.say('421 late\r\n');
  client.close();
  client.destroy();
  await round();
  t.equal(socket.bytesWritten, 0);
});

/** A mail server, and what it heard behind EHLO. */
const mta = async (t: Test) => {
  let heard = '';
  let over = false;
  const server = net.createServer((socket) => {
    socket.write('220 mta ESMTP\r\n');
    socket.setEncoding('latin1').on('data', (text: string) => {
      if (text.startsWith('EHLO')) socket.write('250 mta\r\n');
      else heard += text;
    });
    socket
      .on('error', () => {})
      .on('close', () => {
        over = true;
      });
  });
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  const { port } = server.address() as net.AddressInfo;
  const deadlines = new Deadlines();
  const connection = await new Promise<UpstreamConnection>((resolve, reject) => {
    const target = {
      host: '127.0.0.1',
      port,
      tls: NO_UPSTREAM_TLS,
      shield: 'auto',
      identity: 'received',
    } as const;
    new UpstreamConnection(target, 'proxy', DEFAULT_TIMEOUTS, deadlines, {
      ready: resolve,
      gone: (_, why) => reject(new Error(why)),
      rested: () => {},
    });
  });
  t.teardown(() => {
    connection.destroy('over');
    deadlines.stop();
    server.close();
  });
  const until = async (done: () => boolean): Promise<string> => {
    while (!done()) await new Promise((resolve) => setTimeout(resolve, 5));
    const text = heard;
    heard = '';
    return text;
  };
  return {
    connection,
    hears: (length: number) => until(() => heard.length >= length),
    heardAtAll: () => until(() => over),
  };
};

t.test('a mail server', async (t) => {
  const { connection, hears } = await mta(t);
  const envelope = 'MAIL FROM:<a@example>\r\nRCPT TO:<b@example>\r\n';
  connection.send(envelope, 1_000, 2);
  t.equal(await hears(envelope.length), envelope);

  const octets = Buffer.from(Array.from({ length: 256 }, (_, at) => at));
  const message = `Received: x\r\n${octets.toString('latin1')}.\r\n`;
  connection.beginData('Received: x\r\n');
  t.equal(connection.data(octets), true);
  t.equal(connection.pending, false, 'what was gathered was copied');
  octets.fill(0);
  connection.endData();
  t.equal(await hears(message.length), message, 'every octet is what it was');

  const large = Buffer.alloc(100_000, 'large ');
  connection.beginData('Received: y\r\n');
  connection.data(Buffer.from('Subject: z\r\n'));
  connection.data(large);
  connection.data(Buffer.from('\r\n'));
  connection.endData();
  const whole = `Received: y\r\nSubject: z\r\n${large}\r\n.\r\n`;
  t.equal(await hears(whole.length), whole, 'in order');
});

t.test('16,384 octets for a mail server wait, one more does not', async (t) => {
  for (const more of [0, 1]) {
    const { connection, heardAtAll } = await mta(t);
    connection.beginData('');
    connection.data(Buffer.alloc(10_000, 'a'));
    connection.data(Buffer.alloc(6_384 + more, 'b'));
    // What has not gone out by now never does.
    connection.destroy('over');
    t.equal((await heardAtAll()).length, more === 0 ? 0 : 16_385);
  }
});
