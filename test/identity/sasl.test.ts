/** SASLprep and SCRAM, keys and exchanges, against the vectors of RFC 4013, RFC 5802 and RFC 7677. */
import { timingSafeEqual } from 'node:crypto';
import fc from 'fast-check';
import t from 'tap';
import type { Login, ScramKeys } from '../../src/identity/credentials.js';
import type { SaslContext, SaslExchange, SaslStep } from '../../src/identity/sasl/mechanism.js';
import { prepare } from '../../src/identity/sasl/saslprep.js';
import {
  deriveScramKeys,
  hash,
  hmac,
  madeUpScramKeys,
  parseScramKeys,
  printScramKeys,
  provesScramPassword,
  SCRAM_MAX_ITERATIONS,
  SCRAM_MAX_SALT,
  SCRAM_MIN_ITERATIONS,
  SCRAM_MIN_SALT,
} from '../../src/identity/sasl/scram-keys.js';
import { CLIENT_NONCE, SCRAM_SHA_256, SCRAM_SHA_256_PLUS } from '../../src/identity/sasl/scram-sha-256.js';
import { ScramClient, type ScramClientOptions } from '../support/scram-client.js';

const salt = Buffer.from('W22ZaJ0SNY7soEsUEjb6gQ==', 'base64');

/** Any code points at all, surrogates too. fast-check's own unit for them takes a second to set up. */
const anyText = fc
  .array(fc.integer({ min: 0, max: 0x10ffff }))
  .map((points) => String.fromCodePoint(...points));

const derived = deriveScramKeys('pencil', salt, 4096);

const pencil = async (): Promise<ScramKeys> => {
  const result = await derived;
  if (!result.ok) throw new Error(result.error);
  return result.value;
};

t.test('SASLprep, RFC 4013 3', async (t) => {
  t.equal(prepare('I\u00adX', 'query'), 'IX', 'soft hyphen is mapped to nothing');
  t.equal(prepare('user', 'query'), 'user');
  t.equal(prepare('USER', 'query'), 'USER', 'case is kept');
  t.equal(prepare('\u00aa', 'query'), 'a');
  t.equal(prepare('\u2168', 'query'), 'IX');
  t.equal(prepare('\u0007', 'query'), undefined, 'a control');
  t.equal(prepare('\u0627\u0031', 'query'), undefined, 'directions');
  t.equal(prepare('a\u00a0b', 'query'), 'a b', 'another space is a space');
  t.equal(prepare('\u0221', 'query'), '\u0221', 'unassigned in a query');
  t.equal(prepare('\u0221', 'stored'), undefined, 'unassigned in what is stored');
  t.equal(prepare('', 'query'), undefined);
  t.equal(prepare('\u00ad', 'query'), undefined, 'nothing is left');
  t.equal(prepare('\ud800', 'query'), undefined, 'half a character');
});

t.test('SASLprep never throws', async () => {
  fc.assert(
    fc.property(anyText, fc.constantFrom('stored', 'query'), (text, use) => {
      const prepared = prepare(text, use);
      return prepared === undefined || prepared.length > 0;
    }),
  );
});

t.test('the keys prove and sign the exchange of RFC 7677 3', async (t) => {
  const { storedKey, serverKey } = await pencil();
  const nonce = 'rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0';
  const text = `n=user,r=rOprNGfwEbeRWgbNEkqO,r=${nonce},s=W22ZaJ0SNY7soEsUEjb6gQ==,i=4096,c=biws,r=${nonce}`;
  const proof = Buffer.from('dHzbZapWIk4jUhN+Ute9ytag9zjfMHgsqmmiz7AndVQ=', 'base64');
  const signature = hmac(storedKey, text);
  const clientKey = Buffer.from(proof.map((octet, at) => octet ^ (signature[at] ?? 0)));
  t.ok(timingSafeEqual(hash(clientKey), storedKey));
  t.equal(hmac(serverKey, text).toString('base64'), '6rriTRBi23WpRR/wtup+mMhUZUn/dB5nLTJRsjl95G4=');
});

t.test('a password is checked against keys', async (t) => {
  const keys = await pencil();
  t.equal(await provesScramPassword(keys, 'pencil'), true);
  t.equal(await provesScramPassword(keys, 'pencils'), false);
  t.equal(await provesScramPassword(keys, ''), false);
});

t.test('what is derived has bounds, and errors keep the password', async (t) => {
  const derive = (password: string, octets: number, iterations: number) =>
    deriveScramKeys(password, Buffer.alloc(octets, 1), iterations);
  t.equal((await derive('x', SCRAM_MIN_SALT, SCRAM_MIN_ITERATIONS)).ok, true);
  t.equal((await derive('x', SCRAM_MAX_SALT, SCRAM_MIN_ITERATIONS)).ok, true);
  for (const [octets, iterations] of [
    [SCRAM_MIN_SALT - 1, 4096],
    [SCRAM_MAX_SALT + 1, 4096],
    [16, SCRAM_MIN_ITERATIONS - 1],
    [16, SCRAM_MAX_ITERATIONS + 1],
    [16, 4096.5],
    [16, Number.NaN],
  ] as const) {
    const derived = await derive('hunter2', octets, iterations);
    t.equal(derived.ok, false, `${octets} octets, ${iterations} rounds`);
    t.notMatch(JSON.stringify(derived), /hunter2/);
  }
  for (const password of ['', 'hunter2\u0007', 'hunter2\u0221']) {
    const derived = await derive(password, 16, 4096);
    t.equal(derived.ok, false);
    t.notMatch(JSON.stringify(derived), /hunter2/);
  }
});

t.test("Dovecot's form", async (t) => {
  const keys = await pencil();
  const text = printScramKeys(keys);
  t.equal(
    text,
    '{SCRAM-SHA-256}4096,W22ZaJ0SNY7soEsUEjb6gQ==,WG5d8oPm3OtcPnkdi4Uo7BkeZkBFzpcXkuLmtbsT4qY=,wfPLwcE6nTWhTAmQ7tl2KeoiWGPlZqQxSrmfPwDl2dU=',
  );
  t.same(parseScramKeys(text), { ok: true, value: keys });
  t.same(parseScramKeys(text.replace('SCRAM', 'scram')), { ok: true, value: keys });
  t.same(parseScramKeys(text.slice('{SCRAM-SHA-256}'.length)), { ok: true, value: keys });
  const key = keys.storedKey.toString('base64');
  for (const [wrong, why] of [
    ['', /1 parts/],
    [`4096,AAAAAAAA,${key}`, /3 parts/],
    [`4096,AAAAAAAA,${key},${key},x`, /5 parts/],
    [`4095,AAAAAAAA,${key},${key}`, /iteration count is 4095/],
    [`10000001,AAAAAAAA,${key},${key}`, /iteration count is 10000001/],
    [`04096,AAAAAAAA,${key},${key}`, /not a number/],
    [`4e3,AAAAAAAA,${key},${key}`, /not a number/],
    [`4096,AAA,${key},${key}`, /salt is not base64/],
    [`4096,,${key},${key}`, /salt has 0 octets/],
    [`4096,AAAAAAAA,${key.slice(0, 40)},${key}`, /stored key/],
    [`4096,AAAAAAAA,${key},${key.slice(0, -1)}`, /server key/],
    [`4096,AAAAAAAA,${key},${key}\n`, /server key/],
  ] as const) {
    const parsed = parseScramKeys(wrong);
    t.equal(parsed.ok, false, wrong);
    if (!parsed.ok) t.match(parsed.error, why);
    t.notMatch(JSON.stringify(parsed), key.slice(0, 12), 'no key in the error');
  }
  fc.assert(
    fc.property(anyText, (any) => {
      parseScramKeys(any);
      parseScramKeys(`4096,AAAAAAAA,${any}`);
    }),
  );
});

t.test('made-up keys are stable, apart, and shaped like real ones', async (t) => {
  const secret = Buffer.alloc(32, 7);
  const one = madeUpScramKeys(secret, 'nobody');
  t.same(madeUpScramKeys(secret, 'nobody'), one, 'the same user, the same keys');
  t.notSame(madeUpScramKeys(secret, 'somebody').salt, one.salt, 'another user');
  t.notSame(madeUpScramKeys(Buffer.alloc(32, 8), 'nobody').salt, one.salt, 'another server');
  t.equal(new Set([one.salt, one.storedKey, one.serverKey].map(String)).size, 3);
  const real = await pencil();
  t.equal(printScramKeys(one).length, printScramKeys(real).length);
  t.equal(parseScramKeys(printScramKeys(one)).ok, true);
  for (const saltLength of [SCRAM_MIN_SALT, 33, SCRAM_MAX_SALT]) {
    const keys = madeUpScramKeys(secret, 'nobody', { saltLength, iterations: 15_000 });
    t.equal(keys.salt.length, saltLength);
    t.equal(keys.iterations, 15_000);
  }
});

const CLIENT = { user: 'user', password: 'pencil', nonce: 'rOprNGfwEbeRWgbNEkqO' };
const EXPORTER = Buffer.alloc(32, 0xee);
const END_POINT = Buffer.alloc(32, 0x55);
const CONTEXT: SaslContext = {
  nonce: '%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0',
  hostname: 'mx.example.com',
  time: 0,
  bindings: new Map(),
  plusOffered: false,
  certificate: undefined,
};
const BOUND: Partial<SaslContext> = {
  bindings: new Map([
    ['tls-exporter', EXPORTER],
    ['tls-server-end-point', END_POINT],
  ]),
  plusOffered: true,
};

const text = (step: SaslStep): string =>
  step.kind === 'challenge' ? step.data.toString() : JSON.stringify(step);

/** How a step ended: `done user`, `wrong`, `malformed`; else its kind. */
const end = (step: SaslStep): string => {
  if (step.kind === 'failed') return step.failure;
  return step.kind === 'done' ? `done ${step.login.name}` : step.kind;
};

interface Talk {
  readonly client?: Partial<ScramClientOptions>;
  readonly context?: Partial<SaslContext>;
  readonly plus?: boolean;
  readonly keys?: ScramKeys;
  readonly login?: Login | undefined;
  /** Spoils the client's last message. */
  readonly spoil?: (final: string) => string;
}

/** Everything up to the first failure, or to `done`. */
const talk = async (options: Talk): Promise<SaslStep> => {
  const client = new ScramClient({ ...CLIENT, ...options.client });
  const mechanism = options.plus === true ? SCRAM_SHA_256_PLUS : SCRAM_SHA_256;
  const exchange = mechanism.begin({ ...CONTEXT, ...options.context });
  const asked = exchange.respond(Buffer.from(client.first()));
  if (asked.kind !== 'keys') return asked;
  const login = 'login' in options ? options.login : { name: asked.user };
  const first = exchange.keys(options.keys ?? (await pencil()), login);
  if (first.kind !== 'challenge') return first;
  const spoil = options.spoil ?? ((final: string) => final);
  const last = exchange.respond(Buffer.from(spoil(client.final(text(first)))));
  if (last.kind !== 'challenge') return last;
  if (!client.trusts(text(last))) throw new Error('the server is a fraud');
  return exchange.respond(Buffer.alloc(0));
};

t.test("the test's own client speaks as the RFCs do", async (t) => {
  const old = new ScramClient({
    user: 'user',
    password: 'pencil',
    nonce: 'fyko+d2lbbFgONRv9qkxdawL',
    digest: 'sha1',
  });
  t.equal(old.first(), 'n,,n=user,r=fyko+d2lbbFgONRv9qkxdawL', 'RFC 5802 5');
  t.equal(
    old.final('r=fyko+d2lbbFgONRv9qkxdawL3rfcNHYJY1ZVvWVs7j,s=QSXCR+Q6sek8bf92,i=4096'),
    'c=biws,r=fyko+d2lbbFgONRv9qkxdawL3rfcNHYJY1ZVvWVs7j,p=v0X8v3Bz2T0CJGbJQyF0X+HI4Ts=',
  );
  t.equal(old.trusts('v=rmF9pqV8S7suAoZWja4dJRkFsKQ='), true);
  t.equal(old.trusts('v=rmF9pqV8S7suAoZWja4dJRkFsKR='), false);
  const client = new ScramClient(CLIENT);
  t.equal(client.trusts('v='), false, 'nothing is proven yet');
  t.equal(client.first(), 'n,,n=user,r=rOprNGfwEbeRWgbNEkqO', 'RFC 7677 3');
  t.equal(
    client.final('r=rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0,s=W22ZaJ0SNY7soEsUEjb6gQ==,i=4096'),
    'c=biws,r=rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0,p=dHzbZapWIk4jUhN+Ute9ytag9zjfMHgsqmmiz7AndVQ=',
  );
  t.equal(client.trusts('v=6rriTRBi23WpRR/wtup+mMhUZUn/dB5nLTJRsjl95G4='), true);
});

t.test('the server speaks as RFC 7677 3 does', async (t) => {
  const exchange = SCRAM_SHA_256.begin(CONTEXT);
  t.same(
    exchange.respond(undefined),
    { kind: 'challenge', data: Buffer.alloc(0) },
    'without an initial response, an empty challenge',
  );
  t.same(exchange.respond(Buffer.from('n,,n=user,r=rOprNGfwEbeRWgbNEkqO')), { kind: 'keys', user: 'user' });
  t.equal(
    text(exchange.keys(await pencil(), { name: 'user@example.com' })),
    'r=rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0,s=W22ZaJ0SNY7soEsUEjb6gQ==,i=4096',
  );
  t.equal(
    text(
      exchange.respond(
        Buffer.from(
          'c=biws,r=rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0,p=dHzbZapWIk4jUhN+Ute9ytag9zjfMHgsqmmiz7AndVQ=',
        ),
      ),
    ),
    'v=6rriTRBi23WpRR/wtup+mMhUZUn/dB5nLTJRsjl95G4=',
  );
  t.same(exchange.respond(Buffer.alloc(0)), { kind: 'done', login: { name: 'user@example.com' } });
});

t.test('SCRAM: right, wrong, made up', async (t) => {
  t.equal(end(await talk({})), 'done user');
  t.equal(end(await talk({ client: { password: 'pencils' } })), 'wrong');
  t.equal(end(await talk({ login: undefined })), 'wrong', 'right proof, but the keys are made up');
  t.equal(end(await talk({ client: { password: 'x' }, login: undefined })), 'wrong');
  t.equal(end(await talk({ client: { echo: CLIENT.nonce + CONTEXT.nonce } })), 'done user');
  t.equal(
    end(await talk({ client: { echo: `${CLIENT.nonce}${CONTEXT.nonce}x` } })),
    'wrong',
    'not our nonce',
  );
  t.equal(end(await talk({ client: { extensions: ',x=1,y=a=b' } })), 'done user', 'extensions');
  t.equal(end(await talk({ client: { user: 'a,b=c' } })), 'done a,b=c', 'escapes');
  t.equal(end(await talk({ client: { user: 'I\u00adX' } })), 'done IX', 'prepared');
  t.equal(
    end(await talk({ client: { user: '\ufeffuser' } })),
    'done user',
    'a byte order mark is signed, too',
  );
  t.equal(end(await talk({ client: { user: 'u'.repeat(255) } })), `done ${'u'.repeat(255)}`);
  t.equal(end(await talk({ client: { user: 'u'.repeat(256) } })), 'malformed');
  t.equal(end(await talk({ client: { nonce: 'r'.repeat(CLIENT_NONCE) } })), 'done user');
  t.equal(end(await talk({ client: { nonce: 'r'.repeat(CLIENT_NONCE + 1) } })), 'malformed');
  const broken = { ...(await pencil()), storedKey: Buffer.alloc(20) };
  t.equal(end(await talk({ keys: broken })), 'unavailable', 'keys of another hash');
});

t.test('SCRAM: authorisation identities', async (t) => {
  for (const [gs2, expected] of [
    ['n,a=user,', 'done user'],
    ['y,a=user,', 'done user'],
    ['n,a=us\u00ader,', 'done user'],
    ['n,a=root,', 'wrong'],
    ['n,a=User,', 'wrong'],
    ['n,a=,', 'malformed'],
    ['n,a=us=er,', 'malformed'],
    ['n,a=us=2cer,', 'malformed'],
    ['n,user,', 'malformed'],
    ['n,a=user', 'malformed'],
  ] as const) {
    t.equal(end(await talk({ client: { gs2 } })), expected, gs2);
  }
});

t.test('SCRAM: channel bindings', async (t) => {
  const plus = (gs2: string, binding?: Buffer, context = BOUND): Promise<SaslStep> =>
    talk({ plus: true, context, client: { gs2, ...(binding === undefined ? {} : { binding }) } });
  t.equal(end(await plus('p=tls-exporter,,', EXPORTER)), 'done user');
  t.equal(end(await plus('p=tls-server-end-point,,', END_POINT)), 'done user');
  t.equal(end(await plus('p=tls-exporter,a=user,', EXPORTER)), 'done user');
  t.equal(end(await plus('p=tls-exporter,,', END_POINT)), 'wrong', 'the data of another binding');
  t.equal(end(await plus('p=tls-exporter,,', EXPORTER.subarray(1))), 'wrong', 'too short');
  t.equal(end(await plus('p=tls-exporter,,')), 'wrong', 'missing');
  t.equal(end(await plus('p=tls-unique,,', EXPORTER)), 'wrong', 'a binding that nobody should use');
  t.equal(end(await plus('p=tls-exporter,,', EXPORTER, {})), 'wrong', 'none on this connection');
  t.equal(end(await plus('n,,')), 'malformed', 'PLUS without a binding');
  t.equal(end(await plus('y,,')), 'malformed');
  t.equal(end(await plus('p=,,')), 'malformed');

  const plain = (gs2: string, context = BOUND): Promise<SaslStep> => talk({ context, client: { gs2 } });
  t.equal(end(await plain('n,,')), 'done user', 'a client may know no bindings');
  t.equal(end(await plain('y,,')), 'wrong', 'downgraded: PLUS was on offer, the client did not see it');
  t.equal(end(await plain('y,,', {})), 'done user', 'PLUS was not on offer');
  t.equal(end(await plain('p=tls-exporter,,')), 'malformed', 'a binding without PLUS');
  const swap = (from: string, to: string) => (final: string) =>
    final.replace(Buffer.from(from).toString('base64'), Buffer.from(to).toString('base64'));
  t.equal(
    end(await talk({ client: { gs2: 'n,,' }, spoil: swap('n,,', 'y,,') })),
    'wrong',
    'the header was changed under way',
  );
});

t.test('SCRAM: first messages that are none', async (t) => {
  const start = (message: Buffer | string): string =>
    end(SCRAM_SHA_256.begin(CONTEXT).respond(Buffer.from(message)));
  t.equal(start('n,,n=user,r=abc'), 'keys');
  for (const message of [
    '',
    'n,,',
    'n=user,r=abc',
    'n,,n=user',
    'n,,n=,r=abc',
    'n,,n=user,r=',
    'n,,r=abc,n=user',
    'n,,n=user,r=a\u00e9',
    'n,,n=user,r=a b',
    'n,,n=us=er,r=abc',
    'n,,n=us=2cer,r=abc',
    'n,,n=us\ner,r=abc',
    'n,,n=us\0er,r=abc',
    'n,,m=x,n=user,r=abc',
    'n,,n=user,r=abc,',
    'n,,n=user,r=abc,x',
    'n,,n=user,r=abc,x=',
    'z,,n=user,r=abc',
    'N,,n=user,r=abc',
    ' n,,n=user,r=abc',
  ]) {
    t.equal(start(message), 'malformed', JSON.stringify(message));
  }
  t.equal(start(Buffer.from('n,,n=\xff,r=abc', 'latin1')), 'malformed', 'not UTF-8');
});

t.test('SCRAM: last messages that are none', async (t) => {
  for (const [spoil, expected] of [
    [(final: string) => final.replace(/,p=.*/, ''), 'malformed'],
    [(final: string) => final.replace(/,p=.*/, ',p='), 'malformed'],
    [(final: string) => final.replace(/,p=.*/, ',p=AAAA'), 'malformed'],
    [(final: string) => final.replace(/,p=.*/, `,p=${'A'.repeat(43)}`), 'malformed'],
    [(final: string) => final.replace(/,p=.*/, `,p=${'A'.repeat(43)}=`), 'wrong'],
    [(final: string) => final.replace(',r=', ',r=x'), 'wrong'],
    [(final: string) => final.replace(/,r=[^,]*/, `,r=${CLIENT.nonce}`), 'wrong'],
    [(final: string) => final.replace(/,r=[^,]*/, ''), 'malformed'],
    [(final: string) => final.replace('c=biws', 'c=biw'), 'malformed'],
    [(final: string) => final.replace('c=biws', 'c=eSws'), 'wrong'],
    [(final: string) => final.replace('c=biws,', ''), 'malformed'],
    [(final: string) => final.replace(',p=', ',x=1,p='), 'wrong'],
    [(final: string) => `${final},x=1`, 'malformed'],
    [(final: string) => `${final}\n`, 'malformed'],
    [() => '', 'malformed'],
  ] as const) {
    const step = await talk({ spoil });
    t.equal(end(step), expected, String(spoil));
  }
});

t.test('SCRAM: no done without the whole exchange', async (t) => {
  const keys = await pencil();
  const login = { name: 'user' };
  const opened = (): [SaslExchange, ScramClient, string] => {
    const client = new ScramClient(CLIENT);
    const exchange = SCRAM_SHA_256.begin(CONTEXT);
    exchange.respond(Buffer.from(client.first()));
    return [exchange, client, text(exchange.keys(keys, login))];
  };
  const [early] = opened();
  t.equal(end(early.outcome({ kind: 'ok', login })), 'unavailable', 'nobody asked for a judgement');
  const [twice] = opened();
  t.equal(end(twice.keys(keys, login)), 'unavailable', 'nor for keys again');
  const [late, client, first] = opened();
  t.equal(end(late.respond(Buffer.from(client.final(first)))), 'challenge');
  t.equal(end(late.respond(Buffer.from('x'))), 'malformed', 'the acknowledgement is empty');
  t.equal(end(late.respond(Buffer.alloc(0))), 'unavailable', 'and comes but once');
  const down = SCRAM_SHA_256.begin(CONTEXT);
  down.respond(Buffer.from(new ScramClient(CLIENT).first()));
  t.same(
    down.outcome({ kind: 'unavailable', why: 'the store is busy' }),
    { kind: 'failed', failure: 'unavailable', why: 'the store is busy', user: 'user' },
    'a store that cannot give keys may say so',
  );
  fc.assert(
    fc.property(fc.uint8Array({ maxLength: 200 }), anyText, (any, words) => {
      for (const message of [
        Buffer.from(any),
        Buffer.from(words),
        Buffer.from(`c=biws,r=${words},p=${words}`),
      ]) {
        const [exchange] = opened();
        if (end(exchange.respond(message)).startsWith('done')) return false;
        if (end(exchange.respond(Buffer.alloc(0))).startsWith('done')) return false;
      }
      return true;
    }),
  );
});

t.test('SCRAM: no failure tells a secret', async (t) => {
  let proof = '';
  const step = await talk({
    client: { password: 'hunter2' },
    spoil: (final) => {
      proof = final.replace(/.*,p=/, '');
      return final;
    },
  });
  t.equal(end(step), 'wrong');
  t.notMatch(JSON.stringify(step), /hunter2/);
  t.equal(proof.length, 44);
  t.notOk(JSON.stringify(step).includes(proof));
});
