/** Old servers' files become policies; where the server itself can be asked (sendmail -bt, exim -bh, postconf), it is. */
import { execFileSync, spawnSync } from 'node:child_process';
import { chmodSync, existsSync, mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import os from 'node:os';
import path from 'node:path';
import t, { type Test } from 'tap';
import { parseIp } from '../../src/base/ip.js';
import { err } from '../../src/base/result.js';
import { runTests } from '../../src/policy/check.js';
import { loadPolicy, type Policy, renderError } from '../../src/policy/compile.js';
import { siteFromExim } from '../../src/policy/importers/from-exim.js';
import { siteFromPostfix } from '../../src/policy/importers/from-postfix.js';
import { siteFromQmail } from '../../src/policy/importers/from-qmail.js';
import { siteFromSendmail } from '../../src/policy/importers/from-sendmail.js';
import { oldServer } from '../../src/policy/importers/old-answer.js';
import { sampleOf } from '../../src/policy/importers/sample.js';
import type { ReadText, Site } from '../../src/policy/importers/site.js';
import { writePolicy } from '../../src/policy/importers/write-policy.js';
import { Replay } from '../../src/policy/replay.js';
import { install, libraryPath, noPackages, unpack } from '../support/packages.js';
import { folder, runSekisho } from '../support/process.js';

type Files = Readonly<Record<string, string>>;

const reader =
  (files: Files): ReadText =>
  (file) =>
    files[file.replace(/^.*\//, '')];

const packages = (): { skip: string } | Record<string, never> => {
  const why = noPackages();
  return why === undefined ? {} : { skip: why };
};

/** The policy of a site; it compiles and its tests pass. */
const compile = (t: Test, site: Site): Policy => {
  const { text } = writePolicy(site);
  const policy = loadPolicy('imported', text, () => err('names no files'));
  if (!policy.ok) {
    t.fail(`${policy.error.map(renderError).join('\n')}\n${text}`);
    throw new Error('does not compile');
  }
  for (const { name, ok, why } of runTests(policy.value)) t.ok(ok, `${name}: ${why}`);
  return policy.value;
};

/** What changes by the policy, as `client from to: before -> after`. */
const changes = (site: Site, policy: Policy): string[] => {
  const replay = new Replay(policy, { examples: 1_000 });
  for (const decision of sampleOf(site)) replay.add(decision);
  t.equal(replay.result.cannot.count, 0);
  return replay.result.changes.flatMap(({ before, after, examples }) =>
    examples.map(({ client, from, to }) => `${client} ${from} ${to}: ${before.verdict} -> ${after.verdict}`),
  );
};

const entries = (items: readonly { readonly entry: string }[]): string[] => items.map(({ entry }) => entry);
const clients = (site: Site): string[] => site.clients.map(({ act, network }) => `${act} ${network.text}`);
const whys = (items: readonly { readonly why: string }[]): string[] => items.map(({ why }) => why);

const MAIL: Files = {
  access: `# campus
Connect:localhost	RELAY
Connect:192.168.1	RELAY
Connect:192.168.1.66	REJECT
198.51.100		RELAY
198.51.100.128		OK
IPv6:2001:db8:130	RELAY
10.9			ERROR:5.7.1:550 Go away
10.9.1			OK
From:spammer.example	REJECT
From:good@spammer.example OK
To:friend.example	RELAY
To:nobody@ecei.example.ac.jp	ERROR:5.1.1:550 No such user
To:busy.example.ac.jp	ERROR:4.2.2:450 Come later
cyber.example		DISCARD
ClientRate:192.0.2.1	10
baduser@		REJECT
Connect:192.0.2.300	RELAY
lonely
`,
  'local-host-names':
    'ecei.example.ac.jp\nlab.example.ac.jp # ours too\nbusy.example.ac.jp\nlocalhost\nwww\n',
  'relay-domains': 'backup.example.jp\n172.16\n',
};

t.test('sendmail: every line has its part, or a reason why not', async (t) => {
  const site = siteFromSendmail('/etc/mail', reader(MAIL));
  t.same(entries(site.local), ['ecei.example.ac.jp', 'lab.example.ac.jp', 'busy.example.ac.jp']);
  t.same(entries(site.relayed), ['.backup.example.jp', '.friend.example']);
  t.same(clients(site), [
    'relay ::1/128',
    'relay 2001:db8:130::/48',
    'refuse 192.168.1.66/32',
    'plain 198.51.100.128/32',
    'relay 192.168.1.0/24',
    'relay 198.51.100.0/24',
    'plain 10.9.1.0/24',
    'relay 172.16.0.0/16',
    'refuse 10.9.0.0/16',
    'relay 127.0.0.0/8',
  ]);
  t.match(whys(site.leftOut), [
    /"www" has no dot/,
    /DISCARD became a refusal/,
    /see limits/,
    /local part at any domain/,
    /not an address|octet|address/,
    /a key without a value/,
  ]);
  t.same(site.leftOut.at(-1)?.origin, { file: '/etc/mail/access', line: 19, text: 'lonely' });
  t.same(site.open, []);
  const policy = compile(t, site);
  const { text } = writePolicy(site);
  t.match(text, /198\.51\.100\.0\/24 +# \/etc\/mail\/access:5: 198\.51\.100/, 'each entry names its line');
  t.match(text, /reply: \{ code: 550, enhanced: 5\.7\.1, text: "Go away" \}/);
  t.match(text, /defer: \{ to: refused_recipients/, 'a 4xx stays a 4xx');
  // A policy cannot say "this sender from there"; both ways it is the stricter answer.
  t.same(
    changes(site, policy).filter((line) => !/^(?:192\.168\.1\.1|198\.51\.100\.1) good@spammer/.test(line)),
    [],
  );
});

t.test('sendmail: what its configuration reveals', async (t) => {
  const mc = (text: string, more: Files = {}) =>
    siteFromSendmail('/m', reader({ 'sendmail.mc': text, ...more }));
  const open = mc(
    "FEATURE(`promiscuous_relay')dnl\ndnl FEATURE(`relay_local_from')\ndefine(`SMART_HOST', `[gw]')\n",
    {
      mailertable: 'hosted.example\tsmtp:[inner]\n.inner.example\terror:nohost\n',
      virtusertable: '@virtual.example\thoge\nx@virtual.example\tyy\n',
    },
  );
  t.match(whys(open.open), [/promiscuous_relay/]);
  t.same(entries(open.relayed), ['hosted.example', '.inner.example'], 'taken only because it was open');
  t.same(entries(open.local), ['virtual.example']);
  t.match(whys(open.leftOut), [/smart host/]);
  const { text, notes } = writePolicy(open);
  t.match(text, /^# Not taken over: \/m\/sendmail\.mc:1: FEATURE\(promiscuous_relay\)/m);
  t.match(notes[0], /The policy does not/);
  const policy = compile(t, open);
  t.match(changes(open, policy), [/y@victim\.example: allow -> deny/, /%/, /!/]);
  const closed = mc('', { mailertable: 'hosted.example\tsmtp:[inner]\n' });
  t.same(closed.relayed, []);
  t.match(whys(closed.leftOut), [/in no list of what the server took mail for/]);
  t.match(whys(mc("FEATURE(`relay_based_on_MX')\nFEATURE(`loose_relay_check')").open), [
    /MX/,
    /percent hack/,
  ]);
  t.match(whys(mc("FEATURE(`relay_entire_domain')").leftOut), [/list the networks/]);
  t.same(entries(mc("LOCAL_DOMAIN(`a.example b.example')\nRELAY_DOMAIN(`c.example')").local), [
    'a.example',
    'b.example',
  ]);
  t.same(entries(mc("FEATURE(`relay_hosts_only')", { 'relay-domains': 'c.example' }).relayed), ['c.example']);
  const cf = siteFromSendmail(
    '/m',
    reader({
      'sendmail.cf': `#####  $Id: promiscuous_relay.m4,v 8.13 2006/03/15 ca Exp $  #####
Cwa.example localhost
CRb.example
Fw/etc/mail/other-names
FR-o /etc/mail/other-relays
DSgateway.example
`,
      'other-names': 'c.example\n',
      'other-relays': '10.1.2.3\n',
    }),
  );
  t.match(whys(cf.open), [/promiscuous_relay/]);
  t.same(entries(cf.local), ['a.example', 'c.example']);
  t.same(clients(cf), ['relay 10.1.2.3/32']);
});

t.test('an old server that trusts everybody is not taken over', async (t) => {
  const site = siteFromSendmail(
    '/m',
    reader({ access: '0.0.0.0/0 RELAY\n', 'local-host-names': 'a.example\n' }),
  );
  const { notes } = writePolicy(site);
  t.match(notes, [/everybody may relay/]);
  compile(t, site);
  const none = siteFromSendmail('/m', reader({ access: '10 RELAY\n' }));
  compile(t, none);
});

/** sendmail's own rule sets, asked without a connection. */
class SendmailJudge {
  readonly #dir: string;
  readonly #binary: string;
  readonly #env: NodeJS.ProcessEnv;

  private constructor(dir: string, binary: string, env: NodeJS.ProcessEnv) {
    this.#dir = dir;
    this.#binary = binary;
    this.#env = env;
  }

  static async of(t: Test, files: Files): Promise<SendmailJudge> {
    await install(['m4', 'unshare=util-linux']);
    const root = await unpack('sendmail-bin', ['sendmail-base', 'sendmail-cf']);
    const dir = mkdtempSync(path.join(os.tmpdir(), 'sekisho-judge-'));
    t.teardown(() => rmSync(dir, { recursive: true, force: true }));
    chmodSync(dir, 0o700);
    for (const [name, text] of Object.entries(files))
      writeFileSync(path.join(dir, name), text, { mode: 0o600 });
    const macros = path.join(root, 'usr/share/sendmail/cf/');
    const mc = `divert(-1)
include(\`${macros}m4/cf.m4')
divert(0)
OSTYPE(\`linux')
define(\`confCW_FILE', \`-o ${dir}/local-host-names')
define(\`confCR_FILE', \`-o ${dir}/relay-domains')
define(\`confDONT_BLAME_SENDMAIL', \`GroupWritableDirPathSafe,MapInUnsafeDirPath,TrustStickyBit,ClassFileInUnsafeDirPath')
undefine(\`ALIAS_FILE')
FEATURE(\`use_cw_file')
FEATURE(\`access_db', \`hash -T<TMPF> ${dir}/access')
FEATURE(\`blacklist_recipients')
FEATURE(\`accept_unresolvable_domains')
MAILER(\`local')
MAILER(\`smtp')
LOCAL_RULESETS
Stranslate
R$* $$| $*	$: $1 $| $2
`;
    writeFileSync(path.join(dir, 'judge.mc'), mc);
    const cf = execFileSync('m4', [`-D_CF_DIR_=${macros}`, 'judge.mc'], {
      cwd: dir,
      encoding: 'utf8',
      stdio: ['ignore', 'pipe', 'ignore'],
    });
    writeFileSync(path.join(dir, 'judge.cf'), cf);
    const env = { ...process.env, LD_LIBRARY_PATH: libraryPath(root) };
    const tool = (name: string): string => path.join(root, 'usr/libexec/sendmail', name);
    execFileSync(tool('makemap'), ['-C', 'judge.cf', 'hash', 'access.db'], {
      cwd: dir,
      env,
      input: files.access ?? '',
    });
    return new SendmailJudge(dir, tool('sendmail'), env);
  }

  /** For each question whether sendmail would take the recipient. */
  ask(questions: readonly { client: string; from: string; to: string }[]): boolean[] {
    const script = questions
      .flatMap(({ client, from, to }) => [
        `.D{client_addr}${client.includes(':') ? `IPv6:${client}` : client}`,
        `.D{client_name}[${client.includes(':') ? `IPv6:${client}` : client}]`,
        `translate,check_relay [${client}] $| ${client.includes(':') ? `IPv6:${client}` : client}`,
        `check_mail <${from}>`,
        `check_rcpt <${to}>`,
      ])
      .join('\n');
    const command = `hostname legacy.example.test; exec ${this.#binary} -bt -C judge.cf`;
    const { stdout } = spawnSync('unshare', ['--uts', 'sh', '-c', command], {
      cwd: this.#dir,
      env: this.#env,
      input: `${script}\n`,
      encoding: 'latin1',
      maxBuffer: 256 << 20,
    });
    const answers = [...stdout.matchAll(/^(check_relay|check_mail|check_rcpt) +returns: (.*)$/gm)].map(
      ([, , answer = '']) => !/^\$# (?:error|discard)/.test(answer),
    );
    if (answers.length !== 3 * questions.length)
      throw new Error(`sendmail said ${answers.length} things: ${stdout.slice(-500)}`);
    return questions.map((_, i) => answers.slice(3 * i, 3 * i + 3).every(Boolean));
  }
}

t.test('sendmail itself is the judge', packages(), async (t) => {
  const files: Files = {
    ...MAIL,
    // What the file of the other test holds in faults makes makemap stop.
    access: (MAIL.access ?? '').replace(/^(?:Connect:192\.0\.2\.300.*|lonely)\n/gm, ''),
  };
  const judge = await SendmailJudge.of(t, files);
  const site = siteFromSendmail('/etc/mail', reader(files));
  const server = oldServer(site);
  const questions = sampleOf(site).map(({ client, from, to }) => ({ client, from, to }));
  const said = judge.ask(questions);
  t.ok(
    questions.length > 100 && said.includes(true) && said.includes(false),
    `${questions.length} questions`,
  );
  const wrong = questions.flatMap((question, i) => {
    const client = parseIp(question.client);
    if (client === undefined) return ['no address'];
    const { verdict, why } = server({ ...question, client });
    return (verdict === 'allow') === said[i]
      ? []
      : [`${JSON.stringify(question)}: sendmail ${said[i]}, ${verdict} (${why})`];
  });
  t.same(wrong, []);
  t.same(judge.ask([{ client: '203.0.113.9', from: 'x@y.example', to: 'y@victim.example' }]), [false]);
});

const POSTFIX: Files = {
  'main.cf': `# comment
myhostname = mail.example.org
mydestination = $myhostname, localhost.$mydomain, localhost,
    example.org, /etc/postfix/more-domains
relay_domains = backup.example, hash:/etc/postfix/relay
mynetworks = 127.0.0.0/8 [::1]/128 !192.0.2.66 192.0.2.0/24 cidr:/etc/postfix/nets.cidr
virtual_alias_maps = hash:/etc/postfix/virtual
smtpd_recipient_restrictions = check_client_access hash:/etc/postfix/clients,
  check_recipient_access hash:/etc/postfix/recipients, reject_rbl_client zen.example
smtpd_sender_restrictions = check_sender_access hash:/etc/postfix/senders
`,
  'more-domains': 'more.example\n',
  relay: 'relayed.example OK\n',
  'nets.cidr': '198.51.100.0/24 permit\n',
  virtual: 'virtual.example anything\nhoge@virtual.example hoge\n',
  clients: '10.9 REJECT Go away\n',
  recipients: 'nobody@example.org 550 5.1.1 No such user\n',
  senders: 'spammer.example REJECT\ngood@spammer.example OK\n',
};

t.test('Postfix', async (t) => {
  const site = siteFromPostfix('/etc/postfix', reader(POSTFIX));
  t.same(entries(site.local), [
    'mail.example.org',
    'localhost.example.org',
    'example.org',
    'more.example',
    'virtual.example',
  ]);
  t.same(entries(site.relayed), ['.backup.example', '.relayed.example']);
  t.same(clients(site), [
    'refuse 10.9.0.0/16',
    'relay 127.0.0.0/8',
    'relay ::1/128',
    'plain 192.0.2.66/32',
    'relay 192.0.2.0/24',
    'relay 198.51.100.0/24',
  ]);
  t.same(site.open, []);
  t.match(whys(site.leftOut), [/see dnsbl/]);
  compile(t, site);
  const open = siteFromPostfix(
    '/p',
    reader({
      'main.cf': 'myhostname = a.example\nmynetworks = 10.0.0.0/8\nsmtpd_relay_restrictions = permit\n',
    }),
  );
  t.match(whys(open.open), [/"permit" comes before/]);
  const careless = siteFromPostfix(
    '/p',
    reader({
      'main.cf':
        'mydestination = a.example\nsmtpd_relay_restrictions =\nsmtpd_recipient_restrictions = permit_mynetworks\n',
    }),
  );
  t.match(whys(careless.open), [/no restriction refuses/]);
  t.match(whys(careless.leftOut), [/myhostname is not set/, /mynetworks is not set/]);
  const parents = siteFromPostfix(
    '/p',
    reader({
      'main.cf':
        'mydestination=a.example\nmynetworks=10.0.0.1\nrelay_domains=b.example .c.example\nparent_domain_matches_subdomains=\n',
    }),
  );
  t.same(entries(parents.relayed), ['b.example', '.c.example']);
  t.match(whys(parents.leftOut).at(-1), /meant without c\.example itself/);
  const missing = siteFromPostfix(
    '/p',
    reader({ 'main.cf': 'mydestination=a.example\nmynetworks=hash:/x/nets, mysql:/x\n' }),
  );
  t.match(whys(missing.leftOut), [/myhostname/, /nets is not there/, /a mysql table cannot be read/]);
});

t.test("Postfix's own postconf prints what is imported alike", packages(), async (t) => {
  const root = await unpack('postfix');
  const dir = folder(t, POSTFIX);
  writeFileSync(path.join(dir, 'master.cf'), '');
  const postconf =
    ['usr/sbin/postconf', 'sbin/postconf'].map((each) => path.join(root, each)).find(existsSync) ?? '';
  const env = {
    ...process.env,
    LD_LIBRARY_PATH: `${libraryPath(root)}:${path.join(root, 'usr/lib/postfix')}`,
  };
  const printed = execFileSync(postconf, ['-c', dir, '-n'], {
    encoding: 'utf8',
    env,
    stdio: ['ignore', 'pipe', 'ignore'],
  });
  t.match(printed, /^mynetworks = /m);
  const strip = ({ files: _, ...site }: Site) =>
    JSON.stringify(site, (key, value: unknown) => (key === 'origin' ? undefined : value));
  const told = siteFromPostfix('/etc/postfix', reader({ ...POSTFIX, 'main.cf': printed }));
  t.equal(strip(told), strip(siteFromPostfix('/etc/postfix', reader(POSTFIX))));
});

t.test('qmail', async (t) => {
  const files: Files = {
    me: 'mail.example.org\n',
    locals: 'example.org\nlocalhost\n',
    rcpthosts: 'example.org\n.lab.example.org\nlist.example\n',
    morercpthosts: 'more.example\n',
    virtualdomains: 'virtual.example:alice\nbob@other.example:bob\n',
    'tcp.smtp':
      '127.:allow,RELAYCLIENT=""\n192.168.1.:allow,RELAYCLIENT=""\n192.168.1.9:allow\n10.0.0.1-3:allow,RELAYCLIENT=""\n10.66.:deny\n=.example.org:allow,RELAYCLIENT=""\n:allow\nnonsense\n',
  };
  const site = siteFromQmail('/var/qmail/control', reader(files));
  t.same(entries(site.local), ['example.org', 'virtual.example']);
  t.same(entries(site.relayed), ['.lab.example.org', 'list.example', 'more.example']);
  t.same(clients(site), [
    'plain 192.168.1.9/32',
    'relay 10.0.0.1/32',
    'relay 10.0.0.2/32',
    'relay 10.0.0.3/32',
    'relay 192.168.1.0/24',
    'refuse 10.66.0.0/16',
    'relay 127.0.0.0/8',
  ]);
  t.same(entries(site.names), ['.example.org']);
  t.same(changes(site, compile(t, site)), []);
  const open = siteFromQmail('/c', reader({ me: 'a.example\n' }));
  t.match(whys(open.open), [/no rcpthosts/]);
  t.match(
    whys(
      siteFromQmail('/c', reader({ rcpthosts: 'a.example\n', 'tcp.smtp': ':allow,RELAYCLIENT=""\n' })).open,
    ),
    [/every client/],
  );
});

const EXIM: Files = {
  'exim.conf': `primary_hostname = mail.example.org
NETS = 192.168.1.0/24
domainlist local_domains = @ : example.org : lsearch;/etc/exim/domains
domainlist relay_to_domains = *.lab.example.org : backup.example
hostlist relay_from_hosts = 127.0.0.1 : ::::1 : \\
  !192.168.1.66 : NETS : +more
hostlist more = <; 10.0.0.0/8 ; 2001:db8::/32
`,
  domains: 'file.example: x\n',
};

t.test('Exim', async (t) => {
  const site = siteFromExim('/etc/exim', reader(EXIM));
  t.same(entries(site.local), ['mail.example.org', 'example.org', 'file.example']);
  t.same(entries(site.relayed), ['.lab.example.org', 'backup.example']);
  t.same(clients(site), [
    'relay 127.0.0.1/32',
    'relay ::1/128',
    'plain 192.168.1.66/32',
    'relay 192.168.1.0/24',
    'relay 10.0.0.0/8',
    'relay 2001:db8::/32',
  ]);
  compile(t, site);
  const debian = siteFromExim(
    '/etc/exim4',
    reader({
      'update-exim4.conf.conf':
        "dc_other_hostnames='example.org;a.example'\ndc_relay_domains='*'\ndc_relay_nets='10.0.0.0/8'\n",
    }),
  );
  t.same(entries(debian.local), ['example.org', 'a.example']);
  t.match(whys(debian.open), [/every domain/]);
  t.match(whys(siteFromExim('/e', reader({ 'exim.conf': 'hostlist relay_from_hosts = *\n' })).open), [
    /every client/,
  ]);
});

t.test('Exim itself is the judge', packages(), async (t) => {
  await install(['unshare=util-linux']);
  const root = await unpack('exim4-daemon-light', ['exim4-base']);
  const dir = mkdtempSync(path.join(os.tmpdir(), 'sekisho-exim-judge-'));
  t.teardown(() => rmSync(dir, { recursive: true, force: true }));
  chmodSync(dir, 0o755);
  for (const each of ['spool', 'log']) mkdirSync(path.join(dir, each), { mode: 0o777 });
  writeFileSync(path.join(dir, 'domains'), EXIM.domains ?? '');
  const text = `${(EXIM['exim.conf'] ?? '').replace('/etc/exim/domains', `${dir}/domains`)}
spool_directory = ${dir}/spool
log_file_path = ${dir}/log/%slog
exim_user = root
never_users =
acl_smtp_rcpt = check
host_lookup =
helo_lookup_domains =
rfc1413_query_timeout = 0s
begin acl
check:
  deny local_parts = ^.*[@%!/|]
  accept hosts = +relay_from_hosts
  accept domains = +local_domains : +relay_to_domains
  deny message = relay not permitted
`;
  writeFileSync(path.join(dir, 'exim.conf'), text);
  const binary = path.join(root, 'usr/sbin/exim4');
  for (const [name, line] of [
    ['passwd', 'Debian-exim:x:8:8::/:/bin/false'],
    ['group', 'Debian-exim:x:8:'],
  ] as const)
    writeFileSync(path.join(dir, name), `${readFileSync(`/etc/${name}`, 'utf8')}${line}\n`);
  // Debian's Exim ends if its user does not exist.
  const script =
    'for each in passwd group; do mount --bind "$0/$each" /etc/$each; done; exec "$1" -C "$0/exim.conf" -bh "$2"';
  const site = siteFromExim(dir, (file) => (existsSync(file) ? readFileSync(file, 'latin1') : undefined));
  const server = oldServer(site);
  const byClient = groupBy(sampleOf(site), ({ client }) => client);
  for (const [client, questions] of byClient) {
    const input = [
      'EHLO c.example',
      'MAIL FROM:<x@sender.example>',
      ...questions.map(({ to }) => `RCPT TO:<${to}>`),
      'QUIT',
      '',
    ].join('\r\n');
    const { stdout, stderr } = spawnSync('unshare', ['--mount', 'sh', '-c', script, dir, binary, client], {
      input,
      encoding: 'latin1',
      env: { ...process.env, LD_LIBRARY_PATH: libraryPath(root) },
    });
    const replies = [...stdout.matchAll(/^(\d{3}) .*$/gm)]
      .map((match) => match[1] ?? '')
      .slice(-1 - questions.length, -1);
    t.equal(replies.length, questions.length, stderr.slice(-300));
    for (const [i, { from, to }] of questions.entries()) {
      const ip = parseIp(client);
      if (ip === undefined) continue;
      // Exim's default ACL refuses routed local parts from everybody; a trusted client's are his own affair here.
      if (/[%!]/.test(to)) continue;
      // `*.lab.example.org` is not lab.example.org itself; a policy has no such entry, and the report says so.
      if (to === 'hoge@lab.example.org') continue;
      const { verdict, why } = server({ client: ip, from, to });
      t.equal(verdict === 'allow', replies[i]?.startsWith('2'), `${client} to ${to}: ${replies[i]}, ${why}`);
    }
  }
});

const groupBy = <T, K>(items: readonly T[], key: (item: T) => K): Map<K, T[]> => {
  const groups = new Map<K, T[]>();
  for (const item of items) groups.set(key(item), [...(groups.get(key(item)) ?? []), item]);
  return groups;
};

t.test('the command', async (t) => {
  const dir = folder(t, { ...MAIL, 'sendmail.mc': "FEATURE(`promiscuous_relay')dnl\n" });
  const shown = await runSekisho(['import', 'sendmail', dir]);
  t.equal(shown.code, 0, shown.err);
  t.match(shown.out, /^version: 1$/m);
  t.match(shown.err, /Not in the policy, or not as it was:\n {2}.*promiscuous_relay/);
  const file = path.join(dir, 'policy.yaml');
  t.equal((await runSekisho(['import', 'sendmail', dir, '--output', file])).code, 0);
  t.equal(readFileSync(file, 'utf8'), shown.out);
  t.match(await runSekisho(['check', '--policy', file]), { code: 0, out: /0 failed/ });
  t.match(await runSekisho(['import', 'sendmail', dir, '--output', file]), {
    code: 2,
    err: /is there already/,
  });
  const diff = await runSekisho(['import', 'sendmail', dir, '--diff']);
  t.equal(diff.code, 1);
  t.match(diff.out, /answers compared: \d+ change/);
  t.match(
    diff.out,
    /allow \(FEATURE\(promiscuous_relay\): it relays for anyone\) -> deny \(no rule allows it\)/,
  );
  const log = path.join(dir, 'log');
  const line = { msg: 'recipient refused', event: 'recipient' };
  writeFileSync(log, `${JSON.stringify(line)}\n`);
  t.match(await runSekisho(['import', 'sendmail', dir, '--diff', '--log', path.join(dir, 'nowhere')]), {
    code: 2,
    err: /cannot read the log/,
  });
  t.match(await runSekisho(['import', 'vms', dir]), {
    code: 2,
    err: /must be one of sendmail, postfix, qmail, exim/,
  });
  t.match(await runSekisho(['import', 'qmail', dir]), { code: 2, err: /no files of qmail are there/ });
  const saved = path.join(dir, 'postconf.txt');
  writeFileSync(saved, POSTFIX['main.cf'] ?? '');
  t.match(await runSekisho(['import', 'postfix', saved]), { code: 0, out: /more-domains|example\.org/ });
});
