/** Watches a POP3 login (RFC 1939, RFC 2449, RFC 5034): see login-watch.ts for how. */
import type { Line } from './line-buffer.js';
import { type LoginAttempt, LoginWatch, octets, WATCH_LIMITS } from './login-watch.js';
import { loginName, SaslName } from './sasl-name.js';

/** What the server's next line is for. */
type Expected =
  | { readonly kind: 'greeting' | 'nothing' | 'reply' | 'list-reply' | 'capa-reply' | 'list' | 'capa' }
  | { readonly kind: 'user'; readonly login: string | undefined }
  | { readonly kind: 'login'; readonly attempt: LoginAttempt }
  /** `whose` turn it is; `cancelled`: `*` was said, by the client, or for it because it may not try now. */
  | {
      readonly kind: 'sasl';
      readonly sasl: SaslName;
      readonly whose: 'server' | 'client';
      readonly cancelled?: 'client' | 'throttle';
    };

const NOTHING: Expected = { kind: 'nothing' };
const LATER = '-ERR [SYS/TEMP] Too many failed logins, try again later';

/** RFC 3206, RFC 2449 8.1.1: the password was not what it failed for. */
const UNAVAILABLE = /^-ERR \[(?:SYS\/\w+|IN-USE|LOGIN-DELAY)\]/;

export class Pop3Watch extends LoginWatch {
  #expected: Expected = { kind: 'greeting' };
  /** The USER that the server took. */
  #user: { readonly login: string | undefined } | undefined;

  protected override forget(): void {
    this.#user = undefined;
  }

  protected override get waiting(): boolean {
    const expected = this.#expected;
    return expected.kind === 'sasl' ? expected.whose === 'server' : expected.kind !== 'nothing';
  }

  protected override get lineLimit(): number {
    return this.#expected.kind === 'sasl' ? WATCH_LIMITS.response : WATCH_LIMITS.line;
  }

  protected override farewell(why: string): string {
    return `-ERR ${why}`;
  }

  // ---- the server ----------------------------------------------------------------------------------------

  protected override onServerLine(line: Line): void {
    const expected = this.#expected;
    const { text } = line;
    switch (expected.kind) {
      case 'list':
      case 'capa':
        return this.#onListed(line, expected.kind);
      case 'sasl':
        return this.#onExchange(line, expected);
      case 'nothing':
        return this.outOfStep(line);
    }
    const yes = /^\+OK(?: |$)/.test(text);
    if (!yes && !/^-ERR(?: |$)/.test(text)) return this.outOfStep(line, 'a line that is no POP3 reply');
    this.#expected = NOTHING;
    switch (expected.kind) {
      case 'greeting':
        this.effects.toClient(line.raw);
        // It takes nobody; there is nothing to watch.
        if (!yes) this.giveUp('the server refuses the connection');
        return;
      case 'user':
        this.#user = yes ? { login: expected.login } : undefined;
        return this.effects.toClient(line.raw);
      case 'login':
        return this.#onJudged(line, expected.attempt, yes);
      case 'capa-reply':
        if (!yes && this.mayStartTls) return this.#ownCapabilities();
        this.#expected = yes ? { kind: 'capa' } : NOTHING;
        return this.effects.toClient(line.raw);
      case 'list-reply':
        this.#expected = yes ? { kind: 'list' } : NOTHING;
        return this.effects.toClient(line.raw);
      default:
        return this.effects.toClient(line.raw);
    }
  }

  #onJudged(line: Line, attempt: LoginAttempt, yes: boolean): void {
    this.#user = undefined;
    this.rest(() => {
      this.effects.toClient(line.raw);
      if (yes) this.through();
    });
    const no = UNAVAILABLE.test(line.text) ? 'unavailable' : 'wrong';
    this.effects.outcome(attempt, yes ? 'ok' : no);
  }

  #onExchange(line: Line, expected: Extract<Expected, { kind: 'sasl' }>): void {
    const { sasl, whose, cancelled } = expected;
    const { text } = line;
    if (whose === 'client') return this.outOfStep(line);
    if (/^\+(?: |$)/.test(text)) {
      if (cancelled !== undefined) return this.clientFault('the server goes on with a cancelled login');
      this.#expected = { ...expected, whose: 'client' };
      return this.effects.toClient(line.raw);
    }
    const yes = /^\+OK(?: |$)/.test(text);
    if (!yes && !/^-ERR(?: |$)/.test(text)) return this.outOfStep(line, 'a line that is no POP3 reply');
    if (yes && cancelled !== undefined) return this.clientFault('the server takes a cancelled login');
    this.#expected = NOTHING;
    if (cancelled === 'throttle') return this.say(LATER);
    this.#user = undefined;
    this.rest(() => {
      this.effects.toClient(line.raw);
      if (yes) this.through();
    });
    const login = yes ? sasl.proven : sasl.claimed;
    const no = this.refusal(sasl, cancelled !== undefined, UNAVAILABLE.test(text));
    this.effects.outcome({ login, mechanism: sasl.label, guess: sasl.guess }, yes ? 'ok' : no);
  }

  /** Whatever a line of a list looks like, it is no reply; `.` alone ends the list (RFC 1939 3). */
  #onListed(line: Line, kind: 'list' | 'capa'): void {
    const { text } = line;
    if (text === '.') {
      this.#expected = NOTHING;
      if (kind === 'capa' && this.mayStartTls) this.say('STLS');
      return this.effects.toClient(line.raw);
    }
    if (kind === 'list') {
      // The mechanisms, or languages.
      if (!/-PLUS$/i.test(text)) this.effects.toClient(line.raw);
      return;
    }
    if (/^STLS(?: |$)/i.test(text) || (this.needsTls && /^(?:USER|SASL)(?: |$)/i.test(text))) return;
    // Channel binding ends at Sekisho's TLS (RFC 5802 6).
    if (/^SASL /i.test(text)) return this.say(text.replace(/ [^ ]+-PLUS(?= |$)/gi, ''));
    this.effects.toClient(line.raw);
  }

  /** A server older than CAPA: without a list nobody would find STLS. */
  #ownCapabilities(): void {
    this.say('+OK Capability list follows');
    if (!this.needsTls) this.say('USER');
    this.say('STLS');
    this.say('.');
  }

  // ---- the client ----------------------------------------------------------------------------------------

  protected override onClientLine(text: string): void {
    if (this.#expected.kind === 'sasl') return this.#onResponse(text, this.#expected.sasl);
    if (!this.counted()) return;
    const [, word = '', argument] = /^([A-Za-z0-9]+)(?: (.*))?$/.exec(text) ?? [];
    const verb = word.toUpperCase();
    if (this.needsTls && ['USER', 'PASS', 'APOP', 'AUTH'].includes(verb) && argument !== undefined)
      return this.say('-ERR TLS is needed to log in: use STLS first');
    switch (verb) {
      case 'USER':
        return this.#onUser(argument);
      case 'PASS':
        return this.#onPass(argument);
      case 'APOP':
        return this.#onApop(argument);
      case 'AUTH':
        return this.#onAuth(argument);
      case 'CAPA':
        return this.#forward('CAPA', { kind: 'capa-reply' });
      case 'STLS':
        return this.#onStls(argument);
      case 'LANG':
        // RFC 6856 3: without an argument it lists.
        if (argument === undefined) return this.#forward('LANG', { kind: 'list-reply' });
        return /^[A-Za-z0-9*-]{1,35}$/.test(argument)
          ? this.#forward(`LANG ${argument}`, { kind: 'reply' })
          : this.say('-ERR No such language');
      case 'NOOP':
      case 'UTF8':
      case 'QUIT':
        return this.#forward(verb, { kind: 'reply' });
      default:
        // Not passed on: nobody knows how many lines the answer would have, nor what it does (XCLIENT).
        return this.say('-ERR No such command before the login');
    }
  }

  #forward(line: string, expected: Expected): void {
    this.#expected = expected;
    this.send(line);
  }

  #onUser(argument = ''): void {
    if (argument === '') return this.say('-ERR USER needs a name');
    // Servers do not agree on whether a space belongs to the name.
    const login = argument.includes(' ') ? undefined : loginName(octets(argument));
    this.#user = undefined;
    this.#forward(`USER ${argument}`, { kind: 'user', login });
  }

  #onPass(argument: string | undefined): void {
    if (argument === undefined) return this.say('-ERR PASS needs a password');
    if (this.#user === undefined) return this.say('-ERR USER comes first');
    const guess = octets(argument).toString();
    this.#try({ login: this.#user.login, mechanism: 'USER', guess }, `PASS ${argument}`);
  }

  #onApop(argument = ''): void {
    const [, name, digest] = /^([^ ]+) ([0-9A-Fa-f]{32})$/.exec(argument) ?? [];
    if (name === undefined) return this.say('-ERR APOP needs a name and a digest');
    this.#try({ login: loginName(octets(name)), mechanism: 'APOP' }, `APOP ${name} ${digest}`);
  }

  #try(attempt: LoginAttempt, line: string): void {
    this.rest(
      () => this.#forward(line, { kind: 'login', attempt }),
      () => this.say(LATER),
    );
    this.effects.attempt(attempt);
  }

  #onAuth(argument = ''): void {
    // RFC 1734 knew no list, many servers do; the reply to bare AUTH is a list or an error.
    if (argument === '') return this.#forward('AUTH', { kind: 'list-reply' });
    const [, word, initial] = /^([A-Za-z0-9_-]{1,20})(?: ([A-Za-z0-9+/]+={0,2}|=))? *$/.exec(argument) ?? [];
    if (word === undefined) return this.say('-ERR AUTH needs a mechanism');
    const mechanism = word.toUpperCase();
    const sasl = new SaslName(mechanism);
    const go = (): void =>
      this.#forward(`AUTH ${mechanism}${initial === undefined ? '' : ` ${initial}`}`, {
        kind: 'sasl',
        sasl,
        whose: 'server',
      });
    if (initial === undefined || !sasl.respond(initial)) return go();
    this.rest(go, () => this.say(LATER));
    this.effects.attempt({ login: sasl.claimed, mechanism: sasl.label });
  }

  #onResponse(text: string, sasl: SaslName): void {
    if (text === '*' || !/^[A-Za-z0-9+/]*={0,2}$/.test(text))
      return this.#forward('*', { kind: 'sasl', sasl, whose: 'server', cancelled: 'client' });
    const go = (): void => this.#forward(text, { kind: 'sasl', sasl, whose: 'server' });
    if (!sasl.respond(text)) return go();
    this.rest(go, () => this.#forward('*', { kind: 'sasl', sasl, whose: 'server', cancelled: 'throttle' }));
    this.effects.attempt({ login: sasl.claimed, mechanism: sasl.label });
  }

  #onStls(argument: string | undefined): void {
    if (argument !== undefined) return this.say('-ERR STLS takes no argument');
    if (this.secure) return this.say('-ERR TLS is in force already');
    if (!this.mayStartTls) return this.say('-ERR STLS is not offered here');
    this.startTls('+OK Begin TLS now');
  }
}
