/** The probe against an open relay, against Sekisho in front of it, and against servers that make it hard. */
import net from 'node:net';
import t, { type Test } from 'tap';
import { LineReader } from '../../src/audit/line-reader.js';
import { startLegacyMta } from '../../src/demo/legacy-mta.js';
import { runSekisho, SekishoProcess } from '../support/process.js';

const json = (out: string): { verdict: string; results: { name: string; outcome: string }[] } =>
  JSON.parse(out);

const outcomes = (out: string): Record<string, number> => {
  const counts: Record<string, number> = {};
  for (const { outcome } of json(out).results) counts[outcome] = (counts[outcome] ?? 0) + 1;
  return counts;
};

t.test('before and after', async (t) => {
  const mta = await startLegacyMta();
  t.teardown(() => mta.close());
  const open = await runSekisho(['probe', `127.0.0.1:${mta.port}`]);
  t.equal(open.code, 1, open.err);
  t.match(open.out, /^OPEN RELAY/m);
  t.match(open.out, /RCPT TO:<relaytest@victim\.example>: 250/);
  t.equal(mta.messages.length, 0, 'nothing was delivered');
  t.notOk(
    mta.connections.some(({ commands }) => commands.some((line) => /^DATA/i.test(line))),
    'DATA was never said',
  );
  const proxy = await SekishoProcess.serve([
    ...['--listen', '127.0.0.1:0', '--upstream', `127.0.0.1:${mta.port}`],
    ...['--local-domain', 'example.org'],
  ]);
  t.teardown(() => proxy.kill());
  const before = mta.connections.length;
  const closed = await runSekisho(['probe', `127.0.0.1:${proxy.port}`, '--domain', 'example.org', '--json']);
  t.equal(closed.code, 0, closed.out + closed.err);
  t.equal(json(closed.out).verdict, 'closed');
  t.notOk(outcomes(closed.out).accepted);
  t.ok((outcomes(closed.out).refused ?? 0) > 100, JSON.stringify(outcomes(closed.out)));
  const envelopes = mta.connections
    .slice(before)
    .flatMap(({ commands }) => commands.filter((line) => /^RCPT/i.test(line)));
  t.same(envelopes, [], 'the mail server heard of none of them');
});

const server = async (
  t: Test,
  answer: (line: string, nth: number) => string,
  greeting = '220 odd.example.org ESMTP\r\n',
): Promise<number> => {
  const sockets = new Set<net.Socket>();
  const listener = net.createServer((socket) => {
    let nth = 0;
    sockets.add(socket);
    socket.on('error', () => {});
    socket.write(greeting);
    socket.on('data', (chunk) => {
      for (const line of String(chunk).split('\r\n').slice(0, -1)) {
        nth += 1;
        const reply = answer(line, nth);
        if (reply === 'close') socket.destroy();
        else socket.write(reply);
      }
    });
  });
  t.teardown(() => {
    listener.close();
    for (const socket of sockets) socket.destroy();
  });
  await new Promise<void>((resolve) => listener.listen(0, '127.0.0.1', resolve));
  const address = listener.address();
  return typeof address === 'object' && address !== null ? address.port : 0;
};

t.test('a server that takes only what an old one would send on', async (t) => {
  const port = await server(t, (line) =>
    /^RCPT.*%/i.test(line) ? '250 ok\r\n' : /^RCPT/i.test(line) ? '550 no\r\n' : '250 ok\r\n',
  );
  const { code, out } = await runSekisho(['probe', `127.0.0.1:${port}`]);
  t.equal(code, 1);
  t.match(out, /^MAY BE OPEN/m);
  t.match(out, /Tried as example\.org, odd\.example\.org, \[127\.0\.0\.1\]/);
});

t.test('a server that says no more than it must', async (t) => {
  const fussy = await server(t, (line, nth) =>
    nth > 4 ? '421 enough\r\n' : /^RCPT/.test(line) ? '550-no\r\n550 no\r\n' : '250 ok\r\n',
  );
  t.match(
    await runSekisho(['probe', `127.0.0.1:${fussy}`]),
    { code: 0, out: /, 0 not told/ },
    'comes again and again',
  );
  const shy = await server(t, (line) =>
    /^MAIL/.test(line) ? '553 no such sender domain\r\n' : '250 ok\r\n',
  );
  t.match(await runSekisho(['probe', `127.0.0.1:${shy}`]), { code: 2, out: /^Cannot tell/m });
  const busy = await server(t, (line) => (/^RCPT/.test(line) ? '451 later\r\n' : '250 ok\r\n'));
  t.match(await runSekisho(['probe', `127.0.0.1:${busy}`]), { code: 2, out: /^Cannot tell/m });
  const rude = await server(t, (line) => (/^RCPT/.test(line) ? 'close' : '250 ok\r\n'));
  t.match(await runSekisho(['probe', `127.0.0.1:${rude}`]), { code: 2, out: /closed the connection/ });
  const other = await server(t, () => '', 'SSH-2.0-OpenSSH_9\r\n');
  t.match(await runSekisho(['probe', `127.0.0.1:${other}`]), { code: 2, err: /does not speak SMTP/ });
  const mute = await server(t, () => '', '');
  t.match(await runSekisho(['probe', `127.0.0.1:${mute}`, '--timeout', '1']), {
    code: 2,
    err: /no reply within 1 s/,
  });
  const full = await server(t, () => '', '554 no\r\n');
  t.match(await runSekisho(['probe', `127.0.0.1:${full}`]), { code: 2, err: /greets with 554 no/ });
});

t.test('only what one owns, and only what can be read', async (t) => {
  t.match(await runSekisho(['probe', '192.0.2.1:2525']), {
    code: 2,
    err: /say it twice: sekisho probe 192\.0\.2\.1:2525 192/,
  });
  t.match(await runSekisho(['probe', '192.0.2.1:2525', '192.0.2.1']), { code: 2, err: /say it twice/ });
  for (const bad of ['127.0.0.1:0', '127.0.0.1:65536', '[::1', ''])
    t.match(await runSekisho(['probe', bad]), { code: 2, err: /must be HOST or HOST:PORT/ });
  t.match(await runSekisho(['probe', '127.0.0.1', '--timeout', '601']), { code: 2, err: /up to 600/ });
});

t.test('a reply is bounded', async (t) => {
  const port = await server(t, () => '', `220-${'x'.repeat(65_536)}\r\n`);
  const socket = net.connect(port, '127.0.0.1');
  await t.rejects(new LineReader(socket, 60_000).reply(), /more than 65536 octets/);
  const fits = await server(t, () => '', `220-${'x'.repeat(60_000)}\r\n220 ok\r\n`);
  const second = net.connect(fits, '127.0.0.1');
  t.match(await new LineReader(second, 60_000).reply(), /^220-x+\n220 ok$/);
  second.destroy();
});
