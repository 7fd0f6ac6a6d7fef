/** Will clients take the certificates? */
import { X509Certificate } from 'node:crypto';
import type { Setup } from '../app/config.js';
import { expiryWarnings } from '../app/config-tls.js';
import type { TlsMaterial } from '../proxy/tls.js';
import { type Finding, finding, type Here } from './finding.js';

const covers = (pattern: string, name: string): boolean =>
  pattern === name ||
  (pattern.startsWith('*.') && name.slice(name.indexOf('.') + 1) === pattern.slice(2) && name.includes('.'));

const examine = (material: TlsMaterial, now: number): readonly Finding[] => {
  const { names, expires, cert } = material;
  const certificate = new X509Certificate(cert);
  const whose = names.length === 0 ? certificate.subject.replace(/\n/g, ', ') : names.join(', ');
  const [expiry] = expiryWarnings([material], now);
  const begins = Date.parse(certificate.validFrom);
  const found: Finding[] = [];
  if (expiry !== undefined)
    found.push(
      finding(
        'certificates',
        expires < now ? 'fault' : 'warn',
        expiry,
        'Renew it; Sekisho takes the new files without a restart.',
      ),
    );
  if (begins > now)
    found.push(
      finding(
        'certificates',
        'fault',
        `the certificate for ${whose} is not valid before ${new Date(begins).toISOString()}`,
        'Is the clock of this host right? See date -u.',
      ),
    );
  if (names.length === 0)
    found.push(
      finding(
        'certificates',
        'warn',
        `the certificate of ${whose} names no host (subjectAltName): clients of today refuse it`,
        'Have it issued anew with the name that clients connect to.',
      ),
    );
  if (certificate.checkIssued(certificate))
    found.push(
      finding(
        'certificates',
        'note',
        `the certificate for ${whose} is signed by itself: mail programs will warn their users`,
        'For users who log in, take one of an authority that their programs know.',
      ),
    );
  return found.length > 0
    ? found
    : [
        finding(
          'certificates',
          'ok',
          `the certificate for ${whose} is good until ${new Date(expires).toISOString().slice(0, 10)}`,
        ),
      ];
};

export const certificateFindings = ({ proxy, logins }: Setup, here: Here): readonly Finding[] => {
  const found = proxy.tls.flatMap((material) => examine(material, here.now()));
  const { hostname } = proxy;
  if (hostname !== undefined && proxy.tls.length > 0) {
    const name = hostname.toLowerCase();
    if (!proxy.tls.some(({ names }) => names.some((each) => covers(each, name))))
      found.push(
        finding(
          'certificates',
          'note',
          `no certificate is for ${hostname}, the name that Sekisho goes by`,
          'Fine if clients connect by another name; else have that name added.',
        ),
      );
  }
  if (proxy.tls.length === 0)
    found.push(
      finding(
        'certificates',
        logins.length > 0 ? 'warn' : 'note',
        logins.length > 0
          ? 'users may log in, and there is no TLS: passwords are not offered to be sent in the clear, so most programs cannot log in'
          : 'there is no TLS towards clients: mail comes in the clear',
        'tls: { cert: FILE, key: FILE }',
      ),
    );
  return found;
};
