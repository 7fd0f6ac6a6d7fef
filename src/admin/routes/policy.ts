import type { FastifyInstance } from 'fastify';
import { z } from 'zod';
import { runTests, type TestResult } from '../../policy/check.js';
import type { CompiledRule, Policy } from '../../policy/compile.js';
import { type ReplayGroup, type ReplayResult, replay } from '../../policy/replay.js';
import type { House } from '../house.js';
import { Problem } from '../problems.js';
import { RuleName, schemaOf, stamp, Time } from '../schemas.js';
import { LimitShape, shownLimit } from './limit-shape.js';

/** Octets of a candidate: it is compiled in the process that moves mail. Long lists belong into files. */
const CANDIDATE = 262_144;

const Verb = z.enum(['allow', 'deny', 'defer']);
const Ruling = z.object({ kind: Verb, rule: RuleName.optional() });

const Test = z.object({
  name: z.string(),
  ok: z.boolean(),
  expected: Ruling,
  got: Ruling,
  why: z.string(),
  line: z.int(),
  column: z.int(),
});

const Rule = z.object({
  name: RuleName,
  verb: Verb,
  shadow: z.boolean(),
  conditions: z.array(z.object({ key: z.string(), text: z.string() })),
  limit: LimitShape.optional(),
});

const InForce = z.object({
  source: z.string().meta({ description: 'the file, or command line' }),
  hash: z.string().meta({ description: 'SHA-256 of the policy and all files that it names' }),
  since: Time,
  observe: z.boolean().meta({ description: 'true: judged and logged, but everything passes' }),
  text: z.string().optional().meta({ description: 'the file as it was read' }),
  rules: z.array(Rule),
  tests: z.array(Test),
  lastReload: z.object({ at: Time, ok: z.boolean(), faults: z.array(z.string()) }).optional(),
});

const Candidate = z.strictObject({
  policy: z.string().min(1).meta({ description: 'the whole file; or send it as application/yaml' }),
});

const Outcome = z.object({ verdict: Verb, rule: RuleName.optional() });
const Group = z.object({
  before: Outcome,
  after: Outcome,
  count: z.int(),
  examples: z.array(
    z.object({
      time: Time.optional(),
      session: z.string().optional(),
      client: z.string(),
      clientName: z.string().optional(),
      helo: z.string().optional(),
      login: z.string().optional(),
      from: z.string(),
      to: z.string(),
      why: z.string(),
    }),
  ),
});

const Tried = z.object({
  ok: z.boolean().meta({ description: 'no errors, and every test passes: a reload would take it' }),
  errors: z.array(
    z.object({
      file: z.string(),
      line: z.int(),
      column: z.int(),
      key: z.string(),
      message: z.string(),
      remedy: z.string(),
    }),
  ),
  tests: z.array(Test),
  rules: z.array(Rule),
  differences: z
    .object({
      total: z.int(),
      same: z.int(),
      changed: z.int().meta({ description: 'another verdict than by the policy in force' }),
      moved: z.int().meta({ description: 'same verdict by another rule' }),
      cannot: z.object({ count: z.int(), why: z.array(z.object({ why: z.string(), count: z.int() })) }),
      changes: z.array(Group),
      moves: z.array(Group),
    })
    .optional()
    .meta({ description: 'the last decisions judged by the policy in force and by the candidate' }),
});

const Reloaded = z.object({ hash: z.string(), since: Time, rules: z.int() });

const shownRule = ({
  name,
  verb,
  shadow,
  conditions,
  verdict: { limit },
}: CompiledRule): z.output<typeof Rule> => ({
  ...{ name, verb, shadow },
  conditions: conditions.map(({ key, text }) => ({ key, text })),
  ...(limit === undefined ? {} : { limit: shownLimit(limit) }),
});

const ruling = ({ kind, rule }: TestResult['got']): z.output<typeof Ruling> => ({
  kind,
  ...(rule === undefined ? {} : { rule }),
});

const shownTest = ({ expected, got, ...rest }: TestResult): z.output<typeof Test> => ({
  ...rest,
  expected: ruling(expected),
  got: ruling(got),
});

/** The tests of a policy that is in force pass or fail alike as long as it is. */
const results = new WeakMap<Policy, readonly z.output<typeof Test>[]>();
const testsOf = (policy: Policy): readonly z.output<typeof Test>[] => {
  const found = results.get(policy) ?? runTests(policy).map(shownTest);
  results.set(policy, found);
  return found;
};

const shownGroup = ({ examples, ...rest }: ReplayGroup): object => ({
  ...rest,
  examples: examples.map(({ time, ...example }) => ({
    ...example,
    ...(time === undefined ? {} : { time: stamp(time) }),
  })),
});

const shownReplay = ({ changes, moves, ...rest }: ReplayResult): object => ({
  ...rest,
  changes: changes.map(shownGroup),
  moves: moves.map(shownGroup),
});

const tryOut = (text: string, { policy, decisions }: House): object => {
  const { policy: inForce } = policy.inForce();
  const candidate = policy.candidate(text);
  if (!candidate.ok) {
    const errors = candidate.error.map((error) => ({
      ...error,
      file: error.file === inForce.source ? 'candidate' : error.file,
    }));
    return { ok: false, errors, tests: [], rules: [] };
  }
  const tests = testsOf(candidate.value);
  return {
    ok: tests.every(({ ok }) => ok),
    errors: [],
    tests,
    rules: candidate.value.rules.map(shownRule),
    differences: shownReplay(replay(decisions.recorded(), candidate.value, { against: inForce })),
  };
};

export const policyRoutes = (app: FastifyInstance, house: House): void => {
  const { policy } = house;
  const tags = ['policy'];
  app.get(
    '/api/v1/policy',
    {
      config: { access: 'read' },
      schema: {
        summary: 'The policy in force, its rules, and its tests with their results',
        tags,
        response: { 200: schemaOf(InForce, 'output') },
      },
    },
    async () => {
      const { policy: law, hash, since, observe, text } = policy.inForce();
      const last = policy.lastReload();
      return {
        ...{ source: law.source, hash, since: stamp(since), observe, text },
        rules: law.rules.map(shownRule),
        tests: testsOf(law),
        ...(last === undefined ? {} : { lastReload: { ...last, at: stamp(last.at) } }),
      };
    },
  );
  app.post<{ Body: string | z.output<typeof Candidate> }>(
    '/api/v1/policy/test',
    {
      bodyLimit: CANDIDATE,
      config: { access: 'read', rateLimit: { max: 60, timeWindow: 60_000 } },
      schema: {
        summary: 'Tries a policy out: its errors, its tests, and what would change. Puts nothing in force',
        description:
          'It may name no files but those that the policy in force names. At most 60 in a minute, 256 KiB each.',
        tags,
        consumes: ['application/json', 'application/yaml'],
        body: {
          content: {
            'application/json': { schema: schemaOf(Candidate) },
            'application/yaml': { schema: { type: 'string', minLength: 1 } },
          },
        },
        response: { 200: schemaOf(Tried, 'output') },
      },
    },
    async ({ body }) => tryOut(typeof body === 'string' ? body : body.policy, house),
  );
  app.post(
    '/api/v1/policy/reload',
    {
      config: { access: 'full', action: 'policy-reload', rateLimit: { max: 60, timeWindow: 60_000 } },
      schema: {
        summary: 'Reads the configuration and the policy anew, as SIGHUP does',
        description:
          'Where anything is wrong, or a test of the policy fails, the old policy stays in force (422).',
        tags,
        response: { 200: schemaOf(Reloaded, 'output') },
      },
    },
    async (request) => {
      request.target = policy.inForce().policy.source;
      const reloaded = policy.reload();
      if (!reloaded.ok)
        throw new Problem(
          422,
          'the old policy stays in force',
          reloaded.error.map((message) => ({ in: 'policy', at: '', message })),
        );
      const { hash, since, policy: law } = policy.inForce();
      return { hash, since: stamp(since), rules: law.rules.length };
    },
  );
};
