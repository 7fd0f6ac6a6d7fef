/** Who the client is, with real peers: told by HAProxy, told to Postfix. */
import t, { type Test } from 'tap';
import { IpSet, parseCidr } from '../../src/base/ip.js';
import { NO_UPSTREAM_TLS } from '../../src/proxy/upstream-tls.js';
import { startHaproxy } from '../support/haproxy.js';
import { startLegacyMta } from '../support/legacy-mta.js';
import { overheardPort } from '../support/overheard.js';
import { noPackages } from '../support/packages.js';
import { Postfix } from '../support/postfix.js';
import { eventually, type Running, type Setting, startSekisho, testPolicy } from '../support/sekisho.js';
import { codeOf, SmtpClient } from '../support/smtp-client.js';

const reason = noPackages();
const skip = reason === undefined ? false : reason;

const balancer = parseCidr('127.0.0.1/32');
const proxyFrom = IpSet.of(balancer.ok ? [balancer.value] : []);

const running = async (t: Test, setting: Setting): Promise<Running> => {
  const sekisho = await startSekisho(setting);
  t.teardown(() => sekisho.stop());
  return sekisho;
};

/** Sends a message; the reply that ended it. */
const send = async (
  port: number,
  from: string,
  helo: string,
  to = 'bob@local.example',
  header = '',
): Promise<string> => {
  const client = await SmtpClient.connect(port, from);
  client.send(header);
  await client.reply();
  await client.say(`EHLO ${helo}`);
  await client.say('MAIL FROM:<a@b.example>');
  let reply = await client.say(`RCPT TO:<${to}>`);
  if (codeOf(reply) === 250) {
    await client.say('DATA');
    reply = await client.say(`Subject: ${helo}\r\n\r\nx\r\n.`);
  }
  client.destroy();
  return reply;
};

t.test('HAProxy says who the client is, by version 1 and 2', { skip }, async (t) => {
  const mta = await startLegacyMta({});
  t.teardown(() => mta.close());
  const sekisho = await running(t, {
    upstreams: [{ port: mta.port }],
    listener: { proxyFrom },
    policy: testPolicy(['local.example'], ['127.0.0.3/32']),
  });
  const ways = [
    'send-proxy',
    'send-proxy-v2',
    'send-proxy-v2 proxy-v2-options crc32c,unique-id check inter 200ms',
  ];
  for (const port of await startHaproxy(t, sekisho.port, ways)) {
    t.match(await send(port, '127.0.0.3', 'trusted.example', 'y@victim.example'), /^250/);
    t.match(mta.messages.at(-1)?.data, /\[127\.0\.0\.3\]/);
    t.match(await send(port, '127.0.0.2', 'stranger.example', 'y@victim.example'), /^550 5\.7\.1/);
  }
  const clients = sekisho.of('connect').map(({ peer }) => `${peer.address} via ${peer.via}`);
  t.ok(clients.includes('127.0.0.3 via 127.0.0.1') && clients.includes('127.0.0.2 via 127.0.0.1'));
  await eventually('a health check came, for nobody', () =>
    sekisho.of('connect').some(({ peer }) => peer.address === '127.0.0.1' && peer.via === undefined),
  );
  t.strictSame(sekisho.of('connection-refused'), [], 'each connection began as it must');
  const forged = 'PROXY TCP4 127.0.0.3 127.0.0.1 1 25\r\n';
  const [plain = 0] = await startHaproxy(t, sekisho.port, ['send-proxy']);
  t.equal(
    await send(plain, '127.0.0.2', 'forger.example', 'y@victim.example', forged),
    '',
    'one header, from the balancer',
  );
  t.match(sekisho.of('framing-fault').at(-1)?.peer.address, '127.0.0.2');
  t.equal(
    await send(sekisho.port, '127.0.0.2', 'forger.example', 'y@victim.example', forged),
    '',
    'no balancer at all',
  );
});

t.test('Postfix sees the client', { skip }, async (t) => {
  const postfix = await Postfix.start();
  t.teardown(() => postfix.stop());
  const { xclient, proxy, plain } = postfix.ports;
  const required = { ...NO_UPSTREAM_TLS, mode: 'required' as const, verify: false };
  // Sekisho lets 127.0.0.2 relay; Postfix, asked by the client's own address, does not.
  const policy = testPolicy(['local.example'], ['127.0.0.1/32', '127.0.0.2/32']);
  const ways = [
    ['xclient', xclient, NO_UPSTREAM_TLS],
    ['xclient', xclient, required],
    ['proxy-v1', proxy, NO_UPSTREAM_TLS],
    ['proxy-v2', proxy, NO_UPSTREAM_TLS],
    ['proxy-v2', proxy, required],
  ] as const;
  for (const [index, [identity, port, tls]] of ways.entries()) {
    const upstream = tls === required ? port : await overheardPort(t, 'Postfix', port);
    const what = `${identity}, TLS ${tls.mode}`;
    const sekisho = await running(t, {
      policy,
      upstreams: [{ port: upstream, identity, tls }],
      timeouts: { resolve: 200 },
    });
    const helo = `client${index}.example`;
    t.match(await send(sekisho.port, '127.0.0.2', helo), /^250 2\.0\.0 Ok: queued/, what);
    let message = '';
    await eventually('it is queued', () => {
      message = postfix.queue().find((text) => text.includes(helo)) ?? '';
      return message !== '';
    });
    const own = identity === 'xclient' ? helo : 'sekisho.local.example';
    t.match(message, new RegExp(`Received: from ${own} \\((?:unknown|\\S+) \\[127\\.0\\.0\\.2\\]\\)`), what);
    t.match(
      await send(sekisho.port, '127.0.0.2', helo, 'y@victim.example'),
      /^554 5\.7\.1 .*Relay access denied/,
      what,
    );
    t.match(await send(sekisho.port, '127.0.0.1', helo, 'y@victim.example'), /^250/, what);
    t.strictSame([sekisho.of('upstream-down'), sekisho.of('upstream-fault')], [[], []], what);
  }
  await eventually('Postfix says so', () => /: client=\S+\[127\.0\.0\.2\]/.test(postfix.log));
  const deaf = await running(t, { policy, upstreams: [{ port: plain, identity: 'xclient' }] });
  t.match(deaf.of('upstream-down'), [{ reason: /does not offer XCLIENT/ }]);
  t.match(await send(deaf.port, '127.0.0.1', 'c.example'), /^451/, 'rather than as Sekisho itself');
});

t.test('from HAProxy through Sekisho to Postfix', { skip }, async (t) => {
  const postfix = await Postfix.start();
  t.teardown(() => postfix.stop());
  const sekisho = await running(t, {
    upstreams: [{ port: postfix.ports.proxy, identity: 'proxy-v2' }],
    listener: { proxyFrom },
  });
  const [port = 0] = await startHaproxy(t, sekisho.port, ['send-proxy-v2']);
  t.match(await send(port, '127.0.0.7', 'far.example'), /^250 2\.0\.0 Ok: queued/);
  await eventually('Postfix says so', () => /: client=\S+\[127\.0\.0\.7\]/.test(postfix.log));
});
