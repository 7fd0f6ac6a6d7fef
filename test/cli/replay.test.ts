/** `sekisho replay` on what a real `sekisho serve` has logged. */
import { writeFileSync } from 'node:fs';
import path from 'node:path';
import { gzipSync } from 'node:zlib';
import t, { type Test } from 'tap';
import { LogDecisions } from '../../src/app/recorded.js';
import type { ReplayResult } from '../../src/policy/replay.js';
import { startLegacyMta } from '../support/legacy-mta.js';
import { folder, runSekisho, SekishoProcess } from '../support/process.js';
import { SmtpClient } from '../support/smtp-client.js';

const INBOUND = '  - { name: inbound, allow: { to: local.example } }\n';
const CURRENT = `version: 1\nrules:\n${INBOUND}  - { name: ours, allow: { client: 127.0.0.1 } }\n`;
const STRICT = `version: 1\nrules:\n  - { name: no spam, deny: { from: spam.example } }\n${INBOUND}`;
const NAMED = `version: 1\nrules:\n${INBOUND}  - { name: friends, allow: { client_name: .friend.example } }\n`;

/** Mail from 127.0.0.1 and from a stranger, and the log of it. */
const logOf = async (t: Test, dir: string, level: string): Promise<string> => {
  const mta = await startLegacyMta();
  t.teardown(() => mta.close());
  const sekisho = await SekishoProcess.serve([
    ...['--listen', '127.0.0.1:0', '--upstream', `127.0.0.1:${mta.port}`],
    ...['--policy', path.join(dir, 'current.yaml'), '--log-level', level],
  ]);
  t.teardown(() => sekisho.kill());
  for (const from of ['127.0.0.1', '127.0.0.2']) {
    const client = await SmtpClient.connect(sekisho.port, from);
    await client.reply();
    const lines = ['MAIL FROM:<x@spam.example>', 'RCPT TO:<y@victim.example>', 'RCPT TO:<u@local.example>'];
    for (const line of ['EHLO h.example', ...lines, 'RCPT TO:<a@b@c>', 'DATA', 'Subject: x\r\n\r\nx\r\n.'])
      await client.say(line);
    client.destroy();
  }
  await sekisho.until('two messages', () => sekisho.out.match(/"event":"message"/g)?.length === 2);
  await sekisho.kill('SIGTERM');
  return sekisho.out;
};

const policies = { 'current.yaml': CURRENT, 'strict.yaml': STRICT, 'named.yaml': NAMED };

t.test('a log of each level tells what would change', async (t) => {
  const dir = folder(t, policies);
  const of = (name: string): string => path.join(dir, name);
  for (const level of ['debug', 'info']) {
    writeFileSync(of(`${level}.log`), await logOf(t, dir, level));
    const same = await runSekisho(['replay', of(`${level}.log`), '--policy', of('current.yaml')]);
    t.equal(same.code, 0, `${level}: ${same.err}`);
    t.match(same.out, /^4 decisions: 0 change, 4 stay as they are, 0 come out the same/);
    const strict = await runSekisho(['replay', of(`${level}.log`), '--policy', of('strict.yaml'), '--json']);
    t.equal(strict.code, 1, strict.err);
    const result: ReplayResult = JSON.parse(strict.out);
    t.strictSame([result.total, result.changed, result.moved, result.cannot.count], [4, 3, 1, 0], level);
    t.match(result.changes[0], { before: { rule: 'inbound' }, after: { rule: 'no spam' }, count: 2 });
    t.match(result.changes[1], { before: { rule: 'ours' }, after: { verdict: 'deny' }, count: 1 });
  }
});

t.test('plain, packed, piped, by journald or syslog; each fault has its words', async (t) => {
  const dir = folder(t, policies);
  const of = (name: string): string => path.join(dir, name);
  const log = await logOf(t, dir, 'info');
  const packed = gzipSync(log);
  const syslog = log.replace(/^(?=\{)/gm, 'Nov 25 14:00:00 mx sekisho[7]: ');
  const strict = ['--policy', of('strict.yaml')];
  writeFileSync(of('log.1.gz'), Buffer.concat([packed, gzipSync('nothing of ours\n')]));
  writeFileSync(of('log'), syslog);
  const both = await runSekisho(['replay', of('log'), of('log.1.gz'), '-', ...strict], undefined, packed);
  t.match(both.out, /^12 decisions: 9 change/);
  t.match(
    both.out,
    /6 x allow \(inbound\) -> deny \(no spam\)\n {4}20\S+Z \[127\.0\.0\.1\] helo=<h\.example>/,
  );
  t.equal(both.code, 1);
  const limited = await runSekisho(['replay', '-', ...strict, '--examples', '0'], undefined, log);
  t.notMatch(limited.out, /helo=/);
  const against = await runSekisho(['replay', of('log'), ...strict, '--against', of('current.yaml')]);
  t.match(against.out, /^4 decisions: 3 change/);

  const faults: [string[], RegExp, string | Buffer][] = [
    [['nowhere.log', ...strict], /nowhere\.log: cannot read the log: no such file/, ''],
    [[dir, ...strict], /cannot read the log: it is a folder/, ''],
    [['-', ...strict], /cannot read the log: unexpected end of file/, packed.subarray(0, 200)],
    [['-', ...strict], /no decisions in the log/, ''],
    [['-', ...strict], /no decisions in the log/, 'Nov 25 x postfix: NOQUEUE\n'],
    [['-', '--policy', of('gone.yaml')], /gone\.yaml: cannot read the policy/, log],
    [['-', ...strict, '--against', of('log')], /log:\d+:\d+/, log],
    [['-', ...strict, '--examples', '-1'], /must be a number from 0 to 1000/, log],
  ];
  for (const [args, said, input] of faults) {
    const { code, err } = await runSekisho(['replay', ...args], undefined, input);
    t.strictSame([code, said.test(err)], [2, true], `${args.join(' ')}: ${err}`);
  }
});

t.test('what the log lacks is said', async (t) => {
  const dir = folder(t, policies);
  const log = await logOf(t, dir, 'info');
  const named = ['--policy', path.join(dir, 'named.yaml')];
  const { code, out } = await runSekisho(['replay', '-', ...named], undefined, log);
  t.match(out, /^4 decisions: 0 change, 2 stay as they are, 0 come out the same by another rule, 2 cannot/);
  t.match(out, /2 x the client's name, which nobody had asked for/);
  t.equal(code, 0);
  const bare = log.replace(/"rules":\[[^\]]*\],?/g, '').replace(/,"verdict":"\w+"/g, '');
  const nothing = await runSekisho(['replay', '-', ...named], undefined, bare);
  t.equal(nothing.code, 2, nothing.out);
  t.match(nothing.out, /the verdict itself: compare with --against POLICY/);
});

t.test('lines that are broken, long or hostile harm nothing', async (t) => {
  const dir = folder(t, policies);
  const good = {
    ...{ event: 'decision', time: '2026-11-25T14:00:00.000Z', pid: 1, session: 's', client: '203.0.113.9' },
    ...{ listener: 'mx', from: 'x@spam.example', to: 'u@local.example', verdict: 'allow', rule: 'inbound' },
  };
  const line = (change: object): string => `${JSON.stringify({ ...good, ...change })}\n`;
  const hostile = '\u001b[2J\u2028=> allow';
  const text = [
    line({ helo: hostile }),
    line({ helo: 'x'.repeat(2 ** 20) }),
    line({ client: 7 }),
    '{"event":"decision","client":\n',
    line({ event: 'recipient', session: 's' }),
    line({ event: 'message', session: 's', to: ['u@local.example', 'v@local.example'], rules: ['a', null] }),
  ].join('');
  const args = ['--policy', path.join(dir, 'strict.yaml')];
  const { out, err, code } = await runSekisho(['replay', '-', ...args], undefined, text.trimEnd());
  t.match(out, /^2 decisions: 1 change, 0 stay as they are, 0 come out the same by another rule, 1 cannot/);
  t.match(out, /helo=<\\x1b\[2J\\u\{2028\}=> allow>/);
  t.match(err, /2 lines are broken/);
  t.equal(code, 1);
});

t.test('windows, suspended logins and names are read back', async (t) => {
  const lines = new LogDecisions();
  const line = {
    ...{ event: 'recipient', time: 5, pid: 1, session: 's', client: '192.0.2.1', listener: 'mx', from: '' },
    ...{ to: 'a@b.example', named: true, login: 'u', suspended: true, verdict: 'deny', reason: 'no-rule' },
    windows: [{ login: 'w', source: 'pop3' }],
  };
  t.match(lines.of(JSON.stringify(line)), [
    { time: 5, named: true, login: 'u', suspended: true, windows: line.windows, verdict: 'deny' },
  ]);
  const message = { ...line, event: 'message', to: ['a@b.example'], windows: undefined, verdict: undefined };
  t.match(lines.of(JSON.stringify({ ...message, window: 'w', windowSource: 'imap', rules: ['r'] })), [
    { verdict: 'allow', rule: 'r', windows: [{ login: 'w', source: 'imap' }] },
  ]);
  t.equal(lines.broken, 0);
});
