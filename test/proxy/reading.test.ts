/** What clients send, where it is read into, and that nothing of it is overwritten while somebody needs it. */
import { createHash, type Hash } from 'node:crypto';
import net from 'node:net';
import t from 'tap';
import { readInto } from '../../src/proxy/read-into.js';
import { ReadRoom } from '../../src/proxy/read-room.js';
import { startSekisho } from '../support/sekisho.js';
import { codeOf, SmtpClient } from '../support/smtp-client.js';

t.test('a room', async (t) => {
  const room = new ReadRoom();
  const shared = room.buffer;
  shared.write('EHLO');
  const command = room.taken(4);
  shared.write('MAIL');
  t.equal(command.toString(), 'EHLO', 'commands are copied');
  room.used(16_383, true, true);
  t.equal(room.buffer, shared, 'little is read: no room of its own');
  room.used(16_384, true, true);
  const own = room.buffer;
  t.not(own, shared, 'a message streams');
  own.write('octets');
  const view = room.taken(6);
  own.write('others');
  t.equal(view.toString(), 'others', 'of which nothing is copied');
  room.used(6, false, true);
  t.equal(room.buffer, own, 'nobody needs it: it is read into again');
  room.used(65_536, true, true);
  t.not(room.buffer, own, 'somebody needs it: another');
  t.not(room.buffer, shared);
  const second = room.buffer;
  room.used(3, false, false);
  t.equal(room.buffer, shared, 'the message is over');
  const other = new ReadRoom();
  other.used(16_384, true, true);
  t.equal(other.buffer, second, 'the next message has it');
  other.used(16_384, true, false);
  t.equal(other.buffer, shared);
  other.used(16_384, false, true);
  t.not(other.buffer, second, 'but not if somebody needs it');
  other.close();
});

t.test('rooms in turn, as the mail server takes what is in them', async (t) => {
  const room = new ReadRoom();
  const rooms = new Set<Buffer>();
  room.used(16_384, true, true);
  for (let reads = 0; reads < 10; reads += 1) {
    rooms.add(room.buffer);
    // It went on only after the read was over.
    room.used(65_536, true, true);
    room.empty();
  }
  t.equal(rooms.size, 2);
  const waiting = Array.from({ length: 5 }, () => {
    const { buffer } = room;
    room.used(65_536, true, true);
    return buffer;
  });
  t.equal(new Set([...waiting, room.buffer]).size, 6, 'as long as somebody needs it nothing is read into it');
  room.used(65_536, false, true);
  const after = [room.buffer];
  for (let reads = 0; reads < 3; reads += 1) {
    room.used(65_536, true, true);
    after.push(room.buffer);
  }
  t.equal(new Set(after).size, 4);
  room.used(1, true, false);
});

t.test('rooms of their own, at most 64', async (t) => {
  const rooms = Array.from({ length: 65 }, () => new ReadRoom());
  const shared = rooms[0]?.buffer;
  for (const room of rooms) room.used(16_384, false, true);
  t.equal(rooms.filter(({ buffer }) => buffer !== shared).length, 64);
  t.equal(rooms[64]?.buffer, shared);
  rooms[0]?.close();
  rooms[64]?.used(16_384, false, true);
  t.not(rooms[64]?.buffer, shared, 'one has become free');
  for (const room of rooms) room.close();
});

t.test('what came before, then the rest', async (t) => {
  const told: string[] = [];
  const server = net.createServer({ allowHalfOpen: true }, (socket) => {
    const room = Buffer.alloc(8);
    socket.once('readable', () => {
      t.equal(
        readInto(socket, { read: (n) => told.push(room.toString('latin1', 0, n)), room: () => room }),
        true,
      );
      socket.on('data', (chunk) => told.push(`before: ${chunk}`));
      socket.on('end', () => socket.end());
      socket.write('go on');
    });
  });
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  const { port } = server.address() as net.AddressInfo;
  const client = net.connect(port, '127.0.0.1', () => client.write('first'));
  client.once('data', () => client.end('and the rest'));
  await new Promise((resolve) => client.on('close', resolve));
  t.same(told, ['before: first', 'and the ', 'rest'], 'and the end is told');
  await new Promise((resolve) => server.close(resolve));
});

const BLOCK = 1_000;
const LINES = 250_000;

/** Lines of which no two are the same, in blocks. */
function* linesOf(who: string): Generator<string> {
  for (let i = 0; i < LINES; i += BLOCK) {
    let text = '';
    for (let j = i; j < i + BLOCK; j += 1) text += `${who} ${j} ${'x'.repeat(j % 90)}\r\n`;
    yield text;
  }
}

/** A mail server that is slow to take: hash of what is behind each message's header section. */
const slowMta = async (hashes: string[]): Promise<net.Server> => {
  const server = net.createServer((socket) => {
    let hash: Hash | undefined;
    let before = '';
    socket.on('error', () => {});
    socket.write('220 slow ESMTP\r\n');
    socket.on('data', (chunk) => {
      const text = chunk.toString('latin1');
      if (hash === undefined) {
        for (const line of text.split('\r\n').slice(0, -1)) {
          if (line === 'DATA') [hash, before] = [createHash('sha256'), ''];
          socket.write(line === 'DATA' ? '354 go\r\n' : '250 ok\r\n');
        }
        return;
      }
      socket.pause();
      setTimeout(() => socket.resume(), 1);
      // The last octets wait, since they may be the end.
      const all = before + text;
      const ends = all.endsWith('\r\n.\r\n');
      const from = all.startsWith('Received:') ? all.indexOf('\r\n\r\n') + 4 : 0;
      hash.update(all.slice(from, ends ? -3 : -5), 'latin1');
      before = all.slice(-5);
      if (!ends) return;
      hashes.push(hash.digest('hex'));
      hash = undefined;
      socket.write('250 ok\r\n');
    });
  });
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  return server;
};

t.test('large messages at once, to a mail server that is slow', async (t) => {
  const hashes: string[] = [];
  const mta = await slowMta(hashes);
  const { port } = mta.address() as net.AddressInfo;
  const sekisho = await startSekisho({ upstreams: [{ port }] });
  t.teardown(async () => {
    await sekisho.stop();
    mta.close();
  });
  const send = async (who: string): Promise<string> => {
    const client = await SmtpClient.connect(sekisho.port, '127.0.0.2');
    await client.reply();
    for (const line of ['EHLO c.example', 'MAIL FROM:<a@b.example>', 'RCPT TO:<bob@local.example>', 'DATA'])
      await client.say(line);
    const hash = createHash('sha256');
    client.send('Subject: x\r\n\r\n');
    for (const text of linesOf(who)) {
      hash.update(text, 'latin1');
      if (!client.socket.write(text, 'latin1'))
        await new Promise((resolve) => client.socket.once('drain', resolve));
    }
    client.send('.\r\n');
    t.equal(codeOf(await client.reply(120_000)), 250, who);
    await client.say('QUIT');
    return hash.digest('hex');
  };
  const sent = await Promise.all(['one', 'two', 'three'].map(send));
  t.same([...hashes].sort(), [...sent].sort(), 'each octet in its place');
});
