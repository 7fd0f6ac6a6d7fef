import type { FastifyInstance } from 'fastify';
import type { House } from '../house.js';

export const metricsRoutes = (app: FastifyInstance, { scrape }: House): void => {
  app.get(
    '/metrics',
    {
      config: { access: 'read' },
      schema: {
        summary: 'For Prometheus; OpenMetrics when asked',
        tags: ['health'],
        produces: ['text/plain', 'application/openmetrics-text'],
        response: { 200: { type: 'string' } },
      },
    },
    async ({ headers }, reply) => {
      const { contentType, body } = await scrape(headers.accept);
      return reply.type(contentType).serializer(String).send(body);
    },
  );
};
