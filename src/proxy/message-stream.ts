/**
 * One message on its way: the client's chunks are scanned and streamed upstream as views, with back-pressure.
 * What must not pass is found before it is written, and then nothing more of the message is.
 */

import { monotonic } from '../base/clock.js';
import type { PresetName } from '../shield/presets.js';
import type { Finding, ShieldRules } from '../shield/rules.js';
import { Shield } from '../shield/shield.js';
import { type Capabilities, smallerLimit } from '../smtp/capabilities.js';
import { type DataLimits, DataScanner } from '../smtp/data-scanner.js';
import { receivedMark } from '../smtp/received.js';
import { notBearable, REPLIES, type Reply } from '../smtp/reply.js';
import { Held } from './held.js';
import type { Limits, Timeouts } from './options.js';

/** What a chunk brought. Several may hold: a refusal, then the end. */
export interface StreamOutcome {
  refused: Reply | undefined;
  /** Framing that has no certain reading: the session must end. */
  fault: 'bare-cr' | 'bare-lf' | 'nul' | undefined;
  /** Offset behind the final dot. */
  end: number | undefined;
}

/** Where a message goes. */
export interface MessageTarget {
  /** Which virtual patches it needs. */
  readonly preset: PresetName;
  readonly capabilities: Capabilities;
  /** Takes octets. False: no more before it says so. */
  data(view: Buffer): boolean;
  endData(): void;
  /** Octets that it took may wait in memory. */
  readonly pending: boolean;
}

/** Octets above 127 that the client announced (RFC 6152, RFC 6531). */
export interface Declared {
  readonly eightBit: boolean;
  readonly utf8: boolean;
}

export interface Shielding {
  /** What holds for the client before a mail server of this kind. */
  rules(preset: PresetName): ShieldRules;
  /** `enforced`: the message is refused for it. */
  onHit(finding: Finding, enforced: boolean): void;
}

export class MessageStream {
  /** The upstream takes no more at present. */
  blocked = false;

  readonly #scanner: DataScanner;
  readonly #shield: Shield;
  /** The header section, which waits for the shield's word. */
  readonly #held = new Held();
  readonly #rules: Shielding['rules'];
  readonly #onHit: Shielding['onHit'];
  readonly #limits: Limits;
  readonly #timeouts: Timeouts;
  #maxBytes: number;
  #target: MessageTarget | undefined;
  #refused: Reply | undefined;
  #startedAt = 0;
  #lastData = 0;
  #blockedAt = 0;
  #blockedFor = 0;

  constructor(
    data: DataLimits,
    limits: Limits,
    timeouts: Timeouts,
    instanceToken: string,
    { rules, onHit }: Shielding,
  ) {
    this.#rules = rules;
    this.#onHit = onHit;
    this.#limits = limits;
    this.#timeouts = timeouts;
    this.#maxBytes = limits.messageBytes;
    this.#scanner = new DataScanner(data);
    const loops = { maxReceived: limits.hops, mark: receivedMark(instanceToken), maxMarked: 3 };
    this.#shield = new Shield(loops, (finding) => onHit(finding, false));
  }

  /** Octets of message data so far, without dot-stuffing. */
  get bytes(): number {
    return this.#scanner.bytes;
  }

  begin(target: MessageTarget, { eightBit, utf8 }: Declared): void {
    this.#target = target;
    this.#scanner.reset(eightBit || utf8);
    this.#shield.reset(this.#rules(target.preset), utf8);
    this.#held.clear();
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
    const outcome: StreamOutcome = { refused: undefined, fault: undefined, end: undefined };
    this.#scan(chunk, 0, outcome);
    if (this.#refused !== before) outcome.refused = this.#refused;
    return outcome;
  }

  /** `through`: all that was taken has gone on, and nobody needs it any more. */
  get streaming(): 'through' | 'kept' {
    return this.#target?.pending === false && !this.#held.any ? 'through' : 'kept';
  }

  /** The final dot goes upstream. */
  end(): void {
    this.#target?.endData();
    this.#target = undefined;
    this.blocked = false;
  }

  /** Nothing more goes upstream; the rest is thrown away. */
  detach(): void {
    this.#target = undefined;
    this.#held.clear();
    this.blocked = false;
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
    if (scan.kind === 'end') {
      outcome.end = from + scan.next;
      this.#judge(this.#shield.finish());
      this.#release();
    } else if (scan.kind === 'fault') {
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
    if (this.#maxBytes > 0 && this.#scanner.bytes > this.#maxBytes) {
      this.#refused = REPLIES.tooBig;
      return;
    }
    this.#judge(this.#shield.feed(view));
    if (this.#shield.holding) this.#held.add(view);
    else {
      this.#release();
      this.#send(view);
    }
  };

  #judge(finding: Finding | 'loop' | undefined): void {
    if (finding === undefined || this.#refused !== undefined) return;
    if (finding === 'loop') this.#refused = REPLIES.mailLoop;
    else {
      this.#refused = notBearable(finding.patch, finding.what);
      this.#onHit(finding, true);
    }
  }

  #release(): void {
    for (const view of this.#held.take()) this.#send(view);
  }

  #send(view: Buffer): void {
    if (this.#refused !== undefined || this.#target === undefined) return;
    if (!this.#target.data(view) && !this.blocked) {
      this.blocked = true;
      this.#blockedAt = monotonic();
    }
  }
}
