/** Every route: who may call it, what it answers, and what comes about. */
import { readFileSync, statSync, writeFileSync } from 'node:fs';
import https from 'node:https';
import path from 'node:path';
import { Validator } from '@seriousme/openapi-schema-validator';
import t, { type Test } from 'tap';
import { Decisions } from '../../src/admin/decisions.js';
import { History } from '../../src/admin/history.js';
import { TopCounters } from '../../src/admin/top.js';
import type { SekishoEvent } from '../../src/base/events.js';
import { StoreError } from '../../src/windows/store.js';
import { MemoryStore } from '../../src/windows/stores/memory.js';
import {
  type AdminSetting,
  type Asked,
  FULL,
  READ,
  type RunningAdmin,
  startAdmin,
  TOKENS,
} from '../support/admin.js';
import { certify } from '../support/certificates.js';
import { startLegacyMta } from '../support/legacy-mta.js';
import { folder } from '../support/process.js';
import { eventually, policyOf, type Running, startSekisho } from '../support/sekisho.js';
import { SmtpClient } from '../support/smtp-client.js';

const POLICY = `version: 1
networks: { own: [127.0.0.1/32] }
domains: { ours: [local.example] }
rules:
  - { name: inbound, allow: { to: ours } }
  - { name: tried, shadow: true, deny: { client: own } }
  - { name: own, allow: { client: own }, limit: { recipients: 100/1h, per: client } }
tests:
  - { name: stranger, client: 203.0.113.9, from: a@b.example, to: c@d.example, expect: deny }
`;

const started = async (
  t: Test,
  setting: Omit<AdminSetting, 'running'> = {},
): Promise<{ admin: RunningAdmin; running: Running }> => {
  const mta = await startLegacyMta();
  t.teardown(() => mta.close());
  const policy = policyOf(POLICY);
  const state = new MemoryStore();
  const heard = [new Decisions(), new History(), new TopCounters()] as const;
  const [decisions, history, top] = heard;
  const listen = (event: SekishoEvent): void => {
    for (const each of heard) each.note(event);
  };
  const running = await startSekisho({ upstreams: [{ name: 'old', port: mta.port }], policy, state, listen });
  t.teardown(() => running.stop());
  const admin = await startAdmin({
    running,
    policy,
    ...setting,
    house: { state, decisions, history, top, ...setting.house },
  });
  t.teardown(() => admin.stop());
  return { admin, running };
};

/** One mail from 127.0.0.1 to these; gives the replies to RCPT. */
const mail = async (port: number, ...to: string[]): Promise<string[]> => {
  const client = await SmtpClient.connect(port);
  await client.reply();
  await client.say('EHLO client.example');
  await client.say('MAIL FROM:<a@b.example>');
  const replies: string[] = [];
  for (const each of to) replies.push(await client.say(`RCPT TO:<${each}>`));
  await client.say('QUIT');
  await client.end();
  return replies;
};

const QUESTION = { client: '203.0.113.9', from: 'a@b.example', to: 'c@d.example' };

interface Entry extends Asked {
  readonly access: 'public' | 'read' | 'full';
  /** Where the path has parameters, or needs a query. */
  readonly path?: string;
  readonly status: number;
}

/** One line for each route: a new one without a line fails. */
const TABLE: Readonly<Record<string, Entry>> = {
  'GET /healthz': { access: 'public', status: 200 },
  'GET /readyz': { access: 'public', status: 200 },
  'GET /metrics': { access: 'read', status: 200 },
  'GET /api/v1/': { access: 'public', status: 200 },
  'GET /api/v1/openapi.json': { access: 'public', status: 200 },
  'GET /api/v1/style.css': { access: 'public', status: 200 },
  'GET /api/v1/status': { access: 'read', status: 200 },
  'GET /api/v1/sessions': { access: 'read', status: 200 },
  'GET /api/v1/decisions': { access: 'read', status: 200 },
  'GET /api/v1/decisions/stream': { access: 'read', status: 200 },
  'GET /api/v1/history': { access: 'read', status: 200 },
  'GET /api/v1/limits': { access: 'read', status: 200 },
  'POST /api/v1/explain': { access: 'read', body: QUESTION, status: 200 },
  'GET /api/v1/self-test': { access: 'read', status: 200 },
  'GET /api/v1/policy': { access: 'read', status: 200 },
  'POST /api/v1/policy/test': { access: 'read', body: { policy: POLICY }, status: 200 },
  'POST /api/v1/policy/reload': { access: 'full', status: 200 },
  'GET /api/v1/windows': { access: 'read', status: 200 },
  'POST /api/v1/windows': { access: 'full', body: { login: 'hoge', address: '192.0.2.1' }, status: 200 },
  'POST /api/v1/windows/renew': {
    access: 'full',
    body: { login: 'hoge', address: '192.0.2.1' },
    status: 200,
  },
  'DELETE /api/v1/windows': { access: 'full', path: '/api/v1/windows?login=hoge', status: 200 },
  'GET /api/v1/logins/suspended': { access: 'read', status: 200 },
  'POST /api/v1/logins/suspended': { access: 'full', body: { login: 'hoge', seconds: 60 }, status: 201 },
  'DELETE /api/v1/logins/suspended/:login': {
    ...{ access: 'full', path: '/api/v1/logins/suspended/hoge', status: 200 },
  },
  'GET /api/v1/upstreams': { access: 'read', status: 200 },
  'POST /api/v1/upstreams/:name/drain': { access: 'full', path: '/api/v1/upstreams/old/drain', status: 200 },
  'POST /api/v1/upstreams/:name/resume': {
    access: 'full',
    path: '/api/v1/upstreams/old/resume',
    status: 200,
  },
  'GET /api/v1/log-level': { access: 'read', status: 200 },
  'PUT /api/v1/log-level': { access: 'full', body: { level: 'debug' }, status: 200 },
};

const WRONG = 'wrong-token-0123456789abcdef';

t.test('without, with a wrong, a read-only, a full token: each route gives what it must', async (t) => {
  const { admin, running } = await started(t, { tokens: TOKENS });
  const routes = admin.admin.routes.filter(({ method }) => method !== 'HEAD');
  t.strictSame(
    routes.map(({ method, url }) => `${method} ${url}`).sort(),
    Object.keys(TABLE).sort(),
    'the table has every route, and no other',
  );
  for (const { method, url, access } of routes) {
    const name = `${method} ${url}`;
    const entry = TABLE[name];
    if (entry === undefined) continue;
    t.equal(access, entry.access, `${name}: ${entry.access}`);
    const { path = url, body, status } = entry;
    const given = async (token?: string): Promise<number> =>
      (
        await admin.ask(path, {
          method,
          body,
          ...(token === undefined ? {} : { token }),
          headers: { 'x-sekisho': 'test' },
        })
      ).status;
    const open = access === 'public';
    t.equal(await given(), open ? status : 401, `${name}: no token`);
    t.equal(await given(WRONG), open ? status : 401, `${name}: wrong token`);
    t.equal(await given(READ), access === 'full' ? 403 : status, `${name}: read-only`);
    t.equal(await given(FULL), status, `${name}: full`);
  }
  const changes = running.of('admin-change');
  t.strictSame(
    [...new Set(changes.map(({ who }) => who))],
    ['oncall'],
    'what is told of is what was done, and by whom',
  );
  t.equal(changes.length, Object.values(TABLE).filter(({ access }) => access === 'full').length);
  const refused = running.of('admin-refused');
  t.ok(refused.some(({ who, why }) => who === 'grafana' && /only read/.test(why)));
  t.ok(refused.some(({ who }) => who === ''));
  for (const event of [...changes, ...refused])
    for (const token of [READ, FULL, WRONG]) t.notMatch(JSON.stringify(event), token, 'no token is told of');
});

t.test('changes need more than a foreign page may send', async (t) => {
  const { admin } = await started(t);
  for (const [name, { access, path, body, status }] of Object.entries(TABLE)) {
    if (access !== 'full') continue;
    const [method = '', url = ''] = name.split(' ');
    const simple = { 'content-type': 'text/plain' };
    const asForm = await admin.ask(path ?? url, { method, body: body ?? '', headers: simple });
    t.equal(asForm.status, 403, `${name}: as a form would`);
    const foreign = { 'x-sekisho': 'yes', origin: 'http://evil.example' };
    t.equal(
      (await admin.ask(path ?? url, { method, body, headers: foreign })).status,
      403,
      `${name}: foreign`,
    );
    const own = { 'x-sekisho': 'yes', origin: `http://127.0.0.1:${admin.port}` };
    t.equal(
      (await admin.ask(path ?? url, { method, body, headers: own })).status,
      status,
      `${name}: own page`,
    );
  }
});

t.test('malformed and oversized requests', async (t) => {
  const { admin } = await started(t);
  const post = (path: string, body: unknown, headers = {}) =>
    admin.ask(`/api/v1/${path}`, { method: 'POST', body, headers });
  const problem = { headers: { 'content-type': /^application\/problem\+json/ } };
  t.match(await post('windows', '{'), { status: 400, ...problem });
  t.match(await post('windows', ''), { status: 400, ...problem }, 'no body');
  t.match(await post('windows', { login: 'a' }), {
    status: 400,
    json: { errors: [{ in: 'body', message: /address/ }] },
  });
  t.match(await post('windows', { login: 1, address: '192.0.2.1' }), {
    status: 400,
    json: { errors: [{ at: '/login' }] },
  });
  t.match(await post('windows', { login: 'a', address: 'x.example' }), {
    status: 400,
    json: { detail: /not an IP/ },
  });
  t.match(await post('windows', { login: 'a\r\nb', address: '192.0.2.1' }), { status: 400, ...problem });
  t.match(await post('windows', { login: 'a', address: '192.0.2.1', more: 1 }), {
    status: 400,
    json: { errors: [{ message: /more/ }] },
  });
  t.match(await post('windows', { login: 'a', address: '100.64.0.1' }), {
    status: 409,
    json: { detail: /carrier/ },
  });
  t.match(await post('windows', '{"__proto__":{"login":"a"}}'), { status: 400, ...problem });
  t.match(await post('windows', 'x', { 'content-type': 'application/xml', 'x-sekisho': 'y' }), {
    status: 415,
    ...problem,
  });
  t.match(await post('explain', { ...QUESTION, tls: '9' }), {
    status: 400,
    json: { errors: [{ at: '/tls' }] },
  });
  t.match(await post('explain', { ...QUESTION, client: 'nobody' }), {
    status: 400,
    json: { errors: [{ at: '/client' }] },
  });
  t.match(await post('explain', { ...QUESTION, from: 'x'.repeat(1_025) }), { status: 400 });
  t.equal(
    (await post('policy/test', { policy: `#${'x'.repeat(262_000)}` })).status,
    200,
    'as large as may be',
  );
  t.match(await post('policy/test', { policy: 'x'.repeat(263_000) }), { status: 413, ...problem });
  t.match(await post('explain', { ...QUESTION, helo: 'x'.repeat(1_100_000) }), { status: 413, ...problem });
  for (const query of ['limit=0', 'limit=10001', 'limit=x', 'limt=1', 'verdict=maybe', 'client=x'])
    t.match(await admin.ask(`/api/v1/decisions?${query}`), { status: 400, ...problem }, query);
  t.equal((await admin.ask('/api/v1/decisions?limit=10000')).status, 200);
  t.match(await admin.ask('/api/v1/windows', { method: 'DELETE', headers: { 'x-sekisho': 'y' } }), {
    status: 400,
  });
  t.match(await post('upstreams/none/drain', undefined, { 'x-sekisho': 'y' }), { status: 404, ...problem });
  const lift = await admin.ask('/api/v1/logins/suspended/nobody', {
    method: 'DELETE',
    headers: { 'x-sekisho': 'y' },
  });
  t.match(lift, { status: 404, json: { detail: /not suspended/ } });
});

t.test('live sessions, decisions, counts, and an upstream that is drained', async (t) => {
  const { admin, running } = await started(t);
  const client = await SmtpClient.connect(running.port);
  await client.reply();
  await client.say('EHLO client.example');
  await client.say('MAIL FROM:<a@b.example>');
  await client.say('RCPT TO:<y@elsewhere.example>');
  const sessions = await admin.ask('/api/v1/sessions');
  t.match(sessions.json, {
    total: 1,
    sessions: [
      {
        ...{
          address: '127.0.0.1',
          listener: 'mx',
          helo: 'client.example',
          step: 'command',
          protocol: 'ESMTP',
        },
        ...{
          from: 'a@b.example',
          recipients: 1,
          upstream: 'old',
          verdict: 'allow',
          rule: 'own',
          errors: 0,
        },
      },
    ],
  });
  t.match((await admin.ask('/api/v1/sessions?address=192.0.2.1')).json, { total: 1, sessions: [] });
  t.match((await admin.ask('/api/v1/upstreams')).json, {
    upstreams: [{ name: 'old', state: 'up', busy: 1 }],
  });

  const drained = await admin.ask('/api/v1/upstreams/old/drain', {
    method: 'POST',
    headers: { 'x-sekisho': 'y' },
  });
  t.match(drained.json, { state: 'draining' });
  t.match((await admin.ask('/readyz')).json, {
    ready: false,
    checks: { upstream: { ok: false, detail: /drained/ } },
  });
  t.match(await mail(running.port, 'y@elsewhere.example'), [/^451 /], 'a new transaction finds no upstream');
  t.match(await client.say('DATA'), /^354/, 'the one in hand goes on');
  t.match(await client.say('Subject: x\r\n\r\nx\r\n.'), /^250/);
  await eventually('its connection is closed', async () => {
    const { json } = await admin.ask('/api/v1/upstreams');
    return /"busy":0,"idle":0/.test(JSON.stringify(json));
  });
  await admin.ask('/api/v1/upstreams/old/resume', { method: 'POST', headers: { 'x-sekisho': 'y' } });
  t.match(await mail(running.port, 'y@elsewhere.example', 'z@elsewhere.example'), [/^250/, /^250/]);
  await client.say('QUIT');
  await client.end();

  const decisions = await admin.ask('/api/v1/decisions?limit=2');
  t.match(decisions.json, {
    decisions: [
      {
        to: 'z@elsewhere.example',
        verdict: 'allow',
        rule: 'own',
        reply: { code: 250 },
        shadows: [{ rule: 'tried' }],
      },
      { to: 'y@elsewhere.example' },
    ],
  });
  t.match((await admin.ask('/api/v1/decisions?verdict=deny')).json, { decisions: [] });
  t.match((await admin.ask('/api/v1/limits')).json, {
    rules: [{ rule: 'own', per: 'client', counts: [{ what: 'recipients', most: 100, seconds: 3_600 }] }],
    addresses: [{ address: '127.0.0.1', accepted: 3, deferred: 1 }],
    logins: [],
  });
  const { json } = await admin.ask('/api/v1/history?minutes=2');
  t.match(json, { stepSeconds: 60, series: { accepted: [Number, Number], messages: [Number, Number] } });
  t.match((await admin.ask('/api/v1/status')).json, {
    you: { name: 'local', role: 'full' },
    upstreams: { up: 1 },
  });
});

t.test('explain, and a candidate policy against the last decisions', async (t) => {
  const { admin, running } = await started(t);
  await mail(running.port, 'y@elsewhere.example', 'x@local.example');
  const explained = await admin.ask('/api/v1/explain', {
    method: 'POST',
    body: { ...QUESTION, client: '127.0.0.1' },
  });
  t.match(explained.json, {
    verdict: { kind: 'allow', rule: 'own', shadows: [{ rule: 'tried', would: 'deny' }] },
    rules: [
      { rule: 'inbound', truth: 'no' },
      { rule: 'tried', shadow: true },
      { rule: 'own', truth: 'yes' },
    ],
    text: /=> allow/,
  });
  const hazard = await admin.ask('/api/v1/explain', { method: 'POST', body: { ...QUESTION, to: '' } });
  t.equal(hazard.status, 400, 'no recipient');
  const routed = await admin.ask('/api/v1/explain', {
    method: 'POST',
    body: { ...QUESTION, to: 'not an address' },
  });
  t.match(routed.json, { verdict: { kind: 'deny' }, refusedBefore: [/not an address/] });

  const candidate = POLICY.replace('allow: { client: own }', 'deny: { client: own }').replace(
    /, limit: .*per: client }/,
    '',
  );
  const tried = await admin.ask('/api/v1/policy/test', { method: 'POST', body: { policy: candidate } });
  t.match(tried.json, {
    ok: true,
    errors: [],
    tests: [{ name: 'stranger', ok: true }],
    differences: {
      ...{ total: 2, same: 1, changed: 1 },
      changes: [
        {
          ...{ before: { verdict: 'allow', rule: 'own' }, after: { verdict: 'deny', rule: 'own' }, count: 1 },
          examples: [{ to: 'y@elsewhere.example' }],
        },
      ],
    },
  });
  const yaml = { 'content-type': 'application/yaml' };
  const faulty = await admin.ask('/api/v1/policy/test', {
    ...{ method: 'POST', headers: yaml },
    body: 'version: 1\nrules:\n  - { name: a, alow: {} }\n',
  });
  t.match(faulty.json, {
    ok: false,
    errors: [{ file: 'candidate', line: 3, column: Number, message: /unknown key/ }],
  });
  t.match((await admin.ask('/api/v1/policy')).json, {
    ...{ observe: false, hash: /^a{64}$/ },
    rules: [{ name: 'inbound' }, { name: 'tried', shadow: true }, { name: 'own', limit: { per: 'client' } }],
    tests: [{ name: 'stranger', ok: true, expected: { kind: 'deny' }, got: { kind: 'deny' } }],
  });
});

t.test('windows, suspensions, and a store that is gone', async (t) => {
  const state = new MemoryStore();
  const { admin, running } = await started(t, { house: { state } });
  const change = (method: string, path: string, body?: unknown) =>
    admin.ask(`/api/v1/${path}`, { method, body, headers: { 'x-sekisho': 'y' } });
  const hoge = { login: 'hoge@local.example', address: '192.0.2.7' };
  t.match(await change('POST', 'windows', hoge), {
    json: { result: 'opened', window: { ...hoge, source: 'api' } },
  });
  t.match(await change('POST', 'windows/renew', hoge), { json: { result: 'renewed' } });
  t.match(await change('POST', 'windows/renew', { ...hoge, login: 'x' }), { status: 404 });
  t.match((await admin.ask('/api/v1/windows?address=192.0.2.7')).json, { windows: [hoge] });
  t.match((await admin.ask('/api/v1/windows?login=x')).json, { windows: [] });
  t.match(await change('POST', 'logins/suspended', { login: hoge.login, why: 'sends spam' }), {
    status: 201,
    json: { until: null, why: 'sends spam' },
  });
  t.match((await admin.ask('/api/v1/windows')).json, { windows: [] }, 'its windows are closed');
  t.match(await change('POST', 'windows', hoge), { status: 409, json: { detail: /suspended/ } });
  t.match((await admin.ask('/api/v1/logins/suspended')).json, {
    suspended: [{ login: hoge.login, until: null }],
  });
  t.equal((await change('DELETE', `logins/suspended/${encodeURIComponent(hoge.login)}`)).status, 200);
  t.match(running.of('admin-change').at(-1), {
    action: 'login-lift',
    target: hoge.login,
    who: 'local',
    status: 200,
  });
  await change('POST', 'windows', hoge);
  t.match(await change('DELETE', `windows?${new URLSearchParams(hoge)}`), { json: { closed: 1 } });
  t.match(running.of('window-closed').at(-1), { why: 'by local' });

  const gone = async (): Promise<never> => {
    throw new StoreError('list', 'gone');
  };
  Object.assign(state, { list: gone, marks: gone, ping: gone, size: gone, open: gone, mark: gone });
  t.match(await admin.ask('/api/v1/windows'), { status: 503, json: { detail: /state store/ } });
  t.match(await change('POST', 'windows', hoge), { status: 503 });
  t.match(await change('POST', 'logins/suspended', { login: 'x' }), { status: 503 });
  t.match((await admin.ask('/api/v1/status')).json, { store: { ok: false } });
  await eventually('it is not ready', async () => (await admin.ask('/readyz')).status === 503);
  t.match((await admin.ask('/readyz')).json, { checks: { store: { ok: false }, upstream: { ok: true } } });
});

t.test('the OpenAPI document is one, and says everything', async (t) => {
  const { admin } = await started(t);
  const { body } = await admin.ask('/api/v1/openapi.json');
  const validator = new Validator();
  const { valid, errors } = await validator.validate(JSON.parse(body));
  t.ok(valid, JSON.stringify(errors));
  t.equal(validator.version, '3.1');
  const page = await admin.ask('/api/v1/');
  t.match(page.headers['content-type'], /^text\/html/);
  t.notMatch(page.body, /<script|https?:\/\//, 'nothing from elsewhere, no script');
  for (const { method, url } of admin.admin.routes.filter((each) => each.method !== 'HEAD')) {
    if (url.endsWith('.css')) continue;
    const path = url.replace(/:(\w+)/g, '{$1}');
    t.ok(page.body.includes(path), `${path} is on the page`);
    const operation = JSON.parse(body).paths[path]?.[method.toLowerCase()];
    t.ok(operation?.summary, `${method} ${path} has a summary`);
    t.ok(
      operation?.responses?.default?.content?.['application/problem+json'],
      `${method} ${path}: its errors`,
    );
  }
});

t.test('a UNIX socket, and TLS', async (t) => {
  const dir = folder(t);
  const place = { kind: 'socket', path: path.join(dir, 'admin.sock'), mode: 0o660 } as const;
  const { admin } = await started(t, { place });
  t.equal(
    (await admin.ask('/api/v1/status', { headers: { host: 'anything' } })).status,
    200,
    'no browser gets there',
  );
  t.equal(statSync(place.path).mode & 0o777, 0o660);
  t.match(admin.at, /^unix:/);
  const second = { ...place };
  await t.rejects(started(t, { place: second }), /another program already listens/);
  await admin.stop();
  writeFileSync(place.path, '');
  await t.rejects(started(t, { place: second }), /is no socket/);

  const { cert, key } = certify(dir, 'localhost');
  const tls = { cert: readFileSync(cert, 'utf8'), key: readFileSync(key, 'utf8') };
  const secured = await started(t, { tls });
  t.match(secured.admin.at, /^https:/);
  const status = await new Promise((resolve, reject) => {
    const request = https.get(
      {
        host: '127.0.0.1',
        port: secured.admin.port,
        path: '/healthz',
        ca: tls.cert,
        servername: 'localhost',
        agent: false,
      },
      (response) => resolve(response.resume().statusCode),
    );
    request.on('error', reject);
  });
  t.equal(status, 200);
});
