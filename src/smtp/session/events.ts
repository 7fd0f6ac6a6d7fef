/**
 * What the session machine hears and what it may do. The machine is deterministic and does no I/O:
 * `step(state, event, out)`. Sockets, timers, look-ups and the policy live behind `Effects`.
 */
import type { DisconnectReason, FramingFaultKind, MessageResult } from '../../base/events.js';
import type { Capabilities } from '../capabilities.js';
import type { Command, CommandFault } from '../command.js';
import type { Param } from '../params.js';
import type { Path } from '../path.js';
import type { Reply } from '../reply.js';
import type { UpstreamReply } from '../reply-parser.js';

/** What the policy said about one recipient, as far as the session must know. */
export type Judgement = { readonly permit: true } | { readonly permit: false; readonly reply: Reply };

/** Everything that can happen to a session. `ahead`: octets of the client already wait behind this point. */
export type SessionEvent =
  /** The connection is ready; the banner may go out. `auth`: the SASL mechanisms that may be used on it. */
  | { readonly type: 'open'; readonly ahead: boolean; readonly auth: readonly string[] }
  /** A command line was parsed. */
  | { readonly type: 'command'; readonly command: Command; readonly ahead: boolean }
  /** A command line was well framed but does not parse. */
  | { readonly type: 'bad-command'; readonly fault: CommandFault }
  /** A line exceeded its limit but ended within the bound for skipping: one bad command. */
  | { readonly type: 'long-line' }
  /** The framing of the client's stream broke, in command mode or in message data. */
  | { readonly type: 'framing'; readonly kind: FramingFaultKind }
  /** The answer to `ask`. A ticket that is not the one waited for changes nothing. */
  | { readonly type: 'verdict'; readonly ticket: number; readonly judgement: Judgement }
  /** The upstream connection asked for with `acquire` is ready for MAIL. */
  | { readonly type: 'upstream-ready'; readonly capabilities: Capabilities; readonly reused: boolean }
  /** No upstream connection can be had: `busy` when the waiting line is full or its time ran out. */
  | { readonly type: 'upstream-unavailable'; readonly busy: boolean }
  /** A complete reply of the upstream; it answers the oldest expectation. */
  | { readonly type: 'upstream-reply'; readonly reply: UpstreamReply; readonly ahead: boolean }
  /** The upstream connection is gone, too late, or talks nonsense; it is closed already. */
  | { readonly type: 'upstream-lost'; readonly deadline: boolean }
  /** The client's CRLF.CRLF was seen. */
  | { readonly type: 'data-end' }
  /** The message must not be completed (too big, a loop, a long line). */
  | { readonly type: 'data-refused'; readonly reply: Reply }
  /** A deadline of the client passed; the reply says which. */
  | { readonly type: 'timeout'; readonly reply: Reply }
  /** TLS is in force on the client's connection; `auth`: the mechanisms that may be used under it. */
  | { readonly type: 'secured'; readonly auth: readonly string[] }
  /** A line of the client within an AUTH exchange, without CRLF. Secret. */
  | { readonly type: 'auth-line'; readonly text: string; readonly ahead: boolean }
  /** Such a line was too long (RFC 4954 4: 12,288 octets). */
  | { readonly type: 'auth-line-too-long' }
  /** How the AUTH exchange goes on. */
  | { readonly type: 'auth-step'; readonly step: AuthStep }
  /** The answer to `askSender`; `refusal` is undefined where the login may use the address. */
  | { readonly type: 'sender-verdict'; readonly ticket: number; readonly refusal: Reply | undefined }
  | { readonly type: 'client-gone' }
  /** The service is going down: finish the transaction in hand, begin no other. */
  | { readonly type: 'shutdown' };

export type AuthStep =
  /** Base64 already. */
  | { readonly kind: 'challenge'; readonly text: string }
  /** `login`: the name by which the session is known from now on. */
  | { readonly kind: 'done'; readonly login: string }
  /** `malformed` made no guess; `locked`: the client must come back later, so the session ends. */
  | { readonly kind: 'failed'; readonly failure: 'wrong' | 'unavailable' | 'malformed' | 'locked' };

/** A question to the policy about the sender of somebody who has logged in. */
export interface SenderQuestion {
  readonly ticket: number;
  readonly from: Path;
}

/** A question to the policy about one recipient. */
export interface Question {
  readonly ticket: number;
  readonly from: Path;
  readonly to: Path;
}

/** A command for the upstream, printed anew by whoever sends it. */
export type UpstreamCommand =
  | { readonly verb: 'MAIL'; readonly path: Path; readonly params: readonly Param[] }
  | { readonly verb: 'RCPT'; readonly path: Path; readonly params: readonly Param[] }
  | { readonly verb: 'DATA' };

/** What the machine may do to the world. Calls are carried out in order; none of them calls `step`. */
export interface Effects {
  /** Sends a reply to the client. */
  reply(reply: Reply): void;
  /** Asks the policy; the answer comes as a `verdict` event with the same ticket. */
  ask(question: Question): void;
  /** Asks whether the login may use this sender; a `sender-verdict` with the same ticket answers. */
  askSender(question: SenderQuestion): void;
  /** Begins an AUTH exchange; an `auth-step` answers. `initial` is decoded, undefined when there was none. */
  authenticate(mechanism: string, initial: Buffer | undefined): void;
  /** The client's next response, decoded; an `auth-step` answers. */
  authRespond(response: Buffer): void;
  /** The exchange is over without a result: the client cancelled, or is gone. No `auth-step` follows. */
  authAbandon(why: 'cancelled' | 'malformed' | 'gone'): void;
  /** Wants an upstream connection for this transaction; `upstream-ready` or `upstream-unavailable` answers. */
  acquire(): void;
  /** Sends one command upstream; exactly one `upstream-reply` or `upstream-lost` answers it. */
  forward(command: UpstreamCommand): void;
  /** Message data follows: it is streamed upstream, or thrown away, up to the client's final dot. */
  data(mode: 'forward' | 'discard'): void;
  /** Ends the message at the upstream with the final dot; one reply answers it. */
  endData(): void;
  /** Gives the upstream connection back for others, or closes it; also takes back an `acquire` not yet answered. */
  release(how: 'reuse' | 'close'): void;
  /** Begins TLS once what was said has been sent; `secured` or `client-gone` answers. */
  startTls(): void;
  /** Closes the client's connection once what was said has been sent. */
  close(reason: DisconnectReason): void;
  /** A recipient was answered. */
  recipient(to: Path, reply: Reply): void;
  /** A message reached an end. */
  message(result: MessageResult, reply: Reply): void;
}
