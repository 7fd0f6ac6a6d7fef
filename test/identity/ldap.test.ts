/** The LDAP store against OpenLDAP's own server. */
import { readFileSync } from 'node:fs';
import net from 'node:net';
import path from 'node:path';
import tls from 'node:tls';
import { hash } from '@node-rs/argon2';
import fc from 'fast-check';
import t, { type Test } from 'tap';
import { ldap } from '../../src/app/logins/ldap.js';
import type { LoginTools } from '../../src/app/logins/source.js';
import { readTextFile } from '../../src/app/policy-file.js';
import type { SekishoEvent } from '../../src/base/events.js';
import { type LdapOptions, type LdapSearch, LdapStore } from '../../src/identity/stores/ldap.js';
import { FrameWatch, parseLdapUrl } from '../../src/identity/stores/ldap-connection.js';
import {
  comparedAttribute,
  dnFor,
  dnTemplateFault,
  escapeDn,
  filterFault,
  filterFor,
} from '../../src/identity/stores/ldap-names.js';
import {
  attempt,
  credentialStoreContract,
  type Setting,
  type Started,
} from '../contract/credential-store.js';
import { authority, signed } from '../support/certificates.js';
import { Gate } from '../support/gate.js';
import { noPackages } from '../support/packages.js';
import { folder } from '../support/process.js';
import { eventually } from '../support/sekisho.js';
import { BASE, PEOPLE, READER, Slapd, type SlapdSetting } from '../support/slapd.js';

const skip = noPackages() ?? false;

const SEARCH: LdapSearch = {
  kind: 'search',
  account: READER,
  base: PEOPLE,
  filter: '(uid={user})',
  scope: 'sub',
};

const serverOf = (url: string, startTls = false) => {
  const server = parseLdapUrl(url, startTls);
  if (server === undefined) throw new Error(`no URL: ${url}`);
  return server;
};

interface House {
  readonly store: LdapStore;
  readonly events: SekishoEvent[];
}

const storeFor = (
  t: Test,
  urls: readonly string[],
  over: Partial<LdapOptions> = {},
  startTls = false,
): House => {
  const events: SekishoEvent[] = [];
  const store = new LdapStore({
    servers: urls.map((url) => serverOf(url, startTls)),
    tls: { ca: undefined, serverName: undefined },
    find: SEARCH,
    nameAttribute: 'uid',
    sendersAttribute: undefined,
    timeout: 20_000,
    maxAttempts: 50,
    note: (event) => events.push(event),
    ...over,
  });
  t.teardown(() => store.close());
  return { store, events };
};

const slapdFor = async (t: Test, setting: SlapdSetting): Promise<Slapd> => {
  const slapd = await Slapd.start(setting);
  t.teardown(() => slapd.end());
  return slapd;
};

const ask = async (store: LdapStore, user: string, password: string): Promise<string> => {
  const outcome = await store.verify({ kind: 'password', user, password }, attempt());
  return outcome.kind === 'ok' ? `ok ${outcome.login.name}` : `${outcome.kind}: ${outcome.why}`;
};

/** A slapd with the contract's accounts behind a gate. */
const start = async (t: Test, { accounts, inHand, timeout }: Setting) => {
  const slapd = await slapdFor(t, {
    people: accounts.map(({ user, password, disabled }) => ({
      uid: user,
      password,
      ...(disabled === true ? { disabled } : {}),
    })),
  });
  const gate = await Gate.start(slapd.port, timeout / 8);
  t.teardown(() => gate.end());
  const { store, events } = storeFor(t, [`ldap://127.0.0.1:${gate.port}`], { timeout, maxAttempts: inHand });
  const noted = (): string[] => events.map((event) => JSON.stringify(event));
  return { slapd, gate, started: { store, noted, held: () => gate.held } satisfies Started };
};

/** A reply with `busy` (51) to whatever the message asked. */
const busy = (asked: Buffer): Buffer => {
  const operation = asked[5] === 0x60 ? 0x61 : 0x65;
  return Buffer.from([0x30, 12, 2, 1, asked[4] ?? 0, operation, 7, 0x0a, 1, 51, 4, 0, 4, 0]);
};

const behind = (mode: Gate['mode']) => async (t: Test, setting: Setting) => {
  const { gate, started } = await start(t, setting);
  const set = (to: Gate['mode']) => (): void => {
    gate.mode = to;
  };
  return { ...started, cause: set(mode), cure: set('pass') };
};

t.test('a directory of its own', { skip }, async (t) => {
  credentialStoreContract(t, {
    name: 'ldap',
    start: async (t, setting) => (await start(t, setting)).started,
    spellings: ['ALICE@example.org', ' alice@example.org ', 'Alice@Example.Org'],
    strangers: ['alice', '*', 'alice@example.org)(uid=*', 'alice@example.*'],
    troubles: {
      stopped: async (t, setting) => {
        const { slapd, started } = await start(t, setting);
        return { ...started, cause: () => slapd.stop(), cure: () => slapd.resume() };
      },
      hung: async (t, setting) => {
        const { slapd, started } = await start(t, setting);
        return { ...started, cause: () => slapd.signal('SIGSTOP'), cure: () => slapd.signal('SIGCONT') };
      },
      slow: behind('slow'),
      nonsense: behind({ answer: () => Buffer.from('HTTP/1.1 400 Bad Request\r\n\r\n') }),
      closing: behind('closing'),
      failing: behind({ answer: busy }),
    },
  });
});

t.test('names never become syntax', async (t) => {
  for (const user of ['*', ')(uid=*', 'a*b', '\\2a', 'x)(|(uid=*', '(', ')', '\\']) {
    const filter = filterFor('(uid={user})', user);
    t.match(filter, /^\(uid=[^()*]*\)$/, user);
  }
  t.equal(filterFor('(|(uid={user})(mail={user}))', '$&'), '(|(uid=$&)(mail=$&))', 'no replacement patterns');
  t.equal(escapeDn('a,b=c+d"e\\f<g>h;i#j k'), 'a\\2cb\\3dc\\2bd\\22e\\5cf\\3cg\\3eh\\3bi\\23j\\20k');
  t.equal(dnFor('uid={user},dc=x', 'ü@x.example'), 'uid=ü@x.example,dc=x');
  fc.assert(
    fc.property(fc.string({ unit: 'binary' }), (user) => {
      const value = escapeDn(user);
      return /^(?:[A-Za-z0-9._@-]|\\[0-9a-f]{2}|[^\u0000-\u007f])*$/.test(value);
    }),
  );
  t.equal(filterFault('(uid={user})'), undefined);
  t.equal(filterFault('(&(objectClass=person)(|(uid={user})(mail={user})))'), undefined);
  t.match(filterFault('(uid=alice)'), /must have \{user\}/);
  for (const bad of ['(uid={user}', '(&(uid={user})', '{user}', '(uid={user}))', 'uid {user}'])
    t.match(filterFault(bad), /is not an LDAP filter/, bad);
  t.equal(dnTemplateFault('uid={user},ou=people,dc=example,dc=org'), undefined);
  for (const bad of ['uid=alice,dc=x', '{user}', '{user}@corp.example', 'uid={user},,dc=x'])
    t.match(dnTemplateFault(bad), /must be a DN with \{user\}/, bad);
  t.equal(comparedAttribute('(&(objectClass=person)(|(mail={user})(uid={user})))'), 'mail');
  t.equal(comparedAttribute('uid={user},dc=x'), 'uid');
  t.equal(comparedAttribute('(uid=x{user})'), undefined);
});

t.test('URLs', async (t) => {
  const of = (url: string, startTls = true) => {
    const server = parseLdapUrl(url, startTls);
    return server === undefined ? undefined : [server.host, server.port, server.security].join(' ');
  };
  t.equal(of('ldap://dir.example.org'), 'dir.example.org 389 starttls');
  t.equal(of('ldap://dir.example.org', false), 'dir.example.org 389 none');
  t.equal(of('ldaps://dir.example.org/'), 'dir.example.org 636 ldaps');
  t.equal(of('LDAPS://[2001:db8::1]:6360'), '2001:db8::1 6360 ldaps');
  for (const bad of [
    'http://x',
    'ldap://',
    'ldap://x:0',
    'ldap://x:65536',
    'ldap://x/dc=x',
    'ldapi:///',
    'x',
  ])
    t.equal(of(bad), undefined, bad);
});

t.test('what comes in is followed and bounded', async (t) => {
  const message = (size: number): Buffer =>
    Buffer.concat([
      Buffer.from([0x30, 0x84, 0, ...[16, 8, 0].map((by) => (size >> by) & 255)]),
      Buffer.alloc(size),
    ]);
  const all = Buffer.concat([busy(Buffer.alloc(6)), message(262_144), message(0), message(300)]);
  for (const size of [1, 2, 3, 7, 1_000, all.length]) {
    const watch = new FrameWatch();
    for (let at = 0; at < all.length; at += size)
      if (watch.feed(all.subarray(at, at + size)) !== undefined) t.fail(`at ${at} of pieces of ${size}`);
  }
  t.match(new FrameWatch().feed(message(262_145)), /more than 262144/);
  t.match(new FrameWatch().feed(Buffer.from('220 mail')), /not speak LDAP/);
  t.match(new FrameWatch().feed(Buffer.from([0x30, 0x80])), /not speak LDAP/);
  t.match(new FrameWatch().feed(Buffer.from([0x30, 0x85])), /not speak LDAP/);
});

const ALICE = {
  uid: 'alice',
  password: 'Correct-Horse-7',
  mail: ['alice@example.org', 'a.smith@example.org'],
};

t.test('names, senders, two entries, none, no password', { skip }, async (t) => {
  const slapd = await slapdFor(t, {
    people: [
      ALICE,
      { uid: ['zed', 'bob'], password: 'Bob-Secret-2' },
      { uid: ['twin', 'twin1'], password: 'Twin-Secret-3' },
      { uid: ['twin', 'twin2'], password: 'Twin-Secret-3' },
      { uid: 'keyless' },
    ],
  });
  const by = (over: Partial<LdapOptions>): House => storeFor(t, [slapd.url], over);
  const { store, events } = by({ sendersAttribute: 'MAIL' });
  const outcome = await store.verify(
    { kind: 'password', user: 'Alice', password: ALICE.password },
    attempt(),
  );
  t.strictSame(outcome, {
    kind: 'ok',
    login: { name: 'alice', senders: ['a.smith@example.org', 'alice@example.org'] },
  });
  t.strictSame(
    await store.verify({ kind: 'password', user: 'zed', password: 'Bob-Secret-2' }, attempt()),
    { kind: 'ok', login: { name: 'bob', senders: [] } },
    'several names are one login, and no address means none',
  );
  t.match(await ask(store, 'twin', 'Twin-Secret-3'), /^wrong: more than one entry/);
  t.match(events, [{ type: 'warning', text: /more than one entry matches the user "twin"/ }]);
  t.equal(await ask(store, 'twin1', 'Twin-Secret-3'), 'ok twin');
  t.match(await ask(store, 'keyless', 'Whatever-1'), /^wrong/);
  for (const password of ['', '\0'])
    t.match(await ask(store, 'keyless', password), /^wrong/, 'no bind without a password');

  const mail = by({ find: { ...SEARCH, filter: '(|(uid={user})(mail={user}))' }, nameAttribute: 'mail' });
  t.equal(await ask(mail.store, 'A.Smith@example.org', ALICE.password), 'ok a.smith@example.org');
  t.match(await ask(mail.store, 'bob', 'Bob-Secret-2'), /^wrong: .*shows no usable mail/);
  t.match(mail.events, [{ type: 'warning', text: /name_attribute/ }]);
  const deep = by({ find: { ...SEARCH, base: BASE, scope: 'one' } });
  t.match(await ask(deep.store, 'alice', ALICE.password), /^wrong/, 'scope one does not look deeper');
  for (const [what, find, why] of [
    [
      'a base that is not there',
      { ...SEARCH, base: `ou=nowhere,${BASE}` },
      /base ou=nowhere.* does not exist/,
    ],
    ['our own password', { ...SEARCH, account: { ...READER, password: 'No' } }, /cannot bind as cn=reader/],
  ] as const)
    t.match(
      await ask(by({ find }).store, 'alice', ALICE.password),
      new RegExp(`^unavailable: .*${why.source}`),
      what,
    );
});

t.test('directly by a DN', { skip }, async (t) => {
  const evil = 'eve,ou=people';
  const slapd = await slapdFor(t, {
    people: [
      { ...ALICE, dn: `uid=alice,${PEOPLE}` },
      { uid: evil, password: 'Eve-Secret-4', dn: `uid=${escapeDn(evil)},${PEOPLE}` },
      { uid: 'hidden', password: 'Hidden-Secret-5', dn: `uid=hidden,${PEOPLE}` },
    ],
    lines: '',
  });
  const { store } = storeFor(t, [slapd.url], {
    find: { kind: 'template', dn: `uid={user},${PEOPLE}` },
    sendersAttribute: 'mail',
  });
  t.equal(await ask(store, 'ALICE', ALICE.password), 'ok alice', "the entry's own spelling");
  t.equal(await ask(store, evil, 'Eve-Secret-4'), `ok ${evil}`);
  t.match(await ask(store, 'alice', 'No'), /^wrong/);
  for (const user of ['*', `alice,${PEOPLE}`, 'alice+cn=p0', 'alice\\', 'nobody', '#00', '\ud83d\ude00', ' '])
    t.match(await ask(store, user, ALICE.password), /^wrong/, user);
});

t.test('StartTLS and ldaps, verified', { skip }, async (t) => {
  const dir = folder(t);
  const ca = authority(dir, 'test-ca');
  const other = authority(dir, 'other-ca');
  const names = 'DNS:ldap.example.test,IP:127.0.0.1';
  const pair = signed(dir, 'ldap', ca, { subject: '/CN=ldap.example.test', names });
  const slapd = await slapdFor(t, {
    people: [ALICE],
    tls: { ...pair, ca: ca.cert },
    lines: 'security tls=1',
  });
  const secure = `ldaps://127.0.0.1:${slapd.securePort}`;
  const [pem, wrongPem] = [ca, other].map(({ cert }) => readFileSync(cert, 'utf8'));
  const how = (url: string, secure: Partial<LdapOptions['tls']>, startTls = true): Promise<string> => {
    const { store } = storeFor(t, [url], { tls: { ca: pem, serverName: undefined, ...secure } }, startTls);
    return ask(store, 'alice', ALICE.password);
  };
  for (const url of [slapd.url, secure]) {
    t.equal(await how(url, {}), 'ok alice', url);
    t.equal(await how(url, { serverName: 'ldap.example.test' }), 'ok alice', `${url} by name`);
    t.match(
      await how(url, { serverName: 'evil.example.test' }),
      /^unavailable: .*altnames/,
      `${url} another name`,
    );
    t.match(
      await how(url, { ca: wrongPem }),
      /^unavailable: .*(?:verify|issuer|signed)/,
      `${url} another CA`,
    );
    t.match(
      await how(url, { ca: undefined }),
      /^unavailable: .*(?:verify|issuer|signed)/,
      `${url} the system's`,
    );
  }
  t.match(await how(slapd.url, {}, false), /^unavailable/, 'no password in clear where the server wants TLS');
  const plain = await slapdFor(t, { people: [ALICE] });
  t.match(
    await how(plain.url, {}),
    /^unavailable: .*refuses StartTLS/,
    'never without TLS when it is asked for',
  );
});

t.test('nothing said before the handshake counts after it', async (t) => {
  // Half a "bind succeeded" behind the reply to StartTLS, for the server's own answer to complete.
  const reply = (id: number) => Buffer.from([0x30, 12, 2, 1, id, 0x78, 7, 0x0a, 1, 0, 4, 0, 4, 0]);
  const half = Buffer.from([0x30, 26, 2, 1, 2, 0x61, 21, 0x0a, 1, 0, 4, 0, 4, 14]);
  const refused = Buffer.from([0x30, 12, 2, 1, 2, 0x61, 7, 0x0a, 1, 49, 4, 0, 4, 0]);
  const dir = folder(t);
  const ca = authority(dir, 'test-ca');
  const { cert, key } = signed(dir, 'ldap', ca, { subject: '/CN=l', names: 'IP:127.0.0.1' });
  const material = { cert: readFileSync(cert), key: readFileSync(key) };
  const server = net.createServer((raw) => {
    raw.on('error', () => {});
    raw.once('data', (asked) => {
      raw.write(Buffer.concat([reply(asked[4] ?? 0), half]));
      const secure = new tls.TLSSocket(raw, { isServer: true, ...material });
      secure.on('error', () => {});
      secure.on('data', () => secure.write(refused));
    });
  });
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  t.teardown(() => server.close());
  const { port } = server.address() as net.AddressInfo;
  const { store } = storeFor(
    t,
    [`ldap://127.0.0.1:${port}`],
    {
      find: { kind: 'template', dn: `uid={user},${PEOPLE}` },
      tls: { ca: readFileSync(ca.cert, 'utf8'), serverName: undefined },
    },
    true,
  );
  t.match(await ask(store, 'alice', 'No'), /^wrong: .*result 49/);
});

t.test('several servers, and search connections that go away', { skip }, async (t) => {
  const [first, second] = [await slapdFor(t, { people: [ALICE] }), await slapdFor(t, { people: [ALICE] })];
  const gate = await Gate.start(first.port);
  t.teardown(() => gate.end());
  const { store, events } = storeFor(t, [`ldap://127.0.0.1:${gate.port}`, second.url], { timeout: 4_000 });
  t.equal(await ask(store, 'alice', ALICE.password), 'ok alice');
  t.equal(gate.count, 2, 'one connection for searches, one for the bind');
  t.equal(await ask(store, 'alice', ALICE.password), 'ok alice');
  t.equal(gate.count, 3, 'the search connection is kept, the bind has its own');
  await first.stop();
  await first.resume();
  t.equal(await ask(store, 'alice', ALICE.password), 'ok alice', 'after a restart nobody notices');
  await eventually('only the search connection is held, of the first server', () => gate.held === 1);
  first.signal('SIGSTOP');
  t.equal(await ask(store, 'alice', ALICE.password), 'ok alice', 'the second answers when the first hangs');
  t.match(events.at(-1), { type: 'store-error', operation: 'ldap', why: /no answer within/ });
  const asked = gate.count;
  t.equal(await ask(store, 'alice', ALICE.password), 'ok alice');
  t.equal(gate.count, asked, 'and alone for a while');
  first.signal('SIGCONT');
  await second.stop();
  t.equal(await ask(store, 'alice', ALICE.password), 'ok alice', 'back to the first');
});

t.test('an unknown user takes as long as a wrong password', { skip }, async (t) => {
  const costly = await hash('Costly-Secret-6', { memoryCost: 16_384, timeCost: 3 });
  const slapd = await slapdFor(t, { people: [{ uid: 'costly', stored: `{ARGON2}${costly}` }] });
  const { store } = storeFor(t, [slapd.url]);
  t.equal(await ask(store, 'costly', 'Costly-Secret-6'), 'ok costly');
  // In turn, and the best of many: the machine may be busy with other things.
  const best = { costly: Number.POSITIVE_INFINITY, nobody: Number.POSITIVE_INFINITY };
  for (let i = 0; i < 15; i += 1) {
    for (const user of ['costly', 'nobody'] as const) {
      const since = performance.now();
      t.match(await ask(store, user, 'Not-This'), /^wrong/);
      best[user] = Math.min(best[user], performance.now() - since);
    }
  }
  const ratio = best.nobody / best.costly;
  t.ok(ratio > 0.5 && ratio < 2, `unknown ÷ known is ${ratio.toFixed(2)}`);
});

t.test('an entry of logins:', { skip }, async (t) => {
  const slapd = await slapdFor(t, { people: [ALICE] });
  const dir = folder(t, {
    secret: `${READER.password}\n`,
    empty: '\n',
    two: 'a\nb\n',
    'junk.pem': 'no certificate',
  });
  const events: SekishoEvent[] = [];
  const tools: LoginTools = {
    resolve: (file) => path.resolve(dir, file),
    read: readTextFile,
    note: (event) => events.push(event),
    upstream: { host: '127.0.0.1', port: 25 },
  };
  const faultsOf = (entry: Record<string, unknown>): string => {
    const parsed = ldap.schema.safeParse({ ldap: slapd.url, ...entry });
    if (!parsed.success)
      return parsed.error.issues.map(({ path: at, message }) => `${at.join('.')} ${message}`).join();
    return ldap.check(parsed.data, tools).join(' ');
  };
  const search = { base: PEOPLE, bind_dn: READER.dn, bind_password_file: 'secret' };
  t.equal(faultsOf(search), '');
  t.equal(faultsOf({ ...search, bind_dn: 'reader@corp.example' }), '');
  t.equal(faultsOf({ dn_template: `uid={user},${PEOPLE}` }), '');
  for (const [entry, fault] of [
    [{}, /base is missing/],
    [{ base: 'people' }, /base "people" is not a DN/],
    [{ ...search, ldap: 'http://x' }, /"http:\/\/x" is not a URL of a directory/],
    [{ ...search, ldap: [] }, /at least one URL/],
    [{ ...search, filter: '(uid=x)' }, /filter must have \{user\}/],
    [{ ...search, filter: '(uid=x{user})' }, /name_attribute is missing/],
    [{ ...search, bind_dn: undefined }, /belong together/],
    [{ ...search, bind_dn: 'reader' }, /bind_dn "reader" is not a DN/],
    [{ ...search, bind_password_file: 'nowhere' }, /bind_password_file nowhere: cannot read it/],
    [{ ...search, bind_password_file: 'empty' }, /empty: is empty/],
    [{ ...search, bind_password_file: 'two' }, /two: must be one line/],
    [{ ...search, ca: 'junk.pem' }, /ca junk.pem: holds no certificate/],
    [{ ...search, ca: 'nowhere' }, /ca nowhere: cannot read it/],
    [{ ...search, dn_template: 'uid={user},dc=x' }, /base is for a search and dn_template for none/],
    [{ dn_template: '{user}' }, /dn_template must be a DN with \{user\}/],
    [{ ...search, timeout: '5' }, /timeout must be a time/],
    [{ ...search, max_attempts: 0 }, /max_attempts must be a whole number from 1/],
    [{ ...search, scope: 'all' }, /scope must be sub or one or base/],
    [{ ...search, bind_password: 'x' }, /must be a map with ldap/],
  ] as const)
    t.match(faultsOf(entry), fault);
  const store = ldap.create({ ldap: [slapd.url], ...search, senders_attribute: 'mail' }, tools);
  t.teardown(() => store.close());
  t.match(await store.verify({ kind: 'password', user: 'ALICE', password: ALICE.password }, attempt()), {
    kind: 'ok',
    login: { name: 'alice', senders: ['a.smith@example.org', 'alice@example.org'] },
  });
  t.strictSame(events, [], 'this host itself needs no TLS');
  await ldap.create({ ldap: 'ldap://dir.example', starttls: false, ...search }, tools).close();
  t.match(events, [{ type: 'warning', text: /clear text/ }]);
});

t.test('the example has a line for every option', async (t) => {
  const example = readFileSync('deploy/sekisho.yaml', 'utf8');
  for (const key of Object.keys(ldap.schema.shape)) t.match(example, new RegExp(`^#[ #-]+${key}:`, 'm'), key);
});
