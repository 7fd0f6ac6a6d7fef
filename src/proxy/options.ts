/**
 * What the proxy must be told. Every value has its default here and nowhere else; the configuration
 * file's schema (app/config) uses the same names in snake_case.
 */
import type { Note } from '../base/events.js';
import type { Ip, IpSet } from '../base/ip.js';
import type { Authenticator } from '../identity/authenticator.js';
import type { Policy } from '../policy/compile.js';
import type { DomainSet } from '../policy/domain-set.js';
import type { PresetName } from '../shield/presets.js';
import type { ShieldOverrides } from '../shield/rules.js';
import type { DataLimits } from '../smtp/data-scanner.js';
import type { Bans } from '../windows/bans.js';
import type { StateStore } from '../windows/store.js';
import type { DeviceRule } from './devices.js';
import type { Quotas } from './quotas.js';
import type { SpoolOptions } from './spool.js';
import type { StrangerOptions } from './strangers.js';
import type { TlsFloor, TlsMaterial } from './tls.js';
import { NO_UPSTREAM_TLS, type UpstreamTls } from './upstream-tls.js';

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
  /** Octets of a message's header section (patch header-size); so much is held back until it has been judged. */
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
  headerBytes: 32_768,
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
  /** The PROXY header of a balancer. */
  readonly proxyHeader: number;
  /** A TLS handshake, with a client or with the upstream. */
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
  proxyHeader: 10_000,
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

/** What a listener asks of strangers: those who are not the site's own, have not logged in, and have no window. */
export interface ScreeningOptions {
  /** Who is on DNS lists is refused at each recipient that the policy allows; `shadow`: it is only told. */
  readonly dnsbl: 'none' | 'shadow' | 'reject';
  /** Milliseconds after which a first mail has to come again; 0: none has to. */
  readonly greylist: number;
}

export const NO_SCREENING: ScreeningOptions = { dnsbl: 'none', greylist: 0 };

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
  /**
   * Certificates of clients. `ask`: whoever has none, or one that nobody vouches for, is served all the same.
   * `require`: a TLS client without one that the authority vouches for is closed; without an authority any will do.
   */
  readonly clientCerts: 'none' | 'ask' | 'require';
  /** Nothing is taken before somebody has logged in (RFC 6409 4.3). */
  readonly requireLogin: boolean;
  /** The MTA hears of DATA only once the message is whole. */
  readonly spool?: boolean;
  /** What the virtual patches do on this listener, where it is not what the preset says. */
  readonly shield?: ShieldOverrides;
  /** Balancers, whose connections begin with a PROXY header; from nobody else is one taken. */
  readonly proxyFrom?: IpSet | undefined;
  /**
   * Connections come here that were meant for others, sent by a rule of the firewall: they go to the upstream that is for
   * that destination, and there is none for whatever is in no list.
   */
  readonly intercept?: 'redirect' | 'tproxy';
  /** Undefined: nothing. */
  readonly screening?: ScreeningOptions;
}

export const DEFAULT_DATA: DataLimits = {
  lineLimit: 998,
  overLong: 'reject',
  eightBit: 'pass',
  bareLf: 'reject',
};

/**
 * How the upstream learns who the client is, beside the Received line that each message bears. `tproxy`: the connection
 * comes from the client's own address.
 */
export const IDENTITIES = ['received', 'xclient', 'proxy-v1', 'proxy-v2', 'tproxy'] as const;
export type UpstreamIdentification = (typeof IDENTITIES)[number];

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
  readonly tls: UpstreamTls;
  /** Which virtual patches it needs; `auto`: by what its greeting says. */
  readonly shield: PresetName | 'auto';
  /** All but `received` bind a connection to its client: it is never lent to another. */
  readonly identity: UpstreamIdentification;
  /** Addresses to which clients connected; undefined: any, but for what another upstream lists. */
  readonly destinations?: IpSet;
  /** Domains of recipients; undefined: any, but for what another upstream lists. */
  readonly domains?: DomainSet;
}

export const DEFAULT_UPSTREAM: Omit<UpstreamOptions, 'name' | 'host' | 'port'> = {
  maxConnections: 100,
  maxWaiting: 2_000,
  waitTimeout: 30_000,
  maxMessages: 1_000,
  maxAge: 600_000,
  maxIdle: 60_000,
  probeInterval: 60_000,
  tls: NO_UPSTREAM_TLS,
  shield: 'auto',
  identity: 'received',
};

/** Sockets that somebody else has bound, by the names of their listeners; those without one bind themselves. */
export type Descriptors = ReadonlyMap<string, readonly number[]>;

export interface ProxyOptions {
  readonly listeners: readonly ListenerOptions[];
  readonly descriptors?: Descriptors | undefined;
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
  /** The Received line names who logged in. */
  readonly receivedLogin: boolean;
  /** Lets clients log in; undefined: SMTP AUTH is not available. */
  readonly authenticator?: Authenticator | undefined;
  /** Hears of each login by SMTP AUTH: it may open a window. */
  readonly onLogin?: ((login: string, client: Ip) => void) | undefined;
  readonly limits: Limits;
  readonly timeouts: Timeouts;
  /** DNS servers for client names, `IP` or `IP:PORT`; empty: those of the system. */
  readonly resolvers: readonly string[];
  /** Certificates for clients; needed when a listener speaks TLS. */
  readonly tls: readonly TlsMaterial[];
  /** Windows, counts and suspensions. */
  readonly state: StateStore;
  /** Milliseconds since 1970, for windows and limits; Date.now by default. */
  readonly now?: () => number;
  /** The authorities that vouch for clients' certificates, in PEM; undefined: certificates are known by fingerprint. */
  readonly clientCa: string | undefined;
  /** Exemptions for networks of old devices; the first that holds the client counts. */
  readonly devices: readonly DeviceRule[];
  /** Where messages wait on listeners with `spool`; the system's folder for temporary files by default. */
  readonly spool?: SpoolOptions;
  /** Undefined: no DNS lists, nobody exempt. */
  readonly strangers?: StrangerOptions;
  /** Who is not let in; undefined: nobody is banned. */
  readonly bans?: Bans | undefined;
  /** How much may come; undefined: there are no quotas. */
  readonly quotas?: Quotas | undefined;
  readonly note: Note;
}

/** A socket that is listening. */
export interface Listening {
  readonly listener: string;
  readonly address: string;
  readonly port: number;
}
