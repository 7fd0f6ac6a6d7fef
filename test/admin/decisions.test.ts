/** The ring of decisions, its live view, and the counts of the last hours, fed by events. */
import t from 'tap';
import { type Decision, Decisions, decisionTest } from '../../src/admin/decisions.js';
import type { FeedBatch } from '../../src/admin/feed.js';
import { History } from '../../src/admin/history.js';
import type { Peer, SekishoEvent, VerdictKind } from '../../src/base/events.js';
import { replay } from '../../src/policy/replay.js';
import { startLegacyMta } from '../support/legacy-mta.js';
import { eventually, policyOf, startSekisho } from '../support/sekisho.js';
import { SmtpClient } from '../support/smtp-client.js';

const peerOf = (session = 's-1', address = '203.0.113.9'): Peer => ({
  ...{ session, listener: 'mx', address, port: 999, name: undefined, helo: 'h.example', protocol: 'ESMTP' },
});

const decided = (given: Partial<Extract<SekishoEvent, { type: 'decision' }>> = {}): SekishoEvent => ({
  type: 'decision',
  peer: peerOf(),
  from: 'x@spam.example',
  to: 'y@victim.example',
  verdict: 'deny',
  rule: undefined,
  reason: 'no-rule',
  enforced: true,
  ...given,
});

const replied = (given: Partial<Extract<SekishoEvent, { type: 'recipient' }>> = {}): SekishoEvent => ({
  type: 'recipient',
  peer: peerOf(),
  from: 'x@spam.example',
  to: 'y@victim.example',
  result: 'rejected',
  code: 550,
  reply: '550 5.7.1 no',
  verdict: 'deny',
  rule: undefined,
  reason: 'no-rule',
  ...given,
});

/** One whose address never came before a policy. */
const unjudged = (to: string): SekishoEvent => ({
  ...{ type: 'recipient', peer: peerOf(), from: 'x@spam.example', to, result: 'rejected' },
  ...{ code: 553, reply: '553 5.1.3 bad' },
});

const shadow = (rule: string, would: VerdictKind, verdict: VerdictKind = 'deny'): SekishoEvent => ({
  ...{ type: 'shadow', peer: peerOf(), rule, from: 'x@spam.example', to: 'y@victim.example', would, verdict },
});

const passes = (decision: Decision, filter: Parameters<typeof decisionTest>[0]): boolean => {
  const test = decisionTest(filter);
  if (!test.ok) throw new Error(test.error);
  return test.value(decision);
};

t.test('the ring keeps the last ones, the newest first', async (t) => {
  let now = 1_000;
  const decisions = new Decisions(3, () => now);
  t.strictSame(decisions.list(10), []);
  for (const to of ['a@x', 'b@x']) decisions.note(decided({ to }));
  t.strictSame(
    decisions.list(10).map(({ to }) => to),
    ['b@x', 'a@x'],
    'before it is full',
  );
  now = 2_000;
  for (const to of ['c@x', 'd@x', 'e@x', 'f@x', 'g@x']) decisions.note(decided({ to }));
  t.strictSame(
    decisions.list(10).map(({ id, to, time }) => [id, to, time]),
    [
      [7, 'g@x', 2_000],
      [6, 'f@x', 2_000],
      [5, 'e@x', 2_000],
    ],
  );
  t.strictSame(
    decisions.list(2).map(({ id }) => id),
    [7, 6],
  );
  t.strictSame(
    decisions.recorded().map(({ to }) => to),
    ['e@x', 'f@x', 'g@x'],
    'for a replay the oldest first',
  );
  t.equal(decisions.find(6)?.to, 'f@x');
  t.equal(decisions.find(1), undefined);
});

t.test('a decision is a copy: what becomes of the peer later changes nothing', async (t) => {
  const decisions = new Decisions();
  const peer = peerOf();
  peer.window = { login: 'u', source: 'pop3' };
  decisions.note(decided({ peer, windows: [{ login: 'u', source: 'pop3' }] }));
  delete peer.window;
  peer.login = 'later';
  t.match(decisions.list(1)[0], { window: { login: 'u', source: 'pop3' }, login: undefined });
});

t.test('a place in the ring is written again, what was shown is not', async (t) => {
  const decisions = new Decisions(2);
  const feed = decisions.subscribe(undefined, { pace: 1 });
  const peer = { ...peerOf(), login: 'u', window: { login: 'u', source: 'pop3' } };
  decisions.note(shadow('try', 'allow'));
  decisions.note(decided({ peer, windows: [{ login: 'u', source: 'pop3' }], suspended: true }));
  const first = decisions.find(1);
  decisions.note(replied());
  t.notOk(first?.reply, 'shown before its reply');
  t.match(decisions.find(1)?.reply, { code: 550 });
  decisions.note(decided({ to: 'b@x' }));
  decisions.note(decided({ to: 'c@x' }));
  decisions.note(unjudged('d@x'));
  t.strictSame(
    decisions.list(9).map(({ to, login, window, windows, suspended, shadows, reply }) => ({
      ...{ to, login, window, windows, suspended, shadows, code: reply?.code },
    })),
    ['d@x', 'c@x'].map((to) => ({
      ...{ to, login: undefined, window: undefined, windows: undefined, suspended: undefined, shadows: [] },
      code: to === 'd@x' ? 553 : undefined,
    })),
    'nothing is left of what was there before',
  );
  t.match(first, { to: 'y@victim.example', login: 'u', suspended: true, shadows: [{ rule: 'try' }] });
  decisions.note(replied({ to: 'b@x' }));
  t.match(
    decisions.list(9).map(({ to, reply }) => [to, reply?.code]),
    [
      ['d@x', 553],
      ['c@x', undefined],
    ],
  );
  for await (const { items } of feed) {
    t.match(items.at(-1), { kind: 'reply', id: 2 }, 'the reply to one that is no longer kept is still told');
    break;
  }
});

t.test('a reply finds the last decision on its recipient, and each decision has one', async (t) => {
  const decisions = new Decisions(5_000);
  for (const to of ['a@x', 'b@x', 'c@x', 'b@x']) decisions.note(decided({ to }));
  const replies = () => decisions.list(9).map(({ reply }) => reply?.code);
  decisions.note(replied({ to: 'b@x', peer: peerOf('s-2') }));
  t.strictSame(replies(), [undefined, undefined, undefined, undefined], 'of another session');
  decisions.note(replied({ to: 'b@x', code: 551 }));
  decisions.note(replied({ to: 'b@x', code: 552 }));
  decisions.note(replied({ to: 'a@x', code: 550 }));
  t.strictSame(replies(), [551, undefined, undefined, 550]);
  for (let i = 0; i < 4_096; i += 1) decisions.note(decided({ to: 'z@x', peer: peerOf(`t-${i}`) }));
  const late = decisions.list(1)[0]?.id;
  decisions.note(replied({ to: 'c@x', code: 553 }));
  decisions.note(replied({ to: 'z@x', peer: peerOf('t-4095'), code: 554 }));
  t.equal(decisions.find(late ?? 0)?.reply?.code, 554);
  t.notOk(decisions.find(3)?.reply, 'what waits too long is given up');
});

t.test('shadow rules, replies and refusals before any rule find their place', async (t) => {
  const decisions = new Decisions();
  decisions.note(shadow('try', 'allow'));
  decisions.note(shadow('same', 'deny'));
  decisions.note(decided());
  decisions.note(decided({ to: 'z@victim.example' }));
  decisions.note(replied());
  decisions.note(unjudged('bad%'));
  decisions.note({ type: 'sender-refused', peer: peerOf(), from: 'who', reply: '553 5.7.1 not yours' });
  const [sender, recipient, plain, first] = decisions.list(4);
  t.match(first, {
    shadows: [
      { rule: 'try', would: 'allow' },
      { rule: 'same', would: 'deny' },
    ],
    reply: { result: 'rejected', code: 550, reply: '550 5.7.1 no' },
  });
  t.strictSame([plain?.shadows, plain?.reply], [[], undefined]);
  t.match(recipient, { reason: 'recipient', verdict: 'deny', to: 'bad%' });
  t.match(sender, { reason: 'sender', to: '', reply: { code: 553 } });
  t.equal(decisions.recorded().length, 2, 'a policy never saw these two');
  t.equal(
    replay(decisions.recorded(), policyOf('version: 1\nrules:\n  - { name: no, deny: {} }\n')).moved,
    2,
  );
});

t.test('filters', async (t) => {
  const decisions = new Decisions();
  decisions.note(shadow('try', 'allow'));
  const peer = { ...peerOf(), login: 'u@example.org', name: 'mail.spam.example' };
  decisions.note(decided({ peer, rule: 'no spam' }));
  const [one] = decisions.list(1);
  if (one === undefined) throw new Error('nothing');
  const yes = [
    {},
    { verdict: 'deny' },
    { rule: 'no spam' },
    { client: '203.0.113.9' },
    { client: '203.0.113.0/24' },
    { client: '::ffff:203.0.113.9' },
    { login: 'u@example.org' },
    { text: 'VICTIM' },
    { text: 'mail.spam' },
    { disagreed: true },
    { verdict: 'deny', text: 'spam', disagreed: true },
  ] as const;
  for (const filter of yes) t.ok(passes(one, filter), JSON.stringify(filter));
  const no = [{ verdict: 'allow' }, { rule: 'spam' }, { client: '203.0.113.8' }, { login: 'u' }] as const;
  for (const filter of no) t.notOk(passes(one, filter), JSON.stringify(filter));
  t.notOk(passes(one, { verdict: 'deny', text: 'nothing of it' }));
  t.match(decisionTest({ client: '203.0.113' }), { ok: false, error: /^client: / });
});

t.test('a feed brings what passes, in batches, and closes', async (t) => {
  const decisions = new Decisions();
  const test = decisionTest({ text: 'victim' });
  if (!test.ok) throw new Error(test.error);
  const feed = decisions.subscribe(test.value, { bound: 10, pace: 5 });
  const batches: FeedBatch[] = [];
  const done = (async () => {
    for await (const batch of feed) batches.push(batch);
  })();
  await new Promise((resolve) => setImmediate(resolve));
  decisions.note(decided());
  decisions.note(decided({ to: 'other@example.org', from: 'b@example.org' }));
  decisions.note(replied());
  await eventually('a batch', () => batches.length > 0);
  t.strictSame(
    batches.flatMap(({ items }) => items.map(({ kind, id }) => [kind, id])),
    [
      ['decision', 1],
      ['reply', 1],
    ],
  );
  t.equal(batches.length, 1, 'what comes in one go is told in one go');
  t.match(JSON.parse(batches[0]?.items[0]?.json ?? ''), { to: 'y@victim.example' });
  t.equal(decisions.listeners, 1);
  decisions.close();
  await done;
  t.equal(decisions.listeners, 0);
});

t.test('a slow listener loses the oldest and is told; one that goes away is forgotten', async (t) => {
  const decisions = new Decisions();
  const feed = decisions.subscribe(undefined, { bound: 4, pace: 1, most: Number.POSITIVE_INFINITY });
  for (let i = 0; i < 10; i += 1) decisions.note(decided({ to: `${i}@x` }));
  for await (const { items, missed } of feed) {
    t.strictSame([items.map(({ id }) => id), missed], [[7, 8, 9, 10], 6]);
    break;
  }
  t.equal(decisions.listeners, 0);
  decisions.note(decided());
});

t.test(
  'of more than can be read a listener gets a part, with its replies, and the count of the rest',
  async (t) => {
    const decisions = new Decisions();
    const feed = decisions.subscribe(undefined, { pace: 1 });
    const total = 5_000;
    for (let i = 0; i < total; i += 1) {
      decisions.note(decided({ to: `${i}@x` }));
      decisions.note(replied({ to: `${i}@x` }));
    }
    feed.miss(7);
    for await (const { items, missed } of feed) {
      const of = (kind: string) => items.filter((each) => each.kind === kind).map(({ id }) => id);
      t.ok(items.length <= 256 && missed > 4_000, `${items.length} came, ${missed} were left out`);
      t.ok(
        of('reply').every((id) => of('decision').includes(id) || id <= 512),
        'no reply to what it never heard of',
      );
      break;
    }
  },
);

t.test('the last hours, minute by minute', async (t) => {
  let now = 600_000;
  const history = new History(() => now, 10);
  const add = (...events: SekishoEvent[]): void => events.forEach(history.note);
  add(replied(), replied({ reason: 'rule', rule: 'no' }), unjudged('bad%'));
  now += 60_000;
  add(replied({ result: 'accepted', verdict: 'allow' }), replied({ verdict: 'allow' }));
  add({ type: 'limit-exceeded', peer: peerOf(), limit: 'roaming' }, replied({ verdict: 'allow' }));
  add(replied({ reason: 'unknown-fact', verdict: 'defer', result: 'deferred' }));
  add(shadow('try', 'allow'), shadow('same', 'deny'), decided(), decided({ enforced: false }));
  const { from, step, series } = history.snapshot(3);
  t.strictSame([from, step], [540_000, 60_000]);
  t.match(series, { relay: [0, 1, 0], rule: [0, 1, 0], address: [0, 1, 0], accepted: [0, 0, 1] });
  t.match(series, {
    server: [0, 0, 1],
    limit: [0, 0, 1],
    unknown: [0, 0, 1],
    shadow: [0, 0, 1],
    observed: [0, 0, 1],
  });
  now += 4 * 60_000;
  t.match(history.snapshot(6).series.relay, [1, 0, 0, 0, 0, 0]);
  now += 60_000 * 25;
  const late = history.snapshot();
  t.equal(late.series.relay.length, 10);
  t.ok(
    Object.values(late.series).every((values) => values.every((value) => value === 0)),
    'all of it is past',
  );
  now -= 60_000 * 50;
  add(replied());
  t.equal(history.snapshot(1).series.relay[0], 1, 'a clock that is set back harms nothing');
});

t.test('what a real session tells can be judged again', async (t) => {
  const mta = await startLegacyMta();
  t.teardown(() => mta.close());
  const law = `version: 1
rules:
  - { name: try, shadow: true, allow: { to: victim.example } }
  - { name: in, allow: { to: local.example } }
`;
  const sekisho = await startSekisho({ upstreams: [{ port: mta.port }], policy: policyOf(law) });
  t.teardown(() => sekisho.stop());
  const client = await SmtpClient.connect(sekisho.port);
  await client.reply();
  for (const line of ['EHLO h.example', 'MAIL FROM:<x@spam.example>']) await client.say(line);
  t.match(await client.say('RCPT TO:<y@victim.example>'), /^550/);
  t.match(await client.say('RCPT TO:<u@local.example>'), /^250/);
  t.match(await client.say('RCPT TO:<a@b@c>'), /^5/);
  await client.say('DATA');
  t.match(await client.say('Subject: x\r\n\r\nx\r\n.'), /^250/);
  client.destroy();
  t.match(sekisho.of('message')[0], { to: ['u@local.example'], rules: ['in'] });
  t.match(
    sekisho.of('recipient').map(({ verdict, rule }) => [verdict, rule]),
    [
      ['deny', undefined],
      ['allow', 'in'],
      [undefined, undefined],
    ],
  );
  t.match(sekisho.of('shadow')[0], { would: 'allow', verdict: 'deny' });
  const decisions = new Decisions();
  sekisho.events.forEach(decisions.note);
  t.strictSame(
    decisions.list(10).map(({ to, verdict, reason, reply }) => [to, verdict, reason, reply?.code]),
    [
      ['a@b@c', 'deny', 'recipient', sekisho.of('recipient')[2]?.code],
      ['u@local.example', 'allow', 'rule', 250],
      ['y@victim.example', 'deny', 'no-rule', 550],
    ],
  );
  t.match(replay(decisions.recorded(), policyOf(law)), { total: 2, same: 2 });
  const closed = policyOf('version: 1\nrules:\n  - { name: none, deny: {} }\n');
  t.match(replay(decisions.recorded(), closed), { changed: 1, moved: 1 });
});
