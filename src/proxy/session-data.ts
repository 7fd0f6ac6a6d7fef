/** A session's message data: from the client through the stream to the mail server, or to a spool before it. */
import type { Peer } from '../base/events.js';
import type { Ip } from '../base/ip.js';
import type { Reply } from '../smtp/reply.js';
import type { UpstreamReply } from '../smtp/reply-parser.js';
import type { SessionEvent, UpstreamCommand } from '../smtp/session/events.js';
import type { Transaction } from '../smtp/session/state.js';
import type { ClientConnection } from './client.js';
import type { MessageStream } from './message-stream.js';
import type { Service } from './service.js';
import { GO_AHEAD, SpooledData } from './spooled-data.js';
import type { UpstreamConnection } from './upstream.js';

export interface SessionDataListener {
  dataHappens(event: SessionEvent): void;
  /** There is room again. */
  dataRoom(): void;
  /** The connection was closed, and its last words are `reply`. */
  dataBroken(reply: UpstreamReply, why: string): void;
}

const LOST: UpstreamReply = {
  code: 451,
  enhanced: '4.3.0',
  lines: ['Mail server failed, try again later'],
};

export class SessionData {
  readonly #service: Service;
  readonly #peer: Peer;
  readonly #client: Ip;
  readonly #makeStream: (peer: Peer, client: Ip) => MessageStream;
  readonly #spool: boolean;
  readonly #listener: SessionDataListener;
  /** Made for the first message: most of those who are refused send none. */
  #stream: MessageStream | undefined;
  #spooled: SpooledData | undefined;

  constructor(
    service: Service,
    peer: Peer,
    client: Ip,
    makeStream: (peer: Peer, client: Ip) => MessageStream,
    spool: boolean,
    listener: SessionDataListener,
  ) {
    this.#service = service;
    this.#peer = peer;
    this.#client = client;
    this.#makeStream = makeStream;
    this.#spool = spool;
    this.#listener = listener;
  }

  /** The answer to DATA that is given here, before the mail server hears of it; undefined: it is to be asked. */
  answer({ verb }: UpstreamCommand): UpstreamReply | undefined {
    return verb === 'DATA' && this.#spool ? GO_AHEAD : undefined;
  }

  /** Octets of the last message so far, without dot-stuffing. */
  get bytes(): number {
    return this.#stream?.bytes ?? 0;
  }

  get streaming(): 'through' | 'kept' {
    return this.#stream?.streaming ?? 'kept';
  }

  overdue(now: number, sessionStart: number): Reply | undefined {
    return this.#stream?.overdue(now, sessionStart);
  }

  /** `head`: the Received line. */
  begin(connection: UpstreamConnection, { params, utf8 }: Transaction, head: string): void {
    const declared = { eightBit: params.some(({ value }) => value === '8BITMIME'), utf8 };
    this.#stream ??= this.#makeStream(this.#peer, this.#client);
    const stream = this.#stream;
    if (!this.#spool) {
      connection.beginData(head);
      stream.begin(connection, declared);
      return;
    }
    const { spool, timeouts } = this.#service;
    this.#spooled = new SpooledData(connection, spool, timeouts.upstreamData, head, {
      room: () => {
        stream.unblock();
        this.#listener.dataRoom();
      },
      refused: (reply) => this.#listener.dataHappens({ type: 'data-refused', reply }),
      broken: (reply, why) => this.#listener.dataBroken(reply, why),
    });
    stream.begin(this.#spooled, declared);
  }

  /** The final dot goes upstream. */
  end(): void {
    this.#stream?.end();
  }

  /** The events that the client's next octets bring; undefined: nothing to do now. */
  next(client: ClientConnection): readonly SessionEvent[] | undefined {
    const stream = this.#stream;
    if (stream === undefined || stream.blocked) return undefined;
    const chunk = client.take();
    if (chunk === undefined) return client.ended ? [{ type: 'client-gone' }] : undefined;
    const events: SessionEvent[] = [];
    const { refused, fault, end } = stream.take(chunk);
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
    if (this.#spooled === undefined) this.#stream?.unblock();
    else this.#spooled.drain();
  }

  /** The message goes no further. True: the mail server has not even heard of DATA. */
  detach(): boolean {
    this.#stream?.detach();
    const untouched = this.#spooled?.untouched === true;
    this.#spooled?.free();
    this.#spooled = undefined;
    return untouched;
  }
}
