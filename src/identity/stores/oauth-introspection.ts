/** Token introspection (RFC 7662): the issuer itself says whether a token holds, whatever its form. */
import { createHash } from 'node:crypto';
import type { JsonHttp } from './json-http.js';
import { type Claims, isClaims, textsOf } from './oauth-claims.js';
import { faultOf, IssuerFault, type OauthIssuer } from './oauth-issuer.js';

export interface IntrospectionOptions {
  /** Undefined: by discovery. */
  readonly url: URL | undefined;
  readonly clientId: string;
  readonly clientSecret: string;
  readonly issuer: string;
  /** A token must be meant for one of these; empty: whatever the issuer calls active. */
  readonly audience: readonly string[];
  /** Seconds */
  readonly clockTolerance: number;
  /** How long a token that holds is not asked about again, ms; 0: never. */
  readonly cacheTime: number;
  /** Tokens that are remembered at most. */
  readonly cacheSize: number;
}

/** RFC 6749 2.3.1: both halves are form-encoded before they are joined. */
const formEncoded = (text: string): string => new URLSearchParams({ x: text }).toString().slice(2);

const timeFault = ({ exp, nbf }: Claims, tolerance: number): string | undefined => {
  const now = Date.now() / 1_000;
  if (exp !== undefined && (typeof exp !== 'number' || exp + tolerance <= now)) return 'it has expired';
  if (nbf !== undefined && (typeof nbf !== 'number' || nbf - tolerance > now)) return 'its time has not come';
  return undefined;
};

export class Introspection {
  readonly #options: IntrospectionOptions;
  readonly #http: JsonHttp;
  readonly #issuer: OauthIssuer;
  /** By the token's hash, oldest first. */
  readonly #cache = new Map<string, { readonly claims: Claims; readonly until: number }>();

  constructor(options: IntrospectionOptions, http: JsonHttp, issuer: OauthIssuer) {
    this.#options = options;
    this.#http = http;
    this.#issuer = issuer;
  }

  /** The claims of a token that holds, or why it is refused. Throws an IssuerFault when nobody can tell. */
  async verify(token: string, signal: AbortSignal): Promise<{ claims: Claims } | { why: string }> {
    const { cacheTime } = this.#options;
    const key = createHash('sha256').update(token).digest('base64');
    const known = this.#cache.get(key);
    if (known !== undefined && known.until > Date.now()) return { claims: known.claims };
    this.#cache.delete(key);
    const asked = Date.now();
    const claims = await this.#ask(token, signal);
    if (claims.active !== true) return { why: 'the issuer does not call it active' };
    const fault = this.#fault(claims);
    if (fault !== undefined) return { why: fault };
    const expiry = typeof claims.exp === 'number' ? claims.exp * 1_000 : Number.POSITIVE_INFINITY;
    if (cacheTime > 0) this.#remember(key, claims, Math.min(asked + cacheTime, expiry));
    return { claims };
  }

  close(): void {
    this.#cache.clear();
  }

  async #ask(token: string, signal: AbortSignal): Promise<Claims> {
    const { url, clientId, clientSecret } = this.#options;
    const credentials = `${formEncoded(clientId)}:${formEncoded(clientSecret)}`;
    try {
      const endpoint = url ?? (await this.#issuer.endpoint('introspection_endpoint', signal));
      const { status, json } = await this.#http.ask(
        endpoint,
        {
          method: 'POST',
          headers: {
            authorization: `Basic ${Buffer.from(credentials).toString('base64')}`,
            'content-type': 'application/x-www-form-urlencoded',
          },
          body: new URLSearchParams({ token, token_type_hint: 'access_token' }).toString(),
        },
        signal,
      );
      if (status === 401 || status === 403)
        throw new IssuerFault(`introspection: it refuses the client ${clientId} (status ${status})`);
      if (status !== 200) throw new IssuerFault(`introspection: status ${status}`);
      if (!isClaims(json) || typeof json.active !== 'boolean')
        throw new IssuerFault('introspection: the answer does not say whether the token is active');
      return json;
    } catch (error) {
      throw faultOf('introspection', error);
    }
  }

  #fault(claims: Claims): string | undefined {
    const { issuer, audience, clockTolerance } = this.#options;
    if (claims.iss !== undefined && claims.iss !== issuer) return 'it is of another issuer';
    if (audience.length > 0 && !textsOf(claims.aud).some((each) => audience.includes(each)))
      return 'it is meant for somebody else';
    const kind = claims.token_type;
    if (kind !== undefined && !/^(?:bearer|access_token)$/i.test(String(kind)))
      return 'it is no bearer token';
    return timeFault(claims, clockTolerance);
  }

  #remember(key: string, claims: Claims, until: number): void {
    this.#cache.set(key, { claims, until });
    if (this.#cache.size <= this.#options.cacheSize) return;
    const [oldest] = this.#cache.keys();
    if (oldest !== undefined) this.#cache.delete(oldest);
  }
}
