/** Replies of an SMTP server, a whole one at a time, from a socket that may say anything or nothing. */
import type { Socket } from 'node:net';

/** Octets of one reply; RFC 5321 4.5.3.1.5 has 512 a line. */
const MOST = 65_536;

export class LineReader {
  readonly #socket: Socket;
  readonly #patience: number;
  #text = '';
  #fault: Error | undefined;
  #wake: () => void = () => {};

  /** `patience`: milliseconds for each reply. */
  constructor(socket: Socket, patience: number) {
    this.#socket = socket;
    this.#patience = patience;
    socket.setEncoding('latin1');
    socket.on('data', (chunk) => {
      this.#text += String(chunk);
      if (this.#text.length > MOST) this.#end(new Error(`it says more than ${MOST} octets at once`));
      else this.#wake();
    });
    socket.on('error', (error) => this.#end(error));
    socket.on('close', () => this.#end(new Error('it closed the connection')));
  }

  /** The lines of the next reply, joined by LF, without line ends. */
  async reply(): Promise<string> {
    const end = Date.now() + this.#patience;
    for (;;) {
      const match = /^(?:\d{3}-[^\n]*\n)*\d{3}(?: [^\n]*)?\n/.exec(this.#text);
      if (match !== null) {
        this.#text = this.#text.slice(match[0].length);
        return match[0].replace(/\r?\n/g, '\n').trimEnd();
      }
      if (/^(?!\d{3}[ -]?)[^\n]*\n/.test(this.#text)) throw new Error('it does not speak SMTP');
      if (this.#fault !== undefined) throw this.#fault;
      const left = end - Date.now();
      if (left <= 0) throw new Error(`no reply within ${this.#patience / 1_000} s`);
      await this.#more(left);
    }
  }

  async #more(time: number): Promise<void> {
    let timer: NodeJS.Timeout | undefined;
    await new Promise<void>((resolve) => {
      this.#wake = resolve;
      timer = setTimeout(resolve, time);
    });
    clearTimeout(timer);
  }

  #end(error: Error): void {
    this.#fault ??= error;
    this.#socket.destroy();
    this.#wake();
  }
}
