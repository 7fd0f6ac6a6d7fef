/** What X.509 certificates say, as far as names, logins and policies are concerned (RFC 5280). */
import { createHash, X509Certificate } from 'node:crypto';
import type { TLSSocket } from 'node:tls';
import { err, ok, type Result } from '../base/result.js';
import type { CertificateIdentity } from '../identity/credentials.js';

/** One entry of the text that Node makes of subjectAltName: odd values are in quotes, as in JSON. */
const ALTERNATIVE = /([A-Za-z][A-Za-z0-9 ]*):("(?:[^"\\]|\\.)*"|[^",]*)(?:, |$)/y;

/**
 * Names of these kinds in subjectAltName, lower case. A value that needs quotes is no name of a host or a mailbox and
 * is left out; a text that cannot be read to its end yields nothing.
 */
export const alternativeNames = (text: string, kinds: readonly ('DNS' | 'email')[]): string[] => {
  const names: string[] = [];
  ALTERNATIVE.lastIndex = 0;
  while (ALTERNATIVE.lastIndex < text.length) {
    const match = ALTERNATIVE.exec(text);
    if (match === null) return [];
    const [, kind = '', value = ''] = match;
    if (kinds.some((each) => each === kind) && /^[^"\s]+$/.test(value)) names.push(value.toLowerCase());
  }
  return names;
};

/** SHA-256 of the DER, lower-case hex without colons. */
export const fingerprintOf = ({ raw }: X509Certificate): string =>
  createHash('sha256').update(raw).digest('hex');

/** The subject as RFC 4514 writes it, its most specific part first: `CN=printer 1,O=Example`. */
export const subjectOf = ({ subject }: X509Certificate): string => subject.split('\n').reverse().join(',');

/** One that stands alone and needs no escapes: anything else is no name to be known by. */
const commonName = ({ subject }: X509Certificate): string | undefined => /^CN=([^\\+]+)$/m.exec(subject)?.[1];

/** Names of these kinds, or the common name where there are none. */
export const namesOf = (certificate: X509Certificate, kinds: readonly ('DNS' | 'email')[]): string[] => {
  const names = alternativeNames(certificate.subjectAltName ?? '', kinds);
  const common = commonName(certificate)?.toLowerCase();
  return names.length > 0 || common === undefined ? names : [common];
};

const BLOCK = /-----BEGIN CERTIFICATE-----[\s\S]*?-----END CERTIFICATE-----/g;

/** Checks that a file of certificate authorities is one. The error is fit for people. */
export const readAuthorities = (pem: string): Result<string, string> => {
  const blocks = pem.match(BLOCK) ?? [];
  if (blocks.length === 0) return err('there is no certificate in it: it must be PEM');
  for (const [i, block] of blocks.entries()) {
    try {
      new X509Certificate(block);
    } catch {
      return err(`certificate ${i + 1} in it cannot be read`);
    }
  }
  return ok(pem);
};

/**
 * Why the peer's chain does not hold, or undefined when it does. Node tells it to `tls.Server` alone, by this method
 * of the handle; where a version of Node has it no more, no chain holds.
 */
export const chainFault = (socket: TLSSocket): string | undefined => {
  const handle: unknown = Reflect.get(socket, '_handle');
  if (typeof handle !== 'object' || handle === null) return 'the connection is gone';
  const verify: unknown = Reflect.get(handle, 'verifyError');
  if (typeof verify !== 'function') return 'this version of Node does not tell whether it was verified';
  const fault: unknown = Reflect.apply(verify, handle, []);
  if (fault === null || fault === undefined) return undefined;
  return fault instanceof Error ? fault.message : String(fault);
};

/** What a client has shown. Without an authority to verify it against, a certificate is its fingerprint alone. */
export interface Shown {
  readonly identity: CertificateIdentity;
  /** Why the chain does not hold; undefined: it does. */
  readonly fault: string | undefined;
}

export const shownBy = (socket: TLSSocket, authority: boolean): Shown | undefined => {
  const certificate = socket.getPeerX509Certificate();
  if (certificate === undefined) return undefined;
  const fault = authority ? chainFault(socket) : 'there is no client_ca to verify it';
  const fingerprint = fingerprintOf(certificate);
  return fault === undefined
    ? {
        identity: {
          fingerprint,
          subject: subjectOf(certificate),
          names: namesOf(certificate, ['email', 'DNS']),
        },
        fault,
      }
    : { identity: { fingerprint, subject: undefined, names: [] }, fault };
};
