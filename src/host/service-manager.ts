/**
 * What a service manager is told (sd_notify(3)): datagrams to a UNIX socket, which Node cannot send by itself. One that
 * cannot take a datagram at once gets it a little later, in order.
 */
import type { Note } from '../base/events.js';
import { err, ok, type Result } from '../base/result.js';
import { AF_UNIX, type Libc, loadLibc, SOCK_DGRAM, SOCK_NONBLOCK } from './libc.js';

/** Octets of a path in sockaddr_un. */
const PATH_LENGTH = 108;
/** Datagrams that wait; the oldest goes first. */
const MOST_WAITING = 32;
/** Milliseconds until one that was not taken is tried again. */
const AGAIN = 50;
const MSG_NOSIGNAL = 0x4000;

/** `NOTIFY_SOCKET` as a sockaddr_un: a path, or `@` and a name that is in no file system. */
export const notifyAddress = (text: string): Result<Buffer, string> => {
  const path = Buffer.from(text);
  if (!/^[/@]./s.test(text)) return err(`NOTIFY_SOCKET=${text}: neither a path nor an abstract socket`);
  if (path.length >= PATH_LENGTH) return err('NOTIFY_SOCKET: longer than a socket’s name may be');
  const abstract = text.startsWith('@');
  if (abstract) path[0] = 0;
  const family = Buffer.from(Uint16Array.of(AF_UNIX).buffer);
  // A path ends with NUL; of an abstract name every octet counts.
  return ok(Buffer.concat([family, path, Buffer.alloc(abstract ? 0 : 1)]));
};

/** Fields of a message: one a line, so a value has no line ends. */
export const notification = (fields: Readonly<Record<string, string | number>>): Buffer =>
  Buffer.from(
    Object.entries(fields)
      .map(([name, value]) => `${name}=${String(value).replace(/[\r\n]+/g, ' ')}`)
      .join('\n'),
  );

/** `WATCHDOG_USEC` in milliseconds, if it is meant for process `pid`; undefined: nobody watches. */
export const watchdogTime = (env: NodeJS.ProcessEnv, pid: number): number | undefined => {
  const { WATCHDOG_USEC: time, WATCHDOG_PID: whose } = env;
  if (time === undefined || !/^\d{1,15}$/.test(time) || Number(time) < 2_000) return undefined;
  if (whose !== undefined && whose !== String(pid)) return undefined;
  return Number(time) / 1_000;
};

/** Sends datagrams, in order. */
class Sender {
  readonly #libc: Libc;
  readonly #fd: number;
  readonly #to: Buffer;
  readonly #note: Note;
  readonly #waiting: Buffer[] = [];
  #timer: NodeJS.Timeout | undefined;
  #failed = false;

  constructor(libc: Libc, fd: number, to: Buffer, note: Note) {
    this.#libc = libc;
    this.#fd = fd;
    this.#to = to;
    this.#note = note;
  }

  send(message: Buffer): void {
    if (this.#waiting.length >= MOST_WAITING) this.#waiting.shift();
    this.#waiting.push(message);
    this.#flush();
  }

  #flush(): void {
    for (let [first] = this.#waiting; first !== undefined; [first] = this.#waiting) {
      const sent = this.#libc.call(
        'intptr_t sendto(int, void *, size_t, int, void *, uint)',
        this.#fd,
        first,
        first.length,
        MSG_NOSIGNAL,
        this.#to,
        this.#to.length,
      );
      if (!sent.ok && /^(?:EAGAIN|ENOBUFS|EINTR)$/.test(sent.error.code)) {
        this.#timer ??= setTimeout(() => {
          this.#timer = undefined;
          this.#flush();
        }, AGAIN).unref();
        return;
      }
      this.#waiting.shift();
      if (!sent.ok && !this.#failed)
        this.#note({ type: 'warning', text: `the service manager cannot be told: ${sent.error.code}` });
      this.#failed = !sent.ok;
    }
  }
}

/** What the service manager wants to know while Sekisho runs. */
export interface Vital {
  /** All that is to listen does, or has been told to stop. */
  readonly alive: () => boolean;
  /** A line for `systemctl status`. */
  readonly status: () => string;
}

/** Milliseconds between looks at the status where there is no watchdog. */
const STATUS_INTERVAL = 10_000;

export class ServiceManager {
  readonly #send: (fields: Readonly<Record<string, string | number>>) => void;
  readonly #watchdog: number | undefined;
  readonly #note: Note;
  #vital: Vital | undefined;
  #status = '';
  #timer: NodeJS.Timeout | undefined;
  #dead = false;

  /** `watchdog`: ms after which a service that has not said that it is well is dead. */
  constructor(
    send: (fields: Readonly<Record<string, string | number>>) => void,
    watchdog: number | undefined,
    note: Note,
  ) {
    this.#send = send;
    this.#watchdog = watchdog;
    this.#note = note;
  }

  /** Everything listens and the policy is in force. Says from now on, in half the watchdog's time, that all is well. */
  ready(vital: Vital): void {
    this.#vital = vital;
    this.#status = vital.status();
    this.#send({ READY: 1, STATUS: this.#status, ...this.#wellness() });
    this.#timer ??= setInterval(() => this.#tick(), (this.#watchdog ?? 2 * STATUS_INTERVAL) / 2).unref();
  }

  /** The policy is being read anew; `ready` ends it. */
  reloading(): void {
    this.#send({ RELOADING: 1, MONOTONIC_USEC: Number(process.hrtime.bigint() / 1_000n) });
  }

  /** `ms`: how long it may take at most. */
  stopping(ms: number): void {
    this.#send({ STOPPING: 1, STATUS: 'draining', EXTEND_TIMEOUT_USEC: Math.round((ms + 10_000) * 1_000) });
  }

  /** The event loop turns, or this would not be called. */
  #tick(): void {
    const status = this.#vital?.status() ?? '';
    const fields = { ...this.#wellness(), ...(status === this.#status ? {} : { STATUS: status }) };
    this.#status = status;
    if (Object.keys(fields).length > 0) this.#send(fields);
  }

  #wellness(): { readonly WATCHDOG?: 1 } {
    if (this.#watchdog === undefined) return {};
    if (this.#vital?.alive() === true) return { WATCHDOG: 1 };
    if (!this.#dead)
      this.#note({
        type: 'internal-error',
        text: 'a listener is gone: the watchdog is not told that all is well',
      });
    this.#dead = true;
    return {};
  }
}

/**
 * The service manager that started this process; undefined: none did, or it cannot be told, which is noted. What it put
 * into `env` is taken out: no child is to speak for us.
 */
export const serviceManager = async (
  env: NodeJS.ProcessEnv,
  note: Note,
): Promise<ServiceManager | undefined> => {
  const { NOTIFY_SOCKET: place } = env;
  const watchdog = watchdogTime(env, process.pid);
  for (const name of ['NOTIFY_SOCKET', 'WATCHDOG_USEC', 'WATCHDOG_PID']) delete env[name];
  if (place === undefined || place === '') return undefined;
  const made = await connect(place, note);
  if (made.ok) return new ServiceManager((fields) => made.value.send(notification(fields)), watchdog, note);
  const remedy = 'Install it, or write Type=exec and no WatchdogSec= into the unit: it would wait in vain.';
  note({
    type: 'warning',
    text: `the service manager cannot be told when Sekisho is ready: ${made.error}. ${remedy}`,
  });
  return undefined;
};

const connect = async (place: string, note: Note): Promise<Result<Sender, string>> => {
  const address = notifyAddress(place);
  if (!address.ok) return address;
  const libc = await loadLibc();
  if (!libc.ok) return libc;
  const fd = libc.value.socket(AF_UNIX, SOCK_DGRAM | SOCK_NONBLOCK);
  return fd.ok ? ok(new Sender(libc.value, fd.value, address.value, note)) : err(`socket: ${fd.error.code}`);
};
