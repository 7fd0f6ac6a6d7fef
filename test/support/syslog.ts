/** Where programs send what they tell syslog: a datagram socket, of which Node knows nothing. */
import os from 'node:os';
import { AF_UNIX, errnoText, type Libc, loadLibc, SOCK_DGRAM, SOCK_NONBLOCK } from '../../src/host/libc.js';

const address = (path: string): Buffer => {
  const made = Buffer.alloc(110);
  made[os.endianness() === 'LE' ? 0 : 1] = AF_UNIX;
  made.write(path, 2, 107, 'utf8');
  return made;
};

export class Syslog {
  #text = '';
  /** The kernel holds ten datagrams; whoever sends the eleventh waits. */
  readonly #timer = setInterval(() => this.#drain(), 20).unref();

  private constructor(
    private readonly libc: Libc,
    private readonly fd: number,
  ) {}

  static async open(path: string): Promise<Syslog> {
    const libc = await loadLibc();
    if (!libc.ok) throw new Error(libc.error);
    const made = libc.value.socket(AF_UNIX, SOCK_DGRAM | SOCK_NONBLOCK);
    if (!made.ok) throw new Error(errnoText(made.error));
    const bound = libc.value.bind(made.value, address(path));
    if (!bound.ok) throw new Error(errnoText(bound.error));
    return new Syslog(libc.value, made.value);
  }

  /** All that has come, a line each. */
  get text(): string {
    this.#drain();
    return this.#text;
  }

  #drain(): void {
    for (;;) {
      const datagram = this.libc.receive(this.fd, 65_536);
      if (!datagram.ok || datagram.value.length === 0) return;
      this.#text += `${datagram.value.toString('latin1').replace(/\0$/, '').trimEnd()}\n`;
    }
  }

  close(): void {
    clearInterval(this.#timer);
    this.libc.close(this.fd);
  }
}
