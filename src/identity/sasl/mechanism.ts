/**
 * A SASL mechanism (RFC 4422) as an explicit exchange without I/O: octets of the client go in, the next step comes
 * out. Nonces, channel bindings and the certificate come in as arguments.
 */
import type { CertificateIdentity, Login, Outcome, Proof, ProofKind, ScramKeys } from '../credentials.js';

/** What a mechanism may know of the connection it runs on. */
export interface SaslContext {
  /** Printable, without commas and spaces, at least 128 bits of chance: for SCRAM and CRAM-MD5. */
  readonly nonce: string;
  /** The server's name, for the CRAM-MD5 challenge. */
  readonly hostname: string;
  /** Milliseconds since 1970, for the CRAM-MD5 challenge. */
  readonly time: number;
  /** Channel bindings (RFC 5929, RFC 9266) that the connection has; empty in clear text. */
  readonly bindings: ReadonlyMap<'tls-exporter' | 'tls-server-end-point', Buffer>;
  /** SCRAM-…-PLUS is on offer beside the plain one (RFC 5802 6: detects a downgrade). */
  readonly plusOffered: boolean;
  /** The client's certificate, if it showed one that was verified. */
  readonly certificate: CertificateIdentity | undefined;
  /** Where and for what a client whose token was refused may get a better one (RFC 7628 3.2.2). */
  readonly oauth?: {
    readonly scope?: string | undefined;
    /** The URL of an OpenID configuration document. */
    readonly configuration?: string | undefined;
  };
}

/** Why an exchange ended without a login. `malformed`: 501, no guess was made; `wrong`: 535. */
export type SaslFailure = 'malformed' | 'wrong' | 'unavailable';

export type SaslStep =
  /** To be sent to the client, base64-encoded behind `334 `. */
  | { readonly kind: 'challenge'; readonly data: Buffer }
  /** Somebody has to judge this; `outcome` goes on. */
  | { readonly kind: 'verify'; readonly proof: Proof }
  /** Somebody has to find the SCRAM keys of this user; `keys` goes on. A user who does not exist gets made-up keys. */
  | { readonly kind: 'keys'; readonly user: string }
  | { readonly kind: 'done'; readonly login: Login }
  | { readonly kind: 'failed'; readonly failure: SaslFailure; readonly why: string; readonly user?: string };

export interface SaslExchange {
  /** The client's response, base64 removed; undefined at the start when there was no initial response. */
  respond(response: Buffer | undefined): SaslStep;
  /** The answer to `verify`. */
  outcome(outcome: Outcome): SaslStep;
  /** The answer to `keys`. `login` is undefined when the keys are made up: then the exchange must fail at the proof. */
  keys(keys: ScramKeys, login: Login | undefined): SaslStep;
}

export interface SaslMechanism {
  /** As registered with IANA, upper case. */
  readonly name: string;
  /** The password, or something as good as it, goes over the wire: to be offered under TLS only. */
  readonly plaintext: boolean;
  /** Which proof a store has to be able to judge. */
  readonly needs: ProofKind;
  /** What else it needs: `binding`, a channel binding; `certificate`, a verified client certificate. */
  readonly requires?: 'binding' | 'certificate';
  begin(context: SaslContext): SaslExchange;
}
