/**
 * What a credential store is asked and what it may answer. A mechanism (identity/sasl) turns a client's words
 * into a proof; a store (identity/stores) says whether the proof holds. Neither knows the other.
 */

/** Who logged in, as the store knows them. */
export interface Login {
  /** The one spelling by which policies, limits, windows and logs know the login. At most 255 octets, no controls. */
  readonly name: string;
  /**
   * What the login may put in MAIL FROM, as far as the store says: mailboxes, `@domain` for a whole domain, `*` for
   * anything. Undefined: the store says nothing, and the policy decides.
   */
  readonly senders?: readonly string[];
}

/**
 * A store's answer. "Wrong" (unknown user, wrong password, disabled, alike for the client: 535) is never mixed up with
 * "cannot tell now" (454). `why` is for the log and never bears a secret.
 */
export type Outcome =
  | { readonly kind: 'ok'; readonly login: Login }
  | { readonly kind: 'wrong'; readonly why: string }
  | { readonly kind: 'unavailable'; readonly why: string };

/** Where an attempt comes from: what stores hand on to servers of their own (Dovecot's rip=, nginx' Client-IP). */
export interface Attempt {
  readonly protocol: 'smtp' | 'pop3' | 'imap';
  readonly listener: string;
  /** Canonical text of the client's address. */
  readonly client: string;
  readonly clientPort: number;
  /** TLS is in force. */
  readonly secure: boolean;
  readonly helo: string | undefined;
  readonly session: string;
  /** Counts the attempts of the session, from 1. */
  readonly nth: number;
}

/** The verified facts of a client certificate. */
export interface CertificateIdentity {
  /** SHA-256 of the DER, lower-case hex without colons. */
  readonly fingerprint: string;
  /** RFC 4514-like `CN=…,O=…`; undefined unless the chain was verified. */
  readonly subject: string | undefined;
  /** Mail addresses and names of a verified certificate, lower case: subjectAltName, else the CN. */
  readonly names: readonly string[];
}

/** What a mechanism has got from the client. All of it but `user` is secret. */
export type Proof =
  | { readonly kind: 'password'; readonly user: string; readonly password: string }
  | {
      readonly kind: 'cram-md5';
      readonly user: string;
      /** As sent, without base64: `<…@…>`. */
      readonly challenge: string;
      /** 32 lower-case hex digits: HMAC-MD5 of the challenge (RFC 2195). */
      readonly digest: string;
    }
  | {
      readonly kind: 'external';
      /** The authorisation identity that was asked for, '' for "whoever the certificate says". */
      readonly user: string;
      readonly certificate: CertificateIdentity;
    }
  | { readonly kind: 'token'; readonly user: string | undefined; readonly token: string };

export type ProofKind = Proof['kind'] | 'scram-sha-256';

/** RFC 5802 3: what the server keeps of a password. */
export interface ScramKeys {
  readonly salt: Buffer;
  readonly iterations: number;
  readonly storedKey: Buffer;
  readonly serverKey: Buffer;
}

export type KeysOutcome =
  | { readonly kind: 'keys'; readonly keys: ScramKeys; readonly login: Login }
  | Exclude<Outcome, { kind: 'ok' }>;

/** An exchange that a store's own server carries out (Dovecot): Sekisho passes the responses through. */
export interface RemoteExchange {
  /** The client's response, decoded; undefined at the start when there was no initial response. */
  respond(
    response: Buffer | undefined,
  ): Promise<Outcome | { readonly kind: 'challenge'; readonly data: Buffer }>;
  /** The client cancelled or is gone. */
  cancel(): void;
}

/**
 * A place where credentials can be proven. No method ever rejects: whatever goes wrong is `unavailable`. Each bounds
 * its own time and how many attempts it has in hand at once.
 */
export interface CredentialStore {
  /** For the log, such as `passwd_file /etc/sekisho/users`. */
  readonly name: string;
  /** What it can judge just now; the mechanisms on offer follow from this. May change when its file does. */
  readonly proves: ReadonlySet<ProofKind>;
  /** Judges a proof of a kind that is in `proves`. An unknown user costs the same time as a wrong password. */
  verify(proof: Proof, attempt: Attempt): Promise<Outcome>;
  /** Present where `proves` may have `scram-sha-256`. `wrong`: no such user, or none with such keys. */
  scramKeys?(user: string, attempt: Attempt): Promise<KeysOutcome>;
  /** Mechanisms, upper case, that the store's own server carries out. */
  readonly remoteMechanisms?: ReadonlySet<string>;
  exchange?(mechanism: string, attempt: Attempt): RemoteExchange;
  /** Lets connections, watchers and workers go. */
  close(): Promise<void>;
}

export const wrong = (why: string): Extract<Outcome, { kind: 'wrong' }> => ({ kind: 'wrong', why });

export const unavailable = (why: string): Extract<Outcome, { kind: 'unavailable' }> => ({
  kind: 'unavailable',
  why,
});
