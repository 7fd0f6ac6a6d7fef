/** Schemes that new passwords may be kept in. */
export const NEW_SCHEMES = [
  'ARGON2ID',
  'BLF-CRYPT',
  'SHA512-CRYPT',
  'SSHA512',
  'SCRAM-SHA-256',
  'CRAM-MD5',
  'PLAIN',
] as const;
export type NewScheme = (typeof NEW_SCHEMES)[number];
