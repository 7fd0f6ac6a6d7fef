/** Clients' own addresses towards a real sendmail, and a gateway before many servers, on hosts of the test's own. */
import { execFileSync } from 'node:child_process';
import path from 'node:path';
import t, { type Test } from 'tap';
import { type Namespace, namespaces, noNamespaces, wire } from '../support/namespaces.js';
import { install, noPackages } from '../support/packages.js';
import { BUILT, folder, SekishoProcess, sekishoCommand } from '../support/process.js';
import { eventually } from '../support/sekisho.js';
import { Sendmail } from '../support/sendmail.js';
import { codeOf, type SmtpClient } from '../support/smtp-client.js';

const reason = noPackages() ?? noNamespaces();
const skip = reason === undefined ? false : reason;

/** A client on either family, one that sendmail's own access map refuses, and the two ends of the gateway. */
const V4 = {
  client: '203.0.113.9',
  refused: '203.0.113.66',
  outer: '203.0.113.1',
  inner: '10.0.0.1',
  mta: '10.0.0.5',
};
const V6 = {
  client: '2001:db8:1::9',
  refused: '2001:db8:1::66',
  outer: '2001:db8:1::1',
  inner: '2001:db8:2::1',
  mta: '2001:db8:2::5',
};
const MORE = '10.0.0.6';

type Hosts = Readonly<Record<'cli' | 'gw' | 'mta', Namespace>>;

/** Client, gateway and mail server in a row, with strict rp_filter and nothing forwarded at the gateway. */
const network = (t: Test): Hosts => {
  const hosts = namespaces(t, ['cli', 'gw', 'mta']);
  const { cli, gw, mta } = hosts;
  const [, outer] = wire(
    [cli, [`${V4.client}/24`, `${V4.refused}/24`, `${V6.client}/64`, `${V6.refused}/64`]],
    [gw, [`${V4.outer}/24`, `${V6.outer}/64`]],
  );
  const [inner] = wire(
    [gw, [`${V4.inner}/24`, `${V6.inner}/64`]],
    [mta, [`${V4.mta}/24`, `${MORE}/24`, `${V6.mta}/64`]],
  );
  for (const [host, v4, v6] of [
    [cli, V4.outer, V6.outer],
    [mta, V4.inner, V6.inner],
  ] as const) {
    host.ip(`route add default via ${v4}`);
    host.ip(`-6 route add default via ${v6}`);
  }
  // A way out into the world, on which nobody answers: what is not kept here is lost.
  gw.ip(`route add default via ${V4.refused}`);
  for (const each of ['all', outer, inner]) gw.sysctl(`net.ipv4.conf.${each}.rp_filter`, 1);
  return hosts;
};

const POLICY = `version: 1
domains: { ours: [local.example, .one.example, .two.example] }
rules:
  - { name: inbound, allow: { to: ours } }
`;

/** What root may do without being almighty: it is neither CAP_NET_ADMIN nor any file's owner by force. */
const ONLY = (...capabilities: string[]): readonly string[] => [
  'setpriv',
  `--bounding-set=-all${capabilities.map((each) => `,+${each}`).join('')}`,
  '--inh-caps=-all',
  '--',
];

const sekisho = (host: Namespace, args: readonly string[]): string => {
  const [file, ...words] = sekishoCommand(args);
  return host.run(file, words);
};

/** Serves with no more power than the unit of deploy/systemd/tproxy.conf has; the rules go with the test. */
const serve = async (
  t: Test,
  host: Namespace,
  config: string,
): Promise<{ running: SekishoProcess; file: string }> => {
  const dir = folder(t, {
    'policy.yaml': POLICY,
    'sekisho.yaml': `${config}\npolicy: policy.yaml\nlog: { level: info }\n`,
  });
  const file = path.join(dir, 'sekisho.yaml');
  sekisho(host, ['tproxy', '--apply', '--config', file]);
  const prefix = [...host.prefix, ...ONLY('net_raw', 'net_bind_service')];
  const running = await SekishoProcess.serve(['--config', file], prefix);
  t.teardown(() => running.kill());
  return { running, file };
};

/** Sends a message; the reply that ended it. */
const send = async (client: SmtpClient, name: string, ...to: readonly string[]): Promise<string> => {
  await client.reply();
  await client.say(`EHLO ${name}`);
  await client.say('MAIL FROM:<a@sender.example>');
  let reply = '';
  for (const each of to) reply = await client.say(`RCPT TO:<${each}>`, 60_000);
  if (codeOf(reply) === 250) {
    await client.say('DATA');
    reply = await client.say(`Subject: ${name}\r\n\r\nx\r\n.`);
  }
  client.destroy();
  return reply;
};

/** As sendmail writes addresses. */
const asSendmail = (address: string): string =>
  address.includes(':') ? `IPv6:${address.replace('::', ':0:0:0:0:')}` : address;

/** Every proof that there is that sendmail itself sees the client, over one family. */
const seesClient = async (
  t: Test,
  { cli }: Hosts,
  sendmail: Sendmail,
  { client, refused, outer }: typeof V4,
): Promise<void> => {
  const name = `${client.includes(':') ? 'v6' : 'v4'}.client.example`;
  t.match(await send(await cli.client(outer, 25, client), name, 'bob@local.example'), /^250/, name);
  const queued = sendmail.queue().find(({ header }) => header.includes(`Subject: ${name}`));
  const seen = asSendmail(client);
  t.match(queued?.header, new RegExp(`Received: from \\S+ \\(\\[?${seen}\\]?`), 'its own Received line');
  t.ok(queued?.header.includes(seen), 'the client in the header');
  await eventually('its log', () =>
    new RegExp(`from=<a@sender\\.example>.* relay=\\S*\\[${seen}\\]`).test(sendmail.log),
  );
  // The policy lets it pass, sendmail's access map does not.
  t.match(
    await send(await cli.client(outer, 25, refused), 'refused.example', 'bob@local.example'),
    /^550 5\.7\.1 Access denied/,
  );
  await eventually('it refused', () =>
    new RegExp(`ruleset=check_relay, arg1=\\S+, arg2=${asSendmail(refused)}, .*Access denied`, 'i').test(
      sendmail.log,
    ),
  );
  t.match(
    await send(await cli.client(outer, 25, client), name, 'bob@local.example'),
    /^250/,
    'and harms nobody else',
  );
};

const ACCESS = `Connect:${V4.refused}\tREJECT\nConnect:${asSendmail(V6.refused)}\tREJECT\n`;

const rulesOf = (host: Namespace): string =>
  [
    host.run('nft', ['list', 'ruleset']),
    host.ip('-4 rule show'),
    host.ip('-6 rule show'),
    host.ip('-4 route show table all'),
    // The link-local ones come when they like.
    host.ip('-6 route show table all').replace(/^.*(?:fe80|expires).*$\n/gm, ''),
  ].join('\n');

/** Two servers behind the gateway, that say which they are. */
const SERVERS = `
const { startLegacyMta } = await import(process.argv[1]);
const net = await import('node:net');
for (const [name, host] of [['one', '${V4.mta}'], ['two', '${MORE}'], ['six', '${V6.mta}']]) {
  const mta = await startLegacyMta({ hostname: name + '.example', banner: [name + '.example ESMTP'] });
  net.createServer((socket) => socket.on('error', () => {}).pipe(net.connect(mta.port)).on('error', () => {}).pipe(socket)).listen(25, host);
}`;

t.before(async () => {
  if (reason === undefined)
    await install(['ip=iproute2', 'nft=nftables', 'setpriv=util-linux', 'nsenter=util-linux']);
});

t.test('sendmail on another host sees the client', { skip }, async (t) => {
  const hosts = network(t);
  const sendmail = await Sendmail.startIn(hosts.mta, 25, {
    addresses: [V4.mta, V6.mta],
    files: { access: ACCESS },
  });
  t.teardown(() => sendmail.stop());
  const { running } = await serve(
    t,
    hosts.gw,
    `listen: [{ port: 25 }]
upstream:
  - { name: four, host: ${V4.mta}, identity: tproxy }
  - { name: six, host: "${V6.mta}", identity: tproxy }`,
  );
  for (const family of [V4, V6]) await seesClient(t, hosts, sendmail, family);
  t.notMatch(running.out, /"event":"(?:warning|upstream-down)"/);
  // Whoever is this host itself is shown as this host.
  t.match(await send(await hosts.gw.client('127.0.0.1', 25), 'self.example', 'bob@local.example'), /^250/);
  await eventually('by its own address', () => sendmail.log.includes(`[${V4.inner}]`));
});

t.test('sendmail on the same host sees the client', { skip }, async (t) => {
  const hosts = network(t);
  const { cli, gw } = hosts;
  const before = rulesOf(gw);
  const sendmail = await Sendmail.startIn(gw, 2525, {
    addresses: [V4.inner, V6.inner],
    files: { access: ACCESS },
  });
  t.teardown(() => sendmail.stop());
  const { file } = await serve(
    t,
    gw,
    `listen: [{ port: 25 }]
upstream:
  - { name: four, host: ${V4.inner}, port: 2525, identity: tproxy }
  - { name: six, host: "${V6.inner}", port: 2525, identity: tproxy }`,
  );
  for (const family of [V4, V6]) await seesClient(t, hosts, sendmail, family);
  for (const { inner } of [V4, V6])
    await t.rejects(cli.connect(inner, 2525), /ECONNREFUSED/, 'nobody else reaches it around Sekisho');
  const once = rulesOf(gw);
  sekisho(gw, ['tproxy', '--apply', '--config', file]);
  t.equal(rulesOf(gw), once, 'twice is once');
  t.match(sekisho(gw, ['tproxy', '--config', file]), /^fine/);
  t.match(
    sekisho(gw, ['tproxy', '--remove']),
    /^taken back: table inet sekisho_tproxy, IPv4 rule, IPv4 route, IPv6/,
  );
  t.equal(rulesOf(gw), before, 'and then nothing of it is left');
  t.match(sekisho(gw, ['tproxy', '--remove']), /^nothing of ours was there/);
  // What is printed does the same as what is applied.
  gw.run('sh', ['-c', sekisho(gw, ['tproxy', '--print', '--config', file])]);
  t.equal(rulesOf(gw), once);
  gw.run('sh', ['-c', sekisho(gw, ['tproxy', '--print', '--config', file])]);
  t.equal(rulesOf(gw), once);
});

t.test('what is missing is said', { skip }, async (t) => {
  const { gw } = network(t);
  const config = `listen: [{ port: 25 }]\nupstream: { host: ${V4.mta}, identity: tproxy }\npolicy: policy.yaml\n`;
  const dir = folder(t, { 'policy.yaml': POLICY, 'sekisho.yaml': config });
  const file = path.join(dir, 'sekisho.yaml');
  const failing = (
    prefix: readonly string[],
    args: readonly string[],
  ): { status: number; stderr: string } => {
    const [command = '', ...words] = [...gw.prefix, ...prefix, ...sekishoCommand(args)];
    try {
      execFileSync(command, words, { encoding: 'utf8', stdio: ['ignore', 'pipe', 'pipe'], timeout: 180_000 });
      return { status: 0, stderr: '' };
    } catch (error) {
      return error as { status: number; stderr: string };
    }
  };
  const powerless = failing(ONLY('net_bind_service'), ['serve', '--config', file]);
  t.equal(powerless.status, 2);
  t.match(
    powerless.stderr,
    /identity: tproxy: this process may not use addresses .* CAP_NET_RAW or CAP_NET_ADMIN/,
  );
  const bare = failing([], ['tproxy', '--config', file]);
  t.equal(bare.status, 1);
  t.match(bare.stderr, /clients with IPv6 get 451/);
  t.match(bare.stderr, /no route brings packets .* \(IPv4 and IPv6\).* "sekisho tproxy --apply"/);
  t.match(failing(ONLY(), ['tproxy', '--apply', '--config', file]), {
    status: 1,
    stderr: /Operation not permitted/,
  });
  const running = await SekishoProcess.serve(['--config', file], gw.prefix);
  t.teardown(() => running.kill());
  // It starts all the same: routes may be made otherwise.
  await running.until('a warning', () => /"event":"warning".*sekisho tproxy --apply/.test(running.out));
});

for (const intercept of ['redirect', 'tproxy'] as const)
  t.test(`a gateway before many servers: ${intercept}`, { skip }, async (t) => {
    const { cli, gw, mta } = network(t);
    const legacy = path.join(path.dirname(BUILT), '..', 'demo', 'legacy-mta.js');
    mta.spawn(process.execPath, ['--input-type=module', '-e', SERVERS, legacy], { stdio: 'inherit' });
    await mta.answers(V6.mta, 25);
    const { running } = await serve(
      t,
      gw,
      `listen: [{ port: 2525, intercept: ${intercept} }]
upstream:
  - { name: one, host: ${V4.mta}, identity: ${intercept === 'tproxy' ? 'tproxy' : 'received'} }
  - { name: two, host: ${MORE} }
  - { name: six, host: "${V6.mta}" }`,
    );
    // The client connects to the servers' own addresses, and each has his own.
    for (const [host, name] of [
      [V4.mta, 'one'],
      [MORE, 'two'],
      [V6.mta, 'six'],
    ] as const) {
      const client = await cli.client(host, 25);
      t.match(await client.reply(), new RegExp(`^220 ${name}\\.example`), host);
      client.destroy();
      t.match(
        await send(await cli.client(host, 25), 'c.example', 'y@victim.example'),
        /^550 5\.7\.1/,
        'judged',
      );
      t.match(await send(await cli.client(host, 25), 'c.example', 'bob@local.example'), /^250/);
      const message = new RegExp(`"event":"message".*"upstream":"${name}"`);
      await running.until(`a message for ${name}`, () => message.test(running.out));
    }
    // Straight to the listener, and so nobody's; and what no upstream is for, if a rule brings it.
    for (const host of [V4.outer, V6.outer]) {
      const client = await cli.client(host, 2525);
      t.match(await client.reply(), /^554 5\.3\.2/);
      client.destroy();
    }
    gw.run('sh', [
      '-c',
      `nft list table inet sekisho_tproxy | sed 's/${MORE}/${MORE}, 10.0.0.7/' > /tmp/${gw.name}; nft delete table inet sekisho_tproxy; nft -f /tmp/${gw.name}; rm /tmp/${gw.name}`,
    ]);
    const client = await cli.client('10.0.0.7', 25);
    t.match(await client.reply(), /^554 5\.3\.2/, 'a destination in no list');
    client.destroy();
    for (const why of ['no upstream is for 10.0.0.7"', 'it came straight here'])
      await running.until(why, () => running.out.includes(`"reason":"destination","why":"${why}`));
  });
