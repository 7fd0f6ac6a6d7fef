import type { FastifyInstance } from 'fastify';
import { z } from 'zod';
import { TLS_VERSIONS } from '../../base/tls-versions.js';
import { renderExplanation } from '../../policy/explain.js';
import { pose } from '../../policy/question.js';
import type { House, Standing } from '../house.js';
import { Problem } from '../problems.js';
import { Address, End, Login, moment, RuleName, schemaOf } from '../schemas.js';

const text = (most: number) => z.string().max(most);

const Question = z.strictObject({
  client: Address,
  from: text(1_024).meta({ description: 'envelope sender; empty or <> for the null sender' }),
  to: text(1_024).min(1).meta({ description: 'envelope recipient' }),
  clientName: text(255)
    .optional()
    .meta({ description: 'confirmed host name; empty: none; absent: not known' }),
  listener: text(32).default('mx'),
  helo: text(255).default(''),
  tls: z.enum(TLS_VERSIONS).optional().meta({ description: 'version in force; absent: clear text' }),
  login: Login.optional().meta({ description: 'who logged in; absent: nobody' }),
  window: text(300).optional().meta({
    description: 'how one was opened, such as pop3 or pop3:LOGIN; none, unknown; absent: what the store says',
  }),
  certificate: text(128).optional().meta({ description: 'sha256:…; goes with tls' }),
  listed: z
    .array(text(255))
    .max(64)
    .optional()
    .meta({ description: 'DNS lists that list the client; absent: none does' }),
  subject: text(1_024).optional().meta({ description: 'of the certificate, verified' }),
});

const Truth = z.enum(['yes', 'no', 'unknown']);
const Verb = z.enum(['allow', 'deny', 'defer']);

const Answer = z.object({
  verdict: z.object({
    kind: Verb,
    rule: RuleName.optional(),
    reason: z.string(),
    why: z.string(),
    reply: z.object({ code: z.int(), enhanced: z.string(), text: z.string() }).optional(),
    shadows: z.array(z.object({ rule: RuleName, would: Verb })),
    window: z
      .object({ login: Login, source: z.string(), until: End, used: z.int(), budget: z.int() })
      .optional()
      .meta({ description: 'the window by which it passes' }),
  }),
  refusedBefore: z
    .array(z.string())
    .meta({ description: 'why it is refused before any rule is looked at; empty: it is not' }),
  rules: z.array(
    z.object({
      rule: RuleName,
      verb: Verb,
      shadow: z.boolean(),
      truth: Truth,
      conditions: z.array(z.object({ key: z.string(), text: z.string(), truth: Truth, why: z.string() })),
    }),
  ),
  notReached: z.array(RuleName),
  suspended: z
    .object({ until: End, why: z.string() })
    .optional()
    .meta({ description: 'so the login counts for nothing' }),
  limits: z
    .array(z.object({ what: z.string(), used: z.int(), most: z.int(), resetSeconds: z.number() }))
    .optional()
    .meta({ description: 'used before this mail' }),
  unknown: z.array(z.string()).meta({ description: 'what the store did not answer' }),
  observe: z.boolean().meta({ description: 'true: everything passes all the same' }),
  text: z.string().meta({ description: 'the same for a terminal' }),
});

type AnswerOf = z.output<typeof Answer>;

const refusedAnswer = (why: readonly string[], observe: boolean): AnswerOf => ({
  verdict: { kind: 'deny', reason: 'address', why: why.join('; '), shadows: [] },
  refusedBefore: [...why],
  ...{ rules: [], notReached: [], unknown: [], observe },
  text: `=> deny: refused before any rule: ${why.join('; ')}\n`,
});

const answerOf = ({ explanation, suspended, limits, unknown }: Standing, observe: boolean): AnswerOf => {
  const { kind, rule, reason, why, reply, shadows, window } = explanation.verdict;
  return {
    verdict: {
      ...{ kind, reason, why, shadows: [...shadows] },
      ...(rule === undefined ? {} : { rule }),
      ...(reply === undefined ? {} : { reply }),
      ...(window === undefined ? {} : { window: { ...window, until: moment(window.until) } }),
    },
    refusedBefore: [],
    rules: explanation.rules.map((each) => ({ ...each, conditions: [...each.conditions] })),
    notReached: [...explanation.notReached],
    ...(suspended === undefined
      ? {}
      : { suspended: { until: moment(suspended.until), why: suspended.value } }),
    ...(limits === undefined
      ? {}
      : { limits: limits.map(({ resetIn, ...rest }) => ({ ...rest, resetSeconds: resetIn / 1000 })) }),
    ...{ unknown: [...unknown], observe },
    text: renderExplanation(explanation),
  };
};

export const explainRoutes = (app: FastifyInstance, { policy, explain }: House): void => {
  app.post<{ Body: z.output<typeof Question> }>(
    '/api/v1/explain',
    {
      config: { access: 'read' },
      schema: {
        summary: 'Would this be let through, and why? Changes nothing',
        description:
          'The same walk through the rules as sekisho explain, with what the state store knows at this moment.',
        tags: ['policy'],
        body: schemaOf(Question),
        response: { 200: schemaOf(Answer, 'output') },
      },
    },
    async ({ body }) => {
      const { observe } = policy.inForce();
      const posed = pose(body);
      if (!posed.ok) {
        const faults = posed.error.map(({ field, message }) => ({ in: 'body', at: `/${field}`, message }));
        throw new Problem(400, 'the question is not one', faults);
      }
      return 'refused' in posed.value
        ? refusedAnswer(posed.value.refused, observe)
        : answerOf(await explain(posed.value.facts), observe);
    },
  );
};
