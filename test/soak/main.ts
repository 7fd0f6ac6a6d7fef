/**
 * `npm run soak -- --sessions 1000000 [--at-once 32] [--minutes 600] [--stall 50]`: sessions of mixed kinds through one
 * `sekisho serve`. Prints its memory, descriptors and the longest stall of its event loop at every twentieth. Fails when
 * it ends, when a session goes otherwise than it should, when after the first fifth memory grows or the loop stands still
 * for longer than `--stall` ms (0: not judged), or when descriptors are left over once all clients have gone. Where
 * there are two CPUs and `taskset`, it has one for itself: waiting for a CPU is no stall of its own. With fewer than 100,000 sessions or ten marks memory is not judged: a heap fills
 * up before it is collected.
 */
import { execFileSync } from 'node:child_process';
import { once } from 'node:events';
import { mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import os from 'node:os';
import path from 'node:path';
import tls from 'node:tls';
import { parseArgs } from 'node:util';
import { startLegacyMta } from '../../src/demo/legacy-mta.js';
import { certify } from '../support/certificates.js';
import { SekishoProcess } from '../support/process.js';
import { codeOf, SmtpClient } from '../support/smtp-client.js';

const { values } = parseArgs({
  options: {
    sessions: { type: 'string', default: '1000000' },
    'at-once': { type: 'string', default: '32' },
    minutes: { type: 'string', default: '600' },
    stall: { type: 'string', default: '50' },
  },
});
const total = Number(values.sessions);
const span = Number(values.minutes) * 60_000;
const until = Date.now() + span;
const mostStall = Number(values.stall);

const HELLO = 'EHLO c.example\r\n';
const MAIL = 'MAIL FROM:<a@b.example>\r\n';
const INSIDE = 'RCPT TO:<bob@local.example>\r\n';
const OUTSIDE = 'RCPT TO:<y@victim.example>\r\n';

/** Says a group and takes its replies. */
const group = async (client: SmtpClient, text: string, replies: number): Promise<number> => {
  client.send(text);
  let code = 0;
  for (let i = 0; i < replies; i += 1) code = codeOf(await client.reply(60_000));
  return code;
};

type Kind = (client: SmtpClient) => Promise<boolean>;

const mail: Kind = async (client) => {
  await group(client, HELLO, 1);
  await group(client, `${MAIL}${OUTSIDE}${INSIDE}DATA\r\n`, 4);
  const code = await group(client, 'Subject: x\r\n\r\nHello\r\n.\r\n', 1);
  await group(client, 'QUIT\r\n', 1);
  return code === 250;
};

const refusedRelay: Kind = async (client) => {
  await group(client, HELLO, 1);
  return (await group(client, `${MAIL}${OUTSIDE}QUIT\r\n`, 3)) === 221;
};

const smuggler: Kind = async (client) => {
  await group(client, HELLO, 1);
  await group(client, `${MAIL}${INSIDE}DATA\r\n`, 3);
  const code = await group(client, 'Subject: x\r\n\r\nA\n.\nMAIL FROM:<x@y.example>\r\n.\r\n', 1);
  return code >= 400;
};

const goneInMidMessage: Kind = async (client) => {
  await group(client, HELLO, 1);
  await group(client, `${MAIL}${INSIDE}DATA\r\n`, 3);
  client.send('Subject: x\r\n\r\nhalf a mess');
  client.destroy();
  return true;
};

const reset: Kind = async (client) => {
  client.send(HELLO);
  client.socket.resetAndDestroy();
  return true;
};

const badCommands: Kind = async (client) => (await group(client, 'NONSENSE\r\n'.repeat(12), 11)) === 421;

const twoMessages: Kind = async (client) => {
  await group(client, HELLO, 1);
  for (let i = 0; i < 2; i += 1) {
    await group(client, `${MAIL}${INSIDE}DATA\r\n`, 3);
    if ((await group(client, `Subject: x\r\n\r\n${'x'.repeat(900)}\r\n.\r\n`, 1)) !== 250) return false;
  }
  return (await group(client, 'QUIT\r\n', 1)) === 221;
};

/** TLS, and a password guessed wrong. */
const guess: Kind = async (client) => {
  await group(client, HELLO, 1);
  if ((await group(client, 'STARTTLS\r\n', 1)) !== 220) return false;
  client.socket.removeAllListeners('data');
  const socket = tls.connect({ socket: client.socket, rejectUnauthorized: false });
  const secure = SmtpClient.over(socket);
  try {
    await once(socket, 'secureConnect');
    await group(secure, HELLO, 1);
    return (await group(secure, 'AUTH PLAIN AGJvYgB3cm9uZw==\r\n', 1)) === 535;
  } finally {
    // Before the raw one, of which it reads.
    secure.destroy();
  }
};

/** In these shares, as in front of a server that is tried more than it is used; all of them go round once in a round. */
const KINDS: readonly (readonly [times: number, kind: Kind])[] = [
  ...([
    [16, refusedRelay],
    [12, mail],
    [4, badCommands],
    [4, reset],
    [4, smuggler],
  ] as const),
  ...([
    [4, goneInMidMessage],
    [4, twoMessages],
    [1, guess],
  ] as const),
];

/** Spread over the round, so that the kinds are always mixed. */
const ROUND: readonly Kind[] = KINDS.flatMap(([times, kind]) =>
  Array.from({ length: times }, (_, i) => ({ at: (i + 0.5) / times, kind })),
)
  .sort((a, b) => a.at - b.at)
  .map(({ kind }) => kind);

const dir = mkdtempSync(path.join(os.tmpdir(), 'sekisho-soak-'));
// The longest stall is told on standard error by a module that is loaded beside Sekisho.
writeFileSync(
  path.join(dir, 'stalls.mjs'),
  `import { monitorEventLoopDelay, PerformanceObserver } from 'node:perf_hooks';
const resolution = 10;
const h = monitorEventLoopDelay({ resolution });
h.enable();
let collecting = 0;
new PerformanceObserver((list) => {
  for (const { duration } of list.getEntries()) collecting = Math.max(collecting, duration);
}).observe({ type: 'gc' });
setInterval(() => {
  // From tick to tick: what is over the time that was asked for.
  const ms = (n) => Math.max(0, n / 1e6 - resolution).toFixed(0);
  process.stderr.write('stalls: ' + ms(h.max) + ' ' + ms(h.percentile(99.9)) + ' ' + collecting.toFixed(0) + ' ms\\n');
  h.reset();
  collecting = 0;
}, 1000).unref();
`,
);
process.env.NODE_OPTIONS = `--import=${path.join(dir, 'stalls.mjs')} ${process.env.SOAK_OPTIONS ?? ''}`;
const mta = await startLegacyMta({ forget: true });
const { cert, key } = certify(dir, 'mail.local.example');
writeFileSync(path.join(dir, 'users'), 'bob:{PLAIN}right\n');
writeFileSync(
  path.join(dir, 'sekisho.yaml'),
  `listen: [{ host: 127.0.0.1, port: 0, tls: starttls }]
upstream: { host: 127.0.0.1, port: ${mta.port} }
local_domains: [local.example]
tls: { cert: ${cert}, key: ${key} }
logins: [{ passwd_file: users }]
failed_logins: { per_address: 1000000, per_login: 1000000, delay: 1ms, most_delay: 1ms }
log: { level: error }
`,
);
const sekisho = await SekishoProcess.serve(['--config', path.join(dir, 'sekisho.yaml')]);
// Of what came before it was ready nothing is judged.
await new Promise((resolve) => setTimeout(resolve, 1_500));
sekisho.err = '';
const pid = sekisho.child.pid ?? 0;
if (os.cpus().length > 1) {
  try {
    execFileSync('taskset', ['-acp', '0', String(process.pid)]);
    execFileSync('taskset', ['-acp', '1', String(pid)]);
  } catch (error) {
    console.log(`soak: it shares its CPU: ${String(error)}`);
  }
}
const memory = (): number =>
  Number(/VmRSS:\s+(\d+)/.exec(readFileSync(`/proc/${pid}/status`, 'utf8'))?.[1]) / 1024;
const descriptors = (): number => readdirSync(`/proc/${pid}/fd`).length;

const ADDRESSES = 200;
let begun = 0;
let done = 0;
let odd = 0;
/** The first ones are told with what Sekisho's log has to say. */
const tellOdd = (what: string): void => {
  odd += 1;
  if (odd <= 3) console.log(`soak: odd: ${what}\n${sekisho.out.slice(-2_000)}`);
};

const session = async (): Promise<void> => {
  const kind = ROUND[begun % ROUND.length];
  begun += 1;
  // From many addresses: the ports of one are used up for the minute that the kernel keeps them back.
  const client = await SmtpClient.connect(sekisho.port, `127.0.1.${1 + (begun % ADDRESSES)}`);
  try {
    await client.reply(60_000);
    if (kind !== undefined && !(await kind(client))) tellOdd(`${kind.name} ended otherwise`);
  } catch (error) {
    tellOdd(`${kind?.name}: ${String(error)}`);
  } finally {
    client.destroy();
    done += 1;
  }
};

const started = Date.now();
const before = descriptors();
const marks: { memory: number; stall: number }[] = [];
let last = { done: 0, time: Date.now() };
const tell = (): void => {
  const stalls = [...sekisho.err.matchAll(/^stalls: (\d+) (\d+) (\d+) ms$/gm)];
  sekisho.err = '';
  const most = (at: number): number => Math.max(0, ...stalls.map((each) => Number(each[at])));
  marks.push({ memory: memory(), stall: most(1) });
  const rate = ((done - last.done) * 1000) / Math.max(1, Date.now() - last.time);
  last = { done, time: Date.now() };
  console.log(
    `soak: ${done} sessions, ${rate.toFixed(0)}/s, ${memory().toFixed(0)} MB, ${descriptors()} descriptors, longest stall ${most(1)} ms (collecting ${most(3)} ms; 99.9 % of ticks below ${most(2)} ms), ${odd} odd`,
  );
};
let markAt = { sessions: 0, time: started };
const worker = async (): Promise<void> => {
  while (begun < total && Date.now() < until && sekisho.code === undefined) {
    await session();
    if (done < markAt.sessions && Date.now() < markAt.time) continue;
    markAt = { sessions: done + Math.max(1, Math.floor(total / 20)), time: Date.now() + span / 20 };
    tell();
  }
};
await Promise.all(Array.from({ length: Number(values['at-once']) }, worker));
const crashed = sekisho.code !== undefined;
// Connections to the MTA rest for a minute.
const patience = Date.now() + 120_000;
while (!crashed && descriptors() > before && Date.now() < patience)
  await new Promise((resolve) => setTimeout(resolve, 500));
const left = crashed ? 0 : descriptors() - before;
await sekisho.kill('SIGTERM');
await mta.close();
rmSync(dir, { recursive: true });

const faults: string[] = [];
if (crashed) faults.push(`sekisho ended with ${sekisho.code}`);
if (odd > 0) faults.push(`${odd} sessions went otherwise than they should`);
if (left > 0) faults.push(`${left} descriptors are left over`);
// The first fifth warms up.
const later = marks.slice(Math.ceil(marks.length / 5));
const stall = Math.max(0, ...later.map((mark) => mark.stall));
if (mostStall > 0 && stall > mostStall) faults.push(`its event loop stood still for ${stall} ms`);
const mean = (part: typeof marks): number => part.reduce((sum, { memory }) => sum + memory, 0) / part.length;
const half = Math.floor(later.length / 2);
const growth = mean(later.slice(half)) - mean(later.slice(0, half));
const judged = marks.length >= 10 && done >= 100_000;
// What a collector leaves lying about differs by less between halves.
const grows = judged && growth > 4 + 0.05 * mean(later.slice(0, half));
if (grows) faults.push(`its memory grows: by ${growth.toFixed(0)} MB between the halves`);
console.log(
  `soak: memory ${judged ? (grows ? 'grows' : 'is flat') : 'is not judged after so few sessions'}: ${marks.map(({ memory }) => memory.toFixed(0)).join(', ')} MB`,
);
for (const fault of faults) console.log(`soak: failed: ${fault}`);
process.exit(faults.length > 0 ? 1 : 0);
