/** The OAuth store against an issuer that publishes, rotates, lies, hangs and dies. */
import { createHash, createHmac } from 'node:crypto';
import { readFileSync } from 'node:fs';
import path from 'node:path';
import t, { type Test } from 'tap';
import { oauth } from '../../src/app/logins/oauth.js';
import type { LoginTools } from '../../src/app/logins/source.js';
import { readTextFile } from '../../src/app/policy-file.js';
import type { SekishoEvent } from '../../src/base/events.js';
import { secureUrl } from '../../src/identity/stores/json-http.js';
import { type OauthOptions, OauthStore } from '../../src/identity/stores/oauth.js';
import { type ClaimRules, loginOf } from '../../src/identity/stores/oauth-claims.js';
import {
  attempt,
  type Contract,
  credentialStoreContract,
  type Setting,
} from '../contract/credential-store.js';
import { authority, signed } from '../support/certificates.js';
import { Gate } from '../support/gate.js';
import { CLIENT, Issuer, type IssuerKey, makeKey } from '../support/issuer.js';
import { folder } from '../support/process.js';

const INTROSPECTION = {
  url: undefined,
  clientId: CLIENT.id,
  clientSecret: CLIENT.secret,
  tokens: 'all',
  cacheTime: 0,
  cacheSize: 100,
} as const;

const issuerFor = async (t: Test): Promise<Issuer> => {
  const issuer = await Issuer.start();
  t.teardown(() => issuer.stop());
  return issuer;
};

const storeFor = (t: Test, issuer: string, over: Partial<OauthOptions> = {}) => {
  const events: SekishoEvent[] = [];
  const store = new OauthStore({
    issuer,
    jwksUri: undefined,
    audience: ['mail', 'smtp'],
    algorithms: ['ES256', 'RS256', 'PS256'],
    clockTolerance: 30,
    timeout: 20_000,
    keysMaxAge: 600_000,
    keysCooldown: 0,
    nameClaims: ['sub'],
    emailVerified: 'if_given',
    sendersClaim: undefined,
    scopes: [],
    introspection: undefined,
    ca: undefined,
    maxAttempts: 50,
    note: (event) => events.push(event),
    ...over,
  });
  t.teardown(() => store.close());
  const ask = async (token: string, user?: string): Promise<string> => {
    const outcome = await store.verify({ kind: 'token', user, token }, attempt());
    if (outcome.kind !== 'ok' && outcome.why.includes(token)) t.fail('the token is in why');
    return outcome.kind === 'ok' ? `ok ${outcome.login.name}` : `${outcome.kind}: ${outcome.why}`;
  };
  return { store, events, ask };
};

/** The contract: whoever knows an account's password has its token, made beforehand; others have one of a wrong key. */
const contractFor = (name: string, introspect: boolean, impostor: IssuerKey): Contract => {
  const tokens = new Map<string, string>();
  let forged = '';
  const start = async (t: Test, { accounts, inHand, timeout }: Setting) => {
    const issuer = await issuerFor(t);
    const gate = await Gate.start(issuer.port, timeout / 8);
    t.teardown(() => gate.end());
    const direct = issuer.url;
    issuer.url = `http://127.0.0.1:${gate.port}`;
    tokens.clear();
    for (const { user, password, disabled } of accounts) {
      const token = introspect
        ? createHash('sha256').update(password).digest('hex')
        : await issuer.token({ sub: user });
      tokens.set(password, token);
      if (introspect && disabled !== true)
        issuer.tokens.set(token, { sub: user, aud: 'mail', iss: issuer.url });
    }
    forged = await issuer.token({ sub: 'alice@example.org' }, { key: impostor });
    const { store, events } = storeFor(t, issuer.url, {
      timeout,
      maxAttempts: inHand,
      // Keys are asked for each time, so that trouble is noticed at once.
      keysMaxAge: 1,
      introspection: introspect ? INTROSPECTION : undefined,
    });
    const noted = (): string[] => events.map((event) => JSON.stringify(event));
    return { issuer, gate, direct, started: { store, noted, held: () => gate.held } };
  };
  const behind = (mode: Gate['mode']) => async (t: Test, setting: Setting) => {
    const { gate, started } = await start(t, setting);
    const set = (to: Gate['mode']) => (): void => {
      gate.mode = to;
    };
    return { ...started, cause: set(mode), cure: set('pass') };
  };
  const nonsense = Buffer.from([0, 255, 13, 10, 0x30, 0x84, 13, 10, 13, 10]);
  return {
    name,
    start: async (t, setting) => (await start(t, setting)).started,
    proof: (user, password) => ({
      kind: 'token',
      user,
      token: password === '' ? '' : (tokens.get(password) ?? forged),
    }),
    spellings: ['ALICE@example.org', 'Alice@Example.Org'],
    strangers: ['alice', 'alice@example.org.evil.example', 'ａlice@example.org'],
    neverDisabled: !introspect,
    troubles: {
      stopped: async (t, setting) => {
        const { issuer, started } = await start(t, setting);
        return { ...started, cause: () => issuer.stop(), cure: () => issuer.resume() };
      },
      hung: behind('hung'),
      slow: behind('slow'),
      nonsense: behind({ answer: () => nonsense }),
      closing: behind('closing'),
      failing: async (t, setting) => {
        const { issuer, started } = await start(t, setting);
        const paths = ['/keys', '/introspect', '/.well-known/openid-configuration'];
        const cause = (): void => {
          for (const each of paths) issuer.answers.set(each, { status: 503 });
        };
        return { ...started, cause, cure: () => issuer.answers.clear() };
      },
    },
  };
};

t.test('JWTs', async (t) => {
  credentialStoreContract(t, contractFor('oauth with keys', false, await makeKey('first')));
});

t.test('introspection', async (t) => {
  credentialStoreContract(t, contractFor('oauth by introspection', true, await makeKey('first')));
});

const part = (value: unknown): string => Buffer.from(JSON.stringify(value)).toString('base64url');

t.test('which tokens hold', async (t) => {
  const issuer = await issuerFor(t);
  const { ask, events } = storeFor(t, issuer.url);
  const now = Math.floor(Date.now() / 1_000);
  const good = await issuer.token({ sub: 'alice' });
  t.equal(await ask(good), 'ok alice');
  t.equal(await ask(good, 'alice'), 'ok alice');
  t.equal(await ask(good, 'ALICE'), 'ok alice', "the token's spelling");
  t.match(await ask(good, 'bob'), /^wrong: the token is of another user/);
  for (const [what, claims] of [
    ['several audiences', { aud: ['x', 'smtp'] }],
    ['expired within the tolerance', { exp: now - 20 }],
    ['not yet, within the tolerance', { nbf: now + 20 }],
  ] as const)
    t.equal(await ask(await issuer.token({ sub: 'alice', ...claims })), 'ok alice', what);
  for (const [what, claims, why] of [
    ['expired', { exp: now - 60 }, /"exp"/],
    ['not yet', { nbf: now + 60 }, /"nbf"/],
    ['for ever', { exp: undefined }, /"exp"/],
    ['of another issuer', { iss: 'https://evil.example' }, /"iss"/],
    ['for another service', { aud: 'web' }, /"aud"/],
    ['for nobody', { aud: undefined }, /"aud"/],
    ['an ID token', { typ: 'ID' }, /no access token/],
    ['bound to a key', { cnf: { jkt: 'x' } }, /bound to a key/],
    ['without a name', { sub: undefined }, /none of sub/],
    ['with a number for a name', { sub: 7 }, /none of sub/],
    ['with a name that breaks lines', { sub: 'al\nice' }, /no login/],
  ] as const)
    t.match(
      await ask(await issuer.token({ sub: 'alice', ...claims })),
      new RegExp(`^wrong: .*${why.source}`),
      what,
    );
  for (const typ of ['logout+jwt', 'dpop+jwt'])
    t.match(await ask(await issuer.token({ sub: 'alice' }, { header: { typ } })), /^wrong: .*type/, typ);
  for (const typ of ['JWT', 'application/at+jwt', undefined])
    t.equal(await ask(await issuer.token({ sub: 'alice' }, { header: { typ } })), 'ok alice', String(typ));

  const [, payload = '', signature = ''] = good.split('.');
  const [key] = issuer.keys;
  const publicPem = JSON.stringify(key?.jwk);
  const hs = `${part({ alg: 'HS256', kid: 'first' })}.${payload}`;
  const other = await makeKey('other', 'ES384');
  issuer.keys.push(other);
  for (const [what, token] of [
    ['no signature', `${part({ alg: 'none' })}.${payload}.`],
    ['no signature, with a kid', `${part({ alg: 'none', kid: 'first' })}.${payload}.`],
    ['the public key as a secret', `${hs}.${createHmac('sha256', publicPem).update(hs).digest('base64url')}`],
    ['an algorithm that is not on the list', await issuer.token({ sub: 'alice' }, { key: other })],
    [
      'another payload',
      good.replace(payload, part({ iss: issuer.url, aud: 'mail', sub: 'bob', exp: now + 60 })),
    ],
    ['half a signature', good.slice(0, -signature.length / 2)],
    ['another key of the same name', await issuer.token({ sub: 'alice' }, { key: await makeKey('first') })],
    [
      'its own key inside',
      await issuer.token({ sub: 'alice' }, { key: await makeKey('x'), header: { jwk: key?.jwk } }),
    ],
    ['not even JSON', 'abc.def.ghi'],
    ['opaque', 'abcdef'],
    ['two dots', '..'],
  ] as const)
    t.match(await ask(token), /^wrong/, what);
  t.strictSame(events, [], 'none of it is the issuer’s fault');

  const scoped = storeFor(t, issuer.url, { scopes: ['smtp', 'send'], sendersClaim: 'aliases' });
  t.match(
    await scoped.ask(await issuer.token({ sub: 'a', scope: 'smtp' })),
    /^wrong: .*lacks the scope send/,
  );
  t.match(await scoped.ask(await issuer.token({ sub: 'a', scope: 'smtp sender' })), /^wrong: .*scope send/);
  const token = await issuer.token({
    sub: 'a',
    scope: 'openid smtp',
    scp: ['send'],
    aliases: ['a@x', 'b@x', 1],
  });
  t.strictSame(await scoped.store.verify({ kind: 'token', user: undefined, token }, attempt()), {
    kind: 'ok',
    login: { name: 'a', senders: ['a@x', 'b@x'] },
  });
  const none = await scoped.store.verify(
    { kind: 'token', user: undefined, token: await issuer.token({ sub: 'a', scope: 'smtp send' }) },
    attempt(),
  );
  t.strictSame(none, { kind: 'ok', login: { name: 'a', senders: [] } }, 'no claim: no sender');
});

t.test('the name of the login', async (t) => {
  const rules: ClaimRules = {
    nameClaims: ['email', 'preferred_username', 'sub'],
    emailVerified: 'if_given',
    sendersClaim: undefined,
    scopes: [],
  };
  const of = (claims: Record<string, unknown>, over: Partial<ClaimRules> = {}): string => {
    const outcome = loginOf(claims, undefined, { ...rules, ...over });
    return outcome.kind === 'ok' ? outcome.login.name : outcome.why;
  };
  const email = 'a@x.example';
  t.equal(of({ sub: '1', preferred_username: 'a', email }), email);
  t.equal(of({ sub: '1', preferred_username: 'a' }), 'a');
  t.equal(of({ sub: '1' }), '1');
  t.match(
    of({ sub: '1', preferred_username: 'boss@x.example' }),
    /looks like one/,
    'not whoever has that address',
  );
  t.equal(of({ preferred_username: 'a@x.example' }, { nameClaims: ['preferred_username'] }), 'a@x.example');
  t.equal(of({ sub: '1', email: ['x'] }), '1', 'a list is no name');
  t.match(of(JSON.parse('{"__proto__":{"email":"a@x.example"}}')), /none of/);
  for (const verified of [false, 'false', 0, null]) {
    t.match(of({ email, email_verified: verified }), /not verified/);
    t.equal(of({ email, email_verified: verified }, { emailVerified: 'ignore' }), email);
  }
  for (const verified of [true, 'true'])
    t.equal(of({ email, email_verified: verified }, { emailVerified: 'require' }), email);
  t.match(of({ email }, { emailVerified: 'require' }), /does not say/);
});

t.test('keys are rotated, and fetched no more than needed', async (t) => {
  const issuer = await issuerFor(t);
  const { ask } = storeFor(t, issuer.url);
  const old = issuer.keys[0];
  t.equal(await ask(await issuer.token({ sub: 'alice' })), 'ok alice');
  t.equal(await ask(await issuer.token({ sub: 'alice' })), 'ok alice');
  t.equal(issuer.count('/keys'), 1, 'kept');
  t.equal(issuer.count('/.well-known/openid-configuration'), 1);
  issuer.keys = [await makeKey('second', 'RS256')];
  t.equal(await ask(await issuer.token({ sub: 'alice' })), 'ok alice', 'by the new key, at once');
  t.equal(issuer.count('/keys'), 2);
  t.match(
    await ask(await issuer.token({ sub: 'alice' }, { key: old })),
    /^wrong/,
    'the old key is none any more',
  );

  const calm = storeFor(t, issuer.url, { keysCooldown: 600_000 });
  t.equal(await calm.ask(await issuer.token({ sub: 'alice' })), 'ok alice');
  const before = issuer.count('/keys');
  for (let i = 0; i < 10; i += 1)
    t.match(await calm.ask(await issuer.token({}, { header: { kid: `k${i}` } })), /^wrong/);
  t.equal(issuer.count('/keys'), before, 'made-up keys do not make Sekisho ask again and again');

  issuer.keys = [await makeKey('a'), await makeKey('b'), await makeKey('c')];
  const { ask: several } = storeFor(t, issuer.url);
  for (const key of issuer.keys)
    t.equal(
      await several(await issuer.token({ sub: 'alice' }, { key, header: { kid: undefined } })),
      'ok alice',
    );
  const stranger = await issuer.token(
    { sub: 'alice' },
    { key: await makeKey('x'), header: { kid: undefined } },
  );
  t.match(await several(stranger), /^wrong/, 'none of them');
  const expired = await issuer.token(
    { sub: 'alice', exp: 1 },
    { key: issuer.keys[1], header: { kid: undefined } },
  );
  t.match(await several(expired), /^wrong: .*"exp"/);

  await issuer.stop();
  t.equal(
    await several(await issuer.token({ sub: 'alice' })),
    'ok alice',
    'known keys outlast the issuer for a while',
  );
});

t.test('metadata and keys that are not what they should be', async (t) => {
  const issuer = await issuerFor(t);
  const token = await issuer.token({ sub: 'alice' });
  const metadata = '/.well-known/openid-configuration';
  const say = (value: unknown) => ({ body: JSON.stringify(value) });
  for (const [what, at, answer, why] of [
    [
      'another issuer',
      metadata,
      say({ issuer: 'https://evil.example', jwks_uri: `${issuer.url}/keys` }),
      /another issuer/,
    ],
    ['no keys', metadata, say({ issuer: issuer.url }), /no jwks_uri/],
    [
      'keys in clear',
      metadata,
      say({ issuer: issuer.url, jwks_uri: 'http://x.example/k' }),
      /no jwks_uri over https/,
    ],
    ['a list', metadata, say([]), /not a JSON object/],
    ['a redirect', metadata, { status: 302, headers: { location: `${issuer.url}/keys` } }, /status 302/],
    [
      'a redirect for keys',
      '/keys',
      { status: 302, headers: { location: `${issuer.url}/keys` } },
      /status 302/,
    ],
    ['no JSON', '/keys', { body: '<html>' }, /not JSON/],
    ['no key set', '/keys', say({ kyes: [] }), /malformed/],
    ['far too much', '/keys', say({ keys: ['x'.repeat(600_000)] }), /more than 524288/],
  ] as const) {
    issuer.answers.clear();
    issuer.answers.set(at, answer);
    t.match(await storeFor(t, issuer.url).ask(token), new RegExp(`^unavailable: .*${why.source}`), what);
  }
  issuer.answers.clear();
  issuer.answers.set(metadata, { status: 404 });
  issuer.answers.set(
    '/.well-known/oauth-authorization-server',
    say({ issuer: issuer.url, jwks_uri: `${issuer.url}/keys` }),
  );
  t.equal(await storeFor(t, issuer.url).ask(token), 'ok alice', 'by RFC 8414');
  const direct = storeFor(t, issuer.url, { jwksUri: new URL(`${issuer.url}/keys`) });
  t.equal(await direct.ask(token), 'ok alice', 'no discovery where the keys are named');
  for (const url of ['http://x.example', 'ftp://x', 'https://u:p@x.example', 'https://x#y', 'x', ''])
    t.equal(secureUrl(url), undefined, url);
  for (const url of ['https://x.example/a?b', 'http://127.0.0.1:80', 'http://[::1]/', 'http://localhost'])
    t.not(secureUrl(url), undefined, url);
});

t.test('introspection: what it says counts', async (t) => {
  const issuer = await issuerFor(t);
  const now = Math.floor(Date.now() / 1_000);
  const set = (claims: Record<string, unknown>): void => {
    issuer.tokens.set('opaque', { sub: 'alice', aud: 'mail', ...claims });
  };
  const { ask } = storeFor(t, issuer.url, { introspection: INTROSPECTION });
  set({});
  t.equal(await ask('opaque'), 'ok alice');
  for (const [claims, why] of [
    [{ exp: now - 60 }, /expired/],
    [{ exp: 'never' }, /expired/],
    [{ nbf: now + 60 }, /not come/],
    [{ iss: 'https://evil.example' }, /another issuer/],
    [{ aud: 'web' }, /somebody else/],
    [{ aud: undefined }, /somebody else/],
    [{ token_type: 'refresh_token' }, /no bearer token/],
  ] as const) {
    set(claims);
    t.match(await ask('opaque'), new RegExp(`^wrong: .*${why.source}`));
  }
  t.match(await ask('unknown'), /^wrong: .*active/);
  for (const body of ['{}', '[]', 'null', '{"active":"true"}', '{"active":1}']) {
    issuer.answers.set('/introspect', { body });
    t.match(await ask('opaque'), /^unavailable: .*does not say/, body);
  }
  issuer.answers.clear();
  const stranger = storeFor(t, issuer.url, { introspection: { ...INTROSPECTION, clientSecret: 'Not-It' } });
  t.match(await stranger.ask('opaque'), /^unavailable: .*refuses the client mail relay/);
  t.notMatch(JSON.stringify(stranger.events), /Not-It/);
  t.match(stranger.events, [{ type: 'store-error', operation: 'oauth' }]);

  set({});
  const both = storeFor(t, issuer.url, { introspection: { ...INTROSPECTION, tokens: 'opaque' } });
  const asked = issuer.count('/introspect');
  t.equal(await both.ask(await issuer.token({ sub: 'bob' })), 'ok bob', 'a JWT by the keys');
  t.equal(issuer.count('/introspect'), asked);
  t.equal(await both.ask('opaque'), 'ok alice', 'another by asking');
  const all = storeFor(t, issuer.url, { introspection: INTROSPECTION });
  t.match(await all.ask(await issuer.token({ sub: 'bob' })), /^wrong: .*active/, 'a JWT that was revoked');
});

t.test('introspection: what is remembered', async (t) => {
  const issuer = await issuerFor(t);
  const introspection = { ...INTROSPECTION, cacheTime: 600_000, cacheSize: 3 };
  const { ask } = storeFor(t, issuer.url, { introspection, clockTolerance: 600 });
  const name = (i: number): string => `token-${i}`;
  for (let i = 0; i < 4; i += 1) issuer.tokens.set(name(i), { sub: `u${i}`, aud: 'mail' });
  const asks = async (i: number): Promise<number> => {
    const before = issuer.count('/introspect');
    t.equal(await ask(name(i)), `ok u${i}`);
    return issuer.count('/introspect') - before;
  };
  t.strictSame([await asks(0), await asks(0), await asks(1), await asks(2)], [1, 0, 1, 1]);
  t.equal(await asks(0), 0, 'as many as may be');
  t.match(await ask(name(0), 'u1'), /another user/, 'remembered for its own user only');
  t.strictSame([await asks(3), await asks(1), await asks(0)], [1, 0, 1], 'one past it: the oldest went');
  issuer.tokens.set('late', { sub: 'late', aud: 'mail', exp: Math.floor(Date.now() / 1_000) - 5 });
  const before = issuer.count('/introspect');
  t.strictSame([await ask('late'), await ask('late')], ['ok late', 'ok late']);
  t.equal(issuer.count('/introspect') - before, 2, 'never beyond its expiry');
  t.match(await ask('later'), /^wrong/);
  issuer.tokens.set('later', { sub: 'later', aud: 'mail' });
  t.equal(await ask('later'), 'ok later', 'a refusal is not remembered');
});

t.test('an issuer with a certificate of its own', async (t) => {
  const dir = folder(t);
  const ca = authority(dir, 'test-ca');
  const { cert, key } = signed(dir, 'issuer', ca, { subject: '/CN=i', names: 'IP:127.0.0.1' });
  const issuer = await Issuer.start({ cert: readFileSync(cert, 'utf8'), key: readFileSync(key, 'utf8') });
  t.teardown(() => issuer.stop());
  const token = await issuer.token({ sub: 'alice' });
  t.match(await storeFor(t, issuer.url).ask(token), /^unavailable: .*(?:verify|issuer cert|signed)/);
  t.equal(await storeFor(t, issuer.url, { ca: readFileSync(ca.cert, 'utf8') }).ask(token), 'ok alice');
});

t.test('an entry of logins:', async (t) => {
  const issuer = await issuerFor(t);
  const dir = folder(t, { secret: `${CLIENT.secret}\n`, empty: '', 'junk.pem': 'x' });
  const tools: LoginTools = {
    resolve: (file) => path.resolve(dir, file),
    read: readTextFile,
    note: () => {},
    upstream: { host: '127.0.0.1', port: 25 },
  };
  const faultsOf = (entry: Record<string, unknown>): string => {
    const parsed = oauth.schema.safeParse({ oauth: issuer.url, ...entry });
    if (!parsed.success)
      return parsed.error.issues.map(({ path: at, message }) => `${at.join('.')} ${message}`).join();
    return oauth.check(parsed.data, tools).join(' ');
  };
  const introspection = { client_id: CLIENT.id, client_secret_file: 'secret' };
  t.equal(faultsOf({ audience: 'mail' }), '');
  t.equal(faultsOf({ introspection }), '');
  for (const [entry, fault] of [
    [{}, /audience is missing/],
    [{ introspection: { ...introspection, tokens: 'opaque' } }, /audience is missing/],
    [{ audience: 'mail', oauth: 'http://login.example.org' }, /must be an https URL/],
    [{ audience: 'mail', jwks_uri: 'http://login.example.org' }, /jwks_uri .*must be an https URL/],
    [{ introspection: { ...introspection, url: 'x' } }, /introspection.url "x" must be/],
    [
      { introspection: { ...introspection, client_secret_file: 'empty' } },
      /client_secret_file empty: is empty/,
    ],
    [{ introspection: { ...introspection, client_secret_file: 'nowhere' } }, /nowhere: cannot read it/],
    [{ introspection: { ...introspection, client_secret: 'x' } }, /must be a map with client_id/],
    [{ audience: 'mail', ca: 'junk.pem' }, /ca junk.pem: holds no certificate/],
    [{ audience: 'mail', algorithms: ['none'] }, /must be one of RS256/],
    [{ audience: 'mail', algorithms: ['HS256'] }, /must be one of RS256/],
    [{ audience: 'mail', algorithms: [] }, /at least one/],
    [{ audience: [] }, /at least one|or a list/],
    [{ audience: 'mail', clock_tolerance: '5' }, /must be a time/],
    [{ audience: 'mail', email_verified: 'yes' }, /must be require or if_given or ignore/],
  ] as const)
    t.match(faultsOf(entry), fault);
  const ask = async (entry: Record<string, unknown>, token: string) => {
    const store = oauth.create(oauth.schema.parse({ oauth: issuer.url, ...entry }), tools);
    t.teardown(() => store.close());
    return store.verify({ kind: 'token', user: undefined, token }, attempt());
  };
  const token = await issuer.token({ sub: '1', email: 'a@x.example' });
  t.match(await ask({ audience: 'mail' }, token), { kind: 'ok', login: { name: 'a@x.example' } });
  issuer.tokens.set('opaque', { sub: 'alice' });
  t.match(await ask({ introspection }, 'opaque'), { kind: 'ok', login: { name: 'alice' } });
});

t.test('the example has a line for every option', async (t) => {
  const example = readFileSync('deploy/sekisho.yaml', 'utf8');
  for (const key of Object.keys(oauth.schema.shape))
    t.match(example, new RegExp(`^#[ #-]+${key}:`, 'm'), key);
});
