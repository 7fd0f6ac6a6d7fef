/** What a session tells of itself: events for whoever subscribed, the Received line, and who the client is. */

import { monotonic, secondsSince } from '../base/clock.js';
import type { DisconnectReason, FramingFaultKind, MessageResult, Peer, Told } from '../base/events.js';
import type { Client } from '../door/preamble.js';
import type { Known } from '../policy/facts.js';
import { pathText } from '../smtp/address.js';
import type { Path } from '../smtp/path.js';
import { receivedLine, type Trace } from '../smtp/received.js';
import { printReply, type Reply } from '../smtp/reply.js';
import type { SessionState } from '../smtp/session/state.js';
import type { Service } from './service.js';
import type { Introduction } from './upstream.js';

export interface Handshake {
  readonly result: 'ok' | 'failed';
  readonly version?: string;
  readonly cipher?: string;
  readonly reason?: string;
}

/** Of a recipient that came before no policy. */
const UNTOLD: Partial<Told> = {};

/** As it goes out, without its end. */
const shown = (reply: Reply): string => {
  const { code, enhanced, lines } = reply;
  const [only] = lines;
  if (only === undefined || lines.length > 1) return printReply(reply).trimEnd();
  return (enhanced === undefined ? `${code} ${only}` : `${code} ${enhanced} ${only}`).trimEnd();
};

export class SessionNotes {
  /** What the policy said to the recipients of the transaction; of one that was never judged there is nothing. */
  readonly told = new Map<Path, Told>();

  readonly #service: Service;
  readonly #peer: Peer;
  readonly #state: SessionState;
  readonly #client: Client;
  #begunAt = 0;

  constructor(service: Service, peer: Peer, state: SessionState, client: Client) {
    this.#client = client;
    this.#service = service;
    this.#peer = peer;
    this.#state = state;
  }

  beginTransaction(): void {
    this.told.clear();
    this.#begunAt = monotonic();
  }

  framingFault(kind: FramingFaultKind): void {
    this.#service.note({ type: 'framing-fault', peer: this.#peer, kind });
  }

  /** `seconds`: from its first octet to the reply. */
  command(verb: string, code: number, seconds: number): void {
    this.#service.note({ type: 'command', peer: this.#peer, verb, code, seconds });
  }

  disconnect(reason: DisconnectReason, seconds: number): void {
    const { commands } = this.#state;
    this.#service.note({ type: 'disconnect', peer: this.#peer, reason, seconds, commands });
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

  /** A MAIL whose sender the login may not use. */
  senderRefused(from: Path, reply: Reply): void {
    const said = { peer: this.#peerNow(), reply: shown(reply), from: pathText(from) };
    this.#service.note({ type: 'sender-refused', ...said });
  }

  handshake(outcome: Handshake): void {
    const { listener, address } = this.#peer;
    this.#service.note({ type: 'tls-handshake', listener, address, ...outcome });
  }

  recipient(to: Path, reply: Reply): void {
    const told = this.told.get(to) ?? UNTOLD;
    const { code } = reply;
    this.#service.note({
      type: 'recipient',
      peer: this.#peerNow(),
      from: this.#from(),
      to: pathText(to),
      result: code < 300 ? 'accepted' : code < 500 ? 'deferred' : 'rejected',
      code,
      reply: shown(reply),
      // Spread, it would cost more than all else here.
      verdict: told.verdict,
      rule: told.rule,
      reason: told.reason,
      windows: told.windows,
      suspended: told.suspended,
    });
  }

  message(result: MessageResult, reply: Reply, bytes: number, upstream: string): void {
    const accepted = this.#state.transaction?.accepted ?? [];
    this.#service.note({
      type: 'message',
      peer: this.#peerNow(),
      result,
      from: this.#from(),
      to: accepted.map(pathText),
      rules: accepted.map((to) => this.#rule(to)),
      bytes,
      upstream,
      reply: shown(reply),
      seconds: secondsSince(this.#begunAt),
    });
  }

  #rule(to: Path): string | null {
    const told = this.told.get(to);
    return told?.verdict === 'allow' ? (told.rule ?? null) : null;
  }

  /** Who the client is, for an upstream that is told; `named`: with its confirmed name, which has to be looked up. */
  introduction(named: boolean): Introduction | Promise<Introduction> {
    const { helo, login, name } = this.#peer;
    const made = (found: Known<string | undefined>): Introduction => ({
      client: this.#client,
      server: this.#client.server,
      name: found.known ? found.value : undefined,
      nameKnown: found.known,
      helo,
      login,
      esmtp: this.#state.esmtp,
    });
    if (!named || name !== undefined) return made({ known: true, value: name });
    const found = this.#service.judge.nameOf(this.#client.ip);
    return found instanceof Promise ? found.then(made) : made(found);
  }

  /** The Received line of the session's nth message. */
  received(nth: number): string {
    const { session, helo, name, address } = this.#peer;
    return receivedLine({
      login: this.#service.receivedLogin ? this.#login() : undefined,
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

  #login(): Trace['login'] {
    const { login, window } = this.#peer;
    if (login !== undefined) return { name: login, how: 'login' };
    return window === undefined ? undefined : { name: window.login, how: 'window' };
  }

  #from(): string {
    const { transaction } = this.#state;
    return transaction === undefined ? '' : pathText(transaction.from);
  }

  /** RFC 3848, RFC 6531 4.3. */
  #protocol(): string {
    const { esmtp, secure, transaction, login } = this.#state;
    const how = `${secure ? 'S' : ''}${login === undefined ? '' : 'A'}`;
    if (transaction?.utf8 === true) return `UTF8SMTP${how}`;
    // Over TLS it is ESMTP, whatever the client said (RFC 3848).
    return esmtp || secure ? `ESMTP${how}` : 'SMTP';
  }

  #peerNow(): Peer {
    this.#peer.protocol = this.#protocol();
    return this.#peer;
  }
}
