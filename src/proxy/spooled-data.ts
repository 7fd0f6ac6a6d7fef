/**
 * DATA for an MTA that must not wait within a message (CVE-2006-0058): the client's DATA is answered here, its message
 * goes into a spool, and the MTA hears of DATA only when the message is whole. To the session machine it looks as if the
 * MTA had been there all the time; the reply to the final dot is the MTA's own.
 */
import { REPLIES, type Reply } from '../smtp/reply.js';
import type { UpstreamReply } from '../smtp/reply-parser.js';
import type { MessageTarget } from './message-stream.js';
import { Spool, type SpoolRoom } from './spool.js';
import type { UpstreamConnection } from './upstream.js';

/** As if the MTA had said it. */
const said = ({ code, enhanced, lines }: Reply): UpstreamReply => ({ code, enhanced, lines });

export const GO_AHEAD: UpstreamReply = said(REPLIES.startData);

export interface SpooledDataListener {
  /** The client may go on. */
  room(): void;
  /** The message cannot be kept; the MTA has not heard of it. */
  refused(reply: Reply): void;
  /** Answers the final dot in the MTA's place: it does not have the message. The connection is closed. */
  broken(reply: UpstreamReply, why: string): void;
}

type Stage =
  /** The client's message comes in; the MTA knows of its recipients only. */
  | 'taking'
  /** DATA was said. */
  | 'asked'
  | 'sending'
  /** The final dot is out. */
  | 'finishing'
  | 'over';

export class SpooledData implements MessageTarget {
  readonly #connection: UpstreamConnection;
  readonly #listener: SpooledDataListener;
  readonly #timeout: number;
  readonly #head: string;
  readonly #spool: Spool;
  #stage: Stage = 'taking';
  #drained: () => void = () => {};

  /** `timeout`: for the reply to DATA, ms. `head`: the Received line. */
  constructor(
    connection: UpstreamConnection,
    room: SpoolRoom,
    timeout: number,
    head: string,
    listener: SpooledDataListener,
  ) {
    this.#connection = connection;
    this.#listener = listener;
    this.#timeout = timeout;
    this.#head = head;
    this.#spool = new Spool(room, {
      room: () => listener.room(),
      failed: () => this.#fault(REPLIES.spoolFull, 'the spool failed'),
    });
  }

  get preset(): MessageTarget['preset'] {
    return this.#connection.preset;
  }

  get capabilities(): MessageTarget['capabilities'] {
    return this.#connection.capabilities;
  }

  /** The MTA has not heard of DATA: the connection is as it was before it. */
  get untouched(): boolean {
    return this.#stage === 'taking';
  }

  /** The MTA may have the message. */
  get finishing(): boolean {
    return this.#stage === 'finishing';
  }

  /** The spool keeps what it takes. */
  readonly pending = true;

  data(view: Buffer): boolean {
    if (this.#stage !== 'taking') return true;
    const taken = this.#spool.add(view);
    if (taken === 'full') this.#listener.refused(REPLIES.spoolFull);
    return taken !== 'wait';
  }

  /** The client's final dot: now the MTA hears of it. */
  endData(): void {
    this.#stage = 'asked';
    this.#connection.send('DATA\r\n', this.#timeout);
  }

  /** What the MTA says. The reply to the client's final dot, or undefined: there is none yet. */
  hear(reply: UpstreamReply): UpstreamReply | undefined {
    if (this.#stage === 'asked' && reply.code === 354) {
      this.#stage = 'sending';
      void this.#send();
      return undefined;
    }
    // A 250 to DATA acknowledges nothing.
    if (this.#stage === 'asked' && reply.code < 400) {
      this.#fault(REPLIES.upstreamFault, `DATA answered ${reply.code}`);
      return undefined;
    }
    this.free();
    return reply;
  }

  drain(): void {
    this.#drained();
  }

  free(): void {
    this.#stage = 'over';
    this.#spool.free();
    this.#drained();
  }

  async #send(): Promise<void> {
    const connection = this.#connection;
    connection.beginData(this.#head);
    try {
      for await (const block of this.#spool.blocks()) {
        if (this.#stage !== 'sending') return;
        if (!connection.data(block))
          await new Promise<void>((resolve) => {
            this.#drained = resolve;
          });
      }
      if (this.#stage !== 'sending') return;
      this.#stage = 'finishing';
      connection.endData();
    } catch (error) {
      this.#fault(REPLIES.spoolFull, error instanceof Error ? error.message : String(error));
    }
  }

  #fault(reply: Reply, why: string): void {
    const stage = this.#stage;
    if (stage === 'over' || stage === 'finishing') return;
    if (stage === 'taking') return this.#listener.refused(reply);
    this.free();
    this.#connection.destroy(why);
    this.#listener.broken(said(reply), why);
  }
}
