/** Whole exchanges of the SASL mechanisms: octet by octet as in their RFCs, and with GNU SASL's client. */
import { createHmac } from 'node:crypto';
import fc from 'fast-check';
import t from 'tap';
import type { CertificateIdentity, Proof, ProofKind } from '../../src/identity/credentials.js';
import { unavailable, wrong } from '../../src/identity/credentials.js';
import { MECHANISMS, type Offer, offered } from '../../src/identity/sasl/index.js';
import type { SaslContext, SaslExchange, SaslFailure, SaslStep } from '../../src/identity/sasl/mechanism.js';
import { deriveScramKeys } from '../../src/identity/sasl/scram-keys.js';
import { type GsaslOptions, startGsasl } from '../support/gsasl.js';
import { noPackages } from '../support/packages.js';

const CONTEXT: SaslContext = {
  nonce: 'abcdefghijklmnopqrstuvwx',
  hostname: 'mx.example.com',
  time: 1_700_000_000_000,
  bindings: new Map(),
  plusOffered: false,
  certificate: undefined,
};

const begin = (name: string, context: Partial<SaslContext> = {}): SaslExchange => {
  const mechanism = MECHANISMS.find((each) => each.name === name);
  if (mechanism === undefined) throw new Error(`no ${name}`);
  return mechanism.begin({ ...CONTEXT, ...context });
};

const octets = (text: string): Buffer => Buffer.from(text);

const say = (exchange: SaslExchange, text: string): SaslStep => exchange.respond(octets(text));

/** What was sent, as text. */
const heard = (step: SaslStep): string =>
  step.kind === 'challenge' ? step.data.toString() : `no challenge but ${step.kind}`;

const proofOf = (step: SaslStep): Proof | string =>
  step.kind === 'verify' ? step.proof : `no proof but ${step.kind}`;

const failureOf = (step: SaslStep): SaslFailure | string =>
  step.kind === 'failed' ? step.failure : `no failure but ${step.kind}`;

t.test('PLAIN, RFC 4616', async (t) => {
  const proof = { kind: 'password', user: 'tim', password: 'tanstaaftanstaaf' } as const;
  const exchange = begin('PLAIN');
  t.equal(heard(exchange.respond(undefined)), '', 'an empty challenge without an initial response');
  t.same(proofOf(say(exchange, '\0tim\0tanstaaftanstaaf')), proof, 'RFC 4616 4, first example');
  t.same(exchange.outcome({ kind: 'ok', login: { name: 'tim' } }), { kind: 'done', login: { name: 'tim' } });
  t.same(proofOf(say(begin('PLAIN'), 'tim\0tim\0tanstaaftanstaaf')), proof, 'the authzid is the authcid');
  t.same(
    say(begin('PLAIN'), 'Ursel\0Kurt\0xipj3plmq'),
    {
      kind: 'failed',
      failure: 'wrong',
      why: 'the client asked to act as somebody else',
      user: 'Kurt',
    },
    'RFC 4616 4, third example',
  );
  t.equal(failureOf(say(begin('PLAIN'), 'TIM\0tim\0x')), 'wrong', 'case counts');
  t.same(
    proofOf(say(begin('PLAIN'), 'I\u00adX\0\u2168\0p\u00a0q')),
    { kind: 'password', user: 'IX', password: 'p q' },
    'prepared',
  );
  t.same(
    proofOf(say(begin('PLAIN'), '\0tim\0a\u0007')),
    { kind: 'password', user: 'tim', password: 'a\u0007' },
    'what cannot be prepared goes on as it is',
  );
  t.match(
    proofOf(say(begin('PLAIN'), '\0tim\0\ufeff\u0007')),
    { password: '\ufeff\u0007' },
    'no octet is lost',
  );
  const name = (length: number): string => 'u'.repeat(length);
  t.equal(say(begin('PLAIN'), `\0${name(255)}\0${name(1024)}`).kind, 'verify', 'at the limits');
  for (const text of [
    '',
    'tim',
    'tim\0secret',
    '\0tim\0sec\0ret',
    '\0tim\0secret\0',
    '\0\0secret',
    '\0tim\0',
    '\0t\nim\0secret',
    `\0${name(256)}\0secret`,
    `\0tim\0${name(1025)}`,
    `\0${'\ufdfa'.repeat(20)}\0secret`,
  ]) {
    t.equal(failureOf(say(begin('PLAIN'), text)), 'malformed', JSON.stringify(text.slice(0, 30)));
  }
  for (const broken of ['\0tim\0\xff\xfe', '\0\xff\0secret', '\0tim\0\xc0\x80']) {
    t.equal(failureOf(begin('PLAIN').respond(Buffer.from(broken, 'latin1'))), 'malformed', 'not UTF-8');
  }
});

t.test('LOGIN', async (t) => {
  const proof = { kind: 'password', user: 'tim', password: 'tanstaaf' } as const;
  const exchange = begin('LOGIN');
  t.equal(heard(exchange.respond(undefined)), 'Username:');
  t.equal(heard(say(exchange, 'tim')), 'Password:');
  t.same(proofOf(say(exchange, 'tanstaaf')), proof);
  t.same(exchange.outcome(wrong('no')), { kind: 'failed', failure: 'wrong', why: 'no', user: 'tim' });

  const quick = begin('LOGIN');
  t.equal(heard(say(quick, 'tim')), 'Password:', 'the user name as initial response');
  t.same(proofOf(say(quick, 'tanstaaf')), proof);
  t.equal(heard(say(begin('LOGIN'), '')), 'Username:', 'an empty initial response says nothing');

  const login = (user: Buffer, password: Buffer): SaslStep => {
    const other = begin('LOGIN');
    other.respond(undefined);
    const step = other.respond(user);
    return step.kind === 'challenge' ? other.respond(password) : step;
  };
  t.equal(login(Buffer.alloc(255, 'u'), Buffer.alloc(1024, 'p')).kind, 'verify', 'at the limits');
  for (const [user, password] of [
    [Buffer.alloc(256, 'u'), octets('x')],
    [octets('tim'), Buffer.alloc(1025, 'p')],
    [octets(''), octets('x')],
    [octets('tim'), octets('')],
    [octets('t\0im'), octets('x')],
    [octets('tim'), octets('x\0')],
    [octets('tim'), Buffer.from([0xff])],
    [Buffer.from([0xff]), octets('x')],
  ] as const) {
    t.equal(failureOf(login(user, password)), 'malformed');
  }
});

t.test('CRAM-MD5, RFC 2195 2', async (t) => {
  const example = { nonce: '1896', time: 697_170_952, hostname: 'postoffice.reston.mci.net' };
  const challenge = '<1896.697170952@postoffice.reston.mci.net>';
  const digest = 'b913a602c7eda7a495b4e6e7334d3890';
  const asked = (): SaslExchange => {
    const exchange = begin('CRAM-MD5', example);
    t.equal(heard(exchange.respond(undefined)), challenge);
    return exchange;
  };
  t.same(proofOf(say(asked(), `tim ${digest}`)), { kind: 'cram-md5', user: 'tim', challenge, digest });
  t.match(proofOf(say(asked(), `tim ${digest.toUpperCase()}`)), { user: 'tim', digest }, 'upper case');
  t.match(proofOf(say(asked(), `tim of old ${digest}`)), { user: 'tim of old', digest }, 'spaces');
  const exchange = asked();
  say(exchange, `tim ${digest}`);
  t.same(exchange.outcome(unavailable('busy')), {
    kind: 'failed',
    failure: 'unavailable',
    why: 'busy',
    user: 'tim',
  });
  for (const text of [
    '',
    'tim',
    digest,
    ` ${digest}`,
    `tim ${digest.slice(1)}`,
    `tim ${digest}0`,
    `tim ${digest}\n`,
    `tim\0 ${digest}`,
    `tim ${digest.replace('b', 'g')}`,
    `${'u'.repeat(256)} ${digest}`,
  ]) {
    t.equal(failureOf(say(asked(), text)), 'malformed', JSON.stringify(text.slice(0, 50)));
  }
  for (const initial of ['', `tim ${digest}`]) {
    t.equal(failureOf(say(begin('CRAM-MD5'), initial)), 'malformed', 'no initial response');
  }
});

t.test('EXTERNAL, RFC 4422 A', async (t) => {
  const certificate: CertificateIdentity = {
    fingerprint: 'ab'.repeat(32),
    subject: 'CN=tim',
    names: ['tim@example.com'],
  };
  const exchange = begin('EXTERNAL', { certificate });
  t.equal(heard(exchange.respond(undefined)), '', 'an empty challenge without an initial response');
  t.same(proofOf(say(exchange, '')), { kind: 'external', user: '', certificate });
  t.same(exchange.outcome({ kind: 'ok', login: { name: 'tim' } }), { kind: 'done', login: { name: 'tim' } });
  t.same(
    proofOf(say(begin('EXTERNAL', { certificate }), 'fred@example.com')),
    { kind: 'external', user: 'fred@example.com', certificate },
    'RFC 4422 A.4: the store says whether the certificate may be that user',
  );
  t.equal(failureOf(say(begin('EXTERNAL'), '')), 'wrong', 'no certificate');
  for (const message of ['a\0b', 'a\nb', 'u'.repeat(256)]) {
    t.equal(failureOf(say(begin('EXTERNAL', { certificate }), message)), 'malformed');
  }
  t.equal(failureOf(begin('EXTERNAL', { certificate }).respond(Buffer.from([0xff]))), 'malformed');
});

const base64 = (text: string): Buffer => Buffer.from(text, 'base64');

/** Of RFC 7628 4. */
const TOKEN = 'vF9dft4qmTc2Nvb3RlckBhbHRhdmlzdGEuY29tCg==';
const OAUTH = {
  scope: 'example_scope',
  configuration: 'https://example.com/.well-known/openid-configuration',
};

t.test('OAUTHBEARER, RFC 7628 4', async (t) => {
  const proof = { kind: 'token', user: 'user@example.com', token: TOKEN } as const;
  const first = base64(
    'bixhPXVzZXJAZXhhbXBsZS5jb20sAWhvc3Q9c2VydmVyLmV4YW1wbGUuY29tAXBvcnQ9MTQzAWF1dGg9QmVhcmVyIHZGOWRmdDRxbVRjMk52YjNSbGNrQmhiSFJoZG1semRHRXVZMjl0Q2c9PQEB',
  );
  const refusal = base64(
    'eyJzdGF0dXMiOiJpbnZhbGlkX3Rva2VuIiwic2NvcGUiOiJleGFtcGxlX3Njb3BlIiwib3BlbmlkLWNvbmZpZ3VyYXRpb24iOiJodHRwczovL2V4YW1wbGUuY29tLy53ZWxsLWtub3duL29wZW5pZC1jb25maWd1cmF0aW9uIn0=',
  );
  const good = begin('OAUTHBEARER');
  t.equal(heard(good.respond(undefined)), '');
  t.same(proofOf(good.respond(first)), proof, '4.1');
  t.equal(good.outcome({ kind: 'ok', login: { name: 'user' } }).kind, 'done');

  const bad = begin('OAUTHBEARER', { oauth: OAUTH });
  bad.respond(first);
  t.same(bad.outcome(wrong('expired')), { kind: 'challenge', data: refusal }, '4.3');
  t.same(
    bad.respond(base64('AQ==')),
    { kind: 'failed', failure: 'wrong', why: 'expired', user: 'user@example.com' },
    'the dummy response',
  );
  const none = begin('OAUTHBEARER', { oauth: OAUTH });
  t.same(say(none, 'n,a=user@example.com,\x01host=server.example.com\x01port=143\x01auth=\x01\x01'), {
    kind: 'challenge',
    data: refusal,
  });
  t.equal(failureOf(none.respond(octets('whatever'))), 'wrong', 'any dummy will do');
  const plain = begin('OAUTHBEARER');
  plain.respond(first);
  t.equal(heard(plain.outcome(wrong('expired'))), '{"status":"invalid_token"}', 'nothing more is known');
  const down = begin('OAUTHBEARER');
  down.respond(first);
  t.equal(failureOf(down.outcome(unavailable('no key set'))), 'unavailable', 'no explanation for a 454');

  for (const [message, user, token] of [
    ['n,,\x01auth=Bearer abc\x01\x01', undefined, 'abc'],
    ['y,,\x01auth=bearer abc\x01\x01', undefined, 'abc'],
    ['n,a=a=2Cb=3Dc,\x01auth=Bearer abc\x01\x01', 'a,b=c', 'abc'],
    ['n,,\x01Auth=Bearer  abc\x01x=\x01\x01', undefined, 'abc'],
    [`n,,\x01auth=Bearer ${'t'.repeat(8192)}\x01\x01`, undefined, 't'.repeat(8192)],
  ] as const) {
    t.same(proofOf(say(begin('OAUTHBEARER'), message)), { kind: 'token', user, token });
  }
  for (const message of [
    '',
    '\x01',
    'n,,',
    'n,,\x01\x01',
    'auth=Bearer abc\x01\x01',
    'n,,auth=Bearer abc\x01\x01',
    'n,,\x01auth=Bearer abc',
    'n,,\x01auth=Bearer abc\x01',
    'n,,\x01auth=Bearer abc\x01\x01\x01',
    'n,,\x01auth=Bearer abc\x01auth=Bearer abc\x01\x01',
    'n,,\x01host=x\x01\x01',
    'n,,\x01auth=Basic abc\x01\x01',
    'n,,\x01auth=Bearer \x01\x01',
    'n,,\x01auth=Bearer a b\x01\x01',
    'n,,\x01auth=Bearer a\u00e9\x01\x01',
    'n,,\x01auth=Bearer abc\x01\x00\x01',
    'n,a=,\x01auth=Bearer abc\x01\x01',
    'n,a=a=b,\x01auth=Bearer abc\x01\x01',
    'p=tls-exporter,,\x01auth=Bearer abc\x01\x01',
    `n,,\x01auth=Bearer ${'t'.repeat(8193)}\x01\x01`,
  ]) {
    t.equal(failureOf(say(begin('OAUTHBEARER'), message)), 'malformed', JSON.stringify(message.slice(0, 60)));
  }
});

t.test('XOAUTH2, as Google wrote it down', async (t) => {
  const token = 'ya29.vF9dft4qmTc2Nvb3RlckBhdHRhdmlzdGEuY29tCg';
  const first = base64(
    'dXNlcj1zb21ldXNlckBleGFtcGxlLmNvbQFhdXRoPUJlYXJlciB5YTI5LnZGOWRmdDRxbVRjMk52YjNSbGNrQmhkSFJoZG1semRHRXVZMjl0Q2cBAQ==',
  );
  const exchange = begin('XOAUTH2', { oauth: { scope: 'https://mail.google.com/' } });
  t.equal(heard(exchange.respond(undefined)), '');
  t.same(proofOf(exchange.respond(first)), { kind: 'token', user: 'someuser@example.com', token });
  t.equal(
    heard(exchange.outcome(wrong('expired'))),
    '{"status":"401","schemes":"bearer","scope":"https://mail.google.com/"}',
  );
  t.equal(failureOf(say(exchange, '')), 'wrong', 'an empty dummy');
  for (const message of [
    '',
    'user=tim\x01auth=Bearer abc\x01',
    'user=tim\x01auth=Bearer abc\x01\x01\x01',
    'user=\x01auth=Bearer abc\x01\x01',
    'auth=Bearer abc\x01\x01',
    'user=tim\x01auth=Basic abc\x01\x01',
    'user=tim\x01auth=\x01\x01',
    'user=t\nim\x01auth=Bearer abc\x01\x01',
    `user=${'u'.repeat(256)}\x01auth=Bearer abc\x01\x01`,
    `user=tim\x01auth=Bearer ${'t'.repeat(8193)}\x01\x01`,
  ]) {
    t.equal(failureOf(say(begin('XOAUTH2'), message)), 'malformed', JSON.stringify(message.slice(0, 60)));
  }
});

t.test('who speaks out of turn ends the exchange', async (t) => {
  const keys = { salt: octets('salt'), iterations: 4096, storedKey: octets(''), serverKey: octets('') };
  const good = { kind: 'ok', login: { name: 'tim' } } as const;
  for (const { name } of MECHANISMS) {
    t.equal(failureOf(begin(name).outcome(good)), 'unavailable', `${name}: a judgement of nothing`);
    t.equal(failureOf(begin(name).keys(keys, good.login)), 'unavailable', `${name}: keys for nothing`);
    const twice = begin(name);
    twice.respond(undefined);
    t.equal(failureOf(twice.respond(undefined)), 'unavailable', `${name}: no response is no response`);
    t.equal(failureOf(twice.outcome(good)), 'unavailable', `${name}: over is over`);
  }
  const exchange = begin('PLAIN');
  say(exchange, '\0tim\0secret');
  t.equal(failureOf(say(exchange, '\0tim\0secret')), 'unavailable', 'a response where a judgement is due');
  t.equal(failureOf(exchange.outcome(good)), 'unavailable', 'and the judgement comes too late');
  const other = begin('PLAIN');
  say(other, '\0tim\0secret');
  t.equal(other.outcome(good).kind, 'done');
  t.equal(failureOf(other.outcome(good)), 'unavailable', 'done but once');
});

t.test('nothing a client may say throws, or logs in by itself', async () => {
  const message = fc.oneof(
    fc.uint8Array({ maxLength: 400 }).map((each) => Buffer.from(each)),
    fc
      .array(
        fc.constantFrom('\0', '\x01', ',', '=', 'n', 'y', 'a=', 'p=', 'r=', 'c=', 'auth=Bearer ', 'x', ' '),
      )
      .map((each) => octets(each.join(''))),
  );
  for (const { name } of MECHANISMS) {
    fc.assert(
      fc.property(
        fc.option(message, { nil: undefined }),
        fc.array(message, { maxLength: 4 }),
        (first, rest) => {
          const exchange = begin(name);
          return [first, ...rest].map((each) => exchange.respond(each)).every((step) => step.kind !== 'done');
        },
      ),
      { numRuns: 300 },
    );
  }
});

t.test('no failure repeats a password, a token or a digest', async (t) => {
  const secret = 'deadbeef'.repeat(4);
  const messages = [
    secret,
    `\0tim\0${secret}`,
    `root\0tim\0${secret}`,
    `\0tim\0${secret}\0`,
    `tim ${secret}`,
    `tim ${secret}g`,
    `user=tim\x01auth=Bearer ${secret}\x01\x01`,
    `user=tim\x01auth=Bearer ${secret} x\x01\x01`,
    `n,a=tim,\x01auth=Bearer ${secret}\x01\x01`,
    `n,a=tim,\x01auth=Basic ${secret}\x01\x01`,
    `n,,n=tim,r=${secret}`,
    `c=biws,r=${secret},p=${secret}`,
  ].map(octets);
  let failures = 0;
  for (const { name } of MECHANISMS) {
    for (const first of [undefined, ...messages]) {
      for (const second of messages) {
        const exchange = begin(name);
        const steps = [exchange.respond(first), exchange.outcome(wrong('no')), exchange.respond(second)];
        for (const step of steps) {
          if (step.kind !== 'failed') continue;
          failures += 1;
          if (step.why.includes(secret)) t.fail(`${name}: ${step.why}`);
        }
      }
    }
  }
  t.ok(failures > 500);
});

t.test('what is on offer', async (t) => {
  const names = (offer: Partial<Offer>): string =>
    offered({
      secure: true,
      plaintextAllowed: false,
      provable: new Set<ProofKind>(['password', 'cram-md5', 'external', 'token', 'scram-sha-256']),
      bindings: true,
      certificate: true,
      ...offer,
    })
      .map((each) => each.name)
      .join(' ');
  t.equal(names({}), 'EXTERNAL SCRAM-SHA-256-PLUS SCRAM-SHA-256 OAUTHBEARER XOAUTH2 CRAM-MD5 PLAIN LOGIN');
  t.equal(
    names({ bindings: false, certificate: false }),
    'SCRAM-SHA-256 OAUTHBEARER XOAUTH2 CRAM-MD5 PLAIN LOGIN',
  );
  t.match(names({ certificate: false }), /^SCRAM-SHA-256-PLUS /);
  t.match(names({ bindings: false }), /^EXTERNAL SCRAM-SHA-256 /);
  t.equal(names({ secure: false }), 'SCRAM-SHA-256 CRAM-MD5', 'in clear text');
  t.equal(
    names({ secure: false, plaintextAllowed: true }),
    'SCRAM-SHA-256 CRAM-MD5 PLAIN LOGIN',
    'tokens never cross in clear text',
  );
  t.equal(names({ provable: new Set() }), '');
  for (const [kind, expected] of [
    ['password', 'PLAIN LOGIN'],
    ['cram-md5', 'CRAM-MD5'],
    ['external', 'EXTERNAL'],
    ['token', 'OAUTHBEARER XOAUTH2'],
    ['scram-sha-256', 'SCRAM-SHA-256-PLUS SCRAM-SHA-256'],
  ] as const) {
    t.equal(names({ provable: new Set([kind]) }), expected);
  }
});

const TIM = { user: 'tim', password: 'tanstaaftanstaaf' };
const EXPORTER = Buffer.alloc(32, 0xee);

/** What a store would say of Tim's proofs. */
const holds = (proof: Proof): boolean => {
  switch (proof.kind) {
    case 'password':
      return proof.user === TIM.user && proof.password === TIM.password;
    case 'cram-md5':
      return proof.digest === createHmac('md5', TIM.password).update(proof.challenge).digest('hex');
    case 'external':
      return proof.user === TIM.user;
    case 'token':
      return false;
  }
};

/** The last step of an exchange with gsasl. */
const converse = async (options: Omit<GsaslOptions, 'user'>): Promise<SaslStep> => {
  const keys = await deriveScramKeys(TIM.password, Buffer.alloc(16, 7), 4096);
  if (!keys.ok) throw new Error(keys.error);
  const exchange = begin(options.mechanism, {
    bindings: new Map([['tls-exporter', EXPORTER]]),
    certificate: { fingerprint: 'ab'.repeat(32), subject: undefined, names: [] },
  });
  const client = await startGsasl({ user: TIM.user, ...options });
  const initial = await client.hear();
  let step = exchange.respond(options.mechanism === 'CRAM-MD5' ? undefined : initial);
  while (step.kind !== 'done' && step.kind !== 'failed') {
    if (step.kind === 'verify') {
      step = exchange.outcome(holds(step.proof) ? { kind: 'ok', login: { name: TIM.user } } : wrong('no'));
    } else if (step.kind === 'keys') {
      step = exchange.keys(keys.value, { name: step.user });
    } else {
      client.say(step.data);
      step = exchange.respond(await client.hear());
    }
  }
  await client.close();
  return step;
};

t.test('GNU SASL gets along', { skip: noPackages() ?? false }, async (t) => {
  const { password } = TIM;
  for (const options of [
    { mechanism: 'PLAIN' },
    { mechanism: 'PLAIN', authzid: 'tim' },
    { mechanism: 'LOGIN' },
    { mechanism: 'CRAM-MD5' },
    { mechanism: 'EXTERNAL', authzid: 'tim' },
    { mechanism: 'SCRAM-SHA-256', answers: ['', ''] },
    { mechanism: 'SCRAM-SHA-256', answers: ['', ''], authzid: 'tim' },
    { mechanism: 'SCRAM-SHA-256-PLUS', answers: [EXPORTER.toString('base64')] },
  ]) {
    const { mechanism } = options;
    t.same(await converse({ ...options, password }), { kind: 'done', login: { name: 'tim' } }, mechanism);
    if (mechanism === 'EXTERNAL') continue;
    t.equal(failureOf(await converse({ ...options, password: 'guess' })), 'wrong', `${mechanism}: a guess`);
  }
  const relayed = await converse({ mechanism: 'SCRAM-SHA-256-PLUS', answers: ['AAAA'], password });
  t.equal(failureOf(relayed), 'wrong', 'the binding of another connection');
  for (const options of [
    { mechanism: 'PLAIN', authzid: 'root' },
    { mechanism: 'SCRAM-SHA-256', answers: ['', ''], authzid: 'root' },
  ]) {
    t.equal(failureOf(await converse({ ...options, password })), 'wrong', 'to act as somebody else');
  }
});
