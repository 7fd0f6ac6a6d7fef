/** The client's octets as events for the session machine, while it takes commands or lines of an AUTH exchange. */

import { monotonic } from '../base/clock.js';
import type { Peer } from '../base/events.js';
import { parseCommand } from '../smtp/command.js';
import { LineScanner } from '../smtp/line-scanner.js';
import type { SessionEvent } from '../smtp/session/events.js';
import type { SessionState } from '../smtp/session/state.js';
import type { Service } from './service.js';
import type { SessionNotes } from './session-notes.js';

/** RFC 4954 4: octets of a line within an AUTH exchange, and of AUTH with its initial response, with CRLF. */
const AUTH_LINE = 12_288;

export class CommandLines {
  /** When the first octet of the next line came, or the last line was complete. */
  since = 0;

  readonly #service: Service;
  readonly #state: SessionState;
  readonly #notes: SessionNotes;
  readonly #peer: Peer;
  #lines: LineScanner;
  #verb: string | undefined;
  /** The next line began with the octets that came last, at `since`: no clock need be asked for its end. */
  #fresh = false;

  constructor(service: Service, state: SessionState, notes: SessionNotes, peer: Peer) {
    this.#service = service;
    this.#state = state;
    this.#notes = notes;
    this.#peer = peer;
    this.#lines = this.#scanner();
  }

  /** Starts anew, with what has arrived thrown away (RFC 3207 4.2). */
  begin(): void {
    this.#lines = this.#scanner();
  }

  /** Octets of lines that are not complete, or were not asked for yet. */
  get pending(): number {
    return this.#lines.pending;
  }

  push(chunk: Buffer): void {
    this.#fresh = this.#lines.pending === 0;
    if (this.#fresh) this.since = monotonic();
    this.#lines.push(chunk);
  }

  /** The verb of the command that the present reply answers; only the first reply to it gets it. */
  answered(): string | undefined {
    const verb = this.#verb;
    this.#verb = undefined;
    return verb;
  }

  /** What the next line says, or undefined until it is complete. `waiting`: more octets than were pushed are there. */
  next(waiting: boolean): SessionEvent | undefined {
    const scan = this.#lines.next();
    switch (scan.kind) {
      case 'line':
        return this.#line(scan.buffer, scan.start, scan.end, waiting);
      case 'need-more':
        return undefined;
      case 'too-long':
        return this.#tooLong();
      case 'far-too-long':
        return this.#state.phase === 'auth' ? this.#tooLong() : this.#framing('line-too-long');
      case 'fault':
        return this.#framing(scan.fault);
    }
  }

  #scanner(): LineScanner {
    return new LineScanner({ limit: this.#service.limits.commandLine });
  }

  #line(buffer: Buffer, start: number, end: number, waiting: boolean): SessionEvent {
    if (!this.#fresh) this.since = monotonic();
    this.#fresh = false;
    const ahead = this.#lines.pending > 0 || waiting;
    if (this.#state.phase === 'auth')
      return { type: 'auth-line', text: buffer.toString('latin1', start, end), ahead };
    const long = end - start + 2 > this.#service.limits.commandLineExtended;
    if (long && !/^AUTH /i.test(buffer.toString('latin1', start, start + 5))) return this.#tooLong();
    return this.#command(buffer, start, end, ahead);
  }

  #command(buffer: Buffer, start: number, end: number, ahead: boolean): SessionEvent {
    const { transaction, settings } = this.#state;
    const parsed = parseCommand(buffer, start, end, {
      utf8: transaction?.utf8 === true,
      smtpUtf8Available: settings.capabilities.smtpUtf8,
      leniency: this.#service.leniency,
    });
    if (parsed.ok) {
      const command = parsed.value;
      this.#verb = command.verb;
      if (command.verb === 'EHLO') this.#extend();
      if ('host' in command) this.#peer.helo = command.host;
      return { type: 'command', command, ahead };
    }
    const fault = parsed.error;
    this.#verb = fault.verb;
    if (fault.close)
      this.#service.note({ type: 'framing-fault', peer: this.#peer, kind: 'foreign-protocol' });
    this.#notes.badAddress(fault.verb, fault.path, fault.reply);
    return { type: 'bad-command', fault };
  }

  /** After EHLO lines may be longer (RFC 5321 4.5.3.1.4); those of AUTH only where somebody may log in. */
  #extend(): void {
    const { commandLineExtended } = this.#service.limits;
    this.#lines.limit = this.#state.settings.logins
      ? Math.max(commandLineExtended, AUTH_LINE)
      : commandLineExtended;
  }

  #tooLong(): SessionEvent {
    this.#service.note({ type: 'framing-fault', peer: this.#peer, kind: 'line-too-long' });
    return { type: this.#state.phase === 'auth' ? 'auth-line-too-long' : 'long-line' };
  }

  #framing(kind: Extract<SessionEvent, { type: 'framing' }>['kind']): SessionEvent {
    this.#service.note({ type: 'framing-fault', peer: this.#peer, kind });
    return { type: 'framing', kind };
  }
}
