/** Client certificates as logins (SASL EXTERNAL, RFC 4422 A): whoever the authority vouches for is who it says. */
import { type CredentialStore, type Outcome, type Proof, wrong } from '../credentials.js';
import { userFault } from '../proof-fault.js';

const PROVES = new Set(['external'] as const);

/** The login is the first of the certificate's names, mailboxes before hosts, or the one asked for if it is among them. */
const judge = ({ user, certificate }: Extract<Proof, { kind: 'external' }>): Outcome => {
  const { subject, names } = certificate;
  if (subject === undefined) return wrong('the certificate was not verified');
  const mailbox = names.find((name) => name.includes('@'));
  const name = user === '' ? (mailbox ?? names[0]) : user.toLowerCase();
  if (name === undefined || userFault(name) !== undefined)
    return wrong('the certificate bears no name to log in by');
  return names.includes(name)
    ? { kind: 'ok', login: { name } }
    : wrong('the certificate is for somebody else');
};

export class CertificateStore implements CredentialStore {
  readonly name = 'certificates';
  readonly proves = PROVES;

  async verify(proof: Proof): Promise<Outcome> {
    return proof.kind === 'external' ? judge(proof) : wrong('not a certificate');
  }

  async close(): Promise<void> {}
}
