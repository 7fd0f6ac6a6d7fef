/** Many sessions, many at once, a very large message: memory and descriptors go back to where they were. */
import { readdirSync, readFileSync } from 'node:fs';
import t from 'tap';
import { startLegacyMta } from '../support/legacy-mta.js';
import { SekishoProcess } from '../support/process.js';
import { codeOf, SmtpClient } from '../support/smtp-client.js';

const linux = process.platform === 'linux' ? {} : { skip: 'needs /proc' };

/** Megabytes; `VmHWM` is the most there ever was. */
const memory = (pid: number, what: 'VmRSS' | 'VmHWM'): number =>
  Number(new RegExp(`${what}:\\s+(\\d+) kB`).exec(readFileSync(`/proc/${pid}/status`, 'utf8'))?.[1]) / 1024;

const descriptors = (pid: number): number => readdirSync(`/proc/${pid}/fd`).length;

const settled = async (holds: () => boolean, patience = 60_000): Promise<boolean> => {
  const end = Date.now() + patience;
  while (!holds() && Date.now() < end) await new Promise((resolve) => setTimeout(resolve, 50));
  return holds();
};

t.test('many sessions, then many at once', linux, async (t) => {
  const mta = await startLegacyMta();
  const sekisho = await SekishoProcess.serve([
    ...[
      '--listen',
      '127.0.0.1:0',
      '--upstream',
      `127.0.0.1:${mta.port}`,
      '--local-domain',
      'local.example',
      '--log-level',
      'error',
    ],
  ]);
  t.teardown(async () => {
    await sekisho.kill();
    await mta.close();
  });
  const pid = sekisho.child.pid ?? 0;
  const first = descriptors(pid);

  const session = async (): Promise<number> => {
    const client = await SmtpClient.connect(sekisho.port, '127.0.0.2');
    await client.reply();
    client.send('EHLO c.example\r\n');
    await client.reply();
    client.send(
      'MAIL FROM:<a@b.example>\r\nRCPT TO:<y@victim.example>\r\nRCPT TO:<bob@local.example>\r\nDATA\r\n',
    );
    for (let i = 0; i < 4; i += 1) await client.reply();
    client.send('Subject: x\r\n\r\nx\r\n.\r\nQUIT\r\n');
    const code = codeOf(await client.reply());
    await client.end();
    return code;
  };
  const many = async (count: number): Promise<number> => {
    let accepted = 0;
    let left = count;
    const worker = async (): Promise<void> => {
      while (left > 0) {
        left -= 1;
        if ((await session()) === 250) accepted += 1;
      }
    };
    await Promise.all(Array.from({ length: 16 }, worker));
    return accepted;
  };

  await t.test('10,000 in a row', async (t) => {
    t.equal(await many(10_000), 10_000);
    t.equal(mta.messages.length, 10_000, 'each message once');
    // A heap grows until its collector finds it worth a look, and when that is depends on the machine. What leaks
    // grows in every stretch; what waits to be collected stops at one of them.
    const marks = [memory(pid, 'VmRSS')];
    let least = Number.POSITIVE_INFINITY;
    while (least > 4 && marks.length <= 12) {
      t.equal(await many(2_000), 2_000);
      marks.push(memory(pid, 'VmRSS'));
      least = Math.min(least, marks.at(-1)! - marks.at(-2)!);
    }
    t.ok(least <= 4, `memory stays: ${marks.map((mark) => `${mark.toFixed(0)} MB`).join(', ')}`);
    t.ok(marks.at(-1)! < 400, `and is bounded: ${marks.at(-1)!.toFixed(0)} MB`);
    t.ok(
      await settled(() => descriptors(pid) <= first + 17),
      `descriptors: ${first}, then ${descriptors(pid)}`,
    );
  });

  await t.test('2,000 at once', async (t) => {
    const before = descriptors(pid);
    const clients: SmtpClient[] = [];
    for (let i = 0; i < 40; i += 1) {
      const batch = Array.from({ length: 50 }, () => SmtpClient.connect(sekisho.port, '127.0.0.3'));
      clients.push(...(await Promise.all(batch)));
    }
    t.ok(
      (await Promise.all(clients.map((client) => client.reply()))).every((reply) => codeOf(reply) === 220),
    );
    const greeted = await Promise.all(clients.map((client) => client.say('EHLO c.example')));
    t.ok(
      greeted.every((reply) => codeOf(reply) === 250),
      'all are served',
    );
    t.ok(descriptors(pid) >= before + 2_000 - 20, 'they are all there');
    t.equal(await session(), 250, 'and a newcomer too');
    const most = memory(pid, 'VmRSS');
    for (const client of clients) client.destroy();
    t.ok(
      await settled(() => descriptors(pid) <= first + 17),
      `descriptors: ${before}, then ${descriptors(pid)}`,
    );
    t.ok(most < 400, `memory: ${most.toFixed(0)} MB`);
  });
});

t.test('a message of 1 GB passes in constant memory', linux, async (t) => {
  const mta = await startLegacyMta({ forget: true });
  const sekisho = await SekishoProcess.serve([
    ...['--listen', '127.0.0.1:0', '--upstream', `127.0.0.1:${mta.port}`, '--local-domain', 'local.example'],
  ]);
  t.teardown(async () => {
    await sekisho.kill();
    await mta.close();
  });
  const client = await SmtpClient.connect(sekisho.port);
  await client.reply();
  for (const line of ['EHLO c.example', 'MAIL FROM:<a@b.example>', 'RCPT TO:<bob@local.example>', 'DATA'])
    await client.say(line);
  const before = memory(sekisho.child.pid ?? 0, 'VmHWM');
  const block = Buffer.from(`${'x'.repeat(998)}\r\n`.repeat(1_000));
  for (let i = 0; i < 1_000; i += 1) {
    if (!client.socket.write(block)) await new Promise((resolve) => client.socket.once('drain', resolve));
  }
  t.equal(codeOf(await client.say('.', 60_000)), 250);
  t.ok((mta.messages[0]?.bytes ?? 0) >= 1_000_000_000, 'all of it arrived');
  const most = memory(sekisho.child.pid ?? 0, 'VmHWM');
  t.ok(most - before < 256, `memory: ${before.toFixed(0)} MB, at most ${most.toFixed(0)} MB`);
  client.destroy();
});
