import t from 'tap';
import { formatFor, OPEN_METRICS, TEXT } from '../../src/admin/exposition.js';
import { SlowFigure } from '../../src/admin/gauges.js';
import { MOST_SERIES } from '../../src/admin/instruments.js';
import { createMetrics, type Figures, type Metrics } from '../../src/admin/metrics.js';
import type { Peer, SekishoEvent } from '../../src/base/events.js';

const PEER: Peer = {
  session: 's1',
  listener: 'mx',
  address: '203.0.113.9',
  port: 4711,
  name: undefined,
  helo: 'stranger.example',
  protocol: 'ESMTP',
};

const FIGURES: Figures = {
  upstreams: () => new Map([['old', { connecting: 1, busy: 2, idle: 3, waiting: 4, most: 100, up: true }]]),
  expiry: () => 1_800_000_000_000,
  windowsOpen: async () => 7,
  loginsSuspended: async () => 2,
};

const make = (): Metrics =>
  createMetrics({ version: '1.2.3', listeners: ['mx'], upstreams: ['old'], connections: 500 });

const EVENTS: readonly SekishoEvent[] = [
  { type: 'connect', peer: PEER },
  { type: 'command', peer: PEER, verb: 'EHLO', code: 250, seconds: 0.001 },
  { type: 'command', peer: PEER, verb: 'RCPT', code: 299, seconds: 700 },
  {
    ...{ type: 'decision', peer: PEER, from: 'a@b', to: 'c@d', verdict: 'deny', rule: undefined },
    ...{ reason: 'no-rule', enforced: false, named: true },
  },
  { type: 'shadow', peer: PEER, rule: 'try', from: 'a@b', to: 'c@d', would: 'allow', verdict: 'deny' },
  { type: 'shadow', peer: PEER, rule: 'try', from: 'a@b', to: 'c@d', would: 'deny', verdict: 'deny' },
  { type: 'recipient', peer: PEER, from: '', to: '', result: 'rejected', code: 550, reply: '550 no' },
  {
    ...{ type: 'message', peer: PEER, result: 'accepted', from: '', to: [], rules: [], bytes: 1234 },
    ...{ upstream: 'old', reply: '250 ok', seconds: 1 },
  },
  { type: 'auth', peer: PEER, protocol: 'smtp', mechanism: 'PLAIN', result: 'wrong', login: 'x', why: '' },
  { type: 'window-opened', login: 'x', address: 'y', source: 'pop3', until: 1, renewed: false },
  { type: 'window-opened', login: 'x', address: 'y', source: 'pop3', until: 1, renewed: true },
  { type: 'limit-exceeded', peer: PEER, limit: 'roaming' },
  { type: 'shield-hit', peer: PEER, patch: 'mime-depth', enforced: true, why: 'so' },
  { type: 'framing-fault', peer: PEER, kind: 'bare-lf' },
  { type: 'tls-handshake', listener: 'mx', address: 'y', result: 'ok', version: 'TLSv1.3' },
  { type: 'tls-handshake', listener: 'mx', address: 'y', result: 'failed', reason: 'so' },
  { type: 'upstream-connect', upstream: 'old', seconds: 0.02 },
  { type: 'upstream-reuse', upstream: 'old' },
  { type: 'upstream-fault', upstream: 'old', reason: 'so', during: 'rcpt' },
  { type: 'dnsbl-lookup', list: 'zen', result: 'listed', address: '203.0.113.9', seconds: 0.01 },
  { type: 'banned', address: '203.0.113.9', until: 1, why: 'so' },
  { type: 'greylist', peer: PEER, from: '', to: '', result: 'passed' },
  { type: 'tarpit', peer: PEER, result: 'held', seconds: 1 },
  { type: 'store-error', operation: 'lookup', why: 'down' },
  { type: 'connection-refused', listener: 'mx', address: 'y', reason: 'total' },
  { type: 'internal-error', text: 'so' },
  { type: 'reload', ok: false, policy: 'p' },
  {
    type: 'self-test',
    policy: 'p',
    forms: 9,
    undecided: 0,
    open: [{ form: 'f', mail: 'm', rcpt: 'r', rule: 'x', how: 'h' }],
  },
];

const WANTED = [
  'sekisho_build_info{version="1.2.3",node="',
  'sekisho_connections_total{listener="mx"} 1\n',
  'sekisho_connections_active{listener="mx"} 1\n',
  'sekisho_connections_max 500\n',
  'sekisho_connections_refused_total{reason="total"} 1\n',
  'sekisho_connections_refused_total{reason="per-address"} 0\n',
  'sekisho_commands_total{verb="EHLO",code="250"} 1\n',
  'sekisho_commands_total{verb="RCPT",code="2xx"} 1\n',
  'sekisho_command_duration_seconds_bucket{verb="EHLO",le="0.001"} 1\n',
  'sekisho_command_duration_seconds_bucket{verb="RCPT",le="600"} 0\n',
  'sekisho_command_duration_seconds_bucket{verb="RCPT",le="+Inf"} 1\n',
  'sekisho_command_duration_seconds_sum{verb="RCPT"} 700\n',
  'sekisho_relay_decisions_total{verdict="deny",rule="",reason="no-rule"} 1\n',
  'sekisho_relay_decisions_total{verdict="allow",rule="in",reason="rule"} 0\n',
  'sekisho_relay_unenforced_total{verdict="deny"} 1\n',
  'sekisho_shadow_disagreements_total{rule="try"} 1\n',
  'sekisho_recipients_total{result="rejected"} 1\n',
  'sekisho_messages_total{result="accepted"} 1\n',
  'sekisho_messages_total{result="unknown"} 0\n',
  'sekisho_message_bytes_total 1234\n',
  'sekisho_auth_attempts_total{mechanism="PLAIN",result="wrong"} 1\n',
  'sekisho_windows_opened_total{source="pop3"} 1\n',
  'sekisho_windows_open 7\n',
  'sekisho_logins_suspended 2\n',
  'sekisho_limit_exceeded_total{limit="roaming"} 1\n',
  'sekisho_shield_hits_total{patch="mime-depth"} 1\n',
  'sekisho_framing_faults_total{kind="bare-lf"} 1\n',
  'sekisho_tls_handshakes_total{version="TLSv1.3",result="ok"} 1\n',
  'sekisho_tls_handshakes_total{version="none",result="failed"} 1\n',
  'sekisho_tls_certificate_expiry_timestamp_seconds 1800000000\n',
  'sekisho_upstream_up{upstream="old"} 1\n',
  'sekisho_upstream_connections{upstream="old",state="busy"} 2\n',
  'sekisho_upstream_connections_max{upstream="old"} 100\n',
  'sekisho_upstream_waiting{upstream="old"} 4\n',
  'sekisho_upstream_connect_duration_seconds_count 1\n',
  'sekisho_upstream_reuse_total 1\n',
  'sekisho_upstream_faults_total{upstream="old"} 1\n',
  'sekisho_dnsbl_lookups_total{list="zen",result="listed"} 1\n',
  'sekisho_bans_total 1\n',
  'sekisho_greylist_total{result="passed"} 1\n',
  'sekisho_tarpit_total{result="held"} 1\n',
  'sekisho_store_errors_total{operation="lookup"} 1\n',
  'sekisho_internal_errors_total 1\n',
  'sekisho_policy_enforced 0\n',
  'sekisho_policy_last_reload_successful 0\n',
  'sekisho_relay_selftest_open_forms 1\n',
  'process_open_fds ',
];

t.test('every event is counted where it belongs', async (t) => {
  const metrics = make();
  metrics.policy({
    rules: [
      { name: 'in', verb: 'allow', shadow: false },
      { name: 'try', verb: 'allow', shadow: true },
    ],
    observe: true,
  });
  metrics.attach(FIGURES);
  for (const event of EVENTS) metrics.note(event);
  const { contentType, body } = await metrics.scrape('*/*');
  t.equal(contentType, TEXT);
  for (const line of WANTED) t.ok(body.includes(line), line.trim());
  t.notMatch(body, /203\.0\.113\.9|stranger\.example/, 'nothing from the wire is a label');
  metrics.note({ type: 'disconnect', peer: PEER, reason: 'quit', seconds: 2, commands: 3 });
  metrics.note({ type: 'reload', ok: true, policy: 'p' });
  const after = (await metrics.scrape(undefined)).body;
  t.match(after, /sekisho_connections_active\{listener="mx"\} 0\n/);
  t.match(after, /sekisho_sessions_closed_total\{reason="quit"\} 1\n/);
  t.match(after, /sekisho_session_duration_seconds_bucket\{le="2.5"\} 1\n/);
  t.match(after, /sekisho_policy_last_reload_successful 1\n/);
});

t.test('what is not known is not there', async (t) => {
  const { body } = await make().scrape(undefined);
  t.notMatch(
    body,
    /^sekisho_(windows_open|logins_suspended|upstream_up|relay_selftest_open_forms|tls_certificate_expiry_timestamp_seconds)\b[^_]/m,
  );
  t.match(body, /# TYPE sekisho_windows_open gauge\n/, 'it is announced all the same');
});

t.test('OpenMetrics for who asks for it, and both one after the other', async (t) => {
  const metrics = make();
  const asked =
    'application/openmetrics-text;version=1.0.0,application/openmetrics-text;version=0.0.1;q=0.75,text/plain;version=0.0.4;q=0.5,*/*;q=0.1';
  const open = await metrics.scrape(asked);
  t.equal(open.contentType, OPEN_METRICS);
  t.match(open.body, /# TYPE sekisho_connections counter\nsekisho_connections_total\{listener="mx"\} 0\n/);
  t.match(open.body, /_bucket\{le="1\.0"\} 0\n/);
  t.ok(open.body.endsWith('\n# EOF\n'));
  const plain = await metrics.scrape('text/plain');
  t.match(
    plain.body,
    /# TYPE sekisho_connections_total counter\nsekisho_connections_total\{listener="mx"\} 0\n/,
  );
  for (const [accept, format] of [
    [undefined, TEXT],
    ['', TEXT],
    ['*/*', TEXT],
    ['application/openmetrics-text', OPEN_METRICS],
    ['application/openmetrics-text; version=0.0.1', TEXT],
    ['application/openmetrics-text; version=1.0.0; q=0', TEXT],
    ['Text/Plain;q=0.4, Application/OpenMetrics-Text;Q=0.5', OPEN_METRICS],
    ['text/plain, application/openmetrics-text', TEXT],
    ['application/openmetrics-text;q=rubbish', TEXT],
  ] as const)
    t.equal(formatFor(accept), format, String(accept));
});

t.test('names with odd characters do not break a line', async (t) => {
  const metrics = make();
  metrics.policy({ rules: [{ name: 'a "b"\\\nc', verb: 'allow', shadow: false }], observe: false });
  t.ok((await metrics.scrape(undefined)).body.includes('rule="a \\"b\\"\\\\\\nc"'));
});

t.test('a metric has a bound of series, whatever comes', async (t) => {
  const metrics = make();
  for (let i = 0; i < MOST_SERIES + 5; i += 1)
    metrics.note({ type: 'limit-exceeded', peer: PEER, limit: `rule ${i}` });
  const lines = (await metrics.scrape(undefined)).body.match(/^sekisho_limit_exceeded_total\{.*$/gm) ?? [];
  t.equal(lines.length, MOST_SERIES + 1);
  t.equal(lines.at(-1), 'sekisho_limit_exceeded_total{limit="other"} 5');
});

t.test('a store that hangs or fails does not hold up a scrape', async (t) => {
  let asked = 0;
  let answer: (value: number) => void = () => undefined;
  const hung = new SlowFigure(
    () => {
      asked += 1;
      return new Promise((resolve) => {
        answer = resolve;
      });
    },
    0,
    20,
  );
  t.equal(await hung.read(), undefined);
  t.equal(await hung.read(), undefined);
  t.equal(asked, 1, 'it is not asked again while it has not answered');
  answer(5);
  t.equal(await hung.read(), 5);
  let fails = false;
  const failing = new SlowFigure(async () => {
    if (fails) throw new Error('down');
    return 3;
  }, 0);
  t.equal(await failing.read(), 3);
  fails = true;
  t.equal(await failing.read(), undefined, 'an old figure is not shown for a new one');
});
