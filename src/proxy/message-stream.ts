/**
 * One message on its way: the client's chunks are scanned and streamed upstream as views, with back-pressure.
 * What must not pass is found before it is written, and then nothing more of the message is.
 */
import { HeaderGuard } from '../shield/header-guard.js';
import { smallerLimit } from '../smtp/capabilities.js';
import { type DataLimits, DataScanner } from '../smtp/data-scanner.js';
import { receivedMark } from '../smtp/received.js';
import { REPLIES, type Reply } from '../smtp/reply.js';
import { monotonic } from './deadlines.js';
import type { Limits, Timeouts } from './options.js';
import type { UpstreamConnection } from './upstream.js';

/** What a chunk brought. Several may hold: a refusal, then the end. */
export interface StreamOutcome {
  refused: Reply | undefined;
  /** Framing that has no certain reading: the session must end. */
  fault: 'bare-cr' | 'bare-lf' | 'nul' | undefined;
  /** Offset behind the final dot. */
  end: number | undefined;
}

export class MessageStream {
  /** The upstream takes no more at present. */
  blocked = false;

  readonly #scanner: DataScanner;
  readonly #guard: HeaderGuard;
  readonly #limits: Limits;
  readonly #timeouts: Timeouts;
  #maxBytes: number;
  #target: UpstreamConnection | undefined;
  #corked: UpstreamConnection | undefined;
  #refused: Reply | undefined;
  #startedAt = 0;
  #lastData = 0;
  #blockedAt = 0;
  #blockedFor = 0;

  constructor(data: DataLimits, limits: Limits, timeouts: Timeouts, instanceToken: string) {
    this.#limits = limits;
    this.#timeouts = timeouts;
    this.#maxBytes = limits.messageBytes;
    this.#scanner = new DataScanner(data);
    this.#guard = new HeaderGuard({
      maxReceived: limits.hops,
      mark: receivedMark(instanceToken),
      maxMarked: 3,
      maxBytes: limits.headerBytes,
    });
  }

  /** Octets of message data so far, without dot-stuffing. */
  get bytes(): number {
    return this.#scanner.bytes;
  }

  /** `declared`: the client announced octets above 127 (RFC 6152, RFC 6531). */
  begin(target: UpstreamConnection, declared: boolean): void {
    this.#target = target;
    this.#scanner.reset(declared);
    this.#guard.reset();
    this.#refused = undefined;
    // RFC 1870: the smaller of both limits, held while the data streams.
    this.#maxBytes = smallerLimit(this.#limits.messageBytes, target.capabilities.size);
    this.#startedAt = this.#lastData = monotonic();
    this.#blockedFor = 0;
    this.blocked = false;
  }

  take(chunk: Buffer): StreamOutcome {
    this.#lastData = monotonic();
    const before = this.#refused;
    const target = this.#target;
    if (target !== undefined && this.#corked === undefined) {
      target.cork();
      this.#corked = target;
    }
    const outcome: StreamOutcome = { refused: undefined, fault: undefined, end: undefined };
    this.#scan(chunk, 0, outcome);
    if (this.#refused !== before) outcome.refused = this.#refused;
    return outcome;
  }

  /** The final dot goes upstream. */
  end(): void {
    this.#target?.endData();
    this.#target = undefined;
    this.blocked = false;
  }

  /** Nothing more goes upstream; the rest is thrown away. */
  detach(): void {
    this.flush();
    this.#target = undefined;
    this.blocked = false;
  }

  /** Lets what was gathered go out in one write. */
  flush(): void {
    this.#corked?.uncork();
    this.#corked = undefined;
  }

  unblock(): void {
    if (this.blocked) this.#blockedFor += monotonic() - this.#blockedAt;
    this.blocked = false;
  }

  /** The deadline of the client that has passed, if any. Time for which the upstream took nothing is not held against it. */
  overdue(now: number, sessionStart: number): Reply | undefined {
    if (this.blocked) return undefined;
    if (now - this.#lastData >= this.#timeouts.dataBlock) return REPLIES.dataTimeout;
    const spent = now - this.#startedAt - this.#blockedFor;
    if (spent > this.#timeouts.dataRateGrace && (this.bytes * 1000) / spent < this.#limits.dataRate)
      return REPLIES.dataTooSlow;
    // A message that is thrown away anyway may not go on for ever.
    const aimless = this.#target === undefined && now - sessionStart >= this.#timeouts.session;
    return aimless ? REPLIES.sessionTimeout : undefined;
  }

  #scan(chunk: Buffer, from: number, outcome: StreamOutcome): void {
    const view = from === 0 ? chunk : chunk.subarray(from);
    const scan = this.#scanner.scan(view, this.#forward);
    if (scan.kind === 'end') outcome.end = from + scan.next;
    else if (scan.kind === 'fault') {
      if (scan.fault === 'data-line-too-long' || scan.fault === 'eight-bit') {
        // The framing is sound: the rest is read as it should be, and thrown away.
        this.#refused ??= scan.fault === 'eight-bit' ? REPLIES.dataEightBit : REPLIES.dataLineTooLong;
        this.#scanner.relax();
        this.#scan(chunk, from + scan.at, outcome);
      } else outcome.fault = scan.fault;
    }
  }

  readonly #forward = (view: Buffer): void => {
    if (this.#refused !== undefined || this.#target === undefined) return;
    const finding = this.#guard.feed(view);
    if (this.#maxBytes > 0 && this.#scanner.bytes > this.#maxBytes) this.#refused = REPLIES.tooBig;
    else if (finding === 'loop') this.#refused = REPLIES.mailLoop;
    else if (finding === 'header-too-long') this.#refused = REPLIES.headerTooLong;
    else if (!this.#target.data(view) && !this.blocked) {
      this.blocked = true;
      this.#blockedAt = monotonic();
    }
  };
}
