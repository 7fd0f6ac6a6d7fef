/** Puts the admin endpoint together: what it may see and do of the rest, and nothing beyond that. */
import type http from 'node:http';
import https from 'node:https';
import { dashboard } from '../admin/dashboard/index.js';
import { Decisions } from '../admin/decisions.js';
import { CALLER_HEADER } from '../admin/guard.js';
import { History } from '../admin/history.js';
import type { House, LastSelfTest, PolicyDesk, PolicyInForce } from '../admin/house.js';
import type { Inspector } from '../admin/inspector.js';
import { listenAdmin } from '../admin/listen.js';
import { type Admin, buildAdmin } from '../admin/server.js';
import { TopCounters } from '../admin/top.js';
import { hearing, type Note } from '../base/events.js';
import { err } from '../base/result.js';
import { loadPolicy } from '../policy/compile.js';
import { explainNow } from '../proxy/standing.js';
import type { Composed } from './compose.js';
import type { Setup } from './config.js';
import type { AdminSetup } from './config-admin.js';
import type { HttpAnswer, HttpRequest } from './fleet/messages.js';
import { readTextFile } from './read-file.js';
import type { Reloader } from './reload.js';
import { buildWindows } from './state.js';
import { VERSION } from './version.js';

const inspectorOf = ({ proxy }: Composed): Inspector => ({
  listening: () => proxy.listening,
  sessionCount: () => proxy.sessions,
  sessions: (limit, fits) => proxy.snapshots(limit, fits),
  upstreams: () => proxy.upstreams,
  drainUpstream: (name, draining) => proxy.drainUpstream(name, draining),
});

/** The policy in force, as it is now and will be after reloads. */
class Desk implements PolicyDesk {
  #inForce: PolicyInForce;
  #files: ReadonlySet<string>;
  readonly #reloader: Pick<Reloader, 'last' | 'reload'>;

  constructor(setup: Setup, reloader: Pick<Reloader, 'last' | 'reload'>) {
    this.#inForce = this.#read(setup, Date.now());
    this.#files = new Set(setup.origin.files);
    this.#reloader = reloader;
  }

  #read({ proxy: { policy, observe }, origin: { text, hash } }: Setup, since: number): PolicyInForce {
    return { policy, observe, hash, since, ...(text === undefined ? {} : { text }) };
  }

  apply(setup: Setup): void {
    const { hash, since } = this.#inForce;
    this.#inForce = this.#read(setup, setup.origin.hash === hash ? since : Date.now());
    this.#files = new Set(setup.origin.files);
  }

  inForce(): PolicyInForce {
    return this.#inForce;
  }

  lastReload(): Reloader['last'] {
    return this.#reloader.last;
  }

  candidate(text: string): ReturnType<PolicyDesk['candidate']> {
    // A fault quotes the line that it is in: whoever sends a candidate must not read other files by it.
    return loadPolicy(this.#inForce.policy.source, text, (path) =>
      this.#files.has(path)
        ? readTextFile(path)
        : err(
            'a candidate may name only files that the policy in force names; use sekisho check on the host',
          ),
    );
  }

  reload(): ReturnType<PolicyDesk['reload']> {
    return this.#reloader.reload();
  }
}

/** After a reload: other tokens, another certificate. `first`: what the endpoint began with. */
export const renew = (
  { app, setTokens }: Admin,
  first: AdminSetup,
  changed: AdminSetup | undefined,
): void => {
  if (changed === undefined) return;
  // An endpoint that asks for tokens goes on asking, whatever became of the file.
  if (changed.tokens.length > 0 || first.tokens.length === 0) setTokens(changed.tokens);
  const server: http.Server = app.server;
  if (changed.tls !== undefined && server instanceof https.Server)
    server.setSecureContext({ ...changed.tls, minVersion: 'TLSv1.2' });
};

/** What is said of tokens that pass a network in clear text at `at`. */
export const clearTextWarning = ({ place, tls }: AdminSetup, at: string): string | undefined =>
  tls === undefined && place.kind === 'tcp' && !/^(?:127\.|::1$)/.test(place.host)
    ? `admin: tokens pass in clear text on ${at}: give it tls: { cert, key }`
    : undefined;

/** What a supervisor asks of one process, in the words of the admin API. */
export type AdminDesk = (request: HttpRequest) => Promise<HttpAnswer>;

/** Of one process of several: its supervisor reloads them all. */
const SUPERVISED: Pick<Reloader, 'last' | 'reload'> = {
  last: undefined,
  reload: () => err(['the supervisor reloads']),
};

/** The admin endpoint of a process. Made before anything happens, so that it hears every event. */
export class AdminEndpoint {
  readonly #setup: AdminSetup;
  readonly #started = Date.now();
  #admin: Admin | undefined;
  #desk: Desk | undefined;
  readonly decisions: Decisions;
  readonly #history = new History();
  readonly #top = new TopCounters();
  #selfTest: LastSelfTest | undefined;
  /** What wants to hear events. */
  readonly subscribers: readonly Note[];

  /** `process`: the number of this one of several. */
  constructor(setup: AdminSetup, process?: number) {
    this.#setup = setup;
    this.decisions = new Decisions(setup.decisions, Date.now, process);
    const selfTests = hearing(['self-test'], (event) => {
      this.#selfTest = { ...event, at: Date.now() };
    });
    this.subscribers = [this.decisions.note, this.#history.note, this.#top.note, selfTests];
  }

  #houseOf(setup: Setup, composed: Composed, desk: Desk): House {
    const { state, log, note, metrics } = composed;
    return {
      ...{ state, log, note, policy: desk, started: this.#started },
      ...{ decisions: this.decisions, history: this.#history, top: this.#top },
      lastSelfTest: () => this.#selfTest,
      windows: (told) => buildWindows(setup, state, told),
      explain: (facts) => explainNow(desk.inForce().policy, facts, state, Date.now()),
      scrape: (accept) => metrics.scrape(accept),
      inspector: inspectorOf(composed),
      now: Date.now,
      version: VERSION,
    };
  }

  /** Does not listen, but answers what the supervisor of this process asks. */
  async sit(setup: Setup, composed: Composed): Promise<AdminDesk> {
    const desk = new Desk(setup, SUPERVISED);
    this.#desk = desk;
    this.#admin = await buildAdmin(this.#setup, this.#houseOf(setup, composed, desk), [], true);
    const { app } = this.#admin;
    return async ({ method, url, caller, contentType, body }) => {
      const headers = { [CALLER_HEADER]: caller, ...(contentType && { 'content-type': contentType }) };
      const answer = await app.inject({ method, url, headers, ...(body === undefined ? {} : { body }) });
      const type = answer.headers['content-type'];
      return { status: answer.statusCode, contentType: String(type ?? ''), body: answer.body };
    };
  }

  /** Listens; gives where. Rejects with an error fit for people. */
  async start(setup: Setup, composed: Composed, reloader: Reloader): Promise<string> {
    const desk = new Desk(setup, reloader);
    const { note } = composed;
    const admin = await buildAdmin(this.#setup, this.#houseOf(setup, composed, desk), [dashboard]);
    this.#desk = desk;
    this.#admin = admin;
    const at = await listenAdmin(admin.app, this.#setup);
    const clear = clearTextWarning(this.#setup, at);
    if (clear !== undefined) note({ type: 'warning', text: clear });
    return at;
  }

  /** After a reload: other tokens, another certificate, another policy. */
  apply(setup: Setup): void {
    this.#desk?.apply(setup);
    if (this.#admin !== undefined) renew(this.#admin, this.#setup, setup.admin);
  }

  async stop(): Promise<void> {
    await this.#admin?.app.close();
  }
}
