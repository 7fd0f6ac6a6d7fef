/**
 * A server for Whoson 2 over UDP: scripts and servers that tell a whosond who logs in and out from where (`LOGIN
 * 192.0.2.7 bob`) open and close windows by it, and `QUERY` says who has one. A datagram is one command, CRLF and an
 * empty line; so is its answer: `+` done, `-` no, `*` not understood or not known just now.
 *
 * UDP proves nothing about who sends: only listed peers are heard, by default this host's own addresses, which cannot
 * come from outside. Others get no answer, so nobody is answered for a forged address.
 */
import dgram from 'node:dgram';
import { isIPv6 } from 'node:net';
import type { Note } from '../../base/events.js';
import { type Cidr, type Ip, IpSet, parseIp } from '../../base/ip.js';
import { listenFault } from '../../base/listen-fault.js';
import type { WindowResult } from '../keeper.js';
import type { Window } from '../window.js';

export interface WhosonOptions {
  readonly host: string;
  readonly port: number;
  readonly peers: readonly Cidr[];
}

/** What Whoson needs of the keeper of the windows. */
export interface WhosonPorts {
  readonly note: Note;
  readonly open: (login: string, ip: Ip) => Promise<WindowResult>;
  /** The windows at an address; undefined: not known. */
  readonly at: (ip: Ip) => Promise<readonly Window[] | undefined>;
  /** How many were closed; undefined: not known. */
  readonly close: (login: string, ip: Ip) => Promise<number | undefined>;
}

export const WHOSON_PORT = 9_876;
/** Octets of a command. */
const MOST_OCTETS = 1_024;
/** Commands in hand at once; what comes beyond is dropped, and its client asks again. */
const MOST_PENDING = 64;
/** Strangers are complained of so often, ms. */
const COMPLAINT = 60_000;

const UNKNOWN = '*the windows are not known just now, ask again';

/** A command; a string is the answer to what is none. */
export type WhosonCommand =
  | { readonly verb: 'LOGIN' | 'LOGOUT' | 'QUERY'; readonly ip: Ip; readonly name: string }
  | { readonly verb: 'QUIT' };

export const parseWhoson = (datagram: Buffer): WhosonCommand | string => {
  if (datagram.length > MOST_OCTETS) return '*too long';
  const text = datagram.toString('utf8').replace(/[\r\n]+$/, '');
  if (/\p{C}/u.test(text)) return '*control characters';
  const [verb = '', address = '', ...rest] = text.trim().split(/ +/);
  const name = rest.join(' ');
  switch (verb.toUpperCase()) {
    case 'QUIT':
      return { verb: 'QUIT' };
    case 'LOGIN':
    case 'LOGOUT':
    case 'QUERY': {
      const ip = parseIp(address);
      if (ip === undefined) return '*that is no IP address';
      const known = verb.toUpperCase();
      if (known === 'LOGIN' && name === '') return '*LOGIN needs an address and a user name';
      return { verb: known === 'LOGIN' ? 'LOGIN' : known === 'LOGOUT' ? 'LOGOUT' : 'QUERY', ip, name };
    }
    default:
      return '*command not understood';
  }
};

export class Whoson {
  readonly #options: WhosonOptions;
  readonly #ports: WhosonPorts;
  readonly #peers: IpSet;
  readonly #socket: dgram.Socket;
  #pending = 0;
  #complainedAt = Number.NEGATIVE_INFINITY;
  #closed = false;

  constructor(options: WhosonOptions, ports: WhosonPorts) {
    this.#options = options;
    this.#ports = ports;
    this.#peers = IpSet.of(options.peers);
    this.#socket = dgram.createSocket(isIPv6(options.host) ? 'udp6' : 'udp4');
  }

  /** Binds. Rejects with an error fit for people. */
  start(): Promise<{ readonly listener: string; readonly address: string; readonly port: number }> {
    const { host, port } = this.#options;
    return new Promise((resolve, reject) => {
      const failed = (error: Error): void => reject(new Error(listenFault(error, host, port)));
      this.#socket.once('error', failed);
      this.#socket.bind({ address: host, port }, () => {
        this.#socket.off('error', failed);
        this.#socket.on('error', (error) =>
          this.#ports.note({ type: 'warning', text: `whoson: ${error.message}` }),
        );
        this.#socket.on('message', (datagram, { address, port }) => this.#hear(datagram, address, port));
        const place = this.#socket.address();
        const listening = { listener: 'whoson', address: place.address, port: place.port };
        this.#ports.note({ type: 'listening', ...listening });
        resolve(listening);
      });
    });
  }

  stop(): void {
    if (this.#closed) return;
    this.#closed = true;
    this.#socket.close();
  }

  #hear(datagram: Buffer, address: string, port: number): void {
    // A link-local peer comes with its zone.
    const peer = parseIp(address.replace(/%.*$/, ''));
    if (peer === undefined || !this.#peers.has(peer)) return this.#stranger(address);
    if (this.#pending >= MOST_PENDING) return;
    this.#pending += 1;
    void this.#answer(parseWhoson(datagram)).then((text) => {
      this.#pending -= 1;
      if (!this.#closed) this.#socket.send(`${text}\r\n\r\n`, port, address, () => {});
    });
  }

  #stranger(address: string): void {
    const now = performance.now();
    if (now - this.#complainedAt < COMPLAINT) return;
    this.#complainedAt = now;
    this.#ports.note({ type: 'warning', text: `whoson: not heard, as it is not among peers: ${address}` });
  }

  async #answer(command: WhosonCommand | string): Promise<string> {
    if (typeof command === 'string') return command;
    switch (command.verb) {
      case 'LOGIN':
        return this.#login(command.name, command.ip);
      case 'LOGOUT':
        return this.#logout(command.name, command.ip);
      case 'QUERY':
        return this.#query(command.ip);
      case 'QUIT':
        return '+QUIT OK';
    }
  }

  async #login(name: string, ip: Ip): Promise<string> {
    const result = await this.#ports.open(name, ip);
    if (result === 'unknown') return UNKNOWN;
    return result === 'refused' ? '-LOGIN refused' : '+LOGIN OK';
  }

  /** Closes what Whoson opened there, and what a POP3 login opened stays. */
  async #logout(name: string, ip: Ip): Promise<string> {
    const windows = await this.#ports.at(ip);
    if (windows === undefined) return UNKNOWN;
    const fits = windows.filter(
      ({ source, login }) => source === 'whoson' && (name === '' || name === login),
    );
    for (const { login } of fits) if ((await this.#ports.close(login, ip)) === undefined) return UNKNOWN;
    return fits.length > 0 ? '+LOGOUT record deleted' : '+LOGOUT no such record, nothing done';
  }

  async #query(ip: Ip): Promise<string> {
    const windows = await this.#ports.at(ip);
    if (windows === undefined) return UNKNOWN;
    const [window] = windows;
    return window === undefined ? '-Not Logged in' : `+${window.login}`;
  }
}
