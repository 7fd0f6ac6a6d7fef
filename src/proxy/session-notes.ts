/** What a session tells of itself: events for whoever subscribed, and the Received line for the MTA. */
import type { MessageResult, Peer } from '../base/events.js';
import { pathText } from '../smtp/address.js';
import type { Path } from '../smtp/path.js';
import { receivedLine } from '../smtp/received.js';
import { printReply, type Reply } from '../smtp/reply.js';
import type { SessionState } from '../smtp/session/state.js';
import type { Service } from './service.js';

export interface Handshake {
  readonly result: 'ok' | 'failed';
  readonly version?: string;
  readonly cipher?: string;
  readonly reason?: string;
}

const shown = (reply: Reply): string => printReply(reply).trimEnd();

export class SessionNotes {
  readonly #service: Service;
  readonly #peer: Peer;
  readonly #state: SessionState;

  constructor(service: Service, peer: Peer, state: SessionState) {
    this.#service = service;
    this.#peer = peer;
    this.#state = state;
  }

  /** A MAIL or RCPT whose address goes no further than the parser. */
  badAddress(verb: string, path: string | undefined, reply: Reply): void {
    if (path === undefined) return;
    const said = { peer: this.#peerNow(), reply: shown(reply) };
    if (verb === 'MAIL') this.#service.note({ type: 'sender-refused', ...said, from: path });
    else if (verb === 'RCPT') {
      const { code } = reply;
      this.#service.note({
        type: 'recipient',
        ...said,
        from: this.#from(),
        to: path,
        result: 'rejected',
        code,
      });
    }
  }

  handshake(outcome: Handshake): void {
    const { listener, address } = this.#peer;
    this.#service.note({ type: 'tls-handshake', listener, address, ...outcome });
  }

  recipient(to: Path, reply: Reply): void {
    const result = reply.code < 300 ? 'accepted' : reply.code < 500 ? 'deferred' : 'rejected';
    this.#service.note({
      type: 'recipient',
      peer: this.#peerNow(),
      from: this.#from(),
      to: pathText(to),
      result,
      code: reply.code,
      reply: shown(reply),
    });
  }

  message(result: MessageResult, reply: Reply, bytes: number, upstream: string, seconds: number): void {
    this.#service.note({
      type: 'message',
      peer: this.#peerNow(),
      result,
      from: this.#from(),
      to: this.#state.transaction?.accepted.map(pathText) ?? [],
      bytes,
      upstream,
      reply: shown(reply),
      seconds,
    });
  }

  /** The Received line of the session's nth message. */
  received(nth: number): string {
    const { session, helo, name, address } = this.#peer;
    return receivedLine({
      helo: helo ?? 'unknown',
      name,
      address,
      by: this.#state.settings.hostname,
      protocol: this.#protocol(),
      id: `${session}.${nth}`,
      token: this.#service.instanceToken,
      time: Date.now(),
    });
  }

  #from(): string {
    const { transaction } = this.#state;
    return transaction === undefined ? '' : pathText(transaction.from);
  }

  /** RFC 3848, RFC 6531 4.3. */
  #protocol(): string {
    const { esmtp, secure, transaction } = this.#state;
    const s = secure ? 'S' : '';
    if (transaction?.utf8 === true) return `UTF8SMTP${s}`;
    // Over TLS it is ESMTP, whatever the client said (RFC 3848).
    return esmtp || secure ? `ESMTP${s}` : 'SMTP';
  }

  #peerNow(): Peer {
    this.#peer.protocol = this.#protocol();
    return this.#peer;
  }
}
