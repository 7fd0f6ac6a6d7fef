/** `/healthz`: the process answers. `/readyz`: it can do its work, and if not, what fails. For anybody, so in few words. */
import type { FastifyInstance } from 'fastify';
import { z } from 'zod';
import type { House } from '../house.js';
import { schemaOf } from '../schemas.js';

/** How long the store may take to answer, ms, and how long an answer is good for: nobody can wear it out by asking. */
const PATIENCE = 1_000;
const FRESH = 1_000;

const Alive = z.object({ status: z.literal('alive') });

const Check = z.object({ ok: z.boolean(), detail: z.string().optional() });

const Ready = z.object({
  ready: z.boolean(),
  checks: z.object({ listening: Check, policy: Check, upstream: Check, store: Check }),
});

type Checked = z.output<typeof Check>;

const fail = (detail: string): Checked => ({ ok: false, detail });

/** The store answers in time. */
export const storeAnswers = async ({ state }: Pick<House, 'state'>): Promise<boolean> => {
  let timer: NodeJS.Timeout | undefined;
  const late = new Promise<boolean>((resolve) => {
    timer = setTimeout(() => resolve(false), PATIENCE);
  });
  const answered = state.ping().then(
    () => true,
    () => false,
  );
  try {
    return await Promise.race([answered, late]);
  } finally {
    clearTimeout(timer);
  }
};

const look = async (house: House): Promise<z.output<typeof Ready>> => {
  const { inspector, policy } = house;
  const upstreams = inspector.upstreams();
  const serving = upstreams.some(({ up, draining }) => up === true && !draining);
  const drained = upstreams.every(({ draining }) => draining);
  const down = drained ? 'all upstreams are drained' : 'no upstream can be reached';
  const checks = {
    listening: inspector.listening().length > 0 ? { ok: true } : fail('no socket takes clients in'),
    policy: policy.inForce().policy.rules.length > 0 ? { ok: true } : fail('the policy has no rules'),
    upstream: serving ? { ok: true } : fail(down),
    store: (await storeAnswers(house)) ? { ok: true } : fail('the state store does not answer'),
  };
  return { ready: Object.values(checks).every(({ ok }) => ok), checks };
};

export const healthRoutes = (app: FastifyInstance, house: House): void => {
  let last: { readonly at: number; readonly answer: Promise<z.output<typeof Ready>> } | undefined;
  app.get(
    '/healthz',
    {
      config: { access: 'public' },
      schema: { summary: 'The process is alive', tags: ['health'], response: { 200: schemaOf(Alive) } },
    },
    async () => ({ status: 'alive' }),
  );
  app.get(
    '/readyz',
    {
      config: { access: 'public' },
      schema: {
        summary: 'It can do its work; 503 says what fails',
        tags: ['health'],
        response: { 200: schemaOf(Ready), 503: schemaOf(Ready) },
      },
    },
    async (_, reply) => {
      const now = performance.now();
      if (last === undefined || now - last.at >= FRESH) last = { at: now, answer: look(house) };
      const answer = await last.answer;
      return reply.code(answer.ready ? 200 : 503).send(answer);
    },
  );
};
