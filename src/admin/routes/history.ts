import type { FastifyInstance } from 'fastify';
import { z } from 'zod';
import { HISTORY_MINUTES, HISTORY_SERIES } from '../history.js';
import type { House } from '../house.js';
import { schemaOf, stamp, Time } from '../schemas.js';

const Query = z.strictObject({ minutes: z.int().min(1).max(HISTORY_MINUTES).default(180) });

const Values = z.array(z.int());

const HistoryShape = z.object({
  from: Time.meta({ description: 'start of the first value' }),
  stepSeconds: z.number(),
  series: z
    .object(Object.fromEntries(HISTORY_SERIES.map((name) => [name, Values])))
    .meta({ description: 'counts, the oldest first; the last one is still growing' }),
});

export const historyRoutes = (app: FastifyInstance, { history }: House): void => {
  app.get<{ Querystring: z.output<typeof Query> }>(
    '/api/v1/history',
    {
      config: { access: 'read' },
      schema: {
        summary: 'The last hours, minute by minute',
        tags: ['live'],
        querystring: schemaOf(Query),
        response: { 200: schemaOf(HistoryShape, 'output') },
      },
    },
    async ({ query: { minutes } }) => {
      const { from, step, series } = history.snapshot(minutes);
      return { from: stamp(from), stepSeconds: step / 1000, series };
    },
  );
};
