/** An admin endpoint over a real Sekisho in this process, and a client for it. */
import http from 'node:http';
import net from 'node:net';
import { Decisions } from '../../src/admin/decisions.js';
import { History } from '../../src/admin/history.js';
import type { House, PolicyDesk } from '../../src/admin/house.js';
import { listenAdmin } from '../../src/admin/listen.js';
import { type AdminLimits, type AdminOptions, DEFAULT_ADMIN_LIMITS } from '../../src/admin/options.js';
import { type Admin, type AdminPart, buildAdmin } from '../../src/admin/server.js';
import { digestOf, type Token } from '../../src/admin/tokens.js';
import { TopCounters } from '../../src/admin/top.js';
import { IpSet } from '../../src/base/ip.js';
import { ok } from '../../src/base/result.js';
import { loadPolicy, type Policy } from '../../src/policy/compile.js';
import { explain } from '../../src/policy/explain.js';
import { Windows } from '../../src/windows/keeper.js';
import { MemoryStore } from '../../src/windows/stores/memory.js';
import { type Running, testPolicy } from './sekisho.js';

export const READ = 'read-token-0123456789abcdef';
export const FULL = 'full-token-0123456789abcdef';
export const TOKENS: readonly Token[] = [
  { name: 'grafana', role: 'read', digest: digestOf(READ) },
  { name: 'oncall', role: 'full', digest: digestOf(FULL) },
];

export interface Answer {
  readonly status: number;
  readonly headers: http.IncomingHttpHeaders;
  readonly body: string;
  readonly json: Record<string, unknown>;
}

export interface Asked {
  readonly method?: string;
  readonly headers?: Readonly<Record<string, string>>;
  readonly body?: unknown;
  readonly token?: string;
}

const isMap = (value: unknown): value is Record<string, unknown> =>
  typeof value === 'object' && value !== null;

const parsed = (text: string): Record<string, unknown> => {
  try {
    const value: unknown = JSON.parse(text);
    return isMap(value) ? value : {};
  } catch {
    return {};
  }
};

/** One request, with the headers that are given and none that a library thinks of. */
export const ask = (
  to: { readonly port: number } | { readonly socketPath: string },
  path: string,
  { method = 'GET', headers = {}, body, token }: Asked = {},
): Promise<Answer> =>
  new Promise((resolve, reject) => {
    const text = body === undefined ? undefined : typeof body === 'string' ? body : JSON.stringify(body);
    const request = http.request({
      ...to,
      ...('port' in to ? { host: '127.0.0.1' } : {}),
      path,
      method,
      agent: false,
      headers: {
        ...(text === undefined ? {} : { 'content-type': 'application/json' }),
        ...(token === undefined ? {} : { authorization: `Bearer ${token}` }),
        ...headers,
      },
    });
    request.on('error', reject);
    request.on('response', (response) => {
      let out = '';
      response.setEncoding('utf8');
      const done = (): void =>
        resolve({
          status: response.statusCode ?? 0,
          headers: response.headers,
          body: out,
          json: parsed(out),
        });
      response.on('data', (chunk) => {
        out += chunk;
        // A stream has no end: its beginning is enough.
        if (!/event-stream/.test(response.headers['content-type'] ?? '')) return;
        done();
        request.destroy();
      });
      response.on('end', done);
      response.on('error', () => undefined);
    });
    request.end(text);
  });

export interface RunningAdmin {
  readonly admin: Admin;
  readonly house: House;
  readonly port: number;
  readonly at: string;
  ask(path: string, asked?: Asked): Promise<Answer>;
  stop(): Promise<void>;
}

export interface AdminSetting {
  readonly running: Running;
  /** The one that is in force in `running`. */
  readonly policy?: Policy;
  readonly place?: AdminOptions['place'];
  readonly tokens?: readonly Token[];
  readonly hosts?: readonly string[];
  readonly tls?: AdminOptions['tls'];
  readonly limits?: Partial<AdminLimits>;
  readonly house?: Partial<House>;
  readonly parts?: readonly AdminPart[];
}

/** The policy of the running Sekisho; candidates are compiled, and a reload changes nothing. */
const deskOf = (policy: Policy): PolicyDesk => {
  const inForce = { policy, observe: false, hash: 'a'.repeat(64), since: Date.now() };
  return {
    inForce: () => inForce,
    lastReload: () => undefined,
    candidate: (text) => loadPolicy('test.yaml', text, () => ({ ok: false, error: 'no files' })),
    reload: () => ok(undefined),
  };
};

export const startAdmin = async (setting: AdminSetting): Promise<RunningAdmin> => {
  const { running, policy = testPolicy(), place = { kind: 'tcp', host: '127.0.0.1', port: 0 } } = setting;
  const { proxy } = running;
  const state = setting.house?.state ?? new MemoryStore();
  const note = (event: Parameters<House['note']>[0]): void => void running.events.push(event);
  const house: House = {
    inspector: {
      listening: () => proxy.listening,
      sessionCount: () => proxy.sessions,
      sessions: (limit, fits) => proxy.snapshots(limit, fits),
      upstreams: () => proxy.upstreams,
      drainUpstream: (name, draining) => proxy.drainUpstream(name, draining),
    },
    state,
    windows: (told) =>
      new Windows(state, { length: 900_000, budget: 0, mostLogins: 3, shared: IpSet.of([]) }, told, Date.now),
    policy: deskOf(policy),
    explain: async (facts) => ({
      explanation: explain(policy, { windows: { known: true, value: [] }, ...facts }),
      unknown: [],
    }),
    decisions: new Decisions(),
    history: new History(),
    top: new TopCounters(),
    lastSelfTest: () => ({ at: Date.now(), policy: 'test.yaml', forms: 9, open: [], undecided: 0 }),
    scrape: async () => ({ contentType: 'text/plain; version=0.0.4; charset=utf-8', body: 'sekisho_up 1\n' }),
    log: { level: 'info' },
    note,
    now: Date.now,
    version: '0.0.0',
    started: Date.now(),
    ...setting.house,
  };
  const options: AdminOptions = {
    place,
    tokens: setting.tokens ?? [],
    tls: setting.tls,
    hosts: setting.hosts ?? [],
    limits: { ...DEFAULT_ADMIN_LIMITS, ...setting.limits },
  };
  const admin = await buildAdmin(options, house, setting.parts);
  const at = await listenAdmin(admin.app, options);
  const bound = admin.app.server.address();
  const port = typeof bound === 'object' && bound !== null ? bound.port : 0;
  const to = place.kind === 'socket' ? { socketPath: place.path } : { port };
  return {
    admin,
    house,
    port,
    at,
    ask: (path, asked) => ask(to, path, asked),
    stop: () => admin.app.close(),
  };
};

/** What a server answers to octets that are no request of any library. */
export const rawly = (port: number, octets: string, patience = 60_000): Promise<string> =>
  new Promise((resolve, reject) => {
    const socket = net.connect({ host: '127.0.0.1', port });
    let out = '';
    const timer = setTimeout(() => {
      socket.destroy();
      reject(new Error(`no end after ${patience} ms: ${out}`));
    }, patience);
    socket.on('data', (chunk) => (out += String(chunk)));
    socket.on('error', () => undefined);
    socket.on('close', () => {
      clearTimeout(timer);
      resolve(out);
    });
    socket.write(octets);
  });
