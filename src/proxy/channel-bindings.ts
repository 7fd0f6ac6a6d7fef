/** Channel bindings of a TLS connection: RFC 9266 (tls-exporter) and RFC 5929 4 (tls-server-end-point). */
import { createHash, type X509Certificate } from 'node:crypto';
import type { TLSSocket } from 'node:tls';

export type BindingType = 'tls-exporter' | 'tls-server-end-point';

export type ChannelBindings = ReadonlyMap<BindingType, Buffer>;

const NONE: ChannelBindings = new Map();

/** Hashes of signature algorithms by the DER of their object identifier; MD5 and SHA-1 become SHA-256 (RFC 5929 4.1). */
const HASHES: Readonly<Record<string, string>> = {
  // 1.2.840.113549.1.1: RSA (PKCS #1 v1.5) with …
  '2a864886f70d010104': 'sha256', // MD5
  '2a864886f70d010105': 'sha256', // SHA-1
  '2a864886f70d01010e': 'sha224',
  '2a864886f70d01010b': 'sha256',
  '2a864886f70d01010c': 'sha384',
  '2a864886f70d01010d': 'sha512',
  // 1.2.840.10045.4: ECDSA with …
  '2a8648ce3d0401': 'sha256', // SHA-1
  '2a8648ce3d040301': 'sha224',
  '2a8648ce3d040302': 'sha256',
  '2a8648ce3d040303': 'sha384',
  '2a8648ce3d040304': 'sha512',
  // 1.2.840.10040.4.3, 2.16.840.1.101.3.4.3.1 and .2: DSA with SHA-1, SHA-224 and SHA-256.
  '2a8648ce380403': 'sha256',
  '608648016503040301': 'sha224',
  '608648016503040302': 'sha256',
};

const RSASSA_PSS = '2a864886f70d01010a';

/** Hashes named in the parameters of RSASSA-PSS; SHA-1 when they name none (RFC 4055 3.1). */
const PSS_HASHES: Readonly<Record<string, string>> = {
  '2b0e03021a': 'sha256', // SHA-1
  '608648016503040204': 'sha224',
  '608648016503040201': 'sha256',
  '608648016503040202': 'sha384',
  '608648016503040203': 'sha512',
};

interface Element {
  readonly tag: number;
  readonly content: Buffer;
  readonly rest: Buffer;
}

/** The first DER element, or undefined when there is none that is whole. */
const element = (der: Buffer): Element | undefined => {
  const [tag, short] = der;
  if (tag === undefined || short === undefined) return undefined;
  const extra = short < 0x80 ? 0 : short & 0x7f;
  if (extra > 4 || short === 0x80 || der.length < 2 + extra) return undefined;
  const length = extra === 0 ? short : der.readUIntBE(2, extra);
  const start = 2 + extra;
  if (der.length < start + length) return undefined;
  return { tag, content: der.subarray(start, start + length), rest: der.subarray(start + length) };
};

/** The contents of nested elements, each the first of the one before it. */
const first = (der: Buffer, depth: number): Buffer | undefined => {
  let at: Buffer | undefined = der;
  for (let i = 0; i < depth && at !== undefined; i += 1) at = element(at)?.content;
  return at;
};

/** The hash that a certificate's signature uses, as Node calls it; undefined: none, or one that is not known. */
export const signatureHash = (der: Buffer): string | undefined => {
  // Certificate ::= SEQUENCE { tbsCertificate, signatureAlgorithm SEQUENCE { OID, parameters }, signature }
  const body = first(der, 1);
  const algorithm = body && element(element(body)?.rest ?? Buffer.alloc(0))?.content;
  const identifier = algorithm && element(algorithm);
  if (identifier === undefined || identifier.tag !== 0x06) return undefined;
  const name = identifier.content.toString('hex');
  if (name !== RSASSA_PSS) return HASHES[name];
  const parameters = element(identifier.rest)?.content ?? Buffer.alloc(0);
  const hash = element(parameters);
  if (hash?.tag !== 0xa0) return 'sha256';
  const oid = first(hash.content, 2);
  return oid === undefined ? undefined : PSS_HASHES[oid.toString('hex')];
};

/** RFC 5929 4.1. Undefined for signatures without a hash of their own, such as Ed25519. */
export const serverEndPoint = ({ raw }: X509Certificate): Buffer | undefined => {
  const hash = signatureHash(raw);
  return hash === undefined ? undefined : createHash(hash).update(raw).digest();
};

/**
 * The bindings that a connection has, once its handshake is done. The certificate is the one that was served here,
 * whichever name the client asked for. tls-exporter is for TLS 1.3 alone: below it needs the extended master secret
 * (RFC 9266 2), and Node does not tell whether that was negotiated.
 */
export const channelBindings = (socket: TLSSocket): ChannelBindings => {
  const certificate = socket.getX509Certificate();
  if (certificate === undefined) return NONE;
  const bindings = new Map<BindingType, Buffer>();
  if (socket.getProtocol() === 'TLSv1.3') {
    const exported = socket.exportKeyingMaterial(32, 'EXPORTER-Channel-Binding', Buffer.alloc(0));
    bindings.set('tls-exporter', exported);
  }
  const endPoint = serverEndPoint(certificate);
  if (endPoint !== undefined) bindings.set('tls-server-end-point', endPoint);
  return bindings;
};
