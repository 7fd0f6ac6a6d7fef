/** `sekisho users` as people and scripts use it: real processes, a real terminal, real files. */
import { type ChildProcess, spawn } from 'node:child_process';
import {
  chmodSync,
  chownSync,
  lstatSync,
  readdirSync,
  readFileSync,
  statSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs';
import path from 'node:path';
import fc from 'fast-check';
import t, { type Test } from 'tap';
import { readTextFile } from '../../src/app/read-file.js';
import { changeFile } from '../../src/app/replace-file.js';
import { withoutUser, withUser } from '../../src/app/users-edit.js';
import { ok } from '../../src/base/result.js';
import { makeSecret, preparedPassword } from '../../src/identity/stores/make-secret.js';
import { NEW_SCHEMES } from '../../src/identity/stores/new-schemes.js';
import { PasswdFileStore } from '../../src/identity/stores/passwd-file.js';
import { parseUsers } from '../../src/identity/stores/passwd-lines.js';
import { matches } from '../../src/identity/stores/password-check.js';
import { parseSecret } from '../../src/identity/stores/password-schemes.js';
import { attempt } from '../contract/credential-store.js';
import { folder, type Outcome, runSekisho } from '../support/process.js';
import { eventually } from '../support/sekisho.js';

const MAIN = path.resolve(import.meta.dirname ?? '.', '..', '..', 'dist', 'cli', 'main.js');

const ended = (child: ChildProcess): Promise<Outcome> =>
  new Promise((resolve) => {
    let out = '';
    let err = '';
    child.stdout?.on('data', (chunk) => (out += String(chunk)));
    child.stderr?.on('data', (chunk) => (err += String(chunk)));
    child.on('close', (code) => resolve({ code, out, err }));
  });

const users = (args: readonly string[], input: string | Buffer = ''): Promise<Outcome> =>
  runSekisho(['users', ...args], undefined, input);

/** A scheme that costs next to nothing, for tests that are not about schemes. */
const CHEAP = ['--scheme', 'SSHA512', '--no-scram'];

const storeOf = (t: Test, file: string): PasswdFileStore => {
  const store = new PasswdFileStore({
    path: file,
    maxAttempts: 100,
    threads: 1,
    timeout: 60_000,
    read: readTextFile,
    warn: (text) => t.fail(text),
  });
  t.teardown(() => store.close());
  return store;
};

t.test('add, verify, list, replace, remove', async (t) => {
  const file = path.join(folder(t), 'users');
  const add = await users(
    ['add', 'alice@example.org', '--file', file, '--senders', 'alice@example.org,@lab.example.org'],
    'first pässword\n',
  );
  t.same(add, { code: 0, out: `${file}: alice@example.org added\n`, err: '' });
  t.equal(statSync(file).mode & 0o777, 0o600, 'a new file is for its owner');
  const text = readFileSync(file, 'utf8');
  t.match(
    text,
    /^alice@example.org:\{ARGON2ID\}\$argon2id\$v=19\$m=19456,t=2,p=1\$.*:::::senders=alice@example.org,@lab/,
  );
  t.match(text, /\nalice@example.org:\{SCRAM-SHA-256\}4096,/);
  t.notMatch(text, /pässword/);
  const store = storeOf(t, file);
  t.strictSame([...store.proves].sort(), ['password', 'scram-sha-256']);
  t.strictSame(
    await store.verify(
      { kind: 'password', user: 'alice@EXAMPLE.org', password: 'first pässword' },
      attempt(),
    ),
    {
      kind: 'ok',
      login: { name: 'alice@example.org', senders: ['alice@example.org', '@lab.example.org'] },
    },
  );

  t.equal((await users(['verify', 'alice@example.org', '--file', file], 'first pässword')).code, 0);
  t.match(await users(['verify', 'alice@example.org', '--file', file], 'First pässword\n'), {
    code: 1,
    err: /wrong password/,
  });
  t.match(await users(['verify', 'bob', '--file', file], 'x\n'), { code: 1, err: /bob is not in/ });
  t.match(await users(['add', 'alice@Example.org', '--file', file, ...CHEAP], 'x\n'), {
    code: 1,
    err: /--replace/,
  });
  t.equal(readFileSync(file, 'utf8'), text, 'nothing was changed');

  t.equal(
    (await users(['add', 'alice@example.org', '--file', file, '--replace', ...CHEAP], 'second\n')).code,
    0,
  );
  t.equal((await users(['verify', 'alice@example.org', '--file', file], 'second\n')).code, 0);
  t.equal((await users(['verify', 'alice@example.org', '--file', file], 'first pässword\n')).code, 1);
  t.match(await users(['list', '--file', file]), {
    code: 0,
    out: 'alice@example.org  SSHA512  senders alice@example.org,@lab.example.org\n',
  });
  const { out } = await users(['list', '--json', '--file', file]);
  t.strictSame(JSON.parse(out), [
    {
      name: 'alice@example.org',
      schemes: ['SSHA512'],
      proves: ['password'],
      senders: ['alice@example.org', '@lab.example.org'],
    },
  ]);
  t.equal((await users(['remove', 'alice@example.org', '--file', file])).code, 0);
  t.equal(readFileSync(file, 'utf8'), '');
  t.match(await users(['remove', 'alice@example.org', '--file', file]), { code: 1, err: /is not in/ });
  t.strictSame(readdirSync(path.dirname(file)), ['users'], 'no lock and no temporary file is left');
});

t.test('faults are clear, exit with 2 or 1, and change nothing', async (t) => {
  const dir = folder(t, { users: 'a:{PLAIN}x\n' });
  const file = path.join(dir, 'users');
  const long = 'p'.repeat(256);
  const cases: readonly [string[], string | Buffer, number, RegExp][] = [
    [['add', 'b'], 'x\n', 2, /required option '--file/],
    [['add', 'b', 'Secret1', '--file', file], 'x\n', 2, /too many arguments/],
    [['add', 'b', '--password', 'x', '--file', file], 'x\n', 2, /unknown option '--password'/],
    [['add', 'b', '--file', file, '--scheme', 'ROT13'], 'x\n', 2, /Allowed choices are ARGON2ID/],
    [['add', 'b:c', '--file', file], 'x\n', 2, /colon/],
    [['add', 'b', '--file', file, '--senders', 'b@x, nonsense'], 'x\n', 2, /--senders: a sender must be/],
    [
      ['add', 'b', '--file', path.join(dir, 'nowhere', 'users'), ...CHEAP],
      'x\n',
      2,
      /its folder does not exist/,
    ],
    [['add', 'b', '--file', file], '', 1, /empty/],
    [['add', 'b', '--file', file], 'one\ntwo\n', 1, /one line is wanted/],
    [['add', 'b', '--file', file], Buffer.from([0xff, 0xfe, 0x0a]), 1, /not UTF-8/],
    [['add', 'b', '--file', file, ...CHEAP], `${long}\n`, 1, /longer than 255 octets/],
    [['verify', 'a', '--file', path.join(dir, 'none')], 'x\n', 2, /no such file/],
  ];
  for (const [args, input, code, err] of cases) {
    const found = await users(args, input);
    t.equal(found.code, code, args.join(' ').slice(0, 80));
    t.match(found.err, err);
    t.notMatch(found.err, /\n +at |pppp/);
  }
  t.equal(readFileSync(file, 'utf8'), 'a:{PLAIN}x\n');
  t.strictSame(readdirSync(dir), ['users']);
});

t.test('the file keeps its mode, its owner, its link, its comments and what others wrote', async (t) => {
  const before =
    '# ours\n\ncarol:$apr1$xxxxxxxx$dSQbRXGqUKCuFXWFzcDDp.\r\nbroken line\nbob:{PLAIN}x:1:2:Bob:/h:/s:userdb_mail=y senders=b@x\nbob:{CRAM-MD5}y::::::nologin=no\nno end:{PLAIN}z';
  const dir = folder(t, { real: before });
  const [real, file] = [path.join(dir, 'real'), path.join(dir, 'users')];
  symlinkSync('real', file);
  chmodSync(real, 0o640);
  const root = process.getuid?.() === 0;
  if (root) chownSync(real, 65_534, 65_534);
  const added = await users(['add', 'dave', '--file', file, ...CHEAP], 'x\n');
  t.equal(added.code, 0);
  t.match(added.err, /warning: .*line 4: there is no colon/);
  t.match(readFileSync(real, 'utf8').startsWith(`${before}\n`), true);
  t.match(readFileSync(real, 'utf8').slice(before.length + 1), /^dave:\{SSHA512\}[A-Za-z0-9+/=]+\n$/);
  t.equal((await users(['add', 'bob', '--replace', '--file', file, '--scheme', 'PLAIN'], 'a:b\n')).code, 0);
  const lines = readFileSync(real, 'utf8').split('\n');
  t.strictSame(lines.slice(0, 4), before.split('\n').slice(0, 4));
  t.equal(lines[4], 'bob:{PLAIN.b64}YTpi:1:2:Bob:/h:/s:userdb_mail=y senders=b@x nologin=no');
  t.equal(lines[5], 'no end:{PLAIN}z');
  t.ok(lstatSync(file).isSymbolicLink());
  t.equal(statSync(real).mode & 0o777, 0o640);
  if (root) t.strictSame([statSync(real).uid, statSync(real).gid], [65_534, 65_534]);
});

t.test('two and more at once lose nothing', async (t) => {
  const file = path.join(folder(t), 'users');
  const found = await Promise.all(
    Array.from({ length: 4 }, (_, i) => users(['add', `u${i}`, '--file', file, ...CHEAP], `pw${i}\n`)),
  );
  for (const { code, err } of found) t.equal(code, 0, err);
  t.equal(parseUsers(readFileSync(file, 'utf8')).users.size, 4);
  const same = await Promise.all(
    ['a', 'b'].map((pw) => users(['add', 'same', '--file', file, ...CHEAP], `${pw}\n`)),
  );
  t.strictSame(same.map(({ code }) => code).sort(), [0, 1], 'one adds, the other is told');
  await Promise.all(
    Array.from({ length: 40 }, (_, i) => changeFile(file, (text) => ok(`${text ?? ''}# ${i}\n`))),
  );
  t.equal(readFileSync(file, 'utf8').match(/^# \d+$/gm)?.length, 40, 'in one process too');
});

t.test(
  'a lock of the dead is taken away, one of the living is waited for, a change by hand is kept',
  async (t) => {
    const dir = folder(t, { users: 'a:{PLAIN}x\n' });
    const file = path.join(dir, 'users');
    const dead = spawn(process.execPath, ['-e', '0']);
    await ended(dead);
    const { hostname } = await import('node:os');
    writeFileSync(`${file}.lock`, `${dead.pid} ${hostname()} abc`);
    t.ok((await changeFile(file, (text) => ok(`${text}b:{PLAIN}y\n`))).ok, 'the dead');
    writeFileSync(`${file}.lock`, `${process.pid} ${hostname()} abc`);
    let done = false;
    const waiting = changeFile(file, (text) => ok(`${text}c:{PLAIN}z\n`)).then((found) => {
      done = true;
      return found;
    });
    await new Promise((resolve) => setTimeout(resolve, 300));
    t.notOk(done, 'the living');
    writeFileSync(`${file}.lock`, `${dead.pid} ${hostname()} abc`);
    t.ok((await waiting).ok);
    let times = 0;
    await changeFile(file, (text) => {
      times += 1;
      if (times === 1) writeFileSync(file, `${text}# by hand\n`);
      return ok(`${text}d:{PLAIN}w\n`);
    });
    t.equal(times, 2);
    t.equal(readFileSync(file, 'utf8'), 'a:{PLAIN}x\nb:{PLAIN}y\nc:{PLAIN}z\n# by hand\nd:{PLAIN}w\n');
    t.strictSame(readdirSync(dir), ['users']);
  },
);

/** Runs the command in a terminal of its own: python3's pty is the other end. */
const PTY = `
import os, pty, sys
os.environ.pop('NODE_OPTIONS', None)
pid, fd = pty.fork()
if pid == 0: os.execv(sys.argv[1], sys.argv[1:])
import select
while True:
    ready, _, _ = select.select([fd, 0], [], [])
    if fd in ready:
        try: data = os.read(fd, 4096)
        except OSError: break
        if not data: break
        os.write(1, data)
    if 0 in ready:
        data = os.read(0, 4096)
        if data: os.write(fd, data)
sys.exit(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]))
`;

const inTerminal = async (args: readonly string[], says: readonly [RegExp, string][]): Promise<Outcome> => {
  const child = spawn('python3', ['-c', PTY, process.execPath, MAIN, 'users', ...args], {
    stdio: ['pipe', 'pipe', 'pipe'],
  });
  let out = '';
  child.stdout.on('data', (chunk) => {
    out += String(chunk);
  });
  const outcome = ended(child);
  for (const [prompt, keys] of says) {
    await eventually(`${prompt} in ${out}`, () => prompt.test(out));
    child.stdin.write(keys);
  }
  return outcome;
};

t.test('on a terminal the password is asked for twice and never seen', async (t) => {
  const file = path.join(folder(t), 'users');
  const [first, again] = [/Password for alice: $/, /Once more: $/];
  const add = ['add', 'alice', '--file', file, ...CHEAP];
  const typed = await inTerminal(add, [
    [first, 'Sesaam\u007f\u007fme\r'],
    [again, 'wrong\u0015Sesame\r'],
  ]);
  t.equal(typed.code, 0, typed.out);
  t.notMatch(typed.out, /Ses/);
  t.match(typed.out, /alice added/);
  t.equal(
    (await inTerminal(['verify', 'alice', '--file', file], [[first, 'Sesame\r']])).code,
    0,
    'once to verify',
  );
  const differ = await inTerminal(
    ['add', 'bob', '--file', file, ...CHEAP],
    [
      [/Password for bob: $/, 'one\r'],
      [again, 'two\r'],
    ],
  );
  t.match(differ, { code: 1, out: /not the same, nothing was changed/ });
  t.match(await inTerminal(['add', 'bob', '--file', file], [[/Password for bob: $/, 'on\u0003']]), {
    code: 1,
    out: /aborted/,
  });
  t.match(await inTerminal(['add', 'bob', '--file', file], [[/Password for bob: $/, 'x\u001b[Ay\r']]), {
    code: 1,
    out: /control character/,
  });
  const ahead = await inTerminal(
    ['add', 'carol', '--file', file, ...CHEAP],
    [[/Password for carol: $/, 'Typed\rTyped\r']],
  );
  t.equal(ahead.code, 0, 'typed ahead');
  t.notMatch(ahead.out, /Typed/);
  t.strictSame([...parseUsers(readFileSync(file, 'utf8')).users.keys()], ['alice', 'carol']);
});

t.test('every scheme that is offered is one that logs in', async (t) => {
  for (const [octets, right] of [
    [72, true],
    [73, false],
  ] as const)
    t.equal((await makeSecret('BLF-CRYPT', 'b'.repeat(octets))).ok, right, `bcrypt and ${octets} octets`);
  for (const scheme of NEW_SCHEMES) {
    for (const password of scheme === 'SHA512-CRYPT' ? ['y'.repeat(64)] : ['パスワード:1', 'y'.repeat(65)]) {
      const field = await makeSecret(scheme, password);
      if (!field.ok) {
        t.fail(field.error);
        continue;
      }
      const secret = parseSecret(field.value);
      if (!secret.ok) {
        t.fail(secret.error.message);
        continue;
      }
      t.equal(secret.value.scheme, scheme);
      t.notMatch(field.value, /[:\n]/, 'fit for a field');
      t.ok(await matches(secret.value.stored, preparedPassword(password)), scheme);
      t.notOk(await matches(secret.value.stored, `${password}!`), scheme);
    }
  }
});

t.test('edits touch one user and no other line', async () => {
  const name = fc.constantFrom('a', 'b', 'A@x', 'a@X', 'c');
  const line = fc.oneof(
    name.map((user) => `${user}:{PLAIN}x`),
    fc.string({ unit: 'binary' }).map((text) => text.replaceAll('\n', '')),
    fc.constantFrom('# a:x', '', 'a::::::senders=q@x', 'b:*:1:2\r'),
  );
  const own = (text: string, user: string) => parseUsers(`${text}:{PLAIN}x`).users.has(user);
  fc.assert(
    fc.property(fc.array(line), name, fc.boolean(), (lines, user, replace) => {
      const text = lines.join('\n');
      const key = user.replace('X', 'x');
      const others = lines.filter((each) => !own(each.split(':')[0] ?? '', key) || each.startsWith('#'));
      const added = withUser(text, {
        name: user,
        fields: ['{PLAIN}y', '{PLAIN}z'],
        senders: undefined,
        replace,
        domain: undefined,
      });
      if (!added.ok) return !replace && withoutUser(text, user, undefined).ok;
      const removed = withoutUser(added.value, user, undefined);
      // A last line that had no end gets one, as the others have it.
      const told = (all: readonly string[]) =>
        JSON.stringify(all.map((each) => each.replace(/\r$/, '')).filter((each) => each.trim() !== ''));
      return removed.ok && told(removed.value.split('\n')) === told(others);
    }),
    { numRuns: 500 },
  );
});
