/** A login at a POP3 server (RFC 1939): AUTH PLAIN (RFC 5034) where it is offered, else USER and PASS. */
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

/** RFC 2449 4: octets of a command, with its CRLF. */
const COMMAND = 255;
const CAPABILITIES = 64;

interface Reply {
  readonly good: boolean;
  /** RFC 2449 8, upper case, without brackets; '' for none. */
  readonly code: string;
  readonly text: string;
}

const read = async (wire: Wire): Promise<Reply> => {
  const line = await wire.line();
  const match = /^(\+OK|-ERR)(?: +(?:\[([A-Za-z/-]{1,32})\])? ?(.*))?$/.exec(line);
  if (match === null) throw new PeerFault(`not a POP3 answer: ${printable(line)}`);
  const [, status, code = '', text = ''] = match;
  return { good: status === '+OK', code: code.toUpperCase(), text: printable(text) };
};

const said = ({ code, text }: Reply): string =>
  `${code === '' ? '' : `[${code}] `}${text || 'no reason given'}`;

const say = (wire: Wire, line: string): Promise<Reply> => {
  wire.send(`${line}\r\n`);
  return read(wire);
};

/** RFC 2449 5; undefined from a server that knows no CAPA. */
const capabilities = async (wire: Wire): Promise<readonly string[] | undefined> => {
  if (!(await say(wire, 'CAPA')).good) return undefined;
  const lines: string[] = [];
  for (;;) {
    const line = await wire.line();
    if (line === '.') return lines;
    lines.push(line.toUpperCase());
    if (lines.length > CAPABILITIES) throw new PeerFault('it has endless capabilities');
  }
};

/** What the answer to the password itself means. */
const judge = (reply: Reply): Said => {
  if (reply.good) return { kind: 'ok' };
  switch (reply.code) {
    // RFC 2449 8.1.2: the login was right, but another program has the mailbox open.
    case 'IN-USE':
      return { kind: 'ok' };
    // RFC 3206 4; RFC 2449 8.1.1.
    case 'SYS/TEMP':
    case 'SYS/PERM':
    case 'LOGIN-DELAY':
      return unavailable(said(reply));
    default:
      return wrong(said(reply));
  }
};

const isTemporary = ({ code }: Reply): boolean => code.startsWith('SYS/') || code === 'LOGIN-DELAY';

const byUserAndPass = async (wire: Wire, user: string, password: string): Promise<Said> => {
  // RFC 1939 3: a space ends an argument. The password may have some, for it is all the rest of its line.
  if (user.includes(' ')) return wrong('the user name has a space, which USER cannot carry');
  for (const line of [`USER ${user}`, `PASS ${password}`]) {
    if (Buffer.byteLength(line) + 2 > COMMAND)
      return wrong(`the ${line.startsWith('USER') ? 'user name' : 'password'} is too long for POP3`);
  }
  const named = await say(wire, `USER ${user}`);
  if (!named.good) return isTemporary(named) ? unavailable(said(named)) : wrong(said(named));
  return judge(await say(wire, `PASS ${password}`));
};

const byPlain = async (wire: Wire, user: string, password: string): Promise<Said> => {
  // Without an initial response: one on the command's line is bound by its length, and unknown to RFC 1734.
  wire.send('AUTH PLAIN\r\n');
  const line = await wire.line();
  if (!/^\+(?: |$)/.test(line)) return unavailable(`it refuses AUTH PLAIN: ${printable(line)}`);
  return judge(await say(wire, plainResponse(user, password)));
};

const login: Dialogue = async (wire, user, password, tls) => {
  const greeting = await read(wire);
  if (!greeting.good) return unavailable(`its greeting is ${said(greeting)}`);
  wire.goodbye('QUIT\r\n');
  if (tls.mode === 'starttls') {
    const consent = await say(wire, 'STLS');
    if (!consent.good) return unavailable(`it refuses STLS: ${said(consent)}`);
    await wire.secure(tls);
  }
  const offered = await capabilities(wire);
  if (offered?.some((each) => /^SASL(?: .*)? PLAIN(?: |$)/.test(each)) === true)
    return byPlain(wire, user, password);
  if (offered === undefined || offered.some((each) => /^USER(?: |$)/.test(each)))
    return byUserAndPass(wire, user, password);
  return unavailable('it offers neither SASL PLAIN nor USER; perhaps it wants TLS first');
};

export const pop3Store = (options: PasswordServerOptions): PasswordServer =>
  new PasswordServer('pop3', options, login);
