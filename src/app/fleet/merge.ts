/**
 * The answers of several processes to one request of the admin API as one answer. What stands in the shared store or in the
 * policy is the same at all of them: one is asked. What each has of its own is put together here.
 */
import { z } from 'zod';

type Json = Readonly<Record<string, unknown>>;
const Loose = z.record(z.string(), z.unknown());
const List = z.array(Loose);

const listOf = (body: Json, key: string): Json[] => List.safeParse(body[key]).data ?? [];
const objectOf = (body: Json, key: string): Json => Loose.safeParse(body[key]).data ?? {};
const numberOf = (body: Json, key: string): number => {
  const value = body[key];
  return typeof value === 'number' ? value : 0;
};
const sum = (bodies: readonly Json[], key: string): number =>
  bodies.reduce((total, body) => total + numberOf(body, key), 0);
const limitOf = (query: URLSearchParams, otherwise: number): number =>
  Number(query.get('limit') ?? otherwise);
const text = (body: Json, key: string): string => String(body[key] ?? '');

/** Entries of the same name with the counts of all of them, in order of the first. */
const byName = (lists: readonly Json[], name: string, merge: (same: readonly Json[]) => Json): Json[] => {
  const groups = new Map<string, Json[]>();
  for (const each of lists) groups.set(text(each, name), [...(groups.get(text(each, name)) ?? []), each]);
  return [...groups.values()].map(merge);
};

/** Sums every number; the rest is that of the first. */
const summed = (same: readonly Json[]): Json =>
  Object.fromEntries(
    Object.entries(same[0] ?? {}).map(([key, value]) => [
      key,
      typeof value === 'number' ? sum(same, key) : value,
    ]),
  );

const sessions = (bodies: readonly Json[], query: URLSearchParams): Json => ({
  total: sum(bodies, 'total'),
  sessions: bodies
    .flatMap((body) => listOf(body, 'sessions'))
    .sort((a, b) => (text(a, 'since') < text(b, 'since') ? -1 : 1))
    .slice(0, limitOf(query, 100)),
});

const decisions = (bodies: readonly Json[], query: URLSearchParams): Json => ({
  decisions: bodies
    .flatMap((body) => listOf(body, 'decisions'))
    .sort((a, b) => numberOf(b, 'id') - numberOf(a, 'id'))
    .slice(0, limitOf(query, 100)),
});

/** The series of one answer, by the minute. */
const Series = z.record(z.string(), z.array(z.number()));

const history = (bodies: readonly Json[]): Json => {
  const [first = {}] = bodies;
  const step = numberOf(first, 'stepSeconds') * 1000;
  const start = (body: Json): number => Date.parse(text(body, 'from'));
  // Answers may lie on both sides of a minute's end: the latest decides which minutes are shown.
  const from = Math.max(...bodies.map(start));
  const series: Record<string, number[]> = {};
  for (const body of bodies) {
    const shift = Math.round((from - start(body)) / step);
    for (const [name, values] of Object.entries(Series.safeParse(body.series).data ?? {})) {
      const sums = series[name] ?? values.map(() => 0);
      series[name] = sums.map((value, i) => value + (values[i + shift] ?? 0));
    }
  }
  return { ...first, from: new Date(from).toISOString(), series };
};

const limits = (bodies: readonly Json[], query: URLSearchParams): Json => {
  const by = query.get('by') ?? 'accepted';
  const top = (key: 'logins' | 'addresses', name: string): Json[] =>
    byName(
      bodies.flatMap((body) => listOf(body, key)),
      name,
      summed,
    )
      .sort((a, b) => numberOf(b, by) - numberOf(a, by))
      .slice(0, limitOf(query, 20));
  return {
    ...bodies[0],
    since: bodies.map((body) => text(body, 'since')).sort()[0],
    ...{ logins: top('logins', 'login'), addresses: top('addresses', 'address') },
  };
};

/** An upstream as all see it: up where all of them reach it, its counts summed. */
const upstream = (same: readonly Json[]): Json => {
  const [first = {}] = same;
  const worst = ['draining', 'down', 'unknown'].find((state) => same.some((each) => each.state === state));
  const shown = same.find((each) => each.state === worst) ?? first;
  return {
    ...shown,
    ...Object.fromEntries(Object.entries(summed(same)).filter(([, v]) => typeof v === 'number')),
    port: first.port,
  };
};

const upstreams = (bodies: readonly Json[]): Json => ({
  upstreams: byName(
    bodies.flatMap((body) => listOf(body, 'upstreams')),
    'name',
    upstream,
  ),
});

/** Groups of changes with the counts of all; examples are those of the first that have some. */
const groups = (bodies: readonly Json[], key: string): Json[] =>
  byName(
    bodies
      .flatMap((body) => listOf(objectOf(body, 'differences'), key))
      .map((group) => ({ ...group, sameAs: JSON.stringify([group.before, group.after]) })),
    'sameAs',
    (same) => {
      const { sameAs: _, ...rest } = summed(same);
      return rest;
    },
  ).sort((a, b) => numberOf(b, 'count') - numberOf(a, 'count'));

/** A trial: the policy is the same, the decisions that it is tried on are those of all. */
const trial = (bodies: readonly Json[]): Json => {
  const [first = {}] = bodies;
  if (first.differences === undefined) return first;
  const all = bodies.map((body) => objectOf(body, 'differences'));
  const cannot = all.map((each) => objectOf(each, 'cannot'));
  return {
    ...first,
    differences: {
      ...summed(all),
      cannot: {
        count: sum(cannot, 'count'),
        why: byName(
          cannot.flatMap((each) => listOf(each, 'why')),
          'why',
          summed,
        ),
      },
      changes: groups(bodies, 'changes'),
      moves: groups(bodies, 'moves'),
    },
  };
};

const status = (bodies: readonly Json[]): Json => {
  const ups = bodies.map((body) => objectOf(body, 'upstreams'));
  const stores = bodies.map((body) => objectOf(body, 'store'));
  const worst = stores.find(({ ok }) => ok !== true) ?? stores[0];
  return {
    ...bodies[0],
    sessions: sum(bodies, 'sessions'),
    upstreams: {
      up: Math.min(...ups.map((each) => numberOf(each, 'up'))),
      draining: Math.max(...ups.map((each) => numberOf(each, 'draining'))),
      all: numberOf(ups[0] ?? {}, 'all'),
    },
    store: worst,
  };
};

/** How a request is answered for all. */
export type Plan =
  /** Here, without any process. */
  | { readonly kind: 'here' }
  /** By any one of them: it is the same at all. */
  | { readonly kind: 'one' }
  /** By all of them, and the answers are put together. `most`: what is asked of each, for a true order in the end. */
  | {
      readonly kind: 'all';
      readonly merge: (bodies: readonly Json[], query: URLSearchParams) => Json;
      readonly most?: string;
    };

const here: Plan = { kind: 'here' };
const one: Plan = { kind: 'one' };
const all = (merge: Extract<Plan, { kind: 'all' }>['merge'], most?: string): Plan => ({
  ...{ kind: 'all', merge },
  ...(most === undefined ? {} : { most }),
});
const first = (bodies: readonly Json[]): Json => bodies[0] ?? {};

/** What is not in here is not answered at all: never one process for all. */
export const PLANS: Readonly<Record<string, Plan>> = {
  'GET /healthz': here,
  'GET /readyz': here,
  'GET /metrics': here,
  'GET /api/v1/decisions/stream': here,
  'POST /api/v1/policy/reload': here,
  'GET /api/v1/status': all(status),
  'GET /api/v1/sessions': all(sessions),
  'GET /api/v1/decisions': all(decisions),
  'GET /api/v1/history': all(history),
  'GET /api/v1/limits': all(limits, '1000'),
  'GET /api/v1/upstreams': all(upstreams),
  'POST /api/v1/upstreams/:name/drain': all(upstream),
  'POST /api/v1/upstreams/:name/resume': all(upstream),
  'PUT /api/v1/log-level': all(first),
  'GET /api/v1/log-level': one,
  'GET /api/v1/self-test': one,
  'GET /api/v1/policy': one,
  'POST /api/v1/policy/test': all(trial),
  'POST /api/v1/explain': one,
  'GET /api/v1/windows': one,
  'POST /api/v1/windows': one,
  'POST /api/v1/windows/renew': one,
  'DELETE /api/v1/windows': one,
  'GET /api/v1/logins/suspended': one,
  'POST /api/v1/logins/suspended': one,
  'DELETE /api/v1/logins/suspended/:login': one,
};
