/**
 * What the proxy must be told. Every value has its default here and nowhere else; the configuration
 * file's schema (app/config) uses the same names in snake_case.
 */
import type { Note } from '../base/events.js';
import type { Policy } from '../policy/compile.js';
import type { DataLimits } from '../smtp/data-scanner.js';
import type { TlsFloor, TlsMaterial } from './tls.js';

/** Bounds on what clients may take. Counts are per session unless said otherwise; 0 never means "none". */
export interface Limits {
  /** Client connections in all, over all listeners. The one past it gets 421. */
  readonly connections: number;
  /** Client connections from one IPv4 address or one IPv6 /64. */
  readonly connectionsPerAddress: number;
  /** Commands of a session that bring no mail forward (NOOP, RSET, VRFY, HELO, EHLO, HELP …) since its last message. */
  readonly idleCommands: number;
  /** Commands of a session in all. */
  readonly commands: number;
  /** Refusals by policy and bad commands together; the command after that many gets 421. */
  readonly errors: number;
  /** Recipients of one transaction; the one past it gets 452 (RFC 5321 4.5.3.1.8: at least 100). */
  readonly recipients: number;
  /** Octets of one message; 0 leaves it to the upstream's own SIZE. */
  readonly messageBytes: number;
  /** Octets of a command line with CRLF (RFC 5321 4.5.3.1.4) without and with extensions. */
  readonly commandLine: number;
  readonly commandLineExtended: number;
  /** Least octets a second of message data, averaged over the message; judged after `dataRateGrace`. */
  readonly dataRate: number;
  /** Octets of a message's header section. */
  readonly headerBytes: number;
  /** Received lines that make a loop. */
  readonly hops: number;
}

export const DEFAULT_LIMITS: Limits = {
  connections: 12_000,
  connectionsPerAddress: 2_500,
  idleCommands: 100,
  commands: 100_000,
  errors: 10,
  recipients: 1_000,
  messageBytes: 0,
  commandLine: 512,
  commandLineExtended: 1_024,
  dataRate: 50,
  headerBytes: 102_400,
  hops: 25,
};

/** Deadlines in milliseconds; RFC 5321 4.5.3.2 where it names one. They are kept to the second. */
export interface Timeouts {
  /** The banner waits so long, and who talks before it is closed (RFC 5321 4.3.1); 0: no wait, and nobody is caught. */
  readonly greetPause: number;
  /** Client: from one reply to the end of the next command. */
  readonly idle: number;
  /** Client: from the first octet of a command to its end (a slow typist, a slowloris). */
  readonly command: number;
  /** Client: between two blocks of message data. */
  readonly dataBlock: number;
  /** Client: a message's first time, in which its data rate is not judged. */
  readonly dataRateGrace: number;
  /** Client: a session's length; looked at between transactions. */
  readonly session: number;
  /** Client: a TLS handshake. */
  readonly tlsHandshake: number;
  readonly upstreamConnect: number;
  readonly upstreamGreeting: number;
  /** EHLO, HELO, RSET, QUIT towards the upstream. */
  readonly upstreamCommand: number;
  readonly upstreamMail: number;
  readonly upstreamRcpt: number;
  readonly upstreamData: number;
  /** The upstream takes no message data. */
  readonly upstreamDataBlock: number;
  /** After the final dot. */
  readonly upstreamDataEnd: number;
  /** A look-up of the client's name. */
  readonly resolve: number;
}

export const DEFAULT_TIMEOUTS: Timeouts = {
  greetPause: 0,
  idle: 300_000,
  command: 60_000,
  dataBlock: 180_000,
  dataRateGrace: 30_000,
  session: 3_600_000,
  tlsHandshake: 30_000,
  upstreamConnect: 30_000,
  upstreamGreeting: 300_000,
  upstreamCommand: 300_000,
  upstreamMail: 300_000,
  upstreamRcpt: 300_000,
  upstreamData: 120_000,
  upstreamDataBlock: 180_000,
  upstreamDataEnd: 600_000,
  resolve: 5_000,
};

export interface ListenerOptions {
  /** [a-z0-9-]{1,32}; a metric label and a fact for `listener:`. */
  readonly name: string;
  /** IP address to bind; `::` takes IPv4 as well; '' is all addresses of the host. */
  readonly host: string;
  /** 0 chooses a free port. */
  readonly port: number;
  /** Leniency in framing, off by default (see smtp/data-scanner). */
  readonly data: DataLimits;
  /** `implicit`: TLS from the first octet (RFC 8314). */
  readonly tls: 'none' | 'starttls' | 'implicit';
  readonly tlsFloor: TlsFloor;
}

export const DEFAULT_DATA: DataLimits = {
  lineLimit: 998,
  overLong: 'reject',
  eightBit: 'pass',
  bareLf: 'reject',
};

export interface UpstreamOptions {
  /** [A-Za-z0-9.:_-]{1,64}; a metric label. HOST:PORT by default. */
  readonly name: string;
  readonly host: string;
  readonly port: number;
  /** Connections at once. */
  readonly maxConnections: number;
  /** Transactions that may wait for one; the next gets 451. */
  readonly maxWaiting: number;
  /** How long one may wait, ms. */
  readonly waitTimeout: number;
  /** Reuse: messages a connection, age and idle time in ms. `maxMessages: 1` switches reuse off. */
  readonly maxMessages: number;
  readonly maxAge: number;
  readonly maxIdle: number;
  /** Time between health probes when no transaction proves health, ms. */
  readonly probeInterval: number;
}

export const DEFAULT_UPSTREAM: Omit<UpstreamOptions, 'name' | 'host' | 'port'> = {
  maxConnections: 100,
  maxWaiting: 2_000,
  waitTimeout: 30_000,
  maxMessages: 1_000,
  maxAge: 600_000,
  maxIdle: 60_000,
  probeInterval: 60_000,
};

export interface ProxyOptions {
  readonly listeners: readonly ListenerOptions[];
  /** In order of preference: the first that is up takes the transaction. */
  readonly upstreams: readonly UpstreamOptions[];
  readonly policy: Policy;
  /** Judge, log and count, but let everything pass. */
  readonly observe: boolean;
  /** Name in the banner, in EHLO towards the upstream and in Received; undefined: the MTA's own for the client, this host's for the upstream. */
  readonly hostname: string | undefined;
  /** This host's own name, for EHLO towards the upstream and for the time before the MTA's name is known. */
  readonly ownName: string;
  /** Printable token without spaces that marks this instance in its Received lines. */
  readonly instanceToken: string;
  /** Add the Received line (RFC 5321 4.4). */
  readonly received: boolean;
  readonly limits: Limits;
  readonly timeouts: Timeouts;
  /** DNS servers for client names, `IP` or `IP:PORT`; empty: those of the system. */
  readonly resolvers: readonly string[];
  /** Certificates for clients; needed when a listener speaks TLS. */
  readonly tls: readonly TlsMaterial[];
  readonly note: Note;
}

/** A socket that is listening. */
export interface Listening {
  readonly listener: string;
  readonly address: string;
  readonly port: number;
}
