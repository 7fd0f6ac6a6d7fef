/**
 * A fleet: three Sekisho behind a real HAProxy with PROXY protocol, a real Redis with a replica and Sentinels, and mail that
 * flows all the while. One instance dies, Redis dies and its replica takes over, and all are replaced one after the other.
 */
import path from 'node:path';
import t, { type Test } from 'tap';
import { Dovecot } from '../support/dovecot.js';
import { fetchMail } from '../support/fetch-mail.js';
import { startHaproxy } from '../support/haproxy.js';
import { startLegacyMta } from '../support/legacy-mta.js';
import { MailFlow } from '../support/mail-flow.js';
import { freePort, install, noPackages } from '../support/packages.js';
import { folder, runSekisho, SekishoProcess } from '../support/process.js';
import { caughtUp, RedisServer, redisCli, watchClosely } from '../support/redis-server.js';
import { eventually } from '../support/sekisho.js';
import { codeOf, SmtpClient } from '../support/smtp-client.js';

t.setTimeout(900_000);
const PATIENCE = 60_000;

/** Who fetches mail, and who never does. */
const [BOB, STRANGER] = ['127.0.0.2', '127.0.0.3'];

const POLICY = `version: 1
rules:
  - { name: inbound, allow: { to: local.example } }
  - { name: who fetched mail, allow: { window: any } }
`;

interface Redis {
  readonly master: RedisServer;
  readonly replica: RedisServer;
  readonly sentinels: readonly RedisServer[];
}

const startRedis = async (t: Test): Promise<Redis> => {
  const atOnce = ['--repl-diskless-sync-delay', '0'];
  const master = await RedisServer.start(t, atOnce);
  const replica = await RedisServer.start(t, [...atOnce, '--replicaof', '127.0.0.1', `${master.port}`]);
  const sentinels = await Promise.all([1, 2, 3].map(() => RedisServer.sentinel(t, master.port, 2)));
  const knows = async ({ port }: RedisServer): Promise<boolean> =>
    /num-slaves\n1\n[\s\S]*num-other-sentinels\n2\n/.test(
      await redisCli(port, ['sentinel', 'master', 'mymaster']),
    );
  await eventually(
    'Sentinels know one another',
    async () => (await Promise.all(sentinels.map(knows))).every(Boolean),
    PATIENCE,
  );
  return { master, replica, sentinels };
};

/** One Sekisho, which may end and be started anew on the same ports. */
class Instance {
  private constructor(
    readonly port: number,
    readonly pop3: number,
    readonly config: string,
    public process: SekishoProcess,
  ) {}

  static async start(t: Test, mta: number, dovecot: Dovecot, redis: Redis): Promise<Instance> {
    const [port, pop3] = [await freePort(), await freePort()];
    const { sentinels } = redis;
    const dir = folder(t, {
      users: 'bob:{PLAIN}secret\n',
      'policy.yaml': POLICY,
      'sekisho.yaml': `listen: [{ host: 127.0.0.1, port: ${port}, proxy_from: [127.0.0.1] }]
upstream: { host: 127.0.0.1, port: ${mta} }
policy: policy.yaml
limits: { errors: 100000, idle_commands: 100000 }
logins: [{ passwd_file: users }]
devices: [{ name: clear, networks: [127.0.0.2/32], plaintext_auth: true }]
roaming: { proxies: [{ protocol: pop3, host: 127.0.0.1, port: ${pop3}, upstream: "127.0.0.1:${dovecot.ports.pop3}" }] }
store: { redis: "redis://127.0.0.1", timeout: 1s, sentinels: [${sentinels.map((each) => `"127.0.0.1:${each.port}"`)}], master: mymaster }
drain: 20s
`,
    });
    const config = path.join(dir, 'sekisho.yaml');
    const instance = new Instance(port, pop3, config, await SekishoProcess.serve(['--config', config]));
    t.teardown(() => instance.process.kill());
    return instance;
  }

  async restart(): Promise<void> {
    this.process = await SekishoProcess.serve(['--config', this.config]);
  }
}

/** A session past the balancer, by whoever is at `from`. */
const session = async (t: Test, { port }: Instance, from: string): Promise<SmtpClient> => {
  const client = await SmtpClient.connect(port, from);
  t.teardown(() => client.destroy());
  t.equal(codeOf(await client.reply()), 220);
  await client.say('EHLO c.example');
  return client;
};

/** What a recipient elsewhere gets. */
const relay = async (client: SmtpClient): Promise<number> => {
  await client.say('MAIL FROM:<bob@local.example>');
  const code = codeOf(await client.say('RCPT TO:<y@victim.example>'));
  await client.say('RSET');
  return code;
};

const relays = async (t: Test, instances: readonly Instance[], from: string): Promise<number[]> => {
  const clients = await Promise.all(instances.map((each) => session(t, each, from)));
  const codes = await Promise.all(clients.map(relay));
  for (const client of clients) client.destroy();
  return codes;
};

const logsIn = async (t: Test, instances: readonly Instance[]): Promise<number[]> => {
  const clients = await Promise.all(instances.map((each) => session(t, each, BOB)));
  const plain = Buffer.from('\0bob\0secret').toString('base64');
  return Promise.all(clients.map(async (client) => codeOf(await client.say(`AUTH PLAIN ${plain}`, 20_000))));
};

const skip = noPackages() ?? false;

t.test('a fleet loses nothing', { skip }, async (t) => {
  await install(['redis-server']);
  const dovecot = await Dovecot.start({ users: [{ user: 'bob', password: 'secret' }] });
  t.teardown(() => dovecot.stop());
  /** How often each message has come. */
  const delivered = new Map<string, number>();
  const mta = await startLegacyMta({
    forget: true,
    onMessage: ({ to: [first = ''] }) => {
      const name = /<(m\d+)@/.exec(first)?.[1] ?? first;
      delivered.set(name, (delivered.get(name) ?? 0) + 1);
    },
  });
  t.teardown(() => mta.close());
  const redis = await startRedis(t);
  const instances = await Promise.all([1, 2, 3].map(() => Instance.start(t, mta.port, dovecot, redis)));
  const [one, two] = instances;
  if (one === undefined || two === undefined) throw new Error('there are three');
  const [balancer = 0] = await startHaproxy(
    t,
    instances.map(({ port }) => port),
    ['send-proxy-v2 check inter 200 fall 1 rise 1'],
  );
  const flow = new MailFlow(balancer, 4);
  t.teardown(() => flow.stop());
  const flows = async (more = 40): Promise<void> => {
    const goal = flow.taken.size + more;
    await eventually(`${more} messages more`, () => flow.taken.size >= goal, PATIENCE);
  };
  await flows();

  await t.test('what holds at one holds at all', async (t) => {
    t.strictSame(await relays(t, instances, BOB), [550, 550, 550]);
    t.ok(await fetchMail(one.pop3, BOB, 'secret'), 'a login at the first');
    await eventually('its window is open', async () => (await relays(t, [one], BOB))[0] === 250);
    t.strictSame(await relays(t, instances, BOB), [250, 250, 250]);
    t.strictSame(await relays(t, instances, STRANGER), [550, 550, 550]);
  });

  await t.test('one instance dies', async (t) => {
    await two.process.kill('SIGKILL');
    await flows();
    await two.restart();
    await flows();
    t.strictSame(await relays(t, instances, BOB), [250, 250, 250], 'the window outlives it');
  });

  await t.test('Redis dies, and its replica takes over', async (t) => {
    await caughtUp(redis.master, redis.replica);
    await watchClosely(redis.sentinels);
    await redis.master.kill();
    await flows();
    const answers = new Set<number>();
    await eventually(
      'the window holds again at all of them',
      async () => {
        const codes = await relays(t, instances, BOB);
        for (const code of codes) answers.add(code);
        return codes.every((code) => code === 250);
      },
      PATIENCE,
    );
    t.notOk(answers.has(550), 'it was unknown for a while, and never taken for closed');
    t.equal((await redisCli(redis.replica.port, ['role'])).split('\n')[0], 'master');
    await flows();
  });

  await t.test('a suspended login holds everywhere', async (t) => {
    t.strictSame(await logsIn(t, instances), [235, 235, 235]);
    const { code } = await runSekisho(['logins', 'suspend', 'bob', '--why', 'test', '--config', two.config]);
    t.equal(code, 0);
    t.strictSame(await logsIn(t, instances), [535, 535, 535]);
    t.strictSame(await relays(t, instances, BOB), [550, 550, 550], 'and its windows are closed');
  });

  await t.test('each is drained and started anew', async (t) => {
    for (const instance of instances) {
      const before = flow.doubtful.size;
      await instance.process.kill('SIGTERM');
      t.equal(instance.process.code, 0);
      t.equal(flow.doubtful.size, before, 'no message is left in doubt by a drain');
      await instance.restart();
      await flows(20);
    }
    t.strictSame(await logsIn(t, instances), [535, 535, 535], 'they know what the others knew');
  });

  const calls = async (): Promise<number> => {
    const stats = await redisCli(redis.replica.port, ['info', 'commandstats']);
    const commands = [
      ...stats.matchAll(
        /^cmdstat_(?!info|ping|publish|subscribe|replconf|client|hello|role|config|psync)\S+:calls=(\d+)/gm,
      ),
    ];
    return commands.reduce((sum, [, count]) => sum + Number(count), 0);
  };
  const [callsBefore, takenBefore] = [await calls(), flow.taken.size];
  await flows(100);
  const each = ((await calls()) - callsBefore) / (flow.taken.size - takenBefore);
  t.comment(`${each.toFixed(1)} Redis operations a session with one message`);

  await flow.stop();
  const lost = [...flow.taken].filter((name) => !delivered.has(name));
  const twice = [...delivered].filter(([name, times]) => times > 1 && !flow.doubtful.has(name));
  t.comment(
    `${flow.taken.size} messages were taken; ${flow.again} attempts were to be made again, ${flow.doubtful.size} in doubt`,
  );
  t.strictSame(lost, [], 'nothing that was taken is lost');
  t.strictSame(twice, [], 'nothing comes twice but what was in doubt');
  t.ok(flow.doubtful.size <= 4, 'in doubt is no more than what one instance had in hand when it was killed');
  for (const { process } of instances) t.notMatch(process.out + process.err, /internal-error|\n\s+at /);
});
