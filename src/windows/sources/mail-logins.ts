/** What follows from the logins of one POP3 or IMAP session: the throttle, the log, and the window. */
import type { AuthResult, Peer } from '../../base/events.js';
import type { Ip } from '../../base/ip.js';
import { windowKey } from '../window.js';
import type { LoginAttempt, LoginResult } from './login-watch.js';
import type { MailPorts, MailProtocol } from './mail-options.js';

/** How long the store may keep the answer to a login waiting, and how long a failure may be held back at most, ms. */
const STORE_PATIENCE = 2_000;
const MOST_DELAY = 60_000;

const within = <T>(promise: Promise<T>, ms: number): Promise<T | undefined> => {
  let timer: NodeJS.Timeout | undefined;
  const late = new Promise<undefined>((resolve) => {
    timer = setTimeout(() => resolve(undefined), ms);
  });
  return Promise.race([promise, late]).finally(() => clearTimeout(timer));
};

export class MailLogins {
  readonly #peer: Peer;
  readonly #ip: Ip;
  readonly #protocol: MailProtocol;
  readonly #ports: MailPorts;
  #window: { readonly login: string; renewedAt: number } | undefined;

  constructor(peer: Peer, ip: Ip, protocol: MailProtocol, ports: MailPorts) {
    this.#peer = peer;
    this.#ip = ip;
    this.#protocol = protocol;
    this.#ports = ports;
  }

  /** May this be tried? */
  async admits(attempt: LoginAttempt): Promise<boolean> {
    const why = await this.#ports.throttle.refusal(windowKey(this.#ip), attempt.login);
    if (why !== undefined) this.#note(attempt, 'locked', why);
    return why === undefined;
  }

  /** Resolves when the client may hear of it: its window is open, or its failure has been held back long enough. */
  async judged(attempt: LoginAttempt, result: LoginResult, now: number): Promise<void> {
    if (result === 'ok') return this.#succeeded(attempt, now);
    this.#note(
      attempt,
      result,
      result === 'cancelled' ? 'cancelled by the client' : 'the mail server refused it',
    );
    if (result !== 'wrong') return;
    const delay = await this.#ports.throttle.failed(windowKey(this.#ip), attempt.login, attempt.guess);
    if (delay > 0) await new Promise((resolve) => setTimeout(resolve, Math.min(delay, MOST_DELAY)).unref());
  }

  /** An IMAP session that lives keeps its window open; after its end the window runs out by itself. */
  renew(now: number): void {
    const window = this.#window;
    if (window === undefined || now - window.renewedAt < this.#ports.windowLength / 3) return;
    window.renewedAt = now;
    void this.#open(window.login).then((opened) => {
      if (opened === 'refused') this.#window = undefined;
    });
  }

  async #succeeded(attempt: LoginAttempt, now: number): Promise<void> {
    const { login } = attempt;
    if (login !== undefined) this.#peer.login = login;
    this.#note(attempt, 'ok', '');
    if (login === undefined) return;
    await this.#ports.throttle.succeeded(windowKey(this.#ip), login);
    // Before the client hears of it: it may send mail at once.
    const opened = await within(this.#open(login), STORE_PATIENCE);
    if (opened !== 'refused') this.#window = { login, renewedAt: now };
  }

  #open(login: string): ReturnType<MailPorts['open']> {
    return this.#ports.open(login, this.#ip, this.#protocol);
  }

  #note({ login, mechanism }: LoginAttempt, result: AuthResult, why: string): void {
    const [peer, protocol] = [this.#peer, this.#protocol];
    this.#ports.note({ type: 'auth', peer, protocol, mechanism, result, login, why });
  }
}
