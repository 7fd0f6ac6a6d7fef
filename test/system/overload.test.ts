/**
 * Overload and denial of service: slow clients at every step, half-open TLS handshakes, guessers, a flood of refused
 * attempts, and expressions that somebody might make backtrack. Sizes are modest here; by hand it is larger:
 *
 *     ulimit -n 20000; SEKISHO_OVERLOAD=50 node .ci/test.mjs test/system/overload.test.ts
 *
 * multiplies them (50: 10,000 slow clients and 10,000 half-open handshakes). Figures are printed, and asserted generously.
 */
import { readdirSync, readFileSync } from 'node:fs';
import net from 'node:net';
import path from 'node:path';
import tls from 'node:tls';
import vm from 'node:vm';
import { hash } from 'bcryptjs';
import t, { type Test } from 'tap';
import { LINE_OCTETS } from '../../src/windows/sources/log-follower.js';
import { LOG_FORMAT_NAMES, LOG_FORMATS } from '../../src/windows/sources/log-patterns.js';
import { sitePattern } from '../../src/windows/sources/log-site-pattern.js';
import { certify } from '../support/certificates.js';
import { startLegacyMta } from '../support/legacy-mta.js';
import { logIn } from '../support/passwords.js';
import { folder, SekishoProcess } from '../support/process.js';
import { eventually } from '../support/sekisho.js';
import { codeOf, SmtpClient } from '../support/smtp-client.js';

const SCALE = Math.max(1, Number(process.env.SEKISHO_OVERLOAD ?? 1));
const PATIENCE = 60_000 * Math.sqrt(SCALE);

const linux = process.platform === 'linux' ? {} : { skip: 'needs /proc' };

/** A whole mail to a local mailbox; its last code. */
const mail = async (client: SmtpClient): Promise<number> => {
  await client.reply(PATIENCE);
  for (const line of ['EHLO c.example', 'MAIL FROM:<a@far.example>', 'RCPT TO:<bob@local.example>', 'DATA'])
    await client.say(line, PATIENCE);
  const code = codeOf(await client.say('Subject: x\r\n\r\nx\r\n.', PATIENCE));
  client.destroy();
  return code;
};

const mailBy = async (port: number, from = '127.0.0.1'): Promise<number> =>
  mail(await SmtpClient.connect(port, from));

/** `work` for 0 to count − 1, `at` of them at once. */
const inParallel = async (count: number, at: number, work: (i: number) => Promise<void>): Promise<void> => {
  let next = 0;
  const worker = async (): Promise<void> => {
    while (next < count) {
      next += 1;
      await work(next);
    }
  };
  await Promise.all(Array.from({ length: Math.min(at, count) }, worker));
};

/** What is said before the line that never ends, and that line. */
const STEPS: Readonly<Record<string, readonly [said: readonly string[], half: string]>> = {
  connect: [[], ''],
  EHLO: [[], 'EHLO c.exam'],
  MAIL: [['EHLO c.example'], 'MAIL FROM:<a@'],
  RCPT: [['EHLO c.example', 'MAIL FROM:<a@far.example>'], 'RCPT TO:<bob@'],
  DATA: [
    ['EHLO c.example', 'MAIL FROM:<a@far.example>', 'RCPT TO:<bob@local.example>', 'DATA'],
    'Subject: x\r\n\r\nha',
  ],
  AUTH: [['EHLO c.example', 'AUTH LOGIN'], 'aG9'],
};

/** Sekisho as a process of its own, so that its descriptors are not the clients' own. */
const ownProcess = async (
  t: Test,
  yaml: string,
  files: Readonly<Record<string, string>> = {},
): Promise<SekishoProcess> => {
  const mta = await startLegacyMta({ forget: SCALE > 1 });
  const config = `upstream: { host: 127.0.0.1, port: ${mta.port} }
local_domains: [local.example]
log: { level: error }
${yaml}`;
  const dir = folder(t, { ...files, 'sekisho.yaml': config });
  const sekisho = await SekishoProcess.serve(['--config', path.join(dir, 'sekisho.yaml')]);
  t.teardown(async () => {
    await sekisho.kill();
    await mta.close();
  });
  return sekisho;
};

const descriptors = ({ child }: SekishoProcess): number => readdirSync(`/proc/${child.pid ?? 0}/fd`).length;

const measure = async (t: Test, port: number, count: number, from?: string): Promise<number[]> => {
  const times: number[] = [];
  for (let i = 0; i < count; i += 1) {
    const begun = performance.now();
    t.equal(await mailBy(port, from), 250);
    times.push(performance.now() - begun);
  }
  return times;
};

const quantile = (times: readonly number[], q: number): number =>
  Math.round([...times].sort((a, b) => a - b)[Math.floor((times.length - 1) * q)] ?? 0);

const told = (times: readonly number[]): string => `${quantile(times, 0.5)} / ${quantile(times, 0.95)} ms`;

/** Each that sends a message holds a connection to the mail server, of which there are 100. */
const SENDING = 60;

t.test('slowloris at every step', linux, async (t) => {
  // Long enough for all of them to be there at once, at any scale.
  const patience = 3_000 * Math.ceil(Math.sqrt(SCALE));
  const sekisho = await ownProcess(
    t,
    `listen: [{ host: 127.0.0.1, port: 0 }]
timeouts: { idle: ${patience}ms, command: ${patience}ms, data_block: 10m, data_rate_grace: ${patience}ms }
devices: [{ name: loopback, networks: [127.0.0.0/8], plaintext_auth: true }]
logins: [{ passwd_file: users }]
`,
    { users: 'u:{PLAIN}p\n' },
  );
  const each = Math.ceil((200 * SCALE) / (Object.keys(STEPS).length - 1));
  await measure(t, sekisho.port, 3);
  const before = await measure(t, sekisho.port, 10);
  let [come, there, most] = [0, 0, 0];
  // One by one: what the kernel's queue of connections cannot hold it drops, and such a client never hears a banner.
  let turn: Promise<unknown> = Promise.resolve();
  const connect = (from: string): Promise<SmtpClient> => {
    const connected = turn.then(async () => {
      const client = await SmtpClient.connect(sekisho.port, from);
      await client.reply(PATIENCE);
      return client;
    });
    turn = connected;
    return connected;
  };
  const drip = async (step: string, i: number): Promise<string> => {
    const [said, half] = STEPS[step] ?? [[], ''];
    const client = await connect(`127.0.2.${1 + (i % 8)}`);
    for (const line of said) {
      const reply = await client.say(line, PATIENCE);
      // On a busy machine it may be too slow for that already.
      if (reply.startsWith('421')) return reply;
    }
    if (half !== '') client.send(half);
    come += 1;
    there += 1;
    most = Math.max(most, there);
    // An octet now and then: none of them may put a deadline off.
    const timer = setInterval(
      () => half !== '' && !client.closed && client.send('x'),
      500 * Math.ceil(SCALE / 10),
    );
    const last = await client.reply(PATIENCE).finally(() => clearInterval(timer));
    client.destroy();
    there -= 1;
    return last;
  };
  const steps = Object.keys(STEPS);
  const countOf = (step: string): number => (step === 'DATA' ? Math.min(each, SENDING) : each);
  const all = steps.reduce((sum, step) => sum + countOf(step), 0);
  const free = descriptors(sekisho);
  const ended = Promise.all(
    steps.map(
      async (step) =>
        [step, await Promise.all(Array.from({ length: countOf(step) }, (_, i) => drip(step, i)))] as const,
    ),
  );
  await eventually('they are all there', () => come >= all * 0.9, PATIENCE);
  const during = await measure(t, sekisho.port, 10);
  for (const [step, replies] of await ended)
    t.strictSame([...new Set(replies.map((reply) => reply.slice(0, 9)))], ['421 4.4.2'], step);
  t.comment(
    `${all} slow clients: a mail takes ${told(during)} (half, 95 of 100) among ${most} of them, ${told(before)} without`,
  );
  await eventually('no session is left', () => descriptors(sekisho) <= free + 17, PATIENCE);
});

t.test('half-open TLS handshakes', linux, async (t) => {
  const { cert, key } = certify(folder(t), 'mail.local.example');
  const handshake = 3_000 * Math.ceil(Math.sqrt(SCALE));
  const sekisho = await ownProcess(
    t,
    `listen:
  - { name: implicit, host: 127.0.0.1, port: 0, tls: implicit }
  - { name: starttls, host: 127.0.0.1, port: 0, tls: starttls }
tls: { cert: ${cert}, key: ${key} }
timeouts: { tls_handshake: ${handshake}ms }
`,
  );
  const [implicit = 0, starttls = 0] = sekisho.ports;
  const free = descriptors(sekisho);
  // The head of a record with a ClientHello that never comes.
  const begin = Buffer.from('16030102000100', 'hex');
  let closed = 0;
  let open = 0;
  const silent = (socket: net.Socket, octets: Buffer): void => {
    open += 1;
    socket.on('error', () => {});
    socket.on('close', () => {
      closed += 1;
    });
    socket.resume();
    socket.write(octets);
    t.teardown(() => socket.destroy());
  };
  await measure(t, starttls, 3);
  const before = await measure(t, starttls, 10);
  await inParallel(100 * SCALE, 50, async (i) => {
    const from = `127.0.3.${1 + (i % 8)}`;
    const socket = net.connect({ port: implicit, host: '127.0.0.1', localAddress: from });
    silent(socket, i % 2 === 0 ? begin : Buffer.alloc(0));
    const client = await SmtpClient.connect(starttls, from);
    await client.reply(PATIENCE);
    await client.say('EHLO c.example', PATIENCE);
    await client.say('STARTTLS', PATIENCE);
    silent(client.socket, i % 2 === 0 ? begin : Buffer.alloc(0));
  });
  const held = open - closed;
  const secured = tls.connect({ port: implicit, host: '127.0.0.1', rejectUnauthorized: false });
  t.equal(await mail(SmtpClient.over(secured)), 250, 'mail passes over TLS meanwhile');
  const during = await measure(t, starttls, 10);
  t.comment(
    `${open} half-open handshakes: a mail takes ${told(during)} (half, 95 of 100) among ${held} of them, ${told(before)} without`,
  );
  await eventually('each of them is closed', () => closed === open, PATIENCE);
  t.equal(open, 200 * SCALE);
  await eventually('no session is left', () => descriptors(sekisho) <= free + 17, PATIENCE);
});

t.test('guessers: hashes are bounded, and a good login still succeeds', async (t) => {
  const mta = await startLegacyMta({ forget: SCALE > 1 });
  const perAddress = 5;
  const dir = folder(t, {
    users: `hoge@local.example:{BLF-CRYPT}${(await hash('right', 8)).replace(/^\$2b/, '$2y')}\n`,
    'sekisho.yaml': `listen: [{ host: 127.0.0.1, port: 0 }]
upstream: { host: 127.0.0.1, port: ${mta.port} }
local_domains: [local.example]
devices: [{ name: loopback, networks: [127.0.0.0/8], plaintext_auth: true }]
logins: [{ passwd_file: users, threads: 1 }]
failed_logins: { per_address: ${perAddress}, per_login: 1000000, delay: 1ms, most_delay: 1ms }
log: { level: error }
`,
  });
  const sekisho = await SekishoProcess.serve(['--config', path.join(dir, 'sekisho.yaml')]);
  t.teardown(async () => {
    await sekisho.kill();
    await mta.close();
  });
  const codes = new Map<number, number>();
  const guess = async (i: number): Promise<void> => {
    const client = await SmtpClient.connect(sekisho.port, `127.0.1.${1 + (i % 10)}`);
    let code = codeOf(await client.reply(PATIENCE));
    if (code === 220) {
      await client.say('EHLO c.example', PATIENCE);
      code = codeOf(await logIn(client, 'hoge@local.example', `wrong ${i}`));
    }
    codes.set(code, (codes.get(code) ?? 0) + 1);
    client.destroy();
  };
  const flood = inParallel(100 * SCALE, 20, guess);
  const times: number[] = [];
  for (let i = 0; i < 5; i += 1) {
    const client = await SmtpClient.connect(sekisho.port, '127.0.0.1');
    await client.reply(PATIENCE);
    await client.say('EHLO c.example', PATIENCE);
    const begun = performance.now();
    t.equal(codeOf(await logIn(client, 'hoge@local.example', 'right')), 235, 'the good login');
    times.push(Math.round(performance.now() - begun));
    client.destroy();
  }
  await flood;
  t.comment(`good logins took ${times.join(', ')} ms; guessers heard ${JSON.stringify([...codes])}`);
  t.notOk(codes.has(235));
  const looked = codes.get(535) ?? 0;
  t.ok((codes.get(421) ?? 0) > 0, 'guessers are sent away');
  // Those that are on their way at once pass the count together.
  t.ok(looked < 100 * SCALE, `${looked} guesses were looked at`);
});

t.test('a flood of refused attempts, and the mail beside it', async (t) => {
  const mta = await startLegacyMta({ forget: SCALE > 1 });
  const sekisho = await SekishoProcess.serve([
    ...['--listen', '127.0.0.1:0', '--upstream', `127.0.0.1:${mta.port}`],
    ...['--local-domain', 'local.example', '--log-level', 'error'],
  ]);
  t.teardown(async () => {
    await sekisho.kill();
    await mta.close();
  });
  await measure(t, sekisho.port, 3);
  const before = await measure(t, sekisho.port, 10);
  let refused = 0;
  let next = 0;
  let over = false;
  const flood = inParallel(150 * SCALE, 30, async () => {
    next += 1;
    const client = await SmtpClient.connect(sekisho.port, `127.0.4.${1 + (next % 8)}`);
    await client.reply(PATIENCE);
    await client.say('EHLO c.example', PATIENCE);
    await client.say('MAIL FROM:<a@far.example>', PATIENCE);
    for (let i = 0; i < 3; i += 1)
      if (codeOf(await client.say('RCPT TO:<y@victim.example>', PATIENCE)) === 550) refused += 1;
    client.destroy();
  }).then(() => {
    over = true;
  });
  const during: number[] = [];
  while (!over && during.length < 100 * SCALE) during.push(...(await measure(t, sekisho.port, 1)));
  await flood;
  t.comment(`a mail takes ${told(before)} (half, 95 of 100), during the flood ${told(during)}`);
  t.equal(refused, 450 * SCALE, 'everyone was refused');
  t.ok(during.length > 0 && quantile(during, 0.5) < 10_000, 'mail went on');
});

/** A literal where one may stand in the sources; what does not compile was none. */
const LITERAL =
  /(?<=[=(,:!&|?[{;>]\s*|^\s*|return )\/(?![*/])((?:\\.|\[(?:\\.|[^\]\\\n])*\]|[^/\\[\n])+)\/([dgimsuvy]*)/gm;

/** The regular expressions of the sources by which something from outside might be read. */
const expressions = (): { readonly file: string; readonly source: string; readonly flags: string }[] => {
  const src = path.resolve(import.meta.dirname ?? 'test/system', '..', '..', 'src');
  const files = readdirSync(src, { recursive: true, encoding: 'utf8' }).filter(
    (file) => file.endsWith('.ts') && !/^(?:cli|demo|admin\/dashboard)\//.test(file),
  );
  return files.flatMap((file) =>
    [...readFileSync(path.join(src, file), 'utf8').matchAll(LITERAL)].flatMap(
      ([, source = '', flags = '']) => {
        try {
          new RegExp(source, flags);
          return [{ file, source, flags }];
        } catch {
          return [];
        }
      },
    ),
  );
};

/** What is repeated to make an expression try again and again. */
const PUMPS = [
  'a',
  '0',
  'a.',
  '.',
  '-',
  ' ',
  '\t',
  '@',
  '<',
  '"',
  '\\',
  '=',
  '(',
  '%',
  '!',
  ':',
  'a ',
  '\r\n',
  'é',
  '1,',
  '[',
  "'",
];
/** Octets; command lines have 1,024, log lines 8,192, and what they are cut into is shorter. */
const LINE = 2_048;
const SLOW = 2_000;

const realm = vm.createContext({});

/**
 * Whether `code` takes longer than SLOW ms; V8 lets an expression be interrupted. That is done by the clock: where another
 * had the processor meanwhile, it is given more time.
 */
const isSlow = (code: string, context: object): boolean => {
  Object.assign(realm, context);
  for (let timeout = SLOW; ; timeout *= 2) {
    const before = process.cpuUsage();
    try {
      vm.runInContext(code, realm, { timeout });
      return false;
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code !== 'ERR_SCRIPT_EXECUTION_TIMEOUT') throw error;
      const { user, system } = process.cpuUsage(before);
      if (user + system >= SLOW * 1_000) return true;
    }
  }
};

const TRY = 'for (const line of lines) { regexp.lastIndex = 0; regexp.test(line); }';

/** The first pump on which an expression takes long. */
const slowPump = (source: string, flags: string): string | undefined => {
  const head = /^\^?((?:[A-Za-z0-9 _:;,@<>=%-](?![*+?{|]))*)/.exec(source)?.[1] ?? '';
  const regexp = new RegExp(source, flags);
  const linesOf = (pump: string): string[] =>
    ['', head].map((each) => `${each}${pump.repeat(Math.ceil(LINE / pump.length))}\0`);
  if (!isSlow(TRY, { regexp, lines: PUMPS.flatMap(linesOf) })) return undefined;
  return PUMPS.find((pump) => isSlow(TRY, { regexp, lines: linesOf(pump) })) ?? 'all together';
};

t.test('no expression backtracks for long over a line', async (t) => {
  const all = expressions();
  t.ok(all.length > 100, `${all.length} expressions`);
  for (const { file, source, flags } of all) {
    const pump = slowPump(source, flags);
    if (pump !== undefined)
      t.fail(`${file}: /${source}/${flags} takes long over many of ${JSON.stringify(pump)}`);
  }
  t.equal(slowPump('^x(?:a+)+$', ''), 'a', 'one that does is caught');
});

t.test('no line of a log is read for long, not even by a pattern made for it', async (t) => {
  const heads = {
    dovecot: 'imap-login: Login: user=<',
    courier: 'LOGIN, user=',
    cyrus: 'login: a [192.0.2.7] ',
    uw: 'Login user=',
    qpopper: '(v4.1.0) POP login by user "',
    popa3d: 'Authentication passed for ',
    exchange: '2026-11-25T00:00:00.000Z,',
  };
  const pieces = [
    ...[
      '>, method=a, rip=192.0.2.7, lip=1',
      ', ip=[192.0.2.7], port=[1]',
      ', tls=a',
      ' PLAIN User logged in',
    ],
    ...[' host=a [192.0.2.7]', '" at (a) 192.0.2.7', ',', '","'],
  ];
  for (const name of LOG_FORMAT_NAMES) {
    const lines = [...pieces, ...PUMPS].map((piece) => ({
      message: `${heads[name]}${piece.repeat(LINE_OCTETS / piece.length)}!`,
    }));
    const read = LOG_FORMATS[name].reader();
    t.notOk(isSlow('for (const line of lines) read({ ...line })', { read, lines }), name);
  }
  const pattern = sitePattern('^x(?:a+)+ (?<user>b+)(?<address>c+)$');
  if (!pattern.ok) throw new Error(pattern.error);
  const message = `x${'a'.repeat(LINE_OCTETS)}`;
  t.notOk(isSlow('read(line)', { read: pattern.value, line: { message, time: 1 } }), "a site's own");
});
