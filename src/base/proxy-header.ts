/** The PROXY protocol's header, printed (HAProxy's proxy-protocol.txt, 2.1 and 2.2): tells a server who the client is. */
import type { Ip, IpWords } from './ip.js';

export interface Endpoint {
  readonly ip: Ip;
  readonly port: number;
}

export type ProxyHeaderVersion = 'v1' | 'v2';

/** What a version 2 header begins with. */
export const SIGNATURE = Buffer.from('0d0a0d0a000d0a515549540a', 'hex');
/** Version 2, command PROXY and command LOCAL. */
const COMMAND = 0x21;
const LOCAL = 0x20;
/** TCP over IPv4 and over IPv6. */
const FAMILIES = { 4: 0x11, 6: 0x21 } as const;

/** As IPv6, an IPv4 address mapped (RFC 4291 2.5.5.2). */
const widened = ({ family, words }: Ip): IpWords => (family === 6 ? words : [0, 0, 0xffff, ...words]);

const widenedText = ({ family, text }: Ip): string => (family === 6 ? text : `::ffff:${text}`);

const v1 = (client: Endpoint, server: Endpoint): Buffer => {
  const narrow = client.ip.family === 4 && server.ip.family === 4;
  const [from, to] = [client, server].map(({ ip }) => (narrow ? ip.text : widenedText(ip)));
  return Buffer.from(
    `PROXY ${narrow ? 'TCP4' : 'TCP6'} ${from} ${to} ${client.port} ${server.port}\r\n`,
    'latin1',
  );
};

const v2 = (client: Endpoint, server: Endpoint): Buffer => {
  const narrow = client.ip.family === 4 && server.ip.family === 4;
  const words = [client, server].flatMap(({ ip }) => [...(narrow ? ip.words : widened(ip))]);
  const header = Buffer.alloc(16 + words.length * 4 + 4);
  SIGNATURE.copy(header);
  header[12] = COMMAND;
  header[13] = FAMILIES[narrow ? 4 : 6];
  header.writeUInt16BE(header.length - 16, 14);
  for (const [i, word] of words.entries()) header.writeUInt32BE(word, 16 + i * 4);
  header.writeUInt16BE(client.port, header.length - 4);
  header.writeUInt16BE(server.port, header.length - 2);
  return header;
};

/** Of version 2, for a connection of one's own, such as a health check: it stands for nobody (2.2 LOCAL). */
export const printLocalHeader = (): Buffer => Buffer.concat([SIGNATURE, Buffer.from([LOCAL, 0, 0, 0])]);

/**
 * What goes before all else on a connection to a server. `server`: the address to which the client connected. When the
 * families differ, both are told as IPv6. Ports are 0 to 65535.
 */
export const printProxyHeader = (version: ProxyHeaderVersion, client: Endpoint, server: Endpoint): Buffer =>
  version === 'v1' ? v1(client, server) : v2(client, server);
