/** The commands as people and scripts use them: real processes, real files, real signals. */
import { readFileSync, renameSync, writeFileSync } from 'node:fs';
import path from 'node:path';
import t from 'tap';
import { startLegacyMta } from '../support/legacy-mta.js';
import { folder, runSekisho, SekishoProcess } from '../support/process.js';
import { codeOf, SmtpClient } from '../support/smtp-client.js';

t.test('--version and --help', async (t) => {
  const { version } = JSON.parse(readFileSync('package.json', 'utf8')) as { version: string };
  t.same(await runSekisho(['--version']), { code: 0, out: `${version}\n`, err: '' });
  const help = await runSekisho(['--help']);
  t.equal(help.code, 0);
  for (const command of ['serve', 'demo', 'check', 'explain', 'address', 'Exit codes'])
    t.match(help.out, command);
  const serve = await runSekisho(['serve', '--help']);
  const flags = [
    'config',
    'listen',
    'upstream',
    'local-domain',
    'trust',
    'policy',
    'observe',
    'log',
    'log-level',
  ];
  for (const flag of flags) t.match(serve.out, `--${flag}`);
});

t.test('faults of the command line are exit code 2, without a stack trace', async (t) => {
  const taken = await startLegacyMta();
  t.teardown(() => taken.close());
  const cases: readonly [string[], RegExp][] = [
    [['serv'], /unknown command 'serv'/],
    [['serve', '--lisen', '25'], /unknown option/],
    [['serve', '--local-domain', 'example.org'], /no upstream/],
    [['serve', '--upstream', '127.0.0.1:25'], /--local-domain: missing/],
    [
      ['serve', '--upstream', '127.0.0.1:25', '--policy', 'nowhere.yaml'],
      /nowhere\.yaml: cannot read the policy: no such file/,
    ],
    [
      [
        'serve',
        '--upstream',
        '127.0.0.1:1',
        '--local-domain',
        'example.org',
        '--listen',
        `127.0.0.1:${taken.port}`,
      ],
      /cannot listen on 127\.0\.0\.1:\d+: another program already does/,
    ],
    [['check'], /name a file/],
    [
      [
        'explain',
        '--client',
        'x',
        '--from',
        'a@b.example',
        '--to',
        'c@d.example',
        '--local-domain',
        'd.example',
      ],
      /not an IP address/,
    ],
  ];
  for (const [args, fault] of cases) {
    const { code, err } = await runSekisho(args);
    t.equal(code, 2, args.join(' '));
    t.match(err, fault);
    t.notMatch(err, /\n\s+at /, 'no stack trace');
  }
});

t.test('check: a typing error is mended by the message alone', async (t) => {
  const good = readFileSync('policies/campus.yaml', 'utf8');
  const dir = folder(t, { 'p.yaml': good.replace('client: [campus, dialup]', 'client: [campus, dailup]') });
  const file = path.join(dir, 'p.yaml');
  const { code, err } = await runSekisho(['check', '--policy', file]);
  t.equal(code, 2);
  const [, line, column, meant] = /p\.yaml:(\d+):(\d+): .*Did you mean "(\w+)"/.exec(err) ?? [];
  const lines = readFileSync(file, 'utf8').split('\n');
  const at = lines[Number(line) - 1] ?? '';
  t.equal(at.slice(Number(column) - 1, Number(column) + 5), 'dailup', err);
  lines[Number(line) - 1] = at.slice(0, Number(column) - 1) + meant + at.slice(Number(column) + 5);
  writeFileSync(file, lines.join('\n'));
  const mended = await runSekisho(['check', '--policy', file]);
  t.equal(mended.code, 0, mended.err);
  t.match(mended.out, /5 rules, \d+ tests, 0 failed/);
  writeFileSync(file, good.replace('expect: deny', 'expect: allow'));
  const failing = await runSekisho(['check', '--policy', file]);
  t.equal(failing.code, 1);
  t.match(failing.err, /p\.yaml:\d+:\d+: test ".*" failed: expected allow, got deny/);
  for (const name of ['campus', 'devices', 'isp-roaming', 'minimal', 'secondary-mx']) {
    const shipped = await runSekisho(['check', '--policy', `policies/${name}.yaml`]);
    t.equal(shipped.code, 0, `${name}: ${shipped.err}`);
  }
  t.equal((await runSekisho(['check', '--config', 'deploy/sekisho.yaml'])).code, 0);
});

t.test('explain and address', async (t) => {
  const args = [
    'explain',
    '--local-domain',
    'example.org',
    '--trust',
    '192.0.2.0/24',
    '--from',
    'x@spam.example',
  ];
  const hack = await runSekisho([...args, '--client', '203.0.113.9', '--to', 'y%victim.example@example.org']);
  t.equal(hack.code, 0);
  t.match(hack.out, /may be read as victim\.example/);
  t.match(hack.out, /=> deny: /);
  t.match(
    (await runSekisho([...args, '--client', '192.0.2.7', '--to', 'y@victim.example'])).out,
    /=> allow: /,
  );
  const json = await runSekisho([...args, '--client', '192.0.2.7', '--to', 'y@victim.example', '--json']);
  t.match(JSON.parse(json.out), { verdict: { kind: 'allow', rule: 'trusted networks' } });
  t.match(
    (await runSekisho([...args, '--client', '192.0.2.7', '--to', '|sh@x'])).out,
    /refused before any rule/,
  );
  const listed = ['explain', '--policy', 'policies/blocklists.yaml', '--client', '203.0.113.9'];
  const mail = ['--from', 'x@far.example', '--to', 'y@example.org'];
  t.match((await runSekisho([...listed, ...mail])).out, /=> allow.*\n.*come again after 300 s/);
  t.match(
    (await runSekisho([...listed, ...mail, '--listed', 'zen'])).out,
    /203\.0\.113\.9 is on zen, any is asked for[\s\S]*=> deny/,
  );
  const campus = ['explain', '--policy', 'policies/campus.yaml', '--client', '203.0.113.9'];
  const far = ['--from', 'hoge@ecei.example.ac.jp', '--to', 'y@victim.example'];
  for (const [proof, said] of [
    [['--login', 'hoge', '--tls', '1.3'], /=> allow: .*logged in.*\n +counted per login: 500 recipients/],
    [['--window', 'pop3:hoge'], /the window of hoge by pop3 .*\n.*\n=> allow: /],
    [['--window', 'unknown'], /=> defer: /],
    [[], /=> deny: /],
  ] as const)
    t.match((await runSekisho([...campus, ...far, ...proof])).out, said, proof.join(' '));
  for (const [proof, fault] of [
    [['--window', 'finger'], /--window finger: must be one of pop3/],
    [['--tls', '1.3', '--certificate', 'sha256:00'], /must be "sha256:" and 64 hex digits/],
    [['--certificate', `sha256:${'0'.repeat(64)}`], /--certificate sha256:0+: goes only with tls/],
  ] as const)
    t.match(await runSekisho([...campus, ...far, ...proof]), { code: 2, err: fault });
  const address = await runSekisho(['address', 'y%victim.example@example.org']);
  t.match(address.out, /example\.org \(plain\)/);
  t.match(address.out, /victim\.example \(percent\)/);
  t.equal((await runSekisho(['address', 'not an address'])).code, 1);
});

t.test('demo --once shows a relay refused and a local mail accepted', async (t) => {
  const { code, out } = await runSekisho(['demo', '--once']);
  t.equal(code, 0);
  t.match(out, /S: 250 <y@victim\.example>\.\.\. Recipient ok/, 'the MTA alone relays');
  t.match(out, /S: 550 5\.7\.1 <y@victim\.example>\.\.\. Relaying denied/);
  t.match(out, /MTA: took a message from <x@spam\.example> to <you@example\.org>/);
});

t.test('serve: signals, reload, logs', async (t) => {
  const mta = await startLegacyMta();
  const allowing = 'version: 1\nrules:\n  - { name: all of b, allow: { to: b.example } }\n';
  const dir = folder(t, { 'p.yaml': 'version: 1\nrules:\n  - { name: a, allow: { to: a.example } }\n' });
  const file = path.join(dir, 'p.yaml');
  const up = `127.0.0.1:${mta.port}`;
  const sekisho = await SekishoProcess.serve([
    ...[
      '--listen',
      '127.0.0.1:0',
      '--listen',
      '[::1]:0',
      '--upstream',
      up,
      '--policy',
      file,
      '--log',
      'classic',
    ],
  ]);
  t.teardown(async () => {
    await sekisho.kill();
    await mta.close();
  });
  t.match(
    sekisho.out,
    /sekisho: ready, listening on 127\.0\.0\.1:\d+ \(mx\), \[::1\]:\d+ \(mx2\); upstream 127\.0\.0\.1:\d+ \(up\)\n/,
  );
  const six = await SmtpClient.connect(sekisho.ports[1] ?? 0, '::1', '::1');
  t.equal(codeOf(await six.reply()), 220, 'IPv6');
  six.destroy();

  const rcpt = async (to: string): Promise<number> => {
    const client = await SmtpClient.connect(sekisho.port);
    await client.reply();
    await client.say('EHLO c.example');
    await client.say('MAIL FROM:<x@c.example>');
    const code = codeOf(await client.say(`RCPT TO:<${to}>`));
    client.destroy();
    return code;
  };
  t.same([await rcpt('x@a.example'), await rcpt('x@b.example')], [250, 550]);
  const refusal =
    /NOQUEUE: reject: RCPT from unknown\[127\.0\.0\.1\]: 550 5\.7\.1 <x@b\.example>\.\.\. Relaying denied; from=<x@c\.example> to=<x@b\.example> proto=ESMTP helo=<c\.example>/;
  await sekisho.until('the log of a refusal', () => refusal.test(sekisho.out));

  writeFileSync(file, 'version: 1\nrules: [{ nme: x }]\n');
  sekisho.child.kill('SIGHUP');
  await sekisho.until('the refusal of a faulty policy', () =>
    /reload failed, the old policy stays.*nme/.test(sekisho.out),
  );
  t.same([await rcpt('x@a.example'), await rcpt('x@b.example')], [250, 550], 'the old policy is in force');

  const keeper = await SmtpClient.connect(sekisho.port);
  await keeper.reply();
  await keeper.say('EHLO c.example');
  await keeper.say('MAIL FROM:<x@c.example>');
  writeFileSync(path.join(dir, 'new.yaml'), allowing);
  renameSync(path.join(dir, 'new.yaml'), file);
  await sekisho.until('a reload by itself', () => /reload: policy .* is in force/.test(sekisho.out));
  t.same([await rcpt('x@a.example'), await rcpt('x@b.example')], [550, 250]);
  t.equal(codeOf(await keeper.say('RCPT TO:<x@a.example>')), 250, 'a transaction keeps its policy');

  sekisho.child.kill('SIGTERM');
  await sekisho.until('draining', () => /draining \d+ sessions/.test(sekisho.out));
  t.equal(codeOf(await keeper.say('DATA')), 354, 'a transaction in hand is finished');
  keeper.send('Subject: x\r\n\r\nx\r\n.\r\n');
  t.equal(codeOf(await keeper.reply()), 250);
  t.match(await keeper.reply(), /^421 4\.3\.2/);
  t.equal(await sekisho.ended(), 0);
  t.equal(mta.messages.length, 1);
});

t.test('a second signal stops at once', async (t) => {
  const mta = await startLegacyMta();
  const args = [
    '--listen',
    '127.0.0.1:0',
    '--upstream',
    `127.0.0.1:${mta.port}`,
    '--local-domain',
    'a.example',
  ];
  const sekisho = await SekishoProcess.serve(args);
  t.teardown(() => mta.close());
  const client = await SmtpClient.connect(sekisho.port);
  await client.reply();
  await client.say('EHLO c.example');
  await client.say('MAIL FROM:<x@c.example>');
  sekisho.child.kill('SIGTERM');
  await sekisho.until('draining', () => /"event":"drain"/.test(sekisho.out));
  t.equal(sekisho.code, undefined, 'it waits for the transaction');
  sekisho.child.kill('SIGTERM');
  t.equal(await sekisho.ended(20_000), 0); // A drain takes up to 30 s.
  await client.end();
});
