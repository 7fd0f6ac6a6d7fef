/** Suspensions and windows by hand, beside a proxy that runs on the same folder. */
import {
  chmodSync,
  chownSync,
  existsSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  statSync,
  writeFileSync,
} from 'node:fs';
import path from 'node:path';
import t, { type Test } from 'tap';
import { startLegacyMta } from '../support/legacy-mta.js';
import { folder, runSekisho, SekishoProcess } from '../support/process.js';
import { codeOf, SmtpClient } from '../support/smtp-client.js';

// Each command is a process, and takes its seconds on a busy machine.
t.setTimeout(900_000);

const LOGIN = 'hoge@local.example';
const POLICY = `version: 1
rules:
  - { name: inbound, allow: { to: local.example } }
  - { name: roaming, allow: { login: any } }
  - { name: by window, allow: { window: any } }
`;

const site = (t: Test, upstream: number, store = '{ lmdb: state }') => {
  const dir = folder(t, {
    users: `${LOGIN}:{PLAIN}secret\n`,
    'policy.yaml': POLICY,
    'sekisho.yaml': `listen: [{ host: 127.0.0.1, port: 0 }]
upstream: { host: 127.0.0.1, port: ${upstream} }
policy: policy.yaml
logins: [{ passwd_file: users }]
devices: [{ name: tests, networks: [127.0.0.0/8], plaintext_auth: true }]
store: ${store}
`,
  });
  const config = path.join(dir, 'sekisho.yaml');
  return { dir, config, run: (...args: string[]) => runSekisho([...args, '--config', config]) };
};

const greeted = async (port: number): Promise<SmtpClient> => {
  const client = await SmtpClient.connect(port, '127.0.0.2');
  await client.reply();
  await client.say('EHLO c.example');
  return client;
};

const logIn = async (client: SmtpClient): Promise<number> =>
  codeOf(await client.say(`AUTH PLAIN ${Buffer.from(`\0${LOGIN}\0secret`).toString('base64')}`));

const relay = async (client: SmtpClient): Promise<number> => {
  await client.say(`MAIL FROM:<${LOGIN}>`);
  const code = codeOf(await client.say('RCPT TO:<y@victim.example>'));
  await client.say('RSET');
  return code;
};

t.test('beside a running proxy', async (t) => {
  const mta = await startLegacyMta();
  t.teardown(() => mta.close());
  const { config, run } = site(t, mta.port);
  const proxy = await SekishoProcess.serve(['--config', config]);
  t.teardown(() => proxy.kill());

  await t.test('a login is suspended and lifted', async (t) => {
    const open = await greeted(proxy.port);
    const later = await greeted(proxy.port);
    t.equal(await logIn(open), 235);
    t.equal(await relay(open), 250);
    const suspended = await run('logins', 'suspend', LOGIN, '--for', '24h', '--why', 'stolen\nby night');
    t.same([suspended.code, suspended.err], [0, '']);
    t.match(suspended.out, /^<hoge@local\.example> is suspended until \d{4}-.*Z\n$/);
    t.equal(await relay(open), 550, 'an open session');
    t.equal(await logIn(later), 535);
    t.match(
      (await run('logins', 'suspended')).out,
      /^<hoge@local\.example> until .*Z: stolen\\x0aby night\n$/,
    );
    const listed: unknown = JSON.parse((await run('logins', 'suspended', '--json')).out);
    t.match(listed, [{ login: LOGIN, until: /Z$/, why: 'stolen\nby night' }]);
    const refused = await run('windows', 'open', LOGIN, '127.0.0.2');
    t.equal(refused.code, 1);
    t.match(refused.err, /the login is suspended/);
    t.equal((await run('logins', 'lift', LOGIN)).code, 0);
    t.equal(await logIn(later), 235);
    const again = await run('logins', 'lift', LOGIN, '--json');
    t.same([again.code, JSON.parse(again.out)], [1, { login: LOGIN, lifted: false }]);
    open.destroy();
    later.destroy();
  });

  await t.test('a window is opened, renewed and closed', async (t) => {
    const client = await greeted(proxy.port);
    t.equal(await relay(client), 550);
    t.equal((await run('windows', 'renew', LOGIN, '127.0.0.2')).code, 1, 'there is none');
    t.match(await run('windows', 'open', LOGIN, '127.0.0.2'), {
      code: 0,
      out: /^opened: \[127\.0\.0\.2\] <hoge@local\.example> by api until .*Z, 0 recipients\n$/,
      err: '',
    });
    t.equal(await relay(client), 250);
    t.match(JSON.parse((await run('windows', 'renew', LOGIN, '127.0.0.2', '--json')).out), {
      result: 'renewed',
      window: { login: LOGIN, source: 'api' },
    });
    const mail = ['--client', '127.0.0.2', '--from', LOGIN, '--to', 'y@victim.example'];
    t.match(
      (await run('explain', ...mail)).out,
      /=> allow.*\n {3}window of <hoge@local\.example> by api until .*Z, 0 recip/,
    );
    t.match((await run('windows', 'list')).out, /^\[127\.0\.0\.2\] <hoge@local\.example> by api/);
    t.equal((await run('windows', 'close', '--address', '127.0.0.3')).code, 1, 'another one’s');
    t.match(await run('windows', 'close', '--login', LOGIN, '--address', '127.0.0.2'), {
      code: 0,
      out: '1 closed\n',
    });
    t.equal(await relay(client), 550);
    client.destroy();
  });

  await t.test('an address is banned and lifted', async (t) => {
    const banner = async (): Promise<number> => {
      const client = await SmtpClient.connect(proxy.port, '127.0.0.2');
      const reply = await client.reply();
      client.destroy();
      return codeOf(reply);
    };
    const added = await run('bans', 'add', '127.0.0.2', '--for', '1h', '--why', 'loud\nneighbour');
    t.match(added, { code: 0, out: /^\[127\.0\.0\.2\] is banned until \d{4}-.*Z\n$/, err: '' });
    t.equal(await banner(), 421);
    await run('bans', 'add', '2001:db8:0:1::5');
    t.match((await run('bans', 'list')).out, /loud\\x0aneighbour\n.*0:1::\/64\] until it is lifted: by hand/);
    t.match(await run('bans', 'lift', '127.0.0.2'), { code: 0, out: /is no longer banned/ });
    t.equal(await banner(), 220);
    t.equal((await run('bans', 'lift', '127.0.0.2')).code, 1);
  });
});

t.test('the file is compacted while nobody has it open', async (t) => {
  const { dir, config, run } = site(t, 25);
  const file = path.join(dir, 'state', 'state.mdb');
  t.match(await run('store', 'compact'), { code: 2, err: /state\.mdb: there is no such file/ });
  const proxy = await SekishoProcess.serve(['--config', config]);
  t.teardown(() => proxy.kill());
  t.equal((await run('windows', 'open', LOGIN, '127.0.0.2')).code, 0);
  const before = readFileSync(file);
  const refused = await run('store', 'compact');
  t.equal(refused.code, 2);
  t.match(refused.err, new RegExp(`process ${proxy.child.pid} has it open\\. Stop sekisho serve first`));
  t.ok(readFileSync(file).equals(before), 'nothing was changed');
  await proxy.kill();
  t.match(await run('store', 'compact'), { code: 0, out: /^\d+ octets before, \d+ now\n$/, err: '' });
  t.match((await run('windows', 'list')).out, /<hoge@local\.example> by api/);
  t.match(await site(t, 25, 'memory').run('store', 'compact'), { code: 2, err: /memory has no file/ });
});

t.test('root does what the owner of the folder may', { skip: process.getuid?.() !== 0 }, async (t) => {
  const { dir, run } = site(t, 25);
  const state = path.join(dir, 'state');
  chmodSync(dir, 0o755);
  mkdirSync(state);
  chownSync(state, 65_534, 65_534);
  t.equal((await run('windows', 'open', LOGIN, '127.0.0.2')).code, 0);
  for (const file of ['state.mdb', 'state.mdb-lock'])
    t.equal(statSync(path.join(state, file)).uid, 65_534, `${file} can be opened by sekisho serve`);
  writeFileSync(path.join(state, 'state.mdb'), 'something else');
  const foreign = await run('windows', 'list');
  t.equal(foreign.code, 2);
  t.match(foreign.err, /state\.mdb cannot be used: it is not an LMDB file\. Run this as the user that runs/);
  t.strictSame(readdirSync(state).sort(), ['state.mdb', 'state.mdb-lock'], 'it is left where it is');
});

t.test('faults are exit code 2, and make no store', async (t) => {
  const { dir, run } = site(t, 25);
  const cases: readonly [string[], RegExp][] = [
    [['logins', 'lift', 'x'.repeat(256)], /longer than 255 octets/],
    ...['999ms', '721h'].map((time): [string[], RegExp] => [
      ['logins', 'suspend', LOGIN, '--for', time],
      /--for .*: must be a time from 1s to 720h/,
    ]),
    [['windows', 'open', LOGIN, '127.1'], /127\.1: not an IP address/],
    [['bans', 'add', 'localhost'], /localhost: not an IP address/],
    [['bans', 'add', '127.0.0.2', '--for', '1d'], /must be a time from 1s to 720h/],
    [['bans', 'lift', '127.0.0.0/24'], /not an IP address/],
    [['windows', 'close'], /--login LOGIN, --address IP or both/],
    [['windows', 'close', '--login', ''], /--login: the user name is empty/],
  ];
  const tried = cases.map(async ([args, fault]) => {
    const { code, err } = await run(...args);
    t.equal(code, 2, args.join(' '));
    t.match(err, fault);
    t.notMatch(err, /\n\s+at /, 'no stack trace');
  });
  await Promise.all(tried);
  t.notOk(existsSync(path.join(dir, 'state')));
  const without = await runSekisho(['windows', 'list']);
  t.equal(without.code, 2);
  t.match(without.err, /--config/);
  const memory = await site(t, 25, 'memory').run('logins', 'suspended');
  t.equal(memory.code, 2);
  t.match(memory.err, /store: memory is seen by no other process; use store: \{ lmdb: DIR \}/);
});
