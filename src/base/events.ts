/**
 * All that is worth counting or logging, as one closed union. Subscribers (logs, metrics, the live view)
 * see these and nothing else; they are never called by name from the mail path.
 *
 * Text that came from the wire (addresses, HELO names, upstream reply texts) is unescaped here: whoever
 * prints it escapes it, and none of it is ever a metric label.
 */

/** Who the client is, settled once at the start of its session. */
export interface Peer {
  /** Unique in the lifetime of the process. */
  readonly session: string;
  readonly listener: string;
  /** Canonical text of the client's address, IPv4-mapped addresses folded to IPv4. */
  readonly address: string;
  readonly port: number;
  /** Forward-confirmed host name, or undefined when there is none or nobody asked. */
  name: string | undefined;
  /** The HELO or EHLO argument, a claim. */
  helo: string | undefined;
  /** As RFC 3848 names it: SMTP or ESMTP, with S and A where they apply; `UTF8…` for SMTPUTF8. */
  protocol: string;
  /** TLS version in force, such as `TLSv1.3`. */
  tls?: string;
}

export type VerdictKind = 'allow' | 'deny' | 'defer';

/** What became of a message. `unknown`: no reply to the final dot by the deadline (RFC 1047). */
export type MessageResult = 'accepted' | 'rejected' | 'deferred' | 'aborted' | 'unknown';

export type FramingFaultKind =
  | 'bare-cr'
  | 'bare-lf'
  | 'nul'
  | 'line-too-long'
  | 'data-line-too-long'
  | 'eight-bit'
  | 'pipelining'
  | 'pregreet'
  | 'foreign-protocol'
  | 'bdat';

export type DisconnectReason =
  | 'quit'
  | 'client-gone'
  | 'framing'
  | 'foreign-protocol'
  | 'timeout'
  | 'errors'
  | 'limit'
  | 'shutdown'
  | 'upstream'
  | 'internal';

export type SekishoEvent =
  | { readonly type: 'listening'; readonly listener: string; readonly address: string; readonly port: number }
  | { readonly type: 'connect'; readonly peer: Peer }
  | {
      readonly type: 'connection-refused';
      readonly listener: string;
      readonly address: string;
      readonly reason: 'total' | 'per-address' | 'shutdown' | 'descriptors';
    }
  | {
      readonly type: 'disconnect';
      readonly peer: Peer;
      readonly reason: DisconnectReason;
      /** Seconds since the connection was accepted. */
      readonly seconds: number;
      readonly commands: number;
    }
  | {
      readonly type: 'command';
      readonly peer: Peer;
      /** A known verb, or `OTHER`. */
      readonly verb: string;
      readonly code: number;
      readonly seconds: number;
    }
  | {
      readonly type: 'decision';
      readonly peer: Peer;
      readonly from: string;
      readonly to: string;
      readonly verdict: VerdictKind;
      /** Name of the rule that decided; undefined when nothing matched. */
      readonly rule: string | undefined;
      /** A word of a closed set, see policy/decide. */
      readonly reason: string;
      /** False under `--observe`. */
      readonly enforced: boolean;
    }
  | {
      readonly type: 'shadow';
      readonly peer: Peer;
      readonly rule: string;
      readonly from: string;
      readonly to: string;
      readonly would: VerdictKind;
    }
  | {
      readonly type: 'recipient';
      readonly peer: Peer;
      readonly from: string;
      readonly to: string;
      readonly result: 'accepted' | 'rejected' | 'deferred';
      readonly code: number;
      /** The reply as the client saw it, code first. */
      readonly reply: string;
    }
  | { readonly type: 'sender-refused'; readonly peer: Peer; readonly from: string; readonly reply: string }
  | {
      readonly type: 'message';
      readonly peer: Peer;
      readonly result: MessageResult;
      readonly from: string;
      readonly to: readonly string[];
      /** Octets of message data, without dot-stuffing and the final dot. */
      readonly bytes: number;
      readonly upstream: string;
      /** The reply the client saw: the upstream's own words, which bear its queue id. */
      readonly reply: string;
      readonly seconds: number;
    }
  | {
      readonly type: 'tls-handshake';
      readonly listener: string;
      readonly address: string;
      readonly result: 'ok' | 'failed';
      /** Negotiated; absent when it failed. */
      readonly version?: string;
      readonly cipher?: string;
      readonly reason?: string;
    }
  | { readonly type: 'framing-fault'; readonly peer: Peer; readonly kind: FramingFaultKind }
  | { readonly type: 'limit-exceeded'; readonly peer: Peer; readonly limit: string }
  | { readonly type: 'upstream-up'; readonly upstream: string; readonly banner: string }
  | { readonly type: 'upstream-down'; readonly upstream: string; readonly reason: string }
  | {
      readonly type: 'upstream-fault';
      readonly upstream: string;
      readonly reason: string;
      readonly during: string;
    }
  | { readonly type: 'upstream-connect'; readonly upstream: string; readonly seconds: number }
  | { readonly type: 'upstream-reuse'; readonly upstream: string }
  | { readonly type: 'reload'; readonly ok: boolean; readonly reason?: string; readonly policy: string }
  | { readonly type: 'drain'; readonly sessions: number; readonly seconds: number }
  | { readonly type: 'stopped'; readonly sessions: number }
  | { readonly type: 'warning'; readonly text: string }
  | { readonly type: 'internal-error'; readonly text: string; readonly session?: string };

/** Where events go. It must not throw and must not block. */
export type Note = (event: SekishoEvent) => void;

/** Calls every subscriber in order; one that throws does not keep the event from the others. */
export const fanOut =
  (subscribers: readonly Note[], onError: (error: unknown) => void): Note =>
  (event) => {
    for (const subscriber of subscribers) {
      try {
        subscriber(event);
      } catch (error) {
        onError(error);
      }
    }
  };
