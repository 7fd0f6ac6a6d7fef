/** The live view by server-sent events: hundreds of listeners, slow ones dropped, mail unharmed. */
import http from 'node:http';
import net from 'node:net';
import t, { type Test } from 'tap';
import { Decisions } from '../../src/admin/decisions.js';
import { DEFAULT_STREAM_LIMITS, DecisionStreams } from '../../src/admin/stream.js';
import { type RunningAdmin, startAdmin, TOKENS } from '../support/admin.js';
import { startLegacyMta } from '../support/legacy-mta.js';
import { eventually, type Running, startSekisho } from '../support/sekisho.js';
import { SmtpClient } from '../support/smtp-client.js';

/** A listener on a raw socket, which may stop reading. */
class Listener {
  text = '';
  closed = false;
  readonly socket: net.Socket;

  constructor(port: number, query = '', headers = '') {
    this.socket = net.connect({ host: '127.0.0.1', port });
    this.socket.on('data', (chunk) => (this.text += String(chunk)));
    this.socket.on('error', () => undefined);
    this.socket.on('close', () => {
      this.closed = true;
    });
    this.socket.write(`GET /api/v1/decisions/stream${query} HTTP/1.1\r\nHost: localhost\r\n${headers}\r\n`);
  }

  get open(): boolean {
    return /^HTTP\/1.1 200 /.test(this.text) && this.text.includes('retry:');
  }

  count(event: string): number {
    return this.text.split(`event: ${event}\n`).length - 1;
  }
}

interface House {
  readonly admin: RunningAdmin;
  readonly running: Running;
  readonly decisions: Decisions;
  listen(query?: string, headers?: string): Listener;
}

const started = async (t: Test, tokens: typeof TOKENS = []): Promise<House> => {
  const mta = await startLegacyMta();
  t.teardown(() => mta.close());
  const decisions = new Decisions();
  const running = await startSekisho({
    ...{ upstreams: [{ port: mta.port }], listen: decisions.note, limits: { errors: 1_000_000 } },
  });
  t.teardown(() => running.stop());
  const admin = await startAdmin({ running, tokens, house: { decisions } });
  t.teardown(() => admin.stop());
  const listeners: Listener[] = [];
  t.teardown(() => {
    for (const { socket } of listeners) socket.destroy();
  });
  return {
    ...{ admin, running, decisions },
    listen: (query, headers) => {
      const listener = new Listener(admin.port, query, headers);
      listeners.push(listener);
      return listener;
    },
  };
};

/** A client in the middle of a transaction. */
const sender = async (port: number): Promise<SmtpClient> => {
  const client = await SmtpClient.connect(port);
  await client.reply();
  await client.say('EHLO client.example');
  await client.say('MAIL FROM:<a@b.example>');
  return client;
};

t.test('200 listeners hear every decision, filtered as each asked', async (t) => {
  const { running, decisions, listen } = await started(t);
  const all = Array.from({ length: 198 }, () => listen());
  const denied = listen('?verdict=deny');
  const one = listen('?text=One@');
  const everybody = [...all, denied, one];
  await eventually('all listen', () => everybody.every(({ open }) => open), 30_000);
  t.equal(decisions.listeners, 200);
  const client = await sender(running.port);
  for (const to of ['one@local.example', 'two@local.example', 'three@elsewhere.example'])
    await client.say(`RCPT TO:<${to}>`);
  await eventually('all have heard', () => all.every((each) => each.count('decision') === 3), 30_000);
  await eventually('the replies too', () => all.every((each) => each.count('reply') === 3), 30_000);
  t.equal(one.count('decision'), 1);
  t.equal(denied.count('decision'), 0, 'loopback may send anywhere');
  t.match(all[0]?.text, /id: 1\nevent: decision\ndata: \{"id":1,"time":"\d{4}-/);
  for (const { socket } of everybody) socket.destroy();
  await eventually('nobody listens', () => decisions.listeners === 0);
  client.destroy();
});

t.test(
  'a listener that reads nothing loses events and is dropped; mail and others do not notice',
  async (t) => {
    const { admin, running, decisions, listen } = await started(t);
    const quick = listen();
    const slow = Array.from({ length: 20 }, () => listen());
    await eventually('all listen', () => [quick, ...slow].every(({ open }) => open), 30_000);
    for (const { socket } of slow) socket.pause();
    const paused = performance.now();
    const client = await sender(running.port);
    // Long enough to fill every buffer on the way.
    const long = `${'x'.repeat(60)}@${`${'y'.repeat(60)}.`.repeat(3)}example`;
    let told = 0;
    let slowest = 0;
    for (let i = 0; i < 4_000; i += 1) {
      const begun = performance.now();
      await client.say(`RCPT TO:<${long}>`);
      slowest = Math.max(slowest, performance.now() - begun);
      told += 1;
    }
    t.ok(slowest < 20_000, `the slowest reply took ${slowest.toFixed(0)} ms`);
    const heard = (): number =>
      quick.count('decision') +
      [...quick.text.matchAll(/event: missed\ndata: \{"count":(\d+)\}/g)].reduce(
        (sum, [, n]) => sum + Number(n),
        0,
      );
    await eventually('the quick one has heard of all', () => heard() >= told, 30_000);
    t.equal((await admin.ask('/healthz')).status, 200);
    if (performance.now() - paused < DEFAULT_STREAM_LIMITS.patience)
      t.equal(decisions.listeners, 21, 'their patience is not over yet');
    client.destroy();
  },
);

t.test('who takes nothing for too long is dropped, and there is an end to listeners', async (t) => {
  const decisions = new Decisions();
  const streams = new DecisionStreams(decisions, { listeners: 2, patience: 2_000, heartbeat: 50 });
  t.equal(streams.full, false);
  const web = http.createServer((_, response) => void streams.serve(response, {}, () => true, undefined));
  await new Promise<void>((resolve) => web.listen(0, '127.0.0.1', resolve));
  t.teardown(() => {
    web.closeAllConnections();
    web.close();
  });
  const bound = web.address();
  const port = typeof bound === 'object' && bound !== null ? bound.port : 0;
  const quick = new Listener(port);
  const slow = new Listener(port);
  t.teardown(() => {
    quick.socket.destroy();
    slow.socket.destroy();
  });
  await eventually('both listen', () => quick.open && slow.open && streams.full);
  await eventually('signs of life', () => quick.text.split(': alive').length > 2);
  slow.socket.pause();
  const peer = {
    session: 's',
    listener: 'mx',
    address: '192.0.2.1',
    port: 1,
    name: undefined,
    helo: 'h',
    protocol: 'SMTP',
  };
  const long = `${'x'.repeat(100_000)}@example`;
  await eventually('the slow one is dropped', () => {
    const said = {
      peer,
      from: 'a@b.example',
      to: long,
      verdict: 'deny',
      rule: undefined,
      reason: 'no-rule',
    } as const;
    decisions.note({ type: 'decision', ...said, enforced: true });
    return decisions.listeners === 1;
  });
  t.equal(streams.count, 1);
  t.notOk(quick.closed);
  streams.close();
  await eventually('all are sent away', () => quick.closed && streams.count === 0);
  t.match(quick.text, /event: end/);
});

t.test('who comes back is told what it has not heard', async (t) => {
  const { running, listen } = await started(t);
  const client = await sender(running.port);
  for (const to of ['one', 'two', 'three']) await client.say(`RCPT TO:<${to}@local.example>`);
  const again = listen('', 'Last-Event-ID: 1\r\n');
  await eventually('the two', () => again.count('decision') === 2);
  t.match(again.text, /id: 2\n[\s\S]*id: 3\n/);
  t.notMatch(again.text, /id: 1\n/);
  const filtered = listen('?after=0&text=three');
  await eventually('the one', () => filtered.count('decision') === 1);
  client.destroy();
});

t.test('no token, no stream', async (t) => {
  const { listen } = await started(t, TOKENS);
  const listener = listen();
  await eventually('it is refused', () => /^HTTP\/1.1 401 /.test(listener.text));
});
