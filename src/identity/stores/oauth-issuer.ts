/** What an OAuth issuer publishes: its metadata (OpenID Connect Discovery 1.0, RFC 8414) and its keys (RFC 7517). */
import {
  type CryptoKey,
  createRemoteJWKSet,
  customFetch,
  errors,
  type FlattenedJWSInput,
  type JWTHeaderParameters,
  type JWTVerifyGetKey,
  jwtVerify,
  type RemoteJWKSet,
} from 'jose';
import { Deadline, orAborted } from './deadline.js';
import { type JsonHttp, secureUrl } from './json-http.js';
import { type Claims, isClaims } from './oauth-claims.js';

/** The issuer cannot tell: never the token's fault. */
export class IssuerFault extends Error {}

export const faultOf = (what: string, error: unknown): IssuerFault =>
  error instanceof IssuerFault
    ? error
    : new IssuerFault(`${what}: ${error instanceof Error ? error.message : 'unknown error'}`);

export interface IssuerOptions {
  readonly issuer: string;
  /** Undefined: by discovery. */
  readonly jwksUri: URL | undefined;
  /** A token must be meant for one of these. */
  readonly audience: readonly string[];
  /** Never `none` and never HS…, whose key would be public. */
  readonly algorithms: readonly string[];
  /** Seconds */
  readonly clockTolerance: number;
  /** Of one request, ms. */
  readonly timeout: number;
  /** How long keys and metadata are believed, ms. */
  readonly keysMaxAge: number;
  /** A key that is not known makes the keys be fetched anew, but not again within this time, ms. */
  readonly keysCooldown: number;
  readonly http: JsonHttp;
  readonly closing: AbortSignal;
}

/** RFC 8725 3.11: tokens for other purposes say so in `typ`. */
const TYPES: ReadonlySet<string> = new Set(['jwt', 'at+jwt', 'application/jwt', 'application/at+jwt']);

export class OauthIssuer {
  readonly #options: IssuerOptions;
  #metadata: { readonly claims: Promise<Claims>; readonly since: number } | undefined;
  #keys: { readonly uri: string; readonly set: RemoteJWKSet } | undefined;

  constructor(options: IssuerOptions) {
    this.#options = options;
  }

  /** An endpoint of the metadata. Throws an IssuerFault when it is not there. */
  async endpoint(name: string, signal: AbortSignal): Promise<URL> {
    const value = (await orAborted(signal, this.#discover()))[name];
    const url = typeof value === 'string' ? secureUrl(value) : undefined;
    if (url === undefined)
      throw new IssuerFault(`the metadata of ${this.#options.issuer} has no ${name} over https`);
    return url;
  }

  /** The claims of a JWT, or why it is refused. Throws an IssuerFault when nobody can tell. */
  async verify(token: string, signal: AbortSignal): Promise<{ claims: Claims } | { why: string }> {
    const keys = await this.#keySet(signal);
    const find: JWTVerifyGetKey = (header, input) => this.#find(keys, header, input, signal);
    try {
      return await this.#check(token, find);
    } catch (error) {
      if (error instanceof errors.JWKSMultipleMatchingKeys) return await this.#checkEach(token, error);
      // Everything that jose throws itself is about the token: what is about the issuer was caught in #find.
      if (error instanceof errors.JOSEError) return { why: error.message };
      throw faultOf('the token cannot be checked', error);
    }
  }

  async #check(token: string, key: JWTVerifyGetKey): Promise<{ claims: Claims } | { why: string }> {
    const { issuer, audience, algorithms, clockTolerance } = this.#options;
    const { payload, protectedHeader } = await jwtVerify(token, key, {
      issuer,
      audience: [...audience],
      algorithms: [...algorithms],
      clockTolerance,
      requiredClaims: ['exp'],
    });
    const { typ } = protectedHeader;
    if (typ !== undefined && !TYPES.has(typ.toLowerCase()))
      return { why: 'its type is not that of an access token' };
    return { claims: payload };
  }

  /** A token without `kid` and several keys that it may be signed with. */
  async #checkEach(
    token: string,
    several: errors.JWKSMultipleMatchingKeys,
  ): Promise<{ claims: Claims } | { why: string }> {
    for await (const key of several) {
      try {
        return await this.#check(token, async () => key);
      } catch (error) {
        if (!(error instanceof errors.JOSEError)) throw faultOf('the token cannot be checked', error);
        if (!(error instanceof errors.JWSSignatureVerificationFailed)) return { why: error.message };
      }
    }
    return { why: 'signature verification failed' };
  }

  async #find(
    keys: RemoteJWKSet,
    header: JWTHeaderParameters,
    input: FlattenedJWSInput,
    signal: AbortSignal,
  ): Promise<CryptoKey> {
    try {
      return await orAborted(signal, keys(header, input));
    } catch (error) {
      const ofToken =
        error instanceof errors.JWKSNoMatchingKey ||
        error instanceof errors.JWKSMultipleMatchingKeys ||
        error instanceof errors.JOSENotSupported;
      throw ofToken ? error : faultOf(`the keys of ${this.#options.issuer}`, error);
    }
  }

  async #keySet(signal: AbortSignal): Promise<RemoteJWKSet> {
    const url = this.#options.jwksUri ?? (await this.endpoint('jwks_uri', signal));
    if (this.#keys?.uri !== url.href) this.#keys = { uri: url.href, set: this.#remote(url) };
    return this.#keys.set;
  }

  #remote(url: URL): RemoteJWKSet {
    const { timeout, keysMaxAge, keysCooldown, http, closing } = this.#options;
    return createRemoteJWKSet(url, {
      timeoutDuration: timeout,
      cooldownDuration: keysCooldown,
      cacheMaxAge: keysMaxAge,
      // One request serves all attempts that wait for it, so it has a deadline of its own.
      [customFetch]: async () => {
        const { status, json } = await Deadline.over(timeout, closing, ({ signal }) =>
          http.ask(url, { method: 'GET' }, signal),
        );
        if (status !== 200) throw new IssuerFault(`the keys at ${url.href}: status ${status}`);
        return new Response(JSON.stringify(json));
      },
    });
  }

  #discover(): Promise<Claims> {
    const known = this.#metadata;
    if (known !== undefined && Date.now() - known.since < this.#options.keysMaxAge) return known.claims;
    const claims = this.#fetchMetadata();
    const entry = { claims, since: Date.now() };
    this.#metadata = entry;
    // A failure is not remembered.
    claims.catch(() => {
      if (this.#metadata === entry) this.#metadata = undefined;
    });
    return claims;
  }

  async #fetchMetadata(): Promise<Claims> {
    const { issuer, timeout, http, closing } = this.#options;
    const what = `the metadata of ${issuer}`;
    try {
      return await Deadline.over(timeout, closing, async ({ signal }) => {
        const get = (url: URL) => http.ask(url, { method: 'GET' }, signal);
        const base = new URL(issuer);
        const path = base.pathname.replace(/\/$/, '');
        let answer = await get(new URL(`${path}/.well-known/openid-configuration`, base));
        if (answer.status === 404)
          answer = await get(new URL(`/.well-known/oauth-authorization-server${path}`, base));
        if (answer.status !== 200) throw new IssuerFault(`${what}: status ${answer.status}`);
        if (!isClaims(answer.json)) throw new IssuerFault(`${what} is not a JSON object`);
        // OpenID Connect Discovery 4.3: else one issuer could speak for another.
        if (answer.json.issuer !== issuer) throw new IssuerFault(`${what} is that of another issuer`);
        return answer.json;
      });
    } catch (error) {
      throw faultOf(what, error);
    }
  }
}
