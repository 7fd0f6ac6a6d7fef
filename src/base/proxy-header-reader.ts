/**
 * The PROXY protocol's header, read (HAProxy's proxy-protocol.txt, 2.1 and 2.2): who the client is, as a balancer tells
 * it. Strict: what is not exactly a header is none.
 */
import { type Ip, type IpWords, parseIp } from './ip.js';
import { type Endpoint, SIGNATURE } from './proxy-header.js';

/** Octets of a version 1 header with CRLF (2.1). */
export const MAX_V1 = 107;
/** Octets behind the first 16 of a version 2 header: addresses and TLVs, which are skipped. The protocol has 65,535. */
export const MAX_V2_BODY = 4_096;
const V2_HEAD = 16;

/** `length`: octets of the header; what follows is the client's. `client` and `server` undefined: the balancer speaks for itself. */
export interface ProxyHeader {
  readonly kind: 'header';
  readonly length: number;
  readonly ends: { readonly client: Endpoint; readonly server: Endpoint } | undefined;
}

export type ProxyHeaderScan =
  | ProxyHeader
  | { readonly kind: 'need-more' }
  | { readonly kind: 'fault'; readonly why: string };

const NEED_MORE: ProxyHeaderScan = { kind: 'need-more' };
const V1_START = Buffer.from('PROXY ', 'latin1');

const fault = (why: string): ProxyHeaderScan => ({ kind: 'fault', why });

const startsAlike = (octets: Buffer, start: Buffer): boolean => {
  const length = Math.min(octets.length, start.length);
  return octets.compare(start, 0, length, 0, length) === 0;
};

/** Decimal without leading zeros, 0 to 65535. */
const portOf = (text: string): number | undefined => {
  const port = /^(?:0|[1-9][0-9]{0,4})$/.test(text) ? Number(text) : Number.NaN;
  return port <= 65_535 ? port : undefined;
};

const endpointOf = (v6: boolean, address: string, port: string): Endpoint | undefined => {
  const ip = address.includes(':') === v6 ? parseIp(address) : undefined;
  const number = portOf(port);
  return ip === undefined || number === undefined ? undefined : { ip, port: number };
};

const readV1 = (octets: Buffer): ProxyHeaderScan => {
  const end = octets.subarray(0, MAX_V1).indexOf('\r\n');
  if (end < 0) return octets.length < MAX_V1 ? NEED_MORE : fault(`a v1 header longer than ${MAX_V1} octets`);
  const length = end + 2;
  const [, family, from = '', to = '', fromPort = '', toPort = '', ...more] = octets
    .toString('latin1', 0, end)
    .split(' ');
  // 2.1: what follows UNKNOWN is to be ignored, and the connection is what it looks like.
  if (family === 'UNKNOWN') return { kind: 'header', length, ends: undefined };
  if (family !== 'TCP4' && family !== 'TCP6') return fault('a v1 header of an unknown protocol');
  const client = endpointOf(family === 'TCP6', from, fromPort);
  const server = endpointOf(family === 'TCP6', to, toPort);
  if (client === undefined || server === undefined || more.length > 0)
    return fault('a v1 header whose addresses or ports cannot be read');
  return { kind: 'header', length, ends: { client, server } };
};

const wordsAt = (octets: Buffer, at: number, width: number): IpWords =>
  Array.from({ length: width }, (_, i) => octets.readUInt32BE(at + i * 4));

/** By way of its text, so that mapped addresses are folded here as everywhere. */
const ipAt = (octets: Buffer, at: number, width: number): Ip | undefined => {
  const words = wordsAt(octets, at, width);
  const parts = (word: number): number[] => [24, 16, 8, 0].map((shift) => (word >>> shift) & 255);
  const text =
    width === 1
      ? words.flatMap(parts).join('.')
      : words.map((word) => `${(word >>> 16).toString(16)}:${(word & 0xffff).toString(16)}`).join(':');
  return parseIp(text);
};

const WIDTHS: Readonly<Record<number, number>> = { 17: 1, 33: 4 };

const readV2 = (octets: Buffer): ProxyHeaderScan => {
  if (octets.length < V2_HEAD) return NEED_MORE;
  const [command = 0, family = 0] = octets.subarray(12);
  const body = octets.readUInt16BE(14);
  if (command !== 0x20 && command !== 0x21) return fault('a v2 header of an unknown version or command');
  if (body > MAX_V2_BODY) return fault(`a v2 header with more than ${MAX_V2_BODY} octets behind its head`);
  const length = V2_HEAD + body;
  const width = WIDTHS[family];
  // 2.2: LOCAL is the balancer's own connection, whatever else the header says.
  if (command === 0x21 && width === undefined)
    return fault('a v2 header that is not of TCP over IPv4 or IPv6');
  if (command === 0x21 && width !== undefined && body < width * 8 + 4)
    return fault('a v2 header too short for its addresses');
  if (octets.length < length) return NEED_MORE;
  if (command === 0x20 || width === undefined) return { kind: 'header', length, ends: undefined };
  const server = V2_HEAD + width * 4;
  const ports = server + width * 4;
  const [from, to] = [ipAt(octets, V2_HEAD, width), ipAt(octets, server, width)];
  if (from === undefined || to === undefined) return fault('a v2 header whose addresses cannot be read');
  const client = { ip: from, port: octets.readUInt16BE(ports) };
  return {
    kind: 'header',
    length,
    ends: { client, server: { ip: to, port: octets.readUInt16BE(ports + 2) } },
  };
};

/**
 * Looks at the first octets of a connection, all that have come so far. It asks for more only while they may still
 * become a header, and so never for more than 16 + MAX_V2_BODY octets.
 */
export const readProxyHeader = (octets: Buffer): ProxyHeaderScan => {
  if (startsAlike(octets, V1_START)) return octets.length < V1_START.length ? NEED_MORE : readV1(octets);
  if (startsAlike(octets, SIGNATURE)) return readV2(octets);
  return fault('no PROXY header, though one must come first');
};
