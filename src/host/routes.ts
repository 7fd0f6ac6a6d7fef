/** One question to the kernel's routing (rtnetlink): whether packets with a mark stay on this host. */
import os from 'node:os';
import { type Ip, parseIp } from '../base/ip.js';
import { err, ok, type Result } from '../base/result.js';
import { AF_INET, AF_INET6, AF_NETLINK, errnoText, type Libc, SOCK_RAW } from './libc.js';

const NETLINK_ROUTE = 0;
const NLMSG_ERROR = 2;
const RTM_NEWROUTE = 24;
const RTM_GETROUTE = 26;
const NLM_F_REQUEST = 1;
const RTA_DST = 1;
const RTA_MARK = 16;
const RTN_LOCAL = 2;
/** nlmsghdr. */
const HEADER = 16;
/** rtmsg. */
const ROUTE = 12;

const little = os.endianness() === 'LE';
const put16 = (into: Buffer, value: number, at: number): number =>
  little ? into.writeUInt16LE(value, at) : into.writeUInt16BE(value, at);
const put32 = (into: Buffer, value: number, at: number): number =>
  little ? into.writeUInt32LE(value, at) : into.writeUInt32BE(value, at);
const get16 = (from: Buffer, at: number): number => (little ? from.readUInt16LE(at) : from.readUInt16BE(at));
const get32 = (from: Buffer, at: number): number => (little ? from.readInt32LE(at) : from.readInt32BE(at));

const attribute = (kind: number, value: Buffer): Buffer => {
  const made = Buffer.alloc(4 + value.length);
  put16(made, made.length, 0);
  put16(made, kind, 2);
  value.copy(made, 4);
  return made;
};

const question = ({ family, words }: Ip, mark: number): Buffer => {
  const head = Buffer.alloc(HEADER + ROUTE);
  const destination = Buffer.alloc(words.length * 4);
  words.forEach((word, i) => void destination.writeUInt32BE(word, 4 * i));
  const marked = Buffer.alloc(4);
  put32(marked, mark, 0);
  const made = Buffer.concat([head, attribute(RTA_DST, destination), attribute(RTA_MARK, marked)]);
  put32(made, made.length, 0);
  put16(made, RTM_GETROUTE, 4);
  put16(made, NLM_F_REQUEST, 6);
  put32(made, 1, 8);
  made[HEADER] = family === 4 ? AF_INET : AF_INET6;
  made[HEADER + 1] = family === 4 ? 32 : 128;
  return made;
};

/** Addresses for documentation (RFC 5737, RFC 3849): no host has them. */
const ABROAD = { 4: parseIp('198.51.100.1'), 6: parseIp('2001:db8::1') } as const;

/** Whether a packet with this mark that is meant for a foreign address is delivered on this host. */
export const staysHere = (libc: Libc, family: 4 | 6, mark: number): Result<boolean, string> => {
  const abroad = ABROAD[family];
  if (abroad === undefined) return ok(false);
  const made = libc.socket(AF_NETLINK, SOCK_RAW, NETLINK_ROUTE);
  if (!made.ok) return err(errnoText(made.error));
  try {
    const sent = libc.send(made.value, question(abroad, mark));
    if (!sent.ok) return err(errnoText(sent.error));
    // The kernel has answered by the time that it took the question.
    const answer = libc.receive(made.value, 8_192);
    if (!answer.ok) return err(errnoText(answer.error));
    const octets = answer.value;
    if (octets.length < HEADER + 4) return err('the kernel gave no answer about routes');
    const kind = get16(octets, 4);
    // ENETUNREACH and the like: there is no such route.
    if (kind === NLMSG_ERROR) return get32(octets, HEADER) === 0 ? err('no answer about routes') : ok(false);
    return ok(kind === RTM_NEWROUTE && octets[HEADER + 7] === RTN_LOCAL);
  } finally {
    libc.close(made.value);
  }
};
