/** Every way of cutting a stream that a framing parser must not care about. */
import fc from 'fast-check';

/** Whole, octet by octet, and split in two at each place. */
export const chunkings = (stream: Buffer): Buffer[][] => [
  [stream],
  [...stream].map((octet) => Buffer.from([octet])),
  ...Array.from({ length: Math.max(0, stream.length - 1) }, (_, i) => [
    stream.subarray(0, i + 1),
    stream.subarray(i + 1),
  ]),
];

/** A stream cut at random places. */
export const cut = (stream: Buffer, at: readonly number[]): Buffer[] => {
  const places = [...new Set([0, ...at.map((n) => n % (stream.length + 1)), stream.length])].sort(
    (a, b) => a - b,
  );
  return places.slice(1).map((end, i) => stream.subarray(places[i], end));
};

/** Streams made of what framing turns on. */
export const hostileOctets = (maxLength: number): fc.Arbitrary<Buffer> =>
  fc
    .array(fc.constantFrom('\r\n', '\r', '\n', '.', '\0', 'a', 'bc', '\xe9', '\r\n.\r\n', '..', '\t'), {
      maxLength,
    })
    .map((parts) => Buffer.from(parts.join(''), 'latin1'));
