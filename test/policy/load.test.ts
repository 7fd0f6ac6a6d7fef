import { readFileSync } from 'node:fs';
import t from 'tap';
import { parseIp } from '../../src/base/ip.js';
import { err, ok, type Result } from '../../src/base/result.js';
import { loadPolicy, type Policy, type PolicyError, renderError } from '../../src/policy/compile.js';
import { decide } from '../../src/policy/decide.js';
import { nearest } from '../../src/policy/errors.js';
import { policyJsonSchema } from '../../src/policy/schema.js';
import { simplePolicy } from '../../src/policy/simple.js';

type Files = Readonly<Record<string, string>>;
const load = (text: string, files: Files = {}): Result<Policy, readonly PolicyError[]> =>
  loadPolicy('policies/x.yaml', text, (path) =>
    Object.hasOwn(files, path) ? ok(files[path]!) : err('no such file'),
  );

/** Every error as it is shown, or none. */
const errors = (text: string, files: Files = {}): string[] => {
  const policy = load(text, files);
  return policy.ok ? [] : policy.error.map(renderError);
};
const policy = (text: string, files: Files = {}): Policy => {
  const loaded = load(text, files);
  if (!loaded.ok) throw new Error(loaded.error.map(renderError).join('\n'));
  return loaded.value;
};

const client = (text: string) => parseIp(text)!;
/** Whether a client may send to a domain, both read plainly. */
const verdict = (law: Policy, from: string, to = 'elsewhere.example'): string =>
  decide(law, {
    client: client(from),
    clientName: { known: true, value: undefined },
    listener: '',
    helo: '',
    from: { address: '', domain: '' },
    to: { address: `u@${to}`, readings: [{ kind: 'domain', domain: to, via: 'plain' }] },
  }).kind;

const HEAD = `version: 1
networks:
  campus: [192.0.2.0/24]
  none: []
domains:
  ours: [example.org]
  nobody: []
rules:
`;
const INBOUND = '  - { name: inbound, allow: { to: ours } }\n';

t.test('faults of shape: all of them, each at its place', async (t) => {
  t.same(errors(`${HEAD}  - name: a\n    allow: { cleint: campus }\n    shadow: maybe\nextra: 1\n`), [
    'policies/x.yaml:10:14: rules[0].allow.cleint: unknown key. Did you mean "client"?',
    'policies/x.yaml:11:13: rules[0].shadow: must be true or false',
    'policies/x.yaml:12:1: extra: unknown key. Keys here: version, networks, domains, rules, senders, tests.',
  ]);
  const cases: readonly (readonly [string, string])[] = [
    ['rules: []\nversion: 1', '1:8: rules: must hold at least one rule'],
    [`rules: [{ name: a, deny: {} }]`, '1:1: version: missing. It must be 1.'],
    [`version: 2\nrules: [{ name: a, deny: {} }]`, '1:10: version: must be 1'],
    ['version: 1', '1:1: rules: missing. It must be a list of rules.'],
    [`${HEAD}  - allow: { to: ours }`, '9:5: rules[0].name: missing'],
    [`${HEAD}  - { name: "a;b", deny: {} }`, '9:13: rules[0].name: must be 1 to 64'],
    [`${HEAD}  - { name: ${'n'.repeat(65)}, deny: {} }`, 'rules[0].name: must be 1 to 64'],
    [`${HEAD}  - { name: a, allow: }`, 'rules[0].allow: must be a map of conditions'],
    [`${HEAD}  - { name: a, allow: { from: [null] } }`, 'rules[0].allow.from[0]: must be text, in quotes'],
    [
      `${HEAD}${INBOUND}tests:\n  - { name: t, client: 1.2.3.4, from: a, to: b, expect: alow }`,
      '11:57: tests[0].expect: must be',
    ],
    [
      'version: 1\nnetworks: { a.b: [10.0.0.0/8] }\nrules: [{ name: a, deny: {} }]',
      '2:13: networks.a.b: bad name',
    ],
    [
      'version: 1\nnetworks: { a: [{ fil: x }] }\nrules: [{ name: a, deny: {} }]',
      '2:17: networks.a[0]: must be text, or one of',
    ],
    ['version: 1\nnetworks: { a: [5] }\nrules: [{ name: a, deny: {} }]', '2:17: networks.a[0]: must be text'],
    ['', '1:1: must be a policy'],
    ['- a', '1:1: must be a policy'],
  ];
  for (const [text, expected] of cases) {
    const found = errors(text);
    t.ok(
      found.some((line) => line.includes(expected)),
      `${expected}\n${found.join('\n')}`,
    );
  }
  t.same(errors(`${HEAD}  - { name: ${'n'.repeat(64)}, deny: {} }`), [], '64 characters are a name');
});

t.test('faults of YAML', async (t) => {
  t.match(errors('version: 1\nversion: 1\nrules: []'), [/^policies\/x\.yaml:2:1: .*unique.*Remove one/]);
  t.match(errors('version: [1\nrules: }'), [/^policies\/x\.yaml:2:/]);
  t.match(errors('version: 1\n---\nversion: 1'), [/one document/]);
  t.match(errors('version: *nowhere'), [/^policies\/x\.yaml:1:10: /]);
  const bomb = [
    'a: &a [x, x, x, x, x, x, x, x, x, x]',
    ...[...'bcdefgh'].map((c, i) => `${c}: &${c} [${Array(10).fill(`*${'abcdefg'[i]}`).join(', ')}]`),
  ];
  t.match(errors(bomb.join('\n')), [/excessive alias/i]);
  t.same(
    errors(
      `${HEAD.replace('[192.0.2.0/24]', '&c [192.0.2.0/24]').replace('none: []', 'none: *c')}  - { name: a, allow: { client: none } }`,
    ),
    [],
  );
});

t.test('words that name no list', async (t) => {
  const one = (rule: string): string[] => errors(`${HEAD}  - { name: a, ${rule} }`);
  t.match(one('allow: { to: ors }'), [
    /9:29: rules\[0\]\.allow\.to: no such list of domains: "ors"\. Did you mean "ours"\?$/,
  ]);
  t.match(one('allow: { client: [192.0.2.1, campsu] }'), [
    /allow\.client\[1\]: no such list of networks: "campsu"\. Did you mean "campus"\?$/,
  ]);
  t.match(one('allow: { client: ours }'), [/"ours" is a list of domains/]);
  t.match(one('allow: { to: campus }'), [/"campus" is a list of networks/]);
  t.match(one('allow: { to: zzzzzz }'), [/no such list of domains: "zzzzzz"\. There are: ours, nobody\./]);
  t.match(one('allow: { client: 192.0.2.1/24 }'), [
    /"192\.0\.2\.1\/24": host bits set\. Did you mean 192\.0\.2\.0\/24\?$/,
  ]);
  t.match(one('allow: { to: 192.0.2.1 }'), [/an address, not a domain\. Did you mean \[192\.0\.2\.1\]\?$/]);
  t.match(one('allow: { to: "*.example.org" }'), [/not a domain\. Did you mean \.example\.org\?$/]);
  for (const bad of [
    '"a b.example"',
    '"."',
    '".."',
    '"a..b"',
    '"u@"',
    '"@example.org"',
    '"u%v@example.org"',
    '"v!u@example.org"',
    '"[192.0.2]"',
    '"[192.0.2.1"',
    '"-a.example"',
    '"x_y z@example.org"',
    '"1.2.3"',
  ])
    t.equal(one(`allow: { to: ${bad} }`).length, 1, `${bad} is refused`);
  for (const good of [
    'localhost',
    '".example.org"',
    'u@example.org',
    '"o\'hara@example.org"',
    '"[192.0.2.1]"',
    '"[IPv6:2001:db8::1]"',
    'EXAMPLE.org.',
    'bücher.example',
    '["null", ours]',
  ])
    t.same(one(`deny: { from: ${good} }`), [], `${good} is taken`);
});

t.test('rules', async (t) => {
  const rules = (...texts: string[]): string[] =>
    errors(HEAD + texts.map((text) => `  - ${text}\n`).join(''));
  t.match(rules('{ name: a }'), [/rules\[0\]: says neither/]);
  t.match(rules('{ name: a, allow: { to: ours }, deny: {} }'), [/says both allow and deny/]);
  t.match(rules('{ name: a, allow: { to: ours } }', '{ name: a, deny: {} }'), [
    /10:13: rules\[1\]\.name: "a" is the name of rules\[0\] already/,
  ]);
  t.match(rules('{ name: a, deny: { client: none } }'), [/nothing in none .*never matches/]);
  t.match(rules('{ name: a, deny: { to: [] } }'), [/an empty list, so the rule never matches/]);
  t.same(rules('{ name: a, deny: { client: [none, campus] } }'), [], 'one empty list among others');
  t.match(
    rules('{ name: a, deny: { client_name: u@example.org } }'),
    [/never matches/],
    'a mailbox is no host name',
  );
  for (const listed of ['any', 'zen', 'zen.spamhaus.org', '[zen, dnswl]'])
    t.same(rules(`{ name: a, deny: { to: ours, listed: ${listed} } }`), [], listed);
  t.match(rules('{ name: a, deny: { listed: [] } }'), [/an empty list, so the rule never matches/]);
  t.match(rules('{ name: a, deny: { listed: "a b" } }'), [/not the name of a DNS list/]);
  t.match(rules('{ name: a, allow: { listed: white } }'), [/open relay/], 'a list of others opens nothing');
  const two = (first: string, second: string): string[] =>
    rules(`{ name: a, deny: { listed: ${first} } }`, `{ name: b, deny: { listed: ${second} } }`);
  t.match(two('[x, y]', 'x'), [/can never be reached/]);
  t.match(two('any', 'any'), [/can never be reached/]);
  for (const [first, second] of [
    ['x', '[x, y]'],
    ['any', 'x'],
    ['x', 'any'],
  ] as const)
    t.same(two(first, second), [], `${first}, then ${second}`);
  t.same(rules('{ name: a, allow: { to: ours }, greylist: 5m }'), []);
  t.match(rules('{ name: a, deny: { to: ours }, greylist: 5m }'), [/a deny rule has no greylist/]);
  t.match(rules('{ name: a, allow: { to: ours }, greylist: 25h }'), [/from 1s to 24h/]);
  t.match(rules('{ name: a, allow: { to: ours }, greylist: "5" }'), [/such as 5m/]);
  const limited = (limit: string, more = ''): string[] =>
    rules(`{ name: a, allow: { to: ours${more} }, limit: { ${limit} } }`);
  t.same(limited('recipients: 500/1h, per: login, then: suspend, for: 24h', ', login: any'), []);
  t.same(limited('recipients: 50/15m, networks: 3/30d, per: window', ', window: any'), []);
  t.match(limited('recipients: 5/1h'), [/limit\.per: missing/]);
  t.match(limited('recipients: 5/1h, per: login'), [/limit\.per: the rule does not ask for a login/]);
  t.match(limited('per: rule'), [/limit: counts nothing/]);
  t.match(limited('recipients: 5/31d, per: rule'), [/from 1s to 30d/]);
  t.match(limited('recipients: 0/1h, per: rule'), [/must count from 1/]);
  t.match(limited('recipients: 5/1h, per: client, then: suspend'), [/only a login can be suspended/]);
  t.match(limited('recipients: 5/1h, per: client, for: 1h'), [/goes only with then: suspend/]);
});

t.test('replies of rules', async (t) => {
  const one = (rule: string): string[] => errors(`${HEAD}  - { name: a, ${rule} }`);
  t.match(one('allow: { to: ours }, reply: no'), [/allow rule has no reply/]);
  t.match(one('deny: {}, reply: { code: 451, text: x }'), [/a deny rule answers 5xx, not 451/]);
  t.match(one('defer: {}, reply: { code: 421, text: x }'), [/421 closes/]);
  t.match(one('defer: {}, reply: { enhanced: 5.7.1, text: x }'), [/does not go with 451/]);
  t.match(one('deny: {}, reply: 550 no'), [/begins with a reply code/]);
  t.match(one('deny: {}, reply: "a\\r\\nb"'), [/printable ASCII/]);
  t.match(one(`deny: {}, reply: ${'x'.repeat(201)}`), [/1 to 200/]);
  t.match(one('deny: {}, reply: { code: 600, text: x }'), [/400 to 599/]);
  t.match(
    one('deny: {}, reply: { code: 550, txt: x }').join('\n'),
    /txt: unknown key\. Did you mean "text"\?/,
  );
  const replyOf = (rule: string) => policy(`${HEAD}  - { name: a, ${rule} }`).rules[0]?.verdict.reply;
  t.same(replyOf('deny: {}'), undefined);
  t.same(replyOf('deny: {}, reply: Go away'), { code: 550, enhanced: '5.7.1', text: 'Go away' });
  t.same(replyOf('defer: {}, reply: Wait'), { code: 451, enhanced: '4.7.1', text: 'Wait' });
  t.same(replyOf('deny: {}, reply: { code: 554, enhanced: 5.4.6, text: x }'), {
    code: 554,
    enhanced: '5.4.6',
    text: 'x',
  });
  t.equal(replyOf(`deny: {}, reply: ${'x'.repeat(200)}`)?.text.length, 200);
});

t.test('rules that open the relay', async (t) => {
  const one = (rule: string): string[] => errors(`${HEAD}  - { name: a, ${rule} }`);
  const refused = [
    'allow: {}',
    'allow: { from: ours }',
    'allow: { helo: host.example.org }',
    'allow: { listener: mx }',
    'allow: { client: 0.0.0.0/0 }',
    'allow: { client: "::/0" }',
    'allow: { client: "::ffff:0:0/96" }',
    'allow: { client: [0.0.0.0/1, 128.0.0.0/1] }',
    'allow: { client: [campus, 64.0.0.0/4] }',
    'allow: { client: [64.0.0.0/5, 72.0.0.0/5] }',
    'allow: { client: "2000::/3" }',
    'allow: { client: "2000::/6" }',
    'allow: { client: 0.0.0.0/0, from: ours }',
  ];
  for (const rule of refused) {
    t.match(one(rule), [/open relay.*i_know/], rule);
    t.same(one(`${rule}, i_know: open relay`), [], `${rule}, admitted`);
  }
  t.match(one('allow: { client: 0.0.0.0/0 }, i_know: yes'), [/i_know: must be the words: open relay/]);
  for (const rule of [
    'allow: { to: ours }',
    'allow: { client: 0.0.0.0/0, to: ours }',
    'allow: { client: 64.0.0.0/5 }',
    'allow: { client: "2000::/7" }',
    'allow: { client: [10.0.0.0/8, 172.16.0.0/12, 192.168.0.0/16, 100.64.0.0/10, 169.254.0.0/16, loopback, "fc00::/7", "fe80::/10"] }',
    'allow: { client_name: .example.org }',
    'deny: { client: 0.0.0.0/0 }',
    'deny: {}',
    'defer: {}',
    'allow: {}, shadow: true',
  ])
    t.same(one(rule), [], rule);
});

t.test('rules that can never be reached', async (t) => {
  const rules = (...texts: string[]): string[] =>
    errors(HEAD + texts.map((text, i) => `  - { name: r${i}, ${text} }\n`).join(''));
  const hidden: readonly (readonly [string, string])[] = [
    ['deny: {}', 'allow: { to: ours }'],
    ['deny: {}', 'allow: { to: ours }, shadow: true'],
    ['allow: { to: ours }', 'allow: { to: ours }'],
    ['allow: { to: ours }', 'allow: { to: ours, client: campus }'],
    ['allow: { to: [ours, a.example] }', 'allow: { to: example.org }'],
    ['allow: { to: .example.org }', 'allow: { to: [example.org, .sub.example.org, u@x.example.org] }'],
    ['deny: { to: ours }', 'allow: { to: ours }'],
    ['deny: { to: ours }', 'deny: { to: ours }'],
    ['allow: { client: campus }', 'deny: { client: 192.0.2.7 }'],
    ['deny: { client: [192.0.2.0/25, 192.0.2.128/25] }', 'allow: { client: campus }'],
    ['deny: { listener: [mx, submission] }', 'deny: { listener: mx, helo: x }'],
    ['deny: { from: ["<>", ours] }', 'deny: { from: "null" }'],
    ['defer: { client_name: .example.org }', 'deny: { client_name: mail.example.org }'],
  ];
  for (const [first, second] of hidden)
    t.match(
      rules(first, second),
      [/rules\[1\]: can never be reached: rule "r0" /],
      `${first} hides ${second}`,
    );
  const open: readonly (readonly [string, string])[] = [
    ['deny: {}, shadow: true', 'allow: { to: ours }'],
    ['allow: { to: ours }', 'deny: { to: ours }'],
    ['allow: { to: ours, client: campus }', 'allow: { to: ours }'],
    ['allow: { to: example.org }', 'allow: { to: .example.org }'],
    ['deny: { client: 192.0.2.0/25 }', 'allow: { client: campus }'],
    ['deny: { from: ours }', 'deny: { from: [ours, "<>"] }'],
    ['deny: { from: u@example.org }', 'deny: { from: example.org }'],
    ['deny: { listener: mx }', 'deny: { listener: [mx, submission] }'],
    ['deny: { from: ours }', 'deny: { helo: ours }'],
    ['deny: { to: "[192.0.2.1]" }', 'deny: { to: "[192.0.2.2]" }'],
  ];
  for (const [first, second] of open) t.same(rules(first, second), [], `${first} does not hide ${second}`);
});

t.test('tests in a policy', async (t) => {
  const tests = (text: string): string[] =>
    errors(
      `${HEAD}${INBOUND}tests:\n  - { name: t, from: a@b.example, to: c@d.example, expect: deny, ${text} }`,
    );
  t.same(tests('client: 192.0.2.1, rule: inbound'), []);
  t.match(tests('client: 192.0.2.1, rule: inbuond'), [/no such rule: "inbuond"\. Did you mean "inbound"\?/]);
  t.match(tests('client: 192.0.2'), [/not an IP address/]);
  t.match(
    errors(
      `${HEAD}  - { name: b, alow: { to: ours } }\ntests:\n  - { name: t, client: ::1, from: "", to: c@d.example, expect: deny, rule: b }`,
    ),
    [/Did you mean "allow"/],
    'no error that follows from another',
  );
});

const listPolicy = (kind: 'networks' | 'domains', entry: string): string =>
  `version: 1\n${kind}: { l: [${entry}] }\nrules: [{ name: a, allow: { ${kind === 'networks' ? 'client' : 'to'}: l } }]`;

t.test('lists from plain files', async (t) => {
  const files = {
    'policies/d.txt': '\ufeff# ours\r\nexample.org   # the first\r\n\r\n  .lab.example.org\r\nlocalhost\r\n',
    '/n.txt': '192.0.2.0/24\n2001:db8::/32\n10.0.0.1',
  };
  const d = policy(listPolicy('domains', '{ file: d.txt }'), files);
  for (const [domain, kind] of [
    ['example.org', 'allow'],
    ['x.example.org', 'deny'],
    ['lab.example.org', 'allow'],
    ['a.b.lab.example.org', 'allow'],
    ['xlab.example.org', 'deny'],
    ['localhost', 'allow'],
  ] as const)
    t.equal(verdict(d, '203.0.113.9', domain), kind, domain);
  const n = policy(listPolicy('networks', '{ file: /n.txt }'), files);
  for (const [from, kind] of [
    ['192.0.2.9', 'allow'],
    ['192.0.3.9', 'deny'],
    ['2001:db8::9', 'allow'],
    ['10.0.0.1', 'allow'],
    ['10.0.0.2', 'deny'],
  ] as const)
    t.equal(verdict(n, from), kind, from);
  t.same(
    errors(listPolicy('networks', '{ file: bad.txt }, 10.0.0.0/33'), {
      'policies/bad.txt': '10.0.0.0/8\n\n  10.0.0.1/8 # wrong\ncampus\n',
    }),
    [
      'policies/x.yaml:2:36: networks.l[1]: "10.0.0.0/33": bad prefix length: 0 to 32 for IPv4',
      'policies/bad.txt:3:3: networks.l[0]: "10.0.0.1/8": host bits set. Did you mean 10.0.0.0/8?',
      'policies/bad.txt:4:1: networks.l[0]: "campus": not an IP address or CIDR block',
    ],
  );
  t.match(errors(listPolicy('domains', '{ file: gone.txt }')), [
    /2:16: domains\.l\[0\]: cannot read policies\/gone\.txt: no such file/,
  ]);
  t.match(errors(listPolicy('domains', '{ file: e.txt }'), { 'policies/e.txt': '# nothing\n' }), [
    /never matches/,
  ]);
  t.match(errors(listPolicy('domains', '{ file: b.txt }'), { 'policies/b.txt': 'a\u0000b\n' }), [
    /b\.txt:1:1: domains\.l\[0\]: "a\?b"/,
  ]);
});

t.test('lists from sendmail', async (t) => {
  const relay = '# class R\nexample.com  comment\n192.168.1\n10.\nIPv6:2001:db8\n.club.example\nlocalhost\n';
  const access = [
    'Connect:192.168 RELAY',
    '10.1.2.3\tRELAY',
    'IPv6:2001:db8:1 RELAY',
    'Connect:IPv6:2001:db8:2::1 relay',
    '172.16 REJECT',
    'Connect:host.example.net RELAY',
    'To:friend.example RELAY',
    'plain.example RELAY',
    'From:sender.example RELAY',
    'spam.example REJECT',
    'other.example 550 go RELAY',
    'To:u@box.example RELAY',
    'To:203.0.113.7 RELAY',
  ].join('\n');
  const files = {
    '/etc/mail/local-host-names': 'example.com\nmailhost\n[192.0.2.1]\n',
    '/etc/mail/relay-domains': relay,
    '/etc/mail/access': access,
  };
  const may = (kind: 'networks' | 'domains', file: string, what: string): string => {
    const law = policy(listPolicy(kind, `{ sendmail: /etc/mail/${file} }`), files);
    return kind === 'networks' ? verdict(law, what) : verdict(law, '203.0.113.9', what);
  };
  const cases: readonly (readonly ['networks' | 'domains', string, string, string])[] = [
    ['domains', 'local-host-names', 'example.com', 'allow'],
    ['domains', 'local-host-names', 'x.example.com', 'deny'],
    ['domains', 'local-host-names', 'mailhost', 'allow'],
    ['domains', 'relay-domains', 'example.com', 'allow'],
    ['domains', 'relay-domains', 'x.y.example.com', 'allow'],
    ['domains', 'relay-domains', 'xexample.com', 'deny'],
    ['domains', 'relay-domains', 'a.club.example', 'allow'],
    ['networks', 'relay-domains', '192.168.1.255', 'allow'],
    ['networks', 'relay-domains', '192.168.2.0', 'deny'],
    ['networks', 'relay-domains', '10.255.0.1', 'allow'],
    ['networks', 'relay-domains', '2001:db8:ffff::1', 'allow'],
    ['networks', 'relay-domains', '2001:db9::', 'deny'],
    ['networks', 'access', '192.168.255.255', 'allow'],
    ['networks', 'access', '192.169.0.0', 'deny'],
    ['networks', 'access', '10.1.2.3', 'allow'],
    ['networks', 'access', '10.1.2.4', 'deny'],
    ['networks', 'access', '172.16.0.1', 'deny'],
    ['networks', 'access', '2001:db8:1::5', 'allow'],
    ['networks', 'access', '2001:db8:2::1', 'allow'],
    ['networks', 'access', '2001:db8:2::2', 'deny'],
    ['networks', 'access', '203.0.113.7', 'deny'],
    ['domains', 'access', 'friend.example', 'allow'],
    ['domains', 'access', 'x.friend.example', 'allow'],
    ['domains', 'access', 'plain.example', 'allow'],
    ['domains', 'access', 'sender.example', 'deny'],
    ['domains', 'access', 'host.example.net', 'deny'],
    ['domains', 'access', 'spam.example', 'deny'],
    ['domains', 'access', 'other.example', 'deny'],
    ['domains', 'access', 'box.example', 'allow'],
  ];
  for (const [kind, file, what, kindOf] of cases) t.equal(may(kind, file, what), kindOf, `${file}: ${what}`);
  t.match(errors(listPolicy('domains', '{ sendmail: access.db }'), { 'policies/access.db': 'x' }), [
    /cannot tell what kind.*Its name must be/,
  ]);
  t.match(
    errors(listPolicy('networks', '{ sendmail: access }'), {
      'policies/access': '10 RELAY\n192.168\n10.1.2.300 RELAY',
    }),
    [/access:2:1: .*key without a value/, /access:3:1: .*"10\.1\.2\.300"/],
  );
  t.match(
    errors(listPolicy('domains', '{ sendmail: local-host-names }'), {
      'policies/local-host-names': '.example.com',
    }),
    [/class w knows no subdomains/],
  );
});

t.test('lists from Postfix', async (t) => {
  const files = {
    'policies/d': '# mydestination\nexample.com, .sub.example.net\n  other.example\n',
    'policies/n': '127.0.0.0/8 [2001:db8::]/32\n192.0.2.1',
  };
  const d = policy(listPolicy('domains', '{ postfix: d }'), files);
  for (const [domain, kind] of [
    ['example.com', 'allow'],
    ['x.example.com', 'deny'],
    ['sub.example.net', 'deny'],
    ['x.sub.example.net', 'allow'],
    ['other.example', 'allow'],
  ] as const)
    t.equal(verdict(d, '203.0.113.9', domain), kind, domain);
  const n = policy(listPolicy('networks', '{ postfix: n }'), files);
  for (const [from, kind] of [
    ['127.0.0.2', 'allow'],
    ['2001:db8:5::', 'allow'],
    ['192.0.2.1', 'allow'],
    ['192.0.2.2', 'deny'],
  ] as const)
    t.equal(verdict(n, from), kind, from);
  for (const bad of ['!example.com', 'hash:/etc/x', '/etc/x', '.', 'a..b'])
    t.match(
      errors(listPolicy('domains', '{ postfix: b }'), { 'policies/b': `ok.example ${bad}` }),
      [/policies\/b:1:12: domains\.l\[0\]: /],
      bad,
    );
});

t.test('the policy of a command line', async (t) => {
  const simple = simplePolicy({
    localDomains: ['example.org', '.lab.example.org'],
    trust: ['192.0.2.0/24', 'loopback'],
  });
  if (!simple.ok) throw new Error('refused');
  t.same(
    simple.value.rules.map(({ name }) => name),
    ['inbound', 'trusted networks'],
  );
  t.equal(verdict(simple.value, '203.0.113.9', 'a.lab.example.org'), 'allow');
  t.equal(verdict(simple.value, '203.0.113.9'), 'deny');
  t.equal(verdict(simple.value, '192.0.2.9'), 'allow');
  t.equal(verdict(simple.value, '127.0.0.1'), 'allow');
  const alone = simplePolicy({ localDomains: ['example.org'], trust: [] });
  t.equal(alone.ok && alone.value.rules.length, 1);
  t.equal(alone.ok && verdict(alone.value, '127.0.0.1'), 'deny', 'loopback is not trusted unless listed');
  const refused = (localDomains: string[], trust: string[]): string[] => {
    const found = simplePolicy({ localDomains, trust });
    return found.ok ? [] : found.error.map(renderError);
  };
  t.same(refused(['example..org'], ['10.0.0.1/8']), [
    'command line:1:1: --local-domain example..org: neither a domain nor a mailbox nor an address literal',
    'command line:1:1: --trust 10.0.0.1/8: host bits set. Did you mean 10.0.0.0/8?',
  ]);
  t.match(refused([], []), [/--local-domain: missing/]);
  t.match(refused(['u@example.org'], []), [/not a domain/]);
  t.match(refused(['example.org'], ['0.0.0.0/0']), [/--trust: open relay/]);
  t.match(refused(['example.org'], ['campus']), [/--trust campus: not an IP address/]);
});

t.test('the nearest word', async (t) => {
  t.equal(nearest('cleint', ['client', 'client_name']), 'client');
  t.equal(nearest('CLIENT', ['client']), 'client');
  t.equal(nearest('xyzzy', ['client', 'to']), undefined);
  t.equal(nearest('t', ['to', 'tls']), 'to');
});

t.test('the JSON Schema that ships is the one that the schema gives', async (t) => {
  const shipped: unknown = JSON.parse(
    readFileSync(new URL('../../policies/policy.schema.json', import.meta.url), 'utf8'),
  );
  t.strictSame(shipped, JSON.parse(JSON.stringify(policyJsonSchema())));
});
