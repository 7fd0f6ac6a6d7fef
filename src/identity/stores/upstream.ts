/**
 * A login at the mail server itself, by its own SMTP AUTH (RFC 4954), on a connection of its own: never one of the
 * pool, for a connection with a login on it is bound to one client.
 */
import { ReplyParser, type UpstreamReply } from '../../smtp/reply-parser.js';
import { unavailable, wrong } from '../credentials.js';
import {
  type Dialogue,
  PasswordServer,
  type PasswordServerOptions,
  plainResponse,
  type Said,
} from './password-server.js';
import { PeerFault, printable } from './peer.js';
import type { Wire } from './wire.js';

/** RFC 5321 4.5.3.1.4: octets of a command line without its CRLF. */
const COMMAND = 510;

const said = ({ code, enhanced, lines }: UpstreamReply): string =>
  printable([code, enhanced, ...lines].filter((each) => each !== undefined).join(' '));

class SmtpDialogue {
  readonly #parser = new ReplyParser();

  constructor(private readonly wire: Wire) {}

  async read(): Promise<UpstreamReply> {
    for (;;) {
      this.#parser.push(await this.wire.chunk());
      const scan = this.#parser.next();
      if (scan.kind === 'fault') throw new PeerFault(`not an SMTP reply: ${scan.why}`);
      if (scan.kind === 'need-more') continue;
      if (this.#parser.pending > 0) throw new PeerFault('it answered before it was asked');
      return scan.reply;
    }
  }

  say(line: string): Promise<UpstreamReply> {
    this.wire.send(`${line}\r\n`);
    return this.read();
  }
}

/** The reply to the credentials. RFC 4954 6 names the codes. */
const judge = (reply: UpstreamReply): Said => {
  const { code } = reply;
  if (code === 235) return { kind: 'ok' };
  if (code >= 200 && code < 400) throw new PeerFault(`an answer out of place: ${said(reply)}`);
  // 500 to 504: it does not do this kind of AUTH. 530, 538: it wants TLS first. None says anything of the password.
  const cannotTell = code < 500 || code <= 504 || code === 530 || code === 538;
  return cannotTell ? unavailable(said(reply)) : wrong(said(reply));
};

/** `AUTH PLAIN LOGIN`, and `AUTH=PLAIN LOGIN` of servers from before RFC 2554. */
const mechanismsOf = ({ lines }: UpstreamReply): ReadonlySet<string> =>
  new Set(
    lines
      .slice(1)
      .map((line) => /^AUTH[ =](.*)$/i.exec(line)?.[1] ?? '')
      .flatMap((words) => words.toUpperCase().split(/[ =]+/)),
  );

const byPlain = async (smtp: SmtpDialogue, user: string, password: string): Promise<Said> => {
  const response = plainResponse(user, password);
  const line = `AUTH PLAIN ${response}`;
  if (line.length <= COMMAND) return judge(await smtp.say(line));
  const consent = await smtp.say('AUTH PLAIN');
  return consent.code === 334 ? judge(await smtp.say(response)) : refusal('AUTH PLAIN', consent);
};

const byLogin = async (smtp: SmtpDialogue, user: string, password: string): Promise<Said> => {
  const consent = await smtp.say('AUTH LOGIN');
  if (consent.code !== 334) return refusal('AUTH LOGIN', consent);
  const named = await smtp.say(Buffer.from(user).toString('base64'));
  if (named.code === 235) throw new PeerFault('it takes a user name without a password for a login');
  if (named.code !== 334) return judge(named);
  return judge(await smtp.say(Buffer.from(password).toString('base64')));
};

const refusal = (what: string, reply: UpstreamReply): Said =>
  unavailable(`it refuses ${what}: ${said(reply)}`);

const login =
  (ownName: string): Dialogue =>
  async (wire, user, password, tls) => {
    const smtp = new SmtpDialogue(wire);
    const hello = async (): Promise<UpstreamReply> => smtp.say(`EHLO ${ownName}`);
    const greeting = await smtp.read();
    if (greeting.code !== 220) return unavailable(`its greeting is ${said(greeting)}`);
    wire.goodbye('QUIT\r\n');
    let answer = await hello();
    if (tls.mode === 'starttls' && answer.code === 250) {
      const consent = await smtp.say('STARTTLS');
      if (consent.code !== 220) return refusal('STARTTLS', consent);
      await wire.secure(tls);
      answer = await hello();
    }
    if (answer.code !== 250) return refusal('EHLO', answer);
    const offered = mechanismsOf(answer);
    if (offered.has('PLAIN')) return byPlain(smtp, user, password);
    if (offered.has('LOGIN')) return byLogin(smtp, user, password);
    return unavailable('it offers neither AUTH PLAIN nor AUTH LOGIN; perhaps it wants TLS first');
  };

export interface UpstreamStoreOptions extends PasswordServerOptions {
  /** For EHLO. */
  readonly ownName: string;
}

export const upstreamStore = (options: UpstreamStoreOptions): PasswordServer =>
  new PasswordServer('upstream', options, login(options.ownName));
