/**
 * Refusals that take their time: each one of a session costs a stranger twice as long as the one before. Only so many
 * sessions are held at once, and none that holds a connection to the mail server, so that nobody can tie Sekisho up by it.
 */
import type { Note, Peer } from '../base/events.js';
import type { Ip } from '../base/ip.js';
import type { Reply } from '../smtp/reply.js';

export interface TarpitOptions {
  /** Milliseconds that the first refusal is held back; 0: none is. */
  readonly delay: number;
  readonly mostDelay: number;
  /** Sessions held at once; further ones are not. */
  readonly sessions: number;
}

export const DEFAULT_TARPIT: TarpitOptions = { delay: 0, mostDelay: 20_000, sessions: 500 };

/** Who is refused, and by what connection. */
export interface Refused {
  readonly peer: Peer;
  readonly client: Ip;
}

export class Tarpit {
  readonly #options: TarpitOptions;
  readonly #note: Note;
  readonly #knows: (ip: Ip) => boolean;
  #held = 0;

  constructor(options: TarpitOptions, note: Note, knows: (ip: Ip) => boolean) {
    this.#options = options;
    this.#note = note;
    this.#knows = knows;
  }

  /**
   * `nth`: how many refusals the session has had, with this one; `connection.hold` holds what is said back; `loan`: what
   * the session has of the mail server just now.
   */
  refused(
    { peer, client }: Refused,
    { code }: Reply,
    nth: number,
    connection: { hold(ms: number, over: () => void): void },
    loan: unknown,
  ): void {
    const { delay, mostDelay, sessions } = this.#options;
    // 535 has its own delay, see identity/throttle.
    if (delay === 0 || nth === 0 || loan !== undefined || code < 500 || code === 535) return;
    if (peer.login !== undefined || peer.window !== undefined || this.#knows(client)) return;
    const wait = Math.min(mostDelay, delay * 2 ** Math.min(nth - 1, 20));
    const full = this.#held >= sessions;
    this.#note({ type: 'tarpit', peer, result: full ? 'full' : 'held', seconds: full ? 0 : wait / 1000 });
    if (full) return;
    this.#held += 1;
    connection.hold(wait, () => {
      this.#held -= 1;
    });
  }
}
