/** /proc/net/tcp writes each 32-bit word of an address in the host's order: little-endian on all that matter. */
export const procNetAddress = (hex: string): string => {
  const words = hex.match(/.{8}/g) ?? [];
  const octets = words.flatMap((word) => [...Buffer.from(word, 'hex')].reverse());
  if (octets.length === 4) return octets.join('.');
  const groups = Array.from({ length: 8 }, (_, i) =>
    (((octets[2 * i] ?? 0) << 8) | (octets[2 * i + 1] ?? 0)).toString(16),
  );
  return groups.join(':');
};
