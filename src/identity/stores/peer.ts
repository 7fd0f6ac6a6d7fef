/**
 * A connection to a server that is asked about logins: TCP or a UNIX socket, TLS on it or not, its certificate checked
 * before anything secret is said. Whatever goes wrong is thrown as a `PeerFault`, which the store's guard makes
 * `unavailable`.
 */
import { createHash } from 'node:crypto';
import net from 'node:net';
import tls from 'node:tls';
import type { TlsVersion } from '../../base/tls-versions.js';

export type Place = { readonly host: string; readonly port: number } | { readonly path: string };

/** How a server's certificate is known to be its own. */
export type Trust =
  /** By its chain (to `ca`, PEM, or else to the authorities that Node knows) and by its name (default: the host). */
  | { readonly kind: 'name'; readonly name: string | undefined; readonly ca: string | undefined }
  /** SHA-256 of the certificate's DER, lower-case hex; any of them. */
  | { readonly kind: 'fingerprint'; readonly sha256: readonly string[] }
  /** Not at all: whoever sits in between reads along. */
  | { readonly kind: 'insecure' };

export interface PeerTls {
  readonly mode: 'none' | 'starttls' | 'implicit';
  readonly floor: TlsVersion;
  readonly trust: Trust;
}

export const NO_TLS: PeerTls = { mode: 'none', floor: '1.2', trust: { kind: 'insecure' } };

/** Why a server could not be asked. The message is fit for the log. */
export class PeerFault extends Error {}

export const placeText = (place: Place): string => {
  if ('path' in place) return place.path;
  return place.host.includes(':') ? `[${place.host}]:${place.port}` : `${place.host}:${place.port}`;
};

/** Octets of a server's text that may stand in a log line: controls become `?`, at most 200 characters. */
export const printable = (text: string): string =>
  text
    .replace(/[\u0000-\u001f\u007f-\u009f\u2028\u2029]/g, '?')
    .trim()
    .slice(0, 200);

const MIN_VERSION: Readonly<Record<TlsVersion, tls.SecureVersion>> = {
  '1.0': 'TLSv1',
  '1.1': 'TLSv1.1',
  '1.2': 'TLSv1.2',
  '1.3': 'TLSv1.3',
};

/** Resolves at `event`, rejects when the socket fails or the attempt is over. */
const happens = (socket: net.Socket, event: string, signal: AbortSignal, what: string): Promise<void> =>
  new Promise((resolve, reject) => {
    const settle = (fault: Error | undefined): void => {
      socket.off(event, onEvent).off('error', onError).off('close', onClose);
      signal.removeEventListener('abort', onAbort);
      if (fault === undefined) return resolve();
      socket.destroy();
      reject(fault);
    };
    const onEvent = (): void => settle(undefined);
    const onError = (error: Error): void => settle(new PeerFault(`${what}: ${printable(error.message)}`));
    const onClose = (): void => settle(new PeerFault(`${what}: the connection was closed`));
    const onAbort = (): void => settle(faultOf(signal));
    socket.once(event, onEvent).once('error', onError).once('close', onClose);
    signal.addEventListener('abort', onAbort);
    if (signal.aborted) onAbort();
  });

/** The reason for which an attempt is over. */
export const faultOf = ({ reason }: AbortSignal): Error =>
  reason instanceof Error ? reason : new PeerFault('the attempt was broken off');

/** TLS on a connection that has it not yet. Nothing may be unread on `socket`. */
export const secure = async (
  socket: net.Socket,
  host: string,
  { floor, trust }: PeerTls,
  signal: AbortSignal,
): Promise<tls.TLSSocket> => {
  const name = trust.kind === 'name' && trust.name !== undefined ? trust.name : host;
  const old = floor === '1.0' || floor === '1.1';
  const secured = tls.connect({
    socket,
    minVersion: MIN_VERSION[floor],
    // OpenSSL 3 speaks the old versions at security level 0 alone.
    ...(old ? { ciphers: 'DEFAULT@SECLEVEL=0' } : {}),
    // RFC 6066 3: no address in SNI.
    ...(net.isIP(name) === 0 ? { servername: name } : {}),
    ...(trust.kind === 'name' && trust.ca !== undefined ? { ca: trust.ca } : {}),
    rejectUnauthorized: trust.kind === 'name',
    checkServerIdentity: (_, certificate) => tls.checkServerIdentity(name, certificate),
  });
  // The handshake's own listeners come and go; an error at any other time must not end the process.
  secured.on('error', () => {});
  await happens(secured, 'secureConnect', signal, 'TLS');
  if (trust.kind === 'fingerprint') {
    const seen = createHash('sha256').update(secured.getPeerCertificate().raw).digest('hex');
    if (!trust.sha256.includes(seen)) {
      secured.destroy();
      throw new PeerFault(`TLS: the certificate has another fingerprint than configured, ${seen}`);
    }
  }
  return secured;
};

/** Connects; with TLS from the start where `mode` is `implicit`. The caller ends the socket. */
export const connect = async (place: Place, peerTls: PeerTls, signal: AbortSignal): Promise<net.Socket> => {
  const socket =
    'path' in place
      ? net.connect({ path: place.path })
      : net.connect({
          host: place.host,
          port: place.port,
          noDelay: true,
          // Node's own 250 ms for each of several addresses is little for a far server.
          autoSelectFamilyAttemptTimeout: 2_000,
        });
  socket.on('error', () => {});
  await happens(socket, 'connect', signal, 'connecting');
  const host = 'path' in place ? 'localhost' : place.host;
  return peerTls.mode === 'implicit' ? secure(socket, host, peerTls, signal) : socket;
};
