/** Who may do what on the admin endpoint, from where, and how much. */
import t, { type Test } from 'tap';
import { findToken, parseTokens } from '../../src/admin/tokens.js';
import {
  type AdminSetting,
  FULL,
  READ,
  type RunningAdmin,
  rawly,
  startAdmin,
  TOKENS,
} from '../support/admin.js';
import { startLegacyMta } from '../support/legacy-mta.js';
import { type Running, startSekisho } from '../support/sekisho.js';

const started = async (
  t: Test,
  setting: Omit<AdminSetting, 'running'> = {},
): Promise<{ admin: RunningAdmin; running: Running }> => {
  const mta = await startLegacyMta();
  t.teardown(() => mta.close());
  const running = await startSekisho({ upstreams: [{ port: mta.port }] });
  t.teardown(() => running.stop());
  const admin = await startAdmin({ running, ...setting });
  t.teardown(() => admin.stop());
  return { admin, running };
};

t.test('tokens: names, roles, hashes, and who may read the file', async (t) => {
  const hashed = `sha256:${'0'.repeat(64)}`;
  const parsed = parseTokens('f', `# a comment\n\nprom read ${hashed}\noncall full ${FULL}\n`, 0o600);
  t.ok(parsed.ok && parsed.value.length === 2);
  if (!parsed.ok) return;
  t.equal(findToken(parsed.value, FULL)?.name, 'oncall');
  t.equal(findToken(parsed.value, hashed), undefined, 'a hash is no token');
  t.equal(findToken(parsed.value, `${FULL}x`), undefined);
  const faulty = (text: string, mode = 0o600): string[] => {
    const faults = parseTokens('f', text, mode);
    return faults.ok ? [] : faults.error;
  };
  t.match(faulty('a read'), [/^f:1: must be NAME ROLE TOKEN/]);
  t.match(faulty(`a b ${FULL}`), [/f:1: the role must be read or full/]);
  t.match(faulty(`a/b read ${FULL}`), [/f:1: the name must/]);
  t.match(faulty(`a read ${'x'.repeat(19)}`), [/f:1: a token has 20 to 256/]);
  t.strictSame(faulty(`a read ${'x'.repeat(20)}`), [], 'the least');
  t.strictSame(faulty(`a read ${'x'.repeat(256)}`), [], 'the most');
  t.match(faulty(`a read ${'x'.repeat(257)}`), [/f:1: a token has/]);
  t.match(faulty('a read sha256:12'), [/64 hex digits/]);
  t.match(faulty(`a read ${FULL}\na full ${READ}`), [/f:2: there is a token called "a" already/]);
  t.match(faulty('# nothing'), [/no token in it/]);
  t.match(faulty(`a read ${FULL}`, 0o640), [/mode 0640 lets others read/]);
  t.strictSame(faulty(`a read ${hashed}`, 0o640), [], 'hashes may be read by others');
  t.match(faulty(`a read ${hashed}`, 0o660), [/mode 0660 lets others write/]);
  for (const fault of [...faulty(`a b ${FULL}`), ...faulty(`a read ${FULL}`, 0o644)])
    t.notMatch(fault, FULL, 'no fault bears a token');
});

t.test('without tokens: this host, and no foreign page', async (t) => {
  const { admin } = await started(t, { hosts: ['sekisho.example.org'] });
  const status = async (headers: Record<string, string>, path = '/api/v1/status'): Promise<number> =>
    (await admin.ask(path, { headers })).status;
  t.equal(await status({}), 200);
  for (const host of [
    'localhost',
    `localhost:${admin.port}`,
    '127.0.0.1:1',
    '[::1]:9587',
    'SEKISHO.example.org',
  ])
    t.equal(await status({ host }), 200, host);
  for (const host of [
    'evil.example',
    'localhost.evil.example',
    '127.0.0.1.evil.example',
    'a b',
    '[::1].evil.example',
  ])
    t.equal(await status({ host }), 403, `rebound: ${host}`);
  t.equal(await status({ host: 'evil.example' }, '/healthz'), 403);
  t.equal(await status({ 'sec-fetch-site': 'cross-site' }), 403);
  t.equal(
    await status({ 'sec-fetch-site': 'same-site' }),
    403,
    'another port of this host is another origin',
  );
  t.equal(await status({ 'sec-fetch-site': 'same-origin' }), 200);
  t.equal(await status({ origin: `http://127.0.0.1:${admin.port}` }), 200);
  for (const origin of [
    'http://evil.example',
    'null',
    'http://127.0.0.1:1',
    `https://127.0.0.1:${admin.port}`,
  ])
    t.equal(await status({ origin }), 403, origin);
  const { headers } = await admin.ask('/api/v1/status');
  t.equal(headers['access-control-allow-origin'], undefined);
  t.match(headers['content-security-policy'], /default-src 'none'/);
  t.match(headers, {
    'x-content-type-options': 'nosniff',
    'cache-control': 'no-store',
    'x-frame-options': 'DENY',
  });
});

t.test('what cannot be read, is too much or too slow is answered, and closed', async (t) => {
  const limits = { headersTimeout: 700, requestTimeout: 1_200, requests: 60, connections: 20 };
  const { admin } = await started(t, { limits });
  const problem = (text: string, status: number): void => {
    t.match(text, new RegExp(`^HTTP/1.1 ${status} `));
    t.match(text, /application\/problem\+json/i);
    t.match(text, new RegExp(`"status":${status}`));
  };
  problem(await rawly(admin.port, 'EHLO x\r\n\r\n'), 400);
  problem(
    await rawly(admin.port, `GET / HTTP/1.1\r\nHost: localhost\r\nX: ${'x'.repeat(20_000)}\r\n\r\n`),
    431,
  );
  problem(await rawly(admin.port, 'GET / HTTP/1.1\r\nHost: localhost\r\nX-Slow: '), 408);
  problem(
    await rawly(
      admin.port,
      'POST /healthz HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nContent-Length: 9\r\n\r\n{',
    ),
    408,
  );
  t.match(await admin.ask('/nothing'), { status: 404, json: { title: 'Not Found', status: 404 } });
  const wrong = await admin.ask('/healthz', { method: 'DELETE', headers: { 'x-sekisho': 'yes' } });
  t.match(wrong, { status: 405, headers: { allow: /GET/ }, json: { status: 405 } });
  let last = 0;
  for (let i = 0; i < 60 && last !== 429; i++) last = (await admin.ask('/healthz')).status;
  const late = await admin.ask('/nothing');
  t.match(late, { status: 429, json: { status: 429 } }, 'also what is not there');
  t.match(late.headers['retry-after'], /^\d+$/);
});

t.test('tokens', async (t) => {
  const { admin, running } = await started(t, { tokens: TOKENS });
  t.match(await admin.ask('/api/v1/status'), { status: 401, headers: { 'www-authenticate': /^Bearer/ } });
  t.equal((await admin.ask('/api/v1/status', { token: READ })).status, 200);
  t.equal((await admin.ask('/api/v1/status', { token: FULL, headers: { host: 'any.example' } })).status, 200);
  t.equal((await admin.ask('/api/v1/status', { token: `${FULL}x` })).status, 401);
  t.equal((await admin.ask('/healthz')).status, 200, 'for anybody');
  t.match(running.of('admin-refused'), [{ who: '', why: 'unknown token', address: '127.0.0.1' }]);
});
