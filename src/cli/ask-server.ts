/** What a mail server says of itself: its greeting, and its answer to EHLO or HELO. */
import net from 'node:net';
import { err, ok, type Result } from '../base/result.js';
import { ReplyParser, type UpstreamReply } from '../smtp/reply-parser.js';

export interface ServerWords {
  /** Lines of the greeting, without codes. */
  readonly greeting: readonly string[];
  /** Lines of the answer to EHLO; undefined: it knows HELO only, or neither. */
  readonly ehlo: readonly string[] | undefined;
  /** This host's address as the server sees it. */
  readonly from: string;
}

class Dialogue {
  readonly #socket: net.Socket;
  readonly #parser = new ReplyParser();
  #wake: () => void = () => {};
  #end: string | undefined;

  constructor(host: string, port: number, patience: number) {
    this.#socket = net.connect({ host, port });
    this.#socket.setTimeout(patience, () => this.#over(`no answer within ${patience / 1000} s`));
    this.#socket.on('data', (chunk) => {
      this.#parser.push(chunk);
      this.#wake();
    });
    this.#socket.on('error', (error) => this.#over(error.message));
    this.#socket.on('close', () => this.#over('it closed the connection'));
  }

  async reply(): Promise<Result<UpstreamReply, string>> {
    for (;;) {
      const scan = this.#parser.next();
      if (scan.kind === 'reply') return ok(scan.reply);
      if (scan.kind === 'fault') return err(`not an SMTP reply: ${scan.why}`);
      if (this.#end !== undefined) return err(this.#end);
      await new Promise<void>((resolve) => {
        this.#wake = resolve;
      });
    }
  }

  say(line: string): Promise<Result<UpstreamReply, string>> {
    this.#socket.write(`${line}\r\n`, 'latin1');
    return this.reply();
  }

  get from(): string {
    return (this.#socket.localAddress ?? '').replace(/^::ffff:/, '');
  }

  close(): void {
    this.#socket.end('QUIT\r\n');
    this.#socket.setTimeout(1_000, () => this.#socket.destroy());
  }

  #over(why: string): void {
    this.#end ??= why;
    this.#socket.destroy();
    this.#wake();
  }
}

/** `patience`: ms without a word. */
export const askServer = async (
  host: string,
  port: number,
  ownName: string,
  patience = 30_000,
): Promise<Result<ServerWords, string>> => {
  const dialogue = new Dialogue(host, port, patience);
  const greeting = await dialogue.reply();
  if (!greeting.ok) return greeting;
  const { from } = dialogue;
  const { code, lines } = greeting.value;
  if (code !== 220) {
    dialogue.close();
    return err(`greeted with ${code} ${lines.join(' ')}`);
  }
  const ehlo = await dialogue.say(`EHLO ${ownName}`);
  dialogue.close();
  return ok({
    greeting: lines,
    ehlo: ehlo.ok && ehlo.value.code === 250 ? ehlo.value.lines : undefined,
    from,
  });
};
