/**
 * The one admin endpoint of several processes. It has the routes, the guard and the description of the endpoint of one
 * process; what it answers comes from the processes, put together as merge.ts says.
 */
import type { FastifyReply, FastifyRequest } from 'fastify';
import { type Aggregator, gather, mergeSnapshots } from '../../admin/aggregate.js';
import { dashboard } from '../../admin/dashboard/index.js';
import { type Decision, Decisions } from '../../admin/decisions.js';
import { History } from '../../admin/history.js';
import type { House, LastReload } from '../../admin/house.js';
import { listenAdmin } from '../../admin/listen.js';
import { type Metrics, render, type Snapshot } from '../../admin/metrics.js';
import { Problem } from '../../admin/problems.js';
import { serveStream } from '../../admin/routes/decisions.js';
import { type Admin, type AdminPart, buildAdmin } from '../../admin/server.js';
import { DecisionStreams } from '../../admin/stream.js';
import { TopCounters } from '../../admin/top.js';
import type { Note } from '../../base/events.js';
import { MemoryStore } from '../../windows/stores/memory.js';
import { clearTextWarning, renew } from '../admin.js';
import type { Setup } from '../config.js';
import type { AdminSetup } from '../config-admin.js';
import { VERSION } from '../version.js';
import type { Crowd } from './crowd.js';
import { isDecision, type LiveDecisions } from './live-decisions.js';
import { PLANS, type Plan } from './merge.js';
import { HttpAnswer, HttpRequest } from './messages.js';

/** Milliseconds that a process may take over an answer, and over its metrics. */
const PATIENCE = 5_000;
const SCRAPE_PATIENCE = 1_000;

/** What the supervisor itself has to say among the metrics; everything else is of those who serve. */
const OWN =
  /^(?:process_cpu_|process_resident_memory_bytes|process_open_fds|sekisho_policy_last_reload_successful)/;

export interface EndpointPorts {
  readonly crowd: Crowd;
  readonly aggregator: Aggregator;
  readonly live: LiveDecisions;
  /** Of the supervisor. */
  readonly metrics: Metrics;
  readonly note: Note;
  readonly lastReload: () => LastReload | undefined;
  readonly reload: () => Promise<readonly string[]>;
}

/** Nothing here is ever asked: the routes that would are answered before. */
const nobody = (): never => {
  throw new Error('a route of one process was asked instead of all');
};

const houseOfNobody = (note: Note, started: number): House => ({
  ...{ note, started, version: VERSION, now: Date.now, log: { level: 'info' } },
  inspector: {
    ...{
      listening: nobody,
      sessionCount: nobody,
      sessions: nobody,
      upstreams: nobody,
      drainUpstream: nobody,
    },
  },
  ...{
    state: new MemoryStore(),
    decisions: new Decisions(1),
    history: new History(),
    top: new TopCounters(),
  },
  policy: { inForce: nobody, lastReload: nobody, candidate: nobody, reload: nobody },
  ...{ windows: nobody, explain: nobody, lastSelfTest: nobody, scrape: nobody },
});

const bodyOf = (body: unknown): string | undefined =>
  typeof body === 'string' || body === undefined || body === null
    ? (body ?? undefined)
    : JSON.stringify(body);

/** The request as a process is asked it: with what the shape of the route has made of it. */
const requestOf = (request: FastifyRequest, most: string | undefined): HttpRequest => {
  const { method, url, headers, body, caller } = request;
  const at = new URL(url, 'http://sekisho');
  if (most !== undefined) at.searchParams.set('limit', most);
  const text = bodyOf(body);
  return HttpRequest.parse({
    method: method === 'HEAD' ? 'GET' : method,
    url: `${at.pathname}${at.search}`,
    caller: caller?.name ?? '',
    ...(text === undefined ? {} : { body: text, contentType: headers['content-type'] }),
  });
};

export class FleetEndpoint {
  readonly #setup: AdminSetup;
  readonly #ports: EndpointPorts;
  readonly #streams: DecisionStreams;
  readonly #started = Date.now();
  #admin: Admin | undefined;

  constructor(setup: AdminSetup, ports: EndpointPorts) {
    this.#setup = setup;
    this.#ports = ports;
    this.#streams = new DecisionStreams(ports.live);
  }

  /** Listens; gives where. Rejects with an error fit for people. */
  async start(): Promise<string> {
    const { note } = this.#ports;
    const house = houseOfNobody(note, this.#started);
    this.#admin = await buildAdmin(this.#setup, house, [dashboard, this.#answers()]);
    const at = await listenAdmin(this.#admin.app, this.#setup);
    const clear = clearTextWarning(this.#setup, at);
    if (clear !== undefined) note({ type: 'warning', text: clear });
    return at;
  }

  /** After a reload: other tokens, another certificate. */
  apply({ admin }: Setup): void {
    if (this.#admin !== undefined) renew(this.#admin, this.#setup, admin);
  }

  async stop(): Promise<void> {
    this.#ports.live.close();
    await this.#admin?.app.close();
  }

  /** Comes after the guard and the check of shapes, and leaves nothing to the routes but what needs no process. */
  #answers(): AdminPart {
    return (app) => {
      app.addHook('preHandler', async (request, reply) => {
        const { url = '' } = request.routeOptions;
        const method = request.method === 'HEAD' ? 'GET' : request.method;
        const plan = PLANS[`${method} ${url}`];
        if (plan === undefined) {
          // The page and the description are the same everywhere; any other route must have a plan.
          if (request.routeOptions.config.access === 'public') return undefined;
          throw new Problem(501, 'not answered where several processes serve');
        }
        return plan.kind === 'here' ? this.#here(url, request, reply) : this.#ask(plan, request, reply);
      });
    };
  }

  async #here(url: string, request: FastifyRequest, reply: FastifyReply): Promise<unknown> {
    switch (url) {
      case '/metrics': {
        const { contentType, body } = await this.#scrape(request.headers.accept);
        return reply.type(contentType).serializer(String).send(body);
      }
      case '/readyz':
        return this.#ready(reply);
      case '/api/v1/policy/reload':
        return this.#reload(request, reply);
      case '/api/v1/decisions/stream':
        await serveStream(this.#streams, request as Parameters<typeof serveStream>[1], reply);
        return reply;
      default:
        return undefined;
    }
  }

  async #scrape(accept: string | undefined): Promise<{ contentType: string; body: string }> {
    const { crowd, aggregator, metrics } = this.#ports;
    const [all, own] = await Promise.all([
      gather(aggregator, crowd.asked, SCRAPE_PATIENCE),
      metrics.snapshot(),
    ]);
    return render(withOwn(all, own), accept);
  }

  /** It can do its work while one process can. */
  async #ready(reply: FastifyReply): Promise<unknown> {
    const request = { method: 'GET', url: '/readyz', caller: '' } as const;
    const answers = await this.#ports.crowd.ask({ what: 'http', request }, PATIENCE);
    const heard = answers.flatMap(([, answer]) => HttpAnswer.safeParse(answer).data ?? []);
    const best = heard.find(({ status }) => status === 200) ?? heard[0];
    if (best === undefined) throw new Problem(503, 'no process answers');
    return reply.code(best.status).send(JSON.parse(best.body));
  }

  async #reload(request: FastifyRequest, reply: FastifyReply): Promise<unknown> {
    const { crowd, reload } = this.#ports;
    request.target = crowd.setup.proxy.policy.source;
    const faults = await reload();
    if (faults.length > 0)
      throw new Problem(
        422,
        'the old policy stays in force',
        faults.map((message) => ({ in: 'policy', at: '', message })),
      );
    const { policy } = crowd.setup.proxy;
    const { hash } = crowd.setup.origin;
    const since = new Date(this.#ports.lastReload()?.at ?? this.#started).toISOString();
    return reply.send({ hash, since, rules: policy.rules.length });
  }

  async #ask(
    plan: Exclude<Plan, { kind: 'here' }>,
    request: FastifyRequest,
    reply: FastifyReply,
  ): Promise<unknown> {
    const { crowd } = this.#ports;
    const asked = requestOf(request, plan.kind === 'all' ? plan.most : undefined);
    request.target = targetOf(request);
    if (plan.kind === 'one') return this.#relay(await this.#anyone(asked), reply);
    const answers = await crowd.ask({ what: 'http', request: asked }, PATIENCE);
    const silent: number[] = [];
    const bodies: Record<string, unknown>[] = [];
    for (const [worker, answer] of answers) {
      const parsed = HttpAnswer.safeParse(answer);
      if (!parsed.success) silent.push(worker.number);
      // What one refuses all refuse: they are of one setup.
      else if (parsed.data.status >= 300) return this.#relay(parsed.data, reply);
      else bodies.push(JSON.parse(parsed.data.body));
    }
    const isStatus = request.routeOptions.url === '/api/v1/status';
    if (bodies.length === 0 || (silent.length > 0 && !isStatus))
      throw new Problem(503, `process ${silent.join(', ')} does not answer, and is replaced before long`);
    const merged = plan.merge(bodies, new URL(request.url, 'http://sekisho').searchParams);
    return reply.code(200).send(isStatus ? this.#status(merged, bodies, request) : merged);
  }

  /** The supervisor's own part of the status. */
  #status(merged: object, bodies: readonly Record<string, unknown>[], request: FastifyRequest): object {
    const last = this.#ports.lastReload();
    const policy = 'policy' in merged && typeof merged.policy === 'object' ? merged.policy : {};
    return {
      ...merged,
      you: request.caller,
      pid: process.pid,
      started: new Date(this.#started).toISOString(),
      uptimeSeconds: (Date.now() - this.#started) / 1000,
      policy: {
        ...policy,
        ...(last === undefined ? {} : { lastReload: { ...last, at: new Date(last.at).toISOString() } }),
      },
      processes: this.#ports.crowd.workers.map(({ number, pid }) => {
        const body = bodies.find((each) => each.pid === pid);
        return { process: number, pid, sessions: Number(body?.sessions ?? 0), answers: body !== undefined };
      }),
    };
  }

  /** The answer of the first process that gives one. */
  async #anyone(request: HttpRequest): Promise<HttpAnswer> {
    const { workers } = this.#ports.crowd;
    // What changes something is asked of one alone: of one that does not answer nobody knows what it did.
    const asked = request.method === 'GET' ? workers : workers.slice(0, 1);
    const answers = asked.map(async (worker) =>
      HttpAnswer.parse(await worker.ask({ what: 'http', request }, PATIENCE)),
    );
    try {
      return await Promise.any(answers);
    } catch {
      throw new Problem(503, 'no process answers');
    }
  }

  #relay({ status, contentType, body }: HttpAnswer, reply: FastifyReply): FastifyReply {
    return reply.code(status).type(contentType).serializer(String).send(body);
  }

  /** All decisions that the processes remember, the newest first. */
  static async kept(crowd: Crowd): Promise<readonly Decision[]> {
    const request = { method: 'GET', url: '/api/v1/decisions?limit=10000', caller: '' } as const;
    const answers = await crowd.ask({ what: 'http', request }, PATIENCE);
    const bodies = answers.flatMap(([, answer]) => HttpAnswer.safeParse(answer).data?.body ?? []);
    const lists = bodies.flatMap((body) => {
      const { decisions }: { decisions?: unknown } = JSON.parse(body);
      return Array.isArray(decisions) ? decisions.filter(isDecision) : [];
    });
    return lists.sort((a, b) => b.id - a.id);
  }
}

/** The supervisor's own samples put to those of the others: sums where they sum, and its word on reloads. */
const withOwn = (all: Snapshot, own: Snapshot): Snapshot =>
  mergeSnapshots([all, own.filter(({ name }) => OWN.test(name))]);

/** What a request changes, for the log: the name in its path, or whose and where in its body or query. */
const targetOf = ({ params, body, query }: FastifyRequest): string => {
  const texts = [params, body, query].flatMap((part) =>
    typeof part === 'object' && part !== null
      ? ['name', 'login', 'address', 'level'].flatMap((key) => {
          const value: unknown = Reflect.get(part, key);
          return typeof value === 'string' ? [value] : [];
        })
      : [],
  );
  return texts.join(' ');
};
