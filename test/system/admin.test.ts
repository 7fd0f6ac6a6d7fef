/** The admin endpoint of the real `sekisho serve`, asked by curl: from the configuration file to the last answer. */
import { spawnSync } from 'node:child_process';
import { chmodSync, existsSync, writeFileSync } from 'node:fs';
import path from 'node:path';
import t from 'tap';
import { ask, FULL, READ } from '../support/admin.js';
import { startLegacyMta } from '../support/legacy-mta.js';
import { folder, runSekisho, SekishoProcess } from '../support/process.js';
import { eventually } from '../support/sekisho.js';

const POLICY = 'version: 1\nrules:\n  - { name: inbound, allow: { to: local.example } }\n';
const NEXT = 'next-token-0123456789abcdef';

const config = (mta: number, admin: string): string =>
  `listen: [{ host: 127.0.0.1, port: 0 }]\nupstream: { host: 127.0.0.1, port: ${mta} }\npolicy: p.yaml\nadmin: ${admin}\n`;

t.test('faults are told before anything starts', async (t) => {
  const dir = folder(t, { 'p.yaml': POLICY, loose: `a read ${READ}\n`, wrong: `a all ${READ}\n` });
  chmodSync(path.join(dir, 'loose'), 0o644);
  chmodSync(path.join(dir, 'wrong'), 0o600);
  const file = path.join(dir, 's.yaml');
  const fault = async (admin: string): Promise<string> => {
    writeFileSync(file, config(1, admin));
    const { code, err } = await runSekisho(['check', '--config', file]);
    t.equal(code, 2, admin);
    t.notMatch(err, READ, 'no token is told');
    return err;
  };
  t.match(
    await fault('{ listen: "0.0.0.0:9587" }'),
    /admin\.listen: 0\.0\.0\.0:9587 can be reached .* needs tokens/,
  );
  t.match(await fault('{ listen: "[2001:db8::1]:9587" }'), /needs tokens/);
  t.match(await fault('{ listen: localhost:x }'), /s\.yaml:4:\d+: admin\.listen: must be ADDRESS:PORT/);
  t.match(await fault('{ tokens: nothing }'), /admin\.tokens: .*nothing: cannot read it: no such file/);
  t.match(await fault('{ tokens: loose }'), /mode 0644 lets others read the tokens: chmod 600/);
  t.match(await fault('{ tokens: wrong }'), /wrong:1: the role must be read or full/);
  t.match(await fault('{ socket_mode: "0660" }'), /socket_mode: is for a UNIX socket alone/);
});

t.test('served, asked, changed and reloaded', async (t) => {
  const mta = await startLegacyMta();
  t.teardown(() => mta.close());
  const dir = folder(t, { 'p.yaml': POLICY, tokens: `grafana read ${READ}\noncall full ${FULL}\n` });
  const [file, tokens] = [path.join(dir, 's.yaml'), path.join(dir, 'tokens')];
  chmodSync(tokens, 0o600);
  writeFileSync(file, config(mta.port, '{ listen: "127.0.0.1:0", tokens: tokens }'));
  const sekisho = await SekishoProcess.serve(['--config', file]);
  t.teardown(() => sekisho.kill());
  const port = Number(/^sekisho: admin on http:\/\/127\.0\.0\.1:(\d+)\//m.exec(sekisho.out)?.[1]);
  const to = { port };
  t.match(await ask(to, '/readyz'), { status: 200, json: { ready: true } });
  t.match((await ask(to, '/metrics', { token: READ })).body, /^sekisho_build_info\{/m);
  const openmetrics = { accept: 'application/openmetrics-text; version=1.0.0' };
  t.match((await ask(to, '/metrics', { token: READ, headers: openmetrics })).body, /# EOF\n$/);
  t.match((await ask(to, '/api/v1/self-test', { token: READ })).json, { forms: Number, open: [] });
  t.match((await ask(to, '/api/v1/policy', { token: READ })).json, { text: POLICY, hash: /^[0-9a-f]{64}$/ });

  const level = { method: 'PUT', body: { level: 'debug' } };
  t.equal((await ask(to, '/api/v1/log-level', { ...level, token: READ })).status, 403);
  t.equal((await ask(to, '/api/v1/log-level', { ...level, token: FULL })).status, 200);
  await sekisho.until('the change is told', () =>
    /"event":"admin-change","who":"oncall".*"log-level"/.test(sekisho.out),
  );
  t.match(sekisho.out, /"event":"admin-refused","address":"127.0.0.1","who":"grafana"/);

  // A list of the host is no candidate's to read: its faults would quote it.
  const spy = `version: 1\ndomains: { x: [{ file: ${tokens} }] }\nrules: [{ name: a, allow: { to: x } }]\n`;
  const spied = await ask(to, '/api/v1/policy/test', { method: 'POST', token: READ, body: { policy: spy } });
  t.match(spied.json, { ok: false, errors: [{ message: /may name only files/ }] });
  t.notMatch(spied.body, FULL);

  writeFileSync(path.join(dir, 'p.yaml'), 'version: 1\nrules: [{ name: a, alow: {} }]\n');
  const faulty = await ask(to, '/api/v1/policy/reload', { method: 'POST', token: FULL });
  t.match(faulty, { status: 422, json: { errors: [{ message: /p\.yaml:2:.*alow/ }] } });
  writeFileSync(path.join(dir, 'p.yaml'), POLICY.replace('inbound', 'other'));
  t.match(await ask(to, '/api/v1/policy/reload', { method: 'POST', token: FULL }), {
    status: 200,
    json: { rules: 1 },
  });
  t.match((await ask(to, '/api/v1/policy', { token: READ })).json, {
    rules: [{ name: 'other' }],
    lastReload: { ok: true },
  });

  writeFileSync(tokens, `next full ${NEXT}\n`, { mode: 0o600 });
  sekisho.child.kill('SIGHUP');
  await eventually(
    'the new token counts',
    async () => (await ask(to, '/api/v1/status', { token: NEXT })).status === 200,
  );
  t.equal((await ask(to, '/api/v1/status', { token: FULL })).status, 401, 'the old one no longer');

  const curl = spawnSync('curl', [
    ...['-s', '-H', `Authorization: Bearer ${NEXT}`, '-H', 'content-type: application/json'],
    ...['-d', '{"client":"203.0.113.9","from":"x@spam.example","to":"y@victim.example"}'],
    `http://127.0.0.1:${port}/api/v1/explain`,
  ]);
  if (curl.error !== undefined) t.comment('skipped: there is no curl');
  else
    t.match(JSON.parse(String(curl.stdout)), {
      verdict: { kind: 'deny', reason: 'no-rule' },
      text: /=> deny/,
    });
  for (const token of [READ, FULL, NEXT]) t.notMatch(sekisho.out + sekisho.err, token, 'no token in the log');
  sekisho.child.kill('SIGTERM');
  t.equal(await sekisho.ended(), 0);
});

t.test('a UNIX socket, which is gone with the process', async (t) => {
  const dir = folder(t, { 'p.yaml': POLICY });
  const [file, socketPath] = [path.join(dir, 's.yaml'), path.join(dir, 'admin.sock')];
  writeFileSync(file, config(1, `{ listen: "unix:${socketPath}" }`));
  const sekisho = await SekishoProcess.serve(['--config', file]);
  t.teardown(() => sekisho.kill());
  t.match(await ask({ socketPath }, '/readyz'), {
    status: 503,
    json: { checks: { upstream: { ok: false } } },
  });
  await sekisho.kill('SIGTERM');
  t.notOk(existsSync(socketPath));
});
