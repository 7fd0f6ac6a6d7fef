/**
 * The admin endpoint: one HTTP server on loopback, a UNIX socket, or an address of the network, with tokens. It runs in
 * the process that moves mail, so everything that it takes from outside has a bound: connections, headers, bodies,
 * requests in a minute, and the time that each may take.
 */
import http from 'node:http';
import https from 'node:https';
import AjvCompiler from '@fastify/ajv-compiler';
import rateLimit from '@fastify/rate-limit';
import swagger from '@fastify/swagger';
import Fastify, { type FastifyInstance } from 'fastify';
import { answerErrors, answerUnknown, clientError } from './answers.js';
import { addressOf, Guard, type GuardedRoute } from './guard.js';
import type { House } from './house.js';
import { type AdminLimits, type AdminOptions, DEFAULT_ADMIN_LIMITS } from './options.js';
import { PROBLEM_TYPE, Problem } from './problems.js';
import { decisionRoutes } from './routes/decisions.js';
import { documentRoutes } from './routes/document.js';
import { explainRoutes } from './routes/explain.js';
import { healthRoutes } from './routes/health.js';
import { historyRoutes } from './routes/history.js';
import { limitRoutes } from './routes/limits.js';
import { logLevelRoutes } from './routes/log-level.js';
import { loginRoutes } from './routes/logins.js';
import { metricsRoutes } from './routes/metrics.js';
import { policyRoutes } from './routes/policy.js';
import { selfTestRoutes } from './routes/self-test.js';
import { sessionRoutes } from './routes/sessions.js';
import { statusRoutes } from './routes/status.js';
import { upstreamRoutes } from './routes/upstreams.js';
import { windowRoutes } from './routes/windows.js';
import { ProblemShape, schemaOf } from './schemas.js';
import type { Token } from './tokens.js';

/** A part of the endpoint that another module brings: it adds its routes. */
export type AdminPart = (app: FastifyInstance, house: House) => void | Promise<void>;

const makeServer = ({ tls, limits }: AdminOptions, handler: http.RequestListener): http.Server => {
  const { headersTimeout, requestTimeout, connections } = limits;
  const options = {
    ...{ headersTimeout, requestTimeout, keepAliveTimeout: 30_000, maxHeaderSize: 16_384 },
    connectionsCheckingInterval: Math.min(1_000, headersTimeout),
  };
  const server =
    tls === undefined
      ? http.createServer(options, handler)
      : https.createServer(
          { ...options, ...tls, minVersion: 'TLSv1.2', handshakeTimeout: headersTimeout },
          handler,
        );
  // The one past it is closed: nobody who has a connection is harmed.
  server.maxConnections = connections;
  return server;
};

/** Requests of one address in a minute. Comes first, so that whatever is refused later is counted too. */
const limitRequests = async (app: FastifyInstance, { requests }: AdminLimits): Promise<void> => {
  await app.register(rateLimit, {
    global: false,
    max: requests,
    timeWindow: 60_000,
    keyGenerator: addressOf,
  });
  const limiter = app.createRateLimit();
  app.addHook('onRequest', async (request, reply) => {
    const found = await limiter(request);
    if (found.isAllowed || !found.isExceeded) return;
    reply.header('retry-after', found.ttlInSeconds);
    throw new Problem(429, `more than ${found.max} requests in a minute; wait ${found.ttlInSeconds} s`);
  });
};

/** Queries are text and are read as what they stand for; bodies have types, and another one is a fault. */
const checkShapes = (app: FastifyInstance): void => {
  const build = AjvCompiler();
  const common = { removeAdditional: false, allErrors: false, useDefaults: true } as const;
  const query = build({}, { customOptions: { ...common, coerceTypes: true } });
  const body = build({}, { customOptions: { ...common, coerceTypes: false } });
  app.setValidatorCompiler((route) => (route.httpPart === 'body' ? body(route) : query(route)));
};

/** JSON, and YAML as it stands; nothing else, above all nothing that a foreign page may send without asking. */
const readBodies = (app: FastifyInstance): void => {
  app.removeAllContentTypeParsers();
  const json = app.getDefaultJsonParser('error', 'error');
  app.addContentTypeParser('application/json', { parseAs: 'string' }, (request, text, done) => {
    if (text === '') done(null, undefined);
    else json(request, text.toString(), done);
  });
  app.addContentTypeParser('application/yaml', { parseAs: 'string' }, (_, text, done) => done(null, text));
};

const describe = (app: FastifyInstance, version: string): Promise<void> =>
  Promise.resolve(
    app.register(swagger, {
      openapi: {
        openapi: '3.1.0',
        info: {
          title: 'Sekisho admin API',
          description:
            'What Sekisho does now, and what may be done about it. Errors are problem details (RFC 9457).',
          version,
          license: { name: 'Apache-2.0', identifier: 'Apache-2.0' },
        },
        components: {
          securitySchemes: {
            token: { type: 'http', scheme: 'bearer', description: 'a token of the file admin.tokens' },
          },
        },
      },
    }),
  ).then(() => {
    app.addHook('onRoute', (route) => {
      const { access } = route.config ?? {};
      if (access === undefined || route.schema === undefined) return;
      if (access !== 'public') route.schema.security = [{ token: [] }];
      const response = route.schema.response;
      const problem = {
        description: 'an error',
        content: { [PROBLEM_TYPE]: { schema: schemaOf(ProblemShape) } },
      };
      route.schema.response = { ...(typeof response === 'object' ? response : {}), default: problem };
    });
  });

/** Whoever guards the way counts the requests. */
const NO_LIMITS = { ...DEFAULT_ADMIN_LIMITS, requests: Number.MAX_SAFE_INTEGER };

const ROUTES: readonly AdminPart[] = [
  ...[healthRoutes, metricsRoutes, statusRoutes, sessionRoutes, decisionRoutes, historyRoutes, limitRoutes],
  ...[
    explainRoutes,
    policyRoutes,
    selfTestRoutes,
    windowRoutes,
    loginRoutes,
    upstreamRoutes,
    logLevelRoutes,
    documentRoutes,
  ],
];

export interface Admin {
  readonly app: FastifyInstance;
  readonly routes: readonly GuardedRoute[];
  /** Puts other tokens in force. */
  setTokens(tokens: readonly Token[]): void;
}

/** The endpoint with all its routes, not listening yet. `inner`: only a supervisor will ask, who guards the way to it. */
export const buildAdmin = async (
  options: AdminOptions,
  house: House,
  parts: readonly AdminPart[] = [],
  inner = false,
): Promise<Admin> => {
  let { tokens } = options;
  const app = Fastify({
    serverFactory: (handler) => makeServer(options, handler),
    bodyLimit: options.limits.body,
    routerOptions: { maxParamLength: 1_024 },
    clientErrorHandler: clientError,
    forceCloseConnections: true,
    exposeHeadRoutes: true,
    return503OnClosing: true,
  });
  checkShapes(app);
  readBodies(app);
  answerErrors(app, house);
  answerUnknown(app);
  await describe(app, house.version);
  const socket = options.place.kind === 'socket';
  const guard = new Guard({ tokens: () => tokens, hosts: options.hosts, socket, inner, note: house.note });
  guard.headers(app);
  await limitRequests(app, inner ? NO_LIMITS : options.limits);
  guard.install(app);
  for (const part of [...ROUTES, ...parts]) await part(app, house);
  await app.ready();
  return {
    app,
    routes: guard.routes,
    setTokens: (changed) => {
      tokens = changed;
    },
  };
};
