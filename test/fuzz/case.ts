/** A case of the fuzzer: all that decides what happens, as plain data, so that it can be kept, cut down and replayed. */

export type MtaStep =
  | 'connect'
  | 'EHLO'
  | 'HELO'
  | 'MAIL'
  | 'RCPT'
  | 'DATA'
  | 'body'
  | 'dot'
  | 'RSET'
  | 'QUIT';

/** What the upstream does at a step instead of the usual. `{Q}` stands for the message's own mark. */
export type MtaAct =
  /** Octets (Latin-1) in place of the reply. */
  | { readonly say: string }
  /** The usual reply, cut in pieces of so many octets. */
  | { readonly cut: number }
  /** The usual reply after so many ms. */
  | { readonly delay: number }
  | { readonly close: 'fin' | 'rst' }
  /** The usual reply, and these octets so many ms later. */
  | { readonly later: number; readonly say2: string };

export type Move =
  /** Octets, Latin-1. */
  | { readonly send: string }
  /** Message data with its end, in two parts with so many ms between. An orderly client says it after a 354 only, else NOOP. */
  | { readonly message: readonly [string, string]; readonly pause: number }
  | { readonly pause: number }
  /** Wait for a reply, or for the end. */
  | 'reply'
  /** TLS begins, if the last reply was 220. */
  | 'tls'
  | 'fin'
  | 'rst';

export interface FuzzClient {
  /** 127.0.0.1 is trusted, 127.0.0.2 is a stranger. */
  readonly from: string;
  /** Says one command at a time, in good framing: it gets one reply to each. */
  readonly orderly: boolean;
  /** Lengths at which what is sent is cut, in turn; none: it is sent whole. */
  readonly cuts: readonly number[];
  readonly moves: readonly Move[];
}

export interface FuzzCase {
  readonly name: string;
  /** Keyword lines of the upstream's EHLO; null: it knows only HELO. */
  readonly ehlo: readonly string[] | null;
  /** In each list the first act is for the first time that the step is reached; null: as usual. */
  readonly mta: Readonly<Partial<Record<MtaStep, readonly (MtaAct | null)[]>>>;
  readonly tls: boolean;
  readonly small: boolean;
  readonly bareLf: 'reject' | 'convert';
  readonly clients: readonly FuzzClient[];
}
