import type { FastifyInstance } from 'fastify';
import { z } from 'zod';
import { type House, LOG_LEVELS } from '../house.js';
import { schemaOf } from '../schemas.js';

const Level = z.strictObject({
  level: z.enum(LOG_LEVELS).meta({ description: 'how loud an event has to be to be logged' }),
});

export const logLevelRoutes = (app: FastifyInstance, { log }: House): void => {
  const tags = ['log'];
  app.get(
    '/api/v1/log-level',
    {
      config: { access: 'read' },
      schema: { summary: 'How much is logged', tags, response: { 200: schemaOf(Level) } },
    },
    async () => ({ level: log.level }),
  );
  app.put<{ Body: z.output<typeof Level> }>(
    '/api/v1/log-level',
    {
      config: { access: 'full', action: 'log-level' },
      schema: {
        summary: 'Logs more or less, until the next restart',
        tags,
        body: schemaOf(Level),
        response: { 200: schemaOf(Level) },
      },
    },
    async (request) => {
      const { level } = request.body;
      request.target = level;
      log.level = level;
      return { level };
    },
  );
};
