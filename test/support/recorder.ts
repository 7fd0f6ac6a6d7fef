/** The session machine without sockets: effects are written down, and answers come from the test. */
import type { DisconnectReason, MessageResult } from '../../src/base/events.js';
import { type Capabilities, NO_CAPABILITIES } from '../../src/smtp/capabilities.js';
import { type CommandFault, DEFAULT_LENIENCY, parseCommand, printCommand } from '../../src/smtp/command.js';
import type { Path } from '../../src/smtp/path.js';
import { printReply, type Reply } from '../../src/smtp/reply.js';
import type { UpstreamReply } from '../../src/smtp/reply-parser.js';
import type {
  AuthStep,
  Effects,
  Judgement,
  Question,
  SenderQuestion,
  SessionEvent,
  UpstreamCommand,
} from '../../src/smtp/session/events.js';
import { step } from '../../src/smtp/session/machine.js';
import { newSession, type SessionSettings, type SessionState } from '../../src/smtp/session/state.js';

export const ESMTP: Capabilities = {
  ...NO_CAPABILITIES,
  esmtp: true,
  eightBitMime: true,
  dsn: true,
  size: 0,
};

export const SETTINGS: SessionSettings = {
  hostname: 'mail.local.example',
  capabilities: ESMTP,
  keywords: ['PIPELINING', 'SIZE', '8BITMIME', 'ENHANCEDSTATUSCODES'],
  secureKeywords: ['PIPELINING', 'SIZE', '8BITMIME', 'ENHANCEDSTATUSCODES'],
  starttls: false,
  logins: false,
  requireLogin: false,
  messageBytes: 0,
  recipients: 100,
  errors: 10,
  commands: 1_000,
  idleCommands: 20,
};

/** One line for each effect: `S: ` to the client, `U: ` to the upstream, `! ` anything else. */
export class Recorder implements Effects {
  readonly log: string[] = [];
  readonly state: SessionState;
  question: Question | undefined;
  senderTicket = -1;

  constructor(settings: Partial<SessionSettings> = {}) {
    this.state = newSession({ ...SETTINGS, ...settings });
  }

  happen(event: SessionEvent): this {
    step(this.state, event, this);
    return this;
  }

  open(auth: readonly string[] = []): this {
    return this.happen({ type: 'open', ahead: false, auth });
  }

  /** The client says one line (Latin-1, without CRLF). */
  say(line: string, ahead = false): this {
    const buffer = Buffer.from(line, 'latin1');
    const parsed = parseCommand(buffer, 0, buffer.length, {
      utf8: this.state.transaction?.utf8 ?? false,
      smtpUtf8Available: this.state.settings.capabilities.smtpUtf8,
      leniency: DEFAULT_LENIENCY,
    });
    return parsed.ok
      ? this.happen({ type: 'command', command: parsed.value, ahead })
      : this.happen({ type: 'bad-command', fault: parsed.error as CommandFault });
  }

  /** A line within an AUTH exchange. */
  authLine(text: string, ahead = false): this {
    return this.happen({ type: 'auth-line', text, ahead });
  }

  auth(step: AuthStep): this {
    return this.happen({ type: 'auth-step', step });
  }

  senderVerdict(refusal?: Reply): this {
    return this.happen({ type: 'sender-verdict', ticket: this.senderTicket, refusal });
  }

  verdict(judgement: Judgement = { permit: true }): this {
    return this.happen({ type: 'verdict', ticket: this.question?.ticket ?? -1, judgement });
  }

  ready(capabilities = ESMTP, reused = false): this {
    return this.happen({ type: 'upstream-ready', capabilities, reused });
  }

  /** The upstream answers, e.g. `250 2.1.0 ok`. */
  upstream(text: string, ahead = false): this {
    const [, code = '', enhanced, rest = ''] = /^(\d{3})(?: (\d\.\d+\.\d+))?(?: ?(.*))?$/.exec(text) ?? [];
    const reply: UpstreamReply = { code: Number(code), enhanced, lines: [rest] };
    return this.happen({ type: 'upstream-reply', reply, ahead });
  }

  lost(deadline = false): this {
    return this.happen({ type: 'upstream-lost', deadline });
  }

  /** What happened since the last call. */
  take(): string[] {
    return this.log.splice(0);
  }

  reply(reply: Reply): void {
    this.log.push(
      ...printReply(reply)
        .trimEnd()
        .split('\r\n')
        .map((line) => `S: ${line}`),
    );
  }
  ask(question: Question): void {
    this.question = question;
    this.log.push('! ask');
  }
  askSender(question: SenderQuestion): void {
    this.senderTicket = question.ticket;
    this.log.push('! ask sender');
  }
  authenticate(mechanism: string, initial: Buffer | undefined): void {
    this.log.push(
      `! authenticate ${mechanism}${initial === undefined ? '' : ` [${initial.toString('latin1')}]`}`,
    );
  }
  authRespond(response: Buffer): void {
    this.log.push(`! respond [${response.toString('latin1')}]`);
  }
  authAbandon(why: string): void {
    this.log.push(`! abandon ${why}`);
  }
  acquire(): void {
    this.log.push('! acquire');
  }
  forward(command: UpstreamCommand): void {
    this.log.push(`U: ${printCommand(command).trimEnd()}`);
  }
  data(mode: 'forward' | 'discard'): void {
    this.log.push(`! data ${mode}`);
  }
  endData(): void {
    this.log.push('U: .');
  }
  startTls(): void {
    this.log.push('! starttls');
  }
  release(how: 'reuse' | 'close'): void {
    this.log.push(`! release ${how}`);
  }
  close(reason: DisconnectReason): void {
    this.log.push(`! close ${reason}`);
  }
  recipient(_to: Path, reply: Reply): void {
    this.log.push(`! recipient ${reply.code}`);
  }
  message(result: MessageResult, reply: Reply): void {
    this.log.push(`! message ${result} ${reply.code}`);
  }
}
