/**
 * The client's side of a session: octets come in as chunks, replies go out gathered. Input is taken only as
 * fast as it is used, and a closing connection lingers a little, so that the last reply is not lost to a
 * reset (RFC 1122 4.2.2.13 as it is met in practice: unread input at close makes the kernel send RST).
 */
import type net from 'node:net';
import { monotonic } from '../base/clock.js';
import { type Writer, writeLater } from './outbox.js';
import { type Reader, readInto } from './read-into.js';
import { ReadRoom } from './read-room.js';
import type { Secured } from './tls.js';

export interface ClientListener {
  /** There is input, or room for output again, or the client ended its side. */
  clientActive(): void;
  /** The connection broke; nothing can be said any more. */
  clientBroken(why: string): void;
  /** The socket is closed for good: called exactly once, last. */
  clientClosed(): void;
  /** Whether a message streams, and what was read of it last may still be needed. */
  readonly streaming: 'no' | 'through' | 'kept';
}

/** Milliseconds and octets for which a closing connection goes on reading into the void. */
const LINGER_TIME = 2_000;
const LINGER_BYTES = 4 * 1024 * 1024;
/** Octets of replies that may wait for a client that does not read. */
const MOST_UNREAD = 64 * 1024;

/** Whose connection is closed. */
const NOBODY: ClientListener = {
  clientActive: () => {},
  clientBroken: () => {},
  clientClosed: () => {},
  streaming: 'no',
};

export class ClientConnection implements Reader, Writer {
  /** The client has ended its side; what came before may still be used. */
  ended = false;
  bytesIn = 0;

  #socket: net.Socket;
  /** Takes back what `#attach` did last. */
  #detach: () => void = () => {};
  #listener: ClientListener;
  readonly #input: Buffer[] = [];
  readonly #room = new ReadRoom();
  #output = '';
  /** What was said goes out at the end of this round. */
  #due = false;
  #closing = false;
  /** What is said waits. */
  #holding = false;
  #lingerUntil = Number.POSITIVE_INFINITY;
  #lingerBytes = 0;

  constructor(socket: net.Socket, listener: ClientListener) {
    this.#socket = socket;
    this.#listener = listener;
    socket.setNoDelay(true);
    this.#attach(socket);
  }

  /**
   * Goes on over TLS. `wrap` makes the TLS side and calls `done` when it is in force; `done` hears nothing when the
   * handshake fails: then the connection breaks.
   */
  secure(
    wrap: (socket: net.Socket, done: (secured: Secured) => void) => net.Socket,
    done: (secured: Secured) => void,
  ): void {
    const clear = this.#socket;
    this.writeOut();
    // Its own listeners alone: whoever counts connections waits for the end of this very socket.
    this.#detach();
    // What goes wrong on it is told by the TLS socket as well.
    clear.on('error', () => {});
    const secured = wrap(clear, done);
    this.#socket = secured;
    this.#attach(secured);
  }

  #attach(socket: net.Socket): void {
    const data = (chunk: Buffer): void => this.#onData(chunk);
    const end = (): void => this.#onEnd();
    const drain = (): void => this.#listener.clientActive();
    const error = ({ message }: Error): void => this.#onBroken(message);
    const close = (): void => this.#onClose();
    readInto(socket, this);
    socket.on('data', data).on('end', end).on('drain', drain).on('error', error).on('close', close);
    this.#detach = () => {
      socket.off('data', data).off('end', end).off('drain', drain).off('error', error).off('close', close);
    };
  }

  /** Octets wait to be taken. */
  get waiting(): boolean {
    return this.#input.length > 0;
  }

  /** The client does not read its replies: nothing more should be done for it at present. */
  get congested(): boolean {
    return this.#holding || this.#socket.writableLength + this.#output.length > MOST_UNREAD;
  }

  take(): Buffer | undefined {
    return this.#input.shift();
  }

  /** Gives back what was not used. */
  putBack(rest: Buffer): void {
    if (rest.length > 0) this.#input.unshift(rest);
  }

  say(text: string): void {
    this.#output += text;
  }

  /** What is said waits for `ms`, and nothing is done for the client meanwhile; `over` is called once, after that. */
  hold(ms: number, over: () => void): void {
    this.#holding = true;
    setTimeout(() => {
      this.#holding = false;
      over();
      if (!this.#closing) this.#listener.clientActive();
    }, ms).unref();
  }

  /** What was said goes out with this round, and more is read only when all input has been taken. */
  flush(): void {
    if (this.#holding) return void this.#socket.pause();
    if (this.#output !== '') this.#writeLater();
    if (this.#closing) return;
    if (this.#input.length > 0) this.#socket.pause();
    else if (this.#socket.isPaused()) this.#socket.resume();
  }

  #writeLater(): void {
    if (this.#due) return;
    this.#due = true;
    writeLater(this);
  }

  writeOut(): void {
    this.#due = false;
    if (this.#holding || this.#socket.destroyed) return;
    const output = this.#output;
    this.#output = '';
    if (output !== '' && this.#socket.writable) this.#socket.write(output, 'latin1');
    if (this.#closing) this.#end();
    else if (output.length > MOST_UNREAD) this.#listener.clientActive();
  }

  /** Sends what was said, then closes, reading for a short while what the client still sends. */
  close(): void {
    if (this.#closing) return;
    this.#holding = false;
    this.#closing = true;
    this.#input.length = 0;
    this.#lingerUntil = monotonic() + LINGER_TIME;
    this.#writeLater();
  }

  #end(): void {
    this.#socket.end();
    if (this.ended) this.#socket.destroySoon();
    else this.#socket.resume();
  }

  destroy(): void {
    this.#socket.destroy();
  }

  tick(now: number): void {
    if (now >= this.#lingerUntil) this.#socket.destroy();
  }

  #onData(chunk: Buffer): void {
    if (this.#closing) {
      this.#lingerBytes += chunk.length;
      if (this.#lingerBytes > LINGER_BYTES) this.#socket.destroy();
      return;
    }
    this.bytesIn += chunk.length;
    this.#input.push(chunk);
    this.#listener.clientActive();
  }

  room(): Buffer {
    return this.#room.buffer;
  }

  read(count: number): void {
    if (this.#input.length === 0 && this.#listener.streaming === 'through') this.#room.empty();
    this.#onData(this.#room.taken(count));
    const { streaming } = this.#listener;
    const needed = this.#input.length > 0 || streaming !== 'through';
    this.#room.used(count, needed, streaming !== 'no');
  }

  #onEnd(): void {
    this.ended = true;
    if (this.#closing) this.#socket.destroySoon();
    else this.#listener.clientActive();
  }

  #onBroken(why = 'the client closed the connection'): void {
    this.#closing = true;
    this.#input.length = 0;
    this.#socket.destroy();
    this.#listener.clientBroken(why);
  }

  /**
   * The handle of a closed socket outlives many collections, being known to more than JavaScript; what hangs on it lives as
   * long, so the session does not. It is thirty times what a socket is.
   */
  #onClose(): void {
    this.#room.close();
    if (!this.#closing) this.#onBroken();
    this.#listener.clientClosed();
    this.#listener = NOBODY;
  }
}
