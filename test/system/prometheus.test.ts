/** A real Prometheus scrapes a real `sekisho serve`, evaluates the rules that ship, and its alerts fire. */
import { type ChildProcess, spawn } from 'node:child_process';
import { readFileSync, writeFileSync } from 'node:fs';
import path from 'node:path';
import t from 'tap';
import { startLegacyMta } from '../support/legacy-mta.js';
import { freePort, install, noPackages } from '../support/packages.js';
import { folder, SekishoProcess } from '../support/process.js';
import { codeOf, SmtpClient } from '../support/smtp-client.js';

const ROOT = path.resolve(import.meta.dirname ?? 'test/system', '..', '..');

/** The rules that ship; nobody waits a minute in a test. */
const RULES = readFileSync(path.join(ROOT, 'deploy/prometheus/sekisho.rules.yml'), 'utf8').replace(
  /^( +for:) .*$/gm,
  '$1 1s',
);

const CLOSED = 'version: 1\nrules: [{ name: in, allow: { to: local.example } }]\n';
const OPEN =
  'version: 1\nrules: [{ name: in, allow: { to: local.example } }, { name: wide, allow: { to: .com } }]\n';

const isRecord = (value: unknown): value is Record<string, unknown> =>
  typeof value === 'object' && value !== null;
const listIn = (value: unknown, key: string): unknown[] => {
  const list = isRecord(value) && isRecord(value.data) ? value.data[key] : undefined;
  return Array.isArray(list) ? list : [];
};

class Prometheus {
  readonly #at: string;
  said = '';

  constructor(
    readonly child: ChildProcess,
    port: number,
  ) {
    this.#at = `http://127.0.0.1:${port}/api/v1`;
    child.stderr?.on('data', (chunk) => (this.said += String(chunk)));
  }

  async #ask(question: string): Promise<unknown> {
    try {
      const answer = await fetch(`${this.#at}/${question}`);
      return await answer.json();
    } catch {
      // It is not there yet.
      return undefined;
    }
  }

  /** The values of a query, in no certain order. */
  async values(query: string): Promise<number[]> {
    const found = listIn(await this.#ask(`query?query=${encodeURIComponent(query)}`), 'result');
    return found.map((each) =>
      Number(isRecord(each) && Array.isArray(each.value) ? each.value[1] : Number.NaN),
    );
  }

  /** The names of alerts that fire. */
  async firing(): Promise<string[]> {
    return listIn(await this.#ask('alerts'), 'alerts').flatMap((alert) =>
      isRecord(alert) && alert.state === 'firing' && isRecord(alert.labels)
        ? [String(alert.labels.alertname)]
        : [],
    );
  }

  async faults(): Promise<string[]> {
    return listIn(await this.#ask('targets'), 'activeTargets').map((target) =>
      isRecord(target) ? String(target.lastError) : 'no target',
    );
  }
}

const startPrometheus = async (dir: string, target: string): Promise<Prometheus> => {
  const config = readFileSync(path.join(ROOT, 'deploy/prometheus/prometheus.yml'), 'utf8')
    .replaceAll('15s', '1s')
    .replace('127.0.0.1:9587', target);
  writeFileSync(path.join(dir, 'prometheus.yml'), config);
  writeFileSync(path.join(dir, 'sekisho.rules.yml'), RULES);
  const port = await freePort();
  const args = [
    `--config.file=${path.join(dir, 'prometheus.yml')}`,
    `--storage.tsdb.path=${path.join(dir, 'data')}`,
    `--web.listen-address=127.0.0.1:${port}`,
  ];
  return new Prometheus(spawn('prometheus', args, { stdio: ['ignore', 'ignore', 'pipe'] }), port);
};

const sendTo = async (port: number, to: string): Promise<number> => {
  const client = await SmtpClient.connect(port);
  await client.reply();
  await client.say('EHLO c.example');
  await client.say('MAIL FROM:<x@c.example>');
  const code = codeOf(await client.say(`RCPT TO:<${to}>`));
  if (code === 250) {
    await client.say('DATA');
    client.send('Subject: x\r\n\r\nx\r\n.\r\n');
    await client.reply();
  }
  await client.say('QUIT');
  client.destroy();
  return code;
};

const missing = noPackages();
t.test('Prometheus sees what happens and says when it is bad', { skip: missing ?? false }, async (t) => {
  await install(['prometheus']);
  const mta = await startLegacyMta();
  let mtaUp = true;
  const stopMta = async (): Promise<void> => {
    if (mtaUp) await mta.close();
    mtaUp = false;
  };
  const dir = folder(t, { 'policy.yaml': CLOSED });
  const config = [
    'listen: [{ name: mx, host: 127.0.0.1, port: 0 }]',
    `upstream: { host: 127.0.0.1, port: ${mta.port}, name: old, probe_interval: 1s, max_idle: 2s }`,
    'policy: policy.yaml',
    'admin: { listen: "127.0.0.1:0" }',
  ];
  writeFileSync(path.join(dir, 'sekisho.yaml'), `${config.join('\n')}\n`);
  const sekisho = await SekishoProcess.serve(['--config', path.join(dir, 'sekisho.yaml')]);
  t.teardown(() => Promise.all([sekisho.kill(), stopMta()]));
  t.match(sekisho.out, /"event":"self-test".*"open":\[\]/, 'it has tried its policy');
  const target = /admin on (?:http:\/\/)?(\S+:\d+)/.exec(sekisho.out)?.[1] ?? '';
  t.strictSame(
    [await sendTo(sekisho.port, 'x@local.example'), await sendTo(sekisho.port, 'x@victim.example')],
    [250, 550],
  );

  const prometheus = await startPrometheus(dir, target);
  t.teardown(() => prometheus.child.kill('SIGKILL'));
  const holds = async (what: string, test: () => Promise<boolean>): Promise<void> => {
    const end = Date.now() + 60_000;
    while (!(await test())) {
      if (Date.now() > end)
        throw new Error(
          `never came about: ${what}; ${await prometheus.faults()}\n${prometheus.said.slice(-2_000)}`,
        );
      await new Promise((resolve) => setTimeout(resolve, 200));
    }
    t.pass(what);
  };
  const value = (query: string, wanted: number) => async (): Promise<boolean> => {
    const [first, ...more] = await prometheus.values(query);
    return first === wanted && more.length === 0;
  };
  await holds('a message is counted', value('sekisho_messages_total{result="accepted"}', 1));
  await holds(
    'a refusal is counted',
    value('sekisho_relay_decisions_total{verdict="deny",reason="no-rule"}', 1),
  );
  await holds(
    'the commands have their buckets',
    value('sekisho_command_duration_seconds_count{verb="RCPT"}', 2),
  );
  await holds('the upstream is up', value('sekisho_upstream_up{upstream="old"}', 1));
  await holds('the relay is closed', value('sekisho_relay_selftest_open_forms', 0));
  await holds('rules are evaluated', value('sekisho:connections:used', 0));
  // A scrape has a second, which on a busy machine is now and then too little.
  await holds('OpenMetrics is understood', async () => {
    const faults = await prometheus.faults();
    return faults.length === 1 && faults[0] === '';
  });
  await holds('all is quiet', async () => (await prometheus.firing()).length === 0);

  writeFileSync(path.join(dir, 'policy.yaml'), OPEN);
  sekisho.child.kill('SIGHUP');
  await sekisho.until('the self-test after a reload', () => /"wide-com".*"rule":"wide"/.test(sekisho.out));
  await holds('an open relay wakes somebody', async () =>
    (await prometheus.firing()).includes('SekishoOpenRelay'),
  );
  await stopMta();
  await holds('a mail server that is gone wakes somebody', async () => {
    const firing = await prometheus.firing();
    return firing.includes('SekishoUpstreamDown') && firing.includes('SekishoAllUpstreamsDown');
  });
});
