/** The octets that framing turns on (RFC 5234 B.1, RFC 5321 2.3.8). */
export const NUL = 0x00;
export const LF = 0x0a;
export const CR = 0x0d;
export const DOT = 0x2e;
