/**
 * Every fault at every step of a session, over a real `sekisho serve`. For each fault one process with a session at
 * each step; then the fault comes over all of them, and each goes on as far as it is let.
 *
 *   taken   250, and the MTA has it, once
 *   rcpt    4xx to RCPT; data: to DATA; dot: to the final dot. The client keeps it, the MTA does not have it
 *   unsure  4xx to the final dot, but the MTA has it and never said so (RFC 1047): it comes again
 *   denied  5xx to RCPT: the new policy's word
 *   421     told to come again and closed; the MTA does not have it
 *   cut     the connection ended without an answer; the MTA does not have it
 *   kept    the connection ended without an answer; the MTA has it, and the client was never told so
 *
 * Anything else, such as a false 250, a message that is there twice, or no answer long after its deadline, fails. When
 * the fault is over mail passes again, and descriptors and connections to the MTA are as many as before.
 *
 * What a fault cannot touch: whoever has been judged needs neither store nor resolver any more, and what has been
 * spooled whole needs no disk (`dot`).
 */
import { execFileSync } from 'node:child_process';
import { readdirSync, rmSync, writeFileSync } from 'node:fs';
import path from 'node:path';
import t, { type Test } from 'tap';
import { startDns } from '../support/dns-server.js';
import { type LegacyMessage, type LegacyMta, startLegacyMta } from '../support/legacy-mta.js';
import { install, noPackages } from '../support/packages.js';
import { folder, SekishoProcess } from '../support/process.js';
import { RedisServer } from '../support/redis-server.js';
import { eventually } from '../support/sekisho.js';
import { codeOf, SmtpClient } from '../support/smtp-client.js';

const TABLE = `
                 | connected | greeted | EHLO   | MAIL   | RCPT   | DATA   | header | body   | dot    | between
client gone      | cut       | cut     | cut    | cut    | cut    | cut    | cut    | cut    | kept   | cut
upstream gone    | rcpt      | rcpt    | rcpt   | rcpt   | data   | dot    | dot    | dot    | unsure | rcpt
upstream hung    | rcpt      | rcpt    | rcpt   | rcpt   | data   | unsure | unsure | unsure | unsure | rcpt
upstream babbles | rcpt      | rcpt    | rcpt   | rcpt   | data   | dot    | dot    | dot    | unsure | rcpt
store down       | rcpt      | rcpt    | rcpt   | rcpt   | taken  | taken  | taken  | taken  | taken  | rcpt
resolver down    | rcpt      | rcpt    | rcpt   | rcpt   | taken  | taken  | taken  | taken  | taken  | taken
disk full        | dot       | dot     | dot    | dot    | dot    | dot    | dot    | dot    | taken  | dot
no descriptors   | rcpt      | rcpt    | rcpt   | rcpt   | taken  | taken  | taken  | taken  | taken  | rcpt
SIGTERM          | 421       | 421     | 421    | taken  | taken  | taken  | taken  | taken  | taken  | 421
SIGKILL          | cut       | cut     | cut    | cut    | cut    | cut    | cut    | cut    | kept   | cut
reload           | denied    | denied  | denied | taken  | taken  | taken  | taken  | taken  | taken  | denied
`;

const [[, ...STEPS] = [], ...ROWS] = TABLE.trim()
  .split('\n')
  .map((line, i) => `${i === 0 ? 'fault ' : ''}${line}`.split('|').map((cell) => cell.trim()));
const EXPECTED = new Map(
  ROWS.map(([fault = '', ...cells]) => [fault, Object.fromEntries(STEPS.map((step, i) => [step, cells[i]]))]),
);

/** Deadlines are 5 s at most where something hangs: no answer for so many ms is a hang, however busy the machine. */
const PATIENCE = 60_000;

/** The MTA, which can fall ill and recover. */
class Upstream {
  mode: 'well' | 'hung' | 'babbles' = 'well';
  readonly messages: LegacyMessage[] = [];
  readonly #held: (() => void)[] = [];
  #holding = true;
  #mta: LegacyMta | undefined;
  port = 0;

  async start(): Promise<void> {
    this.#mta = await startLegacyMta({
      ehlo: ['8BITMIME'],
      port: this.port,
      onMessage: (message) => this.messages.push(message),
      script: async (at, _, { commands }) => {
        const mail = commands.findLast((line) => line.startsWith('MAIL'));
        if (at === 'dot' && mail?.includes('<dot@') === true && this.#holding)
          await new Promise<void>((resolve) => this.#held.push(resolve));
        if (this.mode === 'well') return undefined;
        return { say: this.mode === 'hung' ? [] : ['what?'] };
      },
    });
    this.port = this.#mta.port;
  }

  get active(): number {
    return this.#mta?.active ?? 0;
  }

  has(from: string): number {
    return this.messages.filter((message) => message.from.includes(`<${from}>`)).length;
  }

  /** Answers the final dot that was held back. */
  letGo(): void {
    this.#holding = false;
    for (const go of this.#held.splice(0)) go();
  }

  async stop(): Promise<void> {
    await this.#mta?.close();
  }
}

/** The rest alone is more than a full disk can have room for when the beginnings of all others are gone. */
const HEADER = 'Subject: fault\r\nX-Half: ';
const BODY = `done\r\n\r\n${`${'x'.repeat(70)}\r\n`.repeat(1_000)}`;
const REST = `${'y'.repeat(70)}\r\n`.repeat(6_000);

class Session {
  readonly from: string;
  code = 0;
  /** What was answered last. */
  at = '';
  #next = 0;

  private constructor(
    readonly step: string,
    readonly client: SmtpClient,
    readonly to: string,
  ) {
    this.from = `${step}@sender.example`;
  }

  /** Takes a session to a step. `nth` makes its address. */
  static async begin(site: Site, step: string, nth: number): Promise<Session> {
    // Strangers wait for the banner, so that they are connected and not yet greeted.
    const address = step === 'connected' ? '127.0.2.1' : `127.0.1.${nth + 1}`;
    const client = await SmtpClient.connect(site.port, address);
    const session = new Session(step, client, site.to);
    if (step === 'connected') return session;
    if (step === 'between') {
      await session.#run('first@sender.example', 8);
      if (session.code !== 250) throw new Error(`the first of two: ${client.transcript}`);
      session.#next = 2;
      return session;
    }
    const moves = STEPS.indexOf(step);
    await session.#run(session.from, Math.min(moves, 7));
    if (step !== 'dot') return session;
    client.send('\r\n.\r\n');
    await eventually('the MTA has it', () => site.upstream.has(session.from) === 1, PATIENCE);
    return session;
  }

  /** Goes on until refused, closed, or done. */
  async goOn(): Promise<void> {
    this.code = 0;
    if (this.step === 'dot') await this.#hear('dot', this.client.reply(PATIENCE));
    else await this.#run(this.from, 8);
  }

  async #run(from: string, until: number): Promise<void> {
    const { client } = this;
    const moves: readonly [string, () => Promise<string> | undefined][] = [
      ['greeted', () => client.reply(PATIENCE)],
      ['ehlo', () => client.say('EHLO c.example', PATIENCE)],
      ['mail', () => client.say(`MAIL FROM:<${from}>`, PATIENCE)],
      ['rcpt', () => client.say(`RCPT TO:<${this.to}>`, PATIENCE)],
      ['data', () => client.say('DATA', PATIENCE)],
      ['header', () => void client.send(HEADER)],
      ['body', () => void client.send(BODY)],
      ['dot', () => client.say(`${REST}.`, PATIENCE)],
    ];
    while (this.#next < until) {
      const [name, move] = moves[this.#next] ?? [];
      this.#next += 1;
      const reply = move?.();
      if (name === undefined || reply === undefined) continue;
      await this.#hear(name, reply);
      if (this.code === 0 || this.code >= 400) return;
    }
  }

  async #hear(name: string, reply: Promise<string>): Promise<void> {
    this.code = codeOf(await reply);
    this.at = name;
  }

  outcome(upstream: Upstream): string {
    const { at, code } = this;
    const had = upstream.has(this.from);
    const told = `${code} to ${at}, the MTA has ${had}`;
    if (had > 1 || (had === 1 && code !== 0 && at !== 'dot')) return told;
    if (code === 0) return had === 1 ? 'kept' : 'cut';
    if (code === 250 && at === 'dot') return had === 1 ? 'taken' : told;
    if (code >= 500) return had === 0 && at === 'rcpt' ? 'denied' : told;
    if (code < 400) return told;
    if (had === 1) return 'unsure';
    return code === 421 ? '421' : at;
  }
}

interface Fault {
  /** What else the configuration has. */
  readonly config?: string;
  /** Of the MTA; the default is longer than any test. */
  readonly deadline?: string;
  /** For a connection to it; the default is longer than it takes on the slowest machine. */
  readonly wait?: string;
  readonly to?: string;
  strike(): Promise<unknown> | unknown;
  /** Undefined: the process ends. */
  readonly mend?: () => Promise<unknown> | unknown;
  /** Those that have no connection to the MTA yet go on first. */
  readonly orderly?: boolean;
}

interface Site {
  readonly t: Test;
  readonly dir: string;
  readonly upstream: Upstream;
  readonly sessions: Session[];
  process: SekishoProcess;
  port: number;
  to: string;
}

const policyOf = (domains: string): string => `version: 1
rules:
  - { name: counted, allow: { to: counted.example }, limit: { recipients: 1000/1h, per: listener } }
  - { name: named, allow: { to: named.example, client_name: pc.example } }
  - { name: inbound, allow: { to: [${domains}] } }
`;

const UPSTREAM_DEADLINES = [
  ...['upstream_connect', 'upstream_greeting', 'upstream_command', 'upstream_mail', 'upstream_rcpt'],
  ...['upstream_data', 'upstream_data_block', 'upstream_data_end'],
];

const configOf = (
  upstream: Upstream,
  { config = '', deadline = '60s', wait = '25s' }: Fault,
): string => `listen:
  - { name: mx, host: 127.0.0.1, port: 0${config.startsWith('spool') ? ', data: spool' : ''} }
upstream: { host: 127.0.0.1, port: ${upstream.port}, max_idle: 1s, max_messages: 1, wait_timeout: ${wait} }
policy: policy.yaml
hostname: mx.local.example
strangers: { exempt: [127.0.1.0/24] }
drain: 30s
timeouts:
  greet_pause: 4s
${UPSTREAM_DEADLINES.map((each) => `  ${each}: ${deadline}\n`).join('')}  resolve: 5s
${config}`;

const descriptors = ({ process }: Site): number => readdirSync(`/proc/${process.child.pid}/fd`).length;

const mailPasses = async (site: Site): Promise<boolean> => {
  const client = await SmtpClient.connect(site.port, '127.0.1.200');
  await client.reply(PATIENCE);
  const lines = ['EHLO c.example', 'MAIL FROM:<well@sender.example>', 'RCPT TO:<bob@local.example>', 'DATA'];
  let code = 0;
  for (const line of [...lines, `${HEADER}${BODY}${REST}.`]) {
    code = codeOf(await client.say(line, PATIENCE));
    if (code === 0 || code >= 400) break;
  }
  client.destroy();
  return code === 250;
};

const quiet = (site: Site): Promise<void> =>
  eventually('the MTA is left alone', () => site.upstream.active === 0, PATIENCE);

const FAULTS: Readonly<Record<string, (site: Site) => Promise<Fault | string>>> = {
  'client gone': async ({ sessions }) => ({
    strike: () => {
      for (const { client } of sessions) client.socket.resetAndDestroy();
    },
    mend: () => undefined,
  }),
  'upstream gone': async ({ upstream }) => ({
    strike: () => upstream.stop(),
    mend: () => upstream.start(),
  }),
  'upstream hung': async ({ upstream }) => ({
    deadline: '4s',
    wait: '5s',
    strike: () => (upstream.mode = 'hung'),
    mend: () => (upstream.mode = 'well'),
  }),
  'upstream babbles': async ({ upstream }) => ({
    strike: () => (upstream.mode = 'babbles'),
    mend: () => (upstream.mode = 'well'),
  }),
  'store down': async ({ t }) => {
    const reason = noPackages();
    if (reason !== undefined) return reason;
    await install(['redis-server']);
    const redis = await RedisServer.start(t);
    return {
      config: `store: { redis: "redis://127.0.0.1:${redis.port}/0" }\n`,
      to: 'bob@counted.example',
      strike: () => redis.kill(),
      mend: () => redis.restart(),
    };
  },
  'resolver down': async ({ t }) => {
    const names = STEPS.flatMap((_, i) => [[`PTR ${i + 1}.1.0.127.in-addr.arpa`, ['pc.example']] as const]);
    const addresses = STEPS.map((_, i) => `127.0.1.${i + 1}`);
    const dns = await startDns({
      ...Object.fromEntries(names),
      'PTR 1.2.0.127.in-addr.arpa': ['pc.example'],
      'A pc.example': [...addresses, '127.0.2.1'],
    });
    t.teardown(() => dns.stop());
    return {
      config: `resolvers: [${dns.server}]\n`,
      to: 'bob@named.example',
      strike: () => dns.silent(true),
      mend: () => dns.silent(false),
    };
  },
  'disk full': async ({ t }) => {
    const spool = folder(t);
    try {
      execFileSync('mount', ['-t', 'tmpfs', '-o', 'size=8m', 'tmpfs', spool], { stdio: 'ignore' });
    } catch {
      return 'needs the right to mount a small disk';
    }
    t.teardown(() => execFileSync('umount', ['-l', spool]));
    const filler = path.join(spool, 'filler');
    return {
      config: `spool: { folder: ${spool}, memory: 1KB }\n`,
      strike: () => {
        try {
          writeFileSync(filler, Buffer.alloc(16_000_000));
        } catch {
          // It is full now.
        }
      },
      mend: () => rmSync(filler),
    };
  },
  'no descriptors': async (site) => {
    const crowd: SmtpClient[] = [];
    const limit = (most: string): void => {
      execFileSync('prlimit', ['--pid', `${site.process.child.pid}`, `--nofile=${most}`]);
    };
    return {
      wait: '5s',
      orderly: true,
      strike: async () => {
        const most = descriptors(site) + 10;
        limit(`${most}:`);
        for (let i = 0; i < 40; i += 1) crowd.push(await SmtpClient.connect(site.port, '127.0.1.100'));
        const taken = (): number[] => readdirSync(`/proc/${site.process.child.pid}/fd`).map(Number);
        const full = (): boolean => taken().filter((each) => each < most).length === most;
        await eventually('no descriptor is left', full, PATIENCE);
      },
      mend: () => {
        for (const client of crowd) client.destroy();
        limit('4096:');
      },
    };
  },
  SIGTERM: async (site) => ({
    strike: async () => {
      site.process.child.kill('SIGTERM');
      const idle = site.sessions.find(({ step }) => step === 'EHLO');
      await eventually('it goes down', () => idle?.client.closed === true, PATIENCE);
    },
  }),
  SIGKILL: async (site) => ({ strike: () => site.process.kill('SIGKILL') }),
  reload: async (site) => ({
    strike: async () => {
      writeFileSync(path.join(site.dir, 'policy.yaml'), policyOf('other.example'));
      site.process.child.kill('SIGHUP');
      await site.process.until('the new policy', () => /policy \S+ is in force/.test(site.process.out));
    },
    mend: async () => {
      const count = (): number => [...site.process.out.matchAll(/is in force/g)].length;
      const before = count();
      writeFileSync(path.join(site.dir, 'policy.yaml'), policyOf('local.example'));
      site.process.child.kill('SIGHUP');
      await site.process.until('the old policy', () => count() > before);
    },
  }),
};

const begin = async (site: Site, fault: Fault): Promise<void> => {
  writeFileSync(path.join(site.dir, 'policy.yaml'), policyOf('local.example'));
  const config = path.join(site.dir, 'sekisho.yaml');
  writeFileSync(config, configOf(site.upstream, fault));
  site.process = await SekishoProcess.serve(['--config', config, '--log', 'classic']);
  site.port = site.process.port;
  site.to = fault.to ?? site.to;
  site.t.teardown(() => site.process.kill());
  await eventually('mail passes', () => mailPasses(site), PATIENCE);
  await quiet(site);
};

const WITHOUT_MTA = ['connected', 'greeted', 'EHLO', 'MAIL', 'between'];
const check = async (t: Test, name: string): Promise<void> => {
  const upstream = new Upstream();
  await upstream.start();
  t.teardown(() => upstream.stop());
  const dir = folder(t);
  const site = { t, dir, upstream, sessions: [], port: 0, to: 'bob@local.example' } as unknown as Site;
  const fault = await FAULTS[name]?.(site);
  if (fault === undefined || typeof fault === 'string') return t.plan(0, fault ?? 'no such fault');
  await begin(site, fault);
  const before = descriptors(site);
  const rest = STEPS.slice(1).map((step, i) => Session.begin(site, step, i + 1));
  site.sessions.push(...(await Promise.all(rest)));
  site.sessions.unshift(await Session.begin(site, 'connected', 0));
  await fault.strike();
  const goOn = (sessions: readonly Session[]): Promise<unknown> =>
    Promise.all(sessions.map((session) => session.goOn()));
  // Whoever is done gives descriptors back.
  const first = fault.orderly === true ? site.sessions.filter(({ step }) => WITHOUT_MTA.includes(step)) : [];
  await goOn(first);
  upstream.letGo();
  await goOn(site.sessions.filter((session) => !first.includes(session)));
  for (const { client } of site.sessions) client.destroy();
  if (fault.mend === undefined) t.ok([0, null].includes(await site.process.ended()), 'the process has ended');
  else {
    await fault.mend();
    await eventually('mail passes again', () => mailPasses(site), PATIENCE);
    await eventually('descriptors are back', () => descriptors(site) <= before, PATIENCE);
  }
  await quiet(site);
  const outcomes = Object.fromEntries(site.sessions.map((each) => [each.step, each.outcome(upstream)]));
  t.strictSame(outcomes, EXPECTED.get(name), name);
};

t.strictSame([...EXPECTED.keys()], Object.keys(FAULTS), 'the table is about these faults');
t.jobs = 4;
for (const name of Object.keys(FAULTS)) t.test(name, { buffered: true }, (t) => check(t, name));
