import type { FastifyInstance } from 'fastify';
import { z } from 'zod';
import { userFault } from '../../identity/proof-fault.js';
import { Suspensions } from '../../identity/suspensions.js';
import type { House } from '../house.js';
import { Problem } from '../problems.js';
import { End, Limit, Login, moment, schemaOf } from '../schemas.js';

/** As long as the policy language lets a suspension last, s. */
const LONGEST = 30 * 86_400;

const Query = z.strictObject({ limit: Limit(100, 10_000) });
const Suspended = z.object({ login: Login, until: End, why: z.string() });
const List = z.object({ suspended: z.array(Suspended) });
const Suspend = z.strictObject({
  login: Login,
  seconds: z.int().min(1).max(LONGEST).optional().meta({ description: 'how long; without it until lifted' }),
  why: z.string().min(1).max(256).default('by hand'),
});
const Named = z.strictObject({ login: Login });
const Lifted = z.object({ login: Login, lifted: z.literal(true) });

/** Refuses what no login is called. */
export const checkLogin = (login: string): void => {
  const fault = userFault(login);
  if (fault !== undefined) throw new Problem(400, fault);
};

export const loginRoutes = (app: FastifyInstance, { state, note, now }: House): void => {
  const suspensions = new Suspensions(state, note);
  const tags = ['logins'];
  app.get<{ Querystring: z.output<typeof Query> }>(
    '/api/v1/logins/suspended',
    {
      config: { access: 'read' },
      schema: {
        summary: 'Who is suspended, until when and why',
        tags,
        querystring: schemaOf(Query),
        response: { 200: schemaOf(List, 'output') },
      },
    },
    async ({ query: { limit } }) => {
      const marks = await state.marks('suspended', limit, now());
      return {
        suspended: marks.map(({ key, value, until }) => ({ login: key, until: moment(until), why: value })),
      };
    },
  );
  app.post<{ Body: z.output<typeof Suspend> }>(
    '/api/v1/logins/suspended',
    {
      config: { access: 'full', action: 'login-suspend' },
      schema: {
        summary: 'Suspends a login, named as the log writes it',
        description:
          'It gets 535 at once, its windows close, and its open sessions lose what the login gave them.',
        tags,
        body: schemaOf(Suspend),
        response: { 201: schemaOf(Suspended, 'output') },
      },
    },
    async (request, reply) => {
      const { login, seconds, why } = request.body;
      request.target = login;
      checkLogin(login);
      const until = seconds === undefined ? Number.POSITIVE_INFINITY : now() + seconds * 1000;
      await suspensions.suspend(login, until, why, now());
      return reply.code(201).send({ login, until: moment(until), why });
    },
  );
  app.delete<{ Params: z.output<typeof Named> }>(
    '/api/v1/logins/suspended/:login',
    {
      config: { access: 'full', action: 'login-lift' },
      schema: {
        summary: 'Lifts a suspension',
        tags,
        params: schemaOf(Named),
        response: { 200: schemaOf(Lifted) },
      },
    },
    async (request) => {
      const { login } = request.params;
      request.target = login;
      checkLogin(login);
      const { name = '' } = request.caller ?? {};
      if (!(await suspensions.lift(login, `by ${name}`, now())))
        throw new Problem(404, `"${login}" is not suspended`);
      return { login, lifted: true };
    },
  );
};
