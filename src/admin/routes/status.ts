import type { FastifyInstance } from 'fastify';
import { z } from 'zod';
import type { House } from '../house.js';
import { schemaOf, stamp, Time } from '../schemas.js';
import { ROLES } from '../tokens.js';

const Status = z.object({
  you: z
    .object({ name: z.string(), role: z.enum(ROLES) })
    .meta({ description: 'name of the token, or local where none is asked for' }),
  version: z.string(),
  node: z.string(),
  pid: z.int(),
  started: Time,
  uptimeSeconds: z.number(),
  listening: z.array(z.object({ listener: z.string(), address: z.string(), port: z.int() })),
  sessions: z.int(),
  upstreams: z.object({ up: z.int(), draining: z.int(), all: z.int() }),
  policy: z.object({
    source: z.string(),
    hash: z.string(),
    since: Time,
    rules: z.int(),
    observe: z.boolean().meta({ description: 'true: everything passes' }),
    lastReload: z.object({ at: Time, ok: z.boolean(), faults: z.array(z.string()) }).optional(),
  }),
  processes: z
    .array(z.object({ process: z.int(), pid: z.int(), sessions: z.int(), answers: z.boolean() }))
    .optional()
    .meta({
      description: 'where several serve together; pid, started and uptime are then of their supervisor',
    }),
  store: z.object({
    name: z.string(),
    ok: z.boolean(),
    windows: z.int().optional().meta({ description: 'open windows; absent when the store does not answer' }),
  }),
});

const storeStatus = async ({ state, now }: House): Promise<z.output<typeof Status>['store']> => {
  try {
    return { name: state.name, ok: true, windows: await state.size(now()) };
  } catch {
    return { name: state.name, ok: false };
  }
};

const statusOf = async (house: House): Promise<Omit<z.output<typeof Status>, 'you'>> => {
  const { inspector, policy, version, started, now } = house;
  const law = policy.inForce();
  const last = policy.lastReload();
  const upstreams = inspector.upstreams();
  return {
    version,
    node: process.version,
    pid: process.pid,
    started: stamp(started),
    uptimeSeconds: Math.max(0, (now() - started) / 1000),
    listening: [...inspector.listening()],
    sessions: inspector.sessionCount(),
    upstreams: {
      up: upstreams.filter(({ up, draining }) => up === true && !draining).length,
      draining: upstreams.filter(({ draining }) => draining).length,
      all: upstreams.length,
    },
    policy: {
      source: law.policy.source,
      hash: law.hash,
      since: stamp(law.since),
      rules: law.policy.rules.length,
      observe: law.observe,
      ...(last === undefined
        ? {}
        : { lastReload: { at: stamp(last.at), ok: last.ok, faults: [...last.faults] } }),
    },
    store: await storeStatus(house),
  };
};

export const statusRoutes = (app: FastifyInstance, house: House): void => {
  app.get(
    '/api/v1/status',
    {
      config: { access: 'read' },
      schema: {
        summary: 'Sekisho at a glance',
        tags: ['status'],
        response: { 200: schemaOf(Status, 'output') },
      },
    },
    async ({ caller }) => ({ you: caller, ...(await statusOf(house)) }),
  );
};
