import { spawnSync } from 'node:child_process';
import { readFileSync, writeFileSync } from 'node:fs';
import path from 'node:path';
import t, { type Test } from 'tap';

import { type Flags, loadSetup, type Setup } from '../../src/app/config.js';
import { parseEndpoint } from '../../src/app/config-fields.js';
import { MAIL_PROXY_KEYS } from '../../src/app/config-mail.js';
import { camel, configJsonSchema, milliseconds, octets, snake } from '../../src/app/config-schema.js';
import { sourceKeysAt } from '../../src/app/config-sources.js';
import { LineGatherer } from '../../src/app/line-gatherer.js';
import { createLog, fieldsOf, levelOf } from '../../src/app/log.js';
import { classicLine, escapeText } from '../../src/app/log-classic.js';
import { Reloader } from '../../src/app/reload.js';
import type { Peer, SekishoEvent } from '../../src/base/events.js';
import { parseIp } from '../../src/base/ip.js';
import { DEFAULT_LIMITS, DEFAULT_TIMEOUTS, DEFAULT_UPSTREAM } from '../../src/proxy/options.js';
import { DEFAULT_BANS } from '../../src/windows/bans.js';
import {
  DEFAULT_MAIL_LIMITS,
  DEFAULT_MAIL_TIMEOUTS,
  DEFAULT_MAIL_TRUST,
} from '../../src/windows/sources/mail-options.js';
import { authority } from '../support/certificates.js';
import { folder } from '../support/process.js';
import { eventually } from '../support/sekisho.js';

const FLAGS: Flags = { upstream: ['127.0.0.1:2525'], localDomain: ['example.org'] };

const setupOf = (flags: Flags): Setup => {
  const setup = loadSetup(flags);
  if (!setup.ok) throw new Error(setup.error.lines.join('\n'));
  return setup.value;
};

const faultsOf = (flags: Flags): readonly string[] => {
  const setup = loadSetup(flags);
  return setup.ok ? [] : setup.error.lines;
};

/** The faults of a file, with `FILE` for its path. */
const fileFaults = (t: Test, text: string): readonly string[] => {
  const config = path.join(folder(t, { 'sekisho.yaml': text }), 'sekisho.yaml');
  return faultsOf({ config }).map((fault) => fault.replaceAll(config, 'FILE'));
};

const BASE = 'upstream: { host: 127.0.0.1, port: 2525 }\nlocal_domains: [example.org]\n';

t.test('flags alone, with every default', async (t) => {
  const { proxy, log, drain } = setupOf(FLAGS);
  t.match(proxy.listeners, [{ name: 'mx', host: '', port: 25 }]);
  t.match(proxy.upstreams, [{ name: '127.0.0.1:2525', host: '127.0.0.1', port: 2525, ...DEFAULT_UPSTREAM }]);
  t.same(proxy.limits, DEFAULT_LIMITS);
  t.same(proxy.timeouts, DEFAULT_TIMEOUTS);
  t.same(
    [proxy.observe, proxy.received, log, drain],
    [false, true, { format: 'json', level: 'info' }, 30_000],
  );
  t.equal(setupOf(FLAGS).proxy.instanceToken, proxy.instanceToken, 'the same after a restart');
});

t.test('quotas', async (t) => {
  const config = (text: string): string =>
    path.join(folder(t, { 'sekisho.yaml': `${BASE}quotas:\n  - ${text}\n` }), 'sekisho.yaml');
  const of = (text: string) => setupOf({ config: config(text) }).quotas;
  const wrong = (text: string) => fileFaults(t, `${BASE}quotas:\n  - ${text}\n`);
  t.strictSame(setupOf(FLAGS).quotas, [], 'there are none by default');
  t.match(
    of(
      '{ per: login, messages: 9/1h, bytes: 500MB/30d, recipients: 1/1s, for: 2h, exempt: [trusted, 192.0.2.0/24] }',
    ),
    [
      {
        name: 'messages-recipients-bytes-per-login',
        counts: [
          { what: 'messages', most: 9, period: 3_600_000 },
          { what: 'recipients', most: 1, period: 1_000 },
          { what: 'bytes', most: 500 * 2 ** 20, period: 30 * 86_400_000 },
        ],
        lasts: 7_200_000,
        sparesTrusted: true,
        exempt: { size: 1 },
      },
    ],
  );
  t.match(of('{ per: network, concurrent: 20 }'), [
    { name: 'concurrent-per-network', concurrent: 20, counts: [], listeners: undefined, lasts: 0 },
  ]);
  t.match(wrong('{ per: client }'), [/counts nothing/]);
  t.match(wrong('{ per: sender, connections: 1/1m }'), [/the sender is not known when a connection comes/]);
  t.match(wrong('{ per: login, concurrent: 1 }'), [/the login is not known/]);
  t.match(wrong('{ per: client, concurrent: 1, for: 1h }'), [/for: goes only with/]);
  t.match(wrong('{ per: client, refused: 1/1m, listeners: [smtp] }'), [/no SMTP listener "smtp"/]);
  t.match(wrong('{ per: client, refused: 1/1m }\n  - { per: client, refused: 2/1h }'), [/two of this name/]);
  for (const rate of ['0/1m', '1/31d', '1', '1/1m/1m', '1MB/1m', '1/0s', '-1/1m'])
    t.match(wrong(`{ per: client, messages: ${rate} }`), [/messages: must be a number and a period/], rate);
  t.match(wrong('{ per: client, bytes: 1TB/1d }'), [/must be a size and a period/]);
  t.match(wrong('{ per: client, exempt: [0.0.0.0/0], refused: 1/1m }'), [/must be trusted, or a network/]);
  t.match(wrong('{ per: ip, refused: 1/1m }'), [/must be client or network or sender/]);
  t.match(wrong('{ per: client, refuse: 1/1m }'), [/unknown key.*refused/]);
});

t.test('strangers', async (t) => {
  const setup = (text: string): Setup => {
    const config = path.join(folder(t, { 'sekisho.yaml': `${BASE}${text}` }), 'sekisho.yaml');
    return setupOf({ config });
  };
  const plain = setup('');
  t.equal(plain.strangers.bans, undefined, 'nobody is banned by points unless the site says so');
  t.match(plain.proxy.listeners[0]?.screening, { dnsbl: 'none', greylist: 0 });
  t.match(setup('strangers: { bans: {} }').strangers.bans, DEFAULT_BANS);
  const given = setup(`listen: [{ port: 25, dnsbl: reject, greylist: 5m }]
roaming: { shared: [198.51.100.0/24] }
strangers:
  exempt: [203.0.113.0/24]
  dnsbl:
    lists: [{ zone: zen.example.org., codes: [127.0.0.2-11] }, { zone: w.example.org, name: white, weight: -3 }]
    threshold: 2
    servers: [127.0.0.1:5353]
    timeout: 1s
    tries: 1
    cache: 10
    listed_for: 2h
    unlisted_for: 1m
  bans: { points: 5, within: 1m, time: 2m, most_time: 1m, framing: 0, login: 9, relay: 8, dnsbl: 7, silent: true }
`);
  t.match(given.proxy.listeners[0]?.screening, { dnsbl: 'reject', greylist: 300_000 });
  const { dnsbl, exempt } = given.strangers.options;
  const ip = (text: string) => parseIp(text)!;
  t.ok(exempt.has(ip('203.0.113.7')) && !exempt.has(ip('198.51.100.7')));
  t.match(dnsbl, {
    lists: [
      { name: 'zen.example.org', zone: 'zen.example.org', weight: 1 },
      { name: 'white', weight: -3 },
    ],
    ...{ threshold: 2, servers: ['127.0.0.1:5353'], timeout: 1000, tries: 1, cache: 10 },
    ...{ mostAge: 7_200_000, negativeAge: 60_000 },
  });
  const { bans } = given.strangers;
  t.match(bans, { most: 5, period: 60_000, time: 120_000, mostTime: 120_000, silent: true });
  t.same(bans?.points, { framing: 0, login: 9, relay: 8, dnsbl: 7 });
  t.ok(bans?.exempt.has(ip('203.0.113.7')) && bans.exempt.has(ip('198.51.100.7')), 'crowds are spared');
  const wrong = (text: string) => fileFaults(t, `${BASE}${text}`);
  t.match(wrong('strangers: { exempt: [0.0.0.0/0] }'), [/exempt\[0\]: holds every address/]);
  t.match(wrong('strangers: { dnsbl: { lists: [] } }'), [/at least one entry/]);
  t.match(wrong('strangers: { dnsbl: { lists: [{ zone: zen }] } }'), [/must be the zone of a DNS list/]);
  t.match(wrong('strangers: { dnsbl: { lists: [{ zone: a.b, codes: [127.0.0.300] }] } }'), [
    /127\.0\.\*\.1-3/,
  ]);
  t.match(wrong('strangers: { dnsbl: { lists: [{ zone: a.b }, { zone: a.b. }] } }'), [
    /two lists are called "a\.b"/,
  ]);
  t.match(wrong('strangers: { dnsbl: { lists: [{ zone: a.b, name: any }] } }'), [/and not any/]);
  t.match(wrong('strangers: { dnsbl: { lists: [{ zones: a.b }] } }'), [/missing/, /unknown key.*zone/]);
  t.match(wrong('strangers: { ban: {} }'), [/unknown key.*bans/]);
  t.match(wrong('strangers: { bans: { frame: 1 } }'), [/unknown key.*framing/]);
  t.match(wrong('strangers: { dnsbl: { lists: [{ zone: a.b }], treshold: 2 } }'), [/unknown key.*threshold/]);
  t.match(wrong('listen: [{ port: 25, dnsbl: reject }]'), [
    /listener mx: dnsbl: reject: there are no DNS lists/,
  ]);
  const policy =
    'version: 1\nrules: [{ name: a, deny: { listed: zen } }, { name: b, allow: { to: a.example } }]\n';
  const dir = folder(t, {
    'p.yaml': policy,
    'q.yaml': policy.replace('zen', 'any'),
    'sekisho.yaml': `upstream: { host: h }\npolicy: p.yaml\nstrangers: { dnsbl: { lists: [{ zone: a.b }] } }\n`,
  });
  const config = path.join(dir, 'sekisho.yaml');
  t.match(faultsOf({ config }), [/listed: zen: there is no DNS list of this name/]);
  t.match(faultsOf({ ...FLAGS, localDomain: undefined, policy: path.join(dir, 'q.yaml') }), [
    /there are no DNS lists/,
  ]);
  t.same(faultsOf({ ...FLAGS, localDomain: undefined, policy: path.join(dir, 'p.yaml'), offline: true }), []);
});

t.test('endpoints', async (t) => {
  t.same(parseEndpoint('127.0.0.1:25'), { host: '127.0.0.1', port: 25 });
  t.same(parseEndpoint('[::1]:2525'), { host: '::1', port: 2525 });
  t.same(parseEndpoint('25'), { host: '', port: 25 });
  t.same(parseEndpoint(':25'), { host: '', port: 25 });
  for (const bad of ['', '::1:25', 'a:b', '127.0.0.1:65536', '127.0.0.1:', '[::1]25'])
    t.equal(parseEndpoint(bad), undefined, bad);
  t.match(faultsOf({ ...FLAGS, listen: ['example:25'] }), [/--listen example:25: not an address/]);
  t.match(faultsOf({ ...FLAGS, upstream: ['25'] }), [/--upstream 25: not a host and port/]);
  t.match(faultsOf({ localDomain: ['example.org'] }), [/no upstream/]);
  t.match(faultsOf({ ...FLAGS, log: 'xml', logLevel: 'loud' }), [
    /--log xml: must be json, classic/,
    /--log-level loud/,
  ]);
  t.match(faultsOf({ ...FLAGS, policy: 'x.yaml' }), [/--policy: .*Leave out --local-domain/]);
  t.match(faultsOf({ ...FLAGS, upstream: ['a.example:1', 'a.example:1'] }), [/two upstreams/]);
  t.match(faultsOf({ upstream: ['127.0.0.1:25'] }), [/--local-domain: missing/]);
  t.match(faultsOf({ ...FLAGS, trust: ['0.0.0.0/0'] }), [/--trust/], 'nobody opens a relay by a flag');
  t.match(faultsOf({ config: '/nowhere/sekisho.yaml' }), [
    '/nowhere/sekisho.yaml: cannot read the configuration: no such file.',
  ]);
});

const WORDS: Readonly<Record<string, string>> = { shield: 'qmail', identity: 'proxy-v2' };

t.test('every option of the proxy can be set in the file', async (t) => {
  const limits = Object.keys(DEFAULT_LIMITS).map(
    (name) => `  ${snake(name)}: ${name.startsWith('command') ? 600 : 7}`,
  );
  const timeouts = Object.keys(DEFAULT_TIMEOUTS).map((name) => `  ${snake(name)}: 7s`);
  const upstream = Object.keys(DEFAULT_UPSTREAM)
    .filter((name) => name !== 'tls')
    .map((name) => `${snake(name)}: ${WORDS[name] ?? (/max[CWM]/.test(name) ? 7 : '7s')}`);
  const text = `limits:\n${limits.join('\n')}\ntimeouts:\n${timeouts.join('\n')}
upstream: [{ host: a.example, port: 25, ${upstream.join(', ')} }, { host: b.example }]
listen: [{ port: 0, host: 127.0.0.1, bare_lf: convert, long_lines: pass, line_limit: 2000, eight_bit: reject, patches: { mime-depth: shadow }, lenient: [odd-encodings], proxy_from: [10.0.0.7] }, { name: sub, port: 587 }]
devices: [{ name: printers, networks: [192.0.2.0/28], patches: { header-size: off } }]
hostname: mail.example.org\nobserve: true\nreceived: false\nresolvers: [127.0.0.1]\ndrain: 5s\nlog: { format: classic, level: warn }
local_domains: [example.org]\ntrust: [192.0.2.0/24]\n`;
  const { proxy, log, drain } = setupOf({ config: path.join(folder(t, { 'c.yaml': text }), 'c.yaml') });
  for (const [name, value] of Object.entries(proxy.limits))
    t.equal(value, name.startsWith('command') ? 600 : 7, name);
  for (const [name, value] of Object.entries(proxy.timeouts)) t.equal(value, 7_000, name);
  t.match(proxy.upstreams[0], {
    maxConnections: 7,
    maxWaiting: 7,
    waitTimeout: 7_000,
    maxMessages: 7,
    maxAge: 7_000,
    shield: 'qmail',
    identity: 'proxy-v2',
  });
  t.same(proxy.listeners[0]?.shield, { modes: { 'mime-depth': 'shadow' }, lenient: ['odd-encodings'] });
  t.equal(proxy.listeners[1]?.shield, undefined);
  t.same(
    proxy.listeners.map(({ proxyFrom }) => proxyFrom?.size),
    [1, undefined],
  );
  t.same(proxy.devices[0]?.shield, { modes: { 'header-size': 'off' }, lenient: [] });
  t.match(proxy.upstreams[1], { name: 'b.example:25', port: 25, ...DEFAULT_UPSTREAM });
  t.same(proxy.listeners[0]?.data, {
    bareLf: 'convert',
    overLong: 'pass',
    lineLimit: 2000,
    eightBit: 'reject',
  });
  t.match(proxy, { hostname: 'mail.example.org', observe: true, received: false, resolvers: ['127.0.0.1'] });
  t.same([log, drain], [{ format: 'classic', level: 'warn' }, 5_000]);
});

t.test('a fault names its place and what would be right', async (t) => {
  const cases: readonly [string, string][] = [
    ['lisen: []\n', 'FILE:3:1: lisen: unknown key. Did you mean "listen"?'],
    ['limits: { recipient: 5 }\n', 'FILE:3:11: limits.recipient: unknown key. Did you mean "recipients"?'],
    [
      'limits: { recipients: 0 }\n',
      'FILE:3:23: limits.recipients: must be a whole number from 1 to 1000000000',
    ],
    [
      'limits: { message_bytes: much }\n',
      'FILE:3:26: limits.message_bytes: must be a number of octets, or a size such as 50MB',
    ],
    [
      'timeouts: { idle: 5 }\n',
      'FILE:3:19: timeouts.idle: must be a time such as 30s, 5m or 1h, at least 1ms and at most 24h',
    ],
    [
      'timeouts: { idle: 0s }\n',
      'FILE:3:19: timeouts.idle: must be a time such as 30s, 5m or 1h, at least 1ms and at most 24h',
    ],
    [
      'timeouts: { idle: 25h }\n',
      'FILE:3:19: timeouts.idle: must be a time such as 30s, 5m or 1h, at least 1ms and at most 24h',
    ],
    [
      'listen: [{ port: 25, patches: { mime-deep: off } }]\n',
      'FILE:3:33: listen[0].patches.mime-deep: unknown key. Did you mean "mime-depth"?',
    ],
    ['logins: []\n', 'FILE:3:9: logins: must hold at least one entry'],
    [
      'listen: [{ port: 587, require: login }]\n',
      'listener mx: require: login needs logins: in the file, or nobody could ever log in.',
    ],
    ['listen: [{ name: MX, port: 25 }]\n', 'FILE:3:18: listen[0].name: must be 1 to 32 of a-z, 0-9 and -'],
    ['listen: [{ port: 65536 }]\n', 'FILE:3:18: listen[0].port: must be a whole number from 0 to 65535'],
    ['observe: maybe\n', 'FILE:3:10: observe: must be true or false'],
    [
      'policy: p.yaml\n',
      'FILE: policy and local_domains or trust exclude one another. Move them into the policy.',
    ],
    ['listen: [{ host: mail.example, port: 25 }]\n', 'listen: host "mail.example" is not an IP address.'],
  ];
  for (const [text, fault] of cases) t.strictSame(fileFaults(t, BASE + text), [fault], text);
  t.match(fileFaults(t, 'a: [\n'), [/^FILE:\d+:\d+: /]);
  t.match(
    fileFaults(t, 'upstream: { hst: x }\n').join('\n'),
    /FILE:1:13: upstream\.hst: unknown key\. Did you mean "host"\?/,
  );
  t.match(
    fileFaults(t, 'upstream: { host: x, identity: proxy }\n')[0],
    /identity: must be received or xclient/,
  );
  t.match(
    fileFaults(t, 'listen: [{ port: 25, proxy_from: [0.0.0.0/0] }]\n')[0],
    /proxy_from\[0\]: holds every address: whoever connects could claim to be anybody/,
  );
  t.match(
    fileFaults(t, 'listen: [{ port: 25, proxy_from: [10.0.0.300] }]\n')[0],
    /proxy_from\[0\]: not an IP/,
  );
  t.match(
    fileFaults(
      t,
      'upstream: { host: x, identity: proxy-v1 }\nlogins: [{ upstream: true }]\nlocal_domains: [a.example]\n',
    )[0],
    /logins: upstream: true cannot be used .* upstream: x:587/,
  );
  t.match(fileFaults(t, ''), [/no upstream/, /--local-domain: missing/]);
});

t.test('POP3 and IMAP proxies', async (t) => {
  t.same(setupOf(FLAGS).mailProxies, []);
  const dir = folder(t, { 'c.yaml': '' });
  const of = (text: string): Setup['mailProxies'] => {
    writeFileSync(path.join(dir, 'c.yaml'), `${BASE}roaming: { proxies: [${text}] }\n`);
    return setupOf({ config: path.join(dir, 'c.yaml') }).mailProxies;
  };
  const defaults = {
    ...{
      protocol: 'pop3',
      name: 'pop3',
      host: '',
      port: 110,
      tls: 'none',
      tlsFloor: '1.2',
      requireTls: false,
    },
    server: { host: '127.0.0.1', port: 1110, tls: 'none', trust: DEFAULT_MAIL_TRUST },
    ...{ proxyProtocol: 'none', limits: DEFAULT_MAIL_LIMITS, timeouts: DEFAULT_MAIL_TIMEOUTS },
  };
  t.same(of('{ protocol: pop3, upstream: "127.0.0.1:1110" }'), [defaults]);
  const fingerprint = 'AB:'.repeat(31);
  const [, second, third] =
    of(`{ protocol: imap, upstream: "[::1]:1" }, { protocol: imap, upstream: "h.example:65535" },
    { protocol: imap, name: x, upstream: "h:1", host: "::1", port: 0, tls_floor: "1.3", upstream_tls: implicit,
      upstream_tls_name: n, upstream_tls_fingerprint: "sha256:${fingerprint}ab", upstream_tls_floor: "1.0",
      proxy_protocol: v2, connections: 7, connections_per_address: 6, tls_handshake_timeout: 1s, connect_timeout: 2s,
      login_timeout: 3s, idle_timeout: 4s, keep: 5s }`);
  t.match(second, { name: 'imap-2', port: 143, server: { host: 'h.example', port: 65_535 } });
  t.match(third, {
    ...{ host: '::1', port: 0, tlsFloor: '1.3', proxyProtocol: 'v2' },
    server: {
      tls: 'implicit',
      trust: { name: 'n', fingerprints: ['ab'.repeat(32)], floor: '1.0', verify: true },
    },
    limits: { connections: 7, connectionsPerAddress: 6 },
    timeouts: { tlsHandshake: 1_000, connect: 2_000, login: 3_000, idle: 4_000, keep: 5_000 },
  });
  // The commented example, with its comments taken away, is as the defaults.
  const example = readFileSync('deploy/sekisho.yaml', 'utf8');
  const proxies = example.slice(example.indexOf('# proxies:'), example.indexOf('# logs:'));
  const keys = [...proxies.matchAll(/^ {2}# {3}(?:- | {2})(\w+):/gm)].map((match) => match[1]);
  t.same([...keys].sort(), [...MAIL_PROXY_KEYS].sort(), 'the example names every option');
  const cases: readonly [string, RegExp][] = [
    ['protocol: smtp, upstream: "h:1"', /proxies\[0\]\.protocol: must be pop3 or imap/],
    ['protocol: pop3', /proxies\[0\]\.upstream: missing/],
    ['protocol: pop3, upstream: h', /upstream: must be HOST:PORT/],
    ['protocol: pop3, upstream: "h:65536"', /upstream: must be HOST:PORT/],
    ['protocol: pop3, upstream: "h:1", upstram_tls: none', /unknown key\. Did you mean "upstream_tls"\?/],
    [
      'protocol: pop3, upstream: "h:1", tls: starttls',
      /roaming proxy pop3: tls: starttls needs a certificate/,
    ],
    ['protocol: pop3, upstream: "h:1", require_tls: true', /would let nobody in/],
    ['protocol: pop3, upstream: "h:1", host: h', /host "h" is not an IP address/],
    [
      'protocol: pop3, upstream: "h:1", upstream_tls_verify: false',
      /upstream_tls_verify means nothing without/,
    ],
    ['protocol: pop3, upstream: "h:1", upstream_tls: starttls, upstream_tls_ca: no', /cannot read it/],
    ['protocol: pop3, upstream: "h:1", name: mx', /two listeners are called "mx"/],
  ];
  for (const [text, fault] of cases) {
    const found = fileFaults(t, `${BASE}roaming: { proxies: [{ ${text} }] }\n`);
    t.equal(found.length, 1, text);
    t.match(found[0], fault, text);
  }
});

t.test('logs and Whoson', async (t) => {
  t.same(setupOf(FLAGS).sources, { logs: [], whoson: undefined });
  const dir = folder(t, { 'c.yaml': '' });
  const of = (text: string): Setup['sources'] => {
    writeFileSync(path.join(dir, 'c.yaml'), `${BASE}roaming: ${text}\n`);
    return setupOf({ config: path.join(dir, 'c.yaml') }).sources;
  };
  const pattern = '^(?<user>a) (?<address>b)$';
  t.match(
    of(`{ logs: [{ file: mail.log, format: uw, zone: Asia/Tokyo }, { file: /x, pattern: '${pattern}' },
    { journal: { unit: dovecot.service, directory: j }, format: dovecot }], whoson: {} }`),
    {
      logs: [
        { place: { file: path.join(dir, 'mail.log') }, format: 'uw', zone: 'Asia/Tokyo' },
        { place: { file: '/x' }, format: { pattern }, zone: undefined },
        {
          place: { journal: { unit: 'dovecot.service', directory: path.join(dir, 'j') } },
          format: 'dovecot',
          zone: undefined,
        },
      ],
      whoson: {
        host: '127.0.0.1',
        port: 9_876,
        peers: [{ text: '127.0.0.0/8' }, { text: '::1/128' }],
      },
    },
  );
  const example = readFileSync('deploy/sekisho.yaml', 'utf8');
  const part = example.slice(example.indexOf('# logs:'), example.indexOf('\nobserve:'));
  const keys = new Set([...part.matchAll(/^ {2}# {3}(?:- | {0,4})(\w+):/gm)].map((match) => match[1]));
  for (const place of [['logs', 0], ['logs', 0, 'journal'], ['whoson']])
    for (const key of sourceKeysAt(place) ?? ['none']) t.ok(keys.has(key), `the example names ${key}`);
  t.match(of('{ whoson: { host: "::", port: 1, peers: [192.0.2.1] } }').whoson, { host: '::', port: 1 });
  for (const [text, fault] of [
    ['{ logs: [] }', /FILE:3:18: roaming\.logs: must hold at least one/],
    ['{ logs: [{ format: uw }] }', /FILE:3:19: roaming\.logs\[0\]: must have either file or journal/],
    ['{ logs: [{ file: x }] }', /FILE:3:19: roaming\.logs\[0\]: must have either format or pattern/],
    [`{ logs: [{ file: x, format: uw, pattern: '${pattern}' }] }`, /must have either format or pattern/],
    ['{ logs: [{ file: x, journal: { unit: a.service }, format: uw }] }', /must have either file or journal/],
    ['{ logs: [{ file: x, format: dovcot }] }', /FILE:3:38: .*must be one of dovecot, courier/],
    ['{ logs: [{ file: x, fromat: uw }] }', /unknown key\. Did you mean "format"\?/],
    ["{ logs: [{ file: x, pattern: '(?<user>a)' }] }", /FILE:3:39: .*must begin with \^ and end with \$/],
    ["{ logs: [{ file: x, pattern: '^(?<user>(a)$' }] }", /is not a pattern of RE2: .*missing closing/],
    ['{ logs: [{ file: x, format: uw, zone: Mars }] }', /must be UTC, an offset such as \+09:00/],
    ['{ logs: [{ journal: { unit: dovecot }, format: dovecot }] }', /must be the full name of a unit/],
    ['{ logs: [{ journal: { unt: a.service }, format: uw }] }', /Did you mean "unit"\?/],
    ['{ logs: [{ journal: { unit: a.service }, format: exchange }] }', /must have a file: Exchange/],
    ['{ logs: [{ journal: { unit: a.service }, format: uw, zone: UTC }] }', /must have no zone/],
    ['{ whoson: { host: h } }', /FILE:3:28: roaming\.whoson\.host: must be an IP address/],
    ['{ whoson: { port: 65536 } }', /must be a whole number from 0 to 65535/],
    ['{ whoson: { peers: [] } }', /must hold at least one/],
    ['{ whoson: { peers: [0.0.0.0/0] } }', /would believe everybody/],
    ['{ whoson: { peers: [x] } }', /FILE:3:30: .*not an IP address/],
    ['{ whoson: { pers: [x] } }', /Did you mean "peers"\?/],
  ] as const) {
    const found = fileFaults(t, `${BASE}roaming: ${text}\n`);
    t.match(found.join('\n'), fault, text);
  }
});

t.test('where state is kept, and what opens windows', async (t) => {
  const flags = setupOf(FLAGS);
  t.same(flags.store, { kind: 'memory' });
  const roaming = { length: 900_000, budget: 0, mostLogins: 3, shared: [], fromSmtpAuth: false };
  t.same(flags.roaming, roaming);
  const example = setupOf({ config: 'deploy/sekisho.yaml' });
  t.same([example.store, example.roaming], [flags.store, roaming], 'the example shows the defaults');
  const dir = folder(t, { password: 's3cret\n', 'sentinel-password': 'watch\n' });
  const own = authority(dir, 'own');
  const pem = readFileSync(own.cert, 'utf8');
  const of = (text: string): Setup => {
    writeFileSync(path.join(dir, 'c.yaml'), BASE + text);
    return setupOf({ config: path.join(dir, 'c.yaml') });
  };
  t.same(of('store: memory\n').store, { kind: 'memory' });
  t.same(of('store: { lmdb: state }\n').store, { kind: 'lmdb', folder: path.join(dir, 'state') });
  t.same(of('store: { redis: "redis://:p%40ss@[::1]" }\n').store, {
    kind: 'redis',
    options: {
      ...{ host: '::1', port: 6379, db: 0, tls: false, password: 'p@ss', timeout: 250, prefix: 'sekisho:' },
      ...{ sentinels: [], master: 'mymaster', cluster: false, seeds: [] },
    },
  });
  const full = `store: { redis: "rediss://u@r.example:7000/2", password_file: password, timeout: 1s, prefix: "x:",
  ca: own.crt, cert: own.crt, key: own.key, sentinels: ["[::1]:1", "s.example:2"], master: mail,
  sentinel_password_file: sentinel-password }
roaming: { window: 1h, budget: 5, most_logins: 1, shared: [192.0.2.0/24, 2001:db8::/64], from: [smtp-auth] }\n`;
  t.match(of(full), {
    store: {
      options: {
        ...{ host: 'r.example', port: 7000, db: 2, tls: true, username: 'u', password: 's3cret', ca: pem },
        ...{ timeout: 1_000, prefix: 'x:', master: 'mail', cluster: false, sentinelPassword: 'watch' },
        identity: { cert: pem, key: readFileSync(own.key, 'utf8') },
        sentinels: [
          { host: '::1', port: 1 },
          { host: 's.example', port: 2 },
        ],
      },
    },
    roaming: { length: 3_600_000, budget: 5, mostLogins: 1, fromSmtpAuth: true, shared: { length: 2 } },
  });
  t.match(of('store: { redis: "redis://h", cluster: true }\n').store, {
    options: { cluster: true, seeds: [] },
  });
  t.match(of('store: { redis: "redis://h", cluster: ["a:1", "[::1]:2"] }\n').store, {
    options: {
      cluster: true,
      seeds: [
        { host: 'a', port: 1 },
        { host: '::1', port: 2 },
      ],
    },
  });
  const cases: readonly [string, RegExp][] = [
    ['store: disk\n', /FILE:3:8: store: must be memory, or a map with lmdb or redis/],
    ['store: {}\n', /store: must be memory, or a map with lmdb or redis, and not both/],
    ['store: { lmdb: a, redis: "redis://h" }\n', /and not both/],
    ['store: { lmdb: a, prefix: x }\n', /store\.prefix: is for redis alone/],
    ['store: { redis: "http://h" }\n', /FILE:3:17: store\.redis: must be redis:/],
    ['store: { redis: "redis://h/x" }\n', /DB is a number/],
    ['store: { redis: "redis://h:x" }\n', /store\.redis: not a URL/],
    ['store: { redis: "redis://:s3cret@h", password_file: c.yaml }\n', /store: .*c\.yaml: cannot read it/],
    ['store: { redis: "redis://h", cluster: true, sentinels: ["a:1"] }\n', /neither sentinels/],
    [
      'store: { redis: "redis://h", cluster: [a] }\n',
      /cluster.*must be (true, false, or a list of )?HOST:PORT/,
    ],
    ['store: { redis: "redis://h", ca: c.yaml }\n', /store\.ca: means nothing without TLS\. Write rediss:/],
    ['store: { redis: "rediss://h", ca: c.yaml }\n', /c.yaml: cannot read it/],
    ['store: { redis: "rediss://h", cert: c.yaml }\n', /cert and key go together/],
    ['store: { redis: "redis://h", sentinel_password_file: c.yaml }\n', /nothing without sentinels/],
    ['store: { redis: "redis://h", sentinels: [a] }\n', /sentinels\[0\]: must be HOST:PORT/],
    ['store: { reds: x }\n', /store\.reds: unknown key\. Did you mean "redis"\?/],
    ['roaming: { windw: 1h }\n', /roaming\.windw: unknown key\. Did you mean "window"\?/],
    ['roaming: { most_logins: 0 }\n', /from 1 to 1000/],
    ['roaming: { shared: ["2001:db8::/65"] }\n', /at most 64 bits/],
    ['roaming: { shared: [x] }\n', /roaming\.shared\[0\]/],
    ['roaming: { from: [pop3] }\n', /roaming\.from\[0\]: must be smtp-auth/],
  ];
  for (const [text, fault] of cases) {
    const found = fileFaults(t, BASE + text);
    t.equal(found.length, 1, text);
    t.match(found[0], fault, text);
    t.notMatch(found.join(), /s3cret/);
  }
});

t.test('times, sizes, names', async (t) => {
  t.same(['1ms', '30s', '5m', '1h', '5', 's', '1d'].map(milliseconds), [
    1,
    30_000,
    300_000,
    3_600_000,
    undefined,
    undefined,
    undefined,
  ]);
  t.same(['5', '1KB', '50MB', '1GB', '1TB'].map(octets), [5, 1024, 52_428_800, 1_073_741_824, undefined]);
  for (const name of Object.keys({ ...DEFAULT_LIMITS, ...DEFAULT_TIMEOUTS }))
    t.equal(camel(snake(name)), name);
});

t.test('what ships: the example and the schema', async (t) => {
  const { proxy } = setupOf({ config: 'deploy/sekisho.yaml' });
  t.same(proxy.limits, DEFAULT_LIMITS, 'the example shows the defaults');
  t.same(proxy.timeouts, DEFAULT_TIMEOUTS);
  t.same(proxy.upstreams[0], { ...DEFAULT_UPSTREAM, name: '127.0.0.1:2525', host: '127.0.0.1', port: 2525 });
  t.same(
    JSON.parse(readFileSync('policies/sekisho.schema.json', 'utf8')),
    JSON.parse(JSON.stringify(configJsonSchema())),
  );
});

const PEER: Peer = {
  session: 's1',
  listener: 'mx',
  address: '192.0.2.1',
  port: 1,
  name: undefined,
  helo: 'h',
  protocol: 'ESMTP',
};
const REFUSED: SekishoEvent = {
  type: 'recipient',
  peer: PEER,
  from: 'x@spam.example',
  to: 'y@victim.example',
  result: 'rejected',
  code: 550,
  reply: '550 5.7.1 <y@victim.example>... Relaying denied',
};

t.test('log lines', async (t) => {
  t.match(
    classicLine(REFUSED, new Date()),
    /^\w{3} [ \d]\d \d\d:\d\d:\d\d \S+ sekisho\[\d+\]: NOQUEUE: reject: RCPT from unknown\[192\.0\.2\.1\]: 550 5\.7\.1 <y@victim\.example>\.\.\. Relaying denied; from=<x@spam\.example> to=<y@victim\.example> proto=ESMTP helo=<h>$/,
  );
  const forged = classicLine({ ...REFUSED, to: 'a\r\nb\u2028c\x1b[2J\u202e' }, new Date());
  t.match(forged, /to=<a\\x0d\\x0ab\\u\{2028\}c\\x1b\[2J\\u\{202e\}>/);
  t.equal(escapeText('日本 ok'), '日本 ok');
  t.same(fieldsOf({ ...REFUSED, reply: '550-a\r\n550 b' }), {
    event: 'recipient',
    from: 'x@spam.example',
    to: 'y@victim.example',
    result: 'rejected',
    code: 550,
    reply: '550-a / 550 b',
    session: 's1',
    listener: 'mx',
    client: '192.0.2.1',
    clientPort: 1,
    helo: 'h',
    protocol: 'ESMTP',
  });
  const lines: string[] = [];
  const out = { write: (line: string) => lines.push(line) } as unknown as NodeJS.WritableStream;
  createLog('json', 'info', out)(REFUSED);
  t.match(JSON.parse(lines[0] ?? ''), { level: 'info', event: 'recipient', client: '192.0.2.1' });
  t.notMatch(lines[0], /[^\n]\n./, 'one line');
  createLog('json', 'warn', out)(REFUSED);
  createLog('classic', 'warn', out)(REFUSED);
  t.equal(lines.length, 1, 'too quiet for that level');
  t.equal(levelOf({ type: 'reload', ok: false, policy: 'x' }), 'error');
});

t.test('lines of the log that come together are written together, and soon', async (t) => {
  const writes: string[] = [];
  const gatherer = new LineGatherer({ write: (text) => writes.push(text) });
  const few = Array.from({ length: 20 }, (_, i) => `${i}\n`);
  for (const line of [...few, 'b\n', 'c\n']) gatherer.write(line);
  t.strictSame(writes, few, 'where little happens no line waits');
  await eventually('the others are out', () => writes.length === 21);
  t.equal(writes[20], 'b\nc\n');
  writes.length = 0;
  for (let i = 0; i < 1_000; i += 1) gatherer.write(`${'x'.repeat(99)}\n`);
  gatherer.flush();
  t.equal(writes.join('').length, 100_000, 'none is lost');
  t.ok(writes.length < 30);
  const script = `import { LineGatherer } from './src/app/line-gatherer.ts';
    const lines = new LineGatherer(process.stdout);
    for (const line of ['a', 'b']) lines.write(line + '\\n');
    throw new Error('crash');`;
  const args = ['--import=tsx', '--input-type=module', '-e', script];
  t.equal(spawnSync(process.execPath, args, { encoding: 'utf8' }).stdout, 'a\nb\n', 'nor in a crash');
});

t.test('reload: the old policy stays in force on any fault', async (t) => {
  const dir = folder(t, { 'p.yaml': readFileSync('policies/minimal.yaml', 'utf8') });
  const flags: Flags = { upstream: ['127.0.0.1:25'], policy: path.join(dir, 'p.yaml') };
  const events: SekishoEvent[] = [];
  const applied: unknown[] = [];
  const reloader = new Reloader(
    flags,
    setupOf(flags),
    ({ proxy }) => applied.push(proxy.policy),
    (event) => events.push(event),
  );
  t.teardown(() => reloader.stop());
  t.ok(reloader.reload().ok);
  writeFileSync(path.join(dir, 'p.yaml'), 'version: 1\nrules: [{ name: a, alow: {} }]\n');
  t.match(reloader.reload(), { ok: false, error: [/alow/] }, 'a typing error');
  writeFileSync(
    path.join(dir, 'p.yaml'),
    'version: 1\nrules: [{ name: a, allow: { to: example.org } }]\ntests: [{ name: wrong, client: 192.0.2.1, from: a@b.example, to: c@d.example, expect: allow }]\n',
  );
  t.match(reloader.reload(), { ok: false }, 'its own test fails');
  t.equal(applied.length, 1);
  t.match(events, [
    { ok: true },
    { ok: false, reason: /alow/ },
    { ok: false, reason: /test "wrong" failed: expected allow, got deny/ },
  ]);
});
