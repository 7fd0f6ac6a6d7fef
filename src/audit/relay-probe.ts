/**
 * Every relay form against a running server. It stops at RCPT: nothing is ever sent, DATA is not in its vocabulary. What
 * a server that took a recipient would have done with the mail is its own secret; that it took it is what counts.
 */
import net from 'node:net';
import { LineReader } from './line-reader.js';

/** MAIL and RCPT as they are sent, Latin-1, without CRLF. */
export interface ProbeForm {
  readonly name: string;
  readonly mail: string;
  readonly rcpt: string;
}

export type ProbeOutcome =
  /** RCPT was answered with 2xx. */
  | 'accepted'
  /** RCPT was answered with 5xx, or MAIL for what the form is about. */
  | 'refused'
  /** 4xx: tomorrow it might say otherwise. */
  | 'deferred'
  /** MAIL with an ordinary sender was refused, so that RCPT was never looked at; or the server went away. */
  | 'untold';

export interface ProbeResult extends ProbeForm {
  readonly outcome: ProbeOutcome;
  /** What the server said last, and to which of the two lines. */
  readonly said: string;
  readonly to: 'mail' | 'rcpt';
}

export interface ProbeTarget {
  readonly host: string;
  readonly port: number;
  /** Milliseconds for each reply. */
  readonly patience: number;
  /** What EHLO says. */
  readonly helo: string;
  /** Said before all else, such as a PROXY header. */
  readonly preface?: Buffer | undefined;
}

export interface Greeting {
  /** The greeting's text, of all its lines. */
  readonly text: string;
  /** The server's own name, as its greeting says; undefined if that is none. */
  readonly name: string | undefined;
  /** The address that answered. */
  readonly address: string;
}

class Talk {
  readonly #socket: net.Socket;
  readonly #lines: LineReader;

  private constructor(socket: net.Socket, lines: LineReader) {
    this.#socket = socket;
    this.#lines = lines;
  }

  static async open({
    host,
    port,
    patience,
    preface,
  }: ProbeTarget): Promise<{ talk: Talk; greeting: string }> {
    const socket = net.connect({ host, port, noDelay: true });
    const lines = new LineReader(socket, patience);
    if (preface !== undefined) socket.write(preface);
    const talk = new Talk(socket, lines);
    try {
      return { talk, greeting: await lines.reply() };
    } catch (error) {
      talk.close();
      throw error;
    }
  }

  get address(): string {
    return this.#socket.remoteAddress ?? '';
  }

  /** The reply's lines, joined by LF. */
  async say(line: string): Promise<string> {
    this.#socket.write(`${line}\r\n`, 'latin1');
    return await this.#lines.reply();
  }

  close(): void {
    this.#socket.destroy();
  }
}

/** First digit of a reply. */
const kind = (reply: string): string => reply[0] ?? '';
const leaves = (reply: string): boolean => reply.startsWith('421');

/** Connects, reads the greeting and goes. */
export const greetingOf = async (target: ProbeTarget): Promise<Greeting> => {
  const { talk, greeting } = await Talk.open(target);
  const { address } = talk;
  await talk.say('QUIT').catch(() => '');
  talk.close();
  const name = /^220[ -]([A-Za-z0-9](?:[A-Za-z0-9.-]*[A-Za-z0-9])?)(?:[ \n]|$)/.exec(greeting)?.[1];
  return { text: greeting, name: name?.includes('.') === true ? name.toLowerCase() : undefined, address };
};

const introduce = async (target: ProbeTarget, greeted: (text: string) => void): Promise<Talk> => {
  const { talk, greeting } = await Talk.open(target);
  greeted(greeting);
  if (kind(greeting) !== '2') {
    talk.close();
    throw new Error(`it greets with ${greeting.split('\n')[0]}`);
  }
  const hello = await talk.say(`EHLO ${target.helo}`);
  if (kind(hello) !== '2') {
    const old = await talk.say(`HELO ${target.helo}`);
    if (kind(old) !== '2') {
      talk.close();
      throw new Error(`it answers HELO with ${old.split('\n')[0]}`);
    }
  }
  return talk;
};

const OUTCOMES: Readonly<Record<string, ProbeOutcome>> = { '2': 'accepted', '4': 'deferred', '5': 'refused' };

/** One form on a connection that is between transactions; undefined: the server takes its leave, try on a new one. */
const tryForm = async (talk: Talk, form: ProbeForm, plainMail: string): Promise<ProbeResult | undefined> => {
  const mail = await talk.say(form.mail);
  if (leaves(mail)) return undefined;
  if (kind(mail) !== '2') {
    // An odd sender that is refused is a form that does not work; an ordinary one tells nothing.
    const outcome = form.mail === plainMail ? 'untold' : (OUTCOMES[kind(mail)] ?? 'untold');
    return { ...form, outcome: outcome === 'accepted' ? 'untold' : outcome, said: mail, to: 'mail' };
  }
  const rcpt = await talk.say(form.rcpt);
  if (leaves(rcpt)) return undefined;
  return { ...form, outcome: OUTCOMES[kind(rcpt)] ?? 'untold', said: rcpt, to: 'rcpt' };
};

/**
 * All forms, on as many connections as the server makes necessary. `plainMail`: MAIL as it is in forms whose point is
 * the recipient. `greeted` hears what each connection begins with. Throws when the server cannot be reached at all.
 */
export const probe = async (
  target: ProbeTarget,
  forms: readonly ProbeForm[],
  plainMail: string,
  greeted: (text: string) => void = () => {},
): Promise<readonly ProbeResult[]> => {
  const results: ProbeResult[] = [];
  let talk = await introduce(target, greeted);
  let fresh = true;
  for (let i = 0; i < forms.length; ) {
    const form = forms[i]!;
    let result: ProbeResult | undefined;
    let fault = '';
    try {
      result = await tryForm(talk, form, plainMail);
      if (result !== undefined) await talk.say('RSET');
    } catch (error) {
      fault = (error as Error).message;
    }
    if (result !== undefined) {
      results.push(result);
      i += 1;
      fresh = false;
      if (fault === '') continue;
    } else if (fresh) {
      // Even on a new connection.
      results.push({ ...form, outcome: 'untold', said: fault === '' ? '421' : fault, to: 'mail' });
      i += 1;
    }
    talk.close();
    if (i >= forms.length) break;
    talk = await introduce(target, greeted);
    fresh = true;
  }
  await talk.say('QUIT').catch(() => '');
  talk.close();
  return results;
};
