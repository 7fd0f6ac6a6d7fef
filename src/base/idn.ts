/**
 * Internationalised domain names: the only place that knows UTS #46.
 *
 * Two questions are asked here, and they differ. A list in a policy is written by a person, so any spelling
 * is mapped (`toAscii`). A domain from the wire must already be in its mapped form (`strictName`): a fullwidth
 * or compatibility spelling that would fold onto another name is refused, never silently taken for it.
 */
import tr46 from 'tr46';

/** Non-transitional processing; STD3 rules; RFC 5892 joiner and RFC 5893 bidi rules; DNS lengths. */
const OPTIONS = {
  checkBidi: true,
  checkHyphens: true,
  checkJoiners: true,
  useSTD3ASCIIRules: true,
  verifyDNSLength: true,
  transitionalProcessing: false,
} as const;

/** The A-label form of a domain, lower case; undefined if UTS #46 finds fault with it. Compatibility forms are mapped. */
export const toAscii = (domain: string): string | undefined => {
  const ascii = tr46.toASCII(domain, OPTIONS);
  return ascii === null || ascii === '' ? undefined : ascii;
};

const NON_ASCII = /[^\x00-\x7f]/;

/** An A-label is real if it stands for a U-label that leads back to it. */
const isRealALabel = (label: string): boolean => {
  const { domain, error } = tr46.toUnicode(label, OPTIONS);
  return !error && NON_ASCII.test(domain) && toAscii(domain) === label;
};

const isOwnMapping = (label: string): boolean => {
  if (!NON_ASCII.test(label)) return !label.startsWith('xn--') || isRealALabel(label);
  const { domain, error } = tr46.toUnicode(label, OPTIONS);
  return !error && domain === label;
};

/**
 * A domain whose ASCII letters are lower case already: its A-label form if every label is its own UTS #46
 * mapping and every A-label is real, else undefined. No label of pure ASCII is looked at beyond `xn--`.
 */
export const strictName = (domain: string): string | undefined => {
  if (!domain.split('.').every(isOwnMapping)) return undefined;
  return NON_ASCII.test(domain) ? toAscii(domain) : domain;
};
