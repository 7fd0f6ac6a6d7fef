import { readFileSync, writeFileSync } from 'node:fs';
import path from 'node:path';
import t, { type Test } from 'tap';
import { type Flags, loadSetup, parseEndpoint, type Setup } from '../../src/app/config.js';
import { camel, configJsonSchema, milliseconds, octets, snake } from '../../src/app/config-schema.js';
import { createLog, fieldsOf, levelOf } from '../../src/app/log.js';
import { classicLine, escapeText } from '../../src/app/log-classic.js';
import { Reloader } from '../../src/app/reload.js';
import type { Peer, SekishoEvent } from '../../src/base/events.js';
import { DEFAULT_LIMITS, DEFAULT_TIMEOUTS, DEFAULT_UPSTREAM } from '../../src/proxy/options.js';
import { folder } from '../support/process.js';

const FLAGS: Flags = { upstream: ['127.0.0.1:2525'], localDomain: ['example.org'] };

const setupOf = (flags: Flags): Setup => {
  const setup = loadSetup(flags);
  if (!setup.ok) throw new Error(setup.error.join('\n'));
  return setup.value;
};

const faultsOf = (flags: Flags): readonly string[] => {
  const setup = loadSetup(flags);
  return setup.ok ? [] : setup.error;
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

t.test('every option of the proxy can be set in the file', async (t) => {
  const limits = Object.keys(DEFAULT_LIMITS).map(
    (name) => `  ${snake(name)}: ${name.startsWith('command') ? 600 : 7}`,
  );
  const timeouts = Object.keys(DEFAULT_TIMEOUTS).map((name) => `  ${snake(name)}: 7s`);
  const upstream = Object.keys(DEFAULT_UPSTREAM).map(
    (name) => `${snake(name)}: ${/max[CWM]/.test(name) ? 7 : '7s'}`,
  );
  const text = `limits:\n${limits.join('\n')}\ntimeouts:\n${timeouts.join('\n')}
upstream: [{ host: a.example, port: 25, ${upstream.join(', ')} }, { host: b.example }]
listen: [{ port: 0, host: 127.0.0.1, bare_lf: convert, long_lines: pass, line_limit: 2000, eight_bit: reject }, { name: sub, port: 587 }]
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
  });
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
    ['logins: []\n', 'FILE:3:1: logins: not available yet in this version. Take it out.'],
    [
      'listen: [{ port: 587, require: login }]\n',
      'FILE:3:23: listen[0].require: not available yet in this version. Take it out.',
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
  t.match(fileFaults(t, 'upstream: { host: x, identity: xclient }\n')[0], /identity: must be received/);
  t.match(fileFaults(t, ''), [/no upstream/, /--local-domain: missing/]);
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

t.test('reload: the old policy stays in force on any fault', async (t) => {
  const dir = folder(t, { 'p.yaml': readFileSync('policies/minimal.yaml', 'utf8') });
  const flags: Flags = { upstream: ['127.0.0.1:25'], policy: path.join(dir, 'p.yaml') };
  const events: SekishoEvent[] = [];
  const applied: unknown[] = [];
  const reloader = new Reloader(
    flags,
    setupOf(flags),
    ({ policy }) => applied.push(policy),
    (event) => events.push(event),
  );
  t.teardown(() => reloader.stop());
  t.equal(reloader.reload(), true);
  writeFileSync(path.join(dir, 'p.yaml'), 'version: 1\nrules: [{ name: a, alow: {} }]\n');
  t.equal(reloader.reload(), false, 'a typing error');
  writeFileSync(
    path.join(dir, 'p.yaml'),
    'version: 1\nrules: [{ name: a, allow: { to: example.org } }]\ntests: [{ name: wrong, client: 192.0.2.1, from: a@b.example, to: c@d.example, expect: allow }]\n',
  );
  t.equal(reloader.reload(), false, 'its own test fails');
  t.equal(applied.length, 1);
  t.match(events, [
    { ok: true },
    { ok: false, reason: /alow/ },
    { ok: false, reason: /test "wrong" failed: expected allow, got deny/ },
  ]);
});
