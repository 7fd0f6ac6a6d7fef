import type { FastifyInstance } from 'fastify';
import { z } from 'zod';
import type { UpstreamSnapshot } from '../../base/snapshot.js';
import type { House } from '../house.js';
import { Problem } from '../problems.js';
import { schemaOf } from '../schemas.js';

const Upstream = z.object({
  name: z.string(),
  host: z.string(),
  port: z.int(),
  state: z.enum(['up', 'down', 'draining', 'unknown']).meta({ description: 'unknown: not tried yet' }),
  up: z.boolean().optional(),
  draining: z.boolean(),
  hostname: z.string().optional().meta({ description: 'what it called itself last' }),
  reason: z.string().optional().meta({ description: 'why it is down' }),
  connecting: z.int(),
  busy: z.int(),
  idle: z.int(),
  waiting: z.int().meta({ description: 'transactions that wait for a connection' }),
  maxConnections: z.int(),
});

const Upstreams = z.object({ upstreams: z.array(Upstream) });
const Name = z.strictObject({ name: z.string().min(1).max(64) });

const stateOf = ({ up, draining }: UpstreamSnapshot): z.output<typeof Upstream>['state'] => {
  if (draining) return 'draining';
  return up === undefined ? 'unknown' : up ? 'up' : 'down';
};

const shown = (each: UpstreamSnapshot): z.output<typeof Upstream> => ({ ...each, state: stateOf(each) });

export const upstreamRoutes = (app: FastifyInstance, { inspector }: House): void => {
  app.get(
    '/api/v1/upstreams',
    {
      config: { access: 'read' },
      schema: {
        summary: 'The mail servers behind, in order of preference',
        tags: ['upstreams'],
        response: { 200: schemaOf(Upstreams, 'output') },
      },
    },
    async () => ({ upstreams: inspector.upstreams().map(shown) }),
  );
  const change = (action: 'drain' | 'resume', summary: string, description: string): void => {
    app.post<{ Params: z.output<typeof Name> }>(
      `/api/v1/upstreams/:name/${action}`,
      {
        config: { access: 'full', action: `upstream-${action}` },
        schema: {
          summary,
          description,
          tags: ['upstreams'],
          params: schemaOf(Name),
          response: { 200: schemaOf(Upstream, 'output') },
        },
      },
      async (request) => {
        const { name } = request.params;
        request.target = name;
        inspector.drainUpstream(name, action === 'drain');
        const found = inspector.upstreams().find((each) => each.name === name);
        if (found === undefined) throw new Problem(404, `there is no upstream called "${name}"`);
        return shown(found);
      },
    );
  };
  change(
    'drain',
    'Takes it out of service for new transactions',
    'What is in hand goes on, others take its place; where there is no other, mail is deferred. Until resumed or restarted.',
  );
  change('resume', 'Puts it back', '');
};
