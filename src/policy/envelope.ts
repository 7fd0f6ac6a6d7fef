/** Addresses of an envelope in the form in which the policy compares them. */
import { pathText, senderDomain } from '../smtp/address.js';
import type { Path } from '../smtp/path.js';
import { readings } from '../smtp/routes.js';
import type { Facts } from './facts.js';

/** The part of the facts that follows from the reverse-path and one forward-path. */
export const envelopeFacts = (from: Path, to: Path): Pick<Facts, 'from' | 'to'> => ({
  from: { address: pathText(from).toLowerCase(), domain: senderDomain(from) },
  to: { address: pathText(to).toLowerCase(), readings: readings(to) },
});
