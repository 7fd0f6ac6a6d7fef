/** `- certificates: true`: clients log in by certificates that `tls.client_ca` vouches for. */
import { z } from 'zod';
import { CertificateStore } from '../../identity/stores/certificates.js';
import type { LoginSource } from './source.js';

const Schema = z.strictObject(
  { certificates: z.literal(true, { error: 'must be true' }) },
  { error: 'must be { certificates: true }' },
);

export const certificates: LoginSource<typeof Schema> = {
  key: 'certificates',
  schema: Schema,
  check: () => [],
  create: () => new CertificateStore(),
};
