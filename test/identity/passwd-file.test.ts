/** Files of users: real hashes of Dovecot, libxcrypt and Apache, the file's lines, its changes, and the contract. */
import { execFileSync } from 'node:child_process';
import { createHmac } from 'node:crypto';
import { chmodSync, renameSync, rmSync, writeFileSync } from 'node:fs';
import path from 'node:path';
import fc from 'fast-check';
import t, { type Test } from 'tap';
import { readTextFile } from '../../src/app/read-file.js';
import type { Outcome } from '../../src/identity/credentials.js';
import { printScramKeys, provesScramPassword } from '../../src/identity/sasl/scram-keys.js';
import { shaCryptText } from '../../src/identity/stores/crypt.js';
import { HashPool } from '../../src/identity/stores/hash-pool.js';
import { type PasswdFileOptions, PasswdFileStore } from '../../src/identity/stores/passwd-file.js';
import { canonicalUser, parseUsers } from '../../src/identity/stores/passwd-lines.js';
import { answersChallenge, matches } from '../../src/identity/stores/password-check.js';
import { parseSecret } from '../../src/identity/stores/password-schemes.js';
import {
  type Account,
  attempt,
  credentialStoreContract,
  type Setting,
} from '../contract/credential-store.js';
import { install, noPackages } from '../support/packages.js';
import { folder } from '../support/process.js';
import { eventually } from '../support/sekisho.js';

interface Opened {
  readonly store: PasswdFileStore;
  readonly file: string;
  readonly warnings: string[];
}

const open = (t: Test, text: string, over: Partial<PasswdFileOptions> = {}): Opened => {
  const file = path.join(folder(t), 'users');
  writeFileSync(file, text, { mode: 0o600 });
  const warnings: string[] = [];
  const store = new PasswdFileStore({
    path: file,
    maxAttempts: 100,
    threads: 2,
    timeout: 60_000,
    read: readTextFile,
    warn: (text) => warnings.push(text),
    ...over,
  });
  t.teardown(() => store.close());
  return { store, file, warnings };
};

const ask = ({ store }: Opened, user: string, password: string): Promise<Outcome> =>
  store.verify({ kind: 'password', user, password }, attempt());

const kind = async (...args: Parameters<typeof ask>): Promise<string> => (await ask(...args)).kind;

/** 13 MB, so that the tests end today. */
const ARGON = '{ARGON2ID}$argon2id$v=19$m=4096,t=1,p=1$';

/** crypt(3) of libxcrypt for many at once: `[password, salt]` each. */
const libxcrypt = (pairs: readonly (readonly [string, string])[]): string[] => {
  const script =
    'import crypt,json,sys; print(json.dumps([crypt.crypt(p, s) for p, s in json.load(sys.stdin)]))';
  const out = execFileSync('/usr/bin/python3', ['-W', 'ignore', '-c', script], {
    encoding: 'utf8',
    input: JSON.stringify(pairs),
  });
  return JSON.parse(out);
};

const doveadm = (scheme: string, password: string): string =>
  execFileSync('doveadm', ['pw', '-s', scheme, '-p', password], { encoding: 'utf8' }).replace(/\n$/, '');

const htpasswd = (how: string, password: string): string =>
  execFileSync('htpasswd', ['-nb', how, 'u', password], {
    encoding: 'utf8',
    stdio: ['ignore', 'pipe', 'ignore'],
  })
    .trim()
    .slice(2);

const fits = async (field: string, password: string): Promise<boolean | string> => {
  const secret = parseSecret(field);
  return secret.ok ? matches(secret.value.stored, password) : secret.error.message;
};

const why = noPackages();
const skip = why === undefined ? {} : { skip: why };
if (why === undefined) await install(['doveadm=dovecot-core', 'htpasswd=apache2-utils', 'python3']);

const PASSWORDS = [
  'secret',
  'Pässwörter',
  'パスワード',
  ' a b\t',
  'x'.repeat(63),
  'y'.repeat(64),
  'z'.repeat(128),
];

t.test('what Dovecot hashes, for every scheme', skip, async (t) => {
  const schemes = [
    ...['PLAIN', 'CLEARTEXT', 'CRYPT', 'SHA512-CRYPT', 'SHA256-CRYPT', 'MD5-CRYPT', 'MD5', 'BLF-CRYPT'],
    ...['SHA', 'SHA1', 'SHA256', 'SHA512', 'SSHA', 'SSHA256', 'SSHA512', 'ARGON2I', 'ARGON2ID', 'PBKDF2'],
    ...['SCRAM-SHA-256', 'CRAM-MD5', 'HMAC-MD5', 'SSHA.hex', 'SHA256.hex', 'SSHA512.b64', 'PLAIN.b64'],
    ...['PLAIN.hex', 'CRAM-MD5.b64', 'SHA1.hex'],
  ];
  for (const scheme of schemes) {
    // A tab has no place in SCRAM (RFC 4013 2.3); Argon2 is slow.
    const passwords = /ARGON|SCRAM/.test(scheme) ? ['パスワード'] : ['パスワード', ' a b\t', 'y'.repeat(64)];
    for (const password of passwords) {
      const field = doveadm(scheme, password);
      t.equal(await fits(field, password), true, `${scheme}, ${Buffer.byteLength(password)} octets`);
      t.equal(await fits(field, `${password.slice(0, -1)}!`), false, `${scheme}, wrong`);
    }
  }
});

t.test('what libxcrypt and htpasswd hash', skip, async (t) => {
  const salts = [
    '$1$saltsalt',
    '$1$s',
    '$5$saltsalt',
    '$6$abcdefgh01234567',
    '$6$rounds=1500$s.',
    '$5$rounds=7777$q',
  ];
  const blowfish = [
    '$2b$04$abcdefghijklmnopqrstuu',
    '$2y$04$abcdefghijklmnopqrstuu',
    '$2a$04$abcdefghijklmnopqrstuu',
  ];
  const pairs = [
    ...salts.flatMap((salt) => PASSWORDS.map((password) => [password, salt] as const)),
    // Of more than 8 octets DES reads none, of more than 72 bcrypt.
    ...[...blowfish, 'ab', './'].flatMap((salt) =>
      PASSWORDS.slice(0, 4).map((password) => [password, salt] as const),
    ),
  ];
  for (const [i, field] of libxcrypt(pairs).entries()) {
    const [password, salt] = pairs[i] ?? ['', ''];
    t.equal(await fits(field, password), true, `${salt}, ${Buffer.byteLength(password)} octets`);
    t.equal(await fits(field, `!${password}`), false, `${salt}, wrong`);
  }
  for (const password of ['secret', 'パスワード']) {
    for (const how of ['-m', '-s', '-B', '-d', '-2', '-5'])
      t.equal(await fits(htpasswd(how, password), password), true, `htpasswd ${how}`);
  }
  const lengths = Array.from({ length: 140 }, (_, i) => 'k'.repeat(i + 1));
  const theirs = libxcrypt(lengths.map((password) => [password, '$6$rounds=1000$saltsalt'] as const));
  t.strictSame(
    lengths.map((password) => shaCryptText('sha512', password, 'saltsalt', 1_000)),
    theirs,
    'every length, multiples of the block too',
  );
});

t.test('fields that are no hashes', async (t) => {
  const faults = [
    ...[
      'secret',
      '{SSHA}!!!',
      '{SSHA}AAAA',
      '{SHA}AAAA',
      '{SHA512-CRYPT}$5$salt$x',
      '{ARGON2ID}x',
      '{CRAM-MD5}abcd',
    ],
    ...['{BLF-CRYPT}$6$x$y', '{SCRAM-SHA-256}1,2,3', '{PBKDF2}$1$a$0$00', '{PLAIN.b64}%%%', '{PLAIN.hex}abc'],
    ...[
      '{PLAIN.b64}/w==',
      '$6$salt$short',
      '{ARGON2I}$argon2id$v=19$m=4096,t=1,p=1$YWJjZGVmZ2g$YWJjZGVmZ2hpamtsbW5vcA',
    ],
  ];
  for (const field of faults) {
    const secret = parseSecret(field);
    t.notOk(secret.ok, field);
    if (!secret.ok) {
      t.notOk(secret.error.unsupported, `${field} is a fault`);
      t.notMatch(secret.error.message, field);
    }
  }
  for (const field of [
    '{OTP}x',
    '{GSSAPI}y',
    '$y$j9T$abc$def',
    '{CRYPT}$7$x',
    '$6$rounds=1000001$salt$'.concat('a'.repeat(86)),
  ]) {
    const secret = parseSecret(field);
    t.ok(!secret.ok && secret.error.unsupported, `${field} is not supported`);
  }
  for (const field of ['', '*', '!', '!$6$salt$x', '{PLAIN}', '{CRYPT}'])
    t.equal(await fits(field, ''), false, `${field} is locked`);
  t.ok(parseSecret(`$6$rounds=1000000$salt$${'a'.repeat(86)}`).ok, 'as many rounds as may be');
});

t.test('any text is read without a throw, and good lines are kept', async () => {
  const good = 'alice@example.org:{PLAIN}secret';
  const piece = fc.oneof(
    fc.string({ unit: 'binary' }),
    fc.constantFrom(
      ':',
      '{',
      '}',
      '{SSHA}',
      '$6$',
      'senders=',
      'allow_nets=',
      ' ',
      '::::::',
      '#',
      '\r',
      '@',
      '\ufeff',
    ),
  );
  const junk = fc.array(piece, { maxLength: 12 }).map((parts) => parts.join('').replaceAll('alice', ''));
  fc.assert(
    fc.property(junk, junk, (before, after) => {
      const file = parseUsers(`${before}\n${good}\n${after}`);
      const lines = `${before}\n${good}\n${after}`.split('\n').length;
      const user = file.users.get('alice@example.org');
      return (
        user?.secrets.length === 1 &&
        [...file.faults, ...file.warnings].every(({ line }) => line >= 1 && line <= lines)
      );
    }),
    { numRuns: 500 },
  );
  fc.assert(
    fc.property(fc.string({ unit: 'binary' }), (field) => [true, false].includes(parseSecret(field).ok)),
    {
      numRuns: 500,
    },
  );
});

t.test('lines: comments, endings, faults by number, extra fields', async (t) => {
  const file = parseUsers(
    [
      '# users',
      '',
      'a@Example.ORG:{PLAIN}one',
      'bob:{PLAIN}two:1000:1000:Bob:/home/bob:/bin/sh:senders=bob@x.example,@y.example userdb_mail=z\r',
      'no colon in S3cret',
      ':{PLAIN}noname',
      'c@x:{SSHA}S3cret',
      'd@x:{PLAIN}p::::::nologin',
      'e@x:{PLAIN}p::::::nologin=no',
      'f@x:{PLAIN}p::::::disabled=yes reason=gone',
      'g@x:{PLAIN}p::::::allow_nets=192.0.2.0/24,2001:db8::/32',
      'h@x:{PLAIN}p::::::nopassword',
      'i@x:{PLAIN}p::::::allow_nets=S3cret',
      'j@x:{PLAIN}p::::::senders=',
      'k@x:{GSSAPI}S3cret',
      'a@example.org:{SHA}5en6G6MezRroT3XKqkdPOmY/BfQ=::::::senders=*',
      'l@x:{PLAIN}p::::::user=%u',
      'm@x:{PLAIN}p::::::user=Other@X.example',
      '*',
    ].join('\n'),
    'Home.Example',
  );
  t.strictSame(
    file.faults.map(({ line }) => line),
    [5, 6, 7, 12, 13, 14, 17, 19],
  );
  t.strictSame(
    file.warnings.map(({ line }) => line),
    [15],
  );
  t.notMatch(JSON.stringify([file.faults, file.warnings]), /S3cret/);
  const user = (name: string) => file.users.get(name);
  t.equal(user('a@example.org')?.secrets.length, 2, 'two lines, one user');
  t.strictSame(user('a@example.org')?.senders, ['*']);
  t.strictSame(user('bob@home.example')?.senders, ['bob@x.example', '@y.example']);
  t.match(user('d@x')?.barred, /nologin/);
  t.equal(user('e@x')?.barred, undefined);
  t.match(user('f@x')?.barred, /disabled/);
  t.equal(user('g@x')?.networks.length, 1);
  t.equal(user('m@x')?.name, 'Other@x.example');
  t.equal(canonicalUser('A@b@C.D', undefined), 'A@b@c.d');
  t.equal(canonicalUser('Bob', 'Example.org'), 'Bob@example.org');
});

t.test('what a user has decides what can be proven', async (t) => {
  const keys =
    '{SCRAM-SHA-256}4096,YlED0eZkv0FwReP6Be14ow==,D7Fl+eN3ELmNNXk3pGK65UAcP53175fUiy2AjjHxxh8=,TT6lbsH8y3+UBv73UnSBl46A5HfGU1f/geVPTEgdMhU=';
  const cram = '{CRAM-MD5}cd3ba7deaad6e5ca23448ba42e379747a9e0f7f1fbc00c8a81bbaac395731b56';
  const proves = (text: string) => [...open(t, text).store.proves].sort();
  t.strictSame(proves('a:{PLAIN}secret'), ['cram-md5', 'password', 'scram-sha-256']);
  t.strictSame(proves('a:{SHA}5en6G6MezRroT3XKqkdPOmY/BfQ='), ['password']);
  t.strictSame(proves(`a:${keys}`), ['password', 'scram-sha-256']);
  t.strictSame(proves(`a:${cram}\nb:*`), ['cram-md5', 'password']);
  t.strictSame(proves('b:*'), []);

  const opened = open(
    t,
    `s:${keys}\nc:${cram}\np:{PLAIN}secret\nh:{SHA}5en6G6MezRroT3XKqkdPOmY/BfQ=\np2:*\nd:${keys}:::::: nologin`,
  );
  const { store } = opened;
  for (const user of ['s', 'c', 'p', 'h']) {
    t.equal(await kind(opened, user, 'secret'), 'ok', user);
    t.equal(await kind(opened, user, 'Secret'), 'wrong', user);
  }
  t.equal(await kind(opened, 'p2', 'secret'), 'wrong');
  const challenge = '<1896.697170952@postoffice.example.net>';
  const digest = createHmac('md5', 'secret').update(challenge).digest('hex');
  for (const user of ['c', 'p', 's', 'h', 'nobody']) {
    const found = await store.verify({ kind: 'cram-md5', user, challenge, digest }, attempt());
    t.equal(found.kind, user === 'c' || user === 'p' ? 'ok' : 'wrong', user);
    const other = { kind: 'cram-md5', user, challenge: '<2@x>', digest } as const;
    t.equal((await store.verify(other, attempt())).kind, 'wrong', user);
  }
  for (const user of ['s', 'p']) {
    const found = await store.scramKeys(user, attempt());
    if (found.kind !== 'keys') throw new Error(`${user}: ${found.why}`);
    t.ok(await provesScramPassword(found.keys, 'secret'));
    t.notOk(await provesScramPassword(found.keys, 'Secret'));
    const again = await store.scramKeys(user, attempt());
    t.equal(
      again.kind === 'keys' ? printScramKeys(again.keys) : '',
      printScramKeys(found.keys),
      'a stable salt',
    );
  }
  for (const user of ['c', 'h', 'nobody', 'd', '', 'a\nb'])
    t.equal((await store.scramKeys(user, attempt())).kind, 'wrong', user);
});

t.test("RFC 2195's own example, and long messages from a context", async (t): Promise<void> => {
  const challenge = '<1896.697170952@postoffice.reston.mci.net>';
  const plain = parseSecret('{PLAIN}tanstaaftanstaaf');
  if (!plain.ok) throw new Error('no secret');
  t.ok(answersChallenge(plain.value.stored, challenge, 'b913a602c7eda7a495b4e6e7334d3890'));
  const context = parseSecret('{CRAM-MD5}cd3ba7deaad6e5ca23448ba42e379747a9e0f7f1fbc00c8a81bbaac395731b56');
  if (!context.ok) throw new Error('no context');
  for (let length = 0; length < 200; length += 1) {
    const message = 'm'.repeat(length);
    const right = createHmac('md5', 'secret').update(message).digest('hex');
    t.ok(answersChallenge(context.value.stored, message, right), `${length} octets`);
  }
});

t.test('who may log in from where, and what he may send as', async (t) => {
  const opened = open(
    t,
    'a@x:{PLAIN}pw::::::senders=a@x,@y allow_nets=192.0.2.0/24,2001:db8::/32\nb@x:{PLAIN}pw::::::disabled\nb@x:{PLAIN}other',
  );
  const from = (client: string) =>
    opened.store.verify({ kind: 'password', user: 'a@X', password: 'pw' }, attempt({ client }));
  t.strictSame(await from('192.0.2.9'), { kind: 'ok', login: { name: 'a@x', senders: ['a@x', '@y'] } });
  t.equal((await from('2001:db8::9')).kind, 'ok');
  t.match(await from('198.51.100.9'), { kind: 'wrong', why: /allow_nets/ });
  t.match(await ask(opened, 'b@x', 'other'), { kind: 'wrong', why: /disabled/ });
  t.match(await ask(opened, 'b@x', 'nope'), { kind: 'wrong', why: /wrong password/ });
});

t.test(
  'a changed file is read again by name; a broken one changes nothing and is named by line',
  async (t) => {
    const opened = open(t, 'a:{PLAIN}one\n');
    const { file, warnings } = opened;
    t.equal(await kind(opened, 'a', 'one'), 'ok');
    const replace = (text: string): void => {
      writeFileSync(`${file}.new`, text, { mode: 0o600 });
      renameSync(`${file}.new`, file);
    };
    const says = (password: string, what: string): Promise<void> => {
      let last = '';
      return eventually(what, () => {
        void kind(opened, 'a', password).then((found) => {
          last = found;
        });
        return last === 'ok';
      });
    };
    replace('a:{PLAIN}two\n');
    await says('two', 'the replaced file is in force');
    t.equal(await kind(opened, 'a', 'one'), 'wrong');
    replace('a:{PLAIN}three\n\nb:{SSHA}Sup3rSecret\n');
    await eventually('a warning', () => warnings.length > 0);
    t.match(warnings[0], /users: line 3: .*; the 1 users of before stay/);
    t.equal(await kind(opened, 'a', 'two'), 'ok', 'the old contents stay');
    rmSync(file);
    await eventually('a second warning', () => warnings.length > 1);
    t.match(warnings[1], /no such file/);
    t.equal(await kind(opened, 'a', 'two'), 'ok');
    writeFileSync(file, 'a:{PLAIN}four\n');
    chmodSync(file, 0o644);
    await says('four', 'and it came back');
    await eventually('a warning of its mode', () => /everybody may read/.test(warnings.at(-1) ?? ''));
    t.notMatch(warnings.join(), /Sup3rSecret|three|four/);
  },
);

t.test('hashing does not hold the event loop up, and threads are let go', async (t) => {
  const hash = `{SHA512-CRYPT}${shaCryptText('sha512', 'secret', 'saltsalt', 10_000)}`;
  const opened = open(t, `a:${hash}\n`);
  await ask(opened, 'a', 'secret');
  // The time in which the loop does something: how long it is kept waiting depends on the machine.
  const before = performance.eventLoopUtilization();
  const found = await Promise.all(
    Array.from({ length: 50 }, (_, i) => ask(opened, 'a', i % 2 === 0 ? 'secret' : 'no')),
  );
  const { utilization } = performance.eventLoopUtilization(before);
  t.equal(found.filter((each) => each.kind === 'ok').length, 25);
  t.equal(found.filter((each) => each.kind === 'wrong').length, 25);
  t.ok(utilization < 0.5, `the loop was busy for ${(100 * utilization).toFixed(0)} % of the time`);
  await opened.store.close();
  t.notOk(process.getActiveResourcesInfo().includes('MessagePort'), 'no thread is left');
});

t.test('the pool: a bound, a deadline that ends the thread, and an end', async (t) => {
  const slow = `$6$rounds=900000$salt$${'a'.repeat(86)}`;
  const quick = shaCryptText('sha512', 'secret', 'salt', 1_000);
  const pool = new HashPool({ threads: 1, waiting: 1, timeout: 300 });
  t.teardown(() => pool.close());
  const first = pool.check(slow, 'x');
  const second = pool.check(slow, 'x');
  await t.rejects(pool.check(quick, 'secret'), /busy/, 'one past the bound');
  await t.rejects(first, /no answer within 300 ms/);
  await t.rejects(second, /no answer within 300 ms/);
  const patient = new HashPool({ threads: 1, waiting: 4, timeout: 60_000 });
  t.equal(await patient.check(quick, 'secret'), true);
  t.equal(await patient.check(quick, 'Secret'), false);
  await t.rejects(patient.check('{SSHA}none', 'x'), /could not be computed/);
  t.equal(await patient.check(quick, 'secret'), true, 'and it goes on');
  const held = patient.check(slow, 'x');
  await Promise.all([t.rejects(held, /closed/), patient.close()]);
  await t.rejects(patient.check(quick, 'secret'), /closed/);
});

t.test('too slow a hash is unavailable, not wrong', async (t) => {
  const opened = open(t, `a:$6$rounds=900000$salt$${'a'.repeat(86)}\n`, { timeout: 200 });
  t.match(await ask(opened, 'a', 'x'), { kind: 'unavailable', why: /no answer within 200 ms/ });
});

/** The kinds of hash in turn, so that the contract meets them all. */
const fieldOf = (password: string, index: number): string => {
  const text = Buffer.from(password).toString('base64');
  return index % 2 === 0 ? shaCryptText('sha512', password, 'saltsalt', 1_000) : `{PLAIN.b64}${text}`;
};

const lineOf = ({ user, password, disabled }: Account, index: number): string =>
  `${user}:${fieldOf(password, index)}${disabled === true ? '::::::nologin' : ''}`;

const contract = (name: string, line: (account: Account, index: number) => string, ownCost: boolean): void =>
  credentialStoreContract(t, {
    name,
    ownCost,
    holds: ({ user }) => !user.includes(':'),
    nameOf: (user) => canonicalUser(user, undefined),
    spellings: ['alice@EXAMPLE.org', 'alice@example.ORG'],
    strangers: ['Alice@example.org', 'alice', 'alice@example.org.', 'alice@example.com'],
    start: async (t, { accounts, inHand, timeout }: Setting) => {
      const { store, warnings } = open(t, accounts.map(line).join('\n'), {
        maxAttempts: inHand,
        timeout,
      });
      return { store, noted: () => warnings };
    },
  });

contract('passwd_file of SHA512-CRYPT', (account) => lineOf(account, 0), true);
contract('passwd_file of several schemes', lineOf, false);

t.test('the dummy is of the most common kind', async (t) => {
  const hash = shaCryptText('sha512', 'secret', 'saltsalt', 20_000);
  const opened = open(t, `a:{PLAIN}x\nb:${hash}\nc:${hash}\nd:${ARGON}c2FsdHNhbHQ$${'A'.repeat(43)}\n`);
  // In turn, and the best of many: the machine may be busy with other things.
  const best = { b: Number.POSITIVE_INFINITY, nobody: Number.POSITIVE_INFINITY, a: Number.POSITIVE_INFINITY };
  for (let i = 0; i < 10; i += 1) {
    for (const user of ['b', 'nobody', 'a'] as const) {
      const since = performance.now();
      await ask(opened, user, 'nope');
      best[user] = Math.min(best[user], performance.now() - since);
    }
  }
  const { b: known, nobody: unknown, a: cheap } = best;
  t.ok(unknown > known / 3 && unknown > cheap * 5, `${known} ms, unknown ${unknown} ms, cheap ${cheap} ms`);
});

t.test('a file of many users is read in good time', async (t) => {
  const text = Array.from(
    { length: 20_000 },
    (_, i) => `u${i}@example.org:{SHA}5en6G6MezRroT3XKqkdPOmY/BfQ=`,
  ).join('\n');
  const since = performance.now();
  t.equal(parseUsers(text).users.size, 20_000);
  t.ok(performance.now() - since < 5_000);
});
