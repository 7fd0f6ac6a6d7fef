/** JSON over HTTP from a server that is trusted but may be down, hung or mad: bounded in time and size, no redirects. */
import http from 'node:http';
import https from 'node:https';

/** Octets of a body: discovery documents, key sets and claims are far below that. */
const BODY_OCTETS = 524_288;

export interface JsonRequest {
  readonly method: 'GET' | 'POST';
  readonly headers?: Readonly<Record<string, string>>;
  readonly body?: string;
}

export interface JsonAnswer {
  readonly status: number;
  readonly json: unknown;
}

const LOOPBACK = /^(?:127\.\d+\.\d+\.\d+|\[::1\]|localhost)$/;

/** An https URL, or http on this host itself; undefined for others, and for URLs with credentials or a fragment. */
export const secureUrl = (text: string): URL | undefined => {
  if (!URL.canParse(text)) return undefined;
  const url = new URL(text);
  if (url.username !== '' || url.password !== '' || url.hash !== '') return undefined;
  const fits = url.protocol === 'https:' || (url.protocol === 'http:' && LOOPBACK.test(url.hostname));
  return fits ? url : undefined;
};

/** A connection kept open that the server closed just as it was used again. */
const wentStale = (request: http.ClientRequest, error: NodeJS.ErrnoException): boolean =>
  request.reusedSocket && (error.code === 'ECONNRESET' || error.code === 'EPIPE');

class Stale extends Error {}

export class JsonHttp {
  readonly #plain: http.Agent;
  readonly #secure: https.Agent;

  /** `ca`: PEM, undefined for the authorities that Node knows. */
  constructor(ca: string | undefined) {
    // Idle ones are closed after 15 s.
    const options = { keepAlive: true, maxSockets: 64, maxFreeSockets: 4, timeout: 15_000 };
    this.#plain = new http.Agent(options);
    this.#secure = new https.Agent({
      ...options,
      minVersion: 'TLSv1.2',
      ...(ca === undefined ? {} : { ca }),
    });
  }

  /** Any status is an answer; what is no JSON, too long or not there before the signal ends is thrown. */
  async ask(url: URL, request: JsonRequest, signal: AbortSignal): Promise<JsonAnswer> {
    try {
      return await this.#once(url, request, signal);
    } catch (error) {
      if (error instanceof Stale) return await this.#once(url, request, signal);
      throw error;
    }
  }

  /** Ends all connections. */
  close(): void {
    this.#plain.destroy();
    this.#secure.destroy();
  }

  #once(url: URL, { method, headers, body }: JsonRequest, signal: AbortSignal): Promise<JsonAnswer> {
    return new Promise((resolve, reject) => {
      signal.throwIfAborted();
      const secure = url.protocol === 'https:';
      const request = (secure ? https : http).request(url, {
        method,
        agent: secure ? this.#secure : this.#plain,
        headers: {
          accept: 'application/json',
          'user-agent': 'sekisho',
          ...headers,
          ...(body === undefined ? {} : { 'content-length': Buffer.byteLength(body) }),
        },
      });
      const abort = (): void => {
        request.destroy(signal.reason instanceof Error ? signal.reason : new Error('stopped'));
      };
      signal.addEventListener('abort', abort);
      let settled = false;
      const fail = (error: Error): void => {
        // After the answer the connection may serve somebody else already: it must not be destroyed then.
        if (settled) return;
        settled = true;
        signal.removeEventListener('abort', abort);
        request.destroy();
        reject(error);
      };
      request.on('error', (error) => fail(wentStale(request, error) ? new Stale(error.message) : error));
      request.on('response', (response) => {
        const chunks: Buffer[] = [];
        let size = 0;
        response.on('data', (chunk: Buffer) => {
          size += chunk.length;
          if (size > BODY_OCTETS) fail(new Error(`it answers with more than ${BODY_OCTETS} octets`));
          else chunks.push(chunk);
        });
        response.on('error', fail);
        response.on('close', () => fail(new Error('it closed the connection in the middle of its answer')));
        response.on('end', () => {
          if (settled) return;
          settled = true;
          signal.removeEventListener('abort', abort);
          const status = response.statusCode ?? 0;
          try {
            const json: unknown = status === 200 ? JSON.parse(Buffer.concat(chunks).toString()) : undefined;
            resolve({ status, json });
          } catch {
            reject(new Error('its answer is not JSON'));
          }
        });
      });
      request.end(body);
    });
  }
}
