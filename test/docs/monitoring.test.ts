/** Rules, dashboard and documentation speak of the metrics that exist, and of all of them. */
import { execFileSync } from 'node:child_process';
import { readFileSync } from 'node:fs';
import path from 'node:path';
import t from 'tap';
import { parse } from 'yaml';
import { Aggregator, gather } from '../../src/admin/aggregate.js';
import { TEXT } from '../../src/admin/exposition.js';
import { createMetrics, render } from '../../src/admin/metrics.js';
import type { Snapshot } from '../../src/admin/snapshot.js';
import { install, noPackages } from '../support/packages.js';

const ROOT = path.resolve(import.meta.dirname ?? 'test/docs', '..', '..');
const PROMETHEUS = path.join(ROOT, 'deploy', 'prometheus');
const read = (...parts: string[]): string => readFileSync(path.join(ROOT, ...parts), 'utf8');

const RULES = read('deploy', 'prometheus', 'sekisho.rules.yml');
const DASHBOARD = read('deploy', 'grafana', 'sekisho.json');
const README = read('deploy', 'prometheus', 'README.md');

interface Rule {
  readonly record?: string;
  readonly alert?: string;
  readonly expr: string;
}
interface Groups {
  readonly groups: readonly { readonly rules: readonly Rule[] }[];
}
const isGroups = (value: unknown): value is Groups =>
  typeof value === 'object' && value !== null && 'groups' in value && Array.isArray(value.groups);

const rules = (): readonly Rule[] => {
  const read: unknown = parse(RULES);
  if (!isGroups(read)) throw new Error('the rules are no groups');
  return read.groups.flatMap((group) => group.rules);
};

/** What one of several processes exports, all told. */
const exported = async (): Promise<Snapshot> => {
  const metrics = createMetrics({ version: '1', listeners: ['mx'], upstreams: ['old'], connections: 1 });
  const aggregator = new Aggregator();
  const member = aggregator.join('1');
  const one = await metrics.snapshot();
  const all = await gather(aggregator, [{ member, snapshot: async () => one }], 10_000);
  const names = new Set(all.map(({ name }) => name));
  return [...all, ...one.filter(({ name }) => !names.has(name))];
};

/** The names of metrics in a text, without what a histogram adds to them. */
const named = (text: string): string[] => [
  ...new Set(
    [...text.matchAll(/\b(?:sekisho|process|nodejs)_[a-z0-9_]+\b(?!\.)/g)].map(([name]) =>
      name.replace(/(?<=_seconds)_(?:bucket|sum|count)$/, ''),
    ),
  ),
];

const expressions = (): string[] => {
  const found: string[] = [];
  JSON.parse(DASHBOARD, (key, value: unknown) => {
    if ((key === 'expr' || key === 'query') && typeof value === 'string') found.push(value);
    return value;
  });
  return found;
};

t.test('no rule and no panel names a metric that is not there', async (t) => {
  const names = new Set((await exported()).map(({ name }) => name));
  const recorded = new Set(rules().flatMap(({ record }) => record ?? []));
  t.ok(recorded.size > 5 && expressions().length > 30, 'they were found');
  for (const text of [...rules().map(({ expr }) => expr), ...expressions()]) {
    for (const name of named(text)) t.ok(names.has(name), `${name} in ${text.trim()}`);
    for (const [name] of text.matchAll(/\bsekisho:[a-z0-9_:]+/g))
      t.ok(recorded.has(name), `${name} is recorded`);
  }
  t.notOk(names.has('sekisho_rubbish_total'), 'it can fail');
  for (const record of recorded)
    t.ok(
      [...rules().map(({ expr }) => expr), ...expressions()].some((text) => text.includes(record)),
      `${record} is of use`,
    );
});

t.test('every metric is documented, and nothing else', async (t) => {
  const names = (await exported()).map(({ name }) => name);
  const documented = named(README.split('## The metrics')[1] ?? '');
  t.strictSame(
    names.filter((name) => !documented.includes(name)),
    [],
    'all are',
  );
  t.strictSame(
    documented.filter((name) => !names.includes(name)),
    [],
    'none is made up',
  );
  const panels = named(expressions().join('\n'));
  const unseen = names.filter((name) => name.startsWith('sekisho_') && !panels.includes(name));
  const seenByRule = named(RULES);
  t.strictSame(
    unseen.filter((name) => !seenByRule.includes(name)),
    [],
    'each of Sekisho is on a panel, itself or by a recording rule',
  );
});

t.test('labels are as documented', async (t) => {
  const rows = new Map(
    [...README.matchAll(/^\| `(sekisho_\w+)` \|([^|]*)\|/gm)].map(([, name = '', labels = '']) => [
      name,
      [...labels.matchAll(/`(\w+)`/g)].map(([, label]) => label),
    ]),
  );
  for (const { name, samples } of await exported()) {
    const [first] = samples;
    if (!name.startsWith('sekisho_') || first === undefined) continue;
    const labels = Object.keys(first.labels).filter((label) => label !== 'le');
    t.strictSame(rows.get(name), labels, name);
  }
});

t.test('every alert is documented and tried', async (t) => {
  const tests = read('deploy', 'prometheus', 'sekisho.rules.test.yml');
  for (const { alert } of rules()) {
    if (alert === undefined) continue;
    t.ok(README.includes(alert), `${alert} is documented`);
    t.match(tests, new RegExp(`alertname: ${alert}\\n +exp_alerts:\\n`), `${alert} is seen to fire`);
    t.match(tests, new RegExp(`alertname: ${alert}, exp_alerts: \\[\\]`), `${alert} is seen to be quiet`);
  }
});

const missing = noPackages();
t.test('what promtool says', { skip: missing ?? false }, async (t) => {
  await install(['promtool=prometheus']);
  const promtool = (args: readonly string[], input = ''): string => {
    try {
      return execFileSync('promtool', args, { cwd: PROMETHEUS, input, encoding: 'utf8', stdio: 'pipe' });
    } catch (error) {
      throw new Error(`promtool ${args.join(' ')}: ${String(error)}`);
    }
  };
  t.match(promtool(['check', 'config', 'prometheus.yml']), /SUCCESS/);
  t.match(promtool(['check', 'rules', 'sekisho.rules.yml']), /SUCCESS/);
  t.match(promtool(['test', 'rules', 'sekisho.rules.test.yml']), /SUCCESS/);
  const { contentType, body } = await render(await exported(), 'text/plain');
  t.equal(contentType, TEXT);
  t.equal(promtool(['check', 'metrics'], body), '', 'no complaint about the metrics');
  t.throws(() => promtool(['check', 'metrics'], '# TYPE x gauge\nx_total 1\n'), 'it can complain');
});
