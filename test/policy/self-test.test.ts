/** The self-test finds what is open, and raises no false alarm. */
import { readdirSync, readFileSync } from 'node:fs';
import path from 'node:path';
import t from 'tap';
import { err } from '../../src/base/result.js';
import { loadPolicy, type Policy } from '../../src/policy/compile.js';
import { relayForms, wideForms } from '../../src/policy/relay-forms.js';
import { type SelfTest, type SelfTestOptions, selfTest } from '../../src/policy/self-test.js';
import cases from '../corpus/relay-cases.json' with { type: 'json' };
import { policyOf, testPolicy } from '../support/sekisho.js';

const OPTIONS: SelfTestOptions = { listeners: ['mx'], host: 'mail.local.example', ip: '127.0.0.1' };

const rules = (text: string, lists = ''): Policy => policyOf(`version: 1\n${lists}rules:\n${text}`);
const tried = (policy: Policy, options: Partial<SelfTestOptions> = {}): SelfTest =>
  selfTest(policy, { ...OPTIONS, ...options });
const openRules = (policy: Policy, options: Partial<SelfTestOptions> = {}): string[] => [
  ...new Set(tried(policy, options).open.map(({ rule }) => rule)),
];

t.test('the forms are those of the corpus', async (t) => {
  const names = {
    domain: 'local.example',
    host: 'mail.local.example',
    ip: '127.0.0.1',
    victim: 'victim.example',
    sender: 'sender.example',
  };
  const forms = new Map(relayForms(names).map((form) => [form.name, form]));
  t.equal(forms.size, relayForms(names).length, 'each has a name of its own');
  const outside = cases.filter(
    ({ rcpt, acceptable }) =>
      !acceptable.includes('local') && /victim|192\.0\.2\.99|3221226083|0300\.0\.02\.0143/i.test(rcpt),
  );
  t.ok(outside.length > 100);
  for (const { id, mail, rcpt } of outside) t.match(forms.get(id), { mail, rcpt }, id);
  const others = {
    ...names,
    domain: 'example.org',
    host: 'mx.example.org',
    ip: '192.0.2.1',
    victim: 'v.invalid',
  };
  for (const { name, mail, rcpt } of [...relayForms(others), ...wideForms(others)])
    t.notMatch(mail + rcpt, /local\.example|victim\.example|[{](?!\d)\w+[}]/, `${name} is about others`);
});

t.test('closed policies are closed', async (t) => {
  const closed: Record<string, Policy> = {
    'a command line': testPolicy(['local.example', '.sub.example'], ['192.0.2.0/24']),
    'secondary MX for others': rules(
      '  - { name: backup, allow: { to: [friend.example, .friend.example.net] } }',
    ),
    'documentation networks are in use': rules(
      '  - { name: in, allow: { client: [203.0.113.0/24, 198.51.100.0/24, "2001:db8::/33"] } }',
    ),
    'all by proof': rules(
      '  - { name: in, allow: { to: local.example } }\n  - { name: by login, allow: { login: any } }\n' +
        '  - { name: by window, allow: { window: any, from: local.example } }',
    ),
    'by confirmed name': rules('  - { name: named, allow: { client_name: .local.example } }'),
    'listed ones are shut out': rules(
      '  - { name: no, deny: { listed: any } }\n  - { name: in, allow: { to: local.example } }',
    ),
    'a mailbox and a literal': rules('  - { name: in, allow: { to: ["bob@local.example", "[192.0.2.1]"] } }'),
    'a shadow rule that would open': rules(
      '  - { name: in, allow: { to: local.example } }\n  - { name: trial, shadow: true, allow: {}, i_know: open relay }',
    ),
  };
  for (const [name, policy] of Object.entries(closed)) {
    const { forms, open, undecided } = tried(policy);
    t.strictSame(open, [], name);
    t.equal(undecided, 0, `${name}: all is decided`);
    t.ok(forms > 150);
  }
});

t.test('the policies that ship are closed', async (t) => {
  const folder = path.resolve(import.meta.dirname ?? 'test/policy', '..', '..', 'policies');
  for (const file of readdirSync(folder).filter((each) => each.endsWith('.yaml'))) {
    const at = path.join(folder, file);
    const policy = loadPolicy(at, readFileSync(at, 'utf8'), () => err('examples name no files'));
    if (!policy.ok) t.fail(`${file} loads`);
    else t.match(tried(policy.value), { open: [], undecided: 0 }, file);
  }
});

t.test('open policies are found, with the rule', async (t) => {
  const inbound = '  - { name: in, allow: { to: local.example } }\n';
  const open: readonly (readonly [string, string, Partial<SelfTestOptions>?])[] = [
    ['everybody', '  - { name: everybody, allow: {}, i_know: open relay }'],
    ['all addresses', '  - { name: all addresses, allow: { client: 0.0.0.0/0 }, i_know: open relay }'],
    ['all of IPv6', '  - { name: all of IPv6, allow: { client: "2000::/3" }, i_know: open relay }'],
    ['own senders', '  - { name: own senders, allow: { from: local.example }, i_know: open relay }'],
    ['bounces', '  - { name: bounces, allow: { from: "<>" }, i_know: open relay }'],
    ['own HELO', '  - { name: own HELO, allow: { helo: local.example }, i_know: open relay }'],
    ['by TLS', '  - { name: by TLS, allow: { tls: true }, i_know: open relay }'],
    [
      'the second listener',
      '  - { name: the second listener, allow: { listener: two }, i_know: open relay }',
      { listeners: ['mx', 'two'] },
    ],
    [
      'behind a list',
      '  - { name: no, deny: { listed: any } }\n  - { name: behind a list, allow: {}, i_know: open relay }',
    ],
    ['too wide', '  - { name: too wide, allow: { to: [.com] } }'],
    ['a country', '  - { name: a country, allow: { to: [.ac.jp] } }'],
    ['a literal', '  - { name: a literal, allow: { to: ["[192.0.2.99]"] } }'],
  ];
  for (const [name, text, options] of open) {
    t.strictSame(openRules(rules(inbound + text), options), [name], name);
  }
  const networks = 'networks:\n  bad: [203.0.113.0/24]\n';
  const masked = '  - { name: no, deny: { client: bad } }\n  - { name: yes, allow: {}, i_know: open relay }';
  t.strictSame(openRules(rules(masked, networks)), ['yes'], 'a network that is shut out hides nothing');
});

t.test('what is found can be said again', async (t) => {
  const { open } = tried(rules('  - { name: wide, allow: { to: [in.example, .org] } }'));
  t.strictSame(open, [
    {
      form: 'wide-org',
      mail: 'MAIL FROM:<a@stranger.invalid>',
      rcpt: 'RCPT TO:<relaytest@sekisho-relay-test.org>',
      rule: 'wide',
      how: 'from 203.0.113.7 on mx in clear text, HELO stranger.invalid',
    },
  ]);
});

t.test('where everybody has to log in first nobody relays', async (t) => {
  t.strictSame(openRules(rules('  - { name: all, allow: {}, i_know: open relay }'), { listeners: [] }), []);
});

t.test('long lists cost it nothing', async (t) => {
  const many = Array.from({ length: 20_000 }, (_, i) => `d${i}.example.org`).join(', ');
  const nets = Array.from({ length: 20_000 }, (_, i) => `10.${i >> 8}.${i & 255}.0/24`).join(', ');
  const policy = rules(
    '  - { name: in, allow: { to: ours } }\n  - { name: nets, allow: { client: nets } }',
    `domains:\n  ours: [${many}]\nnetworks:\n  nets: [${nets}]\n`,
  );
  const before = performance.now();
  const { open } = tried(policy, { listeners: ['a', 'b', 'c', 'd'] });
  t.strictSame(open, []);
  t.comment(`${(performance.now() - before).toFixed(1)} ms`);
});
