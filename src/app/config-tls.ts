/** The parts of `sekisho.yaml` that are about TLS: certificates, authorities, and networks of old devices. */
import type { Note } from '../base/events.js';
import { parseCidr } from '../base/ip.js';
import type { ReadFile, Source } from '../policy/source.js';
import { readAuthorities } from '../proxy/certificates.js';
import type { DeviceRule } from '../proxy/devices.js';
import type { ListenerOptions } from '../proxy/options.js';
import { type Expiry, readMaterial, type TlsMaterial } from '../proxy/tls.js';
import type { UpstreamTls } from '../proxy/upstream-tls.js';
import { fingerprintHex } from './config-fields.js';
import type { CertificateInput, DeviceInput, UpstreamInput } from './config-schema.js';
import { shieldOverrides } from './config-shield.js';

/** Where faults go and files come from; paths are relative to the configuration file. */
export interface Reading {
  readonly source: Source | undefined;
  readonly read: ReadFile;
  readonly faults: string[];
}

/** The text of a file, or undefined and a fault. */
const textOf = (
  { source, read, faults }: Reading,
  path: string,
): { path: string; text: string } | undefined => {
  const resolved = source?.resolve(path) ?? path;
  const text = read(resolved);
  if (text.ok) return { path: resolved, text: text.value };
  faults.push(`${resolved}: cannot read it: ${text.error}.`);
  return undefined;
};

/** A certificate and its key; none after a fault. */
export const materialOf = (
  reading: Reading,
  { cert, key }: Pick<CertificateInput, 'cert' | 'key'>,
): TlsMaterial[] => {
  const [certificate, secret] = [textOf(reading, cert), textOf(reading, key)];
  if (certificate === undefined || secret === undefined) return [];
  const material = readMaterial(certificate.text, secret.text);
  if (material.ok) return [material.value];
  reading.faults.push(`${certificate.path}, ${secret.path}: ${material.error}.`);
  return [];
};

/** The PEM of certificate authorities, or undefined: none was named, or there is a fault. */
export const authorities = (reading: Reading, path: string | undefined): string | undefined => {
  const file = path === undefined ? undefined : textOf(reading, path);
  if (file === undefined) return undefined;
  const pem = readAuthorities(file.text);
  if (pem.ok) return pem.value;
  reading.faults.push(`${file.path}: ${pem.error}.`);
  return undefined;
};

export interface TlsSetup {
  readonly materials: readonly TlsMaterial[];
  readonly clientCa: string | undefined;
  /** Of listeners that do not say themselves. */
  readonly clientCerts: ListenerOptions['clientCerts'];
}

/** Reads the `tls` section. Who vouches for clients is said once, in its first entry. */
export const tlsSetup = (
  reading: Reading,
  section: CertificateInput | readonly CertificateInput[] | undefined,
): TlsSetup => {
  const entries = section === undefined ? [] : [section].flat();
  for (const [i, { client_ca, client_certs }] of entries.entries()) {
    if (i > 0 && (client_ca ?? client_certs) !== undefined) {
      reading.faults.push(
        `tls[${i}]: client_ca and client_certs hold for all certificates. Put them into the first.`,
      );
    }
  }
  return {
    materials: entries.flatMap((entry) => materialOf(reading, entry)),
    clientCa: authorities(reading, entries[0]?.client_ca),
    clientCerts: entries[0]?.client_certs ?? (entries[0]?.client_ca === undefined ? 'none' : 'ask'),
  };
};

/**
 * The TLS of an upstream. `opportunistic` speaks whatever the other speaks, since clear text would be the alternative;
 * the others keep a floor.
 */
export const upstreamTls = (reading: Reading, given: UpstreamInput): UpstreamTls => {
  const { tls: mode = 'none', tls_name, tls_ca, tls_fingerprint, tls_verify, tls_floor } = given;
  const fault = (key: string, why: string): void => {
    reading.faults.push(`upstream ${given.name ?? given.host}: ${key} ${why}.`);
  };
  const checks = { tls_ca, tls_fingerprint, tls_verify };
  for (const [key, value] of Object.entries({ ...checks, tls_name, tls_floor }))
    if (value !== undefined && mode === 'none')
      fault(key, 'means nothing without TLS. Add tls: required, or take it out');
  for (const [key, value] of Object.entries(checks))
    if (value !== undefined && mode === 'opportunistic')
      fault(key, 'means nothing here: opportunistic asks nobody who they are. Write tls: required');
  if (tls_fingerprint !== undefined && tls_verify === false)
    fault('tls_verify', 'false and tls_fingerprint exclude one another');
  return {
    mode,
    name: tls_name,
    ca: authorities(reading, tls_ca),
    fingerprints: [tls_fingerprint ?? []].flat().map(fingerprintHex),
    verify: tls_verify ?? true,
    floor: tls_floor ?? (mode === 'opportunistic' ? '1.0' : '1.2'),
  };
};

/** The networks were checked with the shape of the file. */
export const deviceRules = (devices: readonly DeviceInput[]): DeviceRule[] =>
  devices.map(({ name, networks, tls_floor, starttls, plaintext_auth, ...rest }) => ({
    name,
    networks: networks.flatMap((text) => {
      const cidr = parseCidr(text);
      return cidr.ok ? [cidr.value] : [];
    }),
    tlsFloor: tls_floor,
    starttls: starttls ?? true,
    plaintextAuth: plaintext_auth ?? false,
    ...shieldOverrides(rest),
  }));

const DAY = 86_400_000;

/** Certificates that have expired, or will within two weeks, in words for the log. */
export const expiryWarnings = (certificates: readonly Expiry[], now: number): string[] =>
  certificates.flatMap(({ names, expires }) => {
    const days = Math.floor((expires - now) / DAY);
    if (days >= 14) return [];
    const when = new Date(expires).toISOString().slice(0, 10);
    return [
      `the certificate for ${names.join(', ')} ${days < 0 ? `EXPIRED on ${when}: clients will refuse it` : `expires on ${when}`}`,
    ];
  });

/** Warns now, and again every day for as long as it is true. Returns what ends it. */
export const watchExpiry = (
  certificates: () => readonly Expiry[],
  note: Note,
  interval = DAY,
): (() => void) => {
  const warn = (): void => {
    for (const text of expiryWarnings(certificates(), Date.now())) note({ type: 'warning', text });
  };
  warn();
  const timer = setInterval(warn, interval).unref();
  return () => clearInterval(timer);
};
