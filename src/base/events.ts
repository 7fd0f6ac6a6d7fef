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
  /** The balancer that told who the client is, by a PROXY header. */
  readonly via?: string;
  /** Forward-confirmed host name, or undefined when there is none or nobody asked. */
  name: string | undefined;
  /** The name was asked for and the answer is known: without a name the client has none. */
  named?: true;
  /** The HELO or EHLO argument, a claim. */
  helo: string | undefined;
  /** As RFC 3848 names it: SMTP or ESMTP, with S and A where they apply; `UTF8…` for SMTPUTF8. */
  protocol: string;
  /** TLS version in force, such as `TLSv1.3`. */
  tls?: string;
  /**
   * The client's certificate: SHA-256 of its DER in lower-case hex; subject and names (mailboxes and hosts, lower case)
   * only if its chain was verified.
   */
  certificate?: {
    readonly fingerprint: string;
    readonly subject: string | undefined;
    readonly names: readonly string[];
  };
  /** The name of the login, once one has succeeded. */
  login?: string;
  /** Whose window let the last recipient pass, and by what means it was opened. */
  window?: { readonly login: string; readonly source: string };
  /** What was decided about the last recipient, for whoever looks at live sessions. */
  judged?: { readonly kind: VerdictKind; readonly rule: string | undefined };
}

/** What became of an attempt to log in. `locked`: not even looked at, after too many failures. */
export type AuthResult = 'ok' | 'wrong' | 'unavailable' | 'malformed' | 'cancelled' | 'locked' | 'suspended';

export type VerdictKind = 'allow' | 'deny' | 'defer';

/** What the policy said to a recipient; `rule` is undefined when nothing matched, `reason` a word of a closed set. */
export interface Told {
  readonly verdict: VerdictKind;
  readonly rule: string | undefined;
  readonly reason: string;
  /** The client's open windows; absent where nobody had to look or the store did not answer. */
  readonly windows?: readonly { readonly login: string; readonly source: string }[] | undefined;
  /** The peer's login is suspended: it was judged as if nobody had logged in. */
  readonly suspended?: true | undefined;
}

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

/** A way in which a stranger may relay. */
export interface OpenForm {
  /** The name of the form, see policy/relay-forms. */
  readonly form: string;
  /** As a stranger would say it. */
  readonly mail: string;
  readonly rcpt: string;
  /** The rule that opened it. */
  readonly rule: string;
  /** From where, on which listener. */
  readonly how: string;
}

/** Why a connection is turned away. */
export type RefusalReason =
  | ('total' | 'per-address' | 'shutdown' | 'descriptors')
  | ('banned' | 'quota' | 'proxy-header' | 'destination');

export type SekishoEvent =
  | { readonly type: 'listening'; readonly listener: string; readonly address: string; readonly port: number }
  | { readonly type: 'connect'; readonly peer: Peer }
  | {
      readonly type: 'connection-refused';
      readonly listener: string;
      readonly address: string;
      readonly reason: RefusalReason;
      /** Of a PROXY header that is missing or wrong, or of a destination. */
      readonly why?: string;
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
  | ({
      readonly type: 'decision';
      readonly peer: Peer;
      readonly from: string;
      readonly to: string;
      /** False under `--observe`. */
      readonly enforced: boolean;
    } & Told)
  | {
      readonly type: 'shadow';
      readonly peer: Peer;
      readonly rule: string;
      readonly from: string;
      readonly to: string;
      readonly would: VerdictKind;
      /** What the rules that count said. */
      readonly verdict: VerdictKind;
    }
  | ({
      readonly type: 'recipient';
      readonly peer: Peer;
      readonly from: string;
      readonly to: string;
      readonly result: 'accepted' | 'rejected' | 'deferred';
      readonly code: number;
      /** The reply as the client saw it, code first. */
      readonly reply: string;
      /** What the policy said is absent where it never came to that. */
    } & { readonly [Name in keyof Told]?: Told[Name] | undefined })
  | { readonly type: 'sender-refused'; readonly peer: Peer; readonly from: string; readonly reply: string }
  | {
      readonly type: 'message';
      readonly peer: Peer;
      readonly result: MessageResult;
      readonly from: string;
      readonly to: readonly string[];
      /** By which rule each of them was allowed, in the order of `to`; null where none is known, as under `--observe`. */
      readonly rules: readonly (string | null)[];
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
  | {
      /** A virtual patch found something in a message; once for each patch and message. */
      readonly type: 'shield-hit';
      readonly peer: Peer;
      /** One of `PATCH_IDS` in shield/patches. */
      readonly patch: string;
      /** False in shadow mode: the message passed. */
      readonly enforced: boolean;
      /** For the log; no text of the message. */
      readonly why: string;
    }
  | {
      readonly type: 'auth';
      readonly peer: Peer;
      readonly protocol: 'smtp' | 'pop3' | 'imap';
      /** A mechanism that Sekisho knows, or `OTHER`; `USER`, `APOP` and `LOGIN` for POP3 and IMAP. */
      readonly mechanism: string;
      readonly result: AuthResult;
      /** The name as claimed; undefined when it never came to that. */
      readonly login: string | undefined;
      /** For the log; never a secret. */
      readonly why: string;
    }
  | {
      readonly type: 'login-suspended';
      readonly login: string;
      /** Milliseconds since 1970; Infinity until lifted by hand. */
      readonly until: number;
      readonly why: string;
    }
  | { readonly type: 'login-lifted'; readonly login: string; readonly why: string }
  | {
      readonly type: 'window-opened';
      readonly login: string;
      readonly address: string;
      readonly source: string;
      readonly until: number;
      readonly renewed: boolean;
    }
  | {
      readonly type: 'window-refused';
      readonly login: string;
      readonly address: string;
      readonly source: string;
      readonly why: string;
    }
  | {
      readonly type: 'window-closed';
      readonly login?: string;
      readonly address?: string;
      readonly why: string;
    }
  /** `address`: an IPv4 address, or the /64 of an IPv6 one. */
  | {
      readonly type: 'banned';
      readonly address: string;
      /** Milliseconds since 1970; Infinity until lifted by hand. */
      readonly until: number;
      readonly why: string;
    }
  | { readonly type: 'ban-lifted'; readonly address: string; readonly why: string }
  | {
      readonly type: 'dnsbl-lookup';
      /** The name of the list in the configuration. */
      readonly list: string;
      readonly address: string;
      /** `refused`: the list does not serve this resolver, or gives answers that no list gives. */
      readonly result: 'listed' | 'clean' | 'refused' | 'failed' | 'timeout';
      readonly seconds: number;
      readonly why?: string;
    }
  /** `passed`: came again in time; `familiar`: the network has come again often enough. */
  | {
      readonly type: 'greylist';
      readonly peer: Peer;
      readonly from: string;
      readonly to: string;
      readonly result: 'deferred' | 'passed' | 'familiar';
    }
  /** A refusal was held back for so long, or was not because too many are being held back. */
  | {
      readonly type: 'tarpit';
      readonly peer: Peer;
      readonly result: 'held' | 'full';
      readonly seconds: number;
    }
  | { readonly type: 'store-error'; readonly operation: string; readonly why: string }
  /** `limit`: a name of a closed set, or the name of the rule that bears it. */
  | { readonly type: 'limit-exceeded'; readonly peer: Peer; readonly limit: string; readonly why?: string }
  /** `tls`: the version in force, absent in clear text. */
  | {
      readonly type: 'upstream-up';
      readonly upstream: string;
      readonly banner: string;
      readonly tls?: string;
    }
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
  /** The forms of relaying that the policy in force opens to a stranger; `forms`: how many were tried. */
  | {
      readonly type: 'self-test';
      readonly policy: string;
      readonly forms: number;
      readonly open: readonly OpenForm[];
      /** Forms that are only deferred, for want of a fact. */
      readonly undecided: number;
    }
  /** Somebody changed something by the admin endpoint, or tried: `status` is the HTTP answer. */
  | {
      readonly type: 'admin-change';
      /** Name of the token; `local` where none is asked for. */
      readonly who: string;
      readonly address: string;
      /** A word of a closed set. */
      readonly action: string;
      /** What was changed: a login, an address, an upstream; '' where there is but one. */
      readonly target: string;
      readonly status: number;
    }
  /** `who`: name of the token; '' where it is none of ours. */
  | {
      readonly type: 'admin-refused';
      readonly who: string;
      readonly address: string;
      readonly why: string;
    }
  /** One of several processes serves; `process`: its number. */
  | { readonly type: 'process-started'; readonly process: number; readonly pid: number }
  /** `expected`: it was told to end. */
  | {
      readonly type: 'process-ended';
      readonly process: number;
      readonly pid: number;
      readonly expected: boolean;
      readonly why: string;
    }
  | { readonly type: 'drain'; readonly sessions: number; readonly seconds: number }
  | { readonly type: 'stopped'; readonly sessions: number }
  | { readonly type: 'warning'; readonly text: string }
  | { readonly type: 'internal-error'; readonly text: string; readonly session?: string };

type EventType = SekishoEvent['type'];

/** Where events go. It must not throw and must not block. `hears`: all others are nothing to it. */
export type Note = ((event: SekishoEvent) => void) & { readonly hears?: readonly EventType[] };

/** A subscriber to a few types of event, which is not called for the others: a session is ten events, half of them commands. */
export const hearing = <T extends EventType>(
  types: readonly T[],
  note: (event: Extract<SekishoEvent, { type: T }>) => void,
): Note => Object.assign(note as (event: SekishoEvent) => void, { hears: types });

/** Calls every subscriber in order; one that throws does not keep the event from the others. */
export const fanOut = (subscribers: readonly Note[], onError: (error: unknown) => void): Note => {
  const byType = new Map<EventType, readonly Note[]>();
  const hearersOf = (type: EventType): readonly Note[] => {
    const hearers = subscribers.filter(({ hears }) => hears === undefined || hears.includes(type));
    byType.set(type, hearers);
    return hearers;
  };
  return (event) => {
    for (const hearer of byType.get(event.type) ?? hearersOf(event.type)) {
      try {
        hearer(event);
      } catch (error) {
        onError(error);
      }
    }
  };
};
