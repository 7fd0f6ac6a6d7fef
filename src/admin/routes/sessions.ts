import type { FastifyInstance } from 'fastify';
import { z } from 'zod';
import { parseIp } from '../../base/ip.js';
import type { SessionSnapshot } from '../../base/snapshot.js';
import type { House } from '../house.js';
import { Problem } from '../problems.js';
import { Address, Limit, Login, RuleName, schemaOf, stamp, Time } from '../schemas.js';

const Query = z.strictObject({
  limit: Limit(100, 10_000),
  address: Address.optional(),
  login: Login.optional(),
  listener: z.string().max(32).optional(),
});

const Session = z.object({
  session: z.string(),
  listener: z.string(),
  address: z.string(),
  port: z.int(),
  protocol: z.string().meta({ description: 'as RFC 3848 names it' }),
  since: Time,
  step: z.string().meta({ description: 'where in the dialogue it is' }),
  name: z.string().optional().meta({ description: 'confirmed host name' }),
  helo: z.string().optional().meta({ description: 'a claim' }),
  tls: z.string().optional(),
  login: z.string().optional(),
  from: z.string().optional().meta({ description: 'sender of the transaction in hand' }),
  recipients: z.int().meta({ description: 'accepted in the transaction in hand' }),
  upstream: z.string().optional(),
  commands: z.int(),
  errors: z.int(),
  messages: z.int(),
  verdict: z.enum(['allow', 'deny', 'defer']).optional().meta({ description: 'about the last recipient' }),
  rule: RuleName.optional(),
});

const Sessions = z.object({
  total: z.int().meta({ description: 'all sessions there are, whatever was asked for' }),
  sessions: z.array(Session),
});

const fitting = ({
  address,
  login,
  listener,
}: z.output<typeof Query>): ((each: SessionSnapshot) => boolean) => {
  const ip = address === undefined ? undefined : parseIp(address);
  if (address !== undefined && ip === undefined)
    throw new Problem(400, `address ${address}: not an IP address`);
  return (each) =>
    (ip === undefined || each.address === ip.text) &&
    (login === undefined || each.login === login) &&
    (listener === undefined || each.listener === listener);
};

export const sessionRoutes = (app: FastifyInstance, { inspector }: House): void => {
  app.get<{ Querystring: z.output<typeof Query> }>(
    '/api/v1/sessions',
    {
      config: { access: 'read' },
      schema: {
        summary: 'Who is connected: since when, at which step, by which rule; the oldest first',
        tags: ['live'],
        querystring: schemaOf(Query),
        response: { 200: schemaOf(Sessions, 'output') },
      },
    },
    async ({ query }) => ({
      total: inspector.sessionCount(),
      sessions: inspector
        .sessions(query.limit, fitting(query))
        .map((each) => ({ ...each, since: stamp(each.since) })),
    }),
  );
};
