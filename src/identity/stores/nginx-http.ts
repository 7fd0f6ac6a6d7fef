/**
 * The protocol of nginx' mail proxy (ngx_mail_auth_http_module), as its client: one GET per attempt with what is known
 * in Auth-* header lines, the answer in header lines too. The status line and the body say nothing in it.
 */
import http from 'node:http';
import {
  type Attempt,
  type CredentialStore,
  type Outcome,
  type Proof,
  type ProofKind,
  unavailable,
  wrong,
} from '../credentials.js';
import { type AttemptOptions, Attempts } from './attempts.js';
import { pause } from './deadline.js';
import { type LoginNames, nameGiven, nameLogin } from './login-names.js';
import { connect, faultOf, PeerFault, type PeerTls, printable } from './peer.js';

export interface NginxHttpOptions extends AttemptOptions {
  /** `http:` or `https:`, without user and password. */
  readonly url: URL;
  /** `mode` follows from the URL. */
  readonly tls: PeerTls;
  readonly names: LoginNames;
  /** What the service can judge. */
  readonly proves: readonly Exclude<ProofKind, 'token' | 'scram-sha-256'>[];
  /** Sent along with each request, such as a shared secret. */
  readonly headers: Readonly<Record<string, string>>;
}

/** Octets of an answer's header; its body is not read at all. */
const ANSWER = 65_536;
/** Milliseconds before the service is asked again that says WAIT without a time. */
const WAIT = 1_000;

/**
 * As nginx escapes (NGX_ESCAPE_MAIL_AUTH): space, `%` and controls. Octets above 127 go as they are, which header
 * lines of Node have as Latin-1.
 */
export const escapeHeader = (text: string): string =>
  Buffer.from(text)
    .toString('latin1')
    .replace(
      /[\0-\x20%\x7f]/g,
      (octet) => `%${octet.charCodeAt(0).toString(16).toUpperCase().padStart(2, '0')}`,
    );

const fieldsOf = (proof: Exclude<Proof, { kind: 'token' }>): Record<string, string> => {
  switch (proof.kind) {
    case 'password':
      return {
        'Auth-Method': 'plain',
        'Auth-User': escapeHeader(proof.user),
        'Auth-Pass': escapeHeader(proof.password),
      };
    case 'cram-md5':
      return {
        'Auth-Method': 'cram-md5',
        'Auth-User': escapeHeader(proof.user),
        'Auth-Pass': proof.digest,
        'Auth-Salt': escapeHeader(proof.challenge),
      };
    case 'external': {
      const { fingerprint, subject } = proof.certificate;
      return {
        'Auth-Method': 'external',
        'Auth-User': escapeHeader(proof.user),
        'Auth-Pass': '',
        'Auth-SSL-Verify': subject === undefined ? 'NONE' : 'SUCCESS',
        ...(subject === undefined ? {} : { 'Auth-SSL-Subject': escapeHeader(subject) }),
        // nginx' own is SHA-1; a name of its own, so that nobody compares the two.
        'Auth-SSL-Fingerprint-SHA256': fingerprint,
      };
    }
  }
};

const factsOf = ({ protocol, client, secure, nth }: Attempt): Record<string, string> => ({
  'Auth-Protocol': protocol,
  'Auth-Login-Attempt': String(nth),
  'Client-IP': client,
  // nginx says so of a client whose name it has not looked up.
  ...(protocol === 'smtp' ? { 'Client-Host': '[UNAVAILABLE]' } : {}),
  ...(secure ? { 'Auth-SSL': 'on' } : {}),
});

interface Answer {
  readonly code: number;
  /** The one value of a header line; undefined if there is none. Throws when there are several. */
  header(name: string): string | undefined;
}

const answerOf = (response: http.IncomingMessage): Answer => ({
  code: response.statusCode ?? 0,
  header: (name) => {
    const values = response.headersDistinct[name];
    if (values !== undefined && values.length > 1)
      throw new PeerFault(`it says ${name} ${values.length} times`);
    return values === undefined
      ? undefined
      : Buffer.from(values[0] ?? '', 'latin1')
          .toString('utf8')
          .trim();
  },
});

const seconds = (text: string | undefined): number | undefined =>
  text !== undefined && /^\d{1,9}$/.test(text) ? Number(text) : undefined;

export class NginxHttpStore implements CredentialStore {
  readonly name: string;
  readonly proves: ReadonlySet<ProofKind>;
  readonly #options: NginxHttpOptions;
  readonly #attempts: Attempts;

  constructor(options: NginxHttpOptions) {
    // Without the query, which may bear a key.
    this.name = `http ${options.url.origin}${options.url.pathname}`;
    this.proves = new Set(options.proves);
    this.#options = options;
    this.#attempts = new Attempts(this.name, options);
  }

  verify(proof: Proof, attempt: Attempt): Promise<Outcome> {
    return this.#attempts.judge(proof, async (signal) => {
      if (proof.kind === 'token' || !this.proves.has(proof.kind))
        return wrong(`${this.name} does not judge a proof of the kind ${proof.kind}`);
      if (proof.user === '') return this.#ask(proof, attempt, '', signal);
      const login = nameLogin(proof.user, this.#options.names);
      return login.ok ? this.#ask(proof, attempt, login.value.known, signal) : wrong(login.error);
    });
  }

  close(): Promise<void> {
    return this.#attempts.close();
  }

  async #ask(
    proof: Exclude<Proof, { kind: 'token' }>,
    attempt: Attempt,
    known: string,
    signal: AbortSignal,
  ): Promise<Outcome> {
    const headers = { ...this.#options.headers, ...fieldsOf(proof), ...factsOf(attempt) };
    for (;;) {
      const answer = await this.#request(headers, signal);
      const status = answer.header('auth-status');
      if (status !== 'WAIT') return this.#judge(answer, status, known);
      const wait = (seconds(answer.header('auth-wait')) ?? 0) * 1_000 || WAIT;
      // It ends with the attempt, long before timers know no such number.
      await pause(Math.min(wait, 86_400_000), signal);
    }
  }

  #judge(answer: Answer, status: string | undefined, known: string): Outcome {
    const cannot = (why: string): Outcome => unavailable(`${this.name}: ${why}`);
    const { code } = answer;
    if (code >= 300 && code < 400) return cannot(`it answers ${code}: redirects are not followed`);
    if (code >= 500) return cannot(`it answers ${code}`);
    if (status === undefined || status === '') return cannot(`it answers ${code} without Auth-Status`);
    if (status !== 'OK') {
      const error = answer.header('auth-error-code') ?? '';
      const text = printable(`${error} ${status}`);
      return /^4\d\d/.test(error) ? cannot(text) : wrong(`${this.name}: ${text}`);
    }
    if (code < 200 || code >= 300) return cannot(`it answers ${code} with Auth-Status: OK`);
    const given = answer.header('auth-user') ?? known;
    if (given === '') return cannot('it says OK and not to whom');
    const name = nameGiven(given, this.#options.names);
    return name.ok ? { kind: 'ok', login: { name: name.value } } : cannot(name.error);
  }

  async #request(headers: Readonly<Record<string, string>>, signal: AbortSignal): Promise<Answer> {
    const { url, tls } = this.#options;
    const implicit = url.protocol === 'https:';
    const host = url.hostname.replace(/^\[|\]$/g, '');
    const port = url.port === '' ? (implicit ? 443 : 80) : Number(url.port);
    const socket = await connect({ host, port }, { ...tls, mode: implicit ? 'implicit' : 'none' }, signal);
    return new Promise<Answer>((resolve, reject) => {
      const request = http.request({
        createConnection: () => socket,
        host: url.host,
        path: `${url.pathname}${url.search}`,
        headers: { Host: url.host, Connection: 'close', ...headers },
        maxHeaderSize: ANSWER,
        setHost: false,
      });
      const onAbort = (): void => settle(() => reject(faultOf(signal)));
      const settle = (how: () => void): void => {
        signal.removeEventListener('abort', onAbort);
        request.destroy();
        socket.destroy();
        how();
      };
      request.on('error', (error) => settle(() => reject(new PeerFault(printable(error.message)))));
      request.on('response', (response) => settle(() => resolve(answerOf(response))));
      request.on('upgrade', () => settle(() => reject(new PeerFault('it answers 101'))));
      signal.addEventListener('abort', onAbort);
      if (signal.aborted) return onAbort();
      request.end();
    });
  }
}
