import type { FastifyInstance, FastifyReply, FastifyRequest } from 'fastify';
import { z } from 'zod';
import { type Decision, type DecisionFilter, type DecisionTest, decisionTest } from '../decisions.js';
import { HEADERS } from '../guard.js';
import type { House } from '../house.js';
import { Problem } from '../problems.js';
import { Address, Limit, Login, RuleName, schemaOf, stamp, Time } from '../schemas.js';
import { DecisionStreams } from '../stream.js';

const VERDICTS = ['allow', 'deny', 'defer'] as const;

const filter = {
  verdict: z.enum(VERDICTS).optional(),
  rule: z.string().min(1).max(128).optional(),
  client: z
    .string()
    .min(1)
    .max(64)
    .optional()
    .meta({ description: 'an address, or a network such as 192.0.2.0/24' }),
  login: Login.optional(),
  text: z
    .string()
    .min(1)
    .max(256)
    .optional()
    .meta({ description: 'somewhere in sender, recipient, client, rule, reply …' }),
  disagreed: z
    .boolean()
    .optional()
    .meta({ description: 'only where a shadow rule would have said something else' }),
};

const Query = z.strictObject({ limit: Limit(100, 10_000), ...filter });
const StreamQuery = z.strictObject({
  after: z
    .int()
    .min(0)
    .optional()
    .meta({ description: 'first those kept with a higher id; also by Last-Event-ID' }),
  ...filter,
});

const DecisionShape = z.object({
  id: z.int(),
  time: Time,
  session: z.string(),
  listener: z.string(),
  protocol: z.string(),
  client: Address,
  clientName: z.string().optional().meta({ description: 'confirmed' }),
  helo: z.string().optional(),
  tls: z.string().optional(),
  certificate: z.string().optional(),
  certificateSubject: z.string().optional(),
  login: z.string().optional(),
  suspended: z.boolean().optional().meta({ description: 'the login is suspended, and counted for nothing' }),
  window: z.object({ login: z.string(), source: z.string() }).optional(),
  from: z.string(),
  to: z.string().meta({ description: 'empty where the sender was refused' }),
  verdict: z.enum(VERDICTS),
  rule: RuleName.optional(),
  reason: z.string(),
  enforced: z.boolean(),
  shadows: z.array(z.object({ rule: RuleName, would: z.enum(VERDICTS) })),
  reply: z
    .object({ result: z.enum(['accepted', 'rejected', 'deferred']), code: z.int(), reply: z.string() })
    .optional()
    .meta({ description: 'what the client was told in the end' }),
});
const List = z.object({ decisions: z.array(DecisionShape) });

const testOf = (given: DecisionFilter): DecisionTest => {
  const test = decisionTest(given);
  if (!test.ok) throw new Problem(400, test.error);
  return test.value;
};

/** As the list has it; the stream bears the same fields. */
const shownDecision = (decision: Decision): object => ({ ...decision, time: stamp(decision.time) });

type StreamRequest = FastifyRequest<{ Querystring: z.output<typeof StreamQuery> }>;

/** Serves a listener to its end. */
export const serveStream = async (
  streams: DecisionStreams,
  { query, headers }: StreamRequest,
  reply: FastifyReply,
): Promise<void> => {
  const { after, ...rest } = query;
  const test = testOf(rest);
  const last = Number(headers['last-event-id'] ?? after ?? Number.NaN);
  if (streams.full) throw new Problem(503, `there are ${streams.count} listeners already`);
  reply.hijack();
  await streams.serve(reply.raw, HEADERS, test, Number.isSafeInteger(last) ? last : undefined);
};

export const decisionRoutes = (app: FastifyInstance, { decisions }: House): void => {
  const tags = ['live'];
  const streams = new DecisionStreams(decisions);
  app.addHook('preClose', async () => streams.close());
  app.get<{ Querystring: z.output<typeof Query> }>(
    '/api/v1/decisions',
    {
      config: { access: 'read' },
      schema: {
        summary: 'The last decisions, the newest first',
        tags,
        querystring: schemaOf(Query),
        response: { 200: schemaOf(List, 'output') },
      },
    },
    async ({ query: { limit, ...rest } }) => ({
      decisions: decisions.list(limit, testOf(rest)).map(shownDecision),
    }),
  );
  app.get<{ Querystring: z.output<typeof StreamQuery> }>(
    '/api/v1/decisions/stream',
    {
      config: { access: 'read' },
      schema: {
        summary: 'Decisions as they are made (server-sent events)',
        description:
          'Events: "decision" (its data as in the list), "reply" (id and reply of an earlier one), "missed" (count of ' +
          'those left out: more than 20 a second, or more than a slow listener takes), "end" (come again). A comment every 15 s says that it is alive.',
        tags,
        querystring: schemaOf(StreamQuery),
        produces: ['text/event-stream'],
        response: { 200: { type: 'string' } },
      },
    },
    (request, reply) => serveStream(streams, request, reply),
  );
};
