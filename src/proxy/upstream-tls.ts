/** TLS towards the upstream (RFC 3207, RFC 8314): whom it must be, and how that is known. */
import net from 'node:net';
import tls from 'node:tls';
import { fingerprintOf } from './certificates.js';
import { ciphersFor, SECURE_VERSIONS, type TlsFloor } from './tls.js';

export interface UpstreamTls {
  /**
   * `opportunistic`: STARTTLS where it is to be had, without asking who the other is, else clear text. `required`:
   * STARTTLS or nothing. `implicit`: TLS from the first octet.
   */
  readonly mode: 'none' | 'opportunistic' | 'required' | 'implicit';
  /** Whose certificate it must be; undefined: the upstream's host. */
  readonly name: string | undefined;
  /** The authorities that vouch for it, in PEM; undefined: the public ones that Node knows. */
  readonly ca: string | undefined;
  /** SHA-256 of certificates, lower-case hex without colons: one of these, whatever its name, authority and age. */
  readonly fingerprints: readonly string[];
  /** False: under TLS, but with whomever. */
  readonly verify: boolean;
  readonly floor: TlsFloor;
}

export const NO_UPSTREAM_TLS: UpstreamTls = {
  mode: 'none',
  name: undefined,
  ca: undefined,
  fingerprints: [],
  verify: true,
  floor: '1.2',
};

/** How the upstream's certificate is looked at. Nothing is asked of it where clear text would have done as well. */
const scrutiny = ({ mode, verify, fingerprints }: UpstreamTls): 'none' | 'fingerprint' | 'name' => {
  if (mode === 'opportunistic' || !verify) return 'none';
  return fingerprints.length > 0 ? 'fingerprint' : 'name';
};

const fingerprintFault = (socket: tls.TLSSocket, expected: readonly string[]): string | undefined => {
  const certificate = socket.getPeerX509Certificate();
  const found = certificate === undefined ? 'no certificate' : fingerprintOf(certificate);
  return expected.includes(found)
    ? undefined
    : `its certificate is not the one in tls_fingerprint: it showed sha256:${found}`;
};

/**
 * The client's side of TLS on a connection. `done` hears once the handshake is over and the certificate is the right
 * one. When it is not, or the handshake fails, the socket breaks with an error that says so.
 */
export const secureUpstream = (
  socket: net.Socket,
  host: string,
  rules: UpstreamTls,
  done: () => void,
): tls.TLSSocket => {
  const by = scrutiny(rules);
  const name = rules.name ?? host;
  const secured = tls.connect({
    socket,
    // RFC 6066 3: an address is no server name.
    ...(net.isIP(name) === 0 ? { servername: name } : {}),
    ...(rules.ca === undefined ? {} : { ca: rules.ca }),
    minVersion: SECURE_VERSIONS[rules.floor],
    ...ciphersFor(rules.floor),
    rejectUnauthorized: by === 'name',
    checkServerIdentity: (_, certificate) => tls.checkServerIdentity(name, certificate),
  });
  secured.once('secureConnect', () => {
    const fault = by === 'fingerprint' ? fingerprintFault(secured, rules.fingerprints) : undefined;
    if (fault === undefined) done();
    else secured.destroy(new Error(fault));
  });
  return secured;
};
