/** The watchers of POP3 and IMAP logins: every way to log in, every way to cheat, at every cut. */
import fc from 'fast-check';
import t, { type Test } from 'tap';
import { parseIp } from '../../src/base/ip.js';
import { printProxyHeader } from '../../src/base/proxy-header.js';
import { readStrings, rewriteCapabilities } from '../../src/windows/sources/imap-command.js';
import { LineBuffer } from '../../src/windows/sources/line-buffer.js';
import {
  type LoginWatch,
  WATCH_LIMITS,
  type WatchEffects,
  type WatchSettings,
} from '../../src/windows/sources/login-watch.js';
import { ImapWatch } from '../../src/windows/sources/login-watch-imap.js';
import { Pop3Watch } from '../../src/windows/sources/login-watch-pop3.js';
import { loginName, SaslName } from '../../src/windows/sources/sasl-name.js';
import { chunkings, cut } from '../support/chunkings.js';

const latin1 = (text: string): Buffer => Buffer.from(text, 'latin1');
const b64 = (text: string): string => Buffer.from(text).toString('base64');

interface Seen {
  toServer: string;
  toClient: string;
  /** `try NAME MECHANISM`, `ok NAME MECHANISM`, `wrong …`, `tls`, `through`, `gave up: …`, `end: …` */
  readonly events: string[];
}

interface Run extends Seen {
  readonly watch: LoginWatch;
  readonly settle: () => void;
}

type Piece = readonly ['C' | 'S', string];
type Protocol = 'pop3' | 'imap';

const start = (
  protocol: Protocol,
  settings: Partial<WatchSettings> = {},
  admits: (login: string | undefined) => boolean = () => true,
): Run => {
  const seen: Seen = { toServer: '', toClient: '', events: [] };
  const later: (() => void)[] = [];
  const effects: WatchEffects = {
    toServer: (octets) => {
      seen.toServer += octets.toString('latin1');
    },
    toClient: (octets) => {
      seen.toClient += octets.toString('latin1');
    },
    attempt: ({ login, mechanism }) => {
      seen.events.push(`try ${login} ${mechanism}`);
      later.push(() => (admits(login) ? watch.proceed() : watch.turnAway()));
    },
    outcome: ({ login, mechanism }, result) => {
      seen.events.push(`${result} ${login} ${mechanism}`);
      later.push(() => watch.proceed());
    },
    startTls: () => seen.events.push('tls'),
    passThrough: (why) => seen.events.push(why === undefined ? 'through' : `gave up: ${why}`),
    end: (why) => seen.events.push(`end: ${why}`),
  };
  const Kind = protocol === 'pop3' ? Pop3Watch : ImapWatch;
  const watch = new Kind({ starttls: false, secure: false, requireTls: false, ...settings }, effects);
  const settle = (): void => {
    for (let next = later.shift(); next !== undefined; next = later.shift()) next();
  };
  return Object.assign(seen, { watch, settle });
};

/** What the watch asks is answered before anything else comes, but never from within. */
const feed = (run: Run, who: 'C' | 'S', octets: Buffer): void => {
  if (who === 'C') run.watch.fromClient(octets);
  else run.watch.fromServer(octets);
  run.settle();
};

/** Plays pieces, each cut by `cutter`. */
const play = (
  protocol: Protocol,
  pieces: readonly Piece[],
  settings: Partial<WatchSettings> = {},
  cutter: (octets: Buffer) => readonly Buffer[] = (octets) => [octets],
  admits?: (login: string | undefined) => boolean,
): Run => {
  const run = start(protocol, settings, admits);
  for (const [who, text] of pieces) for (const chunk of cutter(latin1(text))) feed(run, who, chunk);
  return run;
};

const outcome = ({ toServer, toClient, events }: Seen): Seen => ({ toServer, toClient, events: [...events] });

/** Octet by octet, and cut in two wherever that is possible, nothing may change. */
const alike = (
  t: Test,
  protocol: Protocol,
  pieces: readonly Piece[],
  settings?: Partial<WatchSettings>,
): Seen => {
  const whole = outcome(play(protocol, pieces, settings));
  const single = outcome(play(protocol, pieces, settings, (octets) => chunkings(octets)[1] ?? []));
  t.strictSame(single, whole, 'octet by octet');
  for (const [i, [, text]] of pieces.entries()) {
    for (const way of chunkings(latin1(text)).slice(2)) {
      let at = 0;
      const seen = outcome(play(protocol, pieces, settings, (octets) => (at++ === i ? way : [octets])));
      if (JSON.stringify(seen) !== JSON.stringify(whole)) t.strictSame(seen, whole, `piece ${i} in two`);
    }
  }
  return whole;
};

const POP3_HELLO: Piece = ['S', '+OK POP3 ready <1.2@x>\r\n'];
const IMAP_HELLO: Piece = ['S', '* OK [CAPABILITY IMAP4rev1 LITERAL+ AUTH=PLAIN STARTTLS] ready\r\n'];
const DIGEST = '0123456789abcdef0123456789abcdef';

t.test('every POP3 login that succeeds', async (t) => {
  const cases: Record<string, readonly [readonly Piece[], string, string]> = {
    'USER and PASS': [
      [
        ['C', 'user bob\r\n'],
        ['S', '+OK\r\n'],
        ['C', 'Pass  a b \r\n'],
        ['S', '+OK in\r\n'],
      ],
      'bob USER',
      'USER bob\r\nPASS  a b \r\n',
    ],
    'lines that end in LF': [
      [
        ['C', 'USER bob\n'],
        ['S', '+OK\n'],
        ['C', 'PASS x\n'],
        ['S', '+OK\n'],
      ],
      'bob USER',
      'USER bob\r\nPASS x\r\n',
    ],
    'all at once': [
      [
        ['C', 'USER bob\r\nPASS x\r\n'],
        ['S', '+OK\r\n'],
        ['S', '+OK\r\n'],
      ],
      'bob USER',
      'USER bob\r\nPASS x\r\n',
    ],
    'the second USER counts': [
      [
        ['C', 'USER eve\r\nUSER bob\r\nPASS x\r\n'],
        ['S', '+OK\r\n'],
        ['S', '+OK\r\n'],
        ['S', '+OK\r\n'],
      ],
      'bob USER',
      'USER eve\r\nUSER bob\r\nPASS x\r\n',
    ],
    'a name in UTF-8': [
      [
        ['C', 'USER b\xc3\xb6b\r\n'],
        ['S', '+OK\r\n'],
        ['C', 'PASS x\r\n'],
        ['S', '+OK\r\n'],
      ],
      'böb USER',
      'USER b\xc3\xb6b\r\nPASS x\r\n',
    ],
    APOP: [
      [
        ['C', `APOP bob ${DIGEST}\r\n`],
        ['S', '+OK\r\n'],
      ],
      'bob APOP',
      `APOP bob ${DIGEST}\r\n`,
    ],
    'PLAIN with initial response': [
      [
        ['C', `AUTH plain ${b64('\0bob\0pw')}\r\n`],
        ['S', '+OK\r\n'],
      ],
      'bob PLAIN',
      `AUTH PLAIN ${b64('\0bob\0pw')}\r\n`,
    ],
    'PLAIN with continuation': [
      [
        ['C', 'AUTH PLAIN\r\n'],
        ['S', '+ \r\n'],
        ['C', `${b64('bob\0bob\0pw')}\r\n`],
        ['S', '+OK\r\n'],
      ],
      'bob PLAIN',
      `AUTH PLAIN\r\n${b64('bob\0bob\0pw')}\r\n`,
    ],
    LOGIN: [
      [
        ['C', 'AUTH LOGIN\r\n'],
        ['S', '+ VXNlcm5hbWU6\r\n'],
        ['C', `${b64('bob')}\r\n`],
        ['S', '+ UGFzc3dvcmQ6\r\n'],
        ['C', `${b64('pw')}\r\n`],
        ['S', '+OK\r\n'],
      ],
      'bob LOGIN',
      `AUTH LOGIN\r\n${b64('bob')}\r\n${b64('pw')}\r\n`,
    ],
    'LOGIN with initial response': [
      [
        ['C', `AUTH LOGIN ${b64('bob')}\r\n`],
        ['S', '+ UGFzc3dvcmQ6\r\n'],
        ['C', `${b64('pw')}\r\n`],
        ['S', '+OK\r\n'],
      ],
      'bob LOGIN',
      `AUTH LOGIN ${b64('bob')}\r\n${b64('pw')}\r\n`,
    ],
    'CRAM-MD5': [
      [
        ['C', 'AUTH CRAM-MD5\r\n'],
        ['S', `+ ${b64('<1@x>')}\r\n`],
        ['C', `${b64(`bob ${DIGEST}`)}\r\n`],
        ['S', '+OK\r\n'],
      ],
      'bob CRAM-MD5',
      `AUTH CRAM-MD5\r\n${b64(`bob ${DIGEST}`)}\r\n`,
    ],
    'SCRAM-SHA-256': [
      [
        ['C', `AUTH SCRAM-SHA-256 ${b64('n,,n=b=2Cob,r=abc')}\r\n`],
        ['S', `+ ${b64('r=abcd,s=x,i=1')}\r\n`],
        ['C', `${b64('c=biws,r=abcd,p=x')}\r\n`],
        ['S', `+ ${b64('v=x')}\r\n`],
        ['C', '\r\n'],
        ['S', '+OK\r\n'],
      ],
      'b,ob SCRAM-SHA-256',
      `AUTH SCRAM-SHA-256 ${b64('n,,n=b=2Cob,r=abc')}\r\n${b64('c=biws,r=abcd,p=x')}\r\n\r\n`,
    ],
  };
  for (const [name, [pieces, who, toServer]] of Object.entries(cases)) {
    await t.test(name, async (t) => {
      const seen = alike(t, 'pop3', [POP3_HELLO, ...pieces]);
      t.strictSame(seen.events, [`try ${who}`, `ok ${who}`, 'through']);
      t.equal(seen.toServer, toServer);
    });
  }
});

t.test('POP3 logins that open nothing', async (t) => {
  const cases: Record<string, readonly [readonly Piece[], readonly string[]]> = {
    'a wrong password': [
      [
        ['C', 'USER bob\r\nPASS x\r\n'],
        ['S', '+OK\r\n'],
        ['S', '-ERR no\r\n'],
      ],
      ['try bob USER', 'wrong bob USER'],
    ],
    'a mailbox in use is no wrong password': [
      [
        ['C', 'USER bob\r\nPASS x\r\n'],
        ['S', '+OK\r\n'],
        ['S', '-ERR [IN-USE] busy\r\n'],
      ],
      ['try bob USER', 'unavailable bob USER'],
    ],
    'a name with a space': [
      [
        ['C', 'USER bob root\r\nPASS x\r\n'],
        ['S', '+OK\r\n'],
        ['S', '+OK\r\n'],
      ],
      ['try undefined USER', 'ok undefined USER', 'through'],
    ],
    'a name that is no UTF-8': [
      [
        ['C', 'USER b\xf6b\r\nPASS x\r\n'],
        ['S', '+OK\r\n'],
        ['S', '+OK\r\n'],
      ],
      ['try undefined USER', 'ok undefined USER', 'through'],
    ],
    'PASS without USER, and after a USER that was refused': [
      [
        ['C', 'PASS x\r\nUSER bob\r\nPASS x\r\n'],
        ['S', '-ERR\r\n'],
      ],
      [],
    ],
    'acting for another': [
      [
        ['C', `AUTH PLAIN ${b64('bob\0root\0pw')}\r\n`],
        ['S', '+OK\r\n'],
      ],
      ['try undefined PLAIN', 'ok undefined PLAIN', 'through'],
    ],
    'PLAIN that is no base64': [
      [
        ['C', 'AUTH PLAIN\r\n'],
        ['S', '+ \r\n'],
        ['C', '!!!\r\n'],
        ['S', '-ERR\r\n'],
      ],
      ['cancelled undefined PLAIN'],
    ],
    'a yes before the password': [
      [
        ['C', `AUTH LOGIN ${b64('bob')}\r\n`],
        ['S', '+OK\r\n'],
      ],
      ['ok undefined LOGIN', 'through'],
    ],
    'GSSAPI, whoever that was': [
      [
        ['C', 'AUTH GSSAPI YII=\r\n'],
        ['S', '+ YII=\r\n'],
        ['C', 'YII=\r\n'],
        ['S', '+OK\r\n'],
      ],
      ['try undefined GSSAPI', 'ok undefined GSSAPI', 'through'],
    ],
    'a mechanism that nobody knows': [
      [
        ['C', 'AUTH X-OWN\r\n'],
        ['S', '-ERR unknown\r\n'],
      ],
      ['malformed undefined OTHER'],
    ],
    'cancelled by the client': [
      [
        ['C', 'AUTH PLAIN\r\n'],
        ['S', '+ \r\n'],
        ['C', '*\r\n'],
        ['S', '-ERR\r\n'],
      ],
      ['cancelled undefined PLAIN'],
    ],
    'a yes to a cancelled login': [
      [
        ['C', 'AUTH LOGIN\r\n'],
        ['S', '+ \r\n'],
        ['C', `${b64('bob')}\r\n`],
        ['S', '+ \r\n'],
        ['C', '*\r\n'],
        ['S', '+OK\r\n'],
      ],
      ['end: the server takes a cancelled login'],
    ],
    'a yes in the middle of a list': [
      [
        ['C', 'CAPA\r\n'],
        ['S', '+OK\r\nTOP\r\n'],
        ['C', 'USER bob\r\nPASS x\r\n'],
        ['S', '+OK\r\n+OK\r\n.\r\n'],
        ['S', '+OK\r\n'],
        ['S', '-ERR\r\n'],
      ],
      ['try bob USER', 'wrong bob USER'],
    ],
    'a yes to nothing': [
      [
        ['S', '+OK\r\n'],
        ['C', 'USER bob\r\nPASS x\r\n'],
        ['S', '+OK\r\n+OK\r\n'],
      ],
      ['gave up: a line that answers nothing'],
    ],
    'a reply that is none': [
      [
        ['C', 'USER bob\r\n'],
        ['S', 'hello\r\n'],
        ['S', '+OK\r\n'],
        ['C', 'PASS x\r\n'],
        ['S', '+OK\r\n'],
      ],
      ['gave up: a line that is no POP3 reply'],
    ],
    'a greeting that refuses': [[], []],
  };
  for (const [name, [pieces, events]] of Object.entries(cases)) {
    await t.test(name, async (t) => {
      // Where the server says too much at once, chunks decide which line comes to be too much: only the whole is told.
      const seen = /to nothing/.test(name)
        ? play('pop3', [POP3_HELLO, ...pieces])
        : alike(t, 'pop3', [POP3_HELLO, ...pieces]);
      t.strictSame(seen.events, events);
    });
  }
  t.strictSame(play('pop3', [['S', '-ERR busy\r\n']]).events, ['gave up: the server refuses the connection']);
});

t.test('every IMAP login that succeeds', async (t) => {
  const cases: Record<string, readonly [readonly Piece[], string, string]> = {
    atoms: [
      [
        ['C', 'a1 login bob p%w\r\n'],
        ['S', 'a1 OK in\r\n'],
      ],
      'bob LOGIN',
      'a1 LOGIN "bob" "p%w"\r\n',
    ],
    'quoted strings': [
      [
        ['C', 'a1 LOGIN "b\\"o b" "p\\\\w{3}"\r\n'],
        ['S', 'a1 OK in\r\n'],
      ],
      'b"o b LOGIN',
      'a1 LOGIN "b\\"o b" "p\\\\w{3}"\r\n',
    ],
    literals: [
      [
        ['C', 'a1 LOGIN {3}\r\n'],
        ['C', 'bob {2}\r\n'],
        ['C', 'pw\r\n'],
        ['S', 'a1 OK in\r\n'],
      ],
      'bob LOGIN',
      'a1 LOGIN "bob" "pw"\r\n',
    ],
    'literals without leave': [
      [
        ['C', 'a1 LOGIN {3+}\r\nbob {4+}\r\na b"\r\n'],
        ['S', '* 1 EXISTS\r\na1 OK in\r\n'],
      ],
      'bob LOGIN',
      'a1 LOGIN "bob" "a b\\""\r\n',
    ],
    'an empty literal': [
      [
        ['C', 'a1 LOGIN bob {0+}\r\n\r\n'],
        ['S', 'a1 OK in\r\n'],
      ],
      'bob LOGIN',
      'a1 LOGIN "bob" ""\r\n',
    ],
    'eight bits go in a literal': [
      [
        ['C', 'a1 LOGIN "b\xc3\xb6b" x\r\n'],
        ['S', '+ go\r\n'],
        ['S', 'a1 OK in\r\n'],
      ],
      'böb LOGIN',
      'a1 LOGIN {4}\r\nb\xc3\xb6b "x"\r\n',
    ],
    'SASL-IR': [
      [
        ['C', `a1 authenticate plain ${b64('\0bob\0pw')}\r\n`],
        ['S', 'a1 OK in\r\n'],
      ],
      'bob PLAIN',
      `a1 AUTHENTICATE PLAIN ${b64('\0bob\0pw')}\r\n`,
    ],
    'PLAIN with continuation': [
      [
        ['C', 'a1 AUTHENTICATE PLAIN\r\n'],
        ['S', '+\r\n'],
        ['C', `${b64('\0bob\0pw')}\r\n`],
        ['S', 'a1 OK\r\n'],
      ],
      'bob PLAIN',
      `a1 AUTHENTICATE PLAIN\r\n${b64('\0bob\0pw')}\r\n`,
    ],
    'CRAM-MD5': [
      [
        ['C', 'a1 AUTHENTICATE CRAM-MD5\r\n'],
        ['S', `+ ${b64('<1@x>')}\r\n`],
        ['C', `${b64(`bob ${DIGEST}`)}\r\n`],
        ['S', '* CAPABILITY IMAP4rev1\r\na1 OK\r\n'],
      ],
      'bob CRAM-MD5',
      `a1 AUTHENTICATE CRAM-MD5\r\n${b64(`bob ${DIGEST}`)}\r\n`,
    ],
  };
  for (const [name, [pieces, who, toServer]] of Object.entries(cases)) {
    await t.test(name, async (t) => {
      const seen = alike(t, 'imap', [IMAP_HELLO, ...pieces]);
      t.strictSame(seen.events, [`try ${who}`, `ok ${who}`, 'through']);
      t.equal(seen.toServer, toServer);
    });
  }
});

t.test('IMAP logins that open nothing', async (t) => {
  const login: Piece = ['C', 'a1 LOGIN bob pw\r\n'];
  const cases: Record<string, readonly [readonly Piece[], readonly string[]]> = {
    'a wrong password': [
      [login, ['S', 'a1 NO no\r\n']],
      ['try bob LOGIN', 'wrong bob LOGIN'],
    ],
    'a server that cannot': [
      [login, ['S', 'a1 NO [UNAVAILABLE] no\r\n']],
      ['try bob LOGIN', 'unavailable bob LOGIN'],
    ],
    'a yes without a tag': [
      [login, ['S', '* OK in\r\n'], ['S', 'a1 NO no\r\n']],
      ['try bob LOGIN', 'wrong bob LOGIN'],
    ],
    'a yes with another tag': [
      [login, ['S', 'A1 OK in\r\n'], ['S', 'a1 OK in\r\n']],
      ['try bob LOGIN', 'gave up: a line that answers nothing'],
    ],
    'a yes to nothing': [
      [['S', 'a1 OK in\r\n'], login, ['S', 'a1 OK in\r\n']],
      ['gave up: a line that answers nothing'],
    ],
    'a yes in a literal': [
      [
        ['C', 'i ID NIL\r\na1 LOGIN bob pw\r\n'],
        ['S', '* ID ("name" {18}\r\n\r\ni OK\r\na1 OK in\r\n "a" {3}\r\n\r\na)\r\n'],
        ['S', 'i OK\r\n'],
        ['S', 'a1 NO\r\n'],
      ],
      ['try bob LOGIN', 'wrong bob LOGIN'],
    ],
    'a yes in the line behind a literal': [
      [
        ['C', 'a1 ID NIL\r\n'],
        ['S', '* ID ("x" {1}\r\nya1 OK\r\n'],
        ['S', 'a1 OK\r\n'],
        ['C', 'b NOOP\r\n'],
      ],
      [],
    ],
    'text that looks like a literal': [
      [login, ['S', '* NO nobody is called {12}\r\n'], ['S', 'a1 NO no\r\n']],
      ['try bob LOGIN', 'wrong bob LOGIN'],
    ],
    'a literal where none can be': [
      [login, ['S', '* FLAGS {4294967296}\r\na1 OK in\r\n']],
      ['try bob LOGIN', 'gave up: a literal where none can be'],
    ],
    'logged in before anything was said': [[['C', 'x NOOP\r\n']], []],
    'leave that nobody asked for': [
      [login, ['S', '+ go\r\n'], ['S', 'a1 OK in\r\n']],
      ['try bob LOGIN', 'gave up: a line that answers nothing'],
    ],
    'a name that answers itself': [[['C', 'a1 LOGIN {12+}\r\nbob\r\na1 OK\r\n pw\r\n']], []],
    'acting for another': [
      [
        ['C', `a1 AUTHENTICATE PLAIN ${b64('bob\0root\0pw')}\r\n`],
        ['S', 'a1 OK\r\n'],
      ],
      ['try undefined PLAIN', 'ok undefined PLAIN', 'through'],
    ],
  };
  for (const [name, [pieces, events]] of Object.entries(cases)) {
    await t.test(name, async (t) => {
      t.strictSame(alike(t, 'imap', [IMAP_HELLO, ...pieces]).events, events);
    });
  }
  const early = play('imap', [
    IMAP_HELLO,
    ['C', 'a1 LOGIN "b\xc3\xb6b" "p\xc3\xb6"\r\n'],
    ['S', 'a1 OK\r\n'],
  ]);
  t.match(early.events.at(-1), /gave up/, 'a yes before all was said');
  const preauth = play('imap', [['S', '* PREAUTH you are root\r\n'], login, ['S', 'a1 OK\r\n']]);
  t.strictSame(preauth.events, ['gave up: the server takes the client for logged in already']);
  t.equal(preauth.toServer, 'a1 LOGIN bob pw\r\n', 'octets go on');
});

t.test('after the login octets pass, whatever they are', async (t) => {
  const wild = Buffer.from(Array.from({ length: 256 }, (_, i) => i)).toString('latin1');
  const pop3 = alike(t, 'pop3', [
    POP3_HELLO,
    ['C', `USER bob\r\nPASS x\r\nSTAT\r\n${wild}`],
    ['S', '+OK\r\n'],
    ['S', `+OK\r\n+OK 0 0\r\n${wild}`],
    ['C', 'APOP eve\r\n'],
  ]);
  t.equal(pop3.toServer, `USER bob\r\nPASS x\r\nSTAT\r\n${wild}APOP eve\r\n`);
  t.equal(pop3.toClient, `+OK POP3 ready <1.2@x>\r\n+OK\r\n+OK\r\n+OK 0 0\r\n${wild}`);
  const imap = alike(t, 'imap', [
    ['S', '* OK hi\r\n'],
    ['C', `a LOGIN bob x\r\nb SELECT {9999999999}\r\n${wild}`],
    ['S', `a OK [CAPABILITY A STARTTLS] in\r\n* X ${wild}`],
    ['C', 'c LOGIN eve x\r\n'],
    ['S', 'c OK\r\n'],
  ]);
  t.equal(imap.toServer, `a LOGIN "bob" "x"\r\nb SELECT {9999999999}\r\n${wild}c LOGIN eve x\r\n`);
  t.equal(imap.toClient, `* OK hi\r\na OK [CAPABILITY A] in\r\n* X ${wild}c OK\r\n`);
  t.strictSame(imap.events, ['try bob LOGIN', 'ok bob LOGIN', 'through'], 'one login a session');
});

t.test('what the throttle turns away never reaches the server', async (t) => {
  const no = (): boolean => false;
  const user = play(
    'pop3',
    [POP3_HELLO, ['C', 'USER bob\r\nPASS x\r\nNOOP\r\n'], ['S', '+OK\r\n']],
    {},
    undefined,
    no,
  );
  t.equal(user.toServer, 'USER bob\r\nNOOP\r\n');
  t.match(user.toClient, /-ERR \[SYS\/TEMP\] Too many failed logins/);
  const plain = play(
    'pop3',
    [
      POP3_HELLO,
      ['C', 'AUTH PLAIN\r\n'],
      ['S', '+ \r\n'],
      ['C', `${b64('\0bob\0pw')}\r\n`],
      ['S', '-ERR cancelled\r\n'],
    ],
    {},
    undefined,
    no,
  );
  t.equal(plain.toServer, 'AUTH PLAIN\r\n*\r\n');
  t.match(plain.toClient, /\+ \r\n-ERR \[SYS\/TEMP\]/);
  t.notMatch(plain.toClient, /cancelled/);
  const login = play('imap', [IMAP_HELLO, ['C', 'a LOGIN bob x\r\nb NOOP\r\n']], {}, undefined, no);
  t.equal(login.toServer, 'b NOOP\r\n');
  t.match(login.toClient, /a NO \[UNAVAILABLE\]/);
  const ir = `a AUTHENTICATE PLAIN ${b64('\0bob\0pw')}\r\n`;
  t.equal(play('imap', [IMAP_HELLO, ['C', ir]], {}, undefined, no).toServer, '');
  const cram = play(
    'imap',
    [
      IMAP_HELLO,
      ['C', 'a AUTHENTICATE CRAM-MD5\r\n'],
      ['S', '+ x\r\n'],
      ['C', `${b64(`bob ${DIGEST}`)}\r\n`],
      ['S', 'a BAD x\r\n'],
    ],
    {},
    undefined,
    (login) => login !== 'bob',
  );
  t.match(cram.toClient, /a NO \[UNAVAILABLE\] Too many failed logins, try again later\r\n$/);
  t.equal(cram.toServer, 'a AUTHENTICATE CRAM-MD5\r\n*\r\n');
});

t.test('STLS and STARTTLS are answered here', async (t) => {
  const offer = { starttls: true };
  const capa: Piece[] = [
    POP3_HELLO,
    ['C', 'CAPA\r\n'],
    ['S', '+OK\r\nTOP\r\nSTLS\r\nSASL PLAIN SCRAM-SHA-1-PLUS X\r\n.\r\n'],
  ];
  t.match(alike(t, 'pop3', capa, offer).toClient, /\+OK\r\nTOP\r\nSASL PLAIN X\r\nSTLS\r\n\.\r\n$/);
  t.match(play('pop3', capa).toClient, /TOP\r\nSASL PLAIN X\r\n\.\r\n$/, 'not offered');
  const strict = { starttls: true, requireTls: true };
  t.match(play('pop3', capa, strict).toClient, /TOP\r\nSTLS\r\n\.\r\n$/, 'no login in clear text');
  const old: Piece[] = [POP3_HELLO, ['C', 'CAPA\r\n'], ['S', '-ERR what\r\n']];
  t.match(
    play('pop3', old, offer).toClient,
    /\+OK.*\r\nUSER\r\nSTLS\r\n\.\r\n$/,
    'for a server that knows no CAPA',
  );
  t.match(play('pop3', old).toClient, /-ERR what\r\n$/);

  const run = play('pop3', [POP3_HELLO, ['C', 'USER eve\r\n'], ['S', '+OK\r\n'], ['C', 'STLS\r\n']], offer);
  t.strictSame(run.events, ['tls']);
  t.equal(run.toServer, 'USER eve\r\n', 'the server hears nothing of it');
  run.watch.secured();
  feed(run, 'C', latin1('PASS x\r\nSTLS\r\n'));
  t.match(
    run.toClient,
    /-ERR USER comes first\r\n-ERR TLS is in force already\r\n$/,
    'nothing of before counts',
  );
  for (const pieces of [
    [['C', 'STLS\r\nUSER eve\r\n']],
    [
      ['C', 'STLS\r\n'],
      ['C', 'USER eve\r\n'],
    ],
  ] as Piece[][]) {
    const injected = play('pop3', [POP3_HELLO, ...pieces], offer);
    t.match(injected.events.at(-1), /end: octets in clear text/);
    t.equal(injected.toServer, '');
  }
  t.match(play('pop3', [POP3_HELLO, ['C', 'STLS\r\n']]).toClient, /-ERR STLS is not offered/);
  const clear = play('pop3', [POP3_HELLO, ['C', `USER bob\r\nAUTH PLAIN\r\nAPOP bob ${DIGEST}\r\n`]], strict);
  t.equal(clear.toServer, '');
  t.equal(clear.toClient.match(/-ERR TLS is needed/g)?.length, 3);

  const imap: Piece[] = [
    IMAP_HELLO,
    ['C', 'a CAPABILITY\r\n'],
    ['S', '* CAPABILITY IMAP4rev1 STARTTLS AUTH=PLAIN AUTH=X-PLUS\r\na OK\r\n'],
  ];
  t.match(
    alike(t, 'imap', imap, offer).toClient,
    /\[CAPABILITY IMAP4rev1 LITERAL\+ AUTH=PLAIN STARTTLS\] ready\r\n\* CAPABILITY IMAP4rev1 AUTH=PLAIN STARTTLS\r\n/,
  );
  t.match(play('imap', imap).toClient, /ready\r\n\* CAPABILITY IMAP4rev1 AUTH=PLAIN\r\n/);
  t.match(play('imap', imap, strict).toClient, /\r\n\* CAPABILITY IMAP4rev1 STARTTLS LOGINDISABLED\r\n/);
  t.match(
    play('imap', [IMAP_HELLO, ['C', 'a LOGIN bob pw\r\n']], strict).toClient,
    /a NO \[PRIVACYREQUIRED\]/,
  );
  const secured = play('imap', [IMAP_HELLO, ['C', 'a STARTTLS\r\n']], strict);
  t.strictSame(secured.events, ['tls']);
  secured.watch.secured();
  feed(secured, 'C', latin1('b CAPABILITY\r\n'));
  feed(secured, 'S', latin1('* CAPABILITY A STARTTLS AUTH=PLAIN\r\nb OK\r\n'));
  t.match(secured.toClient, /\* CAPABILITY A AUTH=PLAIN\r\nb OK\r\n$/);
  t.match(
    play('imap', [IMAP_HELLO, ['C', 'a STARTTLS\r\nb LOGIN eve x\r\n']], offer).events.at(-1),
    /clear text/,
  );
});

t.test('no login in clear text, however odd the server is', async (t) => {
  for (const protocol of ['pop3', 'imap'] as const) {
    const settings = { starttls: true, requireTls: true };
    const run = play(
      protocol,
      [
        ['S', 'hello\r\n'],
        ['C', 'USER bob\r\nPASS x\r\n'],
      ],
      settings,
    );
    t.match(run.events, [/end: the mail server is not understood/]);
    t.equal(run.toServer, '');
    t.match(play(protocol, [['S', 'hello\r\n']]).events, [/gave up/], 'others go on');
  }
});

t.test('what a client may not say', async (t) => {
  const pop3 = (text: string): Run => play('pop3', [POP3_HELLO, ['C', text]]);
  for (const line of [
    'XCLIENT ADDR=1.2.3.4',
    'STAT',
    'RETR 1',
    '',
    ' ',
    'USER',
    'USER ',
    'PASS',
    'APOP bob',
    'AUTH ?',
    'AUTH A B C',
    'LANG a b',
  ]) {
    const run = pop3(`${line}\r\n`);
    t.equal(run.toServer, '', line);
    t.match(run.toClient, /\r\n-ERR [A-Z]/, line);
    t.strictSame(run.events, [], line);
  }
  t.match(pop3('USER a\rUSER b\r\n').events, [/end: CR or NUL/]);
  t.match(pop3('USER a\0\r\n').events, [/end: CR or NUL/]);
  const imap = (text: string): Run => play('imap', [IMAP_HELLO, ['C', text]]);
  for (const line of [
    'a XCLIENT 1',
    'a',
    '',
    'a LOGIN bob',
    'a LOGIN bob pw x',
    'a LOGIN "bob pw',
    'a LOGIN bob  pw',
    'a NOOP x',
    'a LOGIN (bob) pw',
    'a AUTHENTICATE',
    'a AUTHENTICATE A B C',
    '+a NOOP',
    'a SELECT inbox',
    'a LOGIN "b\\ob" pw',
  ]) {
    const run = imap(`${line}\r\n`);
    t.equal(run.toServer, '', line);
    t.match(run.toClient, /\r\n(?:a|\*) BAD /, line);
    t.strictSame(run.events, [], line);
  }
  for (const [given, sent] of [
    ['a ID ("name" "x")', 'a ID ("name" "x")'],
    ['a ID ("x-originating-ip" "1.2.3.4")', 'a ID NIL'],
    ['a ID ("name" "a" "X-Connected-IP" "1.2.3.4")', 'a ID NIL'],
    ['a ID ("x\\-originating-ip" "1.2.3.4")', 'a ID NIL'],
    ['a ID ({16+}\r\nx-originating-ip "1.2.3.4")', 'a ID NIL'],
  ] as const)
    t.equal(imap(`${given}\r\n`).toServer, `${sent}\r\n`, given);
});

t.test('limits, at them and one past them', async (t) => {
  const { line, serverLine, serverTotal, commands, literals, response, waiting } = WATCH_LIMITS;
  const user = (length: number): string => `USER ${'x'.repeat(length - 7)}\r\n`;
  t.strictSame(play('pop3', [POP3_HELLO, ['C', user(line)]]).events, []);
  t.strictSame(play('pop3', [POP3_HELLO, ['C', user(line + 1)]]).events, ['end: line too long']);
  t.strictSame(
    play('pop3', [POP3_HELLO, ['C', 'x'.repeat(line)]]).events,
    ['end: line too long'],
    'without an end',
  );
  const auth: Piece[] = [POP3_HELLO, ['C', 'AUTH GSSAPI\r\n'], ['S', '+ \r\n']];
  t.match(play('pop3', [...auth, ['C', `${'x'.repeat(response - 2)}\r\n`]]).events, ['try undefined GSSAPI']);
  t.strictSame(play('pop3', [...auth, ['C', `${'x'.repeat(response - 1)}\r\n`]]).events, [
    'end: line too long',
  ]);
  const greeting = (length: number): Piece => ['S', `+OK ${'x'.repeat(length - 6)}\r\n`];
  t.strictSame(play('pop3', [greeting(serverLine)]).events, []);
  t.strictSame(play('pop3', [greeting(serverLine + 1)]).events, [
    'gave up: an endless line before the login',
  ]);
  t.strictSame(play('imap', [['S', 'x'.repeat(serverLine)]]).events, [
    'gave up: an endless line before the login',
  ]);

  const endless = start('pop3');
  feed(endless, 'S', latin1('+OK\r\n'));
  feed(endless, 'C', latin1('CAPA\r\n'));
  feed(endless, 'S', latin1('+OK\r\n'));
  for (let sent = 0; sent <= serverTotal; sent += 1_000) feed(endless, 'S', latin1(`${'x'.repeat(998)}\r\n`));
  t.strictSame(endless.events, ['gave up: endless octets before the login']);

  for (const protocol of ['pop3', 'imap'] as const) {
    const many = (count: number): Run =>
      play(protocol, [protocol === 'pop3' ? POP3_HELLO : IMAP_HELLO, ['C', 'a X\r\n'.repeat(count)]]);
    t.strictSame(many(commands).events, []);
    t.strictSame(many(commands + 1).events, ['end: too many commands before the login']);
  }

  const literal = (size: number, plus: string): Run =>
    play('imap', [
      IMAP_HELLO,
      ['C', `a LOGIN {${size}${plus}}\r\n`],
      ['C', `${'x'.repeat(Math.min(size, literals))} y\r\n`],
    ]);
  const head = 'a LOGIN {65520+}'.length;
  for (const plus of ['', '+']) {
    const most = literals - head + (plus === '' ? 1 : 0);
    t.match(literal(most, plus).events, ['try undefined LOGIN']);
    t.match(literal(most + 1, plus).events, ['end: [TOOBIG] literal too large']);
    t.match(literal(4_294_967_296, plus).events, ['end: [TOOBIG] literal too large']);
  }
  t.match(
    play('imap', [IMAP_HELLO, ['C', `a X${' {0+}\r\n'.repeat(50_000)}`]]).events,
    ['end: [TOOBIG] literal too large'],
    'empty literals end too',
  );
  const big = play('imap', [IMAP_HELLO, ['C', 'a ID NIL\r\n'], ['S', `* ID {${literals + 1}}\r\n`]]);
  t.strictSame(big.events, ['gave up: a literal too large']);
  t.strictSame(play('imap', [IMAP_HELLO, ['C', 'a ID NIL\r\n'], ['S', `* ID {${literals}}\r\n`]]).events, []);

  const pushy = start('pop3');
  feed(pushy, 'C', latin1('x'.repeat(waiting - 1)));
  t.equal(pushy.watch.wantsClient, true);
  feed(pushy, 'C', latin1('x'));
  t.equal(pushy.watch.wantsClient, false, 'who reads the socket stops');
});

t.test('names', async (t) => {
  t.equal(loginName(Buffer.from('x'.repeat(255))), 'x'.repeat(255));
  t.equal(loginName(Buffer.from('x'.repeat(256))), undefined);
  for (const bad of ['', ' a', 'a ', 'a\tb', 'a\nb', 'a\u200eb', 'a\u2028b', '\ufeffa'])
    t.equal(loginName(Buffer.from(bad)), undefined, encodeURIComponent(bad));
  const proven = (mechanism: string, ...responses: string[]): string | undefined => {
    const sasl = new SaslName(mechanism);
    for (const each of responses) sasl.respond(each);
    return sasl.proven;
  };
  t.equal(proven('PLAIN', b64('\0bob\0pw')), 'bob');
  t.equal(proven('PLAIN', b64('\0bob\0pw'), ''), undefined, 'one response too many');
  t.equal(proven('PLAIN', b64('\0bob\0pw\0x')), undefined);
  t.equal(proven('PLAIN', b64('bob\0pw')), undefined);
  t.equal(
    proven('PLAIN', b64('\0bob\0pw').replace(/=+$/, '')),
    b64('\0bob\0pw').endsWith('=') ? undefined : 'bob',
  );
  t.equal(proven('SCRAM-SHA-1', b64('n,a=root,n=bob,r=x'), 'x'), undefined);
  t.equal(proven('SCRAM-SHA-1', b64('n,a=bob,n=bob,r=x'), 'x'), 'bob');
  t.equal(proven('SCRAM-SHA-1', b64('n,,n=b=2cob,r=x'), 'x'), undefined);
  t.equal(proven('SCRAM-SHA-1', b64('n,,m=x,n=bob,r=x'), 'x'), undefined, 'a mandatory extension');
  t.equal(proven('SCRAM-SHA-1', b64('n,,n=bob,r=x')), undefined, 'no proof yet');
  t.equal(proven('CRAM-MD5', b64(`b o ${DIGEST}`)), 'b o');
  t.equal(proven('CRAM-MD5', b64(`bob ${DIGEST}0`)), undefined);
  t.equal(new SaslName('EVIL"LABEL').label, 'OTHER');
  t.strictSame(readStrings(['a "b" ', Buffer.from('c')])?.map(String), ['a', 'b', 'c']);
  t.equal(readStrings(['a', Buffer.from('c')]), undefined);
  t.equal(
    rewriteCapabilities('* OK [ALERT] STARTTLS', { offer: true, disableLogin: true }),
    '* OK [ALERT] STARTTLS',
  );
});

/** What servers and clients say, well or ill. */
const words = (list: readonly string[]): fc.Arbitrary<string> => fc.constantFrom(...list);
const SERVER = {
  pop3: words([
    '+OK\r\n',
    '+OK x\r\n',
    '-ERR\r\n',
    '+ \r\n',
    '+\r\n',
    '.\r\n',
    'STLS\r\n',
    '\r\n',
    '\n',
    '\r',
    '\0',
    '+OK',
    '-ERR [IN-USE] x\r\n',
    'TOP\r\n',
  ]),
  imap: words([
    '* OK x\r\n',
    'a OK\r\n',
    'b OK\r\n',
    'a NO\r\n',
    'b BAD x\r\n',
    '+ \r\n',
    '* ID ({3}\r\n',
    '* ID ("x" {9}\r\na OK\r\n',
    '* X {9}\r\n',
    '\r\n',
    '\r',
    '* PREAUTH\r\n',
    '* BYE\r\n',
    '* CAPABILITY STARTTLS\r\n',
    ')\r\n',
  ]),
};
const CLIENT = {
  pop3: words([
    'USER bob\r\n',
    'USER eve\r\n',
    'PASS x\r\n',
    'PASS y\r\n',
    `APOP bob ${DIGEST}\r\n`,
    'AUTH PLAIN\r\n',
    `AUTH PLAIN ${b64('\0bob\0x')}\r\n`,
    `${b64('\0bob\0x')}\r\n`,
    'AUTH LOGIN\r\n',
    `${b64('bob')}\r\n`,
    '*\r\n',
    'CAPA\r\n',
    'AUTH\r\n',
    'QUIT\r\n',
    'STLS\r\n',
    '\r',
    '\n',
    'RETR 1\r\n',
  ]),
  imap: words([
    'a LOGIN bob x\r\n',
    'b LOGIN {3}\r\n',
    'bob x\r\n',
    'a LOGIN {3+}\r\nbob {1+}\r\nx\r\n',
    'a AUTHENTICATE PLAIN\r\n',
    `b AUTHENTICATE PLAIN ${b64('\0bob\0x')}\r\n`,
    `${b64('\0bob\0x')}\r\n`,
    '*\r\n',
    'a NOOP\r\n',
    'b CAPABILITY\r\n',
    'a ID NIL\r\n',
    'a STARTTLS\r\n',
    'a LOGOUT\r\n',
    '\r',
    '"',
    'a LOGIN "b\xc3\xb6b" x\r\n',
  ]),
};

t.test('drawn dialogues, cut anywhere: nothing changes, and no yes without a question', async () => {
  for (const protocol of ['pop3', 'imap'] as const) {
    const piece = fc.oneof(
      fc.tuple(fc.constant('C' as const), CLIENT[protocol]),
      fc.tuple(fc.constant('S' as const), SERVER[protocol]),
    );
    const hello: Piece = protocol === 'pop3' ? POP3_HELLO : IMAP_HELLO;
    fc.assert(
      fc.property(
        fc.array(piece, { maxLength: 24 }),
        fc.array(fc.nat(40), { maxLength: 6 }),
        fc.boolean(),
        (drawn, places, starttls) => {
          const pieces: Piece[] = [hello, ...drawn];
          // Cuts of the server's pieces at line ends change who is waited for; within lines they must not.
          const whole = outcome(play(protocol, pieces, { starttls }, (octets) => [octets]));
          const again = outcome(play(protocol, pieces, { starttls }, (octets) => cut(octets, places)));
          const single = outcome(
            play(protocol, pieces, { starttls }, (octets) => [...octets].map((o) => Buffer.from([o]))),
          );
          if (JSON.stringify(whole) !== JSON.stringify(again))
            throw new Error(JSON.stringify([whole, again], null, 1));
          if (JSON.stringify(whole) !== JSON.stringify(single))
            throw new Error(JSON.stringify([whole, single], null, 1));
          const { events } = whole;
          const good = events.findIndex((each) => each.startsWith('ok '));
          if (good < 0) return;
          // A yes is the last of all, and the question to it stands just before.
          if (events.length !== good + 2 || events[good + 1] !== 'through') throw new Error(events.join());
          const who = events[good]?.slice(3);
          if (!who?.startsWith('undefined') && events[good - 1] !== `try ${who}`)
            throw new Error(events.join());
        },
      ),
      { numRuns: 3_000 },
    );
  }
});

t.test('drawn octets never break it', async () => {
  fc.assert(
    fc.property(
      fc.constantFrom('pop3' as const, 'imap' as const),
      fc.array(fc.tuple(fc.constantFrom('C' as const, 'S' as const), fc.uint8Array({ maxLength: 60 })), {
        maxLength: 20,
      }),
      (protocol, pieces) => {
        const run = start(protocol);
        for (const [who, octets] of pieces) feed(run, who, Buffer.from(octets));
        if (run.events.some((each) => each.startsWith('ok '))) throw new Error(run.events.join());
      },
    ),
    { numRuns: 2_000 },
  );
});

t.test('lines', async (t) => {
  const buffer = new LineBuffer();
  buffer.push(latin1('abc\r\nde'));
  t.equal(buffer.next(4), 'too-long');
  const line = buffer.next(5);
  t.match(line, { text: 'abc' });
  t.equal(buffer.next(3), undefined);
  t.equal(buffer.next(2), 'too-long');
  buffer.push(latin1('\nx'));
  t.match(buffer.next(3), { text: 'de' });
  t.equal(buffer.take(9).toString(), 'x');
  t.equal(buffer.length, 0);
});

t.test('PROXY protocol headers', async (t) => {
  const end = (address: string, port: number) => {
    const ip = parseIp(address);
    if (ip === undefined) throw new Error(address);
    return { ip, port };
  };
  const v4 = [end('192.0.2.1', 56_324), end('198.51.100.2', 110)] as const;
  const v6 = [end('2001:db8::1', 1), end('2001:db8::2', 65_535)] as const;
  t.equal(printProxyHeader('v1', ...v4).toString(), 'PROXY TCP4 192.0.2.1 198.51.100.2 56324 110\r\n');
  t.equal(printProxyHeader('v1', ...v6).toString(), 'PROXY TCP6 2001:db8::1 2001:db8::2 1 65535\r\n');
  t.equal(
    printProxyHeader('v1', v4[0], v6[1]).toString(),
    'PROXY TCP6 ::ffff:192.0.2.1 2001:db8::2 56324 65535\r\n',
    'one family for both',
  );
  const signature = '0d0a0d0a000d0a515549540a';
  t.equal(printProxyHeader('v2', ...v4).toString('hex'), `${signature}2111000cc0000201c6336402dc04006e`);
  t.equal(
    printProxyHeader('v2', ...v6).toString('hex'),
    `${signature}2121002420010db800000000000000000000000120010db80000000000000000000000020001ffff`,
  );
  t.match(printProxyHeader('v2', v6[0], v4[1]).toString('hex'), /ffffc6336402/);
});
