/**
 * A small OAuth issuer: metadata, keys and introspection over HTTP, and tokens signed with its keys. (npm's issuers ask
 * for a newer Node than Sekisho does.)
 */
import http from 'node:http';
import https from 'node:https';
import type net from 'node:net';
import { type CryptoKey, exportJWK, generateKeyPair, type JWK, SignJWT } from 'jose';
import { freePort } from './packages.js';

export interface IssuerKey {
  readonly kid: string;
  readonly alg: string;
  readonly privateKey: CryptoKey;
  readonly jwk: JWK;
}

export const makeKey = async (kid: string, alg = 'ES256'): Promise<IssuerKey> => {
  const { privateKey, publicKey } = await generateKeyPair(alg, { extractable: true });
  return { kid, alg, privateKey, jwk: { ...(await exportJWK(publicKey)), kid, alg, use: 'sig' } };
};

/** What stands at a path instead of the proper answer. */
export interface Answer {
  readonly status?: number;
  readonly body?: string;
  readonly headers?: Readonly<Record<string, string>>;
}

export const CLIENT = { id: 'mail relay', secret: 'p:ss%w+rd ü' };
/** RFC 6749 2.3.1, spelt out. */
const BASIC = `Basic ${Buffer.from('mail+relay:p%3Ass%25w%2Brd+%C3%BC').toString('base64')}`;

export class Issuer {
  /** The issuer's name; another one when it stands behind a gate. */
  url: string;
  keys: IssuerKey[] = [];
  /** What introspection says of a token; any other is not active. */
  readonly tokens = new Map<string, Record<string, unknown>>();
  readonly answers = new Map<string, Answer>();
  /** Paths that were asked for, in order. */
  readonly asked: string[] = [];
  #server: http.Server | undefined;
  readonly #sockets = new Set<net.Socket>();

  private constructor(
    readonly port: number,
    private readonly tls: { readonly cert: string; readonly key: string } | undefined,
  ) {
    this.url = `${tls === undefined ? 'http' : 'https'}://127.0.0.1:${port}`;
  }

  static async start(tls?: { readonly cert: string; readonly key: string }): Promise<Issuer> {
    const issuer = new Issuer(await freePort(), tls);
    issuer.keys = [await makeKey('first')];
    await issuer.resume();
    return issuer;
  }

  get held(): number {
    return this.#sockets.size;
  }

  count(path: string): number {
    return this.asked.filter((each) => each === path).length;
  }

  async resume(): Promise<void> {
    const listener: http.RequestListener = (request, response) => this.#answer(request, response);
    const server =
      this.tls === undefined ? http.createServer(listener) : https.createServer(this.tls, listener);
    server.on('connection', (socket) => {
      this.#sockets.add(socket);
      socket.on('close', () => this.#sockets.delete(socket));
    });
    this.#server = server;
    await new Promise<void>((resolve) => server.listen(this.port, '127.0.0.1', resolve));
  }

  async stop(): Promise<void> {
    const server = this.#server;
    if (server === undefined) return;
    this.#server = undefined;
    const closed = new Promise((resolve) => server.close(resolve));
    for (const socket of this.#sockets) socket.destroy();
    await closed;
  }

  /** A token of the first key; `claims` over what any good one has, those that are undefined left out. */
  async token(
    claims: Record<string, unknown> = {},
    {
      key = this.keys[0],
      header = {},
    }: { key?: IssuerKey | undefined; header?: Record<string, unknown> } = {},
  ): Promise<string> {
    if (key === undefined) throw new Error('the issuer has no key');
    const now = Math.floor(Date.now() / 1_000);
    const all = { iss: this.url, aud: 'mail', exp: now + 600, iat: now, ...claims };
    return new SignJWT(JSON.parse(JSON.stringify(all)))
      .setProtectedHeader({ alg: key.alg, kid: key.kid, typ: 'at+jwt', ...header })
      .sign(key.privateKey);
  }

  #answer(request: http.IncomingMessage, response: http.ServerResponse): void {
    const path = request.url ?? '';
    this.asked.push(path);
    let body = '';
    request.on('data', (chunk) => {
      body += String(chunk);
    });
    request.on('end', () => {
      const said = this.answers.get(path);
      const [code, json] =
        said === undefined ? this.#say(path, request, new URLSearchParams(body)) : [said.status ?? 200, {}];
      response.writeHead(code, { 'content-type': 'application/json', ...said?.headers });
      response.end(said?.body ?? JSON.stringify(json));
    });
  }

  #say(path: string, { headers, method }: http.IncomingMessage, form: URLSearchParams): [number, unknown] {
    switch (path) {
      case '/.well-known/openid-configuration':
        return [
          200,
          {
            issuer: this.url,
            jwks_uri: `${this.url}/keys`,
            introspection_endpoint: `${this.url}/introspect`,
          },
        ];
      case '/keys':
        return [200, { keys: this.keys.map(({ jwk }) => jwk) }];
      case '/introspect': {
        if (method !== 'POST' || headers.authorization !== BASIC) return [401, { error: 'invalid_client' }];
        const claims = this.tokens.get(form.get('token') ?? '');
        return [200, claims === undefined ? { active: false } : { active: true, ...claims }];
      }
      default:
        return [404, {}];
    }
  }
}
