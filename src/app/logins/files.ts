/** Files that a login source is told of: secrets and certificate authorities. Faults begin with the path as written. */
import { X509Certificate } from 'node:crypto';
import type { LoginTools } from './source.js';

export type Tools = Omit<LoginTools, 'note'>;

/** The secret of a file: its text without the line break at its end. */
export const secretOf = (path: string, tools: Tools): { secret: string } | { fault: string } => {
  const read = tools.read(tools.resolve(path));
  if (!read.ok) return { fault: `${path}: cannot read it: ${read.error}` };
  const secret = read.value.replace(/\r?\n$/, '');
  if (secret === '') return { fault: `${path}: is empty. It must hold a secret` };
  return /[\r\n\0]/.test(secret) ? { fault: `${path}: must be one line` } : { secret };
};

/** Why the file holds no certificates, or undefined. */
export const caFault = (path: string, tools: Tools): string | undefined => {
  const read = tools.read(tools.resolve(path));
  if (!read.ok) return `${path}: cannot read it: ${read.error}`;
  const blocks = read.value.match(/-----BEGIN CERTIFICATE-----[^-]+-----END CERTIFICATE-----/g);
  try {
    for (const block of blocks ?? []) new X509Certificate(block);
    return blocks === null ? `${path}: holds no certificate in PEM` : undefined;
  } catch {
    return `${path}: holds a certificate that cannot be read`;
  }
};
