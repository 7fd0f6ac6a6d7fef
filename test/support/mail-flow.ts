/** Mail that flows without end: each message has a name of its own, and it is known what its sender was told. */
import { codeOf, SmtpClient } from './smtp-client.js';

/** What became of one attempt. `cut`: nobody said whether it was taken, and it came to that after the final dot. */
type Attempt = 'taken' | 'cut' | 'not taken';

/** A sender who gives up too soon leaves a message in doubt that nobody lost. */
const PATIENCE = 120_000;

export class MailFlow {
  /** Messages whose sender heard 250 after the final dot. */
  readonly taken = new Set<string>();
  /** Those that some attempt left in doubt. */
  readonly doubtful = new Set<string>();
  /** Attempts that were deferred, refused or cut off before the end. */
  again = 0;
  readonly #port: number;
  readonly #done: Promise<unknown>;
  #going = true;
  #counter = 0;

  /** As many senders at once, each with one message a connection, from addresses of their own. */
  constructor(port: number, senders: number) {
    this.#port = port;
    this.#done = Promise.all(Array.from({ length: senders }, () => this.#send()));
  }

  /** Every message that was begun is sent to its end. */
  async stop(): Promise<void> {
    this.#going = false;
    await this.#done;
  }

  async #send(): Promise<void> {
    while (this.#going) {
      this.#counter += 1;
      const name = `m${this.#counter}`;
      for (;;) {
        const attempt = await this.#attempt(name).catch((): Attempt => 'not taken');
        if (attempt === 'cut') this.doubtful.add(name);
        if (attempt === 'taken') break;
        this.again += 1;
        await new Promise((resolve) => setTimeout(resolve, 50));
      }
      this.taken.add(name);
      await new Promise((resolve) => setTimeout(resolve, 10));
    }
  }

  async #attempt(name: string): Promise<Attempt> {
    const client = await SmtpClient.connect(this.#port);
    try {
      if (codeOf(await client.reply(PATIENCE)) !== 220) return 'not taken';
      for (const line of [
        'EHLO flow.example',
        `MAIL FROM:<${name}@elsewhere.example>`,
        `RCPT TO:<${name}@local.example>`,
      ])
        if (codeOf(await client.say(line, PATIENCE)) !== 250) return 'not taken';
      if (codeOf(await client.say('DATA', PATIENCE)) !== 354) return 'not taken';
      client.send(`Subject: ${name}\r\n\r\n${'It flows.\r\n'.repeat(20)}.\r\n`);
      const code = codeOf(await client.reply(PATIENCE));
      if (code === 250) client.send('QUIT\r\n');
      return code === 250 ? 'taken' : 'cut';
    } finally {
      client.destroy();
    }
  }
}
