/** User names and passwords as the octets of a mechanism hold them. */
import { USER_OCTETS, userFault } from '../proof-fault.js';
import { prepare } from './saslprep.js';

/** Octets in UTF-8 that a client may send as a password; a store may take fewer. RFC 4616 2 wants 255 at least. */
export const SENT_PASSWORD_OCTETS = 1024;

/** A byte order mark is a character like any other: it must come out of a digest as it went in. */
const decoder = new TextDecoder('utf-8', { fatal: true, ignoreBOM: true });

/** Valid UTF-8 without NUL, or undefined. Never throws. */
export const decodeText = (octets: Buffer): string | undefined => {
  if (octets.includes(0)) return undefined;
  try {
    return decoder.decode(octets);
  } catch {
    return undefined;
  }
};

/**
 * A text prepared (RFC 4013) where it can be, else as it came, as PostgreSQL does: a password set before anybody
 * prepared them still works.
 */
const preparedOrRaw = (text: string): string => prepare(text, 'query') ?? text;

/** A user name as stores are asked for it; undefined when it is empty, too long or has a control in it. */
export const userName = (text: string): string | undefined => {
  if (Buffer.byteLength(text) > USER_OCTETS) return undefined;
  const prepared = preparedOrRaw(text);
  return userFault(prepared) === undefined ? prepared : undefined;
};

export const decodeUser = (octets: Buffer): string | undefined => {
  const text = decodeText(octets);
  return text === undefined ? undefined : userName(text);
};

/** A password as stores are to try it; undefined when it is empty, too long or not UTF-8. */
export const decodePassword = (octets: Buffer): string | undefined => {
  if (octets.length === 0 || octets.length > SENT_PASSWORD_OCTETS) return undefined;
  const text = decodeText(octets);
  return text === undefined ? undefined : preparedOrRaw(text);
};
