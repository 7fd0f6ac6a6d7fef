/** What is particular to each of the stores that ask another server: their words, their TLS, their exchanges. */
import { createHmac } from 'node:crypto';
import { chmodSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import type net from 'node:net';
import os from 'node:os';
import path from 'node:path';
import fc from 'fast-check';
import t, { type Test } from 'tap';
import type { Attempt, Outcome, Proof } from '../../src/identity/credentials.js';
import { DovecotStore } from '../../src/identity/stores/dovecot.js';
import {
  encodeLine,
  escapeField,
  LineDecoder,
  parseLine,
  unescapeField,
} from '../../src/identity/stores/dovecot-wire.js';
import { imapStore } from '../../src/identity/stores/imap.js';
import { AS_TYPED, type LoginNames, nameLogin } from '../../src/identity/stores/login-names.js';
import { escapeHeader, NginxHttpStore } from '../../src/identity/stores/nginx-http.js';
import type { PasswordServerOptions } from '../../src/identity/stores/password-server.js';
import { NO_TLS, type PeerTls, type Place } from '../../src/identity/stores/peer.js';
import { pop3Store } from '../../src/identity/stores/pop3.js';
import { upstreamStore } from '../../src/identity/stores/upstream.js';
import { attempt } from '../contract/credential-store.js';
import { AuthService, CHALLENGE } from '../support/auth-service.js';
import { chunkings, cut } from '../support/chunkings.js';
import { Dovecot } from '../support/dovecot.js';
import { Exim } from '../support/exim.js';
import { noPackages } from '../support/packages.js';
import { ScramClient } from '../support/scram-client.js';
import { eventually } from '../support/sekisho.js';
import { rewriting, saying, scripted } from '../support/troubled.js';

const HOST = '127.0.0.1';
const USER = 'alice@example.org';
const PASSWORD = 'Correct "Horse" 7';
const RIGHT: Proof = { kind: 'password', user: USER, password: PASSWORD };
const WRONG: Proof = { ...RIGHT, password: 'Never-Right' };
const skip = noPackages() ?? false;

const BOUNDS = { timeout: 5_000, maxAttempts: 10 };

const said = (outcome: Outcome): string =>
  outcome.kind === 'ok' ? `ok ${outcome.login.name}` : `${outcome.kind} ${outcome.why}`;

const serverAt = (port: number, over: Partial<PasswordServerOptions> = {}): PasswordServerOptions => ({
  host: HOST,
  port,
  tls: NO_TLS,
  names: AS_TYPED,
  ...BOUNDS,
  ...over,
});

type Make = (options: PasswordServerOptions) => ReturnType<typeof pop3Store>;

const makeUpstream: Make = (options) => upstreamStore({ ...options, ownName: 'sekisho.example' });

/** What a store for one attempt says. */
const once = async (make: Make, options: PasswordServerOptions, proof: Proof = RIGHT): Promise<Outcome> => {
  const store = make(options);
  try {
    return await store.verify(proof);
  } finally {
    await store.close();
  }
};

const trusting = (trust: PeerTls['trust'], mode: PeerTls['mode']): PeerTls => ({ mode, floor: '1.2', trust });

/** Dovecot looks keys of tokens up in a folder, here an empty one: no token is good. */
const OAUTH = path.join(mkdtempSync(path.join(os.tmpdir(), 'sekisho-oauth-')), 'oauth2.conf');
chmodSync(path.dirname(OAUTH), 0o755);
writeFileSync(
  OAUTH,
  `introspection_mode = local\nlocal_validation_key_dict = fs:posix:prefix=${path.dirname(OAUTH)}/\n`,
);
t.teardown(() => rmSync(path.dirname(OAUTH), { recursive: true, force: true }));

t.test("Dovecot's lines", async (t) => {
  const field = fc.string({ unit: fc.constantFrom('\0', '\x01', '\t', '\n', '\r', 'a', '=', 'ü', '0', 't') });
  fc.assert(
    fc.property(field, (text) => {
      const escaped = escapeField(text);
      return !/[\0\t\n\r]/.test(escaped) && unescapeField(escaped) === text;
    }),
  );
  t.equal(unescapeField('a\x01xb\x01'), 'axb', 'any other octet stands for itself');
  t.equal(encodeLine(['A\tB', 'c']), 'A\x01tB\tc\n');
  const lines = [
    'VERSION\t1\t2',
    'MECH\tPLAIN\tplaintext',
    'SPID\t1',
    'DONE',
    'OK\t7\tuser=a\x01tb\tuser=second\tnologin',
    'CONT\t8\taGk=',
    'FAIL\t9\treason=a=b',
    '',
  ];
  const stream = Buffer.from(`${lines.join('\n')}\n`);
  const whole = lines.map(parseLine);
  t.same(whole[4], {
    kind: 'ok',
    id: 7,
    params: new Map([
      ['user', 'a\tb'],
      ['nologin', ''],
    ]),
  });
  t.same(whole[5], { kind: 'continue', id: 8, data: Buffer.from('hi') });
  t.same(whole[6], { kind: 'fail', id: 9, params: new Map([['reason', 'a=b']]) });
  const decode = (chunks: readonly Buffer[]): unknown[] => {
    const decoder = new LineDecoder();
    return chunks.flatMap((chunk) => decoder.push(chunk));
  };
  for (const chunks of chunkings(stream)) t.same(decode(chunks), whole, { diagnostic: false });
  fc.assert(
    fc.property(fc.uint8Array({ maxLength: 200 }), fc.array(fc.nat()), (octets, at) => {
      const noise = Buffer.from(octets);
      const kinds = (chunks: readonly Buffer[]): string => JSON.stringify(decode(chunks));
      return kinds([noise]) === kinds(cut(noise, at));
    }),
  );
  for (const bad of [
    'VERSION\t1',
    'VERSION\tx\t1',
    'OK',
    'FAIL\t-1',
    'CONT\t1\t!',
    'MECH\t',
    `OK\t${'1'.repeat(11)}`,
  ])
    t.equal(parseLine(bad).kind, 'fault', bad);
  t.same(decode([Buffer.alloc(65_536, 'a'), Buffer.from('\nDONE\n')]), [{ kind: 'other' }, { kind: 'done' }]);
  t.match(
    decode([Buffer.alloc(65_537, 'a'), Buffer.from('\nDONE\n')]),
    [{ kind: 'fault' }],
    'one past the bound',
  );
});

t.test('how a login is called', async (t) => {
  const of = (user: string, names: LoginNames): unknown => {
    const named = nameLogin(user, names);
    return named.ok ? [named.value.asked, named.value.known] : named.error;
  };
  t.same(of('Alice', AS_TYPED), ['Alice', 'alice']);
  const name: LoginNames = { domain: 'example.org', ask: 'name' };
  const address: LoginNames = { domain: 'example.org', ask: 'address' };
  t.same(of('Alice', name), ['Alice', 'alice@example.org']);
  t.same(of('Alice@EXAMPLE.org', name), ['Alice', 'alice@example.org']);
  t.same(of('alice', address), ['alice@example.org', 'alice@example.org']);
  t.same(of('a@b@example.org', name), ['a@b', 'a@b@example.org']);
  t.match(of('alice@other.example', name), /not of example\.org/);
  t.match(of('@example.org', name), /empty/);
  t.match(of(' alice', AS_TYPED), /space/);
  t.match(of(`${'x'.repeat(244)}`, name), /longer/, 'the domain makes it too long');
  t.same(of('x'.repeat(243), name), ['x'.repeat(243), `${'x'.repeat(243)}@example.org`]);
});

t.test('Dovecot', { skip }, async (t) => {
  const dovecot = await Dovecot.start({
    mechanisms: 'plain login cram-md5 scram-sha-256 external anonymous oauthbearer',
    users: [
      { user: USER, password: PASSWORD },
      { user: 'short', password: PASSWORD, extra: 'user=Given@Example.org' },
      { user: 'bare', password: PASSWORD },
      { user: 'barred', password: PASSWORD, extra: 'nologin reason=Closed' },
      { user: 'proxied', password: PASSWORD, extra: 'proxy host=127.0.0.9' },
      { user: 'hashed', password: PASSWORD, scheme: 'SHA512-CRYPT' },
    ],
    lines: `auth_anonymous_username = anybody
passdb {
  driver = oauth2
  mechanisms = oauthbearer
  args = ${OAUTH}
}
`,
  });
  t.teardown(() => dovecot.stop());
  const notes: string[] = [];
  const storeAt = (t: Test, place: Place, names = AS_TYPED): DovecotStore => {
    const onChange = (text: string): void => void notes.push(text);
    const store = new DovecotStore({ place, tls: NO_TLS, names, ...BOUNDS, onChange });
    t.teardown(() => store.close());
    return store;
  };
  const unix: Place = { path: dovecot.socket };
  const tcp: Place = { host: HOST, port: dovecot.ports.auth };
  const login = (user: string, password = PASSWORD): Proof => ({ kind: 'password', user, password });

  for (const [how, place] of Object.entries({ unix, tcp })) {
    t.test(`passwords over ${how}`, async (t) => {
      const store = storeAt(t, place);
      t.same([...store.proves], ['password'], 'before it has answered');
      const of = async (proof: Proof): Promise<string> => said(await store.verify(proof, attempt()));
      t.equal(await of(login('Alice@Example.ORG')), `ok ${USER}`, "Dovecot's spelling");
      t.equal(await of(login('short')), 'ok Given@Example.org', 'the user= of its answer');
      t.equal(await of(login('hashed')), 'ok hashed');
      t.match(await of(login('hashed', 'no')), /^wrong /);
      t.match(await of(login('barred')), /^wrong .*nologin: Closed/, 'an OK that is none');
      t.match(await of(login('proxied')), /^unavailable .*another server/, 'an OK that says nothing');
      const many = await Promise.all(
        ['hashed', 'short', USER, 'nobody', USER].map((user) => of(login(user))),
      );
      t.match(many, ['ok hashed', 'ok Given@Example.org', `ok ${USER}`, /^wrong/, `ok ${USER}`]);
      t.same([...store.remoteMechanisms].sort(), ['CRAM-MD5', 'OAUTHBEARER', 'SCRAM-SHA-256']);
    });
  }

  t.test('a domain completes what Dovecot calls a login', async (t) => {
    const store = storeAt(t, unix, { domain: 'example.org', ask: 'name' });
    t.equal(said(await store.verify(login('bare'), attempt())), 'ok bare@example.org');
    t.equal(said(await store.verify(login('short'), attempt())), 'ok Given@Example.org');
  });

  t.test('whole exchanges', async (t) => {
    const store = storeAt(t, unix);
    await store.verify(RIGHT, attempt());
    const begin = (mechanism: string, over: Partial<Attempt> = {}) =>
      store.exchange(mechanism, attempt(over));
    const dataOf = (step: Awaited<ReturnType<ReturnType<typeof begin>['respond']>>): Buffer => {
      if (step.kind !== 'challenge') throw new Error(`no challenge: ${said(step)}`);
      return step.data;
    };
    const cram = async (password: string, secure: boolean) => {
      const exchange = begin('CRAM-MD5', { secure });
      const challenge = dataOf(await exchange.respond(undefined));
      const digest = createHmac('md5', password).update(challenge).digest('hex');
      return exchange.respond(Buffer.from(`${USER} ${digest}`));
    };
    t.match(await cram(PASSWORD, true), { kind: 'ok', login: { name: USER } });
    t.match(await cram(PASSWORD, false), { kind: 'ok' }, 'CRAM-MD5 needs no TLS');
    t.match(await cram('no', true), { kind: 'wrong' });

    const scram = async (password: string) => {
      const client = new ScramClient({ user: USER, password, nonce: 'client-nonce' });
      const exchange = begin('SCRAM-SHA-256');
      const first = dataOf(await exchange.respond(Buffer.from(client.first())));
      const last = await exchange.respond(Buffer.from(client.final(first.toString())));
      if (last.kind !== 'challenge') return last;
      t.ok(client.trusts(last.data.toString()), 'Dovecot has proven itself');
      const done = await exchange.respond(Buffer.alloc(0));
      t.match(await exchange.respond(Buffer.alloc(0)), { kind: 'unavailable', why: /over/ });
      return done;
    };
    t.match(await scram(PASSWORD), { kind: 'ok', login: { name: USER } });
    t.match(await scram('no'), { kind: 'wrong' });

    const bearer = Buffer.from(`n,a=${USER},\x01auth=Bearer e30.e30.e30\x01\x01`);
    t.match(await begin('OAUTHBEARER', { secure: false }).respond(bearer), { kind: 'wrong', why: /TLS/ });
    const exchange = begin('OAUTHBEARER');
    t.match(JSON.parse(dataOf(await exchange.respond(bearer)).toString()), { status: 'invalid_token' });
    t.match(await exchange.respond(Buffer.from('\x01')), { kind: 'wrong' });

    for (const hidden of ['PLAIN', 'LOGIN', 'EXTERNAL', 'ANONYMOUS', 'NONE'])
      t.match(await begin(hidden).respond(undefined), { kind: 'unavailable' }, hidden);
    const cancelled = begin('CRAM-MD5');
    dataOf(await cancelled.respond(undefined));
    cancelled.cancel();
    t.match(await cancelled.respond(Buffer.from('x')), { kind: 'unavailable' });

    const [long, next] = await Promise.all([
      begin('CRAM-MD5').respond(Buffer.alloc(12_500)),
      store.verify(RIGHT, attempt()),
    ]);
    t.match(long, { kind: 'wrong', why: /longer/ }, 'Dovecot would hang up on everybody');
    t.equal(said(next), `ok ${USER}`);
    t.match(await begin('CRAM-MD5').respond(Buffer.alloc(11_500)), { kind: /wrong|challenge/ });
    t.equal(said(await store.verify(RIGHT, attempt())), `ok ${USER}`, 'still there');
  });

  t.test('it tells Dovecot who asks, and the log when Dovecot is away', async (t) => {
    const store = storeAt(t, unix);
    await store.verify(WRONG, attempt({ client: '192.0.2.77', session: 'abc' }));
    await eventually('rip and session in its log', () => /192\.0\.2\.77,<abc>/.test(dovecot.logged()));
    const away = storeAt(t, { path: `${dovecot.socket}.none` });
    notes.length = 0;
    t.match(said(await away.verify(RIGHT, attempt())), /^unavailable .*ENOENT/);
    t.match(said(await away.verify(RIGHT, attempt())), /^unavailable/);
    t.equal(notes.length, 1, 'once');
    t.match(notes[0], /^dovecot .*ENOENT/);
    t.same([...away.proves], ['password'], 'so that clients hear 454, not that there is no AUTH');
  });
});

t.test('what a Dovecot must not say', async (t) => {
  const HELLO = 'VERSION\t1\t2\nMECH\tPLAIN\tplaintext\nMECH\tCRAM-MD5\nDONE\n';
  /** `answer` gets each line of the store behind its handshake. */
  const storeOf = async (t: Test, hello: string, answer: (line: string, socket: net.Socket) => void) => {
    const port = await scripted(t, (socket) => {
      socket.write(hello);
      let rest = '';
      socket.setEncoding('utf8').on('data', (text) => {
        const lines = (rest + String(text)).split('\n');
        rest = lines.pop() ?? '';
        for (const line of lines) if (/^(?:AUTH|CONT|CANCEL)\t/.test(line)) answer(line, socket);
      });
    });
    const bounds = { timeout: 1_000, maxAttempts: 10 };
    const store = new DovecotStore({ place: { host: HOST, port }, tls: NO_TLS, names: AS_TYPED, ...bounds });
    t.teardown(() => store.close());
    return store;
  };
  const once = async (t: Test, reply: string, hello = HELLO): Promise<string> => {
    const store = await storeOf(t, hello, (line, socket) => {
      socket.write(reply.replaceAll('ID', line.split('\t')[1] ?? ''));
    });
    return said(await store.verify(RIGHT, attempt()));
  };
  t.equal(await once(t, 'OK\tID\tuser=a\n'), 'ok a', 'the script is right');
  t.match(await once(t, 'OK\tID\n'), /^unavailable .*whom/);
  t.match(await once(t, 'OK\tID\tuser=\n'), /^unavailable .*empty/);
  t.match(await once(t, 'OK\tID\tuser=a\x01nb\n'), /^unavailable .*control/);
  t.match(await once(t, `OK\tID\tuser=${'x'.repeat(256)}\n`), /^unavailable .*longer/);
  t.match(await once(t, 'CONT\tID\t\n'), /^unavailable .*more than PLAIN/);
  t.match(await once(t, 'OK\t99\tuser=a\n'), /^unavailable .*no answer within/, 'of somebody else');
  for (const temporary of ['temp', 'code=temp_fail', 'temp\treason=Later'])
    t.match(await once(t, `FAIL\tID\tuser=a\t${temporary}\n`), /^unavailable .*temporary failure/, temporary);
  for (const lasting of [
    '',
    '\tuser_disabled',
    '\tcode=user_disabled',
    '\tpass_expired',
    '\tcode=authz_fail',
    '\tauthz',
  ])
    t.match(await once(t, `FAIL\tID${lasting}\n`), /^wrong /, lasting);
  t.match(await once(t, `FAIL\tID\treason=you said ${PASSWORD}\n`), /^wrong .*withheld/);
  t.match(await once(t, '', 'VERSION\t2\t0\nDONE\n'), /^unavailable .*version 2/);
  t.match(await once(t, '', 'DONE\n'), /^unavailable .*no version/);
  t.match(await once(t, '', '+OK POP3 ready\r\n'), /^unavailable .*not Dovecot/);
  t.match(
    await once(t, '', `VERSION\t1\t2\n${'MECH\tX\n'}OK\t1\tuser=a\n`),
    /^unavailable/,
    'an OK before DONE',
  );

  t.test('an OK that comes before the response is no login', async (t) => {
    const store = await storeOf(t, HELLO, (line, socket) => {
      const [verb, id = ''] = line.split('\t');
      if (verb === 'AUTH') socket.write(`CONT\t${id}\tPDE+\nOK\t${id}\tuser=a\n`);
    });
    await store.verify(WRONG, attempt());
    await eventually('the handshake', () => store.remoteMechanisms.has('CRAM-MD5'));
    const exchange = store.exchange('CRAM-MD5', attempt());
    t.match(await exchange.respond(undefined), { kind: 'challenge' });
    t.match(await exchange.respond(Buffer.from('a 00')), { kind: 'unavailable' });
  });

  t.test('a challenge that comes unasked ends the exchange', async (t) => {
    const store = await storeOf(t, HELLO, (line, socket) => {
      const id = line.split('\t')[1] ?? '';
      socket.write(`CONT\t${id}\tPDE+\nCONT\t${id}\tPDI+\n`);
    });
    await store.verify(WRONG, attempt());
    const exchange = store.exchange('CRAM-MD5', attempt());
    t.match(await exchange.respond(undefined), { kind: 'challenge', data: Buffer.from('<1>') });
    t.match(await exchange.respond(Buffer.from('a 00')), { kind: 'unavailable', why: /by itself/ });
  });

  t.test('who waits too long gives up alone, and late answers go to nobody', async (t) => {
    let first: string | undefined;
    let connections = 0;
    const lines: string[] = [];
    const seen = new Set<net.Socket>();
    const store = await storeOf(t, HELLO, (line, socket) => {
      if (!seen.has(socket)) connections += 1;
      seen.add(socket);
      lines.push(line);
      const [verb, id = ''] = line.split('\t');
      if (verb === 'CANCEL') socket.write(`OK\t${id}\tuser=late\n`);
      else if (first === undefined) first = id;
      else socket.write(`OK\t${id}\tuser=a\n`);
    });
    const late = store.verify(RIGHT, attempt());
    await eventually('the first request', () => first !== undefined);
    t.equal(said(await store.verify(RIGHT, attempt())), 'ok a', 'the next is not kept waiting');
    t.match(said(await late), /^unavailable .*no answer within/);
    await eventually('CANCEL', () => lines.some((line) => line.startsWith('CANCEL\t')));
    t.equal(said(await store.verify(RIGHT, attempt())), 'ok a');
    t.equal(connections, 1, 'the connection was kept: it had answered others meanwhile');
  });
});

t.test('TLS towards servers', { skip }, async (t) => {
  const [dovecot, exim] = await Promise.all([
    Dovecot.start({ users: [{ user: USER, password: PASSWORD }], cleartext: false }),
    Exim.start({ users: [{ user: USER, password: PASSWORD }] }),
  ]);
  t.teardown(() => Promise.all([dovecot.stop(), exim.stop()]));
  const { pop3, pop3s, imap, imaps } = dovecot.ports;
  const ours = (peer: { certified: { cert: string } }): PeerTls['trust'] => ({
    kind: 'name',
    name: undefined,
    ca: peer.certified.cert,
  });
  const cases: readonly [name: string, Make, port: number, PeerTls['mode'], Dovecot | Exim][] = [
    ['pop3', pop3Store, pop3, 'starttls', dovecot],
    ['pop3s', pop3Store, pop3s, 'implicit', dovecot],
    ['imap', imapStore, imap, 'starttls', dovecot],
    ['imaps', imapStore, imaps, 'implicit', dovecot],
    ['upstream', makeUpstream, exim.port, 'starttls', exim],
  ];
  for (const [name, make, port, mode, peer] of cases) {
    t.test(`${name}, ${mode}`, async (t) => {
      const of = async (trust: PeerTls['trust'], proof: Proof = RIGHT): Promise<string> =>
        said(await once(make, serverAt(port, { tls: trusting(trust, mode) }), proof));
      t.equal(await of(ours(peer)), `ok ${USER}`, 'the address is in the certificate');
      t.match(await of(ours(peer), WRONG), /^wrong /);
      const ca = peer.certified.cert;
      t.equal(await of({ kind: 'name', name: 'localhost', ca }), `ok ${USER}`);
      t.match(await of({ kind: 'name', name: 'other.test', ca }), /^unavailable .*TLS: .*other\.test/);
      t.match(await of({ kind: 'name', name: undefined, ca: undefined }), /^unavailable .*TLS: self-signed/i);
      const { fingerprint } = peer.certified;
      t.equal(await of({ kind: 'fingerprint', sha256: ['0'.repeat(64), fingerprint] }), `ok ${USER}`);
      const other = await of({ kind: 'fingerprint', sha256: ['0'.repeat(64)] });
      t.match(other, new RegExp(`^unavailable .*${fingerprint}`), 'and says which it is');
      t.equal(await of({ kind: 'insecure' }), `ok ${USER}`);
    });
  }
  // Dovecot takes whoever comes from its own address for secure.
  const [strictPop3, strictImap] = [await rewriting(t, pop3, /$^/g, ''), await rewriting(t, imap, /$^/g, '')];
  t.match(said(await once(pop3Store, serverAt(strictPop3))), /^unavailable .*TLS first/, 'it wants TLS');
  t.match(said(await once(imapStore, serverAt(strictImap))), /^unavailable .*TLS first/);
  const insecure = (mode: PeerTls['mode']) => ({ tls: trusting({ kind: 'insecure' }, mode) });
  t.match(said(await once(pop3Store, serverAt(pop3, insecure('implicit')))), /^unavailable .*TLS/);

  t.test('what is said between the consent and TLS counts for nothing', async (t) => {
    const scripts: readonly [Make, readonly string[]][] = [
      [pop3Store, ['+OK ready\r\n', '+OK go\r\n+OK injected\r\n']],
      [imapStore, ['* OK ready\r\n', 'a OK go\r\n* CAPABILITY AUTH=PLAIN\r\n']],
      [makeUpstream, ['220 a\r\n', '250 a\r\n', '220 go\r\n250 injected\r\n']],
    ];
    for (const [make, script] of scripts) {
      const port = await saying(t, script);
      const outcome = said(await once(make, serverAt(port, insecure('starttls'))));
      t.match(outcome, /^unavailable .*(?:between its consent and TLS|before it was asked)/);
    }
    const refusals: readonly [Make, readonly string[]][] = [
      [pop3Store, ['+OK ready\r\n', '-ERR no\r\n']],
      [imapStore, ['* OK ready\r\n', 'a BAD no\r\n']],
      [makeUpstream, ['220 a\r\n', '250 a\r\n', '502 no\r\n']],
    ];
    for (const [make, script] of refusals)
      t.match(
        said(await once(make, serverAt(await saying(t, script), insecure('starttls')))),
        /^unavailable .*refuses ST/,
      );
  });
});

t.test('USER and PASS, LOGIN, and AUTH LOGIN, at real servers', { skip }, async (t) => {
  const users = [
    { user: USER, password: PASSWORD },
    { user: 'jürgen@example.org', password: 'Pässwörter \\"' },
    { user: 'with space', password: PASSWORD },
  ];
  const [dovecot, exim] = await Promise.all([
    Dovecot.start({ users }),
    Exim.start({ users, mechanisms: ['LOGIN'] }),
  ]);
  t.teardown(() => Promise.all([dovecot.stop(), exim.stop()]));
  // A Dovecot that does not say that it knows PLAIN.
  const oldPop3 = await rewriting(t, dovecot.ports.pop3, /SASL [^\r]*/g, 'X-NONE');
  const oldImap = await rewriting(t, dovecot.ports.imap, /AUTH=PLAIN/g, 'X-NONE');
  for (const [name, make, port] of [
    ['pop3', pop3Store, oldPop3],
    ['imap', imapStore, oldImap],
    ['upstream', makeUpstream, exim.port],
  ] as const) {
    for (const { user, password } of users) {
      const proof: Proof = { kind: 'password', user, password };
      const right = said(await once(make, serverAt(port), proof));
      if (name === 'pop3' && user.includes(' ')) t.match(right, /^wrong .*space/, `${name} ${user}`);
      else t.equal(right, `ok ${user}`, `${name} ${user}`);
      t.match(said(await once(make, serverAt(port), { ...proof, password: `${password}x` })), /^wrong /);
    }
  }
});

t.test('what POP3, IMAP and SMTP answers mean', async (t) => {
  const of = async (t: Test, make: Make, script: readonly string[], proof: Proof = RIGHT): Promise<string> =>
    said(await once(make, serverAt(await saying(t, script), { timeout: 1_000 }), proof));

  t.test('pop3', async (t) => {
    const plain = (last: string) => ['+OK hi\r\n', '+OK\r\nSASL LOGIN PLAIN\r\n.\r\n', '+ \r\n', last];
    const user = (...last: string[]) => ['+OK hi\r\n', '-ERR what?\r\n', ...last];
    const cases: readonly [readonly string[], RegExp][] = [
      [plain('+OK\r\n'), /^ok /],
      [plain('-ERR [IN-USE] locked\r\n'), /^ok /],
      [plain('-ERR [AUTH] no\r\n'), /^wrong .*\[AUTH\] no$/],
      [plain('-ERR\r\n'), /^wrong /],
      [plain('-ERR [SYS/TEMP] later\r\n'), /^unavailable .*later/],
      [plain('-ERR [SYS/PERM] broken\r\n'), /^unavailable /],
      [plain('-ERR [LOGIN-DELAY] later\r\n'), /^unavailable /],
      [plain(`-ERR you said ${PASSWORD}\r\n`), /^wrong .*withheld/],
      [plain('* OK\r\n'), /^unavailable .*not a POP3 answer/],
      [['+OK hi\r\n', '+OK\r\nSASL PLAIN\r\n.\r\n', '+OK\r\n'], /^unavailable .*refuses AUTH PLAIN/],
      [['+OK hi\r\n', '+OK\r\nSASL PLAIN\r\n.\r\n', '+ \r\n+OK\r\n'], /^unavailable .*before it was asked/],
      [['+OK hi\r\n', '+OK\r\nTOP\r\n.\r\n'], /^unavailable .*neither/],
      [['+OK hi\r\n', '+OK\r\nUSER\r\n.\r\n', '+OK\r\n', '+OK\r\n'], /^ok /],
      [user('+OK\r\n', '+OK in\r\n'), /^ok /],
      [user('+OK\r\n+OK\r\n'), /^unavailable .*before it was asked/],
      [user('+OK\r\n', '-ERR no\r\n'), /^wrong /],
      [user('-ERR unknown\r\n'), /^wrong /],
      [user('-ERR [SYS/TEMP] x\r\n'), /^unavailable /],
      [['-ERR [SYS/TEMP] busy\r\n'], /^unavailable .*greeting/],
    ];
    for (const [script, expected] of cases)
      t.match(await of(t, pop3Store, script), expected, script.join(''));
    const long: Proof = { ...RIGHT, user: 'x'.repeat(248) };
    t.match(await of(t, pop3Store, user('+OK\r\n', '+OK\r\n'), long), /^ok /, '255 octets with CRLF');
    t.match(await of(t, pop3Store, user('+OK\r\n'), { ...long, user: 'x'.repeat(249) }), /^wrong .*too long/);
  });

  t.test('imap', async (t) => {
    const plain = (last: string) => ['* OK hi\r\n', '* CAPABILITY AUTH=PLAIN\r\nb OK\r\n', '+ \r\n', last];
    const login = (...last: string[]) => ['* OK hi\r\n', '* CAPABILITY X\r\nb OK\r\n', ...last];
    const cases: readonly [readonly string[], RegExp][] = [
      [plain('c OK [CAPABILITY IMAP4rev1] in\r\n'), /^ok /],
      [plain('* OK [ALERT] x\r\n* CAPABILITY Y\r\nc OK\r\n'), /^ok /],
      [plain('c NO [AUTHENTICATIONFAILED] no\r\n'), /^wrong .*no$/],
      [plain('c NO\r\n'), /^wrong /],
      [plain('c NO [CONTACTADMIN] disabled\r\n'), /^wrong /],
      [plain('c NO [UNAVAILABLE] later\r\n'), /^unavailable .*later/],
      [plain('c NO [PRIVACYREQUIRED] TLS\r\n'), /^unavailable /],
      [plain('c BAD what?\r\n'), /^unavailable .*understand/],
      [plain('* BYE later\r\nc NO x\r\n'), /^unavailable .*BYE/],
      [plain('b OK\r\n'), /^unavailable .*not an IMAP answer/],
      [plain('cc OK\r\n'), /^unavailable .*not an IMAP answer/],
      [plain('* X {4}\r\nc OK\r\n'), /^unavailable .*literal/],
      [plain('+ \r\n'), /^unavailable /],
      [['* OK hi\r\n', '* CAPABILITY AUTH=PLAIN\r\nb OK\r\n', 'c OK\r\n'], /^unavailable .*refuses/],
      [['* OK hi\r\n', '* CAPABILITY AUTH=PLAIN\r\nb OK\r\n', '+ \r\nc OK\r\n'], /^unavailable .*asked/],
      [['* OK hi\r\n', '* CAPABILITY LOGINDISABLED\r\nb OK\r\n'], /^unavailable .*neither/],
      [login('c OK\r\n'), /^ok /],
      [login('c NO no\r\n'), /^wrong /],
      [['* PREAUTH come in\r\n'], /^unavailable .*greeting/],
      [['* BYE no\r\n'], /^unavailable .*greeting/],
    ];
    for (const [script, expected] of cases)
      t.match(await of(t, imapStore, script), expected, script.join(''));
  });

  t.test('upstream', async (t) => {
    const after = (...last: string[]) => ['220 a\r\n', '250-a\r\n250 AUTH PLAIN LOGIN\r\n', ...last];
    const byLogin = (...last: string[]) => ['220 a\r\n', '250-a\r\n250 AUTH=LOGIN\r\n', ...last];
    const cases: readonly [readonly string[], RegExp][] = [
      [after('235 in\r\n'), /^ok /],
      [after('535-5.7.8 no\r\n535 5.7.8 really\r\n'), /^wrong .*535 5\.7\.8 no/],
      [after('534 too weak\r\n'), /^wrong .*too weak/],
      [after('550 no\r\n'), /^wrong /],
      [after('454 4.7.0 later\r\n'), /^unavailable .*later/],
      [after('432 change\r\n'), /^unavailable /],
      [after('421 bye\r\n'), /^unavailable /],
      [after('530 TLS\r\n'), /^unavailable /],
      [after('538 TLS\r\n'), /^unavailable /],
      [after('504 what?\r\n'), /^unavailable /],
      [after('505 what?\r\n'), /^wrong /],
      [after('250 ok\r\n'), /^unavailable .*out of place/],
      [after('334 \r\n'), /^unavailable .*out of place/],
      [after('235 in\r\n250 more\r\n'), /^unavailable .*asked/],
      [after(`535 you said ${PASSWORD}\r\n`), /^wrong .*withheld/],
      [byLogin('334 VXNlcm5hbWU6\r\n', '334 \r\n', '235 in\r\n'), /^ok /],
      [byLogin('334 \r\n', '334 \r\n', '535 no\r\n'), /^wrong /],
      [byLogin('334 \r\n', '235 in\r\n'), /^unavailable .*without a password/],
      [byLogin('334 \r\n', '535 nobody\r\n'), /^wrong /],
      [byLogin('503 no\r\n'), /^unavailable .*refuses AUTH LOGIN/],
      [['220 a\r\n', '250-a\r\n250 AUTH CRAM-MD5\r\n'], /^unavailable .*neither/],
      [['220 a\r\n', '250 a\r\n'], /^unavailable .*neither/],
      [['220 a\r\n', '502 no\r\n'], /^unavailable .*refuses EHLO/],
      [['554 no\r\n'], /^unavailable .*greeting/],
    ];
    for (const [script, expected] of cases)
      t.match(await of(t, makeUpstream, script), expected, script.join(''));
    const long: Proof = { ...RIGHT, password: 'x'.repeat(255), user: 'y'.repeat(255) };
    t.match(
      await of(t, makeUpstream, after('334 \r\n', '235 in\r\n'), long),
      /^ok /,
      'too long for one line',
    );
  });
});

t.test('the service that speaks auth_http', { skip }, async (t) => {
  const service = await AuthService.start([
    { user: USER, password: PASSWORD },
    { user: 'jürgen@example.org', password: '100% Pässwörter' },
  ]);
  t.teardown(() => service.stop());
  const storeOf = (
    t: Test,
    url: string,
    over: Partial<ConstructorParameters<typeof NginxHttpStore>[0]> = {},
  ) => {
    const store = new NginxHttpStore({
      url: new URL(url),
      tls: NO_TLS,
      names: AS_TYPED,
      proves: ['password', 'cram-md5', 'external'],
      headers: {},
      ...BOUNDS,
      ...over,
    });
    t.teardown(() => store.close());
    return store;
  };
  const base = `http://${HOST}:${service.port}`;
  const at = async (
    t: Test,
    path: string,
    proof: Proof = RIGHT,
    over: Partial<Attempt> = {},
  ): Promise<string> => said(await storeOf(t, base + path).verify(proof, attempt(over)));

  t.equal(escapeHeader('a b%c\r\nd"é'), 'a%20b%25c%0D%0Ad"\xc3\xa9');
  t.equal(await at(t, '/auth'), `ok ${USER}`);
  t.match(await at(t, '/auth', WRONG), /^wrong .*Invalid login or password/);
  const odd: Proof = { kind: 'password', user: 'jürgen@example.org', password: '100% Pässwörter' };
  t.equal(await at(t, '/auth', odd), 'ok jürgen@example.org');
  const digest = createHmac('md5', PASSWORD).update(CHALLENGE).digest('hex');
  const cram: Proof = { kind: 'cram-md5', user: USER, challenge: CHALLENGE, digest };
  t.equal(await at(t, '/auth', cram), `ok ${USER}`);
  t.match(await at(t, '/auth', { ...cram, digest: digest.replace(/./, 'x') }), /^wrong /);
  const certificate = { fingerprint: 'ab'.repeat(32), subject: 'CN=Alice', names: [] };
  t.equal(await at(t, '/auth', { kind: 'external', user: USER, certificate }), `ok ${USER}`);
  t.match(await at(t, '/auth', { kind: 'external', user: '', certificate }), /^unavailable .*whom/);
  t.match(await at(t, '/auth', { kind: 'token', user: USER, token: 'abcdef' }), /^wrong /);
  t.equal(
    await at(t, '/facts', RIGHT, { nth: 3, client: '2001:db8::7', secure: true }),
    'ok smtp/3/2001:db8::7/on/[UNAVAILABLE]/',
  );
  t.equal(await at(t, '/facts', RIGHT, { secure: false, protocol: 'imap' }), 'ok imap/1/192.0.2.7///');
  t.equal(await at(t, '/named?name=Other@example.org'), 'ok Other@example.org', 'the name that it gives');
  t.match(await at(t, `/named?name=${'x'.repeat(256)}`), /^unavailable .*longer/);
  t.match(await at(t, '/failing'), /^unavailable .*451 4\.3\.0 Temporary failure/);
  t.match(await at(t, '/refused', WRONG), /^wrong .*withheld/, 'a text with the password in it, and a 403');
  for (const [path, why] of Object.entries({
    '/twice': /Auth-Status 2 times/i,
    '/moved': /302: redirects/,
    '/broken': /500/,
    '/denied': /403 with Auth-Status: OK/,
    '/silent': /without Auth-Status/,
    '/none': /404 without Auth-Status/,
  }))
    t.match(await at(t, path), new RegExp(`^unavailable .*${why.source}`, why.flags), path);
  const patient = storeOf(t, `${base}/forever`, { timeout: 1_500, maxAttempts: 1 });
  const waiting = patient.verify(RIGHT, attempt());
  t.match(said(await patient.verify(RIGHT, attempt())), /^unavailable .*busy/);
  t.match(said(await waiting), /^unavailable .*no answer within/, 'WAIT upon WAIT');
  const keyed = storeOf(t, `${base}/keyed?secret=1`, { headers: { 'X-Key': 'secret' } });
  t.equal(said(await keyed.verify(RIGHT, attempt())), `ok ${USER}`);
  t.notMatch(keyed.name, /secret/, 'a query may bear a key');
  t.match(await at(t, '/keyed'), /^wrong .*No key/);

  const secure = `https://${HOST}:${service.tlsPort}/auth`;
  const over = async (trust: PeerTls['trust']): Promise<string> =>
    said(await storeOf(t, secure, { tls: trusting(trust, 'implicit') }).verify(RIGHT, attempt()));
  t.equal(await over({ kind: 'name', name: undefined, ca: service.certified.cert }), `ok ${USER}`);
  t.equal(await over({ kind: 'fingerprint', sha256: [service.certified.fingerprint] }), `ok ${USER}`);
  t.match(await over({ kind: 'name', name: undefined, ca: undefined }), /^unavailable .*TLS: /);
  t.match(await over({ kind: 'fingerprint', sha256: ['0'.repeat(64)] }), /^unavailable .*TLS: /);

  const answering = async (answer: string): Promise<string> => {
    const port = await scripted(t, (socket) => socket.on('data', () => socket.write(answer, 'latin1')));
    const store = storeOf(t, `http://${HOST}:${port}/`, { timeout: 1_000 });
    return said(await store.verify(RIGHT, attempt()));
  };
  const head = 'HTTP/1.1 200 OK\r\nAuth-Status: OK\r\n';
  t.equal(await answering(`${head}\r\n`), `ok ${USER}`);
  t.equal(await answering(`${head}X: ${'x'.repeat(60_000)}\r\n\r\n`), `ok ${USER}`);
  t.match(await answering(`${head}X: ${'x'.repeat(66_000)}\r\n\r\n`), /^unavailable /, 'more than 64 KB');
  t.equal(await answering(`${head}Content-Length: 999999999\r\n\r\nxxx`), `ok ${USER}`, 'no body is read');
  t.match(await answering(`${head}Auth-User: a\tb\r\n\r\n`), /^unavailable .*control/);
  t.match(
    await answering('HTTP/1.1 101 Go\r\nUpgrade: x\r\nConnection: upgrade\r\nAuth-Status: OK\r\n\r\n'),
    /^unavailable/,
  );
});
