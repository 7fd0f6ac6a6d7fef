/** Who the client is: told by a balancer's PROXY header, and told to the mail server. */

import net from 'node:net';
import tls from 'node:tls';
import fc from 'fast-check';
import t, { type Test } from 'tap';
import { IpSet, parseCidr, parseIp } from '../../src/base/ip.js';
import { type Endpoint, printLocalHeader, printProxyHeader } from '../../src/base/proxy-header.js';
import { MAX_V1, MAX_V2_BODY, readProxyHeader } from '../../src/base/proxy-header-reader.js';
import { identityAdvice } from '../../src/cli/identity-advice.js';
import type { UpstreamOptions } from '../../src/proxy/options.js';
import { readMaterial } from '../../src/proxy/tls.js';
import { printXclient, type XclientFacts, xclientAttributes } from '../../src/smtp/xclient.js';
import { certify } from '../support/certificate.js';
import { cut } from '../support/chunkings.js';
import { type LegacyMta, type LegacyOptions, startLegacyMta } from '../support/legacy-mta.js';
import { eventually, type Running, type Setting, startSekisho } from '../support/sekisho.js';
import { codeOf, SmtpClient } from '../support/smtp-client.js';

const at = (ip: string, port: number): Endpoint => {
  const parsed = parseIp(ip);
  if (parsed === undefined) throw new Error(`no address: ${ip}`);
  return { ip: parsed, port };
};

const networks = (...texts: string[]): IpSet =>
  IpSet.of(
    texts.flatMap((text) => {
      const cidr = parseCidr(text);
      return cidr.ok ? [cidr.value] : [];
    }),
  );

const v1 = (text: string) => readProxyHeader(Buffer.from(text, 'latin1'));
const v2 = (command: number, family: number, body: Buffer, length = body.length) => {
  const head = printLocalHeader();
  head.writeUInt8(command, 12);
  head.writeUInt8(family, 13);
  head.writeUInt16BE(length, 14);
  return Buffer.concat([head, body]);
};

t.test('headers are read as they were printed, however they are cut', async () => {
  const address = fc.oneof(
    fc.ipV4(),
    fc
      .array(fc.integer({ min: 0, max: 0xffff }), { minLength: 8, maxLength: 8 })
      .map((groups) => groups.map((g) => g.toString(16)).join(':')),
  );
  const end = fc
    .record({ ip: address, port: fc.integer({ min: 0, max: 65_535 }) })
    .map(({ ip, port }) => at(ip, port));
  fc.assert(
    fc.property(
      fc.constantFrom('v1' as const, 'v2' as const),
      end,
      end,
      fc.array(fc.nat(400), { maxLength: 6 }),
      (version, client, server, places) => {
        const header = printProxyHeader(version, client, server);
        const stream = Buffer.concat([header, Buffer.from('EHLO x\r\n')]);
        let octets = Buffer.alloc(0);
        for (const chunk of cut(stream, places)) {
          octets = Buffer.concat([octets, chunk]);
          const scan = readProxyHeader(octets);
          if (octets.length < header.length) {
            if (scan.kind !== 'need-more') return false;
            continue;
          }
          if (scan.kind !== 'header' || scan.length !== header.length) return false;
          const { ends } = scan;
          if (ends?.client.ip.text !== client.ip.text || ends.client.port !== client.port) return false;
          if (ends.server.ip.text !== server.ip.text || ends.server.port !== server.port) return false;
        }
        return true;
      },
    ),
  );
  fc.assert(
    fc.property(fc.uint8Array({ maxLength: 300 }), (octets) => {
      const scan = readProxyHeader(Buffer.from(octets));
      return scan.kind !== 'header' && (scan.kind === 'fault' || octets.length < 16);
    }),
  );
});

t.test('version 1: exactly a header, within 107 octets', async (t) => {
  t.match(v1('PROXY TCP4 192.0.2.1 198.51.100.2 56324 25\r\nEHLO'), {
    kind: 'header',
    length: 44,
    ends: {
      client: { ip: { text: '192.0.2.1' }, port: 56324 },
      server: { ip: { text: '198.51.100.2' }, port: 25 },
    },
  });
  t.match(v1('PROXY TCP6 ::ffff:192.0.2.1 2001:db8::2 1 25\r\n'), {
    ends: { client: { ip: { family: 4 } } },
  });
  t.match(v1('PROXY UNKNOWN\r\n'), { kind: 'header', length: 15, ends: undefined });
  t.match(v1('PROXY UNKNOWN ffff:f...f:ffff ffff 65535 65535\r\n'), { kind: 'header', ends: undefined });
  const longest = `PROXY UNKNOWN ${'x'.repeat(MAX_V1 - 16)}\r\n`;
  t.equal(longest.length, MAX_V1);
  t.match(v1(longest), { kind: 'header', length: MAX_V1 });
  t.match(v1(longest.replace('x\r', 'xx\r')), { kind: 'fault', why: /107/ });
  t.match(v1(longest.slice(0, -2)), { kind: 'need-more' });
  t.match(v1('x'.repeat(0)), { kind: 'need-more' });
  for (const bad of [
    'EHLO client.example\r\n',
    'proxy TCP4 192.0.2.1 198.51.100.2 1 25\r\n',
    'PROXY  TCP4 192.0.2.1 198.51.100.2 1 25\r\n',
    'PROXY TCP4 192.0.2.1 198.51.100.2 1 25 \r\n',
    'PROXY TCP4 192.0.2.1 198.51.100.2 1\r\n',
    'PROXY TCP4 192.0.2.1 198.51.100.2 1 65536\r\n',
    'PROXY TCP4 192.0.2.1 198.51.100.2 01 25\r\n',
    'PROXY TCP4 192.0.2.1 198.51.100.2 -1 25\r\n',
    'PROXY TCP4 192.0.2.01 198.51.100.2 1 25\r\n',
    'PROXY TCP4 2001:db8::1 2001:db8::2 1 25\r\n',
    'PROXY TCP6 192.0.2.1 198.51.100.2 1 25\r\n',
    'PROXY UDP4 192.0.2.1 198.51.100.2 1 25\r\n',
    'PROXY TCP4 192.0.2.1 198.51.100.2 1 25\nEHLO x\r\n',
    'PROXY \r\n',
    '\r\n\r\n\0\r\nQUIX\n',
  ])
    t.equal(v1(bad).kind, 'fault', JSON.stringify(bad));
});

t.test('version 2: LOCAL keeps the address, TLVs are skipped, lengths have bounds', async (t) => {
  const v4 = Buffer.from('c0000201c6336402dc040019', 'hex');
  const tlv = Buffer.from('04000301020320000a', 'hex');
  t.match(readProxyHeader(v2(0x21, 0x11, Buffer.concat([v4, tlv]))), {
    kind: 'header',
    length: 16 + 12 + tlv.length,
    ends: {
      client: { ip: { text: '192.0.2.1' }, port: 56324 },
      server: { ip: { text: '198.51.100.2' }, port: 25 },
    },
  });
  for (const family of [0, 0x11, 0x31, 0xff])
    t.match(readProxyHeader(v2(0x20, family, v4)), { kind: 'header', length: 28, ends: undefined }, 'LOCAL');
  t.match(readProxyHeader(v2(0x21, 0x11, Buffer.concat([v4, Buffer.alloc(MAX_V2_BODY - 12)]))), {
    kind: 'header',
    length: 16 + MAX_V2_BODY,
  });
  t.match(readProxyHeader(v2(0x21, 0x11, v4, MAX_V2_BODY)), { kind: 'need-more' });
  for (const [what, bad] of [
    ['one octet too long', v2(0x21, 0x11, v4, MAX_V2_BODY + 1)],
    ['one octet too short', v2(0x21, 0x11, v4, 11)],
    ['IPv6 too short', v2(0x21, 0x21, Buffer.alloc(35))],
    ['version 1 in version 2', v2(0x11, 0x11, v4)],
    ['another command', v2(0x22, 0x11, v4)],
    ['UDP', v2(0x21, 0x12, v4)],
    ['a UNIX socket', v2(0x21, 0x31, Buffer.alloc(216))],
    ['no family', v2(0x21, 0x00, Buffer.alloc(0))],
  ] as const)
    t.equal(readProxyHeader(bad).kind, 'fault', what);
});

const FACTS: XclientFacts = {
  client: at('2001:db8::1', 4711),
  server: at('192.0.2.25', 25),
  name: 'client.example',
  nameKnown: true,
  helo: 'he+lo=x',
  login: 'al ice',
  esmtp: true,
};

t.test('XCLIENT: what is offered, in xtext, ADDR last, 512 octets at most', async (t) => {
  const all = xclientAttributes([
    'mta',
    'SIZE',
    'XCLIENT NAME ADDR PROTO HELO REVERSE_NAME PORT LOGIN DESTADDR DESTPORT',
  ]);
  const lines = (facts: Partial<XclientFacts>, offered = all) => {
    const printed = printXclient(offered, { ...FACTS, ...facts });
    return printed.ok ? printed.value : printed.error;
  };
  t.strictSame(lines({}), [
    'XCLIENT NAME=client.example PORT=4711 PROTO=ESMTP HELO=he+2Blo+3Dx LOGIN=al+20ice DESTADDR=192.0.2.25 DESTPORT=25 ADDR=IPV6:2001:db8::1\r\n',
  ]);
  t.strictSame(lines({}, new Set(['ADDR', 'PROTO'])), ['XCLIENT PROTO=ESMTP ADDR=IPV6:2001:db8::1\r\n']);
  t.match(lines({ name: undefined, login: undefined }), [/NAME=\[UNAVAILABLE\] .* LOGIN=\[UNAVAILABLE\]/]);
  t.match(lines({ name: undefined, nameKnown: false, esmtp: false }), [/NAME=\[TEMPUNAVAIL\] .* PROTO=SMTP/]);
  t.match(lines({ helo: 'a\r\nb' }), [/HELO=\[UNAVAILABLE\]/], 'not even hidden by xtext');
  t.match(lines({ login: 'é' }), [/LOGIN=\+C3\+A9/]);
  t.match(lines({}, new Set(['NAME'])), /without ADDR/);
  t.match(printXclient(undefined, FACTS), { ok: false, error: /does not offer XCLIENT/ });
  t.equal(xclientAttributes(['XCLIENT ADDR', 'SIZE']), undefined, 'the first line is a name');
  const room = 512 - 'XCLIENT HELO=\r\n'.length;
  t.match(lines({ helo: 'h'.repeat(room) }), [
    /^XCLIENT NAME=/,
    /^XCLIENT HELO=h+\r\n$/,
    /ADDR=IPV6:2001:db8::1\r\n$/,
  ]);
  t.match(lines({ helo: 'h'.repeat(room + 1) }), [/HELO=\[UNAVAILABLE\]/], 'one past it');
  fc.assert(
    fc.property(fc.string(), fc.string(), fc.string(), (name, helo, login) => {
      const printed = printXclient(all, { ...FACTS, name, helo: helo.repeat(40), login });
      return (
        printed.ok &&
        printed.value.every((line) => line.length <= 512 && /^XCLIENT [\x20-\x7e]+\r\n$/.test(line)) &&
        printed.value.filter((line) => line.includes(' ADDR=')).length === 1 &&
        printed.value.at(-1)?.includes(' ADDR=') === true
      );
    }),
  );
});

t.test('what a mail server must be told to listen', async (t) => {
  t.match(identityAdvice('Postfix', ['mta', 'XCLIENT NAME ADDR'], '192.0.2.7'), {
    xclient: true,
    identity: 'xclient',
    lines: [/offers XCLIENT to 192\.0\.2\.7/, /cannot be told from outside/],
  });
  const lines = (...asked: Parameters<typeof identityAdvice>): string =>
    identityAdvice(...asked).lines.join('\n');
  t.match(lines('Postfix', ['mta'], '192.0.2.7'), /smtpd_authorized_xclient_hosts = 192\.0\.2\.7\n/);
  t.match(lines('Postfix', ['mta'], '2001:db8::7'), /smtpd_authorized_xclient_hosts = \[2001:db8::7\]\n/);
  t.match(lines('Postfix', ['mta'], '192.0.2.7'), /-o smtpd_upstream_proxy_protocol=haproxy/);
  t.match(lines('Exim', ['mta'], '192.0.2.7'), /hosts_proxy = 192\.0\.2\.7/);
  t.match(lines('OpenSMTPD', ['mta'], '192.0.2.7'), /listen on egress port 10025 proxy-v2/);
  t.match(lines('sendmail', undefined, '192.0.2.7'), /neither XCLIENT nor PROXY/);
  t.match(identityAdvice(undefined, undefined, '192.0.2.7'), { identity: 'received', xclient: false });
});

interface House extends Running {
  readonly mta: LegacyMta;
}

const house = async (
  t: Test,
  setting: Partial<Setting> = {},
  upstream: Partial<UpstreamOptions> = {},
  options: LegacyOptions = {},
): Promise<House> => {
  const mta = await startLegacyMta(options);
  const sekisho = await startSekisho({ ...setting, upstreams: [{ port: mta.port, ...upstream }] });
  t.teardown(async () => {
    await sekisho.stop();
    await mta.close();
  });
  return { ...sekisho, mta };
};

/** MAIL and RCPT of somebody; the reply to RCPT. */
const rcpt = async (client: SmtpClient, to = 'bob@local.example', helo = 'c.example'): Promise<string> => {
  await client.say(`EHLO ${helo}`);
  await client.say('MAIL FROM:<a@b.example>');
  return client.say(`RCPT TO:<${to}>`);
};

const PROXIED = { listener: { proxyFrom: networks('127.0.0.1/32') }, timeouts: { proxyHeader: 2_000 } };
const FROM = at('203.0.113.9', 40_000);
const TO = at('192.0.2.25', 25);

t.test('from a listed balancer the header comes first, and is believed', async (t) => {
  const sekisho = await house(t, { ...PROXIED, timeouts: { proxyHeader: 2_000, greetPause: 50 } });
  for (const version of ['v1', 'v2'] as const) {
    const client = await SmtpClient.connect(sekisho.port);
    const header = printProxyHeader(version, FROM, TO);
    client.send(header.subarray(0, 9));
    client.send(header.subarray(9));
    t.match(await client.reply(), /^220 /);
    t.match(
      await rcpt(client, 'y@victim.example'),
      /^550 5\.7\.1/,
      'the balancer is trusted, its client is not',
    );
    t.equal(codeOf(await client.say('RCPT TO:<bob@local.example>')), 250);
    await client.say('DATA');
    t.equal(codeOf(await client.say('Subject: x\r\n\r\nx\r\n.')), 250);
    t.match(sekisho.mta.messages.at(-1)?.data, /\[203\.0\.113\.9\]/);
    t.match(await client.say('PROXY TCP4 127.0.0.1 127.0.0.1 1 25'), /^421/, 'once');
    await client.end();
  }
  t.match(sekisho.of('connect')[0]?.peer, { address: '203.0.113.9', port: 40_000, via: '127.0.0.1' });
  const eager = await SmtpClient.connect(sekisho.port);
  eager.send(Buffer.concat([printProxyHeader('v2', FROM, TO), Buffer.from('EHLO eager\r\n')]));
  t.match(
    await eager.reply(),
    /^421 4\.5\.1/,
    'what came in one segment with the header is seen, here as too early',
  );
  const local = await SmtpClient.connect(sekisho.port);
  local.send(printLocalHeader());
  t.match(await local.reply(), /^220 /);
  t.equal(codeOf(await rcpt(local, 'y@victim.example')), 250, 'LOCAL is the balancer itself');
  local.destroy();
});

t.test('what comes in one segment with the header is not lost', async (t) => {
  const sekisho = await house(t, PROXIED);
  const client = await SmtpClient.connect(sekisho.port);
  client.send(Buffer.concat([printProxyHeader('v1', FROM, TO), Buffer.from('EHLO c.example\r\n')]));
  t.match(await client.reply(), /^220 /);
  t.match(await client.reply(), /^250/);
  client.destroy();
});

t.test('none, a wrong one, or one from somebody else: closed, and told', async (t) => {
  const sekisho = await house(t, PROXIED);
  const cases: readonly (readonly [string, string, RegExp])[] = [
    ['no header', '', /deadline/],
    ['half a header', 'PROXY TCP4 ', /deadline/],
    ['SMTP', 'EHLO x\r\n', /must come first/],
    ['a bad one', 'PROXY TCP4 1.2.3 4.5.6.7 1 2\r\n', /cannot be read/],
  ];
  for (const [what, octets, why] of cases) {
    const client = await SmtpClient.connect(sekisho.port);
    client.send(octets);
    await client.end();
    t.equal(client.transcript, '', `${what}: nothing is said`);
    t.match(
      sekisho.of('connection-refused').at(-1),
      { reason: 'proxy-header', address: '127.0.0.1', why },
      what,
    );
  }
  for (const header of [printProxyHeader('v1', FROM, TO), printProxyHeader('v2', FROM, TO)]) {
    const stranger = await SmtpClient.connect(sekisho.port, '127.0.0.2');
    t.match(await stranger.reply(), /^220 /, 'who is not listed is a client');
    stranger.send(header);
    await stranger.end();
    t.match(sekisho.of('framing-fault').at(-1)?.peer.address, '127.0.0.2');
    t.equal(sekisho.of('connect').at(-1)?.peer.address, '127.0.0.2');
  }
  const gone = await SmtpClient.connect(sekisho.port);
  gone.send('PROXY TCP4 ');
  gone.destroy();
  await eventually('nobody is left', () => sekisho.proxy.sessions === 0);
});

t.test('the limit on connections counts the real client', async (t) => {
  const sekisho = await house(t, { ...PROXIED, limits: { connectionsPerAddress: 1 } });
  const from = async (ip: string): Promise<SmtpClient> => {
    const client = await SmtpClient.connect(sekisho.port);
    client.send(printProxyHeader('v2', at(ip, 1), TO));
    return client;
  };
  const first = await from('203.0.113.1');
  t.match(await first.reply(), /^220 /);
  const second = await from('203.0.113.2');
  t.match(await second.reply(), /^220 /);
  const third = await from('203.0.113.1');
  t.match(await third.reply(), /^421 /);
  t.match(sekisho.of('connection-refused'), [{ reason: 'per-address', address: '203.0.113.1' }]);
  first.destroy();
  await eventually('its place is free', () => sekisho.proxy.sessions === 1);
  const fourth = await from('203.0.113.1');
  t.match(await fourth.reply(), /^220 /);
  for (const each of [second, fourth]) each.destroy();
});

t.test('the header comes before the TLS of port 465', async (t) => {
  const { cert, key } = certify(['mx.example'], ['127.0.0.1']);
  const material = readMaterial(cert, key);
  if (!material.ok) throw new Error(material.error);
  const listener = { ...PROXIED.listener, tls: 'implicit' as const };
  const sekisho = await house(t, { ...PROXIED, listener, tls: [material.value] });
  const socket = net.connect(sekisho.port, '127.0.0.1');
  // In one segment with the ClientHello, as a balancer sends it.
  socket.cork();
  socket.write(printProxyHeader('v2', FROM, TO));
  const secured = tls.connect({ socket, rejectUnauthorized: false });
  process.nextTick(() => process.nextTick(() => socket.uncork()));
  const client = SmtpClient.over(secured);
  t.match(await client.reply(), /^220 /);
  t.match(sekisho.of('connect')[0]?.peer, { address: '203.0.113.9' });
  client.destroy();
});

const XCLIENT = ['XCLIENT NAME ADDR PORT PROTO HELO LOGIN'];
/** Understands XCLIENT. */
const consents: LegacyOptions['script'] = (step, argument) =>
  step === 'OTHER' && argument.includes('ADDR=') ? { say: ['220 again'] } : undefined;

t.test('the upstream is told by XCLIENT, on a connection of the client own', async (t) => {
  const sekisho = await house(
    t,
    { timeouts: { resolve: 100 } },
    { identity: 'xclient' },
    { ehlo: XCLIENT, script: consents },
  );
  for (const [from, helo] of [
    ['127.0.0.1', 'one.example'],
    ['127.0.0.2', '[127.0.0.2]'],
  ] as const) {
    const client = await SmtpClient.connect(sekisho.port, from);
    await client.reply();
    t.equal(codeOf(await rcpt(client, 'bob@local.example', helo)), 250);
    await client.say('DATA');
    t.equal(codeOf(await client.say('x\r\n.')), 250);
    client.destroy();
    const { commands } = sekisho.mta.connections.at(-1) ?? { commands: [] };
    t.match(commands[0], /^EHLO sekisho\.local\.example$/);
    t.match(
      commands[1],
      new RegExp(`^XCLIENT NAME=.* PROTO=ESMTP HELO=\\S+ LOGIN=\\[UNAVAILABLE\\] ADDR=${from}$`),
    );
    t.equal(commands[2], `EHLO ${helo}`);
    t.match(commands[3], /^MAIL/);
  }
  t.equal(sekisho.mta.connections.length, 3, 'the probe, and one for each');
  t.equal(sekisho.of('upstream-reuse').length, 0);
});

t.test(
  'an upstream that does not listen to XCLIENT takes nothing; one that refuses a client stays up',
  async (t) => {
    const deaf = await house(t, {}, { identity: 'xclient' });
    t.match(deaf.of('upstream-down'), [{ reason: /does not offer XCLIENT/ }]);
    const client = await SmtpClient.connect(deaf.port);
    await client.reply();
    t.match(await rcpt(client), /^451/);
    client.destroy();
    t.equal(deaf.mta.messages.length, 0);
    const picky = await house(
      t,
      { timeouts: { resolve: 100 } },
      { identity: 'xclient' },
      {
        ehlo: XCLIENT,
        script: (step, argument) =>
          step === 'OTHER' && argument.includes('ADDR=')
            ? { say: [argument.includes('ADDR=127.0.0.2') ? '550 not you' : '220 again'] }
            : undefined,
      },
    );
    const bad = await SmtpClient.connect(picky.port, '127.0.0.2');
    await bad.reply();
    t.match(await rcpt(bad), /^451/);
    t.match(picky.of('upstream-fault'), [{ during: 'identity', reason: /550 not you/ }]);
    const good = await SmtpClient.connect(picky.port);
    await good.reply();
    t.equal(codeOf(await rcpt(good)), 250);
    t.equal(picky.of('upstream-down').length, 0);
    for (const each of [bad, good]) each.destroy();
  },
);

t.test('the upstream is told by a PROXY header before all else', async (t) => {
  for (const [identity, version] of [
    ['proxy-v1', 'v1'],
    ['proxy-v2', 'v2'],
  ] as const) {
    const openings: Buffer[] = [];
    const server = net.createServer((socket) => {
      socket.on('error', () => undefined);
      socket.once('data', (first) => {
        openings.push(first);
        socket.write('220 mta.example\r\n');
        socket.on('data', (line) =>
          socket.write(String(line).startsWith('DATA') ? '354 go\r\n' : '250 ok\r\n'),
        );
      });
    });
    await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
    const place = server.address();
    const port = typeof place === 'object' && place !== null ? place.port : 0;
    const sekisho = await startSekisho({ upstreams: [{ port, identity }], ...PROXIED });
    t.teardown(async () => {
      await sekisho.stop();
      server.close();
    });
    const client = await SmtpClient.connect(sekisho.port);
    client.send(printProxyHeader('v2', FROM, TO));
    await client.reply();
    t.equal(codeOf(await rcpt(client)), 250);
    t.strictSame(openings[1], printProxyHeader(version, FROM, TO), identity);
    if (version === 'v2') t.strictSame(openings[0], printLocalHeader(), 'the probe is for nobody');
    else
      t.match(openings[0]?.toString(), /^PROXY TCP4 127\.0\.0\.1 127\.0\.0\.1 /, 'the probe is for Sekisho');
    client.destroy();
  }
});
