/** The POP3 and IMAP proxy in front of a real Dovecot, with real clients, and in front of servers that misbehave. */
import { execFile } from 'node:child_process';
import { chmodSync, mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import net from 'node:net';
import path from 'node:path';
import t, { type Test } from 'tap';
import type { SekishoEvent } from '../../src/base/events.js';
import { IpSet } from '../../src/base/ip.js';
import { readMaterial, TlsKeeper } from '../../src/proxy/tls.js';
import { secureUpstream } from '../../src/proxy/upstream-tls.js';
import { Windows } from '../../src/windows/keeper.js';
import {
  DEFAULT_MAIL_LIMITS,
  DEFAULT_MAIL_TIMEOUTS,
  DEFAULT_MAIL_TRUST,
  type LoginThrottle,
  type MailProtocol,
  type MailProxyOptions,
  type MailServer,
  type MailServerTrust,
} from '../../src/windows/sources/mail-options.js';
import { MailProxy } from '../../src/windows/sources/mail-proxy.js';
import { MemoryStore } from '../../src/windows/stores/memory.js';
import { certify } from '../support/certificate.js';
import { Dovecot } from '../support/dovecot.js';
import { overheardPort } from '../support/overheard.js';
import { freePort, install, noPackages } from '../support/packages.js';
import { folder, SekishoProcess } from '../support/process.js';
import { eventually } from '../support/sekisho.js';
import { Sendmail } from '../support/sendmail.js';

const run = (
  file: string,
  args: readonly string[],
  env: NodeJS.ProcessEnv = process.env,
): Promise<{ code: number; out: string }> =>
  new Promise((resolve) => {
    const child = execFile(file, args, { env, timeout: 180_000 }, (error, stdout, stderr) => {
      resolve({ code: error === null ? 0 : Number(error.code ?? 1), out: stdout + stderr });
    });
    child.stdin?.end();
  });

const OURS = certify(['localhost'], ['127.0.0.1']);

interface House {
  readonly proxy: MailProxy;
  readonly events: SekishoEvent[];
  readonly ports: Readonly<Record<string, number>>;
  readonly throttled: string[];
  /** Logins with a window at 127.0.0.1. */
  windows(): Promise<string[]>;
  of<T extends SekishoEvent['type']>(type: T): Extract<SekishoEvent, { type: T }>[];
  stop(): Promise<void>;
}

interface Wish extends Partial<Omit<MailProxyOptions, 'server' | 'timeouts'>> {
  readonly protocol: MailProtocol;
  readonly server: Partial<Omit<MailServer, 'trust'>> & {
    readonly port: number;
    readonly trust?: Partial<MailServerTrust>;
  };
  readonly timeouts?: Partial<MailProxyOptions['timeouts']>;
}

const OPEN_THROTTLE: LoginThrottle = {
  refusal: () => Promise.resolve(undefined),
  failed: () => Promise.resolve(0),
  succeeded: () => Promise.resolve(),
};

const house = async (
  t: Test,
  wishes: readonly Wish[],
  { length = 900_000, throttle = OPEN_THROTTLE } = {},
): Promise<House> => {
  const events: SekishoEvent[] = [];
  const note = (event: SekishoEvent): void => void events.push(event);
  const store = new MemoryStore();
  const rules = { length, budget: 0, mostLogins: 10, shared: IpSet.of([]) };
  const windows = new Windows(store, rules, note, Date.now);
  const material = readMaterial(OURS.cert, OURS.key);
  if (!material.ok) throw new Error(material.error);
  const keeper = new TlsKeeper([material.value]);
  const proxy = new MailProxy(
    wishes.map(({ server, timeouts, ...rest }, i) => ({
      name: `mail${i}`,
      host: '127.0.0.1',
      port: 0,
      tls: 'none',
      tlsFloor: '1.2',
      requireTls: false,
      proxyProtocol: 'none',
      limits: DEFAULT_MAIL_LIMITS,
      ...rest,
      server: {
        host: '127.0.0.1',
        tls: 'none',
        ...server,
        trust: { ...DEFAULT_MAIL_TRUST, ...server.trust },
      },
      timeouts: { ...DEFAULT_MAIL_TIMEOUTS, ...timeouts },
    })),
    {
      note,
      wrap: (socket, tlsFloor, done) =>
        keeper.wrap(socket, { tls: 'implicit', tlsFloor, clientCerts: 'none' }, () => done()),
      secure: (socket, { host, tls, trust }, done) =>
        secureUpstream(socket, host, { ...trust, mode: tls === 'implicit' ? 'implicit' : 'required' }, done),
      open: (login, ip, source) => windows.open(login, ip, source),
      windowLength: length,
      throttle,
    },
  );
  const listening = await proxy.start();
  const made: House = {
    proxy,
    events,
    ports: Object.fromEntries(listening.map(({ listener, port }) => [listener, port])),
    throttled: [],
    windows: async () => ((await windows.list(100)) ?? []).map(({ login, source }) => `${login} ${source}`),
    of: (type) => events.filter((event) => event.type === type) as never,
    stop: () => proxy.stop(),
  };
  t.teardown(async () => {
    await proxy.stop();
    await store.dispose();
  });
  return made;
};

/** A client that says what it is told and keeps what it hears. */
class Raw {
  heard = '';
  closed = false;
  constructor(readonly socket: net.Socket) {
    socket.on('data', (chunk) => {
      this.heard += chunk.toString('latin1');
    });
    for (const end of ['end', 'close', 'error']) socket.on(end, () => (this.closed = true));
  }
  static connect(port: number, from = '127.0.0.1'): Raw {
    return new Raw(net.connect({ host: '127.0.0.1', port, localAddress: from, allowHalfOpen: true }));
  }
  say(text: string): void {
    this.socket.write(text, 'latin1');
  }
  hears(what: RegExp): Promise<void> {
    return eventually(`${what} in ${JSON.stringify(this.heard)}`, () => what.test(this.heard));
  }
  ends(): Promise<void> {
    return eventually('the end', () => this.closed);
  }
}

/** A server that is told what to do with each connection. */
const serve = async (t: Test, on: (socket: net.Socket) => void): Promise<number> => {
  const sockets = new Set<net.Socket>();
  const server = net.createServer({ allowHalfOpen: true }, (socket) => {
    sockets.add(socket);
    socket.on('error', () => {});
    on(socket);
  });
  await new Promise<void>((resolve) => server.listen({ port: 0, host: '127.0.0.1' }, resolve));
  t.teardown(() => {
    for (const socket of sockets) socket.destroy();
    server.close();
  });
  const address = server.address();
  return typeof address === 'object' && address !== null ? address.port : 0;
};

/** Answers every line as `answer` says. */
const scripted = (t: Test, greeting: string, answer: (line: string) => string): Promise<number> =>
  serve(t, (socket) => {
    socket.write(greeting);
    let held = '';
    socket.on('data', (chunk) => {
      held += chunk.toString('latin1');
      for (let at = held.indexOf('\r\n'); at >= 0; at = held.indexOf('\r\n')) {
        const said = answer(held.slice(0, at));
        held = held.slice(at + 2);
        if (said !== '') socket.write(said);
      }
    });
    socket.on('end', () => socket.end());
  });

const pop3 = (password: string) => (line: string) => {
  if (line.startsWith('PASS')) return line === `PASS ${password}` ? '+OK in\r\n' : '-ERR no\r\n';
  return '+OK\r\n';
};

const skip = noPackages();

t.test('every login that python knows, over every kind of connection', { skip: skip ?? false }, async (t) => {
  const dovecot = await Dovecot.start({
    users: ['bob', 'b+o', 'böb'].map((user) => ({ user, password: 'p{5}w "x\\y' })),
    mechanisms: 'plain login cram-md5 scram-sha-256 scram-sha-1 apop',
  });
  t.teardown(() => dovecot.stop());
  const all: Wish[] = [
    { protocol: 'pop3', tls: 'starttls', server: { port: dovecot.ports.pop3 } },
    { protocol: 'pop3', tls: 'implicit', server: { port: dovecot.ports.pop3 } },
    { protocol: 'imap', tls: 'starttls', server: { port: dovecot.ports.imap } },
    { protocol: 'imap', tls: 'implicit', server: { port: dovecot.ports.imap } },
  ];
  const { ports, of, windows, proxy } = await house(t, all);
  const script = `
import base64, imaplib, poplib, ssl, sys
context = ssl._create_unverified_context()
PW = 'p{5}w "x\\\\y'
pop, pops, imap, imaps = map(int, sys.argv[1:5])
def pop3(how, login):
    c = poplib.POP3_SSL('127.0.0.1', pops, context=context) if how == 'implicit' else poplib.POP3('127.0.0.1', pop)
    if how == 'starttls':
        assert 'STLS' in c.capa(); c.stls(context); assert 'STLS' not in c.capa()
    login(c); c.stat(); c.noop(); c.quit()
def userpass(user):
    def go(c): c.user(user); c.pass_(PW)
    return go
def plain_ir(c): c._shortcmd('AUTH PLAIN ' + base64.b64encode(b'\\0bob\\0' + PW.encode()).decode())
def plain(c):
    c._putcmd('AUTH PLAIN'); assert c._getline()[0].startswith(b'+ '[:1]); c._shortcmd(base64.b64encode(b'\\0bob\\0' + PW.encode()).decode())
def login(c):
    c._putcmd('AUTH LOGIN'); c._getline(); c._putcmd(base64.b64encode(b'bob').decode()); c._getline()
    c._shortcmd(base64.b64encode(PW.encode()).decode())
def imap4(how, login):
    c = imaplib.IMAP4_SSL('127.0.0.1', imaps, ssl_context=context) if how == 'implicit' else imaplib.IMAP4('127.0.0.1', imap)
    if how == 'starttls':
        assert 'STARTTLS' in c.capabilities; c.starttls(context); assert 'STARTTLS' not in c.capabilities
    login(c); c.select(); c.noop(); c.logout()
def quoted(s): return '"' + s.replace('\\\\', '\\\\\\\\').replace('"', '\\\\"') + '"'
def utf8(c):
    c._encoding = 'utf-8'; c.login('böb', PW)
def literal(c):
    c.literal = PW.encode(); typ, dat = c._simple_command('LOGIN', 'bob'); assert typ == 'OK'; c.state = 'AUTH'
for how in ('plain', 'starttls', 'implicit'):
    for name, go in (('user', userpass('bob')), ('odd', userpass('b+o')), ('apop', lambda c: c.apop('bob', PW)),
                     ('plain-ir', plain_ir), ('plain', plain), ('login', login)):
        pop3(how, go); print('pop3', how, name, 'ok')
    for name, go in (('login', lambda c: c.login('bob', PW)), ('odd', lambda c: c.login(quoted('b+o'), PW)), ('utf8', utf8), ('literal', literal),
                     ('cram', lambda c: c.login_cram_md5('bob', PW)),
                     ('plain', lambda c: c.authenticate('PLAIN', lambda _: b'\\0bob\\0' + PW.encode()))):
        imap4(how, go); print('imap', how, name, 'ok')
`;
  const places = ['mail0', 'mail1', 'mail2', 'mail3'].map((each) => String(ports[each]));
  const { code, out } = await run('python3', ['-c', script, ...places]);
  t.equal(code, 0, out);
  t.equal(out.match(/ ok$/gm)?.length, 36, out);
  t.equal(of('auth').filter(({ result }) => result === 'ok').length, 36);
  const by = (protocol: string) =>
    [
      ...new Set(
        of('auth')
          .filter((each) => each.protocol === protocol)
          .map(({ mechanism }) => mechanism),
      ),
    ].sort();
  t.strictSame(by('pop3'), ['APOP', 'LOGIN', 'PLAIN', 'USER']);
  t.strictSame(by('imap'), ['CRAM-MD5', 'LOGIN', 'PLAIN']);
  t.strictSame((await windows()).sort(), ['b+o imap', 'bob imap', 'böb imap']);
  t.equal(of('tls-handshake').filter(({ result }) => result === 'ok').length, 24);
  await eventually('all sessions end', () => proxy.sessions === 0);
  t.strictSame([...new Set(of('disconnect').map(({ reason }) => reason))], ['quit']);
});

t.test('programs that fetch mail', { skip: skip ?? false }, async (t) => {
  await install(['fetchmail', 'mpop', 'curl', 'mutt']);
  const dovecot = await Dovecot.start({
    users: ['fay', 'max', 'cora', 'moe', 'sam'].map((user) => ({ user, password: 'secret' })),
  });
  t.teardown(() => dovecot.stop());
  const { ports, of, windows, proxy } = await house(t, [
    { protocol: 'pop3', tls: 'starttls', server: { port: dovecot.ports.pop3 } },
    { protocol: 'pop3', tls: 'implicit', server: { port: dovecot.ports.pop3 } },
    { protocol: 'imap', tls: 'starttls', server: { port: dovecot.ports.imap } },
    { protocol: 'imap', tls: 'implicit', server: { port: dovecot.ports.imap } },
  ]);
  const [pop = 0, pops = 0, imap = 0, imaps = 0] = ['mail0', 'mail1', 'mail2', 'mail3'].map(
    (each) => ports[each],
  );
  const dir = folder(t, { 'ca.pem': OURS.cert });
  // All users of this Dovecot share one mailbox.
  const box = path.join(dovecot.dir, 'mail');
  for (const each of ['', 'new', 'cur', 'tmp']) {
    mkdirSync(path.join(box, each), { recursive: true });
    chmodSync(path.join(box, each), 0o777);
  }
  writeFileSync(path.join(box, 'new', '1.x'), `Subject: for all\n\n+OK\n.\n${'x'.repeat(60)}\n`);
  chmodSync(path.join(box, 'new', '1.x'), 0o666);
  await t.test('fetchmail', async (t) => {
    const ways = [
      `proto POP3 port ${pop} auth password`,
      `proto POP3 port ${pop} auth password`,
      `proto IMAP port ${imap} auth cram-md5`,
    ];
    for (const [i, way] of ways.entries()) {
      const rc = path.join(dir, `fetchmailrc${i}`);
      const ssl = i === 1 ? `sslproto TLS1.2+ sslcertfile ${dir}/ca.pem` : "sslproto ''";
      writeFileSync(
        rc,
        `poll localhost ${way} user fay password secret ${ssl} keep fetchall mda "cat >> ${dir}/fetched"\n`,
      );
      chmodSync(rc, 0o600);
      const { code, out } = await run('fetchmail', ['-f', rc, '--nosyslog', '--nodetach', '-v'], {
        ...process.env,
        HOME: dir,
        FETCHMAILHOME: dir,
      });
      t.equal(code, 0, out);
    }
    t.match(readFileSync(path.join(dir, 'fetched'), 'utf8'), /Subject: for all/);
  });
  await t.test('mpop', async (t) => {
    for (const [auth, port, tlsArgs] of [
      ['user', pop, ['--tls=off']],
      ['plain', pop, ['--tls=on', '--tls-starttls=on', `--tls-trust-file=${dir}/ca.pem`]],
      ['scram-sha-256', pops, ['--tls=on', '--tls-starttls=off', `--tls-trust-file=${dir}/ca.pem`]],
      ['cram-md5', pop, ['--tls=off']],
    ] as const) {
      const { code, out } = await run('mpop', [
        ...[
          '--host=localhost',
          `--port=${port}`,
          '--user=max',
          '--passwordeval=echo secret',
          `--auth=${auth}`,
        ],
        ...[
          '--keep=on',
          `--uidls-file=${dir}/uidls-${auth}`,
          `--delivery=mbox,${dir}/mpop.mbox`,
          '--debug',
          ...tlsArgs,
        ],
      ]);
      if (/not supported|not compiled/i.test(out) && auth.startsWith('scram'))
        t.comment(`mpop: ${auth} unknown`);
      else t.equal(code, 0, out);
    }
    t.match(readFileSync(path.join(dir, 'mpop.mbox'), 'utf8'), /Subject: for all/);
  });
  await t.test('curl', async (t) => {
    const common = ['-sS', '--cacert', `${dir}/ca.pem`, '-u', 'cora:secret'];
    for (const args of [
      [`pop3://localhost:${pop}/1`],
      [`pop3://localhost:${pop}/1`, '--ssl-reqd'],
      [`pop3s://localhost:${pops}/1`],
      [`imap://localhost:${imap}/INBOX;UID=1`],
      [`imap://localhost:${imap}/INBOX;UID=1`, '--ssl-reqd'],
      [`imaps://localhost:${imaps}/INBOX;UID=1`, '--login-options', 'AUTH=PLAIN'],
      [`imap://localhost:${imap}/INBOX;UID=1`, '--login-options', 'AUTH=CRAM-MD5'],
    ]) {
      const { code, out } = await run('curl', [...common, ...args]);
      t.equal(code, 0, out);
      t.match(out, /Subject: for all/, args.join(' '));
    }
  });
  await t.test('mutt', async (t) => {
    const set =
      'ssl_starttls=no ssl_force_tls=no imap_user=moe imap_pass=secret move=no record= mbox_type=mbox';
    mkdirSync(path.join(dir, 'Mail'));
    const { out } = await run(
      'timeout',
      [
        ...['60', 'script', '-qec'],
        `mutt -n -F /dev/null -e 'set ${set}' -e 'push <exit>' -f imap://localhost:${imap}/INBOX`,
        '/dev/null',
      ],
      { ...process.env, HOME: dir, TERM: 'vt100' },
    );
    t.ok(
      of('auth').some(({ login, result }) => login === 'moe' && result === 'ok'),
      out,
    );
  });
  t.strictSame((await windows()).map((each) => each.split(' ')[0]).sort(), ['cora', 'fay', 'max', 'moe']);
  for (const [protocol, port] of [
    ['pop3', pop],
    ['imap', imap],
  ] as const) {
    const { code } = await run('curl', ['-sS', '-u', 'sam:wrong', `${protocol}://localhost:${port}/`]);
    t.not(code, 0, `${protocol}: a wrong password`);
  }
  t.ok(of('auth').some(({ login, result }) => login === 'sam' && result === 'wrong'));
  t.equal((await windows()).length, 4, 'opens nothing');
  await eventually('all sessions end', () => proxy.sessions === 0);
});

t.test('TLS and the PROXY header towards the server', { skip: skip ?? false }, async (t) => {
  const [v1, v2] = [await freePort(), await freePort()];
  const dovecot = await Dovecot.start({
    users: [{ user: 'bob', password: 'secret' }],
    cleartext: false,
    lines: `
haproxy_trusted_networks = 127.0.0.1
service pop3-login {
  inet_listener p1 {
    port = ${v1}
    haproxy = yes
  }
}
service imap-login {
  inet_listener p2 {
    port = ${v2}
    haproxy = yes
  }
}
`,
  });
  t.teardown(() => dovecot.stop());
  const { ports } = dovecot;
  const { cert: ca } = dovecot.certified;
  const {
    ports: ours,
    of,
    windows,
  } = await house(t, [
    { protocol: 'pop3', server: { port: ports.pop3, tls: 'starttls', trust: { ca }, host: 'localhost' } },
    { protocol: 'pop3', server: { port: ports.pop3s, tls: 'implicit', trust: { ca } } },
    { protocol: 'imap', tls: 'starttls', server: { port: ports.imap, tls: 'starttls', trust: { ca } } },
    { protocol: 'imap', server: { port: ports.imaps, tls: 'implicit', trust: { verify: false } } },
    { protocol: 'pop3', server: { port: ports.pop3, tls: 'starttls' } },
    { protocol: 'imap', server: { port: ports.imaps, tls: 'implicit', trust: { ca: OURS.cert } } },
    { protocol: 'pop3', proxyProtocol: 'v1', server: { port: v1, tls: 'starttls', trust: { ca } } },
    { protocol: 'imap', proxyProtocol: 'v2', server: { port: v2, tls: 'starttls', trust: { ca } } },
  ]);
  const login = async (name: string, imap: boolean, from = '127.0.0.1'): Promise<string> => {
    const client = Raw.connect(ours[name] ?? 0, from);
    await client.hears(/\r\n/);
    if (imap) {
      client.say('a CAPABILITY\r\nb LOGIN bob secret\r\nc LOGOUT\r\n');
      await client.hears(/^c OK/m).catch(() => {});
    } else {
      client.say('USER bob\r\nPASS secret\r\nQUIT\r\n');
      await client.hears(/(?:\+OK.*\s+){4}/).catch(() => {});
    }
    client.socket.destroy();
    return client.heard;
  };
  for (const name of ['mail0', 'mail1', 'mail6']) t.match(await login(name, false), /^\+OK Logged in/m, name);
  const heard = await login('mail2', true);
  t.match(heard, /^b OK/m);
  t.notMatch(heard, /LOGINDISABLED/, 'what was true without TLS is not told');
  t.match(heard, /\* CAPABILITY .* STARTTLS\r\n/, 'our own offer');
  t.match(await login('mail3', true), /^b OK/m);
  t.match(await login('mail7', true, '127.0.0.2'), /^b OK/m);
  await eventually('Dovecot has logged where from', () =>
    /imap-login: .*Login: user=<bob>.*rip=127\.0\.0\.2/.test(dovecot.logged()),
  );
  t.equal((await windows()).length, 2, 'two addresses');
  for (const name of ['mail4', 'mail5']) {
    const client = Raw.connect(ours[name] ?? 0);
    await client.hears(/^(?:-ERR|\* BYE).* not available/);
    await client.ends();
  }
  t.match(
    of('upstream-fault').map(({ reason }) => reason),
    [/self.signed/, /self.signed|verif/],
  );
});

t.test('an IMAP session that stays open keeps its window open', { skip: skip ?? false }, async (t) => {
  const dovecot = await Dovecot.start({ users: [{ user: 'bob', password: 'secret' }] });
  t.teardown(() => dovecot.stop());
  const wish: Wish = { protocol: 'imap', server: { port: dovecot.ports.imap } };
  const { ports, of, windows } = await house(t, [wish], { length: 3_000 });
  const client = Raw.connect(ports.mail0 ?? 0);
  client.say('a LOGIN bob secret\r\nb SELECT INBOX\r\nc IDLE\r\n');
  await client.hears(/^\+ idling/m);
  t.strictSame(await windows(), ['bob imap']);
  const opened = () => of('window-opened');
  await eventually('renewed twice', () => opened().filter(({ renewed }) => renewed).length >= 2);
  t.strictSame(await windows(), ['bob imap'], 'long after its first end');
  client.say('DONE\r\nd LOGOUT\r\n');
  await client.ends();
  const count = opened().length;
  await eventually('it runs out after the session', async () => (await windows()).length === 0);
  t.equal(opened().length, count);
});

const END_TO_END = `
version: 1
domains: { ours: [local.example] }
rules:
  - { name: in, allow: { to: ours } }
  - { name: fetched, allow: { window: any, from: ours } }
`;

t.test('fetch, then send', { skip: skip ?? false }, async (t) => {
  await install(['fetchmail', 'msmtp', 'swaks', 'curl']);
  const dovecot = await Dovecot.start({ users: [{ user: 'bob', password: 'hunter2-good' }] });
  const sendmail = await Sendmail.start();
  t.teardown(() => Promise.all([dovecot.stop(), sendmail.stop()]));
  const upstream = await overheardPort(t, 'sendmail', sendmail.port);
  const serving = async (window: string): Promise<SekishoProcess> => {
    const dir = folder(t, {
      'p.yaml': END_TO_END,
      'cert.pem': OURS.cert,
      'key.pem': OURS.key,
      'sekisho.yaml': `
listen: [{ host: 127.0.0.1, port: 0 }]
upstream: { host: 127.0.0.1, port: ${upstream} }
policy: p.yaml
tls: { cert: cert.pem, key: key.pem }
roaming:
  window: ${window}
  proxies:
    - { protocol: pop3, host: 127.0.0.1, port: 0, upstream: "127.0.0.1:${dovecot.ports.pop3}" }
    - { protocol: imap, host: 127.0.0.1, port: 0, upstream: "127.0.0.1:${dovecot.ports.imap}", upstream_tls: starttls,
        upstream_tls_fingerprint: "sha256:${dovecot.certified.fingerprint}" }
`,
    });
    const started = await SekishoProcess.serve(['--config', path.join(dir, 'sekisho.yaml')]);
    t.teardown(() => started.kill());
    return started;
  };
  const sekisho = await serving('15m');
  const [smtp = 0, pop = 0] = sekisho.ports;
  const send = async (from: string, port = smtp): Promise<boolean> => {
    const args = ['--server', `127.0.0.1:${port}`, '--from', 'bob@local.example', '--to', 'y@victim.example'];
    return (await run('swaks', [...args, '--local-interface', from, '--helo', 'c.example'])).code === 0;
  };
  t.notOk(await send('127.0.0.1'), 'nobody before');
  const wrong = await run('curl', ['-sS', '-u', 'bob:hunter2-bad', `pop3://127.0.0.1:${pop}/`]);
  t.not(wrong.code, 0);
  t.notOk(await send('127.0.0.1'), 'a wrong password opens nothing');
  const fetched = await run('curl', [
    '-sS',
    '--ssl-reqd',
    '-k',
    '-u',
    'bob:hunter2-good',
    `pop3://127.0.0.1:${pop}/`,
  ]);
  t.equal(fetched.code, 0, fetched.out);
  t.ok(await send('127.0.0.1'), 'who has fetched may send');
  const msmtp = ['--host=127.0.0.1', `--port=${smtp}`, '--from=bob@local.example', '--auth=off', '--tls=off'];
  t.equal(
    (await run('msmtp', [...msmtp, '--file=/dev/null', 'y@victim.example'])).code,
    0,
    'by whatever program',
  );
  t.notOk(await send('127.0.0.2'), 'from there alone');
  t.equal(sendmail.queue().length, 2, 'sendmail has both');

  // Short enough to be waited for; whoever starts a program within it may come too late.
  const brief = await serving('3s');
  const [briefSmtp = 0, briefPop = 0, briefImap = 0] = brief.ports;
  const opened = (): number => brief.out.match(/"event":"window-opened"/g)?.length ?? 0;
  const idle = Raw.connect(briefImap, '127.0.0.2');
  idle.say('a LOGIN bob hunter2-good\r\nb SELECT INBOX\r\nc IDLE\r\n');
  await idle.hears(/^\+ idling/m);
  const gone = ['-sS', '-u', 'bob:hunter2-good', `pop3://127.0.0.1:${briefPop}/`];
  t.equal((await run('curl', gone)).code, 0);
  await brief.until('two windows, this one later than the other', () => opened() === 2);
  await eventually('and no longer than the window', async () => !(await send('127.0.0.1', briefSmtp)));
  t.ok(await send('127.0.0.2', briefSmtp), 'IDLE keeps the window open');
  t.notOk(await send('127.0.0.1', briefSmtp));
  const ended = brief.kill('SIGTERM');
  await idle.ends();
  await ended;
  t.equal(brief.code, 0, 'it drains');
  for (const { out } of [sekisho, brief]) {
    t.match(out, /"event":"window-opened"/);
    t.notMatch(out, /hunter2/, 'no password in the log');
  }
});

t.test('how long an open session can keep a window open', async (t) => {
  const port = await scripted(t, '* OK hi\r\n', (line) => `${line.split(' ')[0]} OK\r\n`);
  const wish: Wish = { protocol: 'imap', server: { port }, timeouts: { keep: 2_000 } };
  const { ports, of, windows } = await house(t, [wish], { length: 1_500 });
  const client = Raw.connect(ports.mail0 ?? 0);
  client.say('a LOGIN bob x\r\n');
  await client.hears(/a OK/);
  await eventually('renewed', () => of('window-opened').some(({ renewed }) => renewed));
  await eventually('it ends for all that', async () => (await windows()).length === 0);
  t.equal(client.closed, false, 'the session goes on');
});

t.test('the throttle', async (t) => {
  const said: string[] = [];
  const throttle: LoginThrottle = {
    refusal: (_, login) => Promise.resolve(login === 'eve' ? 'too many' : undefined),
    failed: (key, login, guess) => {
      said.push(`failed ${key} ${login} ${guess}`);
      return Promise.resolve(700);
    },
    succeeded: (_, login) => {
      said.push(`succeeded ${login}`);
      return Promise.resolve();
    },
  };
  const lines: string[] = [];
  const port = await scripted(t, '+OK\r\n', (line) => {
    lines.push(line);
    return pop3('right')(line);
  });
  const { ports, of, windows } = await house(t, [{ protocol: 'pop3', server: { port } }], { throttle });
  const client = Raw.connect(ports.mail0 ?? 0);
  const began = Date.now();
  client.say('USER bob\r\nPASS wrong\r\n');
  await client.hears(/-ERR no/);
  t.ok(Date.now() - began >= 690, 'the answer is held back');
  client.say('USER eve\r\nPASS right\r\n');
  await client.hears(/-ERR \[SYS\/TEMP\] Too many failed logins/);
  t.notOk(lines.includes('PASS right'), 'the server was not asked');
  client.say('USER bob\r\nPASS right\r\n');
  await client.hears(/\+OK in/);
  t.strictSame(said, ['failed 127.0.0.1 bob wrong', 'succeeded bob']);
  t.strictSame(
    of('auth').map(({ result, login }) => `${result} ${login}`),
    ['wrong bob', 'locked eve', 'ok bob'],
  );
  t.strictSame(await windows(), ['bob pop3']);
  t.notMatch(
    JSON.stringify([of('auth'), of('connect'), of('disconnect')]),
    /wrong"[^,]*PASS|right/,
    'no secret in events',
  );
});

t.test('octets injected before TLS', async (t) => {
  const heard: string[] = [];
  const port = await scripted(t, '+OK\r\n', (line) => {
    heard.push(line);
    return '+OK\r\n';
  });
  const { ports, of } = await house(t, [{ protocol: 'pop3', tls: 'starttls', server: { port } }]);
  const client = Raw.connect(ports.mail0 ?? 0);
  await client.hears(/\+OK/);
  client.say('STLS\r\nUSER eve\r\n');
  await client.hears(/-ERR octets in clear text/);
  await client.ends();
  t.strictSame(heard, []);
  // Behind a server: the same trick on our own connection to it.
  const liar = await serve(t, (socket) => {
    socket.write('+OK\r\n');
    socket.once('data', () => socket.write('+OK go\r\n+OK injected\r\n'));
  });
  const upstream = await house(t, [{ protocol: 'pop3', server: { port: liar, tls: 'starttls' } }]);
  const other = Raw.connect(upstream.ports.mail0 ?? 0);
  await other.hears(/not available/);
  t.match(upstream.of('upstream-fault'), [{ reason: 'it says more before TLS has begun' }]);
  const preauth = await scripted(t, '* PREAUTH\r\n', () => '');
  const third = await house(t, [{ protocol: 'imap', server: { port: preauth, tls: 'starttls' } }]);
  await Raw.connect(third.ports.mail0 ?? 0).hears(/\* BYE .*not available/);
  t.equal(of('upstream-fault').length, 0);
});

t.test('limits and deadlines', async (t) => {
  const port = await scripted(t, '+OK\r\n', pop3('x'));
  const silent = await serve(t, () => {});
  const { ports, of } = await house(t, [
    { protocol: 'pop3', server: { port }, limits: { connections: 3, connectionsPerAddress: 2 } },
    { protocol: 'pop3', server: { port }, timeouts: { login: 1_500 } },
    { protocol: 'imap', server: { port: silent }, timeouts: { login: 1_500 } },
    { protocol: 'pop3', server: { port }, timeouts: { idle: 1_500 } },
    { protocol: 'imap', server: { port: await freePort() } },
    { protocol: 'pop3', tls: 'implicit', server: { port }, timeouts: { tlsHandshake: 500 } },
    { protocol: 'pop3', tls: 'starttls', server: { port }, timeouts: { tlsHandshake: 1_000 } },
  ]);
  const connect = (name: string, from?: string): Raw => Raw.connect(ports[name] ?? 0, from);
  const [one, two] = [connect('mail0'), connect('mail0')];
  await one.hears(/\+OK/);
  await two.hears(/\+OK/);
  await connect('mail0').hears(/^-ERR \[SYS\/TEMP\] too many connections from you\r\n$/);
  const three = connect('mail0', '127.0.0.2');
  await three.hears(/\+OK/);
  await connect('mail0', '127.0.0.3').hears(/^-ERR \[SYS\/TEMP\] too many connections, try/);
  t.strictSame(
    of('connection-refused').map(({ reason }) => reason),
    ['per-address', 'total'],
  );
  one.socket.destroy();
  await eventually('its place is free', () => of('disconnect').length > 0);
  await connect('mail0').hears(/^\+OK/);

  const late = connect('mail1');
  await late.hears(/-ERR \[SYS\/TEMP\] no login in time/);
  await late.ends();
  const unheard = connect('mail2');
  await unheard.hears(/^\* BYE no login in time/);
  const idle = connect('mail3');
  idle.say('USER a\r\nPASS x\r\n');
  await idle.hears(/in\r\n/);
  await idle.ends();
  await connect('mail4').hears(/^\* BYE the mail server is not available/);
  t.match(of('upstream-fault'), [{ reason: /ECONNREFUSED/ }]);
  await connect('mail5').ends();
  const half = connect('mail6');
  half.say('STLS\r\n');
  await half.ends();
  t.match(of('tls-handshake'), [
    { result: 'failed', reason: /deadline/ },
    { result: 'failed', reason: /deadline/ },
  ]);
  await eventually('four ran into a deadline', () => {
    return of('disconnect').filter(({ reason }) => reason === 'timeout').length === 4;
  });
  for (const each of [two, three]) each.socket.destroy();
});

t.test('ends of connections', async (t) => {
  const port = await scripted(t, '+OK\r\n', pop3('x'));
  const { ports, of, proxy } = await house(t, [{ protocol: 'pop3', server: { port } }]);
  const piped = Raw.connect(ports.mail0 ?? 0);
  piped.socket.end('USER a\r\nPASS x\r\nSTAT\r\nQUIT\r\n');
  await piped.hears(/^\+OK\r\n\+OK\r\n\+OK in\r\n\+OK\r\n\+OK\r\n$/);
  await piped.ends();
  const scanner = Raw.connect(ports.mail0 ?? 0);
  scanner.socket.end();
  await scanner.ends();
  const rude = Raw.connect(ports.mail0 ?? 0);
  await rude.hears(/\+OK/);
  rude.socket.resetAndDestroy();
  await eventually('all are gone', () => proxy.sessions === 0);
  t.equal(of('disconnect').length, 3);
  const dying = await serve(t, (socket) => {
    socket.write('+OK\r\n');
    socket.on('data', () => socket.destroy());
  });
  const other = await house(t, [{ protocol: 'pop3', server: { port: dying } }]);
  const client = Raw.connect(other.ports.mail0 ?? 0);
  client.say('USER a\r\n');
  await client.ends();
  await eventually('gone', () => other.proxy.sessions === 0);
});

t.test('back-pressure, both ways', async (t) => {
  const total = 64 * 1_048_576;
  const block = Buffer.alloc(65_536, 'x');
  let taken = 0;
  let sent = 0;
  let free = false;
  const port = await serve(t, (socket) => {
    socket.write('* OK\r\n');
    socket.once('data', () => {
      socket.write('a OK in\r\n');
      const pump = (): void => {
        while (sent < total && socket.write(block)) sent += block.length;
      };
      socket.on('drain', pump);
      pump();
      // It reads nothing until it may.
      socket.pause();
      const wait = setInterval(() => {
        if (!free) return;
        clearInterval(wait);
        socket.on('data', (chunk) => (taken += chunk.length));
        socket.resume();
      }, 20);
    });
  });
  const { ports } = await house(t, [{ protocol: 'imap', server: { port } }]);
  const socket = net.connect({ host: '127.0.0.1', port: ports.mail0 ?? 0, allowHalfOpen: true });
  socket.write('a LOGIN bob x\r\n');
  await new Promise((resolve) => socket.once('data', resolve));
  socket.pause();
  let offered = 0;
  const push = (): void => {
    while (offered < total && socket.write(block)) offered += block.length;
  };
  socket.on('drain', push);
  push();
  let before = -1;
  while (before !== offered + sent) {
    before = offered + sent;
    await new Promise((resolve) => setTimeout(resolve, 500));
  }
  t.ok(offered < total / 2, `the client is stopped (${offered} octets)`);
  t.ok(sent < total / 2, `and so is the server (${sent} octets)`);
  free = true;
  let got = 0;
  socket.on('data', (chunk) => (got += chunk.length));
  socket.resume();
  await eventually('all is there', () => got >= total && taken >= total);
  socket.destroy();
});

t.test('drain', async (t) => {
  const pop = await scripted(t, '+OK\r\n', pop3('x'));
  const imap = await scripted(t, '* OK\r\n', (line) => `${line.split(' ')[0]} OK\r\n`);
  const { ports, proxy, of } = await house(t, [
    { protocol: 'pop3', server: { port: pop } },
    { protocol: 'imap', server: { port: imap } },
  ]);
  const [early, busy, idle] = [ports.mail0, ports.mail0, ports.mail1].map((port) => Raw.connect(port ?? 0));
  if (early === undefined || busy === undefined || idle === undefined) throw new Error('no clients');
  await early.hears(/\+OK/);
  busy.say('USER a\r\nPASS x\r\n');
  idle.say('a LOGIN bob x\r\n');
  await busy.hears(/in\r\n/);
  await idle.hears(/a OK/);
  const drained = proxy.drain(30_000);
  await early.hears(/-ERR \[SYS\/TEMP\] shutting down/);
  await idle.ends();
  busy.say('STAT\r\n');
  await busy.hears(/in\r\n\+OK\r\n/);
  busy.socket.end('QUIT\r\n');
  await drained;
  t.equal(proxy.sessions, 0);
  t.equal(of('disconnect').filter(({ reason }) => reason === 'shutdown').length, 2);
  await t.rejects(
    new Promise((resolve, reject) => {
      net
        .connect({ host: '127.0.0.1', port: ports.mail0 ?? 0 }, () => resolve(undefined))
        .once('error', reject);
    }),
  );
  const blocked = await house(t, [{ protocol: 'pop3', server: { port: pop } }]);
  const taken: Wish = { protocol: 'pop3', port: blocked.ports.mail0 ?? 0, server: { port: pop } };
  await t.rejects(house(t, [taken]), /cannot listen on 127\.0\.0\.1:\d+: another program already does/);
});
