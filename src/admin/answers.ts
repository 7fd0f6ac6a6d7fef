/** What is not a plain answer of a route: errors, paths that lead nowhere, requests that cannot be read. */
import http from 'node:http';
import type { Duplex } from 'node:stream';
import type { FastifyError, FastifyInstance } from 'fastify';
import { StoreError } from '../windows/store.js';
import type { House } from './house.js';
import { type Fault, PROBLEM_TYPE, Problem, problemDetails } from './problems.js';

/** What cannot be read as HTTP, or not in time, is answered in the same shape, and closed. */
export const clientError = (error: NodeJS.ErrnoException, socket: Duplex): void => {
  if (!socket.writable || error.code === 'ECONNRESET') return void socket.destroy();
  const status = { ERR_HTTP_REQUEST_TIMEOUT: 408, HPE_HEADER_OVERFLOW: 431 }[error.code ?? ''] ?? 400;
  const body = JSON.stringify(problemDetails(status));
  socket.end(
    `HTTP/1.1 ${status} ${http.STATUS_CODES[status]}\r\nContent-Type: ${PROBLEM_TYPE}\r\n` +
      `Content-Length: ${Buffer.byteLength(body)}\r\nConnection: close\r\n\r\n${body}`,
  );
};

const faultsOf = ({ validation = [], validationContext }: FastifyError): Fault[] =>
  validation.map(({ instancePath, message = 'is wrong', params }) => {
    const extra = params.additionalProperty ?? params.missingProperty;
    const name = typeof extra === 'string' ? `: ${extra}` : '';
    return { in: validationContext ?? '', at: instancePath, message: `${message}${name}` };
  });

/** Errors to problem details; what is not the caller's fault is told without its inside, and logged. */
export const answerErrors = (app: FastifyInstance, { note }: House): void => {
  app.setErrorHandler<FastifyError | Problem | StoreError>((error, request, reply) => {
    const answer = (status: number, detail?: string, errors?: readonly Fault[]) =>
      reply
        .code(status)
        .type(PROBLEM_TYPE)
        .serializer(JSON.stringify)
        .send(problemDetails(status, detail, errors));
    if (error instanceof Problem) return answer(error.statusCode, error.detail, error.errors);
    if (error instanceof StoreError) {
      note({ type: 'store-error', operation: error.operation, why: error.message });
      return answer(503, 'the state store does not answer');
    }
    if (error.validation !== undefined)
      return answer(400, 'the request does not have the shape that is asked for', faultsOf(error));
    const { statusCode = 500 } = error;
    if (statusCode < 500) return answer(statusCode, error.message);
    note({
      type: 'internal-error',
      text: `admin: ${request.method} ${request.routeOptions.url ?? ''}: ${error.stack ?? error.message}`,
    });
    return answer(500, 'an error of Sekisho itself; the log says more');
  });
};

interface KnownRoute {
  readonly fits: RegExp;
  readonly methods: Set<string>;
}

/** 404, or 405 with what would be right (RFC 9110 15.5.6). */
export const answerUnknown = (app: FastifyInstance): void => {
  const known = new Map<string, KnownRoute>();
  app.addHook('onRoute', ({ url, method }) => {
    const fits = new RegExp(
      `^${url
        .replace(/[.]/g, '\\.')
        .replace(/:[A-Za-z]+/g, '[^/]+')
        .replace(/\*$/, '.*')}$`,
    );
    const route = known.get(url) ?? { fits, methods: new Set<string>() };
    for (const each of [method].flat()) route.methods.add(each);
    known.set(url, route);
  });
  app.setNotFoundHandler((request, reply) => {
    const [path = ''] = request.url.split('?');
    const allowed = [...known.values()].flatMap(({ fits, methods }) => (fits.test(path) ? [...methods] : []));
    if (allowed.length > 0) reply.header('allow', [...new Set(allowed)].join(', '));
    const status = allowed.length > 0 ? 405 : 404;
    return reply
      .code(status)
      .type(PROBLEM_TYPE)
      .serializer(JSON.stringify)
      .send(
        problemDetails(
          status,
          status === 404 ? 'there is nothing here; /api/v1/ says what there is' : undefined,
        ),
      );
  });
};
