/** Addresses that no host of the Internet has: loopback, private, link-local. */
import { type Cidr, type Ip, IpSet, parseCidr, parseIp } from './ip.js';

const blocks = (...texts: readonly string[]): readonly Cidr[] =>
  texts.flatMap((text) => {
    const cidr = parseCidr(text);
    return cidr.ok ? [cidr.value] : [];
  });

/** RFC 1122 3.2.1.3, RFC 1918, RFC 3927; RFC 4291 2.5.3, RFC 4193, RFC 4291 2.5.6. */
export const NEAR_BLOCKS = blocks(
  ...['127.0.0.0/8', '10.0.0.0/8', '172.16.0.0/12', '192.168.0.0/16', '169.254.0.0/16'],
  ...['::1/128', 'fc00::/7', 'fe80::/10'],
);
const NEAR = IpSet.of(NEAR_BLOCKS);

/** Between a carrier and its customers (RFC 6598): many share one address. */
export const CARRIER_BLOCKS = blocks('100.64.0.0/10');

export const isNear = (ip: Ip): boolean => NEAR.has(ip);

/** An address as text that only this host can reach; a name is none. */
export const isLoopback = (text: string): boolean => {
  const ip = parseIp(text);
  return ip !== undefined && (ip.family === 4 ? ip.text.startsWith('127.') : ip.text === '::1');
};
