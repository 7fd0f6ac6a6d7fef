/** Certificates made by OpenSSL's own command, for a test's folder. */
import { execFileSync } from 'node:child_process';
import { readFileSync, writeFileSync } from 'node:fs';
import path from 'node:path';
import { readMaterial, type TlsMaterial } from '../../src/proxy/tls.js';

/** Paths of PEM files. */
export interface Pair {
  readonly cert: string;
  readonly key: string;
}

const KEY = ['-newkey', 'ec', '-pkeyopt', 'ec_paramgen_curve:prime256v1', '-nodes'];

const pathsOf = (dir: string, name: string): Pair => ({
  cert: path.join(dir, `${name}.crt`),
  key: path.join(dir, `${name}.key`),
});

const openssl = (args: readonly string[]): void => {
  execFileSync('openssl', args, { stdio: 'ignore' });
};

/** A self-signed certificate for a name. */
export const certify = (dir: string, name: string, days = 30): Pair => {
  const { cert, key } = pathsOf(dir, name);
  const subject = ['-subj', `/CN=${name}`, '-addext', `subjectAltName=DNS:${name}`];
  openssl(['req', '-x509', ...KEY, '-days', String(days), ...subject, '-keyout', key, '-out', cert]);
  return { cert, key };
};

/** An authority that signs other certificates. */
export const authority = (dir: string, name: string): Pair => {
  const { cert, key } = pathsOf(dir, name);
  openssl(['req', '-x509', ...KEY, '-days', '30', '-subj', `/CN=${name}`, '-keyout', key, '-out', cert]);
  return { cert, key };
};

/** One signed by an authority. `subject` as OpenSSL takes it, `names` as for subjectAltName; `days` below 0: expired. */
export const signed = (
  dir: string,
  file: string,
  by: Pair,
  { subject, names, days = 30 }: { subject: string; names: string; days?: number },
): Pair => {
  const { cert, key } = pathsOf(dir, file);
  const request = path.join(dir, `${file}.csr`);
  const extensions = path.join(dir, `${file}.ext`);
  writeFileSync(extensions, `subjectAltName=${names}\nextendedKeyUsage=clientAuth,serverAuth\n`);
  openssl(['req', '-new', ...KEY, '-subj', subject, '-keyout', key, '-out', request]);
  const serial = String(Math.floor(Math.random() * 1e9) + 1);
  const sign = ['-CA', by.cert, '-CAkey', by.key, '-set_serial', serial, '-days', String(days)];
  openssl(['x509', '-req', '-in', request, ...sign, '-extfile', extensions, '-out', cert]);
  return { cert, key };
};

export const materialOf = ({ cert, key }: Pair): TlsMaterial => {
  const material = readMaterial(readFileSync(cert, 'utf8'), readFileSync(key, 'utf8'));
  if (!material.ok) throw new Error(material.error);
  return material.value;
};
