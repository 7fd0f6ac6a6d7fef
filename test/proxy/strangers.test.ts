/** What those meet whom the site does not know: DNS lists, bans, the pause before the banner, greylisting. */
import t, { type Test } from 'tap';
import type { SekishoEvent } from '../../src/base/events.js';
import { IpSet, parseCidr, parseIp } from '../../src/base/ip.js';
import { meaningOf, parseCodes } from '../../src/door/answer-codes.js';
import { DEFAULT_DNSBL, Dnsbl, type DnsblOptions, type DnsList } from '../../src/door/dnsbl.js';
import { Bans, DEFAULT_BANS } from '../../src/windows/bans.js';
import { StoreError } from '../../src/windows/store.js';
import { MemoryStore } from '../../src/windows/stores/memory.js';
import { startDns, type Zone } from '../support/dns-server.js';
import { startLegacyMta } from '../support/legacy-mta.js';
import { eventually, policyOf, type Running, type Setting, startSekisho } from '../support/sekisho.js';
import { codeOf, SmtpClient } from '../support/smtp-client.js';

const networks = (...texts: string[]): IpSet =>
  IpSet.of(texts.flatMap((each) => ((cidr) => (cidr.ok ? [cidr.value] : []))(parseCidr(each))));

const ip = (text: string) => {
  const parsed = parseIp(text);
  if (parsed === undefined) throw new Error(text);
  return parsed;
};

const list = (zone: string, more: Partial<DnsList> = {}): DnsList => ({
  ...{ name: zone, zone, weight: 1, codes: [] },
  ...more,
});

const patterns = (...texts: string[]) =>
  texts.flatMap((each) => ((parsed) => (parsed.ok ? [parsed.value] : []))(parseCodes(each)));

const POLICY = `version: 1
networks: { own: [127.0.0.1] }
domains: { ours: [local.example] }
rules:
  - { name: inbound, allow: { to: ours } }
  - { name: own, allow: { client: own } }
`;

interface House {
  readonly sekisho: Running;
  readonly clock: { now: number };
  /** The replies to a mail from and to these, from this address on; the last one is the code of the last RCPT. */
  rcpt(from: string, sender?: string, ...to: string[]): Promise<string>;
}

const house = async (t: Test, setting: Partial<Setting> = {}): Promise<House> => {
  const mta = await startLegacyMta();
  const clock = { now: Date.now() };
  const sekisho = await startSekisho({
    ...{ upstreams: [{ port: mta.port }], policy: policyOf(POLICY), now: () => clock.now },
    ...setting,
  });
  t.teardown(async () => {
    await sekisho.stop();
    await mta.close();
  });
  const rcpt = async (from: string, sender = 'a@far.example', ...to: string[]): Promise<string> => {
    const client = await SmtpClient.connect(sekisho.port, from);
    const banner = await client.reply();
    if (codeOf(banner) !== 220) return banner;
    await client.say('EHLO c.example');
    await client.say(`MAIL FROM:<${sender}>`);
    let last = '';
    for (const each of to.length > 0 ? to : ['bob@local.example'])
      last = await client.say(`RCPT TO:<${each}>`);
    client.destroy();
    return last;
  };
  return { sekisho, clock, rcpt };
};

const dns = async (t: Test, zone: Zone) => {
  const server = await startDns(zone);
  t.teardown(() => server.stop());
  return server;
};

const looker = async (t: Test, zone: Zone, options: Partial<DnsblOptions> & Pick<DnsblOptions, 'lists'>) => {
  const server = await dns(t, zone);
  const events: SekishoEvent[] = [];
  const dnsbl = new Dnsbl({ ...DEFAULT_DNSBL, servers: [server.server], ...options }, (event) =>
    events.push(event),
  );
  const results = (): string[] =>
    events.flatMap((event) => (event.type === 'dnsbl-lookup' ? [`${event.list} ${event.result}`] : []));
  return { server, dnsbl, results, ask: async (text: string) => dnsbl.lookUp(ip(text)) };
};

t.test('answers of DNS lists', async (t) => {
  const means = (answer: string, ...codes: string[]) => meaningOf(answer, patterns(...codes));
  t.same(
    ['127.0.0.2', '127.0.1.255', '127.0.0.1'].map((each) => means(each)),
    ['listed', 'listed', 'other'],
  );
  t.same(
    ['127.255.255.252', '127.255.255.254', '127.255.255.255'].map((each) => means(each, '127.*.*.*')),
    ['refused', 'refused', 'refused'],
    'the words by which Spamhaus refuses are no listing, whatever codes count',
  );
  t.same(
    ['192.0.2.1', '0.0.0.0', '128.0.0.2'].map((each) => means(each)),
    Array(3).fill('strange'),
  );
  t.same(
    ['127.0.0.1', '127.0.0.2', '127.0.0.11', '127.0.0.12'].map((each) => means(each, '127.0.0.2-11')),
    ['other', 'listed', 'listed', 'other'],
  );
  t.same(
    ['127.0.5.0', '127.0.5.1', '127.0.9.3', '127.1.9.3'].map((each) => means(each, '127.0.*.1-3')),
    ['other', 'listed', 'listed', 'other'],
  );
  for (const wrong of [
    '127.0.0',
    '127.0.0.2.3',
    '127.0.0.256',
    '127.0.0.9-2',
    '127.0.0.x',
    '',
    '1-2-3.0.0.0',
  ])
    t.notOk(parseCodes(wrong).ok, wrong);
});

t.test('look-ups: weights, threshold, IPv6, cache, and what a list cannot answer', async (t) => {
  const bad = '9.113.0.203';
  const v6 = '1.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.8.b.d.0.1.0.0.2';
  const { ask, server, results, dnsbl } = await looker(
    t,
    {
      [`A ${bad}.black.example`]: ['127.0.0.2'],
      [`A ${bad}.grey.example`]: ['127.0.0.10'],
      'A 8.113.0.203.grey.example': ['127.0.0.10'],
      [`A ${v6}.black.example`]: ['127.0.0.2'],
      'A 7.113.0.203.black.example': ['127.0.0.2'],
      'A 7.113.0.203.white.example': ['127.0.8.3'],
    },
    {
      lists: [
        list('black.example', { weight: 3 }),
        list('grey.example', { weight: 1, codes: patterns('127.0.0.10') }),
        list('white.example', { name: 'white', weight: -5 }),
      ],
      threshold: 2,
    },
  );
  t.same(await ask('203.0.113.9'), { lists: ['black.example', 'grey.example'], blocked: true });
  t.same(await ask('203.0.113.8'), { lists: ['grey.example'], blocked: false }, 'below the threshold');
  t.same(await ask('203.0.113.7'), { lists: ['black.example', 'white'], blocked: false }, 'an allow-list');
  t.same(await ask('2001:db8::1'), { lists: ['black.example'], blocked: true }, 'by nibbles');
  t.same(await ask('::ffff:203.0.113.8'), { lists: ['grey.example'], blocked: false });
  t.same(await ask('203.0.113.1'), { lists: [], blocked: false });
  const asked = server.queries.length;
  t.same(await Promise.all([ask('203.0.113.9'), ask('203.0.113.1')]), [
    { lists: ['black.example', 'grey.example'], blocked: true },
    { lists: [], blocked: false },
  ]);
  t.equal(server.queries.length, asked, 'both answers are kept');
  t.ok(!(dnsbl.lookUp(ip('203.0.113.9')) instanceof Promise), 'and there at once');
  const together = await Promise.all([ask('203.0.113.50'), ask('203.0.113.50')]);
  t.same(together, [
    { lists: [], blocked: false },
    { lists: [], blocked: false },
  ]);
  t.equal(server.queries.length, asked + 3, 'asked once for both');
  t.ok(results().includes('grey.example listed') && results().includes('white clean'));
});

t.test('the cache has a bound', async (t) => {
  const { ask, server } = await looker(t, {}, { lists: [list('black.example')], cache: 2 });
  for (const last of [1, 2]) await ask(`203.0.113.${last}`);
  await ask('203.0.113.1');
  t.equal(server.queries.length, 2, 'at the bound');
  await ask('203.0.113.3');
  await ask('203.0.113.2');
  t.equal(server.queries.length, 3, 'one past it, the oldest is forgotten');
  await ask('203.0.113.1');
  t.equal(server.queries.length, 4);
});

t.test('a list that refuses, fails or is silent has nobody on it, and is left alone', async (t) => {
  const { ask, server, results } = await looker(
    t,
    {
      'A 9.113.0.203.refusing.example': ['127.255.255.254'],
      'A 9.113.0.203.parked.example': ['192.0.2.80'],
      'A 9.113.0.203.broken.example': 'SERVFAIL',
    },
    {
      lists: ['refusing.example', 'parked.example', 'broken.example'].map((zone) => list(zone)),
      timeout: 700,
      tries: 1,
    },
  );
  t.same(await ask('203.0.113.9'), { lists: [], blocked: false });
  t.same(results().sort(), ['broken.example failed', 'parked.example refused', 'refusing.example refused']);
  await ask('203.0.113.10');
  t.same(
    server.queries.slice(3),
    ['A 10.113.0.203.broken.example'],
    'the two that refused are not asked again',
  );
  server.silent(true);
  const began = Date.now();
  t.same(await ask('203.0.113.11'), { lists: [], blocked: false });
  t.ok(Date.now() - began < 15_000, 'nobody waits for a silent resolver for long');
  t.equal(results().at(-1), 'broken.example timeout');
  for (let i = 12; i < 17; i += 1) await ask(`203.0.113.${i}`);
  const asked = server.queries.length;
  await ask('203.0.113.99');
  t.equal(server.queries.length, asked, 'after five failures in a row it rests');
});

t.test('the condition listed, and the default of a listener', async (t) => {
  const zone = {
    'A 2.0.0.127.black.example': ['127.0.0.2'],
    'A 3.0.0.127.grey.example': ['127.0.0.2'],
    'A 1.0.0.127.black.example': ['127.0.0.2'],
  };
  const server = await dns(t, zone);
  const lists = [list('black.example', { name: 'black', weight: 2 }), list('grey.example', { name: 'grey' })];
  const strangers = {
    exempt: networks('127.0.0.9'),
    dnsbl: { ...DEFAULT_DNSBL, servers: [server.server], lists, threshold: 2 },
  };
  const policy = policyOf(`version: 1
domains: { ours: [local.example], picky: [picky.example] }
rules:
  - { name: bad, deny: { to: ours, listed: any }, reply: "listed" }
  - { name: any list, deny: { to: picky, listed: [grey, black] } }
  - { name: inbound, allow: { to: [ours, picky] } }
  - { name: own, allow: { client: 127.0.0.1 } }
`);
  const { rcpt, sekisho } = await house(t, { policy, strangers });
  t.match(await rcpt('127.0.0.2'), /^550 5\.7\.1 listed/);
  t.equal(codeOf(await rcpt('127.0.0.3')), 250, 'too little to be blocked');
  t.equal(codeOf(await rcpt('127.0.0.3', 'a@far.example', 'bob@picky.example')), 550, 'but on a named list');
  t.equal(codeOf(await rcpt('127.0.0.4')), 250);
  const asked = server.queries.length;
  t.equal(codeOf(await rcpt('127.0.0.5', 'a@far.example', 'y@victim.example')), 550);
  t.equal(codeOf(await rcpt('127.0.0.1')), 250, "the site's own are on no list");
  t.equal(codeOf(await rcpt('127.0.0.9')), 250, 'nor are those that are exempt');
  t.equal(server.queries.length, asked, 'nobody asked for what no rule needed');
  t.ok(sekisho.of('dnsbl-lookup').some(({ list: name, result }) => name === 'black' && result === 'listed'));

  const listener = (dnsbl: 'shadow' | 'reject') => ({ screening: { dnsbl, greylist: 0 } });
  const strict = await house(t, { strangers, listener: listener('reject') });
  t.match(
    await strict.rcpt('127.0.0.2'),
    /^550 5\.7\.1 <bob@local\.example>\.\.\. Client \[127\.0\.0\.2\] is listed by black$/,
  );
  t.equal(
    codeOf(await strict.rcpt('127.0.0.2', '', 'postmaster@local.example')),
    250,
    'the postmaster hears everybody',
  );
  t.match(await strict.rcpt('127.0.0.2', '', 'y@victim.example'), /Relaying denied/);
  for (const free of ['127.0.0.1', '127.0.0.3', '127.0.0.9'])
    t.equal(codeOf(await strict.rcpt(free)), 250, free);
  t.match(
    strict.sekisho.of('decision').map(({ verdict, reason }) => [verdict, reason]),
    [
      ['deny', 'listed'],
      ['allow', 'rule'],
      ['deny', 'no-rule'],
    ],
  );
  const tried = await house(t, { strangers, listener: listener('shadow') });
  t.equal(codeOf(await tried.rcpt('127.0.0.2')), 250);
  t.match(tried.sekisho.of('shadow'), [{ rule: 'dnsbl of mx', would: 'deny', verdict: 'allow' }]);
});

t.test('bans: what counts, how much of it, for how long', async (t) => {
  const { rcpt, sekisho, clock } = await house(t, {
    bans: {
      most: 4,
      period: 600_000,
      time: 60_000,
      points: { ...DEFAULT_BANS.points, relay: 1, framing: 3 },
    },
  });
  const relay = (from: string) => rcpt(from, 'a@far.example', 'y@victim.example');
  for (let i = 0; i < 3; i += 1) t.match(await relay('127.0.0.2'), /Relaying denied/);
  t.equal(codeOf(await rcpt('127.0.0.2')), 250, 'three points are not four');
  t.match(await relay('127.0.0.2'), /Relaying denied/);
  await eventually('the fourth bans', () => sekisho.of('banned').length === 1);
  t.match(sekisho.of('banned')[0], {
    address: '127.0.0.2',
    until: clock.now + 60_000,
    why: '4 points, at last for refused relays',
  });
  t.match(await rcpt('127.0.0.2'), /^421 4\.7\.0 Your address is banned for a while/);
  t.match(sekisho.of('connection-refused'), [{ reason: 'banned', address: '127.0.0.2' }]);
  t.equal(codeOf(await rcpt('127.0.0.3')), 250, 'its neighbour is not');
  for (let i = 0; i < 6; i += 1) await relay('127.0.0.1');
  t.equal(codeOf(await rcpt('127.0.0.1')), 250, "the site's own are never banned");
  clock.now += 60_001;
  t.equal(codeOf(await rcpt('127.0.0.2')), 250, 'it is over');
  for (let i = 0; i < 4; i += 1) await relay('127.0.0.2');
  await eventually('banned again', () => sekisho.of('banned').length === 2);
  t.equal(sekisho.of('banned')[1]?.until, clock.now + 120_000, 'twice as long');

  const framing = await SmtpClient.connect(sekisho.port, '127.0.0.4');
  await framing.reply();
  framing.send('EHLO x\rNOOP\r\n');
  await framing.end();
  await relay('127.0.0.4');
  await eventually('broken framing counts three', () => sekisho.of('banned').length === 3);
});

t.test('bans: known clients, IPv6, by hand, and a store that is down', async (t) => {
  const store = new MemoryStore();
  const events: SekishoEvent[] = [];
  const clock = { now: 1e12 };
  const options = { ...DEFAULT_BANS, most: 1, exempt: networks('192.0.2.0/24') };
  const bans = new Bans(
    store,
    options,
    (event) => events.push(event),
    () => clock.now,
  );
  bans.knows = ({ text }) => text === '198.51.100.1';
  const peer = { session: 's', listener: 'mx', port: 1, name: undefined, helo: undefined, protocol: 'SMTP' };
  const offend = (address: string, more = {}): void =>
    bans.hear({ type: 'framing-fault', peer: { ...peer, address, ...more }, kind: 'bare-lf' });
  const window = {
    key: '203.0.113.5',
    address: '203.0.113.5',
    login: 'u',
    source: 'pop3',
    since: 0,
    used: 0,
    budget: 0,
  } as const;
  await store.open({ ...window, until: clock.now + 9e9 }, 3, clock.now);
  offend('192.0.2.7');
  offend('198.51.100.1');
  offend('203.0.113.5');
  offend('203.0.113.6', { login: 'u' });
  bans.hear({ type: 'framing-fault', peer: { ...peer, address: '203.0.113.7' }, kind: 'eight-bit' });
  offend('2001:db8:0:1::77');
  await eventually('the one stranger is banned', async () => bans.banned(ip('2001:db8:0:1::1')));
  t.same(
    (await bans.list(10)).map(({ key }) => key),
    ['2001:db8:0:1::/64'],
    'the others are exempt, known, in a window, logged in, or merely out of date',
  );
  t.equal(await bans.banned(ip('2001:db8:0:2::1')), false);
  t.equal(await bans.lift(ip('2001:db8:0:1::5'), 'by hand'), true);
  t.equal(await bans.lift(ip('2001:db8:0:1::5'), 'by hand'), false);
  t.equal(await bans.banned(ip('2001:db8:0:1::1')), false);
  await bans.ban(ip('203.0.113.9'), Number.POSITIVE_INFINITY, 'by hand');
  t.equal(await bans.banned(ip('203.0.113.9')), true);
  t.same(
    events.map(({ type }) => type),
    ['banned', 'ban-lifted', 'banned'],
  );
  store.marked = async () => {
    throw new StoreError('mark', 'down');
  };
  t.equal(await bans.banned(ip('203.0.113.9')), false, 'a store that is down bans nobody');
  await bans.banned(ip('203.0.113.9'));
  t.equal(
    events.filter(({ type }) => type === 'store-error').length,
    1,
    'and holds nobody up twice in a second',
  );
});

t.test('a silent ban', async (t) => {
  const { sekisho, rcpt } = await house(t, { bans: { most: 1, silent: true } });
  await rcpt('127.0.0.2', 'a@far.example', 'y@victim.example');
  await eventually('banned', () => sekisho.of('banned').length === 1);
  t.equal(await rcpt('127.0.0.2'), '', 'closed without a word');
});

t.test('refusals take their time, for strangers, and not for too many of them', async (t) => {
  const tarpit = { delay: 500, mostDelay: 2_000, sessions: 1 };
  const strangers = { exempt: networks(), dnsbl: { ...DEFAULT_DNSBL, lists: [] }, tarpit };
  const { sekisho } = await house(t, { strangers });
  const greet = async (from: string): Promise<SmtpClient> => {
    const client = await SmtpClient.connect(sekisho.port, from);
    await client.reply();
    await client.say('EHLO c.example');
    return client;
  };
  const timed = async (client: SmtpClient): Promise<number> => {
    const began = performance.now();
    t.match(await client.say('BOGUS'), /^500/);
    return performance.now() - began;
  };
  const one = await greet('127.0.0.2');
  t.ok((await timed(one)) >= 480);
  t.ok((await timed(one)) >= 980, 'twice as long');
  t.equal(codeOf(await one.say('NOOP')), 250, 'what is no refusal does not wait');
  one.send('BOGUS\r\nNOOP\r\n');
  await eventually('held', () => sekisho.of('tarpit').length === 3);
  const other = await greet('127.0.0.3');
  t.match(await other.say('BOGUS'), /^500/);
  t.same(
    sekisho.of('tarpit').map(({ result, seconds }) => [result, seconds]),
    [
      ['held', 0.5],
      ['held', 1],
      ['held', 2],
      ['full', 0],
    ],
    'one past the bound is not held',
  );
  t.match([await one.reply(), await one.reply()], [/^500/, /^250/], 'in order, whatever was pipelined');
  await (await greet('127.0.0.1')).say('BOGUS');
  t.equal(sekisho.of('tarpit').length, 4, "the site's own do not wait");
  const mailed = await greet('127.0.0.4');
  await mailed.say('MAIL FROM:<a@far.example>');
  await mailed.say('RCPT TO:<bob@local.example>');
  await mailed.say('RCPT TO:<y@victim.example>');
  t.equal(sekisho.of('tarpit').length, 4, 'nor does who holds a connection of the mail server');
  one.send('BOGUS\r\n');
  await eventually('held again', () => sekisho.of('tarpit').length === 5);
  one.destroy();
  await eventually('who leaves meanwhile is gone', () => sekisho.proxy.sessions === 3);
});

t.test('greylisting: strangers come again, the others never', async (t) => {
  const policy = policyOf(POLICY.replace('allow: { to: ours } }', 'allow: { to: ours }, greylist: 5m }'));
  const { rcpt, clock, sekisho } = await house(t, { policy });
  t.match(
    await rcpt('127.0.0.2'),
    /^451 4\.7\.1 <bob@local\.example>\.\.\. Greylisted, try again in 300 seconds$/,
  );
  clock.now += 299_000;
  t.match(await rcpt('127.0.0.2'), /^451 .*try again in 1 seconds/, 'too early still');
  clock.now += 1_000;
  t.equal(codeOf(await rcpt('127.0.0.2')), 250, 'in time');
  t.equal(codeOf(await rcpt('127.0.0.77')), 250, 'another host of the same /24');
  clock.now += 34 * 86_400_000;
  t.equal(codeOf(await rcpt('127.0.0.2')), 250, 'remembered');
  t.equal(codeOf(await rcpt('127.0.0.2', 'other@far.example')), 451, 'another sender');
  t.equal(codeOf(await rcpt('127.0.0.2', 'a@far.example', 'eve@local.example')), 451, 'another recipient');
  t.equal(codeOf(await rcpt('127.0.1.2')), 451, 'another network');
  t.equal(codeOf(await rcpt('127.0.0.1')), 250, "the site's own");
  t.match(await rcpt('127.0.0.2', 'a@far.example', 'y@victim.example'), /Relaying denied/);
  clock.now += 3 * 86_400_000;
  t.equal(codeOf(await rcpt('127.0.0.2', 'other@far.example')), 451, 'after two days it begins anew');
  clock.now += 300_000;
  for (const sender of ['b', 'c', 'd', 'e']) await rcpt('127.0.0.2', `${sender}@far.example`);
  clock.now += 300_000;
  for (const sender of ['b', 'c', 'd'])
    t.equal(codeOf(await rcpt('127.0.0.2', `${sender}@far.example`)), 250);
  t.equal(codeOf(await rcpt('127.0.0.2', 'new@far.example')), 451, 'four successes are not five');
  t.equal(codeOf(await rcpt('127.0.0.2', 'e@far.example')), 250);
  t.equal(codeOf(await rcpt('127.0.0.2', 'new@far.example')), 250, 'the network is familiar');
  t.ok(sekisho.of('greylist').some(({ result }) => result === 'familiar'));
  t.match(sekisho.of('decision')[0], { verdict: 'defer', rule: 'inbound', reason: 'greylisted' });
});

t.test('greylisting as the default of a listener, with bounds', async (t) => {
  const state = new MemoryStore();
  const { rcpt, sekisho } = await house(t, {
    state,
    listener: { screening: { dnsbl: 'none', greylist: 60_000 } },
  });
  t.equal(codeOf(await rcpt('127.0.0.2')), 451);
  const marked = (await state.marks('greylist', 5_000, Date.now())).length;
  await state.count('greylist:new:127.0.0.0/24', 1_000 - 1 - marked, 3_600_000);
  t.equal(codeOf(await rcpt('127.0.0.2', 'b@far.example')), 451, 'the last one of the network in this hour');
  t.equal((await state.marks('greylist', 5_000, Date.now())).length, marked + 1);
  t.equal(codeOf(await rcpt('127.0.0.2', 'c@far.example')), 451, 'one past it waits too');
  t.equal((await state.marks('greylist', 5_000, Date.now())).length, marked + 1, 'and is not kept');
  await state.count('greylist:new', 200_000, 86_400_000);
  t.equal(codeOf(await rcpt('127.0.9.2')), 250, 'when there are too many of them in all, mail passes');
  state.marked = async () => {
    throw new StoreError('mark', 'down');
  };
  t.equal(codeOf(await rcpt('127.0.8.2')), 250, 'so it does when the store is down');
  t.ok(sekisho.of('store-error').length > 0);
});
