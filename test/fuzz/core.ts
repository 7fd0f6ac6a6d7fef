/** The parts that read octets of others without a socket, each fed what a grammar makes and chance spoils. */
import { parseIp } from '../../src/base/ip.js';
import { printProxyHeader } from '../../src/base/proxy-header.js';
import { MECHANISMS } from '../../src/identity/sasl/index.js';
import type { SaslContext, SaslStep } from '../../src/identity/sasl/mechanism.js';
import { DEFAULT_LENIENCY, parseCommand, printCommand } from '../../src/smtp/command.js';
import { DataScanner } from '../../src/smtp/data-scanner.js';
import { LineScanner } from '../../src/smtp/line-scanner.js';
import { ReplyParser } from '../../src/smtp/reply-parser.js';
import { step } from '../../src/smtp/session/machine.js';
import type { LoginWatch, WatchEffects } from '../../src/windows/sources/login-watch.js';
import { ImapWatch } from '../../src/windows/sources/login-watch-imap.js';
import { Pop3Watch } from '../../src/windows/sources/login-watch-pop3.js';
import { lettersFor, SITES } from '../model/alphabet.js';
import { World } from '../model/world.js';
import { anyCommand } from './generate.js';
import type { Random } from './random.js';

const latin1 = (text: string): Buffer => Buffer.from(text, 'latin1');

const SPECIAL = [
  '\r',
  '\n',
  '\0',
  '.',
  '<',
  '>',
  '@',
  '"',
  '\\',
  '{',
  '}',
  ' ',
  '\xff',
  '\x80',
  '(',
  ')',
  ':',
];

/** A text with a few octets changed. */
const spoilt = (random: Random, text: string): string => {
  let out = text;
  for (let i = random.int(4); i > 0; i -= 1) {
    const at = random.int(out.length + 1);
    const octet = random.chance(0.7) ? random.pick(SPECIAL) : String.fromCharCode(random.int(256));
    out = out.slice(0, at) + (random.chance(0.8) ? octet : '') + out.slice(at + random.int(3));
  }
  return out;
};

/** A stream cut at random places. */
const pieces = (random: Random, stream: string): Buffer[] => {
  const out: Buffer[] = [];
  for (let at = 0; at < stream.length; ) {
    const length = 1 + random.int(random.chance(0.3) ? 3 : 60);
    out.push(latin1(stream.slice(at, at + length)));
    at += length;
  }
  return out;
};

/** What was parsed is printed anew, and printed so that it is read as the same. */
const commands = (random: Random): string | undefined => {
  const line = spoilt(random, anyCommand(random));
  const options = { utf8: random.chance(0.3), smtpUtf8Available: true, leniency: DEFAULT_LENIENCY };
  const octets = latin1(line);
  const first = parseCommand(octets, 0, octets.length, options);
  if (!first.ok || (first.value.verb !== 'MAIL' && first.value.verb !== 'RCPT')) return undefined;
  const printed = printCommand(first.value);
  if (/[\r\n\0](?!$)/.test(printed.slice(0, -2)) || !printed.endsWith('\r\n'))
    return `prints ${JSON.stringify(printed)}`;
  const again = latin1(printed);
  const utf8 = options.utf8 || first.value.params.some(({ keyword }) => keyword === 'SMTPUTF8');
  const second = parseCommand(again, 0, again.length - 2, { ...options, utf8 });
  if (!second.ok)
    return `${JSON.stringify(line)} is printed as ${JSON.stringify(printed)}, which does not parse`;
  if (second.value.verb !== first.value.verb || printCommand(second.value as typeof first.value) !== printed)
    return `${JSON.stringify(line)} is read anew as something else`;
  return undefined;
};

/** However a stream is cut, the lines are the same. */
const lines = (random: Random): string | undefined => {
  const stream = random.times(5, () => `${spoilt(random, anyCommand(random))}\r\n`).join('');
  const read = (chunks: readonly Buffer[]): string => {
    const scanner = new LineScanner({ limit: 512 });
    const out: string[] = [];
    for (const chunk of chunks) {
      scanner.push(chunk);
      for (;;) {
        const scan = scanner.next();
        if (scan.kind === 'need-more') break;
        if (scan.kind === 'line') out.push(scan.buffer.toString('latin1', scan.start, scan.end));
        else out.push(`! ${scan.kind === 'fault' ? scan.fault : scan.kind}`);
        if (scan.kind === 'fault' || scan.kind === 'far-too-long') return out.join('|');
      }
    }
    return out.join('|');
  };
  const [whole, cut] = [read([latin1(stream)]), read(pieces(random, stream))];
  return whole === cut ? undefined : `${JSON.stringify(stream)}: ${JSON.stringify([whole, cut])}`;
};

/** Message data: the same octets pass and the same end is found at every cut; nothing bare ever passes. */
const data = (random: Random): string | undefined => {
  const stream = spoilt(
    random,
    `${random.times(8, () => `${random.pick(['.', '..', 'x', '.x', ''])}\r\n`).join('')}.\r\nRSET\r\n`,
  );
  const limits = {
    lineLimit: 998,
    overLong: 'reject',
    eightBit: 'pass',
    bareLf: random.pick(['reject', 'convert'] as const),
  } as const;
  const read = (chunks: readonly Buffer[]): { out: string; how: string } => {
    const scanner = new DataScanner(limits);
    let out = '';
    let at = 0;
    for (const chunk of chunks) {
      const scan = scanner.scan(chunk, (view) => {
        out += view.toString('latin1');
      });
      if (scan.kind === 'end') return { out, how: `end ${at + scan.next}` };
      if (scan.kind === 'fault') return { out, how: scan.fault };
      at += chunk.length;
    }
    return { out, how: 'more' };
  };
  const [whole, cut] = [read([latin1(stream)]), read(pieces(random, stream))];
  if (whole.how !== cut.how || (whole.how !== 'more' && whole.out !== cut.out))
    return `${JSON.stringify(stream)}: ${JSON.stringify([whole, cut])}`;
  return /\r(?!\n)|(?<!\r)\n|\0|(?:^|\r\n)\.\r\n/.test(whole.out)
    ? `passes ${JSON.stringify(whole.out)}`
    : undefined;
};

const REPLIES = [
  '250 ok\r\n',
  '250-a\r\n250 b\r\n',
  '354 go\r\n',
  '421 4.3.2 bye\r\n',
  '550-5.1.1 x\r\n550 5.1.1 y\r\n',
  '250\r\n',
  '250ok\r\n',
];

const replies = (random: Random): string | undefined => {
  const stream = spoilt(random, random.times(4, () => random.pick(REPLIES)).join(''));
  const read = (chunks: readonly Buffer[]): string => {
    const parser = new ReplyParser();
    const out: string[] = [];
    for (const chunk of chunks) {
      parser.push(chunk);
      for (;;) {
        const scan = parser.next();
        if (scan.kind === 'need-more') break;
        if (scan.kind === 'fault') return [...out, scan.why].join('|');
        if (/[\0-\x1f\x7f]/.test(scan.reply.lines.join(''))) return 'controls in a reply';
        out.push(`${scan.reply.code} ${scan.reply.enhanced} ${scan.reply.lines.join('~')}`);
      }
    }
    return out.join('|');
  };
  const [whole, cut] = [read([latin1(stream)]), read(pieces(random, stream))];
  if (whole.includes('controls')) return whole;
  return whole === cut ? undefined : `${JSON.stringify(stream)}: ${JSON.stringify([whole, cut])}`;
};

/** A random walk through the session machine, far beyond the limits of the model check. */
const walk = (random: Random): string | undefined => {
  const site = SITES[random.pick(Object.keys(SITES))];
  if (site === undefined) return 'no such listener';
  const world = World.begin({ ...site.large, errors: 30, idleCommands: 60, recipients: 10 });
  const trace: string[] = [];
  for (let i = 0; i < 300; i += 1) {
    const letters = lettersFor(world).filter(
      // What ends most walks at once is chosen seldom.
      ({ event }) => !/^(?:framing|timeout|client-gone|shutdown)$/.test(event.type) || random.chance(0.03),
    );
    if (letters.length === 0) break;
    const { name, event } = random.pick(letters);
    trace.push(name);
    world.happen(event, step);
    const [violation] = world.violations;
    if (violation !== undefined)
      return `${violation.invariant}: ${violation.what} after ${trace.join(' → ')}`;
  }
  return undefined;
};

const CLIENT = {
  pop3: [
    'USER alice',
    'PASS secret',
    'APOP alice 0123456789abcdef0123456789abcdef',
    'AUTH PLAIN',
    'AGFsaWNlAHNlY3JldA==',
    'CAPA',
    'STLS',
    'QUIT',
    '*',
  ],
  imap: [
    'a LOGIN alice secret',
    'a LOGIN {5}',
    'alice {6+}',
    'secret',
    'b AUTHENTICATE PLAIN',
    'AGFsaWNlAHNlY3JldA==',
    'c CAPABILITY',
    'd STARTTLS',
    'e LOGOUT',
    '*',
  ],
} as const;
const SERVER = {
  pop3: ['+OK ready <1.2@h>', '+OK', '-ERR no', '+ ', '.', 'PIPELINING', '+OK logged in'],
  imap: [
    '* OK ready',
    'a OK done',
    'a NO no',
    '+ go',
    '* CAPABILITY IMAP4rev1 AUTH=PLAIN',
    'b OK x',
    '* BYE',
    'a BAD',
  ],
} as const;

/** No login is ever said to be good before the server said so; nothing throws; what waits is bounded. */
const logins = (random: Random): string | undefined => {
  const protocol = random.pick(['pop3', 'imap'] as const);
  let open = 0;
  let fault: string | undefined;
  let ended = false;
  const later: (() => void)[] = [];
  const effects: WatchEffects = {
    toServer: () => undefined,
    toClient: () => undefined,
    attempt: () => {
      open += 1;
      later.push(() => (random.chance(0.9) ? watch.proceed() : watch.turnAway()));
    },
    outcome: ({ login }, result) => {
      // A server may say yes to an exchange in which nobody was named yet: then nobody has logged in.
      if (open <= 0 && result === 'ok' && login !== undefined) fault = 'a login that nobody tried';
      open = 0;
      later.push(() => watch.proceed());
    },
    startTls: () => later.push(() => watch.secured()),
    passThrough: () => undefined,
    end: () => {
      ended = true;
    },
  };
  const settings = { starttls: true, secure: random.chance(0.5), requireTls: false };
  const watch: LoginWatch =
    protocol === 'pop3' ? new Pop3Watch(settings, effects) : new ImapWatch(settings, effects);
  for (let i = 0; i < 20 && !ended && fault === undefined; i += 1) {
    const side = random.chance(0.5);
    const line = spoilt(random, `${random.pick(side ? CLIENT[protocol] : SERVER[protocol])}\r\n`);
    for (const piece of pieces(random, line)) {
      if (side) watch.fromClient(piece);
      else watch.fromServer(piece);
      for (let act = later.shift(); act !== undefined; act = later.shift()) act();
    }
  }
  return fault;
};

const CONTEXT: SaslContext = {
  nonce: 'fyko+d2lbbFgONRv9qkxdawL',
  hostname: 'mail.local.example',
  time: 0,
  bindings: new Map(),
  plusOffered: false,
  certificate: undefined,
};
const RESPONSES = [
  '\0alice\0secret',
  'alice',
  'secret',
  'n,,n=alice,r=abc',
  'c=biws,r=abcfyko+d2lbbFgONRv9qkxdawL,p=dGVzdA==',
  'n,a=alice,\x01auth=Bearer t\x01\x01',
  'user=alice\x01auth=Bearer t\x01\x01',
  'alice 0123456789abcdef0123456789abcdef',
  '',
];

/** No mechanism lets anybody in whom nobody has vouched for, or hangs on a response, or throws. */
const sasl = (random: Random): string | undefined => {
  const mechanism = random.pick(MECHANISMS);
  const exchange = mechanism.begin(CONTEXT);
  let judged = false;
  let answer: SaslStep = exchange.respond(
    random.chance(0.3) ? undefined : latin1(spoilt(random, random.pick(RESPONSES))),
  );
  for (let i = 0; i < 8; i += 1) {
    if (answer.kind === 'done') return judged ? undefined : `${mechanism.name} lets somebody in`;
    if (answer.kind === 'failed') return undefined;
    if (answer.kind === 'verify') {
      judged = random.chance(0.5);
      answer = exchange.outcome(
        judged ? { kind: 'ok', login: { name: 'alice' } } : { kind: 'wrong', why: 'test' },
      );
    } else if (answer.kind === 'keys') {
      const keys = {
        salt: latin1('salt'),
        iterations: 4096,
        storedKey: Buffer.alloc(32),
        serverKey: Buffer.alloc(32),
      };
      answer = exchange.keys(keys, { name: 'alice' });
    } else answer = exchange.respond(latin1(spoilt(random, random.pick(RESPONSES))));
  }
  return `${mechanism.name} never ends`;
};

/** Whoever reads a header by HAProxy's text finds the addresses that were put in. */
const proxyHeaders = (random: Random): string | undefined => {
  const ip = (): string =>
    random.chance(0.5)
      ? Array.from({ length: 4 }, () => random.int(256)).join('.')
      : Array.from({ length: 8 }, () => random.int(65_536).toString(16)).join(':');
  const [client, server] = [parseIp(ip()), parseIp(ip())];
  if (client === undefined || server === undefined) return 'an address does not parse';
  const ports = [random.int(65_536), random.int(65_536)] as const;
  const ends = [
    { ip: client, port: ports[0] },
    { ip: server, port: ports[1] },
  ] as const;
  const line = printProxyHeader('v1', ...ends).toString('latin1');
  const [, family, from, to, a, b] = /^PROXY (TCP[46]) (\S+) (\S+) (\d+) (\d+)\r\n$/.exec(line) ?? [];
  const back = parseIp(from ?? '');
  if (
    back?.text !== client.text ||
    parseIp(to ?? '')?.text !== server.text ||
    Number(a) !== ports[0] ||
    Number(b) !== ports[1]
  )
    return `v1: ${JSON.stringify(line)}`;
  const header = printProxyHeader('v2', ...ends);
  const wide = family === 'TCP6';
  const length = wide ? 36 : 12;
  if (
    header.length !== 16 + length ||
    header.readUInt16BE(14) !== length ||
    header[13] !== (wide ? 0x21 : 0x11)
  )
    return `v2: ${header.toString('hex')}`;
  return header.readUInt16BE(header.length - 4) === ports[0] ? undefined : 'v2: another port';
};

const caught =
  (target: (random: Random) => string | undefined) =>
  (random: Random): string | undefined => {
    try {
      return target(random);
    } catch (error) {
      return error instanceof Error ? (error.stack ?? error.message) : String(error);
    }
  };

/** Each says what was wrong, or nothing. */
export const CORE_TARGETS: Readonly<Record<string, (random: Random) => string | undefined>> = {
  commands: caught(commands),
  lines: caught(lines),
  data: caught(data),
  replies: caught(replies),
  'a walk through the machine': caught(walk),
  'POP3 and IMAP logins': caught(logins),
  sasl: caught(sasl),
  'PROXY headers': caught(proxyHeaders),
};
