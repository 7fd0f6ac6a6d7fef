/** What the POP3 and IMAP proxy must be told, and what it needs of others. Every default is here and nowhere else. */
import type net from 'node:net';
import type tls from 'node:tls';
import type { AdmissionLimits } from '../../base/admission.js';
import type { Note } from '../../base/events.js';
import type { Ip, IpSet } from '../../base/ip.js';
import type { ProxyHeaderVersion } from '../../base/proxy-header.js';
import type { TlsVersion } from '../../base/tls-versions.js';
import type { Refusal } from '../../door/door.js';
import type { Throttle } from '../../identity/throttle.js';
import type { WindowResult } from '../keeper.js';

export type MailProtocol = 'pop3' | 'imap';

/** `starttls`: STLS for POP3 (RFC 2595), STARTTLS for IMAP. `implicit`: TLS from the first octet. */
export type MailTls = 'none' | 'starttls' | 'implicit';

/** Whom the server's certificate must show. */
export interface MailServerTrust {
  /** Undefined: the server's host. */
  readonly name: string | undefined;
  /** PEM of the authorities that vouch for it; undefined: those that Node knows. */
  readonly ca: string | undefined;
  /** SHA-256 of certificates, lower-case hex without colons: one of these, whatever else they say. */
  readonly fingerprints: readonly string[];
  /** False: under TLS, but with whomever. */
  readonly verify: boolean;
  readonly floor: TlsVersion;
}

export const DEFAULT_MAIL_TRUST: MailServerTrust = {
  name: undefined,
  ca: undefined,
  fingerprints: [],
  verify: true,
  floor: '1.2',
};

export interface MailServer {
  readonly host: string;
  readonly port: number;
  readonly tls: MailTls;
  readonly trust: MailServerTrust;
}

/** Deadlines in milliseconds, kept to the second. */
export interface MailTimeouts {
  /** The PROXY header of a balancer. */
  readonly proxyHeader: number;
  readonly tlsHandshake: number;
  /** To reach the server, its TLS included. */
  readonly connect: number;
  /** From the client's connection to its login. */
  readonly login: number;
  /** No octet either way after the login (RFC 9051 5.4: at least 30 minutes for IMAP). */
  readonly idle: number;
  /** How long an IMAP session that stays open keeps its window open. */
  readonly keep: number;
}

export const DEFAULT_MAIL_TIMEOUTS: MailTimeouts = {
  proxyHeader: 10_000,
  tlsHandshake: 30_000,
  connect: 30_000,
  login: 120_000,
  idle: 2_100_000,
  keep: 43_200_000,
};

export const DEFAULT_MAIL_LIMITS: AdmissionLimits = { connections: 4_000, connectionsPerAddress: 200 };

export interface MailProxyOptions {
  /** [a-z0-9-]{1,32}; a metric label. */
  readonly name: string;
  readonly protocol: MailProtocol;
  /** IP address to bind; '' is all addresses of the host. */
  readonly host: string;
  /** 0 chooses a free port. */
  readonly port: number;
  readonly tls: MailTls;
  readonly tlsFloor: TlsVersion;
  /** No login in clear text. */
  readonly requireTls: boolean;
  readonly server: MailServer;
  /** Tells the server who the client is. */
  readonly proxyProtocol: 'none' | ProxyHeaderVersion;
  /** Balancers, whose connections begin with a PROXY header; from nobody else is one taken. */
  readonly proxyFrom?: IpSet | undefined;
  readonly limits: AdmissionLimits;
  readonly timeouts: MailTimeouts;
}

/** Failed logins, counted together with those of SMTP. */
export type LoginThrottle = Pick<Throttle, 'refusal' | 'failed' | 'succeeded'>;

export interface MailPorts {
  readonly note: Note;
  /** Sockets that somebody else has bound, by the names of their listeners; those without one bind themselves. */
  readonly descriptors?: ReadonlyMap<string, readonly number[]> | undefined;
  /** The server's side of TLS on a client's connection; `done` is called when it is in force. */
  readonly wrap: (socket: net.Socket, floor: TlsVersion, done: () => void) => tls.TLSSocket;
  /** The client's side of TLS on a connection to a server; `done` is called when it is the right one. */
  readonly secure: (
    socket: net.Socket,
    server: MailServer & { readonly tls: 'starttls' | 'implicit' },
    done: () => void,
  ) => tls.TLSSocket;
  /** Opens or renews a window; never rejects. */
  readonly open: (login: string, ip: Ip, source: MailProtocol) => Promise<WindowResult>;
  /** How long a window is open, ms. */
  readonly windowLength: number;
  readonly throttle: LoginThrottle;
  /** Who is not let in; undefined: all are. */
  readonly screen?: (ip: Ip) => Promise<Refusal | undefined> | undefined;
}
