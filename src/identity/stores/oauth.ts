/** Bearer tokens (RFC 6750) of an OAuth 2 issuer: JWTs by its published keys, others by asking it. */
import type { Note } from '../../base/events.js';
import { type Attempt, type CredentialStore, type Outcome, type Proof, wrong } from '../credentials.js';
import { Deadline } from './deadline.js';
import { Guard } from './guard.js';
import { JsonHttp } from './json-http.js';
import { type ClaimRules, loginOf } from './oauth-claims.js';
import { Introspection, type IntrospectionOptions } from './oauth-introspection.js';
import { type IssuerOptions, OauthIssuer } from './oauth-issuer.js';

export interface OauthOptions extends Omit<IssuerOptions, 'http' | 'closing'>, ClaimRules {
  /** PEM; undefined: the certificate authorities that Node knows. */
  readonly ca: string | undefined;
  readonly introspection:
    | (Pick<IntrospectionOptions, 'url' | 'clientId' | 'clientSecret' | 'cacheTime' | 'cacheSize'> & {
        /** `all`: JWTs too, so that one that was revoked is refused at once. */
        readonly tokens: 'all' | 'opaque';
      })
    | undefined;
  /** Attempts in hand at once. */
  readonly maxAttempts: number;
  readonly note: Note;
}

/** RFC 7515 7.1. */
const JWT = /^[A-Za-z0-9_-]+\.[A-Za-z0-9_-]+\.[A-Za-z0-9_-]*$/;
/** RFC 6750 2.1. */
const TOKEN = /^[A-Za-z0-9._~+/-]+=*$/;

export class OauthStore implements CredentialStore {
  readonly name: string;
  readonly proves = new Set(['token'] as const);
  readonly #options: OauthOptions;
  readonly #guard: Guard;
  readonly #closing = new AbortController();
  readonly #http: JsonHttp;
  readonly #issuer: OauthIssuer;
  readonly #introspection: Introspection | undefined;

  constructor(options: OauthOptions) {
    const { introspection } = options;
    this.#options = options;
    this.name = `oauth ${options.issuer}`;
    this.#guard = new Guard(this.name, options.maxAttempts);
    this.#http = new JsonHttp(options.ca);
    this.#issuer = new OauthIssuer({ ...options, http: this.#http, closing: this.#closing.signal });
    this.#introspection =
      introspection === undefined
        ? undefined
        : new Introspection({ ...options, ...introspection }, this.#http, this.#issuer);
  }

  async verify(proof: Proof, _attempt: Attempt): Promise<Outcome> {
    if (proof.kind !== 'token') return wrong('an OAuth issuer judges tokens only');
    return this.#guard.judge(proof, () =>
      Deadline.over(this.#options.timeout, this.#closing.signal, ({ signal }) =>
        this.#judge(proof.token, proof.user, signal),
      ),
    );
  }

  async close(): Promise<void> {
    this.#closing.abort(new Error('the store is closed'));
    await this.#guard.close();
    this.#http.close();
    this.#introspection?.close();
  }

  async #judge(token: string, user: string | undefined, signal: AbortSignal): Promise<Outcome> {
    if (!TOKEN.test(token)) return wrong('the token has characters that none has');
    const judge = this.#judgeFor(token);
    if (judge === undefined) return wrong('the token is no JWT, and the issuer is not asked about others');
    try {
      const verdict = await judge.verify(token, signal);
      return 'why' in verdict
        ? wrong(`the token is refused: ${verdict.why}`)
        : loginOf(verdict.claims, user, this.#options);
    } catch (error) {
      const why = error instanceof Error ? error.message : 'unknown error';
      if (!this.#closing.signal.aborted)
        this.#options.note({ type: 'store-error', operation: 'oauth', why: `${this.name}: ${why}` });
      throw error;
    }
  }

  #judgeFor(token: string): OauthIssuer | Introspection | undefined {
    const isJwt = JWT.test(token);
    if (this.#options.introspection?.tokens === 'all') return this.#introspection;
    return isJwt ? this.#issuer : this.#introspection;
  }
}
