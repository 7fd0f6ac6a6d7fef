/** Several real processes, one scrape: nothing goes backwards when one dies, and one that hangs fails nothing. */
import { type ChildProcess, fork } from 'node:child_process';
import { once } from 'node:events';
import path from 'node:path';
import t from 'tap';
import { Aggregator, type Asked, gather, type Member, mergeSnapshots } from '../../src/admin/aggregate.js';
import { render } from '../../src/admin/metrics.js';
import { isSnapshot, type Merge, type Snapshot } from '../../src/admin/snapshot.js';

const figure = (snapshot: Snapshot, name: string, labels: Record<string, string> = {}): number | undefined =>
  snapshot
    .flatMap(({ samples }) => samples)
    .find(
      (sample) =>
        sample.name === name && Object.entries(labels).every(([key, text]) => sample.labels[key] === text),
    )?.value;

class Worker implements Asked {
  readonly #child: ChildProcess;
  readonly #open = new Map<number, (snapshot: Snapshot) => void>();
  #next = 1;
  readonly member: Member;

  private constructor(child: ChildProcess, member: Member) {
    this.#child = child;
    this.member = member;
    child.on('message', (said: { id: number; snapshot: unknown }) => {
      if (isSnapshot(said.snapshot)) this.#open.get(said.id)?.(said.snapshot);
    });
    child.once('exit', () => member.ended());
  }

  static async start(aggregator: Aggregator, name: string): Promise<Worker> {
    const child = fork(path.resolve(import.meta.dirname ?? 'test/admin', '../support/metrics-worker.ts'), {
      execArgv: ['--import=tsx'],
    });
    const worker = new Worker(child, aggregator.join(name));
    await once(child, 'message');
    return worker;
  }

  #say(what: object): Promise<Snapshot> {
    const id = this.#next++;
    const answer = new Promise<Snapshot>((resolve) => this.#open.set(id, resolve));
    this.#child.send({ id, ...what });
    return answer;
  }

  snapshot(): Promise<Snapshot> {
    return this.#say({});
  }

  async count(count: number): Promise<void> {
    await this.#say({ count });
  }

  hang(): void {
    void this.#say({ hang: true });
  }

  async kill(): Promise<void> {
    if (this.#child.exitCode !== null || this.#child.signalCode !== null) return;
    this.#child.kill('SIGKILL');
    await once(this.#child, 'exit');
  }
}

const PATIENCE = 30_000;

t.test('processes come, hang, die and are replaced', async (t) => {
  const aggregator = new Aggregator();
  const first = await Worker.start(aggregator, '1');
  const second = await Worker.start(aggregator, '2');
  t.teardown(() => Promise.all([first.kill(), second.kill()]));
  await first.count(3);
  await second.count(4);
  const both = await gather(aggregator, [first, second], PATIENCE);
  const total = (snapshot: Snapshot) => figure(snapshot, 'sekisho_connections_total', { listener: 'mx' });
  const active = (snapshot: Snapshot) => figure(snapshot, 'sekisho_connections_active', { listener: 'mx' });
  const up = (snapshot: Snapshot, process: string) => figure(snapshot, 'sekisho_process_up', { process });
  t.equal(total(both), 7);
  t.equal(active(both), 7);
  t.equal(figure(both, 'sekisho_connections_max'), 20, 'each may have ten');
  t.equal(figure(both, 'sekisho_policy_enforced'), 1, 'a state is not added up');
  t.equal(figure(both, 'sekisho_command_duration_seconds_bucket', { verb: 'EHLO', le: '0.0025' }), 7);
  t.strictSame([up(both, '1'), up(both, '2')], [1, 1]);

  second.hang();
  const hung = await gather(aggregator, [first, second], 2_000);
  t.equal(total(hung), 7, 'what it said last stands');
  t.equal(active(hung), 7);
  t.strictSame([up(hung, '1'), up(hung, '2')], [1, 0]);

  await second.kill();
  const dead = await gather(aggregator, [first], PATIENCE);
  t.equal(total(dead), 7, 'a counter does not go backwards');
  t.equal(figure(dead, 'sekisho_command_duration_seconds_count', { verb: 'EHLO' }), 7);
  t.equal(active(dead), 3, 'its sessions are gone');
  t.equal(up(dead, '2'), 0);

  const third = await Worker.start(aggregator, '2');
  t.teardown(() => third.kill());
  await third.count(5);
  const replaced = await gather(aggregator, [first, third], PATIENCE);
  t.equal(total(replaced), 12);
  t.equal(active(replaced), 8);
  t.equal(up(replaced, '2'), 1);
  const { body } = await render(replaced, 'application/openmetrics-text');
  t.match(body, /sekisho_connections_total\{listener="mx"\} 12\n/);
});

const gauge = (merge: Merge, value: number): Snapshot => [
  { name: 'g', help: 'h', type: 'gauge', merge, samples: [{ name: 'g', labels: {}, value }] },
];

t.test('gauges become one as each of them says', async (t) => {
  for (const [merge, value] of [
    ['sum', 9],
    ['min', 1],
    ['max', 5],
    ['average', 3],
    ['first', 3],
    ['omit', undefined],
  ] as const)
    t.equal(figure(mergeSnapshots([3, 1, 5].map((each) => gauge(merge, each))), 'g'), value, merge);
});

const counter = (value: number): Snapshot => [
  { name: 'c', help: 'h', type: 'counter', merge: 'sum', samples: [{ name: 'c', labels: {}, value }] },
];

t.test('answers out of order, too late or unasked change nothing', async (t) => {
  const aggregator = new Aggregator();
  const member = aggregator.join('1');
  const early = member.ask();
  const later = member.ask();
  member.report(later, counter(5));
  member.report(early, counter(4));
  t.equal(figure(aggregator.merged(), 'c'), 5, 'an older answer does not turn it back');
  member.report(later + 1, counter(50));
  t.equal(figure(aggregator.merged(), 'c'), 5, 'nobody asked');
  const open = member.ask();
  member.ended();
  member.ended();
  member.report(open, counter(6));
  t.equal(figure(aggregator.merged(), 'c'), 5, 'the dead do not count on');
  const next = aggregator.join('1');
  next.report(next.ask(), counter(2));
  t.equal(figure(aggregator.merged(), 'c'), 7);
  aggregator.join('1');
  t.equal(figure(aggregator.merged(), 'c'), 7, 'whoever is replaced has ended');
});

t.test('a process that fails is as good as hung', async (t) => {
  const aggregator = new Aggregator();
  const member = aggregator.join('1');
  const asked: Asked = { member, snapshot: () => Promise.reject(new Error('channel closed')) };
  const merged = await gather(aggregator, [asked], PATIENCE);
  t.equal(figure(merged, 'sekisho_process_up'), 0);
});

t.test('what came over a channel is looked at', async (t) => {
  t.ok(isSnapshot(JSON.parse(JSON.stringify(gauge('sum', 1)))));
  for (const bad of [undefined, null, {}, [1], [{}], [{ ...gauge('sum', 1)[0], samples: [{ name: 'x' }] }]])
    t.notOk(isSnapshot(bad), JSON.stringify(bad));
  t.notOk(isSnapshot([{ ...gauge('sum', 1)[0], type: 'rubbish' }]));
  t.notOk(isSnapshot([{ ...gauge('sum', 1)[0], samples: [{ name: 'g', labels: { a: 1 }, value: 1 }] }]));
});
