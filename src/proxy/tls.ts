/**
 * TLS towards clients (RFC 8446, RFC 3207, RFC 8314): which certificate for which name, from which version on.
 * Certificates can be replaced while sessions run; a session keeps the one with which it began.
 */
import { createPrivateKey, hkdfSync, X509Certificate } from 'node:crypto';
import type net from 'node:net';
import tls from 'node:tls';
import { err, ok, type Result } from '../base/result.js';

/** The least version that is spoken. Below 1.2 is for old devices, on a listener of their own. */
export type TlsFloor = '1.0' | '1.1' | '1.2' | '1.3';

/** A certificate chain and its key, in PEM. */
export interface TlsMaterial {
  readonly cert: string;
  readonly key: string;
  /** Lower case; `*.example.org` stands for one label. */
  readonly names: readonly string[];
  /** Milliseconds since 1970. */
  readonly expires: number;
}

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
  const alternatives = [...(certificate.subjectAltName ?? '').matchAll(/DNS:([^,\s]+)/g)].map(
    (match) => match[1] ?? '',
  );
  const common = /^CN=(.+)$/m.exec(certificate.subject)?.[1];
  const names = alternatives.length > 0 || common === undefined ? alternatives : [common];
  return ok({
    cert,
    key,
    names: names.map((name) => name.toLowerCase()),
    expires: Date.parse(certificate.validTo),
  });
};

interface Served {
  readonly names: readonly string[];
  readonly context: tls.SecureContext;
}

const VERSIONS: Readonly<Record<TlsFloor, tls.SecureVersion>> = {
  '1.0': 'TLSv1',
  '1.1': 'TLSv1.1',
  '1.2': 'TLSv1.2',
  '1.3': 'TLSv1.3',
};

const contextOf = ({ cert, key }: TlsMaterial, floor: TlsFloor): tls.SecureContext => {
  const old = floor === '1.0' || floor === '1.1';
  return tls.createSecureContext({
    cert,
    key,
    minVersion: VERSIONS[floor],
    // OpenSSL 3 refuses the old versions above security level 0.
    ...(old ? { ciphers: 'DEFAULT@SECLEVEL=0' } : {}),
    honorCipherOrder: true,
    // Derived from the key, so that every process with this certificate resumes the others' sessions (RFC 5077).
    ticketKeys: Buffer.from(hkdfSync('sha256', key, '', 'sekisho tls tickets', 48)),
    sessionIdContext: 'sekisho',
  } as tls.SecureContextOptions);
};

const covers = (pattern: string, name: string): boolean =>
  pattern === name || (pattern.startsWith('*.') && name.slice(name.indexOf('.')) === pattern.slice(1));

export class TlsKeeper {
  #materials: readonly TlsMaterial[];
  readonly #contexts = new Map<TlsFloor, readonly Served[]>();

  /** At least one; the first serves clients that name no host, or one that no certificate is for. */
  constructor(materials: readonly TlsMaterial[]) {
    this.#materials = materials;
  }

  /** From the next handshake on. */
  replace(materials: readonly TlsMaterial[]): void {
    this.#materials = materials;
    this.#contexts.clear();
  }

  /** The server's side of TLS on a connection; `secure` tells when the handshake is done. */
  wrap(socket: net.Socket, floor: TlsFloor): tls.TLSSocket {
    const served = this.#served(floor);
    return new tls.TLSSocket(socket, {
      isServer: true,
      ...(served[0] === undefined ? {} : { secureContext: served[0].context }),
      SNICallback: (name, done) => {
        const asked = name.toLowerCase();
        const found = served.find(({ names }) => names.some((pattern) => covers(pattern, asked)));
        done(null, (found ?? served[0])?.context);
      },
    });
  }

  #served(floor: TlsFloor): readonly Served[] {
    const known = this.#contexts.get(floor);
    if (known !== undefined) return known;
    const served = this.#materials.map((each) => ({ names: each.names, context: contextOf(each, floor) }));
    this.#contexts.set(floor, served);
    return served;
  }
}
