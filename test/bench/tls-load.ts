/**
 * The generator for STARTTLS: `node --import=tsx test/bench/tls-load.ts NAME=VALUE …`, with the options and the answer of
 * native/load.c. Node's own TLS, a full handshake for each session; what counts is the CPU of the server.
 */
import { once } from 'node:events';
import net from 'node:net';
import tls from 'node:tls';

const number = (name: string, otherwise: number): number =>
  Number(process.argv.find((word) => word.startsWith(`${name}=`))?.slice(name.length + 1) ?? otherwise);

const [port, seconds] = [number('port', 0), number('seconds', 3)];
const [connections, refused, sources] = [
  number('connections', 16),
  number('refused', 0),
  number('sources', 8),
];
const MESSAGE = `Subject: benchmark\r\n\r\n${`${'x'.repeat(76)}\r\n`.repeat(13)}.\r\n`;

/** A dialogue in lock-step: says a line and waits for its whole reply. */
const dialogue = (socket: net.Socket): ((line: string, code: string) => Promise<void>) => {
  let unread = '';
  let wake: () => void = () => undefined;
  socket.setEncoding('latin1');
  socket.on('data', (text: string) => {
    unread += text;
    wake();
  });
  let over = false;
  for (const end of ['close', 'error'])
    socket.on(end, () => {
      over = true;
      wake();
    });
  return async (line, code) => {
    if (line !== '') socket.write(line);
    for (;;) {
      const whole = /^(?:\d{3}-[^\n]*\n)*(\d{3}) [^\n]*\n/.exec(unread);
      if (whole !== null) {
        unread = unread.slice(whole[0].length);
        if (!whole[1]?.startsWith(code)) throw new Error(`${line.trim()}: ${whole[0].trim()}`);
        return;
      }
      if (over) throw new Error(`${line.trim()}: closed`);
      await new Promise<void>((resolve) => (wake = resolve));
    }
  };
};

const count = { started: 0, sessions: 0, messages: 0, refused: 0, errors: 0, error: '' };
const times: number[] = [];

const session = async (bad: boolean, from: string): Promise<void> => {
  const raw = net.connect({ host: '127.0.0.1', port, localAddress: from, noDelay: true });
  raw.on('error', () => undefined);
  try {
    const clear = dialogue(raw);
    await clear('', '2');
    await clear('EHLO client.example\r\n', '2');
    await clear('STARTTLS\r\n', '2');
    raw.removeAllListeners('data');
    const socket = tls.connect({ socket: raw, rejectUnauthorized: false });
    await once(socket, 'secureConnect');
    const say = dialogue(socket);
    await say('EHLO client.example\r\n', '2');
    await say('MAIL FROM:<a@sender.example>\r\n', '2');
    await say(`RCPT TO:<${bad ? 'y@victim.example' : 'u@local.example'}>\r\n`, bad ? '5' : '2');
    if (!bad) {
      await say('DATA\r\n', '3');
      await say(MESSAGE, '2');
    }
    count[bad ? 'refused' : 'messages'] += 1;
    await say('QUIT\r\n', '2');
    count.sessions += 1;
  } finally {
    raw.destroy();
  }
};

const begun = performance.now();
const worker = async (): Promise<void> => {
  while (performance.now() - begun < seconds * 1_000) {
    const n = count.started++;
    const from = performance.now();
    try {
      await session((n * 37) % 100 < refused, `127.0.0.${2 + (n % sources)}`);
      times.push((performance.now() - from) * 1_000);
    } catch (error) {
      count.errors += 1;
      count.error ||= error instanceof Error ? error.message : String(error);
    }
  }
};
const used = process.cpuUsage();
await Promise.all(Array.from({ length: connections }, worker));
const { user, system } = process.cpuUsage(used);
times.sort((a, b) => a - b);
const at = (share: number): number => Math.round(times[Math.floor(share * (times.length - 1))] ?? 0);
const took = (performance.now() - begun) / 1_000;
console.log(JSON.stringify({ seconds: took, ...count, p50: at(0.5), p99: at(0.99), cpu: user + system }));
