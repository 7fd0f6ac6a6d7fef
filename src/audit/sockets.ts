/** Listeners on the mail ports: from /proc/net, or from what `ss`, `netstat`, `sockstat` or `lsof` printed. */
import { parseIp } from '../base/ip.js';
import { procNetAddress } from '../base/proc-net.js';
import type { ProductId, Reach, SocketSeen } from './evidence.js';
import { productOfCommand } from './products.js';
import type { Tree } from './tree.js';

/** RFC 5321, 8314, 6409, by number and by the names of /etc/services. */
const PORTS: Readonly<Record<string, number>> = {
  25: 25,
  465: 465,
  587: 587,
  smtp: 25,
  mail: 25,
  smtps: 465,
  ssmtp: 465,
  urd: 465,
  submissions: 465,
  submission: 587,
};

const reachOf = (address: string): Reach => {
  if (address === '*') return 'world';
  if (address === 'localhost') return 'loopback';
  const ip = parseIp(address.replace(/%.*$/, ''));
  return /^127\.|^::1$/.test(ip?.text ?? '') ? 'loopback' : 'world';
};

const socket = (
  address: string,
  port: number,
  product: ProductId,
  pid: number | undefined,
  text: string,
): SocketSeen => {
  const shown = address.includes(':') ? `[${address}]:${port}` : `${address}:${port}`;
  const where = pid === undefined ? `socket ${shown}` : `socket ${shown} of process ${pid}`;
  return { kind: 'socket', product, where, text, address, port, reach: reachOf(address), pid };
};

/** Inode of each socket to the process that holds it, as far as one may look. */
const owners = (tree: Tree, wanted: ReadonlySet<string>): Map<string, number> => {
  const found = new Map<string, number>();
  for (const name of tree.list('/proc').filter((each) => /^\d+$/.test(each))) {
    if (found.size === wanted.size) break;
    for (const fd of tree.list(`/proc/${name}/fd`)) {
      const inode = /^socket:\[(\d+)\]$/.exec(tree.link(`/proc/${name}/fd/${fd}`) ?? '')?.[1];
      if (inode !== undefined && wanted.has(inode) && !found.has(inode)) found.set(inode, Number(name));
    }
  }
  return found;
};

/** Linux' /proc/net/tcp and tcp6: state 0A listens. */
export const socketsOfProc = (tree: Tree): SocketSeen[] => {
  const listening = ['/proc/net/tcp', '/proc/net/tcp6'].flatMap((file) =>
    tree.lines(file).flatMap((line) => {
      const match = /^\s*\d+: ([0-9A-F]{8}|[0-9A-F]{32}):([0-9A-F]{4}) \S+ 0A (?:\S+ ){5}\s*(\d+)/.exec(
        line.replace(/ +/g, ' '),
      );
      const port = PORTS[Number.parseInt(match?.[2] ?? '0', 16)];
      if (match === null || port === undefined) return [];
      return [{ address: procNetAddress(match[1] ?? ''), port, inode: match[3] ?? '', file }];
    }),
  );
  const held = owners(tree, new Set(listening.map(({ inode }) => inode)));
  return listening.map(({ address, port, inode, file }) => {
    const pid = held.get(inode);
    const command =
      pid === undefined ? '' : (tree.text(`/proc/${pid}/cmdline`) ?? '').replace(/\0/g, ' ').trim();
    return socket(address, port, productOfCommand(command)?.id ?? 'unknown', pid, command || file);
  });
};

const LISTENS = /\bLISTEN(?:ING)?\b|\*[.:]\*\s*$/;
/** An address and a port, parted by a colon or, as BSD and Solaris write, a dot. */
const LOCAL = /(?:^|\s)(?:TCP\s+)?(\*|\[?[0-9a-fA-F:.]+(?:%\w+)?\]?|localhost)[.:]([a-z]+|\d+)(?=\s)/gi;

/** The process in a line: `users:(("master",pid=812,…))`, `812/master`, sockstat's or lsof's first columns. */
const holderOf = (line: string): { name: string; pid: number | undefined } => {
  const ss = /users:\(\("([^"]*)",pid=(\d+)/.exec(line);
  if (ss !== null) return { name: ss[1] ?? '', pid: Number(ss[2]) };
  const netstat = /\s(\d+)\/(\S.*?)\s*$/.exec(line);
  if (netstat !== null) return { name: netstat[2] ?? '', pid: Number(netstat[1]) };
  const windows = /\bLISTENING\s+(\d+)\s*$/.exec(line);
  if (windows !== null) return { name: '', pid: Number(windows[1]) };
  const sockstat = /^\S+\s+(\S+)\s+(\d+)\s+\d+\s+tcp[46]*\s/.exec(line);
  if (sockstat !== null) return { name: sockstat[1] ?? '', pid: Number(sockstat[2]) };
  const lsof = /^(\S+)\s+(\d+)\s+\S+\s+\d+u\s/.exec(line);
  return lsof === null ? { name: '', pid: undefined } : { name: lsof[1] ?? '', pid: Number(lsof[2]) };
};

/** Short names of processes that say enough. */
const NAMES: readonly (readonly [RegExp, ProductId])[] = [
  [/^(?:sendmail|sendmail-mta)\b/, 'sendmail'],
  [/^master$/, 'postfix'],
  [/^exim/, 'exim'],
  [/^couriert?/, 'courier'],
  [/^(?:smail|in\.smtpd)$/, 'smail'],
  [/^smtpd$/, 'opensmtpd'],
  [/^sekisho$/, 'sekisho'],
];

export const socketsOfListing = (text: string): SocketSeen[] =>
  text.split(/\r?\n/).flatMap((line) => {
    if (!LISTENS.test(line)) return [];
    const [, address, service] = [...line.matchAll(LOCAL)][0] ?? [];
    const port = PORTS[(service ?? '').toLowerCase()];
    if (address === undefined || port === undefined) return [];
    const { name, pid } = holderOf(line);
    const product = NAMES.find(([shape]) => shape.test(name))?.[1] ?? 'unknown';
    return [socket(address.replace(/^\[|\]$/g, ''), port, product, pid, line.trim().replace(/\s+/g, ' '))];
  });
