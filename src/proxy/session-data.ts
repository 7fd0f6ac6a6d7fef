/** A session's message data: from the client through the stream to the mail server, or to a spool before it. */
import type { Peer } from '../base/events.js';
import type { UpstreamReply } from '../smtp/reply-parser.js';
import type { SessionEvent, UpstreamCommand } from '../smtp/session/events.js';
import type { Transaction } from '../smtp/session/state.js';
import type { ClientConnection } from './client.js';
import type { MessageStream } from './message-stream.js';
import type { Service } from './service.js';
import { GO_AHEAD, SpooledData } from './spooled-data.js';
import type { UpstreamConnection } from './upstream.js';

export interface SessionDataListener {
  happen(event: SessionEvent): void;
  /** There is room again. */
  room(): void;
  /** The connection was closed, and its last words are `reply`. */
  broken(reply: UpstreamReply, why: string): void;
}

const LOST: UpstreamReply = {
  code: 451,
  enhanced: '4.3.0',
  lines: ['Mail server failed, try again later'],
};

export class SessionData {
  readonly #service: Service;
  readonly #peer: Peer;
  readonly #stream: MessageStream;
  readonly #spool: boolean;
  readonly #listener: SessionDataListener;
  #spooled: SpooledData | undefined;

  constructor(
    service: Service,
    peer: Peer,
    stream: MessageStream,
    spool: boolean,
    listener: SessionDataListener,
  ) {
    this.#service = service;
    this.#peer = peer;
    this.#stream = stream;
    this.#spool = spool;
    this.#listener = listener;
  }

  /** The answer to DATA that is given here, before the mail server hears of it; undefined: it is to be asked. */
  answer({ verb }: UpstreamCommand): UpstreamReply | undefined {
    return verb === 'DATA' && this.#spool ? GO_AHEAD : undefined;
  }

  /** `head`: the Received line. */
  begin(connection: UpstreamConnection, { params, utf8 }: Transaction, head: string): void {
    const declared = { eightBit: params.some(({ value }) => value === '8BITMIME'), utf8 };
    if (!this.#spool) {
      connection.beginData(head);
      this.#stream.begin(connection, declared);
      return;
    }
    const { spool, timeouts } = this.#service;
    this.#spooled = new SpooledData(connection, spool, timeouts.upstreamData, head, {
      room: () => {
        this.#stream.unblock();
        this.#listener.room();
      },
      refused: (reply) => this.#listener.happen({ type: 'data-refused', reply }),
      broken: (reply, why) => this.#listener.broken(reply, why),
    });
    this.#stream.begin(this.#spooled, declared);
  }

  /** The events that the client's next octets bring; undefined: nothing to do now. */
  next(client: ClientConnection): readonly SessionEvent[] | undefined {
    if (this.#stream.blocked) return undefined;
    const chunk = client.take();
    if (chunk === undefined) return client.ended ? [{ type: 'client-gone' }] : undefined;
    const events: SessionEvent[] = [];
    const { refused, fault, end } = this.#stream.take(chunk);
    if (refused !== undefined) events.push({ type: 'data-refused', reply: refused });
    if (fault !== undefined) {
      this.#service.note({ type: 'framing-fault', peer: this.#peer, kind: fault });
      events.push({ type: 'framing', kind: fault });
    } else if (end !== undefined) {
      client.putBack(chunk.subarray(end));
      events.push({ type: 'data-end' });
    }
    return events;
  }

  /** The reply that the session is to hear, if it is to hear one yet. */
  hear(reply: UpstreamReply): UpstreamReply | undefined {
    return this.#spooled === undefined ? reply : this.#spooled.hear(reply);
  }

  /** The connection is lost. What answers the final dot, if it is certain that the mail server has nothing. */
  lost(): UpstreamReply | undefined {
    const spooled = this.#spooled;
    const certain = spooled !== undefined && !spooled.untouched && !spooled.finishing;
    this.detach();
    return certain ? LOST : undefined;
  }

  drained(): void {
    if (this.#spooled === undefined) this.#stream.unblock();
    else this.#spooled.drain();
  }

  /** The message goes no further. True: the mail server has not even heard of DATA. */
  detach(): boolean {
    this.#stream.detach();
    const untouched = this.#spooled?.untouched === true;
    this.#spooled?.free();
    this.#spooled = undefined;
    return untouched;
  }
}
