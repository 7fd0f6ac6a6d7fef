/** One connection to a Dovecot auth server: the handshake, then any number of requests at a time, told apart by id. */
import { randomInt } from 'node:crypto';
import type net from 'node:net';
import type { Attempt } from '../credentials.js';
import { encodeLine, LineDecoder, type Params, type ServerLine } from './dovecot-wire.js';
import { connect, faultOf, PeerFault, type PeerTls, type Place } from './peer.js';

/** Octets of a line of ours. From 8,192 on (16,384 since 2.3) Dovecot would hang up on everybody. */
const LINE = { old: 8_000, new: 16_000 } as const;

/** No process has these, and Dovecot wants none to be on two connections at once. */
const CPID = { least: 2 ** 22 + 1, most: 2 ** 31 - 1 } as const;

/** Mechanisms of one server. */
const MECHANISMS = 64;

export type LinkReply =
  | { readonly kind: 'ok' | 'fail'; readonly params: Params }
  | { readonly kind: 'continue'; readonly data: Buffer };

export type Mechanisms = ReadonlyMap<string, ReadonlySet<string>>;

/** A response that is longer than the server takes. */
export class TooLong extends Error {}

interface Waiting {
  readonly resolve: (reply: LinkReply) => void;
  readonly reject: (fault: Error) => void;
}

/** One request, from AUTH to OK or FAIL. */
export class LinkRequest {
  #waiting: Waiting | undefined;
  #fault: Error | undefined;
  #over = false;

  constructor(
    private readonly link: DovecotLink,
    readonly id: number,
  ) {}

  /** The server has said its last word, or is not asked any more. */
  get over(): boolean {
    return this.#over;
  }

  begin(
    mechanism: string,
    attempt: Attempt,
    response: Buffer | undefined,
    signal: AbortSignal,
  ): Promise<LinkReply> {
    const fields = ['AUTH', String(this.id), mechanism, ...facts(attempt)];
    // resp= must come last.
    if (response !== undefined) fields.push(`resp=${response.toString('base64')}`);
    return this.#ask(encodeLine(fields), signal);
  }

  answer(response: Buffer, signal: AbortSignal): Promise<LinkReply> {
    return this.#ask(encodeLine(['CONT', String(this.id), response.toString('base64')]), signal);
  }

  cancel(): void {
    if (this.#over) return;
    this.#over = true;
    this.link.forget(this, true);
  }

  /** The link's: a line for this request. */
  take(reply: LinkReply): void {
    const waiting = this.#waiting;
    this.#waiting = undefined;
    if (reply.kind !== 'continue') {
      this.#over = true;
      this.link.forget(this, false);
    }
    // An OK to a response that was never sent would let anybody in.
    if (waiting === undefined) this.lose(new PeerFault('it ended the exchange by itself'));
    else waiting.resolve(reply);
  }

  /** The link's: it is gone. */
  lose(fault: Error): void {
    this.#fault ??= fault;
    this.#waiting?.reject(this.#fault);
    this.#waiting = undefined;
  }

  #ask(line: string, signal: AbortSignal): Promise<LinkReply> {
    return new Promise((resolve, reject) => {
      if (this.#fault !== undefined) return reject(this.#fault);
      if (this.#over) return reject(new PeerFault('the exchange is over'));
      if (signal.aborted) return reject(faultOf(signal));
      const asked = this.link.said;
      const onAbort = (): void => {
        // Nothing at all since: perhaps it hangs. New requests go elsewhere, those in hand may still be answered.
        if (this.link.said === asked) this.link.retire();
        this.lose(faultOf(signal));
        this.cancel();
      };
      const settled = (): void => signal.removeEventListener('abort', onAbort);
      this.#waiting = {
        resolve: (reply) => {
          settled();
          resolve(reply);
        },
        reject: (fault) => {
          settled();
          reject(fault);
        },
      };
      signal.addEventListener('abort', onAbort);
      const fault = this.link.send(line);
      if (fault === undefined) return;
      this.#waiting = undefined;
      settled();
      reject(fault);
    });
  }
}

/** What Dovecot is told of the client. */
const facts = (attempt: Attempt): string[] => [
  `service=${attempt.protocol}`,
  // No login process follows that would ask for the user's mailbox, so nothing is kept for one.
  'nologin',
  `session=${attempt.session}`,
  ...(attempt.secure ? ['secured=tls'] : []),
  `rip=${attempt.client}`,
  `rport=${attempt.clientPort}`,
];

/** What the store hears, once the hands are shaken. */
export interface LinkOwner {
  /** Takes no new requests. */
  retired(link: DovecotLink): void;
  ended(link: DovecotLink): void;
}

export class DovecotLink {
  readonly mechanisms = new Map<string, ReadonlySet<string>>();
  /** Counts the chunks received. */
  said = 0;
  /** No new requests. */
  retired = false;

  #lineLimit: number = LINE.old;
  #version = false;
  #next = 1;
  #fault: Error | undefined;
  #greeted: { readonly resolve: () => void; readonly reject: (fault: Error) => void } | undefined;
  readonly #decoder = new LineDecoder();
  readonly #requests = new Map<number, LinkRequest>();

  private constructor(
    private readonly socket: net.Socket,
    private readonly owner: LinkOwner,
  ) {
    socket.setKeepAlive(true, 60_000);
    socket.on('data', (chunk: Buffer) => this.#take(chunk));
    socket.on('error', (error) => this.#end(error.message));
    socket.on('end', () => this.#end('it closed the connection'));
    socket.on('close', () => this.#end('it closed the connection'));
  }

  /** Connects and shakes hands, all before `signal` aborts. */
  static async open(place: Place, tls: PeerTls, signal: AbortSignal, owner: LinkOwner): Promise<DovecotLink> {
    const socket = await connect(place, tls, signal);
    const link = new DovecotLink(socket, owner);
    await link.#shakeHands(signal);
    return link;
  }

  request(): LinkRequest {
    const request = new LinkRequest(this, this.#next);
    this.#next += 1;
    this.#requests.set(request.id, request);
    // Ids have 32 bits.
    if (this.#next >= 2 ** 31) this.retire();
    return request;
  }

  /** Sends a line, or says why not. */
  send(line: string): Error | undefined {
    if (this.#fault !== undefined) return this.#fault;
    if (line.length > this.#lineLimit) return new TooLong('the response is longer than Dovecot takes');
    this.socket.write(line);
    return undefined;
  }

  forget(request: LinkRequest, cancel: boolean): void {
    this.#requests.delete(request.id);
    if (cancel && this.#fault === undefined) this.socket.write(encodeLine(['CANCEL', String(request.id)]));
    if (this.retired && this.#requests.size === 0) this.#end('it was retired');
  }

  /** Takes no new requests, and ends with the last of those in hand. */
  retire(): void {
    if (this.retired) return;
    this.retired = true;
    this.owner.retired(this);
    if (this.#requests.size === 0) this.#end('it was retired');
  }

  close(): void {
    this.#end('it is being closed');
  }

  #shakeHands(signal: AbortSignal): Promise<void> {
    return new Promise((resolve, reject) => {
      const onAbort = (): void => this.#end(faultOf(signal).message);
      signal.addEventListener('abort', onAbort);
      const settled = (): void => {
        signal.removeEventListener('abort', onAbort);
        this.#greeted = undefined;
      };
      this.#greeted = {
        resolve: () => {
          settled();
          resolve();
        },
        reject: (fault) => {
          settled();
          reject(fault);
        },
      };
      if (signal.aborted) return onAbort();
      if (this.socket.destroyed) return this.#end('it closed the connection');
      // Newer servers say nothing beyond their version before they have heard ours.
      const cpid = String(randomInt(CPID.least, CPID.most));
      this.socket.write(encodeLine(['VERSION', '1', '2']) + encodeLine(['CPID', cpid]));
    });
  }

  #take(chunk: Buffer): void {
    this.said += 1;
    for (const line of this.#decoder.push(chunk)) {
      if (this.#fault !== undefined) return;
      if (line.kind === 'fault') this.#end(`not Dovecot's auth protocol: ${line.why}`);
      else if (this.#greeted === undefined) this.#onAnswer(line);
      else this.#onGreeting(line);
    }
  }

  #onGreeting(line: ServerLine): void {
    switch (line.kind) {
      case 'version':
        if (line.major !== 1) return this.#end(`it speaks version ${line.major} of the protocol, not 1`);
        this.#version = true;
        this.#lineLimit = line.minor >= 2 ? LINE.new : LINE.old;
        return;
      case 'mechanism':
        if (this.mechanisms.size >= MECHANISMS) return this.#end('it has endless mechanisms');
        this.mechanisms.set(line.name, line.flags);
        return;
      case 'done':
        if (!this.#version) return this.#end('it says no version');
        return this.#greeted?.resolve();
      default:
        // SPID, CUID, COOKIE are for login processes. Anything else without a version is another protocol.
        if (line.kind !== 'other' || !this.#version) this.#end("not Dovecot's auth protocol");
    }
  }

  #onAnswer(line: ServerLine): void {
    if (line.kind !== 'ok' && line.kind !== 'fail' && line.kind !== 'continue') return;
    const request = this.#requests.get(line.id);
    // Answers to what has been cancelled come late.
    request?.take(line);
  }

  #end(why: string): void {
    if (this.#fault !== undefined) return;
    const fault = new PeerFault(why);
    this.#fault = fault;
    this.socket.destroy();
    const greeted = this.#greeted;
    if (greeted === undefined) this.owner.ended(this);
    else greeted.reject(fault);
    for (const request of this.#requests.values()) request.lose(fault);
    this.#requests.clear();
  }
}
