/** Clients that are let do more or less than others by TLS: device networks, certificates, and attackers. */
import { type ChildProcess, spawn } from 'node:child_process';
import { X509Certificate } from 'node:crypto';
import { once } from 'node:events';
import { readFileSync, writeFileSync } from 'node:fs';
import net, { type AddressInfo } from 'node:net';
import path from 'node:path';
import { type ConnectionOptions, connect, type TLSSocket } from 'node:tls';
import t, { type Test } from 'tap';
import { loadSetup } from '../../src/app/config.js';
import { expiryWarnings, watchExpiry } from '../../src/app/config-tls.js';
import type { SekishoEvent } from '../../src/base/events.js';
import { parseCidr } from '../../src/base/ip.js';
import { fingerprintOf } from '../../src/proxy/certificates.js';
import type { DeviceRule } from '../../src/proxy/devices.js';
import { authority, certify, materialOf, type Pair, signed } from '../support/certificates.js';
import { joined, movesOf, smugglingCases } from '../support/corpus.js';
import { type LegacyMta, startLegacyMta } from '../support/legacy-mta.js';
import { folder, SekishoProcess } from '../support/process.js';
import { eventually, policyOf, type Running, type Setting, startSekisho } from '../support/sekisho.js';
import { codeOf, SmtpClient } from '../support/smtp-client.js';

interface House extends Running {
  readonly mta: LegacyMta;
}

const house = async (t: Test, setting: Partial<Setting>): Promise<House> => {
  const mta = await startLegacyMta({ ehlo: ['8BITMIME'] });
  const sekisho = await startSekisho({ upstreams: [{ port: mta.port }], ...setting });
  t.teardown(async () => {
    await sekisho.stop();
    await mta.close();
  });
  return { ...sekisho, mta };
};

const device = (more: Partial<DeviceRule> = {}): DeviceRule => {
  const cidr = parseCidr('127.0.0.3/32');
  if (!cidr.ok) throw new Error(cidr.error);
  const rule = { name: 'printers', networks: [cidr.value], starttls: true, plaintextAuth: false };
  return { ...rule, tlsFloor: '1.0', ...more };
};

/** OpenSSL's own client; what is said to it goes out when it has greeted. */
const sClient = async (
  port: number,
  args: readonly string[],
  lines: readonly string[] = ['EHLO c.example', 'QUIT'],
): Promise<{ code: number | null; out: string }> => {
  const child: ChildProcess = spawn('openssl', [
    's_client',
    '-quiet',
    '-connect',
    `127.0.0.1:${port}`,
    ...args,
  ]);
  let out = '';
  let said = 0;
  const next = (): void => {
    // One line for one reply, so that nothing is pipelined; behind STARTTLS the first word is the client's.
    const replies = (out.match(/^\d{3} [^\n]*\n/gm)?.length ?? 0) + (args.includes('-starttls') ? 1 : 0);
    while (said < lines.length && said < replies) {
      child.stdin?.write(`${lines[said]}\r\n`);
      said += 1;
    }
  };
  child.stdin?.on('error', () => {});
  child.stdout?.on('data', (chunk) => {
    out += String(chunk);
    next();
  });
  child.stderr?.on('data', (chunk) => {
    out += String(chunk).replace(/^(?=\d{3} )/gm, '# ');
  });
  next();
  const timer = setTimeout(() => child.kill(), 60_000);
  const [code] = await once(child, 'close');
  clearTimeout(timer);
  return { code: typeof code === 'number' ? code : null, out };
};

const starttls = ['-starttls', 'smtp'];
const OLD = ['-tls1', '-cipher', 'DEFAULT@SECLEVEL=0'];

const handshake = (options: ConnectionOptions): Promise<TLSSocket> =>
  new Promise((resolve, reject) => {
    const socket = connect({ rejectUnauthorized: false, ...options }, () => resolve(socket));
    socket.once('error', reject);
  });

t.test('a device network keeps TLS 1.0, and nobody else does', async (t) => {
  const dir = folder(t);
  const tls = [materialOf(certify(dir, 'mail.example.org'))];
  const implicit = await house(t, { tls, listener: { tls: 'implicit' }, devices: [device()] });
  const explicit = await house(t, { tls, listener: { tls: 'starttls' }, devices: [device()] });
  for (const [what, { port, of }, args] of [
    ['implicit', implicit, []],
    ['STARTTLS', explicit, starttls],
  ] as const) {
    const old = { minVersion: 'TLSv1', maxVersion: 'TLSv1', ciphers: 'DEFAULT@SECLEVEL=0' } as const;
    for (const [from, served] of [
      ['127.0.0.3', true],
      ['127.0.0.2', false],
    ] as const) {
      const clear = await SmtpClient.connect(port, from);
      if (what === 'STARTTLS') {
        await clear.reply();
        await clear.say('EHLO c.example');
        t.equal(codeOf(await clear.say('STARTTLS')), 220);
      }
      clear.socket.removeAllListeners();
      const attempt = handshake({ socket: clear.socket, ...old });
      if (served) {
        const client = SmtpClient.over(await attempt);
        if (what === 'implicit') await client.reply();
        t.equal(codeOf(await client.say('EHLO c.example')), 250, `${what} from ${from}`);
        client.destroy();
      } else {
        await t.rejects(attempt, `${what} from ${from}`);
        clear.destroy();
      }
    }
    await eventually('both handshakes are told of', () => of('tls-handshake').length >= 2);
    t.match(of('tls-handshake'), [
      { address: '127.0.0.3', result: 'ok', version: 'TLSv1' },
      { address: '127.0.0.2', result: 'failed', reason: /unsupported protocol|version/ },
    ]);
    const real = await sClient(port, [...args, '-bind', '127.0.0.3:0', ...OLD], ['NOOP', 'QUIT']);
    t.equal(of('tls-handshake').at(-1)?.version, 'TLSv1', `${what}: OpenSSL's own client, ${real.out}`);
    const stranger = await sClient(port, [...args, '-bind', '127.0.0.2:0', ...OLD]);
    t.not(stranger.code, 0, `${what}: OpenSSL's own client from elsewhere`);
    t.equal(of('tls-handshake').at(-1)?.result, 'failed');
  }
});

t.test('a device that chokes on STARTTLS is not offered it, and rules can be replaced', async (t) => {
  const tls = [materialOf(certify(folder(t), 'mail.example.org'))];
  const devices = [device({ starttls: false })];
  const { port, proxy } = await house(t, { tls, listener: { tls: 'starttls' }, devices });
  const ehlo = async (from: string): Promise<string> => {
    const client = await SmtpClient.connect(port, from);
    await client.reply();
    const said = `${await client.say('EHLO c.example')}\n${await client.say('STARTTLS')}`;
    client.destroy();
    return said;
  };
  const spared = await ehlo('127.0.0.3');
  t.notMatch(spared, /250[ -]STARTTLS/);
  t.match(spared, /^502 /m);
  t.match(await ehlo('127.0.0.2'), /250[ -]STARTTLS[\s\S]*\n220 /);
  proxy.setDevices([]);
  t.match(await ehlo('127.0.0.3'), /250[ -]STARTTLS/);
});

const POLICY = (print: string): string => `
version: 1
rules:
  - { name: subject, allow: { to: subject.example, tls: { subject: "CN=printer 1,O=Example" } } }
  - { name: print, allow: { to: print.example, tls: "sha256:${print}" } }
  - { name: any, allow: { to: local.example } }
`;

t.test('client certificates, by OpenSSL', async (t) => {
  const dir = folder(t);
  const tls = [materialOf(certify(dir, 'mail.example.org'))];
  const ca = authority(dir, 'ca');
  const clientCa = readFileSync(ca.cert, 'utf8');
  const card = { subject: '/O=Example/CN=printer 1', names: 'email:P1@Example.org' };
  const good = signed(dir, 'good', ca, card);
  const expired = signed(dir, 'expired', ca, { ...card, days: -1 });
  const own = certify(dir, 'printer 1');
  const printOf = ({ cert }: Pair): string => fingerprintOf(new X509Certificate(readFileSync(cert)));
  const names: readonly [string, Pair | undefined][] = [
    ['none', undefined],
    ['good', good],
    ['own', own],
    ['expired', expired],
  ];
  const lines = [
    ...['EHLO c.example', 'MAIL FROM:<a@b.example>', 'RCPT TO:<x@subject.example>'],
    ...['RCPT TO:<x@print.example>', 'RCPT TO:<x@local.example>', 'QUIT'],
  ];
  const policy = policyOf(POLICY(printOf(own)));
  const show = (pair: Pair | undefined): string[] =>
    pair === undefined ? [] : ['-cert', pair.cert, '-key', pair.key];
  const codes = (out: string): string => (out.match(/^(?:250|550|554)(?= )/gm) ?? []).slice(-3).join(' ');
  const asks = await house(t, { tls, clientCa, policy, listener: { tls: 'implicit', clientCerts: 'ask' } });
  const expected: Readonly<Record<string, string>> = {
    none: '550 550 250',
    good: '250 550 250',
    own: '550 250 250',
    expired: '550 550 250',
  };
  for (const [name, pair] of names) {
    const { out } = await sClient(asks.port, show(pair), lines);
    t.equal(codes(out), expected[name], `asked: ${name}`);
    const peer = asks.of('connect').at(-1)?.peer;
    t.same(
      peer?.certificate,
      pair === undefined
        ? undefined
        : {
            fingerprint: printOf(pair),
            subject: name === 'good' ? 'CN=printer 1,O=Example' : undefined,
            names: name === 'good' ? ['p1@example.org'] : [],
          },
      `asked: ${name}: what is known of it`,
    );
  }
  for (const mode of ['implicit', 'starttls'] as const) {
    const needs = await house(t, { tls, clientCa, policy, listener: { tls: mode, clientCerts: 'require' } });
    const reasons: Readonly<Record<string, RegExp | undefined>> = {
      none: /a client certificate is required: the client showed no certificate/,
      own: /a client certificate is required: self-signed certificate/,
      expired: /a client certificate is required: certificate has expired/,
    };
    for (const [name, pair] of names) {
      const more = mode === 'starttls' ? starttls : [];
      const { out } = await sClient(needs.port, [...more, ...show(pair)], ['EHLO c.example', 'QUIT']);
      const reason = reasons[name];
      await eventually('the session ended', () => needs.proxy.sessions === 0);
      if (reason === undefined) {
        t.notMatch(out, /554 5\.7\.0/, `${mode}: ${name}`);
        t.match(needs.of('tls-handshake').at(-1), { result: 'ok' }, `${mode}: ${name}`);
      } else {
        t.match(out, /554 5\.7\.0 A client certificate/, `${mode}: ${name} is told why`);
        t.match(needs.of('tls-handshake').at(-1), { result: 'failed', reason }, `${mode}: ${name}`);
      }
    }
  }
  const unknown = await house(t, { tls, policy, listener: { tls: 'implicit', clientCerts: 'require' } });
  for (const [name, pair] of names.slice(1)) {
    const { out } = await sClient(unknown.port, show(pair), lines);
    const without = name === 'own' ? '550 250 250' : '550 550 250';
    t.equal(codes(out), without, `without an authority: ${name} is a fingerprint`);
  }
  t.match((await sClient(unknown.port, [], ['QUIT'])).out, /554 5\.7\.0/, 'but there must be one');
});

t.test('a resumed session proves no more than a new one would', async (t) => {
  const dir = folder(t);
  const tls = [materialOf(certify(dir, 'mail.example.org'))];
  const [ca, other] = [authority(dir, 'ca'), authority(dir, 'other')];
  const [clientCa, otherCa] = [ca, other].map(({ cert }) => readFileSync(cert, 'utf8'));
  const { cert, key } = signed(dir, 'good', ca, { subject: '/CN=a', names: 'email:a@b.example' });
  const shown = { cert: readFileSync(cert), key: readFileSync(key) };
  const open = await house(t, { tls, clientCa, listener: { tls: 'implicit' } });
  const needs = await house(t, { tls, clientCa, listener: { tls: 'implicit', clientCerts: 'require' } });
  const at = (port: number, more: ConnectionOptions): Promise<TLSSocket> =>
    handshake({ port, host: '127.0.0.1', maxVersion: 'TLSv1.2', ...more });
  const greeting = async (socket: TLSSocket): Promise<number> => {
    const client = SmtpClient.over(socket);
    const code = codeOf(await client.reply());
    client.destroy();
    return code;
  };
  const anonymous = await at(open.port, {});
  const ticket = anonymous.getSession();
  t.equal(await greeting(anonymous), 220);
  const back = await at(needs.port, ticket === undefined ? {} : { session: ticket });
  t.equal(back.isSessionReused(), false);
  t.equal(await greeting(back), 554);
  const known = await at(needs.port, shown);
  const session = known.getSession() ?? Buffer.alloc(0);
  t.equal(await greeting(known), 220);
  const again = await at(needs.port, { session });
  t.equal(again.isSessionReused(), true);
  t.equal(await greeting(again), 220, 'what was verified stays so while the authority is the same');
  needs.proxy.setCertificates(tls, otherCa);
  const late = await at(needs.port, { session });
  t.equal(late.isSessionReused(), false);
  t.equal(await greeting(late), 554, 'and no longer');
});

/** The first thing that a TLS client says. */
const clientHello = async (): Promise<Buffer> => {
  const server = net.createServer();
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  const { port } = server.address() as AddressInfo;
  const client = connect({ port, host: '127.0.0.1' });
  client.on('error', () => {});
  const [socket] = await once(server, 'connection');
  const [chunk] = await once(socket, 'data');
  client.destroy();
  socket.destroy();
  server.close();
  return chunk;
};

const INJECTED = 'MAIL FROM:<x@y.example>\r\nRCPT TO:<bob@local.example>\r\nDATA\r\nx\r\n.\r\n';

t.test('plaintext in the middle of a handshake', async (t) => {
  const tls = [materialOf(certify(folder(t), 'mail.example.org'))];
  const { port, of, proxy, mta } = await house(t, { tls, listener: { tls: 'starttls' } });
  const hello = await clientHello();
  const cuts = [3, Math.floor(hello.length / 2), hello.length];
  for (const cut of cuts) {
    const client = await SmtpClient.connect(port, '127.0.0.2');
    await client.reply();
    await client.say('EHLO c.example');
    t.equal(codeOf(await client.say('STARTTLS')), 220);
    client.transcript = '';
    client.send(hello.subarray(0, cut));
    client.send(`${INJECTED}${' '.repeat(hello.length)}\r\nQUIT\r\n`);
    await client.end();
    t.notMatch(client.transcript, /^[2345]\d\d[ -]/m, `after ${cut} octets: no command is answered`);
  }
  await eventually('all ended', () => proxy.sessions === 0);
  t.match(
    of('tls-handshake'),
    cuts.map(() => ({ result: 'failed' })),
  );
  t.notMatch(mta.connections.flatMap(({ commands }) => commands).join('\n'), /^(?:MAIL|RCPT|DATA)/m);
});

t.test('the STARTTLS streams of the smuggling corpus, over TLS', async (t) => {
  const tls = [materialOf(certify(folder(t), 'mail.example.org'))];
  const hello = (await clientHello()).toString('latin1');
  const expected: Readonly<Record<string, readonly number[]>> = {
    'tls-cmd-inject-ehlo': [421],
    'tls-cmd-inject-mail': [421],
    'tls-inject-same-segment': [421],
    'tls-state-reset': [250, 220, 503],
    'tls-no-ehlo-after': [220, 503],
    'tls-param': [501],
  };
  const cases = smugglingCases.filter(({ category }) => category === 'starttls');
  t.same(cases.map(({ id }) => id).sort(), Object.keys(expected).sort(), 'the whole category');
  for (const { id, setup, bytes } of cases) {
    const { port, mta, proxy } = await house(t, { tls, listener: { tls: 'starttls' } });
    let client = await SmtpClient.connect(port, '127.0.0.2');
    await client.reply();
    for (const move of joined(movesOf(setup)))
      if (typeof move === 'object' && 'send' in move) client.send(move.send);
    await client.reply();
    const codes: number[] = [];
    const listen = async (): Promise<void> => {
      for (let reply = await client.reply(); reply !== ''; reply = await client.reply()) {
        codes.push(codeOf(reply));
        if (codes.at(-1) === 220) return;
        if (id === 'tls-param' || codes.at(-1) === 503) return;
      }
    };
    const withHello = bytes.replace('{{TLS-ClientHello same segment}}', '{{TLS}}');
    for (const move of joined(movesOf(withHello))) {
      if (typeof move === 'object' && 'send' in move) {
        client.send(id === 'tls-inject-same-segment' ? `${move.send}${hello}` : move.send);
        await listen();
      } else if (move === 'tls' && codes.at(-1) === 220) {
        client.socket.removeAllListeners();
        client = SmtpClient.over(await handshake({ socket: client.socket }));
      }
    }
    t.same(codes, expected[id], id);
    client.destroy();
    await eventually(`${id}: it ended`, () => proxy.sessions === 0);
    t.equal(mta.messages.length, 0, id);
  }
});

t.test('certificates near their end', async (t) => {
  const dir = folder(t);
  const near = materialOf(certify(dir, 'near.example', 3));
  const far = materialOf(certify(dir, 'far.example', 90));
  const { proxy } = await house(t, { tls: [near, far], listener: { tls: 'starttls' } });
  t.match(proxy.expiries, [
    { names: ['near.example'], expires: near.expires },
    { names: ['far.example'], expires: far.expires },
  ]);
  const days = (count: number): number => count * 86_400_000;
  t.same(expiryWarnings([near], near.expires - days(14)), [], 'two weeks before');
  t.match(expiryWarnings([near], near.expires - days(14) + 1), [/near\.example expires on \d{4}-\d\d-\d\d$/]);
  t.match(expiryWarnings([near], near.expires + 1), [/near\.example EXPIRED on .*: clients will refuse it/]);
  const told: SekishoEvent[] = [];
  const end = watchExpiry(
    () => proxy.expiries,
    (event) => told.push(event),
    20,
  );
  await eventually('it is told again and again', () => told.length >= 3);
  t.match(told[0], { type: 'warning', text: /near\.example expires on/ });
  proxy.setCertificates([far]);
  await eventually('until it is replaced', () => {
    const before = told.length;
    told.length = 0;
    return before === 0;
  });
  end();
});

t.test('the real process: options, faults, replacement', async (t) => {
  const dir = folder(t);
  certify(dir, 'mail');
  const ca = authority(dir, 'ca');
  authority(dir, 'other');
  const good = signed(dir, 'good', ca, { subject: '/CN=a', names: 'email:a@b.example' });
  const mta = await startLegacyMta();
  t.teardown(() => mta.close());
  const config = path.join(dir, 'sekisho.yaml');
  const write = (text: string, listen = ''): void =>
    writeFileSync(
      config,
      `listen: [{ host: 127.0.0.1, port: 0${listen} }]\nupstream: { host: 127.0.0.1, port: ${mta.port} }\nlocal_domains: [local.example]\n${text}`,
    );
  const faults: readonly [string, RegExp][] = [
    ['tls: { cert: mail.crt, key: mail.key, client_ca: nowhere }', /nowhere: cannot read it: no such file/],
    [
      'tls: { cert: mail.crt, key: mail.key, client_ca: mail.key }',
      /mail\.key: there is no certificate in it/,
    ],
    [
      'tls: [{ cert: mail.crt, key: mail.key }, { cert: mail.crt, key: mail.key, client_certs: ask }]',
      /tls\[1\]: client_ca and client_certs hold for all certificates/,
    ],
    ['tls: { cert: mail.crt, key: mail.key, client_certs: yes }', /must be none or ask or require/],
    [
      'devices: [{ name: x, networks: [0.0.0.0/0] }]',
      /:4:\d+: devices\[0\]\.networks\[0\]: holds every address/,
    ],
    ['devices: [{ name: x, networks: [192.0.2.300] }]', /:4:\d+: devices\[0\]\.networks\[0\]: /],
    ['devices: [{ name: x, networks: [] }]', /must hold at least one entry/],
    ['devices: [{ name: x, network: [192.0.2.1] }]', /network: unknown key\. Did you mean "networks"\?/],
    [
      'devices: [{ name: x, networks: [192.0.2.1] }, { name: x, networks: [192.0.2.2] }]',
      /two device networks/,
    ],
  ];
  for (const [text, fault] of faults) {
    write(`${text}\n`);
    const setup = loadSetup({ config });
    t.match(setup.ok ? '' : setup.error.lines.join('\n'), fault, text);
  }
  const tls = (authorities: string): string =>
    `tls: { cert: mail.crt, key: mail.key, client_ca: ${authorities}.crt, client_certs: none }\n`;
  const devices = 'devices: [{ name: printers, networks: [127.0.0.3], tls_floor: "1.0" }]\n';
  const listen = ', tls: implicit, client_certs: require';
  write(tls('ca') + devices, listen);
  const sekisho = await SekishoProcess.serve(['--config', config, '--log', 'classic']);
  t.teardown(() => sekisho.kill());
  const shows = ['-cert', good.cert, '-key', good.key];
  const old = ['-bind', '127.0.0.3:0', ...OLD];
  t.match((await sClient(sekisho.port, [...shows, ...old])).out, /^250 /m);
  t.match((await sClient(sekisho.port, [])).out, /^554 5\.7\.0/m);
  await sekisho.until('the log says why', () =>
    /\[127\.0\.0\.1\]: TLS handshake failed: a client certificate is required/.test(sekisho.out),
  );
  write(tls('other'), listen);
  sekisho.child.kill('SIGHUP');
  await sekisho.until('the new authority', () => /reload: .* is in force/.test(sekisho.out));
  t.match((await sClient(sekisho.port, shows)).out, /^554 5\.7\.0/m, 'nobody vouches for it any more');
  t.notMatch((await sClient(sekisho.port, [...shows, ...old])).out, /^\d{3} /m, 'and TLS 1.0 is over');
  t.notMatch(sekisho.out, /restart to apply/, 'all of it without a restart');
});
