/** Decisions of several processes as one stream. */
import t from 'tap';
import type { Decision } from '../../../src/admin/decisions.js';
import type { Feed } from '../../../src/admin/feed.js';
import { isDecision, LiveDecisions } from '../../../src/app/fleet/live-decisions.js';
import { eventually } from '../../support/sekisho.js';

const decision = (id: number, to = 'y@victim.example'): Decision => {
  const made: unknown = { id, time: 1e12 + id, client: '192.0.2.1', from: 'a@b.example', to, shadows: [] };
  if (!isDecision(made)) throw new Error('no decision');
  return made;
};
const decided = (id: number, to?: string) => ({ kind: 'decision', body: decision(id, to) });
const replied = (id: number, code = 250) => ({ kind: 'reply', body: { id, code } });

/** What one listener has heard so far: kinds and ids, and how many it has missed. */
const hearing = (feed: Feed): string[] => {
  const said: string[] = [];
  void (async () => {
    for await (const { items, missed } of feed) {
      if (missed > 0) said.push(`missed ${missed}`);
      said.push(...items.map(({ kind, body }) => `${kind} ${body.id}`));
    }
    said.push('end');
  })();
  return said;
};

const anybody = (): boolean => true;

t.test('each listener hears what it asked for, and the replies to it', async (t) => {
  const live = new LiveDecisions(
    () => undefined,
    async () => [],
  );
  const all = hearing(live.subscribe(anybody));
  const some = hearing(live.subscribe(({ to }) => to === 'bob@local.example'));
  live.hear([decided(1), decided(2, 'bob@local.example')], 0);
  live.hear([replied(2), replied(1), replied(1), replied(7), decided(3)], 0);
  await eventually('the last', () => all.at(-1) === 'decision 3' && some.at(-1) === 'reply 2');
  live.close();
  await eventually('the end', () => [all, some].every((each) => each.at(-1) === 'end'));
  t.strictSame(all, ['decision 1', 'decision 2', 'reply 2', 'reply 1', 'decision 3', 'end']);
  t.strictSame(some, ['decision 2', 'reply 2', 'end']);
});

t.test('what a process could not send is told, and what is none is nobody’s', async (t) => {
  const live = new LiveDecisions(
    () => undefined,
    async () => [],
  );
  const all = hearing(live.subscribe(anybody));
  const { shadows: _, ...less } = decision(1);
  live.hear([undefined, 'x', { kind: 'decision' }, { kind: 'decision', body: less }, { kind: 'reply' }], 3);
  live.hear([{ kind: 'rubbish', body: decision(2) }, decided(3)], 0);
  await eventually('the last', () => all.includes('decision 3'));
  t.strictSame(all, ['missed 3', 'decision 3']);
  live.close();
});

t.test('the processes send while somebody listens', async (t) => {
  const watched: boolean[] = [];
  const live = new LiveDecisions(
    (on) => watched.push(on),
    async () => [],
  );
  const [one, other] = [live.subscribe(anybody), live.subscribe(anybody)];
  t.strictSame(watched, [true]);
  one.close();
  t.strictSame(watched, [true]);
  other.close();
  t.strictSame(watched, [true, false]);
  live.subscribe(anybody);
  t.strictSame(watched, [true, false, true]);
  live.close();
  t.strictSame(watched, [true, false, true, false]);
});

t.test('what they remember is asked of them', async (t) => {
  const kept = [decision(3), decision(2, 'bob@local.example'), decision(1)];
  const live = new LiveDecisions(
    () => undefined,
    async () => kept,
  );
  t.strictSame(await live.list(1, anybody), [kept[0]]);
  t.strictSame(await live.list(9, ({ to }) => to === 'y@victim.example'), [kept[0], kept[2]]);
});
