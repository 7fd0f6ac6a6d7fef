/**
 * MD5 from the middle: what CRAM-MD5 servers keep instead of a password (RFC 2195 4) is the state of HMAC-MD5 after its
 * first blocks. node:crypto neither shows nor takes such a state, so RFC 1321 is written out here.
 */
type State = readonly [number, number, number, number];

const START: State = [0x67452301, 0xefcdab89, 0x98badcfe, 0x10325476];
const SHIFTS = [7, 12, 17, 22, 5, 9, 14, 20, 4, 11, 16, 23, 6, 10, 15, 21];
const SINES = Array.from({ length: 64 }, (_, i) => Math.floor(Math.abs(Math.sin(i + 1)) * 2 ** 32) >>> 0);

/** RFC 1321 3.4: one block of 64 octets. */
const compress = (state: State, block: Buffer): State => {
  let [a, b, c, d] = state;
  for (let i = 0; i < 64; i += 1) {
    const round = i >> 4;
    const mixed =
      round === 0
        ? (b & c) | (~b & d)
        : round === 1
          ? (d & b) | (~d & c)
          : round === 2
            ? b ^ c ^ d
            : c ^ (b | ~d);
    const index =
      round === 0 ? i : round === 1 ? (5 * i + 1) % 16 : round === 2 ? (3 * i + 5) % 16 : (7 * i) % 16;
    const sum = (a + mixed + (SINES[i] ?? 0) + block.readUInt32LE(index * 4)) | 0;
    const shift = SHIFTS[round * 4 + (i % 4)] ?? 0;
    [a, d, c, b] = [d, c, b, (b + ((sum << shift) | (sum >>> (32 - shift)))) | 0];
  }
  return [(state[0] + a) >>> 0, (state[1] + b) >>> 0, (state[2] + c) >>> 0, (state[3] + d) >>> 0];
};

const write = (state: State): Buffer => {
  const octets = Buffer.alloc(16);
  for (const [i, word] of state.entries()) octets.writeUInt32LE(word, i * 4);
  return octets;
};

const read = (octets: Buffer): State => [
  octets.readUInt32LE(0),
  octets.readUInt32LE(4),
  octets.readUInt32LE(8),
  octets.readUInt32LE(12),
];

/** Ends a sum whose first 64 octets are in `state`. */
const finish = (state: State, message: Buffer): Buffer => {
  const padding = Buffer.alloc(((119 - (message.length % 64)) % 64) + 9);
  padding[0] = 0x80;
  const bits = (64 + message.length) * 8;
  padding.writeUInt32LE(bits >>> 0, padding.length - 8);
  padding.writeUInt32LE(Math.floor(bits / 2 ** 32), padding.length - 4);
  const rest = Buffer.concat([message, padding]);
  let now = state;
  for (let i = 0; i < rest.length; i += 64) now = compress(now, rest.subarray(i, i + 64));
  return write(now);
};

/** What Dovecot keeps: 16 octets of the outer state and 16 of the inner one. `key`: at most 64 octets, as it is. */
export const cramContext = (key: Buffer): Buffer => {
  const padded = (by: number): Buffer =>
    Buffer.from(Buffer.concat([key, Buffer.alloc(64)], 64).map((octet) => octet ^ by));
  return Buffer.concat([write(compress(START, padded(0x5c))), write(compress(START, padded(0x36)))]);
};

/** HMAC-MD5 of a message, from such a context. */
export const cramDigest = (context: Buffer, message: Buffer): Buffer =>
  finish(read(context.subarray(0, 16)), finish(read(context.subarray(16, 32)), message));
