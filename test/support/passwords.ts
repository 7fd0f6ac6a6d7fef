/** A credential store of names and passwords, and how a client logs in by them. */
import { parseCidr } from '../../src/base/ip.js';
import type { CredentialStore } from '../../src/identity/credentials.js';
import type { DeviceRule } from '../../src/proxy/devices.js';
import type { SmtpClient } from './smtp-client.js';

export const passwords = (users: Readonly<Record<string, string>>): CredentialStore => ({
  name: 'test',
  proves: new Set(['password']),
  verify: async (proof) => {
    if (proof.kind !== 'password' || users[proof.user] !== proof.password)
      return { kind: 'wrong', why: 'wrong password' };
    return { kind: 'ok', login: { name: proof.user } };
  },
  close: async () => {},
});

const loopback = parseCidr('127.0.0.0/8');

/** Lets clients on loopback say passwords in clear text. */
export const CLEAR_TEXT: DeviceRule = {
  name: 'loopback',
  networks: loopback.ok ? [loopback.value] : [],
  tlsFloor: undefined,
  starttls: true,
  plaintextAuth: true,
};

/** AUTH PLAIN (RFC 4616); octets as they are. */
export const logIn = (client: SmtpClient, user: string, password: string): Promise<string> =>
  client.say(`AUTH PLAIN ${Buffer.from(`\0${user}\0${password}`).toString('base64')}`);
