/** What a newcomer sees first: an open relay, and the same relay closed. */
import { once } from 'node:events';
import net from 'node:net';
import { createInterface } from 'node:readline';
import { compose } from '../../app/compose.js';
import { loadSetup } from '../../app/config.js';
import { levelOf } from '../../app/log.js';
import { classicText, escapeText } from '../../app/log-classic.js';
import type { SekishoEvent } from '../../base/events.js';
import { startLegacyMta } from '../../demo/legacy-mta.js';
import { complain, print } from '../output.js';

const LOCAL = 'example.org';
const PREFERRED_PORT = 2525;

/** A port that is free now, the preferred one if it can be had. */
const choosePort = async (): Promise<number> => {
  const probe = net.createServer();
  const free = await new Promise<boolean>((resolve) => {
    probe.once('error', () => resolve(false));
    probe.listen({ host: '127.0.0.1', port: PREFERRED_PORT }, () => resolve(true));
  });
  if (!free) return 0;
  probe.close();
  await once(probe, 'close');
  return PREFERRED_PORT;
};

/** Says the lines one by one and prints the dialogue. */
const play = async (port: number, lines: readonly string[]): Promise<void> => {
  const socket = net.connect({ port, host: '127.0.0.1' });
  const replies = createInterface({ input: socket })[Symbol.asyncIterator]();
  const hear = async (): Promise<void> => {
    for (;;) {
      const { value, done } = await replies.next();
      if (done === true) return;
      print(`  S: ${value}`);
      if (!/^\d{3}-/.test(value)) return;
    }
  };
  await hear();
  for (const line of lines) {
    for (const each of line.split('\r\n')) print(`  C: ${each}`);
    socket.write(`${line}\r\n`);
    await hear();
  }
  socket.end();
};

const RELAY = ['MAIL FROM:<x@spam.example>', 'RCPT TO:<y@victim.example>'];
const HACK = `RCPT TO:<y%victim.example@${LOCAL}>`;
const MAIL = [`RCPT TO:<you@${LOCAL}>`, 'DATA', 'Subject: hello\r\n\r\nIt works.\r\n.', 'QUIT'];

const showEvent = (event: SekishoEvent): void => {
  if (levelOf(event) !== 'debug') print(`log: ${escapeText(classicText(event))}`);
};

export const demo = async ({ once: onlyOnce }: { once?: boolean }): Promise<void> => {
  const mta = await startLegacyMta({
    hostname: `legacy.${LOCAL}`,
    onMessage: ({ from, to, bytes }) => {
      print(`MTA: took a message from ${escapeText(from)} to ${escapeText(to.join(', '))}, ${bytes} octets`);
    },
  });
  const port = await choosePort();
  const setup = loadSetup({
    listen: [`127.0.0.1:${port}`],
    upstream: [`${mta.host}:${mta.port}`],
    localDomain: [LOCAL],
  });
  if (!setup.ok) return complain(setup.error.lines, 2);
  let talking = false;
  const { proxy } = compose(setup.value, {
    subscribers: [(event) => (talking ? showEvent(event) : undefined)],
    log: false,
  });
  const [listening] = await proxy.start();
  const gate = listening?.port ?? 0;

  print(`A legacy MTA that relays for anyone listens on ${mta.host}:${mta.port}. Asked directly:\n\n`);
  await play(mta.port, ['HELO stranger.example', ...RELAY, 'QUIT']);
  print(
    `\nIt took the bait. Sekisho stands in front of it on 127.0.0.1:${gate}, for ${LOCAL}. Asked there:\n\n`,
  );
  await play(gate, ['EHLO stranger.example', ...RELAY, HACK, ...MAIL]);
  print('\nThe relay was refused, in both disguises, and the local mail was taken.');
  if (onlyOnce === true) {
    await proxy.stop();
    return mta.close();
  }
  print(`
Try it yourself, for example with

  nc -C 127.0.0.1 ${gate}        (or: telnet 127.0.0.1 ${gate})
  curl -s --crlf smtp://127.0.0.1:${gate} --mail-from x@spam.example --mail-rcpt y@victim.example -T README.md
  curl -s --crlf smtp://127.0.0.1:${gate} --mail-from x@spam.example --mail-rcpt you@${LOCAL} -T README.md

The first curl is refused (exit code 55), the second delivers. Then put it before your own server:

  node dist/cli/main.js serve --help

Ctrl-C ends the demo. What happens from here on:
`);
  talking = true;
  const end = (): void =>
    void proxy
      .stop()
      .then(() => mta.close())
      .then(() => process.exit(0));
  process.on('SIGINT', end);
  process.on('SIGTERM', end);
};
