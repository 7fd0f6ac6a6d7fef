/**
 * The system calls that Node has no word for, through koffi, an optional package. Everything here is Linux; whoever
 * can do without asks first (`loadLibc`) and says what is missing otherwise. Errors are values.
 */
import os from 'node:os';
import type { LibraryHandle } from 'koffi';
import type { Ip } from '../base/ip.js';
import { err, ok, type Result } from '../base/result.js';

/** A call that failed: `EPERM` and the like, and what was called. */
export interface Errno {
  readonly code: string;
  readonly call: string;
}

export const errnoText = ({ code, call }: Errno): string => `${call}: ${code}`;

/** Numbers of Linux, the same on every architecture that koffi has a binary for. */
export const AF_UNIX = 1;
export const AF_INET = 2;
export const AF_INET6 = 10;
export const AF_NETLINK = 16;
export const SOCK_STREAM = 1;
export const SOCK_DGRAM = 2;
export const SOCK_RAW = 3;
export const SOCK_NONBLOCK = 0o4000;
export const SOCK_CLOEXEC = 0o2000000;

const ERRNOS = new Map(Object.entries(os.constants.errno).map(([name, number]) => [number, name]));

/** An address as the kernel wants it: `sockaddr_in` or `sockaddr_in6`. */
export const socketAddress = ({ family, words }: Pick<Ip, 'family' | 'words'>, port: number): Buffer => {
  const address = Buffer.alloc(family === 4 ? 16 : 28);
  // The family alone is in the host's own order.
  address[os.endianness() === 'LE' ? 0 : 1] = family === 4 ? AF_INET : AF_INET6;
  address.writeUInt16BE(port, 2);
  const start = family === 4 ? 4 : 8;
  words.forEach((word, i) => void address.writeUInt32BE(word, start + 4 * i));
  return address;
};

/** What `socketAddress` made, or the kernel; undefined where it is neither IPv4 nor IPv6. */
export const readSocketAddress = (
  address: Buffer,
): { readonly family: 4 | 6; readonly words: readonly number[]; readonly port: number } | undefined => {
  const number = address[os.endianness() === 'LE' ? 0 : 1];
  if (number === AF_INET && address.length >= 8)
    return { family: 4, words: [address.readUInt32BE(4)], port: address.readUInt16BE(2) };
  if (number !== AF_INET6 || address.length < 24) return undefined;
  const words = [8, 12, 16, 20].map((at) => address.readUInt32BE(at));
  return { family: 6, words, port: address.readUInt16BE(2) };
};

export class Libc {
  readonly #library: LibraryHandle;
  readonly #errno: () => number;
  readonly #functions = new Map<string, ReturnType<LibraryHandle['func']>>();

  constructor(library: LibraryHandle, errno: () => number) {
    this.#library = library;
    this.#errno = errno;
  }

  /** Calls a function that answers -1 when it fails. Buffers are given as they are, for reading and for writing. */
  call(prototype: string, ...given: readonly (number | Buffer | null)[]): Result<number, Errno> {
    let found = this.#functions.get(prototype);
    if (found === undefined) {
      found = this.#library.func(prototype);
      this.#functions.set(prototype, found);
    }
    const answer: unknown = found(...given);
    const errno = this.#errno();
    if (typeof answer === 'number' && answer >= 0) return ok(answer);
    return err({
      code: ERRNOS.get(errno) ?? `errno ${errno}`,
      call: /(\w+)\(/.exec(prototype)?.[1] ?? prototype,
    });
  }

  /** A descriptor, closed when another program is started. */
  socket(family: number, type: number, protocol = 0): Result<number, Errno> {
    return this.call('int socket(int, int, int)', family, type | SOCK_CLOEXEC, protocol);
  }

  /** An option that is an `int`. */
  setOption(fd: number, level: number, name: number, value: number): Result<number, Errno> {
    const octets = Buffer.from(Int32Array.of(value).buffer);
    return this.call('int setsockopt(int, int, int, void *, uint)', fd, level, name, octets, octets.length);
  }

  /** The octets of an option, at most `most`. */
  option(fd: number, level: number, name: number, most: number): Result<Buffer, Errno> {
    return this.#filled('int getsockopt(int, int, int, void *, void *)', most, fd, level, name);
  }

  bind(fd: number, address: Buffer): Result<number, Errno> {
    return this.call('int bind(int, void *, uint)', fd, address, address.length);
  }

  listen(fd: number, backlog: number): Result<number, Errno> {
    return this.call('int listen(int, int)', fd, backlog);
  }

  /** Where a socket is bound, as `readSocketAddress` reads it. */
  name(fd: number): Result<Buffer, Errno> {
    return this.#filled('int getsockname(int, void *, void *)', 128, fd);
  }

  send(fd: number, octets: Buffer): Result<number, Errno> {
    return this.call('long send(int, void *, size_t, int)', fd, octets, octets.length, 0);
  }

  /** What comes next, at most `most` octets. Waits, unless the descriptor does not block or has a time limit. */
  receive(fd: number, most: number): Result<Buffer, Errno> {
    const octets = Buffer.alloc(most);
    const length = this.call('long recv(int, void *, size_t, int)', fd, octets, most, 0);
    return length.ok ? ok(octets.subarray(0, length.value)) : length;
  }

  /** Never fails in a way that anybody could mend. */
  close(fd: number): void {
    this.call('int close(int)', fd);
  }

  /** For calls whose last two arguments are a buffer and its length, both written by the kernel. */
  #filled(prototype: string, most: number, ...given: readonly number[]): Result<Buffer, Errno> {
    const octets = Buffer.alloc(most);
    const length = new Int32Array([most]);
    const done = this.call(prototype, ...given, octets, Buffer.from(length.buffer));
    return done.ok ? ok(octets.subarray(0, length[0])) : done;
  }
}

let loaded: Promise<Result<Libc, string>> | undefined;
let present: Result<Libc, string> = err('system calls were not made ready');

const load = async (): Promise<Result<Libc, string>> => {
  if (process.platform !== 'linux') return err(`this is ${process.platform}: it needs Linux`);
  try {
    const { default: koffi } = await import('koffi');
    return ok(new Libc(koffi.load(null), () => koffi.errno()));
  } catch {
    return err(
      'the optional package koffi is not installed, or has no binary for this host: npm install koffi',
    );
  }
};

/** Loaded once, and only where something asks for it. The error says what is missing. */
export const loadLibc = (): Promise<Result<Libc, string>> => {
  loaded ??= load().then((result) => {
    present = result;
    return result;
  });
  return loaded;
};

/** What `loadLibc` found, for those who cannot wait. */
export const libcIfLoaded = (): Result<Libc, string> => present;
