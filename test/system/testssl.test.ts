/** testssl.sh on the defaults: nothing that it finds is above LOW, by STARTTLS and by implicit TLS. */
import { execFile } from 'node:child_process';
import { readFileSync } from 'node:fs';
import path from 'node:path';
import t from 'tap';
import { authority, materialOf, signed } from '../support/certificates.js';
import { startLegacyMta } from '../support/legacy-mta.js';
import { install, noPackages } from '../support/packages.js';
import { folder } from '../support/process.js';
import { startSekisho } from '../support/sekisho.js';

interface Finding {
  readonly id: string;
  readonly severity: string;
  readonly finding: string;
}

const isFinding = (value: unknown): value is Finding =>
  typeof value === 'object' && value !== null && 'id' in value && 'severity' in value && 'finding' in value;

/** Protocols, preferred ciphers, known vulnerabilities. What concerns the certificate is the site's affair. */
const WHAT = ['--protocols', '--server-preference', '--vulnerable'];
const HOW = ['--quiet', '--color', '0', '--warnings', 'off', '--fast'];

/** Every finding, whatever its severity. */
const examine = (dir: string, port: number, ca: string, more: readonly string[]): Promise<Finding[]> => {
  const file = path.join(dir, `${port}.json`);
  const patience = ['--connect-timeout', '20', '--openssl-timeout', '40'];
  const target = [
    '--jsonfile',
    file,
    '--add-ca',
    ca,
    '--ip',
    '127.0.0.1',
    ...more,
    `mail.example.org:${port}`,
  ];
  return new Promise((resolve, reject) => {
    execFile(
      'testssl',
      [...HOW, ...patience, ...WHAT, ...target],
      { cwd: dir, timeout: 600_000 },
      (_, out) => {
        try {
          const found: unknown = JSON.parse(readFileSync(file, 'utf8'));
          resolve(Array.isArray(found) ? found.filter(isFinding) : []);
        } catch (error) {
          reject(new Error(`testssl left no report: ${String(error)}\n${out}`));
        }
      },
    );
  });
};

t.test('testssl.sh', { skip: noPackages() ?? false, timeout: 900_000 }, async (t) => {
  await install(['testssl=testssl.sh']);
  const dir = folder(t);
  const ca = authority(dir, 'ca');
  const subject = { subject: '/CN=mail.example.org', names: 'DNS:mail.example.org', days: 365 };
  const tls = [materialOf(signed(dir, 'mail', ca, subject))];
  const mta = await startLegacyMta({ ehlo: [] });
  t.teardown(() => mta.close());
  const run = async (mode: 'starttls' | 'implicit', more: readonly string[]): Promise<Finding[]> => {
    const sekisho = await startSekisho({ upstreams: [{ port: mta.port }], tls, listener: { tls: mode } });
    t.teardown(() => sekisho.stop());
    return examine(dir, sekisho.port, ca.cert, more);
  };
  const both = await Promise.all([run('starttls', ['--starttls', 'smtp']), run('implicit', [])]);
  for (const [i, findings] of both.entries()) {
    const what = i === 0 ? 'STARTTLS' : 'implicit TLS';
    const of = (id: string): string => findings.find((each) => each.id === id)?.finding ?? 'not looked at';
    t.match(of('TLS1_3'), /^offered/, `${what}: TLS 1.3`);
    t.match(of('TLS1_2'), /^offered/, `${what}: TLS 1.2`);
    for (const id of ['SSLv2', 'SSLv3', 'TLS1', 'TLS1_1']) t.match(of(id), /^not offered/, `${what}: ${id}`);
    for (const id of ['heartbleed', 'CCS', 'ROBOT', 'secure_client_renego', 'SWEET32', 'LOGJAM', 'FREAK'])
      t.match(of(id), /not vulnerable/, `${what}: ${id}`);
    const grave = findings.filter(({ severity }) => /^(?:MEDIUM|HIGH|CRITICAL)$/.test(severity));
    t.same(grave, [], `${what}: nothing above LOW`);
  }
});
