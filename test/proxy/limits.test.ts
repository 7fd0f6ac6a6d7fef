/** Every limit at the limit and one past it, and every leniency, through real sockets. */
import t, { type Test } from 'tap';
import { type LegacyMta, type LegacyOptions, startLegacyMta } from '../support/legacy-mta.js';
import { eventually, policyOf, type Running, type Setting, startSekisho } from '../support/sekisho.js';
import { codeOf, SmtpClient } from '../support/smtp-client.js';

interface House {
  readonly mta: LegacyMta;
  readonly sekisho: Running;
  /** A client that has heard the banner and said EHLO. */
  greet(from?: string): Promise<SmtpClient>;
  /** The same, up to the reply to DATA. */
  toData(from?: string): Promise<SmtpClient>;
}

const house = async (
  t: Test,
  setting: Partial<Setting> = {},
  mtaOptions: LegacyOptions = {},
): Promise<House> => {
  const mta = await startLegacyMta({ ehlo: ['8BITMIME', 'SIZE'], ...mtaOptions });
  const sekisho = await startSekisho({ upstreams: [{ port: mta.port }], ...setting });
  t.teardown(async () => {
    await sekisho.stop();
    await mta.close();
  });
  const greet = async (from = '127.0.0.2'): Promise<SmtpClient> => {
    const client = await SmtpClient.connect(sekisho.port, from);
    await client.reply();
    await client.say('EHLO c.example');
    return client;
  };
  const toData = async (from?: string): Promise<SmtpClient> => {
    const client = await greet(from);
    await client.say('MAIL FROM:<a@sender.example>');
    await client.say('RCPT TO:<bob@local.example>');
    t.equal(codeOf(await client.say('DATA')), 354);
    return client;
  };
  return { mta, sekisho, greet, toData };
};

t.test('connections, in all and per address', async (t) => {
  const { sekisho } = await house(t, { limits: { connections: 3, connectionsPerAddress: 2 } });
  const connect = async (from: string): Promise<[SmtpClient, string]> => {
    const client = await SmtpClient.connect(sekisho.port, from);
    return [client, await client.reply()];
  };
  const [one, first] = await connect('127.0.0.2');
  const [, second] = await connect('127.0.0.2');
  t.same([first, second].map(codeOf), [220, 220], 'at the limit');
  const [, third] = await connect('127.0.0.2');
  t.match(third, /^421 4\.7\.0 Too many connections from your address/);
  t.equal(codeOf((await connect('127.0.0.3'))[1]), 220, 'another address');
  t.match((await connect('127.0.0.4'))[1], /^421 4\.7\.0 Too many connections, try/, 'in all');
  one.destroy();
  await eventually('a place is free', () => sekisho.proxy.sessions === 2);
  t.equal(codeOf((await connect('127.0.0.2'))[1]), 220);
  t.same(
    sekisho.of('connection-refused').map(({ reason }) => reason),
    ['per-address', 'total'],
  );
});

t.test('commands that bring no mail forward', async (t) => {
  const { greet } = await house(t, { limits: { idleCommands: 3 } });
  const client = await greet();
  t.same([await client.say('NOOP'), await client.say('RSET')].map(codeOf), [250, 250], 'with EHLO: three');
  t.match(await client.say('NOOP'), /^421 4\.7\.0 Too many commands/);
  await client.end();
});

t.test('commands in all', async (t) => {
  const { greet } = await house(t, { limits: { commands: 3 } });
  const client = await greet();
  t.same([await client.say('MAIL FROM:<a@b.example>'), await client.say('RSET')].map(codeOf), [250, 250]);
  t.match(await client.say('MAIL FROM:<a@b.example>'), /^421 4\.7\.0/);
});

t.test('errors: refusals and bad commands together', async (t) => {
  const { greet, sekisho } = await house(t, { limits: { errors: 3 } });
  const client = await greet();
  await client.say('MAIL FROM:<a@b.example>');
  t.equal(codeOf(await client.say('RCPT TO:<y@victim.example>')), 550);
  t.equal(codeOf(await client.say('BOGUS')), 500);
  t.equal(codeOf(await client.say('RCPT TO:<not an address>')), 501);
  t.match(await client.say('NOOP'), /^421 4\.7\.0 Too many errors/);
  await client.end();
  t.equal(sekisho.of('disconnect')[0]?.reason, 'errors');
});

t.test('recipients', async (t) => {
  const { greet, mta } = await house(t, { limits: { recipients: 2 } });
  const client = await greet();
  await client.say('MAIL FROM:<a@b.example>');
  t.equal(codeOf(await client.say('RCPT TO:<one@local.example>')), 250);
  t.equal(codeOf(await client.say('RCPT TO:<two@local.example>')), 250);
  t.match(await client.say('RCPT TO:<three@local.example>'), /^452 4\.5\.3 Too many recipients/);
  await client.say('DATA');
  t.equal(codeOf(await client.say('x\r\n.')), 250, 'the message goes to the others');
  t.same(mta.messages[0]?.to, ['<one@local.example>', '<two@local.example>']);
});

t.test('size, declared and streamed; the smaller of both limits holds', async (t) => {
  for (const [own, ehlo] of [
    [100, 'SIZE'],
    [0, 'SIZE 100'],
    [100, 'SIZE 500'],
    [500, 'SIZE 100'],
  ] as const) {
    const { greet, toData, mta } = await house(t, { limits: { messageBytes: own } }, { ehlo: [ehlo] });
    const client = await greet();
    t.equal(codeOf(await client.say('MAIL FROM:<a@b.example> SIZE=100')), 250, 'at the limit');
    await client.say('RSET');
    t.match(await client.say('MAIL FROM:<a@b.example> SIZE=101'), /^552 5\.3\.4/, 'one past it');
    const line = `${'x'.repeat(48)}\r\n`;
    const fits = await toData();
    t.equal(codeOf(await fits.say(`${line}${line}.`)), 250, '100 octets');
    const more = await toData();
    t.match(await more.say(`${line}x${line}.`), /^552 5\.3\.4/, '101 octets');
    t.equal(codeOf(await more.say('NOOP')), 250, 'the session goes on');
    t.equal(mta.messages.length, 1, `own ${own}, ${ehlo}`);
  }
});

t.test('command lines: 512 octets, 1024 after EHLO', async (t) => {
  const { sekisho } = await house(t);
  const line = (length: number): string => `NOOP ${'x'.repeat(length - 7)}`;
  const client = await SmtpClient.connect(sekisho.port);
  await client.reply();
  t.equal(codeOf(await client.say(line(512))), 250);
  t.match(await client.say(line(513)), /^500 5\.5\.2 Line too long/);
  await client.say('EHLO c.example');
  t.equal(codeOf(await client.say(line(1024))), 250);
  t.equal(codeOf(await client.say(line(1025))), 500);
  t.equal(codeOf(await client.say('NOOP')), 250);
});

t.test('deadlines of the client', async (t) => {
  const idle = { idle: 1_000, command: 60_000 };
  const { greet } = await house(t, { timeouts: idle });
  const quiet = await greet();
  t.match(await quiet.reply(), /^421 4\.4\.2 Timeout waiting for a command/);
  const { greet: second } = await house(t, { timeouts: { command: 1_000 } });
  const slow = await second();
  const drip = setInterval(() => slow.send('N'), 300);
  t.match(
    await slow.reply(),
    /^421 4\.4\.2 Timeout waiting for the end of a command/,
    'octets do not renew it',
  );
  clearInterval(drip);
  const { toData, sekisho, mta } = await house(t, { timeouts: { dataBlock: 1_000 } });
  const stuck = await toData();
  stuck.send('Subject: x\r\n');
  t.match(await stuck.reply(), /^421 4\.4\.2 Timeout waiting for message data/);
  await stuck.end();
  t.equal(sekisho.of('message')[0]?.result, 'aborted');
  const { toData: third } = await house(t, {
    timeouts: { dataRateGrace: 1_000 },
    limits: { dataRate: 1_000 },
  });
  const trickle = await third();
  const drop = setInterval(() => trickle.send('x\r\n'), 200);
  t.match(await trickle.reply(), /^421 4\.4\.2 Message data too slow/);
  clearInterval(drop);
  const { greet: fourth } = await house(t, { timeouts: { session: 1_500 } });
  const long = await fourth();
  const noop = setInterval(() => long.send('NOOP\r\n'), 300);
  for (let reply = await long.reply(); ; reply = await long.reply()) {
    if (codeOf(reply) === 250) continue;
    t.match(reply, /^421 4\.4\.2 Session time exceeded/);
    break;
  }
  clearInterval(noop);
  t.equal(mta.messages.length, 0);
});

t.test('data: long lines, eight bits, bare LF, header, loops', async (t) => {
  const strict = await house(t, {
    listener: { data: { lineLimit: 998, overLong: 'reject', eightBit: 'reject', bareLf: 'reject' } },
    limits: { headerBytes: 100, hops: 3 },
  });
  const answer = async ({ toData }: House, data: string): Promise<string> => {
    const client = await toData();
    const reply = await client.say(`${data}\r\n.`);
    if (codeOf(reply) >= 551) t.equal(codeOf(await client.say('NOOP')), 250, 'the session goes on');
    client.destroy();
    return reply;
  };
  t.match(await answer(strict, `\r\n${'x'.repeat(998)}`), /^250/);
  t.match(await answer(strict, `\r\n${'x'.repeat(999)}`), /^554 5\.6\.0 Message line longer/);
  t.match(await answer(strict, '\r\n\xe9'), /^554 5\.6\.3/);
  t.match(await answer(strict, 'a\nb'), /^550 5\.5\.2/);
  t.match(await answer(strict, `A: ${'x'.repeat(93)}\r\n\r\nx`), /^250/, '98 and 2 octets of header');
  t.match(
    await answer(strict, `A: ${'x'.repeat(94)}\r\n\r\nx`),
    /^554 5\.6\.0 Message content not accepted \(header-size\)/,
  );
  t.match(await answer(strict, 'Received: a\r\nReceived: b\r\n\r\nx'), /^250/);
  t.match(await answer(strict, 'Received: a\r\nReceived: b\r\nReceived: c\r\n\r\nx'), /^554 5\.4\.6/);
  t.equal(strict.mta.messages.length, 3);
  const client = await strict.greet();
  await client.say('MAIL FROM:<a@b.example> BODY=8BITMIME');
  await client.say('RCPT TO:<bob@local.example>');
  await client.say('DATA');
  t.equal(codeOf(await client.say('\xe9\r\n.')), 250, 'declared octets pass');
  const lenient = await house(t, {
    listener: { data: { lineLimit: 998, overLong: 'pass', eightBit: 'pass', bareLf: 'convert' } },
  });
  t.match(await answer(lenient, `Subject: x\n\na\n.\nb\xe9${'x'.repeat(2_000)}`), /^250/);
  t.match(
    lenient.mta.messages[0]?.data,
    /\r\nSubject: x\r\n\r\na\r\n\.\.\r\nb\xe9x{2000}\r\n$/,
    'LF became CRLF, the dot is stuffed',
  );
  t.notMatch(lenient.mta.connections.map(({ raw }) => raw).join(''), /(?<!\r)\n/);
});

t.test('a pipelined group is answered in order, in one piece', async (t) => {
  const { greet } = await house(t);
  const client = await greet();
  let pieces = 0;
  client.socket.on('data', () => {
    pieces += 1;
  });
  client.send(
    'MAIL FROM:<a@b.example>\r\nRCPT TO:<y@victim.example>\r\nBOGUS\r\nRCPT TO:<z@victim.example>\r\nNOOP\r\nRSET\r\n',
  );
  const codes: number[] = [];
  for (let i = 0; i < 6; i += 1) codes.push(codeOf(await client.reply()));
  t.same(codes, [250, 550, 500, 550, 250, 250]);
  t.equal(pieces, 1);
  client.send(
    'MAIL FROM:<a@b.example>\r\nRCPT TO:<x@local.example>\r\nRCPT TO:<z@victim.example>\r\nRCPT TO:<y@local.example>\r\nDATA\r\n',
  );
  codes.length = 0;
  for (let i = 0; i < 5; i += 1) codes.push(codeOf(await client.reply()));
  t.same(codes, [250, 250, 550, 250, 354]);
  t.equal(codeOf(await client.say('x\r\n.')), 250);
});

t.test('what the MTA can do is mirrored; what it cannot is refused', async (t) => {
  const utf8 = 'ren\xc3\xa9@local.example';
  const modern = await house(
    t,
    {},
    { ehlo: ['SIZE 5000', '8BITMIME', 'SMTPUTF8', 'DSN', 'CHUNKING', 'XCLIENT NAME', 'STARTTLS'] },
  );
  const client = await SmtpClient.connect(modern.sekisho.port);
  t.match(await client.reply(), /^220 legacy\.example\.org ESMTP$/, "the MTA's own name");
  t.same(
    (await client.say('EHLO c.example')).split('\r\n').map((line) => line.slice(4)),
    ['legacy.example.org', 'PIPELINING', 'SIZE 5000', '8BITMIME', 'SMTPUTF8', 'DSN', 'ENHANCEDSTATUSCODES'],
  );
  t.equal(codeOf(await client.say('MAIL FROM:<a@b.example> SMTPUTF8 RET=HDRS AUTH=<>')), 250);
  t.equal(codeOf(await client.say(`RCPT TO:<${utf8}> NOTIFY=NEVER`)), 250);
  await client.say('DATA');
  t.equal(codeOf(await client.say('x\r\n.')), 250);
  const commands = modern.mta.connections.flatMap((connection) => connection.commands);
  t.ok(commands.includes('MAIL FROM:<a@b.example> SMTPUTF8 RET=HDRS'), 'AUTH= is never passed on');
  t.ok(commands.includes(`RCPT TO:<${utf8}> NOTIFY=NEVER`));
  t.match(modern.mta.messages[0]?.data, /with UTF8SMTP id/);
  const old = await house(t, {}, { ehlo: undefined });
  const plain = await old.greet();
  t.equal(codeOf(await plain.say('MAIL FROM:<a@b.example> SMTPUTF8')), 555);
  t.equal(codeOf(await plain.say('MAIL FROM:<a@b.example> BODY=8BITMIME')), 555);
  t.equal(codeOf(await plain.say('MAIL FROM:<a@b.example> SIZE=5')), 250, "Sekisho's own");
  t.match(await plain.say(`RCPT TO:<${utf8}>`), /^553 5\.6\.7/);
  t.equal(codeOf(await plain.say('RCPT TO:<x@local.example>')), 250);
  await plain.say('DATA');
  t.equal(codeOf(await plain.say('x\r\n.')), 250);
  const said = old.mta.connections.flatMap((connection) => connection.commands);
  t.ok(said.includes('HELO sekisho.local.example'));
  t.ok(said.includes('MAIL FROM:<a@b.example>'), 'SIZE was not advertised, so it is not passed on');
});

t.test('observe lets everything pass, and shadows and own replies do as they say', async (t) => {
  const policy = policyOf(`
version: 1
rules:
  - { name: try out, deny: { from: spam.example }, shadow: true }
  - { name: go away, deny: { from: bad.example }, reply: { code: 554, enhanced: 5.7.1, text: go away } }
  - { name: in, allow: { to: local.example } }
`);
  const enforcing = await house(t, { policy });
  const ask = async ({ greet }: House, from: string, to: string): Promise<string> => {
    const client = await greet();
    await client.say(`MAIL FROM:<${from}>`);
    const reply = await client.say(`RCPT TO:<${to}>`);
    client.destroy();
    return reply;
  };
  t.match(await ask(enforcing, 'x@spam.example', 'bob@local.example'), /^250/);
  t.match(enforcing.sekisho.of('shadow'), [{ rule: 'try out', would: 'deny' }]);
  t.match(await ask(enforcing, 'x@bad.example', 'bob@local.example'), /^554 5\.7\.1 go away/);
  const observing = await house(t, { policy, observe: true });
  t.match(await ask(observing, 'x@bad.example', 'y@victim.example'), /^250/);
  t.match(observing.sekisho.of('decision'), [{ verdict: 'deny', rule: 'go away', enforced: false }]);
});

t.test('a transaction keeps the policy with which it began; the next one has the new', async (t) => {
  const to = (domain: string) => policyOf(`version: 1\nrules: [{ name: x, allow: { to: ${domain} } }]\n`);
  const { greet, sekisho } = await house(t, { policy: to('old.example') });
  const client = await greet();
  await client.say('MAIL FROM:<a@b.example>');
  sekisho.proxy.setPolicy(to('new.example'), false);
  t.equal(codeOf(await client.say('RCPT TO:<a@old.example>')), 250);
  t.equal(codeOf(await client.say('RCPT TO:<a@new.example>')), 550);
  await client.say('RSET');
  await client.say('MAIL FROM:<a@b.example>');
  t.equal(codeOf(await client.say('RCPT TO:<a@old.example>')), 550);
  t.equal(codeOf(await client.say('RCPT TO:<a@new.example>')), 250);
});

t.test('a body that comes between DATA and 354 ends the session', async (t) => {
  let asked = false;
  let answer = (): void => {};
  const answered = new Promise<undefined>((resolve) => {
    answer = () => resolve(undefined);
  });
  const script: LegacyOptions['script'] = (step) => {
    asked ||= step === 'DATA';
    return step === 'DATA' ? answered : undefined;
  };
  const { greet, mta } = await house(t, {}, { script });
  const client = await greet();
  await client.say('MAIL FROM:<a@b.example>');
  await client.say('RCPT TO:<bob@local.example>');
  client.send('DATA\r\n');
  await eventually('the MTA is asked', () => asked);
  await new Promise((resolve) => client.socket.write('Subject: x\r\n\r\nx\r\n.\r\n', resolve));
  // What the kernel has, this process has read after a turn of its event loop.
  for (let turns = 0; turns < 3; turns += 1) await new Promise((resolve) => setImmediate(resolve));
  answer();
  t.match(await client.reply(), /^421 4\.5\.1/);
  await client.end();
  t.equal(mta.messages.length, 0);
});

t.test('a client that reads no replies gets no further work done', async (t) => {
  const { greet, sekisho } = await house(t, { limits: { idleCommands: 1e9, commands: 1e9 } });
  const client = await greet();
  client.socket.pause();
  const block = Buffer.from('RSET\r\n'.repeat(10_000));
  for (let i = 0; i < 300; i += 1) client.socket.write(block);
  let before = -1;
  while (before !== sekisho.events.length) {
    before = sekisho.events.length;
    await new Promise((resolve) => setTimeout(resolve, 400));
  }
  t.ok(before < 1_000_000, `${before} of 3,000,000 commands were answered`);
  client.destroy();
});

t.test('who talks before the banner is closed, if the site waits for that', async (t) => {
  const { sekisho } = await house(t, { timeouts: { greetPause: 1_000 } });
  const eager = await SmtpClient.connect(sekisho.port, '127.0.0.2');
  eager.send('NOOP\r\n');
  t.match(await eager.reply(), /^421 4\.5\.1 Improper command pipelining/);
  await eager.end();
  t.match(sekisho.of('framing-fault'), [{ kind: 'pregreet' }]);
  const own = await SmtpClient.connect(sekisho.port);
  own.send('NOOP\r\n');
  t.equal(codeOf(await own.reply()), 220, "the site's own are not kept waiting");
  own.destroy();
  const polite = await SmtpClient.connect(sekisho.port, '127.0.0.2');
  t.equal(codeOf(await polite.reply()), 220);
  t.equal(codeOf(await polite.say('NOOP')), 250);
  const gone = await SmtpClient.connect(sekisho.port, '127.0.0.2');
  gone.destroy();
  await eventually('the one that did not wait is gone', () => sekisho.proxy.sessions === 1);
  const { sekisho: prompt } = await house(t);
  const early = await SmtpClient.connect(prompt.port);
  early.send('NOOP\r\n');
  t.equal(codeOf(await early.reply()), 220, 'without it the command waits for the banner');
  t.equal(codeOf(await early.reply()), 250);
});
