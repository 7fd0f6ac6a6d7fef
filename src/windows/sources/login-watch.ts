/**
 * What watching a POP3 and an IMAP login have in common. A watch is pure: octets of both sides go in, octets to pass on
 * and what they mean come out.
 *
 * Until the login it is strictly lock-step: one command of the client is read, judged, printed anew and sent on, and the
 * next one waits until the server's reply is complete. So a reply always belongs to the only command it can belong to,
 * and pipelining fools nobody. A client that breaks the protocol before its login is told so and closed. A server that
 * breaks it is only no longer watched: its octets and the client's go on, and no window ever opens.
 */
import { type Line, LineBuffer } from './line-buffer.js';
import type { SaslName } from './sasl-name.js';

export interface WatchSettings {
  /** Offer STLS or STARTTLS, and answer it here. */
  readonly starttls: boolean;
  /** TLS is in force from the start. */
  readonly secure: boolean;
  /** No login in clear text. */
  readonly requireTls: boolean;
}

export type LoginResult = 'ok' | 'wrong' | 'unavailable' | 'malformed' | 'cancelled';

/** `login`: undefined when nobody can tell whose it is. `mechanism`: a word of a closed set. */
export interface LoginAttempt {
  readonly login: string | undefined;
  readonly mechanism: string;
  /** The password that was tried, where it can be seen: so that the same guess is known again. Never to be told on. */
  readonly guess?: string | undefined;
}

export interface WatchEffects {
  toServer(octets: Buffer): void;
  toClient(octets: Buffer): void;
  /** A secret is about to go to the server. The watch rests until `proceed` or `turnAway`. */
  attempt(attempt: LoginAttempt): void;
  /** The server has judged it; its reply is held back until `proceed`. After `ok` and that, octets pass unread. */
  outcome(attempt: LoginAttempt, result: LoginResult): void;
  /** The client may begin TLS; `secured` goes on. */
  startTls(): void;
  /** From now on nothing is read any more. `why`: the server was not understood. */
  passThrough(why: string | undefined): void;
  /** The client broke the protocol and has been told so: close. */
  end(why: string): void;
}

/** Before the login. */
export const WATCH_LIMITS = {
  /** Octets of a client's line; a SASL response may be longer (RFC 5034 4 asks for 12,288). */
  line: 8_192,
  response: 16_384,
  /** Octets of all literals of one command. */
  literals: 65_536,
  /** Octets of a server's line. */
  serverLine: 16_384,
  /** Octets of a server in all. */
  serverTotal: 1_048_576,
  /** Commands of a client. */
  commands: 100,
  /** Octets of a client that may wait here; the one who reads the socket asks `wantsClient`. */
  waiting: 81_920,
} as const;

export const octets = (text: string): Buffer => Buffer.from(text, 'latin1');

export abstract class LoginWatch {
  protected readonly client = new LineBuffer();
  protected readonly server = new LineBuffer();
  protected readonly effects: WatchEffects;
  protected readonly settings: WatchSettings;
  protected secure: boolean;
  #commands = 0;
  #serverOctets = 0;
  #mode: 'watching' | 'tls' | 'through' | 'over' = 'watching';
  #running = false;
  /** What `proceed` and `turnAway` do. */
  #resting: { readonly proceed: () => void; readonly turnAway: () => void } | undefined;

  constructor(settings: WatchSettings, effects: WatchEffects) {
    this.settings = settings;
    this.effects = effects;
    this.secure = settings.secure;
  }

  /** More octets of the client may be read. */
  get wantsClient(): boolean {
    return this.#mode === 'through' || this.client.length < WATCH_LIMITS.waiting;
  }

  get wantsServer(): boolean {
    return this.#mode === 'through' || this.server.length < WATCH_LIMITS.waiting;
  }

  /** Something of the client is still to be sent on, or to be answered here. */
  get pending(): boolean {
    return this.client.length > 0 || this.#resting !== undefined;
  }

  /** Commands that were read. */
  get commands(): number {
    return this.#commands;
  }

  fromClient(chunk: Buffer): void {
    if (this.#mode === 'through') return this.effects.toServer(chunk);
    if (this.#mode === 'over') return;
    // RFC 2595 2.4 and CVE-2011-0411: what comes in clear text behind STARTTLS was injected.
    if (this.#mode === 'tls') return this.clientFault('octets in clear text where TLS must begin');
    this.client.push(chunk);
    this.#run();
  }

  fromServer(chunk: Buffer): void {
    if (this.#mode === 'through') return this.effects.toClient(chunk);
    if (this.#mode === 'over') return;
    this.server.push(chunk);
    this.#serverOctets += chunk.length;
    if (this.#serverOctets > WATCH_LIMITS.serverTotal) return this.giveUp('endless octets before the login');
    this.#run();
  }

  /** Goes on after `attempt` and `outcome`. */
  proceed(): void {
    const resting = this.#resting;
    this.#resting = undefined;
    if (this.#mode === 'watching') resting?.proceed();
    this.#run();
  }

  /** After `attempt`: nothing of it goes to the server. */
  turnAway(): void {
    const resting = this.#resting;
    this.#resting = undefined;
    if (this.#mode === 'watching') resting?.turnAway();
    this.#run();
  }

  /** TLS is in force. Nothing said before it counts (RFC 2595 2.4). */
  secured(): void {
    this.secure = true;
    this.#mode = 'watching';
    this.forget();
    this.#run();
  }

  // ---- for the protocols ---------------------------------------------------------------------------------

  /** Drops what the client has said so far. */
  protected abstract forget(): void;
  /** A reply is due, or the greeting: the client has to wait. */
  protected abstract readonly waiting: boolean;
  protected abstract onServerLine(line: Line): void;
  /** A line without CR and NUL. */
  protected abstract onClientLine(text: string): void;
  /** How many octets the next line of the client may have. */
  protected abstract readonly lineLimit: number;
  /** Tells the client why it is closed. */
  protected abstract farewell(why: string): string;

  /** Octets that are no line; true if something was taken. */
  protected serverOctets(): boolean {
    return false;
  }

  protected clientOctets(): boolean | undefined {
    return undefined;
  }

  protected get mayStartTls(): boolean {
    return this.settings.starttls && !this.secure;
  }

  protected get needsTls(): boolean {
    return this.settings.requireTls && !this.secure;
  }

  protected rest(proceed: () => void, turnAway: () => void = proceed): void {
    this.#resting = { proceed, turnAway };
  }

  protected say(text: string): void {
    this.effects.toClient(octets(`${text}\r\n`));
  }

  protected send(text: string): void {
    this.effects.toServer(octets(`${text}\r\n`));
  }

  protected startTls(answer: string): void {
    if (this.client.length > 0) return this.clientFault('octets in clear text where TLS must begin');
    this.#mode = 'tls';
    this.say(answer);
    this.effects.startTls();
  }

  /** The login succeeded: what waits goes on as it came, and everything behind it. */
  protected through(): void {
    this.#pass(undefined);
  }

  /** Where nobody may log in without TLS, nobody may do so because the server is odd. */
  protected giveUp(why: string): void {
    if (this.needsTls) this.clientFault(`the mail server is not understood: ${why}`);
    else this.#pass(why);
  }

  protected clientFault(why: string): void {
    this.#mode = 'over';
    this.effects.toClient(octets(`${this.farewell(why)}\r\n`));
    this.effects.end(why);
  }

  #pass(why: string | undefined): void {
    if (this.#mode === 'over' || this.#mode === 'through') return;
    this.#mode = 'through';
    this.#resting = undefined;
    const [toClient, toServer] = [this.server, this.client].map((each) => each.take(each.length));
    this.effects.passThrough(why);
    if (toClient !== undefined && toClient.length > 0) this.effects.toClient(toClient);
    if (toServer !== undefined && toServer.length > 0) this.effects.toServer(toServer);
  }

  #run(): void {
    if (this.#running) return;
    this.#running = true;
    while (
      this.#mode === 'watching' &&
      this.#resting === undefined &&
      (this.#serverStep() || this.#clientStep())
    ) {
      // Each step does its own work.
    }
    this.#running = false;
  }

  #serverStep(): boolean {
    if (this.server.length === 0) return false;
    if (this.serverOctets()) return true;
    const line = this.server.next(WATCH_LIMITS.serverLine);
    if (line === undefined) return false;
    if (line === 'too-long') this.giveUp('an endless line before the login');
    else if (/[\r\0]/.test(line.text)) this.#confused(line);
    else this.onServerLine(line);
    return true;
  }

  /** Passes a line on that makes no sense, and reads no more. */
  #confused(line: Line): void {
    this.outOfStep(line, 'a line with CR or NUL in it');
  }

  protected outOfStep(line: Line, why = 'a line that answers nothing'): void {
    this.effects.toClient(line.raw);
    this.giveUp(why);
  }

  #clientStep(): boolean {
    if (this.waiting || this.client.length === 0) return false;
    const taken = this.clientOctets();
    if (taken !== undefined) return taken;
    const line = this.client.next(this.lineLimit);
    if (line === undefined) return false;
    if (line === 'too-long') this.clientFault('line too long');
    else if (/[\r\0]/.test(line.text)) this.clientFault('CR or NUL in a line');
    else this.onClientLine(line.text);
    return true;
  }

  /** Counts a command; false: there were too many. */
  protected counted(): boolean {
    this.#commands += 1;
    if (this.#commands <= WATCH_LIMITS.commands) return true;
    this.clientFault('too many commands before the login');
    return false;
  }

  /** What a server's no means for an exchange. A mechanism that was never tried was no guess. */
  protected refusal(sasl: SaslName, cancelled: boolean, unavailable: boolean): LoginResult {
    if (cancelled) return 'cancelled';
    if (sasl.responses === 0) return 'malformed';
    return unavailable ? 'unavailable' : 'wrong';
  }
}
