/**
 * Who may call, and from where. On a loopback socket without tokens everybody on the host may, and so may every
 * web page that a browser on the host has open, unless it is kept out: a page can send requests to 127.0.0.1
 * (CSRF), and by DNS rebinding even pass for this very origin. So there the Host must be an address or a name that
 * is known, a request from another origin is refused, and whatever changes something must carry what a foreign page
 * cannot send without asking first (a JSON body, or a header of its own), and there is no CORS to answer that.
 */
import { isIP } from 'node:net';
import type { FastifyInstance, FastifyReply, FastifyRequest } from 'fastify';
import type { Note } from '../base/events.js';
import { Problem } from './problems.js';
import { findToken, type Role, type Token } from './tokens.js';

/** What a route asks of its caller: nothing, to look, to change. */
export type Access = 'public' | Role;

export interface Caller {
  /** Name of the token; `local` where none is asked for. */
  readonly name: string;
  readonly role: Role;
}

declare module 'fastify' {
  interface FastifyContextConfig {
    /** Every route says it. */
    access?: Access;
    /** Of a route that changes something: what it does, for the log. */
    action?: string;
  }
  interface FastifyRequest {
    /** Who calls; undefined on public routes that were called without a token. */
    caller: Caller | undefined;
    /** What is changed, for the log. */
    target: string;
  }
}

export interface GuardOptions {
  /** Asked at each request, for they change on reload. Empty: whoever reaches the socket may do everything. */
  readonly tokens: () => readonly Token[];
  /** Host names by which the endpoint may be called, beside localhost and addresses. */
  readonly hosts: readonly string[];
  /** A UNIX socket: no browser gets there. */
  readonly socket: boolean;
  /** Nobody but the supervisor of several processes calls, who has let somebody in and tells of it: no sockets are here. */
  readonly inner: boolean;
  readonly note: Note;
}

/** By this header an inner endpoint is told who calls. */
export const CALLER_HEADER = 'x-sekisho-caller';

const SAFE = new Set(['GET', 'HEAD', 'OPTIONS']);
const LOCAL: Caller = { name: 'local', role: 'full' };

/** Never shown to others: an administrator's page has nothing to do in a frame, a cache or a referrer. */
export const HEADERS: Readonly<Record<string, string>> = {
  'content-security-policy':
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; font-src 'self'; " +
    "connect-src 'self'; manifest-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
  'x-content-type-options': 'nosniff',
  'x-frame-options': 'DENY',
  'referrer-policy': 'no-referrer',
  'cross-origin-opener-policy': 'same-origin',
  'cross-origin-resource-policy': 'same-origin',
  'permissions-policy': 'camera=(), geolocation=(), microphone=(), payment=(), usb=()',
  'cache-control': 'no-store',
};

/** The name of a Host header without its port; undefined: it is none. */
const hostName = (header: string | undefined): string | undefined => {
  const [, bracketed, plain] =
    /^(?:\[([0-9A-Fa-f:.]+)\]|([A-Za-z0-9.-]+))(?::\d{1,5})?$/.exec(header ?? '') ?? [];
  return (bracketed ?? plain)?.toLowerCase().replace(/\.$/, '');
};

/** A page that is found by its address cannot have been rebound to it. */
const knownHost = (header: string | undefined, hosts: readonly string[]): boolean => {
  const name = hostName(header);
  return name !== undefined && (name === 'localhost' || isIP(name) !== 0 || hosts.includes(name));
};

const refuseForeign = ({ headers, method, protocol, url }: FastifyRequest): void => {
  const { origin, host } = headers;
  if (origin !== undefined && origin.toLowerCase() !== `${protocol}://${host ?? ''}`.toLowerCase())
    throw new Problem(403, 'a page of another origin may not call this');
  const site = headers['sec-fetch-site'];
  const foreign = site === 'cross-site' || site === 'same-site';
  if (foreign && (!SAFE.has(method) || !/^\/(?:[?#]|$)/.test(url)))
    throw new Problem(403, 'a page of another origin may not call this');
};

const CHANGE_TYPES = /^application\/(?:json|yaml)\s*(?:;|$)/i;

const refuseSimple = ({ headers, method }: FastifyRequest): void => {
  if (SAFE.has(method) || CHANGE_TYPES.test(headers['content-type'] ?? '')) return;
  if (headers['x-sekisho'] === undefined && headers.authorization === undefined)
    throw new Problem(
      403,
      'a request that changes something needs content-type: application/json, or a header such as X-Sekisho: yes',
    );
};

const bearer = (header: string | undefined): string | undefined =>
  /^Bearer ([\x21-\x7e]{1,256})$/i.exec(header ?? '')?.[1];

/** A route as it is guarded. */
export interface GuardedRoute {
  readonly method: string;
  readonly url: string;
  readonly access: Access;
}

export class Guard {
  readonly #options: GuardOptions;
  readonly routes: GuardedRoute[] = [];

  constructor(options: GuardOptions) {
    this.#options = options;
  }

  /** Every answer bears them, errors too. Comes before all other hooks. */
  headers(app: FastifyInstance): void {
    app.addHook('onRequest', async (_, reply) => void reply.headers(HEADERS));
  }

  /** Must be called before any route is there. */
  install(app: FastifyInstance): void {
    app.decorateRequest('caller', undefined);
    app.decorateRequest('target', '');
    app.addHook('onRoute', ({ config, url, method }) => {
      if (config?.access === undefined) throw new Error(`route ${url}: says not who may call it`);
      if (config.access === 'full' && config.action === undefined)
        throw new Error(`route ${url}: has no word for the log`);
      for (const each of [method].flat()) this.routes.push({ method: each, url, access: config.access });
    });
    app.addHook('onRequest', async (request, reply) => {
      this.#place(request);
      this.#identify(request, reply);
    });
    app.addHook('onResponse', async (request, reply) => this.#tell(request, reply));
  }

  #place(request: FastifyRequest): void {
    if (this.#options.socket || this.#options.inner) return;
    // With tokens there is nothing that a page could use: it has none, and a browser never adds one by itself.
    if (this.#options.tokens().length === 0 && !knownHost(request.headers.host, this.#options.hosts))
      throw new Problem(
        403,
        'not called by a name that is known: use localhost or the address, or list the name under admin.hosts',
      );
    refuseForeign(request);
    refuseSimple(request);
  }

  #identify(request: FastifyRequest, reply: FastifyReply): void {
    if (this.#options.inner) {
      request.caller = { name: String(request.headers[CALLER_HEADER]), role: 'full' };
      return;
    }
    const { access = 'public' } = request.routeOptions.config;
    const tokens = this.#options.tokens();
    if (tokens.length === 0) {
      request.caller = LOCAL;
      return;
    }
    const shown = bearer(request.headers.authorization);
    const token = shown === undefined ? undefined : findToken(tokens, shown);
    if (token !== undefined) request.caller = { name: token.name, role: token.role };
    if (access === 'public') return;
    if (token === undefined) {
      reply.header(
        'www-authenticate',
        `Bearer realm="sekisho"${shown === undefined ? '' : ', error="invalid_token"'}`,
      );
      if (request.headers.authorization !== undefined) this.#refused(request, 'unknown token');
      throw new Problem(401, 'needs a token: Authorization: Bearer TOKEN');
    }
    if (access === 'full' && token.role !== 'full') {
      this.#refused(request, 'the token may only read');
      throw new Problem(403, `the token "${token.name}" may only read`);
    }
  }

  #refused(request: FastifyRequest, why: string): void {
    const { name = '' } = request.caller ?? {};
    this.#options.note({ type: 'admin-refused', address: addressOf(request), who: name, why });
  }

  /** Every change is told, with who made it and what came of it. */
  #tell(request: FastifyRequest, { statusCode }: FastifyReply): void {
    const { action } = request.routeOptions.config;
    const { caller, target } = request;
    if (this.#options.inner || action === undefined || caller?.role !== 'full') return;
    const said = { who: caller.name, address: addressOf(request), action, target, status: statusCode };
    this.#options.note({ type: 'admin-change', ...said });
  }
}

/** The caller's address; `unix` for the socket. */
export const addressOf = ({ socket }: FastifyRequest): string =>
  (socket.remoteAddress ?? 'unix').replace(/^::ffff:/, '');
