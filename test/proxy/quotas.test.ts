/** Quotas: each count for each subject, at the number and one past it; who is spared; what is said over the wire. */
import t, { type Test } from 'tap';
import type { Peer, SekishoEvent } from '../../src/base/events.js';
import { IpSet, parseCidr, parseIp } from '../../src/base/ip.js';
import {
  QUOTA_COUNTS,
  QUOTA_SUBJECTS,
  type Quota,
  type QuotaCount,
  Quotas,
  type QuotaWhat,
} from '../../src/proxy/quotas.js';
import { StoreError } from '../../src/windows/store.js';
import { MemoryStore } from '../../src/windows/stores/memory.js';
import { startLegacyMta } from '../support/legacy-mta.js';
import { eventually, policyOf, type Setting, startSekisho } from '../support/sekisho.js';
import { codeOf, SmtpClient } from '../support/smtp-client.js';

const MINUTE = 60_000;

const networks = (...texts: string[]): IpSet =>
  IpSet.of(texts.flatMap((each) => ((cidr) => (cidr.ok ? [cidr.value] : []))(parseCidr(each))));

const ip = (text: string) => {
  const parsed = parseIp(text);
  if (parsed === undefined) throw new Error(text);
  return parsed;
};

const counting = (what: QuotaWhat, most: number, period = MINUTE): Pick<Quota, 'counts'> => ({
  counts: [{ what, most, period } satisfies QuotaCount],
});

const quota = (per: Quota['per'], more: Partial<Quota>): Quota => ({
  ...{ name: 'q', per, concurrent: undefined, counts: [], listeners: undefined, lasts: 0 },
  // biome-ignore lint/suspicious/noThenProperty: the quota's own word.
  then: 'defer',
  ...{ exempt: IpSet.of([]), sparesTrusted: false },
  ...more,
});

/** Who does something. */
interface Doer {
  readonly address: string;
  readonly from: string;
  readonly login: string;
  readonly listener: string;
}

const DOER: Doer = { address: '203.0.113.9', from: 'u@far.example', login: 'hoge', listener: 'mx' };

/** Quotas without sockets, over a store whose clock is real and whose faults are the test's. */
const court = (quotas: readonly Quota[], store = new MemoryStore()) => {
  const events: SekishoEvent[] = [];
  const clock = { now: 1e12 };
  const kept = new Quotas(
    quotas,
    store,
    (event) => events.push(event),
    () => clock.now,
  );
  const peerOf = ({ address, login, listener }: Doer): Peer => ({
    ...{ session: 's', listener, address, port: 1, name: undefined, helo: 'h', protocol: 'ESMTP' },
    ...(login === '' ? {} : { login }),
  });
  const settled = (): Promise<void> => new Promise((resolve) => setImmediate(resolve));
  const rcpt = async (doer: Doer, counted = new Set<string>()): Promise<boolean> => {
    const actor = { peer: peerOf(doer), client: ip(doer.address), from: doer.from };
    return (await kept.countRecipient(actor, () => counted)) === undefined;
  };
  const knock = async ({ address, listener }: Doer): Promise<boolean> =>
    (await kept.countConnection(ip(address), listener)) === undefined;
  const message = async (doer: Doer, bytes: number, result: 'accepted' | 'rejected' = 'accepted') => {
    const what = { to: [], rules: [], upstream: 'u', reply: '250 ok', seconds: 1 };
    kept.hear({ type: 'message', peer: peerOf(doer), from: doer.from, bytes, result, ...what });
    await settled();
  };
  const refuse = async (doer: Doer): Promise<void> => {
    const peer = peerOf(doer);
    const said = { from: doer.from, to: 'y@x.example', result: 'rejected', reply: '550 no' } as const;
    kept.hear({ type: 'command', peer, verb: 'RCPT', code: 550, seconds: 0 });
    kept.hear({ type: 'recipient', peer, code: 550, ...said });
    await settled();
  };
  const limits = (): string[] =>
    events.flatMap((event) => (event.type === 'limit-exceeded' ? [event.why ?? ''] : []));
  return { kept, events, clock, rcpt, knock, message, refuse, limits };
};

type Court = ReturnType<typeof court>;

/** Does once what is counted; true if it was let pass. Three octets are one more than two. */
const DO: Readonly<Record<QuotaWhat, (court: Court, doer: Doer) => Promise<boolean>>> = {
  connections: ({ knock }, doer) => knock(doer),
  messages: async ({ rcpt }, doer) => {
    const counted = new Set<string>();
    const first = await rcpt(doer, counted);
    // The second recipient of a message is no second message.
    return first && (await rcpt(doer, counted));
  },
  recipients: ({ rcpt }, doer) => rcpt(doer),
  bytes: async ({ rcpt, message }, doer) => {
    const may = await rcpt(doer);
    if (may) await message(doer, 1);
    return may;
  },
  refused: async ({ rcpt, refuse }, doer) => {
    await refuse(doer);
    return rcpt(doer);
  },
};

/** Somebody else, as far as a quota for each of these can tell. */
const OTHER: Readonly<Record<Quota['per'], Partial<Doer>>> = {
  client: { address: '203.0.113.10' },
  network: { address: '203.1.113.9' },
  sender: { from: 'v@far.example' },
  login: { login: 'fuga' },
  listener: { listener: 'submission' },
};

/** Different in all else. */
const sameAs = (per: Quota['per']): Doer => {
  const near = per === 'client' ? DOER.address : '203.0.113.77';
  const other = { address: near, from: 'w@far.example', login: 'piyo', listener: 'other' };
  switch (per) {
    case 'client':
    case 'network':
      return other;
    case 'sender':
      return { ...other, from: DOER.from };
    case 'login':
      return { ...other, login: DOER.login };
    case 'listener':
      return { ...other, listener: DOER.listener };
  }
};

t.test('each count for each subject: at the number, one past it, somebody else', async (t) => {
  for (const per of QUOTA_SUBJECTS) {
    for (const what of QUOTA_COUNTS) {
      if (what === 'connections' && (per === 'sender' || per === 'login')) continue;
      const house = court([quota(per, counting(what, 2))]);
      const act = (doer: Doer): Promise<boolean> => DO[what](house, doer);
      const name = `${what} per ${per}`;
      t.strictSame([await act(DOER), await act(sameAs(per))], [true, true], `${name}: two`);
      t.strictSame(house.limits(), [], `${name}: nothing is exceeded yet`);
      t.equal(await act(DOER), false, `${name}: the third`);
      t.equal(house.limits().length, 1, name);
      t.match(house.limits()[0], new RegExp(`^${per} .*: [23] ${what}, 2 are allowed in 60 s$`));
      t.equal(await act({ ...DOER, ...OTHER[per] }), true, `${name}: somebody else`);
    }
  }
});

t.test('connections at once', async (t) => {
  for (const per of ['client', 'network', 'listener'] as const) {
    const house = court([quota(per, { concurrent: 2 })]);
    const leave: (() => void)[] = [];
    const come = ({ address, listener }: Doer): boolean =>
      house.kept.takePlace(ip(address), listener, (gone) => leave.push(gone)) === undefined;
    t.strictSame([come(DOER), come(sameAs(per)), come(DOER)], [true, true, false], per);
    t.equal(come({ ...DOER, ...OTHER[per] }), true, `${per}: somebody else`);
    t.strictSame(house.limits().length, 1);
    t.equal(come(DOER), false);
    t.equal(house.limits().length, 1, 'it is told once in a while');
    house.clock.now += MINUTE;
    t.equal(come(DOER), false);
    t.equal(house.limits().length, 2, 'and then again');
    leave[0]?.();
    t.strictSame([come(DOER), come(DOER)], [true, false], `${per}: a place is free again`);
  }
});

t.test('IPv6, the null sender, who has not logged in', async (t) => {
  const v6 = court([quota('client', counting('recipients', 1))]);
  t.equal(await v6.rcpt({ ...DOER, address: '2001:db8::1' }), true);
  t.equal(await v6.rcpt({ ...DOER, address: '2001:db8::2' }), false, 'the whole /64');
  const bounces = court([quota('sender', counting('recipients', 1))]);
  t.equal(await bounces.rcpt({ ...DOER, from: '' }), true);
  t.equal(await bounces.rcpt({ ...DOER, from: '' }), false);
  t.equal(await bounces.rcpt({ ...DOER, ...OTHER.client, from: '' }), true, 'counted for each client');
  const octets = court([quota('sender', counting('bytes', 5))]);
  await octets.message({ ...DOER, from: 'U@Far.example' }, 5);
  t.equal(await octets.rcpt(DOER), false, 'however it is written');
  const logins = court([quota('login', counting('recipients', 1))]);
  for (let i = 0; i < 3; i += 1) t.equal(await logins.rcpt({ ...DOER, login: '' }), true, 'nobody');
});

t.test('what counts as refused', async (t) => {
  const house = court([quota('client', counting('refused', 3))]);
  const peer = { session: 's', listener: 'mx', address: DOER.address, port: 1 };
  const who = { ...peer, name: undefined, helo: 'h', protocol: 'ESMTP' };
  const heard = (event: SekishoEvent): void => house.kept.hear(event);
  for (const code of [250, 354, 421, 451])
    heard({ type: 'command', peer: who, verb: 'RCPT', code, seconds: 0 });
  const auth = { peer: who, protocol: 'smtp', mechanism: 'PLAIN', login: 'x', why: '' } as const;
  heard({ type: 'auth', ...auth, result: 'ok' });
  heard({ type: 'auth', ...auth, result: 'unavailable' });
  heard({ type: 'auth', ...auth, result: 'wrong' });
  // Told by the event before.
  heard({ type: 'command', peer: who, verb: 'AUTH', code: 535, seconds: 0 });
  heard({ type: 'command', peer: who, verb: 'VRFY', code: 502, seconds: 0 });
  await house.message(DOER, 1, 'rejected');
  t.equal(await house.knock(DOER), true, 'three are allowed');
  await house.message(DOER, 1, 'rejected');
  t.equal(await house.knock(DOER), false);
  t.equal(await house.rcpt(DOER), false);
});

t.test('turned away for a while', async (t) => {
  const house = court([quota('client', { ...counting('connections', 1, 1_500), lasts: 4_500 })]);
  t.equal(await house.knock(DOER), true);
  t.equal(await house.knock(DOER), false);
  // The period is over (the store's clock is real), the while is not.
  await new Promise((resolve) => setTimeout(resolve, 1_600));
  house.clock.now += MINUTE;
  t.equal(await house.knock(DOER), false);
  t.match(house.limits(), [/2 connections, 1 are/, /turned away for 4.5 s for too many connections/]);
  t.equal(await house.knock({ ...DOER, ...OTHER.client }), true);
  await eventually('it is over', () => house.knock(DOER));
});

t.test('who is spared, where it counts, and a store that is down', async (t) => {
  const some = { listeners: new Set(['mx']), exempt: networks('198.51.100.0/24') };
  const house = court([quota('listener', { ...counting('recipients', 1), ...some })]);
  t.equal(await house.rcpt(DOER), true);
  t.equal(await house.rcpt({ ...DOER, address: '198.51.100.1' }), true, 'exempt');
  t.equal(await house.rcpt({ ...DOER, listener: 'submission' }), true, 'another listener');
  t.equal(await house.rcpt(DOER), false, 'neither of them was counted, and this is the second');
  for (const spares of [false, true]) {
    const own = court([quota('client', { ...counting('connections', 1), sparesTrusted: spares })]);
    own.kept.knows = () => true;
    await own.knock(DOER);
    t.equal(await own.knock(DOER), spares, 'the own networks are spared only if the site says so');
  }
  class Down extends MemoryStore {
    override count(): Promise<never> {
      return Promise.reject(new StoreError('count', 'store down'));
    }
  }
  const down = court([quota('client', counting('recipients', 1))], new Down());
  for (let i = 0; i < 3; i += 1) t.equal(await down.rcpt(DOER), true, 'mail goes on');
  t.match(down.events, [{ type: 'store-error', operation: 'count' }], 'and it is told once in a second');
});

const POLICY = `version: 1
domains: { ours: [local.example] }
rules: [{ name: inbound, allow: { to: ours } }]
`;

const house = async (t: Test, quotas: readonly Quota[], more: Partial<Setting> = {}) => {
  const mta = await startLegacyMta();
  const policy = policyOf(POLICY);
  const sekisho = await startSekisho({ upstreams: [{ port: mta.port }], policy, quotas, ...more });
  t.teardown(async () => {
    await sekisho.stop();
    await mta.close();
  });
  const connect = async (from = '127.0.0.2') => {
    const client = await SmtpClient.connect(sekisho.port, from);
    t.teardown(() => client.destroy());
    return { client, banner: await client.reply() };
  };
  const begin = async (from?: string) => {
    const { client } = await connect(from);
    await client.say('EHLO c.example');
    return client;
  };
  return { sekisho, connect, begin };
};

const mail = async (client: SmtpClient, to = 'bob@local.example'): Promise<string> => {
  await client.say('MAIL FROM:<a@far.example>');
  const said = await client.say(`RCPT TO:<${to}>`);
  if (codeOf(said) !== 250) {
    await client.say('RSET');
    return said;
  }
  await client.say('DATA');
  return client.say('Subject: x\r\n\r\n0123456789\r\n.');
};

t.test('over the wire: connections', async (t) => {
  const { sekisho, connect } = await house(t, [
    quota('client', { name: 'rate', ...counting('connections', 3) }),
    quota('client', { name: 'at-once', concurrent: 2 }),
  ]);
  const first = await connect();
  await connect();
  const third = await connect();
  t.equal(third.banner, '421 4.7.0 Too much for now, try again later', 'two at once');
  await third.client.end();
  t.equal(codeOf((await connect('127.0.0.3')).banner), 220, 'the neighbour');
  await first.client.say('QUIT');
  await first.client.end();
  const again: SmtpClient[] = [];
  await eventually('its place is free', async () => {
    const { client, banner } = await connect();
    again.push(client);
    return codeOf(banner) === 220;
  });
  // Those turned away for want of a place were not counted as connections: this was the third.
  const exceeded = (): string[] => sekisho.of('limit-exceeded').map(({ limit }) => limit);
  t.strictSame(exceeded(), ['at-once']);
  again.at(-1)?.destroy();
  await eventually('the fourth is one too many, though there is a place', async () => {
    t.equal(codeOf((await connect()).banner), 421);
    return exceeded().length > 1;
  });
  t.strictSame(exceeded(), ['at-once', 'rate']);
  t.match(sekisho.of('limit-exceeded')[1], {
    peer: { address: '127.0.0.2', session: '' },
    why: 'client 127.0.0.2: 4 connections, 3 are allowed in 60 s',
  });
  t.ok(sekisho.of('connection-refused').every(({ reason }) => reason === 'quota'));
});

t.test('over the wire: messages, octets, refusals', async (t) => {
  const { sekisho, begin, connect } = await house(t, [
    quota('client', { name: 'refused', ...counting('refused', 2), lasts: MINUTE }),
    quota('client', { name: 'messages', ...counting('messages', 2) }),
    // biome-ignore lint/suspicious/noThenProperty: the quota's own word.
    quota('network', { name: 'octets', ...counting('bytes', 70), then: 'deny' }),
  ]);
  const client = await begin();
  t.equal(codeOf(await mail(client)), 250);
  t.equal(codeOf(await mail(client)), 250);
  t.match(await mail(client), /^451 4\.7\.1 <bob@local\.example>\.\.\. Too much mail for now/);
  // 3 × 26 octets.
  const other = await begin('127.0.0.3');
  t.equal(codeOf(await mail(other)), 250);
  t.match(await mail(other), /^550 5\.7\.1 <bob@local\.example>\.\.\. Too much mail$/);
  t.match(
    sekisho.of('limit-exceeded').map(({ limit, why }) => `${limit}: ${why}`),
    ['messages: client 127.0.0.2: 3 messages, 2 are', 'octets: network 127.0: 78 bytes, 70 are'],
  );
  const relayer = await begin('127.0.0.4');
  for (let i = 0; i < 2; i += 1) t.match(await mail(relayer, 'y@victim.example'), /Relaying denied/);
  t.equal(codeOf((await connect('127.0.0.4')).banner), 220, 'two are allowed');
  t.match(await mail(relayer, 'y@victim.example'), /Relaying denied/);
  t.equal(codeOf((await connect('127.0.0.4')).banner), 421, 'the third is one too many');
  t.match(await mail(relayer), /^451 4\.7\.1/, 'in the session that it has, too');
});

t.test('over the wire: under --observe nobody is told no at a recipient', async (t) => {
  const { begin } = await house(t, [quota('client', counting('messages', 1))], { observe: true });
  const client = await begin();
  for (let i = 0; i < 3; i += 1) t.equal(codeOf(await mail(client)), 250);
});
