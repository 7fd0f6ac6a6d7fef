/** What a session tells the mail server in a turn: commands that belong together go out in one write. */
import { printCommand } from '../smtp/command.js';
import type { UpstreamCommand } from '../smtp/session/events.js';
import type { Timeouts } from './options.js';
import type { UpstreamConnection } from './upstream.js';

export class UpstreamLines {
  readonly #timeouts: Timeouts;
  #text = '';
  #count = 0;
  #timeout = 0;

  constructor(timeouts: Timeouts) {
    this.#timeouts = timeouts;
  }

  add(command: UpstreamCommand): void {
    const { upstreamMail, upstreamRcpt, upstreamData } = this.#timeouts;
    const { verb } = command;
    this.#text += printCommand(command);
    this.#count += 1;
    this.#timeout = verb === 'MAIL' ? upstreamMail : verb === 'RCPT' ? upstreamRcpt : upstreamData;
  }

  clear(): void {
    this.#text = '';
    this.#count = 0;
  }

  flush(connection: UpstreamConnection | undefined): void {
    if (this.#count === 0) return;
    connection?.send(this.#text, this.#timeout, this.#count);
    this.clear();
  }
}
