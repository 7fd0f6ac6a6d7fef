/** Which upstream takes a mail: by where the client connected and by the recipient's domain. */
import t, { type Test } from 'tap';
import { IpSet, parseCidr, parseIp } from '../../src/base/ip.js';
import { nftRules, type Plan, script } from '../../src/host/rules.js';
import { DomainSet, parseDomainEntry } from '../../src/policy/domain-set.js';
import { Ways } from '../../src/proxy/ways.js';
import { type LegacyMta, startLegacyMta } from '../support/legacy-mta.js';
import { type Running, type Setting, startSekisho, testPolicy } from '../support/sekisho.js';
import { SmtpClient } from '../support/smtp-client.js';

const networks = (...texts: string[]): IpSet =>
  IpSet.of(
    texts.map((text) => {
      const cidr = parseCidr(text);
      if (!cidr.ok) throw new Error(cidr.error);
      return cidr.value;
    }),
  );
const domains = (...texts: string[]): DomainSet =>
  DomainSet.of(
    texts.map((text) => {
      const entry = parseDomainEntry(text);
      if (!entry.ok) throw new Error(entry.error);
      return entry.value;
    }),
  );

const mtas = async (t: Test, names: readonly string[]): Promise<readonly LegacyMta[]> => {
  const all = await Promise.all(
    names.map((hostname) => startLegacyMta({ hostname, banner: [`${hostname} ESMTP`] })),
  );
  t.teardown(() => Promise.all(all.map((mta) => mta.close())));
  return all;
};

const running = async (t: Test, setting: Setting): Promise<Running> => {
  const sekisho = await startSekisho(setting);
  t.teardown(() => sekisho.stop());
  return sekisho;
};

const policy = testPolicy(
  ['.one.example', '.two.example', 'local.example', 'nowhere.example'],
  ['127.0.0.3/32'],
);

t.test('by the recipient', async (t) => {
  const [one, two] = await mtas(t, ['one', 'two']);
  const sekisho = await running(t, {
    policy,
    upstreams: [
      { port: one?.port ?? 0, name: 'one', domains: domains('.one.example', 'local.example') },
      { port: two?.port ?? 0, name: 'two', domains: domains('.two.example') },
    ],
  });
  const client = await SmtpClient.connect(sekisho.port);
  await client.reply();
  await client.say('EHLO c.example');
  const said = async (...lines: string[]): Promise<string> => {
    let reply = '';
    for (const line of lines) reply = await client.say(line);
    return reply;
  };
  await said('MAIL FROM:<a@sender.example>');
  t.match(await said('RCPT TO:<y@nowhere.example>'), /^550 5\.1\.2 .*No mail server here for that domain/);
  t.match(await said('RCPT TO:<y@victim.example>'), /^550 5\.7\.1/, 'the policy comes first');
  t.match(await said('RCPT TO:<bob@two.example>'), /^250/);
  t.match(await said('RCPT TO:<bob@lab.two.example>'), /^250/);
  t.match(await said('RCPT TO:<bob@one.example>'), /^452 4\.5\.3 .*another mail server/);
  t.match(await said('DATA', 'Subject: x\r\n\r\nx\r\n.'), /^250/);
  t.strictSame(two?.messages.at(-1)?.to, ['<bob@two.example>', '<bob@lab.two.example>']);
  // The next transaction begins anew, and so does one that was given up.
  t.match(await said('MAIL FROM:<a@sender.example>', 'RCPT TO:<bob@one.example>'), /^250/);
  t.match(await said('RSET', 'MAIL FROM:<a@sender.example>', 'RCPT TO:<bob@two.example>'), /^250/);
  t.match(
    await said('RSET', 'MAIL FROM:<a@sender.example>', 'RCPT TO:<postmaster>'),
    /^250/,
    'the first one',
  );
  t.match(await said('DATA', 'Subject: x\r\n\r\nx\r\n.'), /^250/);
  t.strictSame(one?.messages.at(-1)?.to, ['<postmaster>']);
  client.destroy();
});

t.test('by where the client connected', async (t) => {
  const [one, two, rest] = await mtas(t, ['one', 'two', 'rest']);
  const setting = {
    policy,
    listener: { host: '0.0.0.0' },
    upstreams: [
      { port: two?.port ?? 0, name: 'two', destinations: networks('127.0.0.12/32') },
      { port: one?.port ?? 0, name: 'one', destinations: networks('127.0.0.8/30') },
      { port: rest?.port ?? 0, name: 'rest' },
    ],
  };
  const sekisho = await running(t, setting);
  const greeting = async (port: number, host: string): Promise<string> => {
    const client = await SmtpClient.connect(port, '127.0.0.1', host);
    const reply = await client.reply();
    client.destroy();
    return reply;
  };
  for (const [host, name] of [
    ['127.0.0.12', 'two'],
    ['127.0.0.8', 'one'],
    ['127.0.0.11', 'one'],
    ['127.0.0.7', 'rest'],
    ['127.0.0.13', 'rest'],
  ] as const)
    t.match(await greeting(sekisho.port, host), new RegExp(`^220 ${name} `), host);
  const strict = await running(t, { ...setting, upstreams: setting.upstreams.slice(0, 2) });
  t.match(await greeting(strict.port, '127.0.0.11'), /^220 one /);
  t.match(await greeting(strict.port, '127.0.0.13'), /^554 5\.3\.2 No mail service here/);
  t.match(strict.of('connection-refused'), [
    { reason: 'destination', address: '127.0.0.1', why: 'no upstream is for 127.0.0.13' },
  ]);
});

t.test('an intercepting listener takes nothing for an address in no list', async (t) => {
  const upstream = (host: string, ...listed: string[]) => ({
    options: { host, ...(listed.length > 0 ? { destinations: networks(...listed) } : {}) },
  });
  const pools = [
    upstream('192.0.2.1'),
    upstream('192.0.2.1', '192.0.2.0/30'),
    upstream('2001:db8::1'),
    upstream('mx.example'),
  ];
  const ways = new Ways(pools);
  const found = (address: string, intercepted: boolean): readonly number[] | undefined => {
    const ip = parseIp(address);
    return ip && ways.for(ip, intercepted)?.pools.map((each) => pools.indexOf(each));
  };
  t.strictSame(found('192.0.2.1', true), [1], 'listed beats its own address');
  t.strictSame(found('192.0.2.3', true), [1]);
  t.strictSame(found('192.0.2.4', true), undefined);
  t.strictSame(found('192.0.2.4', false), [0, 2, 3]);
  t.strictSame(found('2001:db8:0::1', true), [2]);
  t.strictSame(found('::ffff:192.0.2.2', true), [1]);
  t.strictSame(found('2001:db8::2', true), undefined);
});

t.test('rules are made for what is there, and no more', async (t) => {
  const none: Plan = { transparent: false, ownPorts: [], interceptions: [] };
  const redirect = nftRules({
    ...none,
    interceptions: [{ how: 'redirect', port: 2525, v4: ['192.0.2.1/32'], v6: [] }],
  });
  t.match(redirect, /ip daddr 192\.0\.2\.1\/32 tcp dport 25 redirect to :2525/);
  t.notMatch(redirect, /ip6|transparent|reject/);
  const own = script({ ...none, transparent: true, ownPorts: [2525, 2526] });
  t.match(own, /tcp dport \{ 2525, 2526 \} reject/);
  t.notMatch(own, /THIS_HOST/, 'it is the host itself');
  const other = script({ ...none, transparent: true });
  t.match(other, /ip route replace default via THIS_HOST/);
  t.notMatch(other, /chain (?:output|input|intercept)/);
});
