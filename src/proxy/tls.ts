/**
 * TLS towards clients (RFC 8446, RFC 3207, RFC 8314): which certificate for which name, from which version on, and
 * what certificate a client must show. Certificates can be replaced while sessions run; a session keeps the one with
 * which it began.
 */
import { constants, createHash, createPrivateKey, hkdfSync, X509Certificate } from 'node:crypto';
import type net from 'node:net';
import tls from 'node:tls';
import { err, ok, type Result } from '../base/result.js';
import type { TlsVersion } from '../base/tls-versions.js';
import type { CertificateIdentity } from '../identity/credentials.js';
import { printReply, REPLIES } from '../smtp/reply.js';
import { namesOf, shownBy } from './certificates.js';
import type { ClientTls } from './devices.js';

/** The least version that is spoken. Below 1.2 is for old devices, on a listener or in a network of their own. */
export type TlsFloor = TlsVersion;

/** A certificate chain and its key, in PEM. */
export interface TlsMaterial {
  readonly cert: string;
  readonly key: string;
  /** Lower case; `*.example.org` stands for one label. */
  readonly names: readonly string[];
  /** Milliseconds since 1970. */
  readonly expires: number;
}

/** What a certificate is for and until when, for metrics. */
export type Expiry = Pick<TlsMaterial, 'names' | 'expires'>;

/** Reads a pair and checks that it is one. The error is fit for people and never quotes the key. */
export const readMaterial = (cert: string, key: string): Result<TlsMaterial, string> => {
  let certificate: X509Certificate;
  try {
    certificate = new X509Certificate(cert);
  } catch {
    return err('the certificate cannot be read: it must be PEM');
  }
  try {
    if (!certificate.checkPrivateKey(createPrivateKey(key)))
      return err('the key does not belong to the certificate');
  } catch {
    return err('the key cannot be read: it must be PEM, without a passphrase');
  }
  return ok({ cert, key, names: namesOf(certificate, ['DNS']), expires: Date.parse(certificate.validTo) });
};

interface Served {
  readonly names: readonly string[];
  readonly context: tls.SecureContext;
}

export const SECURE_VERSIONS: Readonly<Record<TlsFloor, tls.SecureVersion>> = {
  '1.0': 'TLSv1',
  '1.1': 'TLSv1.1',
  '1.2': 'TLSv1.2',
  '1.3': 'TLSv1.3',
};

/** OpenSSL 3 refuses the old versions above security level 0. */
export const ciphersFor = (floor: TlsFloor): Pick<tls.SecureContextOptions, 'ciphers'> =>
  floor === '1.0' || floor === '1.1' ? { ciphers: 'DEFAULT@SECLEVEL=0' } : {};

/**
 * `asks`: a certificate is asked for. A ticket bears the verdict on it, so a session is resumed only where the
 * question and the authority are the same.
 */
const contextOf = (
  { cert, key }: TlsMaterial,
  floor: TlsFloor,
  asks: boolean,
  clientCa: string | undefined,
): tls.SecureContext => {
  const question = asks
    ? createHash('sha256')
        .update(clientCa ?? '')
        .digest('hex')
        .slice(0, 16)
    : '';
  const options: tls.SecureContextOptions & { ticketKeys: Buffer } = {
    cert,
    key,
    minVersion: SECURE_VERSIONS[floor],
    ...ciphersFor(floor),
    honorCipherOrder: true,
    // A client could make the server work at its will (CVE-2011-1473).
    secureOptions: constants.SSL_OP_NO_RENEGOTIATION,
    ...(asks && clientCa !== undefined ? { ca: clientCa } : {}),
    // Derived from the key, so that every process with this certificate resumes the others' sessions (RFC 5077).
    ticketKeys: Buffer.from(hkdfSync('sha256', key, '', `sekisho tls tickets${question}`, 48)),
    sessionIdContext: `sekisho${question}`,
  };
  return tls.createSecureContext(options);
};

const covers = (pattern: string, name: string): boolean =>
  pattern === name || (pattern.startsWith('*.') && name.slice(name.indexOf('.')) === pattern.slice(1));

export class TlsKeeper {
  #materials: readonly TlsMaterial[];
  #clientCa: string | undefined;
  readonly #contexts = new Map<string, readonly Served[]>();

  /**
   * At least one; the first serves clients that name no host, or one that no certificate is for. `clientCa`: PEM of
   * the authorities that clients' certificates must come from.
   */
  constructor(materials: readonly TlsMaterial[], clientCa?: string) {
    this.#materials = materials;
    this.#clientCa = clientCa;
  }

  /** From the next handshake on. */
  replace(materials: readonly TlsMaterial[], clientCa?: string): void {
    this.#materials = materials;
    this.#clientCa = clientCa;
    this.#contexts.clear();
  }

  /** The certificates in force. */
  expiries(): readonly Expiry[] {
    return this.#materials.map(({ names, expires }) => ({ names, expires }));
  }

  /**
   * The server's side of TLS on a connection. `secured` is called when the handshake is done and the client has
   * shown the certificate that it must; a client that has not is told so and heard of as an error of the socket.
   */
  wrap(
    socket: net.Socket,
    { tlsFloor, clientCerts }: ClientTls,
    secured: (socket: Secured) => void,
  ): tls.TLSSocket {
    const asks = clientCerts !== 'none';
    const clientCa = this.#clientCa;
    const served = this.#served(tlsFloor, asks);
    const wrapped = new tls.TLSSocket(socket, {
      isServer: true,
      requestCert: asks,
      // Judged below: Node would only do so for a server of its own.
      rejectUnauthorized: false,
      ...(served[0] === undefined ? {} : { secureContext: served[0].context }),
      SNICallback: (name, done) => {
        const asked = name.toLowerCase();
        const found = served.find(({ names }) => names.some((pattern) => covers(pattern, asked)));
        done(null, (found ?? served[0])?.context);
      },
    });
    wrapped.once('secure', () => {
      const shown = asks ? shownBy(wrapped, clientCa !== undefined) : undefined;
      const wrong = shown === undefined ? 'the client showed no certificate' : shown.fault;
      const unfit = shown === undefined || clientCa !== undefined ? wrong : undefined;
      if (clientCerts === 'require' && unfit !== undefined) return turnAway(wrapped, unfit);
      secured({ socket: wrapped, certificate: shown?.identity });
    });
    return wrapped;
  }

  #served(floor: TlsFloor, asks: boolean): readonly Served[] {
    const key = `${floor} ${asks}`;
    const known = this.#contexts.get(key);
    if (known !== undefined) return known;
    const served = this.#materials.map((each) => ({
      names: each.names,
      context: contextOf(each, floor, asks, this.#clientCa),
    }));
    this.#contexts.set(key, served);
    return served;
  }
}

/** A connection under TLS, and the certificate that the client showed, if it was asked for one. */
export interface Secured {
  readonly socket: tls.TLSSocket;
  readonly certificate: CertificateIdentity | undefined;
}

/** Under TLS 1.3 a client believes that the handshake went well: the reason has to be said in SMTP. */
const turnAway = (socket: tls.TLSSocket, fault: string): void => {
  const why = `a client certificate is required: ${fault}`;
  socket.end(printReply(REPLIES.certificateNeeded), 'latin1', () => socket.destroy(new Error(why)));
};
