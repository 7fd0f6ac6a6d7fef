/** Self-signed certificates, made by openssl. */
import { execFileSync } from 'node:child_process';
import { createHash, X509Certificate } from 'node:crypto';
import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import os from 'node:os';
import path from 'node:path';

export interface Certified {
  /** PEM; its own CA. */
  readonly cert: string;
  readonly key: string;
  /** SHA-256 of the DER, lower-case hex without colons. */
  readonly fingerprint: string;
}

/** The first name becomes the CN; all are in the subjectAltName. */
export const certify = (names: readonly string[], addresses: readonly string[] = []): Certified => {
  const dir = mkdtempSync(path.join(os.tmpdir(), 'sekisho-certificate-'));
  try {
    const alternatives = [...names.map((name) => `DNS:${name}`), ...addresses.map((each) => `IP:${each}`)];
    const [key, cert] = [path.join(dir, 'key.pem'), path.join(dir, 'cert.pem')];
    execFileSync(
      'openssl',
      [
        ...[
          'req',
          '-x509',
          '-newkey',
          'ec',
          '-pkeyopt',
          'ec_paramgen_curve:prime256v1',
          '-nodes',
          '-days',
          '2',
        ],
        ...['-subj', `/CN=${names[0] ?? 'test'}`, '-addext', `subjectAltName=${alternatives.join(',')}`],
        ...['-keyout', key, '-out', cert],
      ],
      { stdio: 'ignore' },
    );
    const pem = readFileSync(cert, 'utf8');
    return {
      cert: pem,
      key: readFileSync(key, 'utf8'),
      fingerprint: createHash('sha256').update(new X509Certificate(pem).raw).digest('hex'),
    };
  } finally {
    rmSync(dir, { recursive: true, force: true });
  }
};
