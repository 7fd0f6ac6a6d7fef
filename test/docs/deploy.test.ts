/** The three ways to step in front of a mail server, as deploy/README.md writes them, with a real sendmail, in network namespaces. */
import { execFileSync } from 'node:child_process';
import { readdirSync, readFileSync, writeFileSync } from 'node:fs';
import path from 'node:path';
import t, { type Test } from 'tap';
import { type Namespace, namespaces, noNamespaces, wire } from '../support/namespaces.js';
import { install, noPackages } from '../support/packages.js';
import { folder, SekishoProcess } from '../support/process.js';
import { prepareSendmail } from '../support/sendmail.js';
import { deliver } from '../support/smtp-client.js';

const skip = noPackages() ?? noNamespaces();
const text = readFileSync('deploy/README.md', 'utf8');

/** The block behind a mark. */
const block = (mark: string): string => {
  const found = new RegExp(`<!-- ${mark} -->\\n\`\`\`\\w+\\n([\\s\\S]*?)\`\`\``).exec(text)?.[1];
  if (found === undefined) throw new Error(`no block ${mark}`);
  return found;
};

/** There is no user sekisho on the host of a test: here Sekisho is root, and nobody is whoever the rules name. */
const nft = (host: Namespace, mark: string, user = 'nobody'): void =>
  host.nft(block(mark).replaceAll(/\bsekisho(?= }| snat)/g, user));

const POLICY = `version: 1
domains: { ours: [example.org] }
rules:
  - { name: inbound, allow: { to: ours } }
`;

const STRANGER = '203.0.113.9';

interface Mta {
  readonly dir: string;
  readonly cf: string;
  start(): Promise<void>;
  stop(): Promise<void>;
}

/** An open relay on port 25 of all addresses of a host. */
const openRelay = async (t: Test, host: Namespace): Promise<Mta> => {
  const { dir, script, env } = await prepareSendmail(25, { files: { 'local-host-names': 'example.org\n' } });
  const cf = path.join(dir, 'mail', 'sendmail.cf');
  writeFileSync(cf, readFileSync(cf, 'utf8').replace(/^(O DaemonPortOptions=.*?), Addr=127\.0\.0\.1/m, '$1'));
  let stop = async (): Promise<void> => {};
  t.teardown(() => stop());
  return {
    dir,
    cf,
    start: async () => {
      const child = host.spawn('unshare', ['--uts', 'sh', '-c', script], {
        stdio: 'ignore',
        env: { ...process.env, ...env },
      });
      stop = async () => {
        if (child.exitCode !== null || child.signalCode !== null) return;
        const over = new Promise((resolve) => child.once('close', resolve));
        child.kill('SIGTERM');
        await over;
      };
    },
    stop: () => stop(),
  };
};

const send = async (there: Namespace, server: string, to: string): Promise<string> =>
  deliver(await there.client(server), to);

const serve = async (t: Test, host: Namespace, mark: string): Promise<SekishoProcess> => {
  const dir = folder(t, { 'sekisho.yaml': block(mark), 'policy.yaml': POLICY });
  const sekisho = await SekishoProcess.serve(['--config', path.join(dir, 'sekisho.yaml')], host.prefix);
  t.teardown(() => sekisho.kill());
  return sekisho;
};

const OPEN = /^250 /;
const CLOSED = /^550 5\.7\.1 /;

/** Whether another user of the host can connect. */
const anotherUser = (host: Namespace, port: number): boolean => {
  try {
    host.run('setpriv', [
      '--reuid=1',
      '--regid=1',
      '--clear-groups',
      'bash',
      '-c',
      `exec 3<>/dev/tcp/127.0.0.1/${port}`,
    ]);
    return true;
  } catch {
    return false;
  }
};

const options = skip === undefined ? {} : { skip };
const SERVER = '203.0.113.1';

t.test('1. another port, and back', options, async (t) => {
  await install(['ip=iproute2', 'nft=nftables']);
  const { here, there } = namespaces(t, ['here', 'there']);
  wire([here, [`${SERVER}/24`]], [there, [`${STRANGER}/24`]]);
  const mta = await openRelay(t, here);
  await mta.start();
  await there.answers(SERVER, 25);
  t.match(await send(there, SERVER, 'y@victim.example'), OPEN, 'an open relay');
  await mta.stop();

  const sh = (mark: string): void =>
    void execFileSync('sh', ['-ec', block(mark).replaceAll('/etc/mail', path.dirname(mta.cf))]);
  const before = readFileSync(mta.cf, 'utf8');
  sh('move');
  t.match(
    readFileSync(mta.cf, 'utf8').match(/^O DaemonPortOptions=.*$/gm),
    [/Port=2525, Addr=127\.0\.0\.1/],
    'one port is left',
  );
  await mta.start();
  await here.answers('127.0.0.1', 2525);
  const sekisho = await serve(t, here, 'port');
  t.match(await send(there, SERVER, 'y@victim.example'), CLOSED);
  t.match(await send(there, SERVER, 'root@example.org'), OPEN, 'its own mail flows');
  await t.rejects(there.connect(SERVER, 2525), { code: 'ECONNREFUSED' }, 'no other door');

  t.ok(anotherUser(here, 2525), 'but for the programs of the host');
  nft(here, 'guard');
  nft(here, 'guard');
  t.notOk(anotherUser(here, 2525), 'which the rule keeps out');
  t.match(await send(there, SERVER, 'root@example.org'), OPEN, 'not Sekisho');

  const senders = (): string =>
    readdirSync(path.join(mta.dir, 'queue'))
      .filter((name) => name.startsWith('qf'))
      .map((name) => /^\$_(.*)$/m.exec(readFileSync(path.join(mta.dir, 'queue', name), 'latin1'))?.[1] ?? '')
      .join();
  t.notMatch(senders(), /127\.0\.0\.2/);
  nft(here, 'stranger', 'root');
  await sekisho.kill();
  const again = await serve(t, here, 'port');
  t.match(await send(there, SERVER, 'root@example.org'), OPEN);
  t.match(senders(), /127\.0\.0\.2/, 'it sees a stranger');

  await again.kill('SIGTERM');
  await mta.stop();
  sh('move-back');
  t.equal(readFileSync(mta.cf, 'utf8'), before);
  await mta.start();
  await there.answers(SERVER, 25);
  t.match(await send(there, SERVER, 'y@victim.example'), OPEN, 'as it was');
});

t.test('2. redirect, and back', options, async (t) => {
  await install(['ip=iproute2', 'nft=nftables']);
  const { here, there } = namespaces(t, ['here', 'there']);
  wire([here, [`${SERVER}/24`, '2001:db8::1/64']], [there, [`${STRANGER}/24`, '2001:db8::9/64']]);
  const mta = await openRelay(t, here);
  await mta.start();
  await there.answers(SERVER, 25);
  const sekisho = await serve(t, here, 'redirect-port');
  t.match(await send(there, SERVER, 'y@victim.example'), OPEN, 'an open relay');
  nft(here, 'redirect');
  nft(here, 'redirect');
  t.match(await send(there, SERVER, 'y@victim.example'), CLOSED);
  t.match(await send(there, '2001:db8::1', 'y@victim.example'), CLOSED, 'by IPv6 too');
  t.match(await send(there, SERVER, 'root@example.org'), OPEN, 'its own mail flows');
  t.match(
    await send(here, '127.0.0.1', 'y@elsewhere.example'),
    OPEN,
    'the host’s programs reach the server as before',
  );
  await sekisho.kill();
  await t.rejects(there.connect(SERVER, 25), { code: 'ECONNREFUSED' }, 'closed without Sekisho');
  here.run('sh', ['-ec', block('redirect-back')]);
  t.match(await send(there, SERVER, 'y@victim.example'), OPEN, 'as it was');
});

t.test('3. gateway, and back', options, async (t) => {
  await install(['ip=iproute2', 'nft=nftables']);
  const { world, gate, mta } = namespaces(t, ['world', 'gate', 'mta']);
  wire([world, [`${STRANGER}/24`]], [gate, ['203.0.113.5/24']]);
  wire([gate, ['192.0.2.5/24']], [mta, ['192.0.2.10/24']]);
  // The stranger reaches the MTA itself too: the gateway is its router here.
  gate.sysctl('net.ipv4.ip_forward', 1);
  world.ip('route add 192.0.2.0/24 via 203.0.113.5');
  mta.ip('route add 203.0.113.0/24 via 192.0.2.5');
  const relay = await openRelay(t, mta);
  await relay.start();
  await world.answers('192.0.2.10', 25);
  t.match(await send(world, '192.0.2.10', 'y@victim.example'), OPEN, 'an open relay');
  await serve(t, gate, 'gateway-port');
  nft(mta, 'gateway');
  nft(mta, 'gateway');
  t.match(await send(world, '203.0.113.5', 'y@victim.example'), CLOSED);
  t.match(await send(world, '203.0.113.5', 'root@example.org'), OPEN);
  await t.rejects(
    world.connect('192.0.2.10', 25),
    { code: 'ECONNREFUSED' },
    'the old server answers the gateway alone',
  );
  mta.run('sh', ['-ec', block('gateway-back')]);
  t.match(await send(world, '192.0.2.10', 'y@victim.example'), OPEN, 'as it was');
});
