/** A real rbldnsd, the server that most DNS lists run, as the lists of a listener; clients come from anywhere by PROXY. */
import { type ChildProcess, spawn } from 'node:child_process';
import { Resolver } from 'node:dns/promises';
import { chmodSync, existsSync } from 'node:fs';
import path from 'node:path';
import t, { type Test } from 'tap';
import { IpSet, parseCidr } from '../../src/base/ip.js';
import { parseCodes } from '../../src/door/answer-codes.js';
import { DEFAULT_DNSBL, type DnsList } from '../../src/door/dnsbl.js';
import { startLegacyMta } from '../support/legacy-mta.js';
import { freePort, noPackages, unpack } from '../support/packages.js';
import { folder } from '../support/process.js';
import { eventually, startSekisho, testPolicy } from '../support/sekisho.js';
import { codeOf, SmtpClient } from '../support/smtp-client.js';

const networks = (...texts: string[]): IpSet =>
  IpSet.of(texts.flatMap((each) => ((cidr) => (cidr.ok ? [cidr.value] : []))(parseCidr(each))));

const ZONES = {
  black4: `$TTL 2400\n:127.0.0.2:listed, see http://black.example/?$\n203.0.113.9\n203.0.113.7\n198.51.100.0/24\n`,
  black6: '$TTL 2400\n:127.0.0.3:listed\n2001:db8:bad::/48\n',
  grey4: '$TTL 2400\n:127.0.0.10:grey\n203.0.113.8\n203.0.113.9\n',
  white4: '$TTL 2400\n:127.0.8.3:known\n203.0.113.7\n',
} as const;

const startRbldnsd = async (t: Test): Promise<{ port: number; child: ChildProcess }> => {
  const root = await unpack('rbldnsd');
  const binary = ['usr/sbin/rbldnsd', 'usr/bin/rbldnsd']
    .map((each) => path.join(root, each))
    .find((each) => existsSync(each));
  if (binary === undefined) throw new Error('rbldnsd is not in its package');
  const dir = folder(t, ZONES);
  // It reads its zones as somebody else.
  chmodSync(dir, 0o755);
  const port = await freePort();
  const zones = ['black.example:ip4set:black4', 'black.example:ip6trie:black6', 'grey.example:ip4set:grey4'];
  const args = [
    '-n',
    '-u',
    'nobody',
    '-b',
    `127.0.0.1/${port}`,
    '-w',
    dir,
    ...zones,
    'white.example:ip4set:white4',
  ];
  const child = spawn(binary, args, { stdio: ['ignore', 'pipe', 'pipe'] });
  let said = '';
  child.stdout.on('data', (chunk) => (said += String(chunk)));
  child.stderr.on('data', (chunk) => (said += String(chunk)));
  t.teardown(() => child.kill('SIGKILL'));
  const resolver = new Resolver({ timeout: 500, tries: 1 });
  resolver.setServers([`127.0.0.1:${port}`]);
  await eventually('rbldnsd answers', async () => {
    if (child.exitCode !== null) throw new Error(`rbldnsd ended: ${said}`);
    const answer = await resolver.resolve4('9.113.0.203.black.example', { ttl: true }).catch(() => []);
    return answer[0]?.ttl === 2400;
  });
  return { port, child };
};

const codes = (text: string) => {
  const parsed = parseCodes(text);
  return parsed.ok ? [parsed.value] : [];
};

const options = ((reason) => (reason === undefined ? {} : { skip: reason }))(noPackages());

t.test('lists that a real rbldnsd serves', options, async (t) => {
  const { port, child } = await startRbldnsd(t);
  const mta = await startLegacyMta();
  const list = (name: string, weight: number, more: Partial<DnsList> = {}): DnsList => ({
    ...{ name, zone: `${name}.example`, weight, codes: [] },
    ...more,
  });
  const lists = [list('black', 2), list('grey', 1, { codes: codes('127.0.0.10') }), list('white', -5)];
  const dnsbl = {
    ...DEFAULT_DNSBL,
    servers: [`127.0.0.1:${port}`],
    lists,
    threshold: 2,
    timeout: 10_000,
    tries: 1,
  };
  const sekisho = await startSekisho({
    upstreams: [{ port: mta.port }],
    policy: testPolicy(['local.example'], ['198.51.100.0/24']),
    listener: { screening: { dnsbl: 'reject', greylist: 0 }, proxyFrom: networks('127.0.0.1') },
    strangers: { exempt: networks(), dnsbl },
  });
  t.teardown(async () => {
    await sekisho.stop();
    await mta.close();
  });
  const rcpt = async (ip: string): Promise<string> => {
    const client = await SmtpClient.connect(sekisho.port);
    const six = ip.includes(':');
    client.send(`PROXY TCP${six ? 6 : 4} ${ip} ${six ? '2001:db8::25' : '192.0.2.25'} 4000 25\r\n`);
    await client.reply();
    await client.say('EHLO c.example');
    await client.say('MAIL FROM:<a@far.example>');
    const reply = await client.say('RCPT TO:<bob@local.example>');
    client.destroy();
    return reply;
  };
  const lookups = () => sekisho.of('dnsbl-lookup').length;

  t.match(await rcpt('203.0.113.9'), /^550 5\.7\.1 .*Client \[203\.0\.113\.9\] is listed by black/);
  t.equal(codeOf(await rcpt('203.0.113.8')), 250, 'grey alone is too little');
  t.equal(codeOf(await rcpt('203.0.113.7')), 250, 'an allow-list outweighs');
  t.equal(codeOf(await rcpt('203.0.113.1')), 250, 'on no list');
  t.match(await rcpt('2001:db8:bad::1'), /^550 5\.7\.1 .*\[2001:db8:bad::1\] is listed by black/, 'IPv6');
  t.equal(codeOf(await rcpt('2001:db8:600d::1')), 250);
  const results = sekisho
    .of('dnsbl-lookup')
    .map(({ list: name, address, result }) => `${name} ${address} ${result}`);
  for (const expected of ['black 203.0.113.9 listed', 'grey 203.0.113.9 listed', 'white 203.0.113.7 listed'])
    t.ok(results.includes(expected), expected);
  const asked = lookups();
  t.equal(codeOf(await rcpt('203.0.113.9')), 550);
  t.equal(lookups(), asked, 'within its TTL of 40 minutes nobody is asked again');
  t.equal(codeOf(await rcpt('198.51.100.9')), 250, "the site's own, though listed");
  t.equal(lookups(), asked, 'nobody is asked for them, so nothing delays them');

  const over = new Promise((resolve) => child.once('close', resolve));
  child.kill('SIGTERM');
  await over;
  t.equal(codeOf(await rcpt('203.0.113.99')), 250, 'a list that is down has nobody on it');
  t.ok(
    sekisho
      .of('dnsbl-lookup')
      .slice(asked)
      .every(({ result }) => result === 'failed' || result === 'timeout'),
    'and it is said so',
  );
  t.equal(codeOf(await rcpt('203.0.113.9')), 550, 'what is known is known for its time');
  t.equal(codeOf(await rcpt('198.51.100.9')), 250);
});
