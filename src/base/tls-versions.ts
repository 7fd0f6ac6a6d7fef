/** The versions of TLS that a floor, a condition or a test can name, the oldest first. */
export const TLS_VERSIONS = ['1.0', '1.1', '1.2', '1.3'] as const;

export type TlsVersion = (typeof TLS_VERSIONS)[number];
