/** Watches an IMAP login (RFC 3501, RFC 9051): see login-watch.ts for how. */
import {
  type ImapCommand,
  literalAt,
  printCommand,
  readCommand,
  readStrings,
  rewriteCapabilities,
  type Segments,
  safeId,
  tagOf,
  withoutLiteral,
} from './imap-command.js';
import type { Line } from './line-buffer.js';
import { type LoginAttempt, LoginWatch, WATCH_LIMITS } from './login-watch.js';
import { loginName, SaslName } from './sasl-name.js';

/** What the server owes. */
type Expected =
  | { readonly kind: 'greeting' | 'nothing' }
  | { readonly kind: 'reply'; readonly tag: string }
  /** `pieces`: what follows, one for each leave of the server. */
  | {
      readonly kind: 'login';
      readonly tag: string;
      readonly attempt: LoginAttempt;
      readonly pieces: Buffer[];
    }
  /** `cancelled`: `*` was said, by the client, or for it because it may not try now. */
  | {
      readonly kind: 'sasl';
      readonly tag: string;
      readonly sasl: SaslName;
      readonly whose: 'server' | 'client';
      readonly cancelled?: 'client' | 'throttle';
    };

const NOTHING: Expected = { kind: 'nothing' };
const LATER = 'NO [UNAVAILABLE] Too many failed logins, try again later';

/** RFC 5530 3: the password was not what it failed for. */
const UNAVAILABLE = /^NO \[(?:UNAVAILABLE|INUSE|SERVERBUG|LIMIT|OVERQUOTA|CONTACTADMIN)\]/i;

const STATUS = /^(?:OK|NO|BAD|BYE|PREAUTH)(?: |$)/i;

export class ImapWatch extends LoginWatch {
  #expected: Expected = { kind: 'greeting' };
  /** The command that is being read. */
  #segments: (string | Buffer)[] = [];
  #literal: number | undefined;
  #literalOctets = 0;
  /** Octets of a server's literal that are still to come. */
  #skip = 0;
  /** The next line goes on with data that had a literal in it, whatever it looks like. */
  #within = false;

  protected override forget(): void {
    this.#segments = [];
    this.#literal = undefined;
  }

  protected override get waiting(): boolean {
    const expected = this.#expected;
    return expected.kind === 'sasl' ? expected.whose === 'server' : expected.kind !== 'nothing';
  }

  protected override get lineLimit(): number {
    return this.#expected.kind === 'sasl' ? WATCH_LIMITS.response : WATCH_LIMITS.line;
  }

  protected override farewell(why: string): string {
    return `* BYE ${why}`;
  }

  // ---- the server ----------------------------------------------------------------------------------------

  protected override serverOctets(): boolean {
    if (this.#skip === 0) return false;
    const taken = this.server.take(this.#skip);
    this.#skip -= taken.length;
    this.effects.toClient(taken);
    return true;
  }

  protected override onServerLine(line: Line): void {
    const { text } = line;
    if (this.#within) return this.#onData(line);
    if (this.#expected.kind === 'greeting') return this.#onGreeting(line);
    if (text.startsWith('* ')) return this.#onUntagged(line);
    if (/^\+(?: |$)/.test(text)) return this.#onContinuation(line);
    const tag = 'tag' in this.#expected ? this.#expected.tag : undefined;
    const status = tag !== undefined && text.startsWith(`${tag} `) ? text.slice(tag.length + 1) : '';
    if (!/^(?:OK|NO|BAD)(?: |$)/i.test(status)) return this.outOfStep(line);
    this.#onStatus(line, status);
  }

  #onGreeting(line: Line): void {
    const word = /^\* (OK|PREAUTH|BYE)(?: |$)/i.exec(line.text)?.[1]?.toUpperCase();
    if (word === undefined) return this.outOfStep(line, 'a greeting that is no IMAP greeting');
    this.#expected = NOTHING;
    this.#pass(line);
    if (word === 'PREAUTH') this.giveUp('the server takes the client for logged in already');
    if (word === 'BYE') this.giveUp('the server refuses the connection');
  }

  /** Literals are nowhere but in data (RFC 9051 9: resp-text has none), and before the login nowhere but in ID. */
  #onUntagged(line: Line): void {
    const rest = line.text.slice(2);
    if (STATUS.test(rest) || literalAt(line.text) === undefined) return this.#pass(line);
    if (!/^ID /i.test(rest)) return this.outOfStep(line, 'a literal where none can be');
    this.#onData(line);
  }

  #onData(line: Line): void {
    const size = literalAt(line.text)?.size;
    if (size !== undefined && size > WATCH_LIMITS.literals)
      return this.outOfStep(line, 'a literal too large');
    this.#within = size !== undefined;
    this.#skip = size ?? 0;
    this.effects.toClient(line.raw);
  }

  #pass(line: Line): void {
    const { text, raw } = line;
    const change = { offer: this.mayStartTls, disableLogin: this.needsTls };
    const rewritten = rewriteCapabilities(text, change);
    if (rewritten === text) this.effects.toClient(raw);
    else this.say(rewritten);
  }

  #onContinuation(line: Line): void {
    const expected = this.#expected;
    if (expected.kind === 'login') {
      const piece = expected.pieces.shift();
      return piece === undefined ? this.outOfStep(line) : this.effects.toServer(piece);
    }
    if (expected.kind !== 'sasl' || expected.whose !== 'server') return this.outOfStep(line);
    if (expected.cancelled !== undefined)
      return this.clientFault('the server goes on with a cancelled login');
    this.#expected = { ...expected, whose: 'client' };
    this.effects.toClient(line.raw);
  }

  /** The reply to the command that is under way. */
  #onStatus(line: Line, status: string): void {
    const expected = this.#expected;
    const yes = /^OK/i.test(status);
    const unavailable = UNAVAILABLE.test(status);
    if (expected.kind === 'login') {
      // A yes before all of it was said is a yes to something else.
      if (yes && expected.pieces.length > 0) return this.outOfStep(line);
      return this.#onJudged(line, expected.attempt, yes ? 'ok' : unavailable ? 'unavailable' : 'wrong');
    }
    if (expected.kind === 'sasl') {
      const { tag, sasl, whose, cancelled } = expected;
      if (yes && cancelled !== undefined) return this.clientFault('the server takes a cancelled login');
      if (yes && whose === 'client') return this.outOfStep(line);
      if (cancelled === 'throttle') {
        this.#expected = NOTHING;
        return this.say(`${tag} ${LATER}`);
      }
      const no = this.refusal(sasl, cancelled !== undefined, unavailable);
      const login = yes ? sasl.proven : sasl.claimed;
      const attempt = { login, mechanism: sasl.label, guess: sasl.guess };
      return this.#onJudged(line, attempt, yes ? 'ok' : no);
    }
    this.#expected = NOTHING;
    this.#pass(line);
  }

  #onJudged(line: Line, attempt: LoginAttempt, result: Parameters<typeof this.effects.outcome>[1]): void {
    this.#expected = NOTHING;
    this.rest(() => {
      if (result !== 'ok') return this.#pass(line);
      this.say(rewriteCapabilities(line.text, { offer: false, disableLogin: false }));
      this.through();
    });
    this.effects.outcome(attempt, result);
  }

  // ---- the client ----------------------------------------------------------------------------------------

  protected override clientOctets(): boolean | undefined {
    const wanted = this.#literal;
    if (wanted === undefined) return undefined;
    if (this.client.length < wanted) return false;
    this.#segments.push(Buffer.from(this.client.take(wanted)));
    this.#literal = undefined;
    return true;
  }

  protected override onClientLine(text: string): void {
    if (this.#expected.kind === 'sasl') return this.#onResponse(text, this.#expected);
    const literal = literalAt(text);
    if (literal !== undefined) return this.#onLiteral(text, literal);
    const segments: Segments = [...this.#segments, text];
    this.#segments = [];
    if (!this.counted()) return;
    const command = readCommand(segments);
    if (command !== undefined) return this.#onCommand(command);
    const [first] = segments;
    this.say(`${(typeof first === 'string' ? tagOf(first) : undefined) ?? '*'} BAD Not an IMAP command`);
  }

  /** Sekisho itself gives leave: the server hears nothing before the command is complete. */
  #onLiteral(text: string, { size, waits }: { readonly size: number; readonly waits: boolean }): void {
    if (this.#segments.length === 0) this.#literalOctets = 0;
    // Each literal counts a little, so that a command of empty ones ends too.
    this.#literalOctets += size + text.length;
    if (this.#literalOctets > WATCH_LIMITS.literals) return this.clientFault('[TOOBIG] literal too large');
    this.#segments.push(withoutLiteral(text));
    this.#literal = size;
    if (waits) this.say('+ OK');
  }

  #onCommand({ tag, verb, rest }: ImapCommand): void {
    const bad = (why: string): void => this.say(`${tag} BAD ${why}`);
    switch (verb) {
      case 'CAPABILITY':
      case 'NOOP':
      case 'LOGOUT':
        if (rest !== undefined) return bad(`${verb} takes no argument`);
        return this.#forward(`${tag} ${verb}`, { kind: 'reply', tag });
      case 'ID':
        return this.#forward(`${tag} ID ${safeId(rest)}`, { kind: 'reply', tag });
      case 'STARTTLS':
        if (rest !== undefined) return bad('STARTTLS takes no argument');
        if (this.secure) return bad('TLS is in force already');
        if (!this.mayStartTls) return bad('STARTTLS is not offered here');
        return this.startTls(`${tag} OK Begin TLS now`);
      case 'LOGIN':
      case 'AUTHENTICATE':
        if (this.needsTls) return this.say(`${tag} NO [PRIVACYREQUIRED] TLS is needed to log in`);
        return verb === 'LOGIN' ? this.#onLogin(tag, rest) : this.#onAuthenticate(tag, rest);
      default:
        // Not passed on: nothing else is of use before the login, and some of it is harmful (XCLIENT).
        return bad('No such command before the login');
    }
  }

  #forward(line: string, expected: Expected): void {
    this.#expected = expected;
    this.send(line);
  }

  #onLogin(tag: string, rest: Segments | undefined): void {
    const strings = readStrings(rest ?? []);
    // A name with a line's end in it could answer itself where a server repeats it.
    if (strings?.length !== 2 || strings.some((each) => /[\r\n\0]/.test(each.toString('latin1'))))
      return this.say(`${tag} BAD LOGIN needs a name and a password`);
    const [name, password] = strings;
    const login = name === undefined ? undefined : loginName(name);
    const attempt = { login, mechanism: 'LOGIN', guess: password?.toString() };
    const [first, ...pieces] = printCommand(`${tag} LOGIN`, strings);
    this.rest(
      () => {
        this.#expected = { kind: 'login', tag, attempt, pieces };
        if (first !== undefined) this.effects.toServer(first);
      },
      () => this.say(`${tag} ${LATER}`),
    );
    this.effects.attempt(attempt);
  }

  #onAuthenticate(tag: string, rest: Segments | undefined): void {
    const [text, ...more] = rest ?? [];
    const match =
      typeof text === 'string' && more.length === 0
        ? /^([A-Za-z0-9_-]{1,20})(?: ([A-Za-z0-9+/]+={0,2}|=))? *$/.exec(text)
        : null;
    if (match === null) return this.say(`${tag} BAD AUTHENTICATE needs a mechanism`);
    const [, word = '', initial] = match;
    const mechanism = word.toUpperCase();
    const sasl = new SaslName(mechanism);
    const line = `${tag} AUTHENTICATE ${mechanism}${initial === undefined ? '' : ` ${initial}`}`;
    const go = (): void => this.#forward(line, { kind: 'sasl', tag, sasl, whose: 'server' });
    if (initial === undefined || !sasl.respond(initial)) return go();
    this.rest(go, () => this.say(`${tag} ${LATER}`));
    this.effects.attempt({ login: sasl.claimed, mechanism: sasl.label });
  }

  #onResponse(text: string, { tag, sasl }: Extract<Expected, { kind: 'sasl' }>): void {
    const exchange = { kind: 'sasl', tag, sasl, whose: 'server' } as const;
    if (text === '*' || !/^[A-Za-z0-9+/]*={0,2}$/.test(text))
      return this.#forward('*', { ...exchange, cancelled: 'client' });
    const go = (): void => this.#forward(text, exchange);
    if (!sasl.respond(text)) return go();
    this.rest(go, () => this.#forward('*', { ...exchange, cancelled: 'throttle' }));
    this.effects.attempt({ login: sasl.claimed, mechanism: sasl.label });
  }
}
