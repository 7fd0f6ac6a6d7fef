import fc from 'fast-check';
import t from 'tap';
import {
  type Command,
  type CommandFault,
  DEFAULT_LENIENCY,
  type ParseOptions,
  parseCommand,
  printCommand,
} from '../../src/smtp/command.js';
import type { Path } from '../../src/smtp/path.js';
import { needsUtf8, REPLIES, type Reply } from '../../src/smtp/reply.js';

const OPTIONS: ParseOptions = { utf8: false, smtpUtf8Available: false, leniency: DEFAULT_LENIENCY };
const STRICT: ParseOptions = {
  ...OPTIONS,
  leniency: { spaceAroundColon: false, noBrackets: false, noClosingBracket: false },
};
const UTF8: ParseOptions = { ...OPTIONS, utf8: true, smtpUtf8Available: true };

const run = (line: string, options = OPTIONS) => {
  const buffer = Buffer.from(`xx${line}\r\nyy`, 'latin1');
  return parseCommand(buffer, 2, 2 + line.length, options);
};

const command = (line: string, options = OPTIONS): Command => {
  const parsed = run(line, options);
  if (!parsed.ok) throw new Error(`${line}: ${parsed.error.reply.lines[0]}`);
  return parsed.value;
};

const fault = (line: string, options = OPTIONS): CommandFault | undefined => {
  const parsed = run(line, options);
  return parsed.ok ? undefined : parsed.error;
};

/** What the upstream would hear of MAIL or RCPT; the code of the reply where it would hear nothing. */
const printed = (line: string, options = OPTIONS): string | number => {
  const parsed = run(line, options);
  if (!parsed.ok) return parsed.error.reply.code;
  const { value } = parsed;
  return value.verb === 'MAIL' || value.verb === 'RCPT'
    ? printCommand(value).replace(/\r\n$/, '')
    : value.verb;
};

const octets = (text: string): string => Buffer.from(text, 'utf8').toString('latin1');

t.test('commands that take no path', async (t) => {
  t.same(command('EHLO [IPv6:2001:db8::1]'), { verb: 'EHLO', host: '[IPv6:2001:db8::1]' });
  t.same(command('helo  my_old.device:1'), { verb: 'HELO', host: 'my_old.device:1' });
  t.same(command('data'), { verb: 'DATA' });
  t.same(command('RSET  '), { verb: 'RSET' }, 'trailing spaces');
  t.same(command('Quit'), { verb: 'QUIT' });
  t.same(command('STARTTLS'), { verb: 'STARTTLS' });
  t.same(command('NOOP'), { verb: 'NOOP', argument: '' });
  t.same(command('VRFY bob@a.example'), { verb: 'VRFY', argument: 'bob@a.example' });
  t.same(command('ETRN a.example'), { verb: 'ETRN', argument: 'a.example' });
  t.same(command('BDAT 10 LAST'), { verb: 'BDAT', argument: '10 LAST' });
  t.same(command('auth plain'), { verb: 'AUTH', mechanism: 'PLAIN', initial: undefined });
  t.same(command('AUTH PLAIN AGEAYg=='), { verb: 'AUTH', mechanism: 'PLAIN', initial: 'AGEAYg==' });
  t.same(command('AUTH EXTERNAL ='), { verb: 'AUTH', mechanism: 'EXTERNAL', initial: '=' });
  t.same(command(`AUTH ${'X'.repeat(20)}`), { verb: 'AUTH', mechanism: 'X'.repeat(20), initial: undefined });
});

t.test('arguments that are wrong', async (t) => {
  const expect = (reply: Reply, verb: string, ...lines: string[]) => {
    for (const line of lines) t.match(fault(line), { reply, verb, close: false, kind: 'syntax' }, line);
  };
  expect(REPLIES.noArgument, 'DATA', 'DATA x');
  expect(REPLIES.noArgument, 'STARTTLS', 'STARTTLS now');
  expect(REPLIES.noArgument, 'QUIT', 'QUIT bye');
  expect(
    REPLIES.badHello,
    'EHLO',
    'EHLO',
    'EHLO ',
    'EHLO x y z',
    `EHLO $\{lookup}`,
    'EHLO <script>',
    'EHLO b\xfcro',
  );
  expect(
    REPLIES.badHello,
    'HELO',
    `HELO ${'a'.repeat(256)}`,
    'HELO a;b',
    'HELO a(b)',
    'HELO a"b',
    'HELO a\\b',
    'HELO $j',
  );
  t.equal(fault(`HELO ${'a'.repeat(255)}`), undefined);
  expect(REPLIES.badArgument, 'AUTH', 'AUTH', 'AUTH PLAIN a b', 'AUTH PLAIN a!');
  expect(REPLIES.badArgument, 'AUTH', 'AUTH PLAIN ==', 'AUTH PLAIN \xe9', 'AUTH PLAIN a=b');
  // A name that no mechanism can have (RFC 4422 3.1) is one that is not available, whatever follows it.
  expect(REPLIES.unknownMechanism, 'AUTH', `AUTH ${'X'.repeat(21)}`, 'AUTH PL*IN', 'AUTH PL*IN a b');
  expect(REPLIES.notAscii, 'NOOP', 'NOOP \xe9');
  expect(REPLIES.emptyLine, 'OTHER', '', ' ', '    ');
  t.notOk(JSON.stringify(fault('AUTH PLAIN s3cret!')).includes('s3cret'), 'no secret in a fault');
});

t.test('control characters are nowhere tolerated', async (t) => {
  for (let octet = 0; octet < 0x80; octet++) {
    if (octet >= 0x20 && octet < 0x7f) continue;
    const c = String.fromCharCode(octet);
    for (const line of [
      `RCPT TO:<a@b.example>${c}`,
      `RCPT${c}TO:<a@b.example>`,
      `RCPT TO:${c}<a@b.example>`,
      `NOOP ${c}`,
    ])
      t.match(fault(line), { reply: REPLIES.notAscii, close: false }, `${octet}`);
    t.match(fault(`FOO${c}`), { reply: REPLIES.notAscii, verb: 'OTHER' }, `${octet}`);
  }
  t.match(fault('RCPT TO:<victim@victim.example>\0<bob@local.example>'), {
    reply: REPLIES.notAscii,
    verb: 'RCPT',
  });
});

t.test('verbs that are none of ours', async (t) => {
  for (const line of ['SEND FROM:<a@b.example>', 'soml', 'SAML', 'TURN', 'ATRN', 'BURL x'])
    t.match(
      fault(line),
      { reply: REPLIES.notImplemented, verb: 'OTHER', close: false, kind: 'unknown' },
      line,
    );
  for (const line of [
    ...['DEBUG', 'WIZ', 'KILL', 'SHOWQ', 'ONEX', 'VERB', 'XADR', 'XQUE', 'XEXCH50 1 2', 'X-LINK2STATE', 'XX'],
    ...[
      ' RCPT TO:<a@b.example>',
      'RCPTTO:<a@b.example>',
      'MAILFROM:<a@b.example>',
      'RCPT<a@b.example>',
      '.',
      '1',
      '<>',
    ],
    ...['constructor', 'toString', 'TURNX', 'DATAX', 'GETX', 'USERS'],
  ])
    t.match(
      fault(line),
      { reply: REPLIES.unknownCommand, verb: 'OTHER', close: false, kind: 'unknown' },
      line,
    );
  t.match(fault('\xe9'), { reply: REPLIES.notAscii, close: false });
});

t.test('other protocols end the session', async (t) => {
  for (const line of [
    ...[
      'GET / HTTP/1.1',
      'post / HTTP/1.0',
      'PUT',
      'HEAD /',
      'DELETE x',
      'OPTIONS *',
      'CONNECT a:25',
      'TRACE /',
    ],
    ...[
      'PATCH /',
      'PRI * HTTP/2.0',
      'BREW /pot HTTP/1.1',
      'HELP / HTTP/1.1',
      'MAIL FROM:<a@a.example> HTTP/1.0',
      'Host: local.example',
      'Content-Length:5',
      'Subject: x',
    ],
    ...[
      'USER bob',
      'PASS x',
      'LOGIN a b',
      'PROXY TCP4 1.2.3.4 5.6.7.8 1 2',
      'PROXY',
      'XCLIENT ADDR=127.0.0.1',
    ],
    ...['xforward NAME=x', 'X-CONNECT x', 'GET\t/', '\x16\x03\x01\x02\x00\x01', 'SSH-2.0-x', 'MAILER: x'],
  ])
    t.match(
      fault(line),
      { reply: REPLIES.foreignProtocol, verb: 'OTHER', close: true, kind: 'foreign-protocol' },
      JSON.stringify(line),
    );
});

t.test('paths and parameters are printed anew', async (t) => {
  t.equal(printed('mail from:<a@B.example> size=010 AUTH=<>'), 'MAIL FROM:<a@b.example> SIZE=10');
  t.equal(printed('MAIL FROM:<>'), 'MAIL FROM:<>');
  t.equal(
    printed('rcpt to:<"bob"@LOCAL.example.>  notify=never '),
    'RCPT TO:<bob@local.example> NOTIFY=NEVER',
  );
  t.equal(printed('RCPT TO:<PostMaster>'), 'RCPT TO:<postmaster>');
  t.equal(printed('RCPT TO:<"a>b<c"@local.example>'), 553, 'brackets in quotes end no path');
  t.equal(
    printed('RCPT TO:<"john doe"@local.example> NOTIFY=DELAY'),
    'RCPT TO:<"john doe"@local.example> NOTIFY=DELAY',
  );
  t.equal(printCommand({ verb: 'DATA' }), 'DATA\r\n');
});

t.test('leniency', async (t) => {
  for (const line of [
    'RCPT TO: <bob@local.example>',
    'RCPT TO :<bob@local.example>',
    'RCPT TO :  <bob@local.example>',
    'RCPT TO:bob@local.example',
    'RCPT TO: bob@local.example',
    'RCPT TO:<bob@local.example',
  ]) {
    t.equal(printed(line), 'RCPT TO:<bob@local.example>', line);
    t.equal(printed(line, STRICT), 501, line);
  }
  t.equal(printed('RCPT  TO:<bob@local.example>', STRICT), 'RCPT TO:<bob@local.example>');
  for (const line of [
    'RCPT TO:bob@local.example NOTIFY=NEVER',
    'RCPT TO:bob@local.example,x@victim.example',
    'RCPT TO:bob@local.example>',
    'RCPT TO:bob <x@victim.example>',
    'RCPT TO:"bob" <x@victim.example>',
    'RCPT TO:"x" x@victim.example',
    'RCPT TO:bob',
    'RCPT TO:<bob@local.example NOTIFY=NEVER',
    'RCPT TO:<bob@local.example,x@victim.example',
    'RCPT TO:<',
    'RCPT TO:',
    'RCPT TO',
    'RCPT',
    'RCPT <bob@local.example>',
    'RCPT FROM:<bob@local.example>',
    'RCPT T O:<bob@local.example>',
    'RCPT TO:<<bob@local.example>>',
    'RCPT TO:<a<x@victim.example>@local.example>',
    'RCPT TO:(x)<bob@local.example>',
    'RCPT TO: SIZE=1',
  ])
    t.match(fault(line), { reply: REPLIES.badRcptSyntax, verb: 'RCPT', kind: 'syntax' }, line);
  for (const line of ['MAIL FROM:', 'MAIL FROM: SIZE=1', 'MAIL FROM:<', 'MAIL TO:<a@b.example>', 'MAIL'])
    t.match(fault(line), { reply: REPLIES.badMailSyntax, verb: 'MAIL', kind: 'syntax' }, line);
  for (const line of [
    'RCPT TO:<bob@local.example>x',
    'RCPT TO:<bob@local.example>>',
    'RCPT TO:<bob@local.example> <x@v>',
  ])
    t.match(fault(line), { reply: REPLIES.badArgument, kind: 'syntax' }, line);
});

t.test('faults and hazards of addresses', async (t) => {
  t.match(fault('RCPT TO:<>'), { reply: { code: 501, enhanced: '5.1.3' }, kind: 'address' });
  t.match(fault('RCPT TO:<a..b@local.example>'), { kind: 'address', path: 'a..b@local.example' });
  t.match(fault('MAIL FROM:<a@b@c.example>'), { reply: { code: 501, enhanced: '5.1.7' }, kind: 'address' });
  t.match(fault('RCPT TO:<"|id"@local.example>'), {
    reply: { code: 553, enhanced: '5.1.3' },
    kind: 'hazard',
    path: '|id@local.example',
  });
  t.match(fault('RCPT TO:<a@b\xff.example>'), { reply: needsUtf8, kind: 'address', path: 'a@b?.example' });
  t.match(fault('RCPT TO:<bob@local.example> XFOO=1'), { reply: REPLIES.unknownParameter, kind: 'syntax' });
  t.ok((fault(`RCPT TO:<${'a'.repeat(900)}@b.example>`)?.path?.length ?? 999) <= 200);
});

t.test('senders by which bounces would be routed', async (t) => {
  for (const sender of [
    ...[
      'x%victim.example@local.example',
      'victim.example!x',
      '"x@victim.example"',
      '"x@y"@a.example',
      'x^y@a.example',
    ],
    ...[
      '|/bin/sh',
      '"|/bin/sed"',
      '/tmp/x',
      '@a.example:x%y@b.example',
      'IMCEASMTP-x+40y@a.example',
      'x%local.example@local.example',
    ],
  ])
    t.match(
      fault(`MAIL FROM:<${sender}>`),
      { reply: { code: 553, enhanced: '5.1.7' }, kind: 'hazard' },
      sender,
    );
  t.equal(
    printed('MAIL FROM:<@a.example,@b.example:x@c.example>'),
    'MAIL FROM:<x@c.example>',
    'route ignored',
  );
  t.equal(printed('MAIL FROM:<@a.example:b>'), 'MAIL FROM:<b>');
  for (const sender of [
    'root',
    'a@[192.0.2.1]',
    'b-1=c.example+d@e.example',
    'postmaster',
    '"x y"@a.example',
  ])
    t.equal(printed(`MAIL FROM:<${sender}>`), `MAIL FROM:<${sender}>`);
});

t.test('SMTPUTF8', async (t) => {
  const mail = octets('MAIL FROM:<bøb@bücher.example> SMTPUTF8');
  t.equal(printed(mail, UTF8), mail, 'printed as UTF-8 octets');
  t.equal(printed(mail.replace(' SMTPUTF8', ''), UTF8), 553, 'its own parameter decides');
  t.match(fault(mail), { reply: needsUtf8 }, 'not available');
  t.equal(
    printed('MAIL FROM:<a@b.example> SMTPUTF8'),
    'MAIL FROM:<a@b.example> SMTPUTF8',
    'refused by the session',
  );
  const rcpt = octets('RCPT TO:<日本@日本.example>');
  t.equal(printed(rcpt, UTF8), rcpt);
  t.match(fault(rcpt, { ...UTF8, utf8: false }), { reply: needsUtf8 });
  t.equal(printed(octets('RCPT TO:<a＠victim.example@local.example>'), UTF8), 501);
  const low: Path = {
    kind: 'mailbox',
    local: 'x\u0140y',
    domain: { kind: 'name', ascii: 'a.b', text: 'a.b' },
  };
  const line = printCommand({ verb: 'RCPT', path: low, params: [] });
  t.equal(line, 'RCPT TO:<x\xc5\x80y@a.b>\r\n', 'each character is one octet: U+0140 does not become @');
});

t.test('what never came from the parser cannot break a line', async (t) => {
  for (const local of ['a\r\nDATA', 'a\nb', 'a\0', 'a\tb']) {
    const path: Path = { kind: 'unqualified', local };
    t.throws(() => printCommand({ verb: 'RCPT', path, params: [] }), RangeError);
  }
  const params = [{ keyword: 'ENVID', value: 'a\r\nb' }];
  t.throws(() => printCommand({ verb: 'MAIL', path: { kind: 'null' }, params }), RangeError);
});

t.test('no octets make it throw, and what is printed parses to the same', async (t) => {
  const verb = fc.constantFrom(
    'RCPT TO:',
    'MAIL FROM:',
    'rcpt to: ',
    'EHLO ',
    'AUTH ',
    'NOOP',
    '',
    'RCPT TO:<',
    'BDAT ',
  );
  const piece = fc.constantFrom(
    ...[
      '<',
      '>',
      '@',
      '"',
      '\\',
      ' ',
      'bob',
      'local.example',
      '%',
      '!',
      ':',
      ',',
      '\xc3\xa9',
      '\xff',
      '\r',
      '\n',
      '\0',
    ],
    ...[
      ' SIZE=1',
      ' SMTPUTF8',
      ' NOTIFY=NEVER',
      '[192.0.2.1]',
      '@a.example:',
      'a@b.example',
      '<a@b.example>',
      '.',
    ],
  );
  const word = fc.constantFrom(
    'bob',
    '"a b"',
    'x%y.example',
    '"\\""',
    'a\xc3\xa9',
    'a!b',
    '@a.example:c',
    '',
  );
  const at = fc.constantFrom(
    '',
    '@local.example',
    '@[192.0.2.1]',
    '@Local.Example.',
    '@b\xc3\xbccher.example',
  );
  const behind = fc.array(fc.constantFrom(' SIZE=007', ' SMTPUTF8', ' NOTIFY=delay', ' AUTH=<>'), {
    maxLength: 2,
  });
  const envelope = fc
    .tuple(fc.constantFrom('RCPT TO:', 'mail from: '), word, at, behind)
    .map(([head, local, domain, params]) => `${head}<${local}${domain}>${params.join('')}`);
  const line = fc.oneof(
    envelope,
    fc.tuple(verb, fc.array(piece, { maxLength: 8 })).map(([head, tail]) => head + tail.join('')),
    fc.uint8Array({ maxLength: 40 }).map((bytes) => Buffer.from(bytes).toString('latin1')),
  );
  let again = 0;
  fc.assert(
    fc.property(line, fc.constantFrom(OPTIONS, UTF8, STRICT), (text, options) => {
      const parsed = run(text, options);
      // A space at the end changes nothing but the way by which a line is read.
      if (JSON.stringify(run(`${text} `, options)) !== JSON.stringify(parsed))
        throw new Error(`a space makes ${JSON.stringify(text)} another command`);
      if (!parsed.ok || (parsed.value.verb !== 'MAIL' && parsed.value.verb !== 'RCPT')) return;
      again += 1;
      const out = printCommand(parsed.value);
      if (!/^[^\x00-\x1f\x7f]*\r\n$/.test(out) || /[^\x00-\xff]/.test(out))
        throw new Error(JSON.stringify(out));
      const second = run(out.slice(0, -2), options);
      if (JSON.stringify(second) !== JSON.stringify(parsed))
        throw new Error(`${JSON.stringify(text)} → ${out}`);
    }),
    { numRuns: 5000 },
  );
  t.ok(again > 200, `${again} of them are MAIL or RCPT`);
});
