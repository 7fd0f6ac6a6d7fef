/** The connections to the upstream: how many, how long, which one. */
import t, { type Test } from 'tap';
import type { UpstreamOptions } from '../../src/proxy/options.js';
import { type LegacyMta, type LegacyOptions, startLegacyMta } from '../support/legacy-mta.js';
import { freePort } from '../support/packages.js';
import { eventually, type Running, startSekisho } from '../support/sekisho.js';
import { codeOf, SmtpClient } from '../support/smtp-client.js';

const start = async (
  t: Test,
  options: Partial<UpstreamOptions> = {},
  ...mtas: LegacyOptions[]
): Promise<{ mtas: LegacyMta[]; sekisho: Running }> => {
  const started = await Promise.all((mtas.length === 0 ? [{}] : mtas).map((each) => startLegacyMta(each)));
  const sekisho = await startSekisho({ upstreams: started.map(({ port }) => ({ port, ...options })) });
  t.teardown(async () => {
    await sekisho.stop();
    for (const mta of started) await mta.close();
  });
  return { mtas: started, sekisho };
};

/** Opens a transaction and leaves it open. */
const open = async ({ port }: Running): Promise<[SmtpClient, string]> => {
  const client = await SmtpClient.connect(port);
  await client.reply();
  await client.say('EHLO c.example');
  await client.say('MAIL FROM:<a@b.example>');
  return [client, await client.say('RCPT TO:<bob@local.example>')];
};

const send = async (sekisho: Running): Promise<number> => {
  const [client, rcpt] = await open(sekisho);
  if (codeOf(rcpt) !== 250) return codeOf(rcpt);
  await client.say('DATA');
  const code = codeOf(await client.say('x\r\n.'));
  client.destroy();
  return code;
};

const figures = ({ proxy }: Running) => [...proxy.figures.values()];

t.test('a refused client costs the MTA nothing', async (t) => {
  const { mtas, sekisho } = await start(t);
  await eventually('the first probe is over', () => mtas[0]?.active === 0);
  const before = mtas[0]?.connections.length;
  for (let i = 0; i < 5; i += 1) {
    const client = await SmtpClient.connect(sekisho.port, '127.0.0.2');
    await client.reply();
    await client.say('EHLO c.example');
    await client.say('MAIL FROM:<a@b.example>');
    t.equal(codeOf(await client.say('RCPT TO:<y@victim.example>')), 550);
    client.destroy();
  }
  t.equal(mtas[0]?.connections.length, before);
});

t.test('at most N at once; the next waits, and past the waiting line is told so', async (t) => {
  const { mtas, sekisho } = await start(t, { maxConnections: 2, maxWaiting: 1, waitTimeout: 60_000 });
  await eventually('the first probe is over', () => mtas[0]?.active === 0);
  const [first] = await open(sekisho);
  await open(sekisho);
  const third = open(sekisho);
  await eventually('one waits', () => figures(sekisho)[0]?.waiting === 1);
  const [, fourth] = await open(sekisho);
  t.match(fourth, /^451 4\.3\.2 Mail server busy/);
  t.equal(mtas[0]?.active, 2);
  await first.say('RSET');
  const [, answer] = await third;
  t.equal(codeOf(answer), 250, 'the place that became free is taken');
  t.equal(mtas[0]?.active, 2);
});

t.test('a wait has an end', async (t) => {
  const { sekisho } = await start(t, { maxConnections: 1, waitTimeout: 1_000 });
  await open(sekisho);
  const [, second] = await open(sekisho);
  t.match(second, /^451 4\.3\.2/);
});

t.test('reuse, and its limits', async (t) => {
  const reused = await start(t);
  for (let i = 0; i < 5; i += 1) t.equal(await send(reused.sekisho), 250);
  t.equal(reused.mtas[0]?.connections.length, 2, 'the probe and one for all');
  t.notOk(reused.mtas[0]?.connections[1]?.commands.includes('RSET'), 'a clean 250 needs no RSET');
  const single = await start(t, { maxMessages: 1 });
  for (let i = 0; i < 3; i += 1) t.equal(await send(single.sekisho), 250);
  t.equal(single.mtas[0]?.connections.length, 4, 'one for each, and the probe');
  const brief = await start(t, { maxIdle: 1_000 });
  t.equal(await send(brief.sekisho), 250);
  await eventually('the idle one is closed', () => brief.mtas[0]?.active === 0);
  t.equal(brief.mtas[0]?.connections.at(-1)?.commands.at(-1), 'QUIT');
  const aged = await start(t, { maxAge: 1_000 });
  t.equal(await send(aged.sekisho), 250);
  await new Promise((resolve) => setTimeout(resolve, 1_100));
  t.equal(await send(aged.sekisho), 250);
  t.equal(aged.mtas[0]?.connections.length, 3);
});

t.test('after a broken-off transaction RSET comes before the next client', async (t) => {
  const { mtas, sekisho } = await start(t);
  const [client] = await open(sekisho);
  await client.say('RSET');
  await eventually('it rests', () => figures(sekisho)[0]?.idle === 1);
  t.equal(await send(sekisho), 250);
  t.same(mtas[0]?.connections[1]?.commands.slice(2), [
    'MAIL FROM:<a@b.example>',
    'RCPT TO:<bob@local.example>',
    'RSET',
    'MAIL FROM:<a@b.example>',
    'RCPT TO:<bob@local.example>',
    'DATA',
  ]);
});

t.test('several upstreams: the first that is up, and back again', async (t) => {
  const { mtas, sekisho } = await start(t, { probeInterval: 1_000 }, { port: await freePort() }, {});
  t.equal(await send(sekisho), 250);
  t.same(
    mtas.map(({ messages }) => messages.length),
    [1, 0],
  );
  const port = mtas[0]?.port ?? 0;
  await mtas[0]?.close();
  t.equal(await send(sekisho), 250, 'failover within the transaction that finds it down');
  t.equal(mtas[1]?.messages.length, 1);
  const again = await startLegacyMta({ port });
  t.teardown(() => again.close());
  await eventually('it is found well', () => figures(sekisho)[0]?.up === true);
  t.equal(await send(sekisho), 250);
  t.equal(again.messages.length, 1);
  t.match(
    sekisho.events.filter(({ type }) => type === 'upstream-down'),
    [{ upstream: `127.0.0.1:${port}` }],
  );
});

t.test('no upstream: local mail is deferred, a relay is still refused, and it starts without', async (t) => {
  const sekisho = await startSekisho({ upstreams: [{ port: await freePort() }] });
  t.teardown(() => sekisho.stop());
  const [client, reply] = await open(sekisho);
  t.match(reply, /^451 4\.3\.0 Mail server not reachable/);
  t.match(await client.say('RCPT TO:<x@local.example>'), /^451/, 'and so is every further one');
  t.equal(codeOf(await client.say('DATA')), 451);
  const stranger = await SmtpClient.connect(sekisho.port, '127.0.0.2');
  await stranger.reply();
  await stranger.say('EHLO c.example');
  await stranger.say('MAIL FROM:<a@b.example>');
  t.equal(codeOf(await stranger.say('RCPT TO:<y@victim.example>')), 550);
});
