import type { FastifyInstance } from 'fastify';
import { z } from 'zod';
import type { House } from '../house.js';
import { Limit, RuleName, schemaOf, stamp, Time } from '../schemas.js';
import { TOP_COUNTS } from '../top.js';
import { LimitShape, shownLimit } from './limit-shape.js';

const Query = z.strictObject({
  limit: Limit(20, 1_000),
  by: z
    .enum(TOP_COUNTS)
    .default('accepted')
    .meta({ description: 'what the order is by; who has none is left out' }),
});

const counts = {
  accepted: z.int().meta({ description: 'recipients' }),
  refused: z.int(),
  deferred: z.int(),
  limited: z.int().meta({ description: 'limits exceeded' }),
  loginsFailed: z.int(),
  connectionsRefused: z.int(),
};

const Limits = z.object({
  since: Time.meta({ description: 'counted since then: half an hour to an hour, or since the start' }),
  rules: z
    .array(LimitShape.extend({ rule: RuleName }))
    .meta({ description: 'limits of the policy in force' }),
  logins: z.array(z.object({ login: z.string(), ...counts })),
  addresses: z.array(
    z.object({ address: z.string().meta({ description: 'IPv4 address or IPv6 /64' }), ...counts }),
  ),
});

export const limitRoutes = (app: FastifyInstance, { top, policy }: House): void => {
  app.get<{ Querystring: z.output<typeof Query> }>(
    '/api/v1/limits',
    {
      config: { access: 'read' },
      schema: {
        summary: 'Who takes most, by login and by address, and the limits of the policy',
        tags: ['live'],
        querystring: schemaOf(Query),
        response: { 200: schemaOf(Limits, 'output') },
      },
    },
    async ({ query: { by, limit } }): Promise<z.output<typeof Limits>> => ({
      since: stamp(top.since),
      rules: policy
        .inForce()
        .policy.rules.flatMap(({ name, verdict: { limit: bound } }) =>
          bound === undefined ? [] : [{ rule: name, ...shownLimit(bound) }],
        ),
      logins: top.top('logins', by, limit).map(({ key, ...rest }) => ({ login: key, ...rest })),
      addresses: top.top('addresses', by, limit).map(({ key, ...rest }) => ({ address: key, ...rest })),
    }),
  );
};
