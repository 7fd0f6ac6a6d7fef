/** Dialogues made by a grammar of SMTP and then spoilt: commands, message data, cuts, pauses and ends, on both sides. */
import type { FuzzCase, FuzzClient, Move, MtaAct, MtaStep } from './case.js';
import type { Random } from './random.js';

const LOCALS = [
  'bob',
  'a.b',
  '"quoted name"',
  'x%victim.example',
  'victim.example!y',
  'bob+tag',
  'BOB',
  '"a\\"b"',
];
const DOMAINS = [
  ...[
    'local.example',
    'LOCAL.example',
    'victim.example',
    'local.example.',
    '[127.0.0.1]',
    'local.example@victim.example',
  ],
  ...['xn--bcher-kva.example', '[IPv6:::1]', 'b\xc3\xbccher.example', 'local.example\x7f', ''],
];
const PARAMS = [
  ...[
    'SIZE=100',
    'SIZE=99999999',
    'BODY=8BITMIME',
    'BODY=7BIT',
    'SMTPUTF8',
    'RET=FULL',
    'ENVID=x+20y',
    'NOTIFY=NEVER',
  ],
  ...['NOTIFY=SUCCESS,DELAY', 'ORCPT=rfc822;a@b.example', 'AUTH=<>', 'X=Y', 'SIZE=1 SIZE=2', 'BY=1;R'],
];

const pathOf = (random: Random): string => {
  if (random.chance(0.06)) return '<>';
  if (random.chance(0.05))
    return random.pick([
      '<|/bin/sh>',
      '</etc/passwd>',
      '<:include:/x>',
      '<(comment)>',
      '<@a,@b:c@local.example>',
    ]);
  // Mostly what will pass, or nothing would ever reach the upstream.
  if (random.chance(0.6)) return `<${random.pick(['bob', 'eve', 'a.b'])}@local.example>`;
  return `<${random.pick(LOCALS)}@${random.pick(DOMAINS)}>`;
};

const paramsOf = (random: Random): string =>
  random.chance(0.75)
    ? ''
    : ` ${[random.pick(PARAMS), ...random.times(1, () => random.pick(PARAMS))].join(' ')}`;

const base64 = (text: string): string => Buffer.from(text, 'latin1').toString('base64');

const AUTHS = [
  `AUTH PLAIN ${base64('\0alice\0secret')}`,
  `AUTH PLAIN ${base64('\0alice\0wrong')}`,
  ...[
    'AUTH PLAIN',
    'AUTH LOGIN',
    'AUTH CRAM-MD5',
    'AUTH SCRAM-SHA-256 biwsbj1hbGljZSxyPWFiYw==',
    'AUTH PLAIN =',
    'AUTH',
  ],
  ...['AUTH XOAUTH2 !!!', 'AUTH NTLM', 'AUTH EXTERNAL =', `AUTH LOGIN ${base64('alice')}`],
];

const RESPONSES = [
  base64('alice'),
  base64('secret'),
  base64('\0alice\0secret'),
  '*',
  '',
  '=',
  '!!!!',
  'A'.repeat(13_000),
];

/** Any command, with or without sense. */
export const anyCommand = (random: Random): string => {
  const kind = random.int(14);
  if (kind < 3) return `MAIL FROM:${pathOf(random)}${paramsOf(random)}`;
  if (kind < 7) return `RCPT TO:${pathOf(random)}${paramsOf(random)}`;
  if (kind === 7) return 'DATA';
  if (kind === 8)
    return random.pick(['RSET', 'NOOP', 'NOOP x', 'HELP', 'VRFY root', 'EXPN all', 'ETRN x', 'QUIT']);
  if (kind === 9)
    return random.pick([
      'EHLO c.example',
      'HELO c.example',
      'EHLO [192.0.2.1]',
      'EHLO',
      'HELO a b',
      'LHLO x',
    ]);
  if (kind === 10) return random.pick(AUTHS);
  if (kind === 11)
    return random.pick(['STARTTLS', 'STARTTLS x', 'BDAT 10 LAST', 'XCLIENT ADDR=1.2.3.4', 'XFORWARD NAME=x']);
  if (kind === 12)
    return random.pick([
      'GET / HTTP/1.1',
      'PROXY TCP4 1.2.3.4 5.6.7.8 1 25',
      '\x16\x03\x01\x02',
      'SSH-2.0-x',
      'TURN',
      'DEBUG',
    ]);
  return random.pick([
    'mail from:<a@b.example>',
    'rcpt to: bob@local.example',
    ' NOOP',
    'NOOP ',
    'M\xc4IL',
    'x'.repeat(600),
    'x'.repeat(70_000),
    '',
  ]);
};

const LINES = [
  ...[
    'Hello',
    '',
    '.',
    '..',
    '.x',
    ' .',
    'x'.repeat(990),
    'x'.repeat(1_200),
    '\xe9t\xe9',
    'From: a@b.example',
  ],
  ...[
    'Received: from a by b',
    'MAIL FROM:<smuggled@sender.example>',
    'RCPT TO:<y@victim.example>',
    'DATA',
    'QUIT',
  ],
  ...['Content-Type: multipart/mixed; boundary="b"', '--b', 'To: <<<<>>>>', 'X: \t\x0b\x0c', '\x85.\x85'],
];
const ENDS = ['\r\n', '\r\n', '\r\n', '\r\n', '\r\n', '\r\n', '\r\n', '\n', '\r', '\n\r', '\0\r\n', '\r\r\n'];

/** Message data up to the final dot. `sound`: its framing is beyond doubt. */
const body = (random: Random, mark: string, sound: boolean): string => {
  const lines = [`X-Mark: ${mark}`, ...random.times(6, () => random.pick(LINES))];
  if (random.chance(0.1)) lines.push(...Array.from({ length: 40 }, () => 'Received: from a by b; Mon'));
  if (random.chance(0.05)) lines.push(...Array.from({ length: 30 }, () => 'y'.repeat(900)));
  return lines
    .map((line, i) => {
      if (sound) return `${line.startsWith('.') ? `.${line}` : line}\r\n`;
      return `${line}${i === 0 ? '\r\n' : random.pick(ENDS)}`;
    })
    .join('');
};

const FINAL = [
  '.\r\n',
  '.\r\n',
  '.\r\n',
  '.\r\n',
  '.\n',
  '\n.\r\n',
  '.\r',
  '\r.\r\n',
  '..\r\n',
  '.\r\n.\r\n',
  '.\0\r\n',
];

class Dialogue {
  readonly moves: Move[] = [];

  constructor(
    private readonly random: Random,
    /** One command at a time, in good framing. */
    readonly orderly: boolean,
  ) {}

  command(line: string): void {
    const { random, orderly } = this;
    const end = orderly || random.chance(0.97) ? '\r\n' : random.pick(ENDS);
    this.moves.push({ send: `${line}${end}` });
    if (orderly || random.chance(0.6)) this.moves.push('reply');
    if (random.chance(0.03)) this.moves.push({ pause: random.int(40) });
  }

  message(mark: string): void {
    const { random, orderly } = this;
    const sound = orderly || random.chance(0.5);
    const text = body(random, mark, sound);
    const final = sound ? '.\r\n' : random.pick(FINAL);
    const whole = text + final;
    const at = random.chance(0.2) ? random.int(whole.length) : whole.length;
    this.moves.push({ message: [whole.slice(0, at), whole.slice(at)], pause: random.int(30) });
    if (orderly || random.chance(0.7)) this.moves.push('reply');
  }
}

/** A mail as it should be, up to the final dot. */
const mail = (random: Random, dialogue: Dialogue, mark: string): void => {
  dialogue.command(
    `MAIL FROM:${random.chance(0.8) ? '<a@sender.example>' : pathOf(random)}${paramsOf(random)}`,
  );
  for (let i = random.int(3); i >= 0; i -= 1)
    dialogue.command(`RCPT TO:${pathOf(random)}${paramsOf(random)}`);
  dialogue.command('DATA');
  dialogue.message(mark);
};

const client = (random: Random, nth: number, tls: boolean): FuzzClient => {
  const orderly = random.chance(0.4);
  const dialogue = new Dialogue(random, orderly);
  if (orderly || random.chance(0.9)) dialogue.moves.push('reply');
  const hello = (): void =>
    dialogue.command(random.pick(['EHLO c.example', 'EHLO c.example', 'HELO c.example']));
  if (random.chance(0.95)) hello();
  if (tls && random.chance(0.5)) {
    dialogue.command(random.chance(0.9) ? 'STARTTLS' : 'STARTTLS\r\nNOOP');
    dialogue.moves.push('tls');
    hello();
    if (random.chance(0.4)) dialogue.command(random.pick(AUTHS));
    if (!orderly) for (const each of random.times(2, () => random.pick(RESPONSES))) dialogue.command(each);
  }
  for (let i = 0; i < 1 + random.int(4); i += 1) {
    // An orderly client knows that DATA may be refused: it says no message then, so it says DATA only in `mail`.
    if (random.chance(0.65)) mail(random, dialogue, `${nth}.${i}`);
    else
      for (const line of random.times(3, () => anyCommand(random)))
        if (!orderly || !/^(?:DATA|AUTH|STARTTLS|QUIT)|[\x00-\x08]/.test(line)) dialogue.command(line);
  }
  if (random.chance(0.5)) dialogue.command('QUIT');
  else if (random.chance(0.7)) dialogue.moves.push(random.pick(['fin', 'rst']));
  return {
    from: random.chance(0.25) ? '127.0.0.1' : '127.0.0.2',
    orderly,
    cuts: random.chance(0.4) ? random.times(4, () => 1 + random.int(40)) : [],
    moves: spoil(random, dialogue.moves, orderly),
  };
};

/** Now and then something is lost, said twice, or broken off. */
const spoil = (random: Random, moves: readonly Move[], orderly: boolean): Move[] => {
  const out = [...moves];
  if (random.chance(0.12))
    out.splice(random.int(out.length + 1), out.length, random.pick(['fin', 'rst'] as const));
  if (orderly || random.chance(0.7)) return out;
  const at = random.int(out.length);
  const move = out[at];
  if (move !== undefined && typeof move === 'object' && 'send' in move) {
    const { send } = move;
    const place = random.int(send.length);
    const octet = random.pick(['\0', '\r', '\n', '\r\n', '.', '\xff', '\x1b', ' ', ':']);
    const changed = random.pick([
      send + send,
      send.slice(0, place) + octet + send.slice(place),
      send.slice(0, place) + send.slice(place + 1),
      '',
    ]);
    out[at] = { send: changed };
  }
  return out;
};

const STEPS: readonly MtaStep[] = [
  'connect',
  'EHLO',
  'HELO',
  'MAIL',
  'RCPT',
  'RCPT',
  'DATA',
  'DATA',
  'body',
  'dot',
  'dot',
  'RSET',
  'QUIT',
];

const BAD: Readonly<Record<MtaStep, readonly string[]>> = {
  connect: ['554 no\r\n', '220-a\r\n220 b\r\n', 'hello\r\n', '', '220 a\r\n250 b\r\n', '220'],
  EHLO: [
    '421 no\r\n',
    '250 x\r\n',
    '250-x\r\n',
    '250-x\r\n550 y\r\n',
    '',
    '250-x\r\n250-SIZE 500\r\n250 8BITMIME\r\n',
  ],
  HELO: ['500 no\r\n', ''],
  MAIL: [
    '553 no\r\n',
    '421 bye\r\n',
    '250 ok\r\n250 again\r\n',
    '',
    '354 x\r\n',
    '\0\r\n',
    '250-a\r\n250 b\r\n',
    '25',
  ],
  RCPT: [
    '550 no such user\r\n',
    '450 later\r\n',
    '421 bye\r\n',
    '250 ok\r\n550 no\r\n',
    '250 ok\r\n354 go\r\n',
    '',
    '999 x\r\n',
    '250ok\r\n',
  ],
  DATA: [
    '451 no\r\n',
    '250 what\r\n',
    '354 go\r\n250 too early\r\n',
    '421 bye\r\n',
    '',
    '354\r\n',
    `354 ${'x'.repeat(3_000)}\r\n`,
  ],
  // In the midst of a message nothing may be said, least of all that it was taken.
  body: ['451 early\r\n', '421 bye\r\n', 'x\r\n', '554 5.6.0 no'],
  dot: [
    '554 spam\r\n',
    '451 later\r\n',
    '421 bye\r\n',
    '',
    '354 more\r\n',
    '250 {Q}\r\n250 again\r\n',
    '250-{Q} a\r\n250 {Q} b\r\n',
    'x'.repeat(5_000),
    '552-a\r\n552 b\r\n',
  ],
  RSET: ['500 no\r\n', '', '421 bye\r\n', '250 ok\r\n250 more\r\n'],
  QUIT: ['', '250 no\r\n'],
};

const act = (random: Random, step: MtaStep): MtaAct => {
  const kind = random.int(10);
  if (kind < 4) return { say: random.pick(BAD[step]) };
  if (kind < 6) return { cut: 1 + random.int(5) };
  if (kind < 7) return { delay: random.int(80) };
  if (kind < 9) return { close: random.pick(['fin', 'rst']) };
  return {
    later: random.int(30),
    say2: random.pick(['550 unasked\r\n', '421 bye\r\n', 'x', '451-more\r\n']),
  };
};

const script = (random: Random): FuzzCase['mta'] => {
  const out: Partial<Record<MtaStep, (MtaAct | null)[]>> = {};
  if (random.chance(0.45)) return out;
  for (let i = random.int(3); i >= 0; i -= 1) {
    const step = random.pick(STEPS);
    out[step] = [...(out[step] ?? []), ...random.times(2, () => null), act(random, step)];
  }
  return out;
};

const KEYWORDS = [
  '8BITMIME',
  'SIZE',
  'SIZE 20000',
  'DSN',
  'SMTPUTF8',
  'PIPELINING',
  'STARTTLS',
  'XCLIENT NAME ADDR',
  'CHUNKING',
  'AUTH PLAIN',
];

export const generate = (random: Random, name: string): FuzzCase => {
  const tls = random.chance(0.25);
  const clients = Array.from({ length: 1 + random.int(3) }, (_, i) => client(random, i, tls));
  return {
    name,
    ehlo: random.chance(0.2) ? null : [...new Set(random.times(5, () => random.pick(KEYWORDS)))],
    mta: script(random),
    tls,
    small: random.chance(0.3),
    bareLf: random.chance(0.1) ? 'convert' : 'reject',
    clients,
  };
};
