/**
 * The README's quick starts, executed as written: on a host of the test's own (a network namespace, where ports 25 and 587
 * are free), with a real sendmail behind and a stranger and a colleague in front.
 */
import { spawn } from 'node:child_process';
import { readFileSync, renameSync, writeFileSync } from 'node:fs';
import path from 'node:path';
import t, { type Test } from 'tap';
import { certify } from '../support/certificates.js';
import { type Namespace, namespaces, noNamespaces, wire } from '../support/namespaces.js';
import { install, noPackages } from '../support/packages.js';
import { folder, runSekisho, SekishoProcess } from '../support/process.js';
import { eventually } from '../support/sekisho.js';
import { prepareSendmail } from '../support/sendmail.js';
import { deliver } from '../support/smtp-client.js';

const skip = noPackages() ?? noNamespaces();
const readme = readFileSync('README.md', 'utf8');

/** The text of a section. */
const section = (title: string): string => {
  const from = readme.indexOf(`\n## ${title}\n`);
  if (from < 0) throw new Error(`no section ${title}`);
  return readme.slice(from, readme.indexOf('\n## ', from + 1));
};

/** The words of the shown `sekisho …` commands of a section, continued lines joined, without `sekisho`. */
const commands = (title: string): string[][] =>
  [...section(title).matchAll(/```(?:sh|text)\n([\s\S]*?)```/g)]
    .flatMap(([, block = '']) => block.replace(/\\\n\s*/g, '').split('\n'))
    .map((line) => line.trim())
    .filter((line) => line.startsWith('sekisho '))
    .map((line) =>
      [...line.matchAll(/'([^']*)'|(\S+)/g)].slice(1).map(([, quoted, bare]) => quoted ?? bare ?? ''),
    );

const command = (title: string, ...begins: readonly string[]): string[] => {
  const found = commands(title).find((words) => begins.every((word, i) => words[i] === word));
  if (found === undefined) throw new Error(`${title}: no command sekisho ${begins.join(' ')}`);
  return found;
};

const SERVER = '203.0.113.1';
const STRANGER = '203.0.113.9';
const COLLEAGUE = '192.0.2.7';

/** A host with an old sendmail on 127.0.0.1:2525, and another host from which both clients come. */
const stage = async (t: Test): Promise<{ here: Namespace; there: Namespace }> => {
  await install(['ip=iproute2', 'msmtp']);
  const { here, there } = namespaces(t, ['here', 'there']);
  wire([here, [`${SERVER}/24`, '192.0.2.1/24']], [there, [`${STRANGER}/24`, `${COLLEAGUE}/24`]]);
  const { script, env } = await prepareSendmail(2525, {
    ident: true,
    files: { 'local-host-names': 'example.org\nlab.example.org\nwww.lab.example.org\n' },
  });
  here.spawn('unshare', ['--uts', 'sh', '-c', script], { stdio: 'ignore', env: { ...process.env, ...env } });
  await here.answers('127.0.0.1', 2525);
  return { here, there };
};

const send = async (there: Namespace, from: string, to: string): Promise<string> =>
  deliver(await there.client(SERVER, 25, from), to);

/** Counts who asks for IDENT at an address of a host, and answers with what no program should believe. */
const identServer = async (host: Namespace, address: string): Promise<() => number> => {
  const program = `require('node:net').createServer((s) => {
    s.on('error', () => {});
    s.on('data', (line) => { console.log('asked'); s.end(String(line).trim() + ':USERID:UNIX:root;evil\\r\\n'); });
  }).listen(113, '${address}')`;
  const child = host.spawn(process.execPath, ['-e', program], { stdio: ['ignore', 'pipe', 'ignore'] });
  let asked = 0;
  child.stdout?.on('data', (text) => {
    asked += String(text).split('asked').length - 1;
  });
  // Which asks nothing.
  await host.answers(address, 113);
  return () => asked;
};

t.test('the keeper of an old MTA', skip === undefined ? {} : { skip }, async (t) => {
  const title = 'Quick start: the keeper of an old MTA';
  const { here, there } = await stage(t);
  const [, ...words] = command(title, 'serve');
  t.same(words.slice(0, 4), ['--listen', '0.0.0.0:25', '--upstream', '127.0.0.1:2525'], 'as written');
  const sekisho = await SekishoProcess.serve(words, here.prefix);
  t.teardown(() => sekisho.kill());
  const clientAsked = await identServer(there, STRANGER);
  const ownAsked = await identServer(here, '127.0.0.1');

  t.match(await send(there, STRANGER, 'y@victim.example'), /^550 5\.7\.1 /);
  t.match(await send(there, STRANGER, 'y%victim.example@example.org'), /^550 /);
  t.match(await send(there, STRANGER, 'root@example.org'), /^250 /);
  t.match(await send(there, STRANGER, 'root@www.lab.example.org'), /^250 /);
  t.match(await send(there, COLLEAGUE, 'y@victim.example'), /^250 /);
  await eventually('the old server asks by IDENT', () => ownAsked() > 0);
  t.equal(clientAsked(), 0, 'and never a host of which it knows nothing but what a stranger answers');
  await t.rejects(there.connect(SERVER, 2525), { code: 'ECONNREFUSED' }, 'the old server has no other door');

  const { code, out, err } = await runSekisho(command(title, 'explain'));
  t.equal(code, 0, err);
  t.match(out, /=> deny/);
});

t.test('the roaming user and the person on call', skip === undefined ? {} : { skip }, async (t) => {
  const { here, there } = await stage(t);
  const shown =
    /<!-- submission:start -->\n```yaml\n([\s\S]*?)```/.exec(section('Quick start: the roaming user'))?.[1] ??
    '';
  const rule = /# with a rule such as: (allow: .*)$/m.exec(shown)?.[1] ?? '';
  const made = /# made by: sekisho (.*)$/m.exec(shown)?.[1]?.split(' ') ?? [];
  const dir = folder(t, {
    'sekisho.yaml': `${shown}store: { lmdb: state }\n`,
    'policy.yaml': `version: 1\nrules:\n  - { name: inbound, allow: { to: example.org } }\n  - { name: roaming, ${rule} }\n`,
  });
  const { cert, key } = certify(dir, 'mail.example.org');
  renameSync(cert, path.join(dir, 'cert.pem'));
  renameSync(key, path.join(dir, 'key.pem'));
  const added = await runSekisho(made, dir, 'Correct-Horse-7\n');
  t.equal(added.code, 0, added.err);
  const sekisho = await SekishoProcess.serve(['--config', path.join(dir, 'sekisho.yaml')], here.prefix);
  t.teardown(() => sekisho.kill());

  // As in the user's own ~/.msmtprc: server, port, user name, password.
  writeFileSync(path.join(dir, 'password'), 'Correct-Horse-7');
  const msmtp = (port: number, to = 'y@far.example'): Promise<{ code: number; said: string }> =>
    new Promise((resolve) => {
      const [enterer = '', ...prefix] = there.prefix;
      const child = spawn(enterer, [
        ...[...prefix, 'msmtp', '--file=/dev/null', `--host=${SERVER}`, `--port=${port}`],
        ...['--from=hoge@example.org', '--auth=on', '--user=hoge@example.org'],
        ...[`--passwordeval=cat ${path.join(dir, 'password')}`, '--tls=on', '--tls-certcheck=off'],
        ...[`--tls-starttls=${port === 465 ? 'off' : 'on'}`, to],
      ]);
      let said = '';
      child.stdout.on('data', (chunk) => (said += String(chunk)));
      child.stderr.on('data', (chunk) => (said += String(chunk)));
      child.on('close', (code) => resolve({ code: code ?? -1, said }));
      child.stdin.end('Subject: hello\n\nFrom the road.\n');
    });
  for (const port of [587, 465]) {
    const { code, said } = await msmtp(port);
    t.equal(code, 0, `${port}: ${said}`);
  }
  t.match(await send(there, STRANGER, 'y@far.example'), /^550 /, 'whoever has not logged in does not relay');

  const onCall = (...begins: string[]) =>
    runSekisho(command('Quick start: the person on call', ...begins), dir);
  const suspended = await onCall('logins', 'suspend');
  t.equal(suspended.code, 0, suspended.err);
  const refused = await msmtp(587);
  t.not(refused.code, 0);
  t.match(refused.said, /535/);
  t.match((await onCall('logins', 'suspended')).out, /hoge@example\.org/);
  t.equal((await onCall('logins', 'lift')).code, 0);
  const again = await msmtp(587);
  t.equal(again.code, 0, again.said);

  const explained = await runSekisho(command('Quick start: the person on call', 'explain'));
  t.equal(explained.code, 0, explained.err);
  t.match(explained.out, /=> deny/);
});
