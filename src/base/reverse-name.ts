/** The labels under which DNS knows an address: `1.2.0.192` for 192.0.2.1 (RFC 1035 3.5), nibbles for IPv6 (RFC 3596 2.5). */
import type { Ip } from './ip.js';

export const reverseLabels = ({ family, text, words }: Ip): string => {
  if (family === 4) return text.split('.').reverse().join('.');
  const nibbles = words.map((word) => word.toString(16).padStart(8, '0')).join('');
  return [...nibbles].reverse().join('.');
};
