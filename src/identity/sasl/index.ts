/** The SASL mechanisms that Sekisho speaks, and which of them a connection is offered. */
import type { ProofKind } from '../credentials.js';
import { CRAM_MD5 } from './cram-md5.js';
import { EXTERNAL } from './external.js';
import { LOGIN } from './login.js';
import type { SaslMechanism } from './mechanism.js';
import { OAUTHBEARER } from './oauthbearer.js';
import { PLAIN } from './plain.js';
import { SCRAM_SHA_256, SCRAM_SHA_256_PLUS } from './scram-sha-256.js';
import { XOAUTH2 } from './xoauth2.js';

/** In the order in which they are offered: many clients take the first that they know. */
export const MECHANISMS: readonly SaslMechanism[] = [
  EXTERNAL,
  SCRAM_SHA_256_PLUS,
  SCRAM_SHA_256,
  OAUTHBEARER,
  XOAUTH2,
  CRAM_MD5,
  PLAIN,
  LOGIN,
];

/** What decides the offer on a connection. */
export interface Offer {
  /** TLS is in force. */
  readonly secure: boolean;
  /** The site lets passwords cross in clear text. Tokens never do. */
  readonly plaintextAllowed: boolean;
  /** What the stores can judge just now. */
  readonly provable: ReadonlySet<ProofKind>;
  /** The connection has channel bindings. */
  readonly bindings: boolean;
  /** The client showed a certificate that was verified. */
  readonly certificate: boolean;
}

const fits = (mechanism: SaslMechanism, offer: Offer): boolean => {
  if (!offer.provable.has(mechanism.needs)) return false;
  if (mechanism.plaintext && !offer.secure) return offer.plaintextAllowed && mechanism.needs !== 'token';
  if (mechanism.requires === undefined) return true;
  return offer.secure && (mechanism.requires === 'binding' ? offer.bindings : offer.certificate);
};

/** The mechanisms to be offered, in the order of `MECHANISMS`. */
export const offered = (offer: Offer): readonly SaslMechanism[] =>
  MECHANISMS.filter((mechanism) => fits(mechanism, offer));
