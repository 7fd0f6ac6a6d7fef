/** `--processes 2` as a real supervisor with real processes: killed, hung, reloaded, replaced, drained, and asked as one. */

import { renameSync, writeFileSync } from 'node:fs';
import net from 'node:net';
import path from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import t, { type Test } from 'tap';
import { startLegacyMta } from '../support/legacy-mta.js';
import { freePort } from '../support/packages.js';
import { folder, runSekisho, SekishoProcess } from '../support/process.js';
import { eventually } from '../support/sekisho.js';
import { codeOf, SmtpClient } from '../support/smtp-client.js';

t.setTimeout(900_000);

const POLICY = (domain: string): string =>
  `version: 1\nrules: [{ name: inbound, allow: { to: ${domain} } }]\n`;

const CONFIG = (port: number): string => `listen: [{ host: 127.0.0.1, port: 0 }]
upstream: { host: 127.0.0.1, port: ${port} }
policy: policy.yaml
store: { lmdb: state }
limits: { connections_per_address: 40 }
processes: 2
drain: 20s
admin: { listen: "127.0.0.1:0", requests_per_minute: 100000 }
`;

/** Connects again and again, from its start to its end: who is refused, and who is cut off before the greeting? */
class Prober {
  refused = 0;
  cut = 0;
  greeted = 0;
  #going = true;
  readonly #done: Promise<void>;

  constructor(private readonly port: number) {
    this.#done = this.#run();
  }

  async stop(): Promise<void> {
    this.#going = false;
    await this.#done;
  }

  async #run(): Promise<void> {
    while (this.#going) {
      await this.#once();
      await sleep(15);
    }
  }

  #once(): Promise<void> {
    return new Promise((resolve) => {
      const socket = net.connect({ port: this.port, host: '127.0.0.1', localAddress: '127.0.0.9' });
      let heard = '';
      socket.setTimeout(30_000, () => socket.destroy(new Error('nothing heard')));
      socket.on('data', (chunk) => {
        heard += String(chunk);
        if (/^220 [^\n]*\n$/.test(heard)) socket.write('QUIT\r\n');
      });
      socket.on('error', (error: NodeJS.ErrnoException) => {
        if (error.code === 'ECONNREFUSED') this.refused += 1;
      });
      socket.on('close', () => {
        if (heard.startsWith('220 ')) this.greeted += 1;
        else this.cut += 1;
        resolve();
      });
    });
  }
}

interface Status {
  readonly sessions: number;
  readonly pid: number;
  readonly policy: { readonly lastReload?: { readonly ok: boolean } };
  readonly processes: readonly {
    readonly process: number;
    readonly pid: number;
    readonly sessions: number;
    readonly answers: boolean;
  }[];
}

const api = (running: SekishoProcess): string => /admin on (http:\S+)/.exec(running.out)?.[1] ?? '';

const ask = async (running: SekishoProcess, what: string, init: RequestInit = {}): Promise<unknown> => {
  const answer = await fetch(`${api(running)}api/v1/${what}`, init);
  return answer.json();
};

// What the endpoint answers is checked by what the tests do with it.
const statusOf = async (running: SekishoProcess): Promise<Status> => (await ask(running, 'status')) as Status;

/** The value of a sample; undefined: there is none. */
const scrape = async (running: SekishoProcess): Promise<(sample: string) => number | undefined> => {
  const text = await (await fetch(`${api(running)}metrics`)).text();
  return (sample) => {
    const line = text.split('\n').find((each) => each.startsWith(`${sample} `));
    return line === undefined ? undefined : Number(line.slice(sample.length + 1));
  };
};

const connectionsTotal = 'sekisho_connections_total{listener="mx"}';

const both = (running: SekishoProcess, but: readonly number[]): Promise<void> =>
  eventually(
    'two processes serve',
    async () => {
      const { processes } = await statusOf(running);
      return processes.length === 2 && processes.every(({ pid, answers }) => answers && !but.includes(pid));
    },
    60_000,
  );

const greeted = async (t: Test, port: number, from = '127.0.0.1'): Promise<SmtpClient> => {
  const client = await SmtpClient.connect(port, from);
  t.teardown(() => client.destroy());
  t.equal(codeOf(await client.reply(30_000)), 220);
  await client.say('EHLO c.example');
  return client;
};

/** Sessions until each process has some. */
const spread = async (t: Test, running: SekishoProcess, from = '127.0.0.1'): Promise<SmtpClient[]> => {
  const clients: SmtpClient[] = [];
  await eventually(
    'each process has a session',
    async () => {
      if (clients.length < 30)
        clients.push(...(await Promise.all([1, 2, 3].map(() => greeted(t, running.port, from)))));
      return (await statusOf(running)).processes.every(({ sessions }) => sessions > 0);
    },
    60_000,
  );
  return clients;
};

const codesFor = async (clients: readonly SmtpClient[], to: string): Promise<Set<number>> => {
  const codes = await Promise.all(
    clients.map(async (client) => {
      await client.say('MAIL FROM:<x@elsewhere.example>');
      const code = codeOf(await client.say(`RCPT TO:<${to}>`));
      await client.say('RSET');
      return code;
    }),
  );
  return new Set(codes);
};

const count = (text: string, what: RegExp): number => text.match(what)?.length ?? 0;

t.test('two processes are one service', async (t) => {
  const mta = await startLegacyMta();
  t.teardown(() => mta.close());
  const dir = folder(t, { 'policy.yaml': POLICY('local.example'), 'sekisho.yaml': CONFIG(mta.port) });
  const running = await SekishoProcess.serve(['--config', path.join(dir, 'sekisho.yaml')]);
  t.teardown(() => running.kill());
  const { port } = running;
  const signal = (pid: number, name: NodeJS.Signals): true => process.kill(pid, name);
  /** In one go: of a file that is written to, whoever watches may see the beginning, and then the rest. */
  const setPolicy = (text: string): void => {
    writeFileSync(path.join(dir, 'policy.next'), text);
    renameSync(path.join(dir, 'policy.next'), path.join(dir, 'policy.yaml'));
  };
  const pids = async (): Promise<number[]> => (await statusOf(running)).processes.map(({ pid }) => pid);

  await t.test('it is asked as one', async (t) => {
    const listening = new AbortController();
    const stream = await fetch(`${api(running)}api/v1/decisions/stream`, { signal: listening.signal });
    let streamed = '';
    const reading = (async () => {
      const decoder = new TextDecoder();
      for await (const chunk of stream.body ?? []) streamed += decoder.decode(chunk);
    })().catch(() => undefined);
    const clients = await spread(t, running);
    const status = await statusOf(running);
    t.equal(status.pid, running.child.pid, 'the supervisor answers');
    t.equal(status.sessions, clients.length, 'sessions of both');
    t.strictSame(await codesFor(clients, 'y@victim.example'), new Set([550]));
    t.match(await ask(running, 'sessions?limit=2'), { total: clients.length, sessions: { length: 2 } });
    const list = await ask(running, 'decisions?limit=1000');
    const { decisions } = list as { decisions: readonly { id: number; session: string }[] };
    t.equal(decisions.length, clients.length, 'decisions of both');
    t.equal(new Set(decisions.map(({ id }) => id)).size, clients.length, 'each has an id of its own');
    t.strictSame(
      decisions.map(({ id }) => id),
      decisions.map(({ id }) => id).sort((a, b) => b - a),
      'the newest first',
    );
    await eventually(
      'all of them come by the stream',
      () => count(streamed, /^event: decision$/gm) === clients.length,
    );
    await eventually('with their replies', () => count(streamed, /^event: reply$/gm) === clients.length);
    listening.abort();
    await reading;
    t.match(await ask(running, 'history?minutes=2'), { series: { relay: Array } });
    t.match(await ask(running, 'limits?by=refused'), {
      addresses: [{ address: '127.0.0.1', refused: clients.length }],
    });
    const name = `127.0.0.1:${mta.port}`;
    const post = { method: 'POST', headers: { 'x-sekisho': 'yes' } };
    t.match(await ask(running, `upstreams/${name}/drain`, post), { name, port: mta.port, state: 'draining' });
    t.match(await ask(running, 'upstreams'), { upstreams: [{ state: 'draining' }] });
    t.strictSame(await codesFor(clients, 'y@local.example'), new Set([451]), 'it is drained at both');
    t.match(await ask(running, `upstreams/${name}/resume`, post), { state: 'up' });
    t.strictSame(await codesFor(clients, 'y@local.example'), new Set([250]));
    t.match(await ask(running, 'upstreams/nobody/drain', post), { status: 404 });
    const told = (): number =>
      count(
        running.out,
        /"event":"admin-change".*"action":"upstream-drain","target":"127[^"]*","status":200/g,
      );
    await running.until('it is told', () => told() > 0);
    t.equal(told(), 1, 'once');
    t.match(
      await ask(running, 'explain', {
        method: 'POST',
        headers: { 'content-type': 'application/json' },
        body: JSON.stringify({ client: '203.0.113.9', from: 'x@spam.example', to: 'y@victim.example' }),
      }),
      { verdict: { kind: 'deny' } },
    );
    t.match(
      await ask(running, 'policy/test', {
        method: 'POST',
        headers: { 'content-type': 'application/yaml' },
        body: POLICY('victim.example'),
      }),
      { ok: true, differences: { changed: Number } },
    );
    t.equal((await fetch(`${api(running)}readyz`)).status, 200);
    for (const client of clients) client.destroy();
    await eventually('they are gone', async () => (await statusOf(running)).sessions === 0);
  });

  await t.test('connections at once are counted over both', async (t) => {
    const clients = await spread(t, running, '127.0.0.3');
    while (clients.length < 38) clients.push(await greeted(t, port, '127.0.0.3'));
    // What each has is told each second: some get in meanwhile, until both know of as many as may be.
    const codes = async (): Promise<readonly number[]> => {
      const batch = await Promise.all(
        Array.from({ length: 20 }, () => SmtpClient.connect(port, '127.0.0.3')),
      );
      const heard = await Promise.all(batch.map(async (client) => codeOf(await client.reply())));
      for (const [i, client] of batch.entries()) {
        if (heard[i] === 220 && clients.length < 40) clients.push(client);
        else client.destroy();
      }
      return heard;
    };
    await eventually('nobody gets in beyond the 40 that are allowed', async () =>
      (await codes()).every((code) => code === 421),
    );
    t.equal(clients.length, 40);
    for (const client of clients) client.destroy();
  });

  const prober = new Prober(port);
  t.teardown(() => prober.stop());

  await t.test('one is killed', async (t) => {
    const before = await scrape(running);
    const clients = await spread(t, running);
    const old = await pids();
    const [victim = 0] = old;
    signal(victim, 'SIGKILL');
    await running.until('it is told', () =>
      /"event":"process-ended".*"why":"killed by SIGKILL"/.test(running.out),
    );
    await both(running, [victim]);
    const after = await scrape(running);
    for (const sample of [connectionsTotal, 'process_cpu_seconds_total'])
      t.ok((after(sample) ?? 0) >= (before(sample) ?? 0), `${sample} does not go back`);
    t.equal(after('sekisho_process_up{process="1"}'), 1);
    t.equal(after('sekisho_process_up{process="2"}'), 1);
    t.ok(
      clients.some(({ closed }) => !closed),
      'sessions of the other go on',
    );
    for (const client of clients) client.destroy();
  });

  await t.test('one hangs', async (t) => {
    const [victim = 0] = await pids();
    const before = await scrape(running);
    signal(victim, 'SIGSTOP');
    let during = before;
    // Each has a second for its figures, which on a busy machine may be too little for one that does not hang.
    await eventually('a scrape says which one hangs', async () => {
      during = await scrape(running);
      const up = ['1', '2'].map((each) => during(`sekisho_process_up{process="${each}"}`));
      return up.filter((each) => each === 0).length === 1;
    });
    t.ok((during(connectionsTotal) ?? 0) >= (before(connectionsTotal) ?? 0));
    t.equal((await fetch(`${api(running)}readyz`)).status, 200, 'the other serves');
    const greetedBefore = prober.greeted;
    await eventually('clients are served', () => prober.greeted > greetedBefore + 3);
    await running.until('it is ended', () =>
      /"why":"it gave no sign of life for 10 s, and was ended"/.test(running.out),
    );
    await both(running, [victim]);
    t.ok(((await scrape(running))(connectionsTotal) ?? 0) >= (during(connectionsTotal) ?? 0));
  });

  await t.test('a broken policy is refused by all, and said once', async (t) => {
    setPolicy(
      `${POLICY('local.example')}tests: [{ name: no, client: 203.0.113.9, from: x@a.example, to: y@b.example, expect: allow }]\n`,
    );
    running.child.kill('SIGHUP');
    await running.until('it is refused', () => /"event":"reload","ok":false/.test(running.out));
    t.equal((await scrape(running))('sekisho_policy_last_reload_successful'), 0);
    t.equal((await statusOf(running)).policy.lastReload?.ok, false);
    const [victim = 0] = await pids();
    signal(victim, 'SIGKILL');
    await both(running, [victim]);
    const clients = await spread(t, running);
    t.strictSame(
      await codesFor(clients, 'y@local.example'),
      new Set([250]),
      'the old one is in force, in a new process too',
    );
    // Else what is told of the file's first change would be of the second.
    await running.until(
      'the file is looked at too',
      () => count(running.out, /"event":"reload","ok":false/g) > 1,
    );
    setPolicy(POLICY('other.example'));
    await running.until('the next is in force', () => /"event":"reload","ok":true/.test(running.out));
    t.strictSame(await codesFor(clients, 'y@local.example'), new Set([550]), 'in both');
    t.strictSame(await codesFor(clients, 'y@other.example'), new Set([250]));
    t.equal((await scrape(running))('sekisho_policy_last_reload_successful'), 1);
    await sleep(1_500);
    t.equal(count(running.out, /"event":"reload","ok":false/g), 2, 'once for the signal, once for the file');
    t.equal(count(running.out, /"event":"reload","ok":true/g), 1);
    for (const client of clients) client.destroy();
  });

  await t.test('each is replaced, and nobody is refused', async (t) => {
    const before = await scrape(running);
    const old = await pids();
    const [busy] = await spread(t, running);
    const cut = prober.cut;
    await busy?.say('MAIL FROM:<x@elsewhere.example>');
    running.child.kill('SIGUSR2');
    await running.until('they are replaced', () => /every process has been replaced/.test(running.out));
    t.equal(
      codeOf((await busy?.say('RCPT TO:<y@other.example>')) ?? ''),
      250,
      'a session goes on where it is',
    );
    await both(running, old);
    t.equal(prober.cut, cut, 'no client was cut off');
    const after = await scrape(running);
    t.ok((after(connectionsTotal) ?? 0) >= (before(connectionsTotal) ?? 0));
    t.equal((await statusOf(running)).processes.length, 2);
  });

  await prober.stop();
  t.ok(prober.greeted > 20, `${prober.greeted} clients were greeted`);
  t.equal(prober.refused, 0, 'no connection was ever refused');
  t.ok(prober.cut <= 3, `${prober.cut} were cut off, by what was killed`);

  await t.test('they drain, and a second signal ends them', async (t) => {
    const [done, slow, idle] = [await greeted(t, port), await greeted(t, port), await greeted(t, port)];
    for (const client of [done, slow])
      for (const line of ['MAIL FROM:<x@elsewhere.example>', 'RCPT TO:<y@other.example>', 'DATA'])
        await client.say(line);
    running.child.kill('SIGTERM');
    t.equal(codeOf(await idle.reply()), 421);
    await eventually('nobody is taken in', async () => {
      const late = await SmtpClient.connect(port).catch(() => undefined);
      late?.destroy();
      return late === undefined;
    });
    done.send('Subject: last\r\n\r\nhello\r\n.\r\n');
    t.equal(codeOf(await done.reply()), 250, 'what has begun finishes');
    t.equal(running.code, undefined);
    running.child.kill('SIGTERM');
    t.equal(await running.ended(), 0);
    t.notMatch(running.out + running.err, /internal-error|\n\s+at /);
  });
});

t.test('what cannot be served is said, with an exit code', async (t) => {
  const taken = await freePort();
  const server = net.createServer().listen(taken, '127.0.0.1');
  t.teardown(() => void server.close());
  const crash = `if (process.argv[2] === 'process') process.exit(7);\n`;
  const dir = folder(t, { 'crash.mjs': crash, 'a.yaml': 'store: { lmdb: state }\n' });
  const config = path.join(dir, 'a.yaml');
  const common = [
    'serve',
    '--local-domain',
    'local.example',
    '--upstream',
    '127.0.0.1:2999',
    '--processes',
    '2',
  ];
  const here = ['--listen', '127.0.0.1:0'];
  t.match(await runSekisho([...common, ...here]), {
    code: 2,
    err: /processes: 2: several processes need a store/,
  });
  t.match(await runSekisho([...common, ...here, '--processes', 'many']), {
    code: 2,
    err: /--processes many: must be auto/,
  });
  t.match(await runSekisho([...common, '--config', config, '--listen', `127.0.0.1:${taken}`]), {
    code: 2,
    err: `sekisho: cannot listen on 127.0.0.1:${taken}: another program already does\n`,
  });
  writeFileSync(config, 'store: { lmdb: crash.mjs/state }\n');
  const store = await runSekisho([...common, ...here, '--config', config]);
  t.match(store, { code: 2, err: /^sekisho: .*state/ });
  t.equal(count(store.err, /\n/g), 1, 'said once');
  writeFileSync(config, 'store: { lmdb: state }\n');
  process.env.NODE_OPTIONS = `--import=${path.join(dir, 'crash.mjs')}`;
  const dying = await runSekisho([...common, ...here, '--config', config]);
  delete process.env.NODE_OPTIONS;
  t.match(dying, { code: 1, err: 'sekisho: no process can serve: exit code 7\n' });
  t.equal(count(dying.out, /"event":"process-ended"/g), 6, 'it tried again a few times');
  t.match(await runSekisho(['process']), { code: 2, err: /not for people/ });
});
