/**
 * A dialogue with a server in lock-step, on a connection for one attempt: what it says is bounded, and what it says
 * before it was asked is never taken for the answer.
 */
import type net from 'node:net';
import { connect, faultOf, PeerFault, type PeerTls, type Place, secure } from './peer.js';

/** Octets of one line of the server, and of all it says. */
const LINE = 8_192;
const ALL = 65_536;
/** Milliseconds that a server may take to hang up after the goodbye. */
const LINGER = 1_000;

const LF = 0x0a;

export class Wire {
  #socket: net.Socket;
  #buffer: Buffer = Buffer.alloc(0);
  #received = 0;
  #fault: Error | undefined;
  #goodbye = '';
  #wake: () => void = () => {};
  readonly #onAbort = (): void => this.#fail(faultOf(this.signal));
  readonly #onData = (chunk: Buffer): void => this.#take(chunk);
  readonly #onEnd = (): void => this.#fail(new PeerFault('it closed the connection'));

  private constructor(
    socket: net.Socket,
    readonly host: string,
    private readonly signal: AbortSignal,
  ) {
    this.#socket = socket;
    signal.addEventListener('abort', this.#onAbort);
    if (signal.aborted) this.#onAbort();
    if (socket.destroyed) this.#onEnd();
    this.#listen();
  }

  static async open(place: Place, tls: PeerTls, signal: AbortSignal): Promise<Wire> {
    return new Wire(await connect(place, tls, signal), 'path' in place ? 'localhost' : place.host, signal);
  }

  /** Sends octets. Throws when the server has said what nobody asked for: its next answer would be to something else. */
  send(octets: string | Buffer): void {
    if (this.#buffer.length > 0) throw new PeerFault('it answered before it was asked');
    if (this.#fault !== undefined) throw this.#fault;
    this.#socket.write(octets);
  }

  /** The next octets, at least one. */
  async chunk(): Promise<Buffer> {
    while (this.#buffer.length === 0) await this.#more();
    const chunk = this.#buffer;
    this.#buffer = Buffer.alloc(0);
    return chunk;
  }

  /** The next line without its end (CRLF, or LF of a careless server). */
  async line(): Promise<string> {
    let from = 0;
    for (;;) {
      const end = this.#buffer.indexOf(LF, from);
      if ((end < 0 ? this.#buffer.length : end) > LINE) throw new PeerFault('it sent an endless line');
      if (end >= 0) {
        const line = this.#buffer.toString('utf8', 0, end);
        this.#buffer = this.#buffer.subarray(end + 1);
        return line.endsWith('\r') ? line.slice(0, -1) : line;
      }
      from = this.#buffer.length;
      await this.#more();
    }
  }

  /** TLS from here on. What was said in clear text and not yet read would count as said under TLS (CVE-2011-0411). */
  async secure(tls: PeerTls): Promise<void> {
    if (this.#buffer.length > 0) throw new PeerFault('it said something between its consent and TLS');
    this.#socket.off('data', this.#onData).off('end', this.#onEnd).off('close', this.#onEnd);
    this.#socket = await secure(this.#socket, this.host, tls, this.signal);
    this.#listen();
  }

  /** What is sent before hanging up, as long as all goes well; no answer is waited for. */
  goodbye(octets: string): void {
    this.#goodbye = octets;
  }

  /** Hangs up. */
  end(): void {
    const socket = this.#socket;
    this.signal.removeEventListener('abort', this.#onAbort);
    if (this.#fault !== undefined || this.#goodbye === '') {
      socket.destroy();
      return;
    }
    socket.off('data', this.#onData);
    socket.resume();
    socket.end(this.#goodbye);
    const timer = setTimeout(() => socket.destroy(), LINGER);
    socket.once('close', () => clearTimeout(timer));
  }

  #listen(): void {
    this.#socket.on('data', this.#onData).on('end', this.#onEnd).on('close', this.#onEnd);
    this.#socket.on('error', (error) => this.#fail(new PeerFault(error.message)));
  }

  #take(chunk: Buffer): void {
    this.#received += chunk.length;
    if (this.#received > ALL) return this.#fail(new PeerFault('it says too much'));
    this.#buffer = this.#buffer.length === 0 ? chunk : Buffer.concat([this.#buffer, chunk]);
    this.#wake();
  }

  #fail(fault: Error): void {
    this.#fault ??= fault;
    this.#socket.destroy();
    this.#wake();
  }

  /** Waits for more octets than there are. */
  async #more(): Promise<void> {
    const before = this.#received;
    while (this.#received === before) {
      if (this.#fault !== undefined) throw this.#fault;
      await new Promise<void>((resolve) => {
        this.#wake = resolve;
      });
    }
  }
}
