import fc from 'fast-check';
import t from 'tap';
import { NO_CAPABILITIES } from '../../src/smtp/capabilities.js';
import { REPLIES, relayingDenied } from '../../src/smtp/reply.js';
import type { SessionEvent } from '../../src/smtp/session/events.js';
import { ESMTP, Recorder } from '../support/recorder.js';

const greeted = (settings = {}): Recorder => {
  const session = new Recorder(settings).open().say('EHLO client.example');
  session.take();
  return session;
};

/** A session whose first recipient was allowed and accepted. */
const accepted = (settings = {}): Recorder => {
  const session = greeted(settings).say('MAIL FROM:<a@x.example>').say('RCPT TO:<b@local.example>').verdict();
  session.ready().upstream('250 2.1.0 ok').upstream('250 2.1.5 ok').take();
  return session;
};

const inData = (settings = {}): Recorder => {
  const session = accepted(settings).say('DATA').upstream('354 go on');
  session.take();
  return session;
};

const DENIED = { permit: false, reply: relayingDenied('<y@victim.example>', false, 'test') } as const;

t.test('a mail from banner to QUIT', async (t) => {
  const session = new Recorder().open();
  t.same(session.take(), ['S: 220 mail.local.example ESMTP']);
  t.same(session.say('EHLO client.example').take(), [
    'S: 250-mail.local.example',
    'S: 250-PIPELINING',
    'S: 250-SIZE',
    'S: 250-8BITMIME',
    'S: 250 ENHANCEDSTATUSCODES',
  ]);
  t.same(session.say('mail from: a@x.example').take(), ['S: 250 2.1.0 <a@x.example>... Sender ok']);
  t.same(session.say('RCPT TO:<b@local.example>').take(), ['! ask']);
  t.same(session.verdict().take(), ['! acquire']);
  t.same(session.ready().take(), ['U: MAIL FROM:<a@x.example>']);
  t.same(session.upstream('250 2.1.0 sender fine').take(), ['U: RCPT TO:<b@local.example>']);
  t.same(session.upstream('250 2.1.5 recipient fine').take(), [
    'S: 250 2.1.5 recipient fine',
    '! recipient 250',
  ]);
  t.same(session.say('DATA').take(), ['U: DATA']);
  t.same(session.upstream('354 go on').take(), [
    'S: 354 Enter mail, end with "." on a line by itself',
    '! data forward',
  ]);
  t.same(session.happen({ type: 'data-end' }).take(), ['U: .']);
  t.same(session.upstream('250 2.0.0 oAO123 Message accepted for delivery').take(), [
    '! message accepted 250',
    'S: 250 2.0.0 oAO123 Message accepted for delivery',
    '! release reuse',
  ]);
  t.same(session.say('QUIT').take(), ['S: 221 2.0.0 closing connection', '! close quit']);
  t.same(session.say('NOOP').take(), [], 'nothing is done after QUIT');
});

t.test('RCPT goes along with MAIL where PIPELINING is offered', async (t) => {
  const both = ['U: MAIL FROM:<a@x.example>', 'U: RCPT TO:<b@local.example>'];
  const grouped = { ...ESMTP, pipelining: true };
  const begun = (reused = false): Recorder =>
    greeted()
      .say('MAIL FROM:<a@x.example>')
      .say('RCPT TO:<b@local.example>')
      .verdict()
      .ready(grouped, reused);
  const session = begun();
  t.same(session.take().slice(-2), both);
  t.same(session.upstream('250 2.1.0 ok').take(), []);
  t.same(session.upstream('250 2.1.5 ok').take(), ['S: 250 2.1.5 ok', '! recipient 250']);
  session.say('RCPT TO:<c@local.example>').verdict();
  t.equal(session.take().at(-1), 'U: RCPT TO:<c@local.example>', 'one by one from then on');
  const refused = begun();
  refused.take();
  t.same(refused.upstream('550 5.1.0 not you').take(), [], 'a reply is owed yet');
  t.same(refused.upstream('503 5.0.0 need MAIL').take(), [
    '! release reuse',
    'S: 550 5.1.0 not you',
    '! recipient 550',
  ]);
  refused.say('RCPT TO:<c@local.example>').verdict();
  t.match(refused.take(), ['! ask', 'S: 550 5.1.0 not you', '! recipient 550']);
  const farewell = begun();
  farewell.take();
  t.match(farewell.upstream('421 4.3.2 bye').take(), ['! release close', /^S: 451/, '! recipient 451']);
  const died = begun(true);
  died.take();
  t.same(died.lost().take(), ['! acquire'], 'both may be said again');
  t.same(died.ready(grouped).take(), both);
});

t.test('order of commands', async (t) => {
  const fresh = () => new Recorder().open();
  t.match(fresh().say('MAIL FROM:<a@x.example>').log.at(-1), /503 5\.5\.1 Send HELO/);
  t.match(greeted().say('RCPT TO:<b@local.example>').log.at(-1), /503 5\.5\.1 Need MAIL/);
  t.match(greeted().say('DATA').log.at(-1), /503 5\.5\.1 Need RCPT/);
  const mail = greeted().say('MAIL FROM:<a@x.example>');
  t.match(mail.say('MAIL FROM:<a@x.example>').log.at(-1), /503 5\.5\.1 Sender already/);
  t.match(mail.say('DATA').log.at(-1), /503 5\.5\.1 Need RCPT/);
  t.match(mail.say('RSET').say('RCPT TO:<b@local.example>').log.at(-1), /503 5\.5\.1 Need MAIL/);
  mail.say('MAIL FROM:<a@x.example>').say('EHLO again.example');
  t.match(mail.say('RCPT TO:<b@local.example>').log.at(-1), /503/, 'EHLO clears the transaction');
  for (const verb of ['STARTTLS', 'AUTH PLAIN']) t.match(greeted().say(verb).log.at(-1), /502 5\.5\.1/);
  for (const verb of ['EXPN x', 'ETRN x']) t.match(greeted().say(verb).log.at(-1), /502 5\.7\.0/);
  t.match(greeted().say('VRFY root').log.at(-1), /252/);
  t.match(greeted().say('HELP').log.at(-1), /214/);
  t.same(greeted().say('BDAT 10 LAST').log.slice(-1), ['! close framing']);
});

t.test('each recipient is judged by itself', async (t) => {
  const session = accepted();
  t.same(session.say('RCPT TO:<y@victim.example>').verdict(DENIED).take(), [
    '! ask',
    'S: 550 5.7.1 <y@victim.example>... Relaying denied',
    '! recipient 550',
  ]);
  t.same(session.say('RCPT TO:<c@local.example>').verdict().take(), [
    '! ask',
    'U: RCPT TO:<c@local.example>',
  ]);
  session.upstream('550 5.1.1 no such user');
  t.same(session.take(), ['S: 550 5.1.1 no such user', '! recipient 550']);
  t.same(session.say('DATA').take(), ['U: DATA'], 'one recipient is enough');
  const none = greeted().say('MAIL FROM:<a@x.example>').say('RCPT TO:<y@victim.example>').verdict(DENIED);
  t.match(none.say('DATA').log.at(-1), /554 5\.5\.1 No valid recipients/);
});

t.test('a stale ticket changes nothing', async (t) => {
  const session = greeted().say('MAIL FROM:<a@x.example>').say('RCPT TO:<b@local.example>');
  session.take();
  session.happen({ type: 'verdict', ticket: 0, judgement: { permit: true } });
  session.happen({ type: 'verdict', ticket: 2, judgement: { permit: true } });
  t.same(session.take(), []);
  t.equal(session.state.phase, 'judging');
});

t.test('the upstream refuses MAIL: its reply answers that RCPT and every later one', async (t) => {
  const session = greeted().say('MAIL FROM:<a@x.example>').say('RCPT TO:<b@local.example>').verdict().ready();
  session.take();
  session.upstream('553 5.1.8 sender domain does not exist');
  t.same(session.take(), ['! release reuse', 'S: 553 5.1.8 sender domain does not exist', '! recipient 553']);
  t.same(session.say('RCPT TO:<c@local.example>').verdict().take(), [
    '! ask',
    'S: 553 5.1.8 sender domain does not exist',
    '! recipient 553',
  ]);
  t.match(session.say('DATA').log.at(-1), /554 5\.5\.1/);
  t.same(session.say('RSET').take().at(-1), 'S: 250 2.0.0 Reset state');
});

t.test('an upstream that is away, busy or dying', async (t) => {
  const asked = () => {
    const session = greeted().say('MAIL FROM:<a@x.example>').say('RCPT TO:<b@local.example>').verdict();
    session.take();
    return session;
  };
  t.match(asked().happen({ type: 'upstream-unavailable', busy: false }).take()[0], /S: 451 4\.3\.0/);
  t.match(asked().happen({ type: 'upstream-unavailable', busy: true }).take()[0], /S: 451 4\.3\.2/);
  t.match(asked().ready().lost().take().at(-2), /S: 451/, 'lost at MAIL on a fresh connection');
  t.equal(asked().ready(ESMTP, true).lost().take().at(-1), '! acquire', 'a pooled one is replaced');
  t.match(asked().ready(ESMTP, true).lost(true).take().at(-2), /S: 451/, 'not after a deadline');
  const twice = asked().ready(ESMTP, true).lost().ready(ESMTP, true).lost();
  t.match(twice.take().at(-2), /S: 451/, 'only once');
  const atRcpt = asked().ready(ESMTP, true).upstream('250 ok').lost();
  t.match(atRcpt.take().at(-2), /S: 451/, 'never after MAIL was accepted');
  t.match(atRcpt.say('DATA').take().at(-1), /S: 451/, 'nor is a 354 given then');
  const idle = accepted().lost();
  t.match(idle.say('RCPT TO:<c@local.example>').verdict().take()[1], /S: 451/);
  t.same(idle.say('DATA').take(), [
    '! message deferred 451',
    'S: 451 4.3.0 Mail server failed, try again later',
  ]);
  const farewell = asked().ready().upstream('421 4.3.2 going down');
  t.same(farewell.take().slice(1), ['! release close', 'S: 451 4.3.2 going down', '! recipient 451']);
  const atData = accepted().say('DATA').lost();
  t.same(atData.take(), [
    'U: DATA',
    '! message deferred 451',
    'S: 451 4.3.0 Mail server failed, try again later',
  ]);
});

t.test('no 250 without the upstream’s own', async (t) => {
  t.same(inData().lost().happen({ type: 'data-end' }).take(), [
    '! data discard',
    '! message deferred 451',
    'S: 451 4.3.0 Mail server failed, try again later',
  ]);
  const unanswered = inData().happen({ type: 'data-end' }).lost(true).take();
  t.equal(unanswered[1], '! message unknown 451');
  t.match(unanswered[2], /S: 451/);
  const rejected = inData().happen({ type: 'data-end' }).upstream('554 5.6.0 no').take();
  t.same(rejected.slice(1, 3), ['! message rejected 554', 'S: 554 5.6.0 no']);
  const nonsense = inData().happen({ type: 'data-end' }).upstream('354 what').take();
  t.same(nonsense.slice(1, 3), ['! release close', '! message unknown 451']);
  const early = inData().upstream('250 2.0.0 done already');
  t.same(early.take(), ['! release close', '! data discard'], '250 before the final dot is a fault');
  t.match(early.happen({ type: 'data-end' }).take().at(-1), /S: 451/);
  const no354 = accepted().say('DATA').upstream('250 ok').take();
  t.match(no354.at(-1), /S: 451/);
});

t.test('a refused message is thrown away up to its final dot', async (t) => {
  const session = inData().happen({ type: 'data-refused', reply: REPLIES.tooBig });
  t.same(session.take(), ['! release close', '! data discard']);
  t.same(session.happen({ type: 'data-end' }).take(), [
    '! message rejected 552',
    'S: 552 5.3.4 Message exceeds the maximum size',
  ]);
  t.same(session.say('MAIL FROM:<a@x.example>').take(), ['S: 250 2.1.0 <a@x.example>... Sender ok']);
});

t.test('framing faults end the session', async (t) => {
  const command = greeted().happen({ type: 'framing', kind: 'bare-lf' });
  t.same(command.take(), ['S: 421 4.5.2 Line ends are CRLF only, closing connection', '! close framing']);
  const data = inData().happen({ type: 'framing', kind: 'bare-lf' });
  t.same(data.take(), [
    '! release close',
    '! message aborted 550',
    'S: 550 5.5.2 Message data must use CRLF line ends only',
    '! close framing',
  ]);
  for (const line of ['EHLO x.example', 'HELO x.example', 'STARTTLS']) {
    const ahead = new Recorder().open().say(line, true).take();
    t.same(ahead.slice(-2), [
      'S: 421 4.5.1 Improper command pipelining, closing connection',
      '! close framing',
    ]);
  }
  t.equal(accepted().say('DATA', true).take().at(-1), '! close framing');
  const before354 = accepted().say('DATA').upstream('354 go', true).take();
  t.same(before354.slice(1), [
    'S: 421 4.5.1 Improper command pipelining, closing connection',
    '! release close',
    '! close framing',
  ]);
  t.equal(new Recorder().happen({ type: 'open', ahead: true, auth: [] }).take().at(-1), '! close framing');
  t.match(greeted().say('GET / HTTP/1.1').take().at(-1), /close foreign-protocol/);
});

t.test('limits: at the limit and one past it', async (t) => {
  const errors = greeted({ errors: 3 });
  for (let i = 0; i < 3; i += 1) t.match(errors.say('NONSENSE').take()[0], /S: 500/);
  t.same(errors.say('NOOP').take(), ['S: 421 4.7.0 Too many errors, closing connection', '! close errors']);

  const idle = greeted({ idleCommands: 4 });
  for (let i = 0; i < 3; i += 1) t.match(idle.say('NOOP').take()[0], /S: 250/, 'EHLO was the first');
  t.match(idle.say('NOOP').take()[0], /S: 421/);

  const commands = greeted({ commands: 3 });
  t.match(commands.say('MAIL FROM:<a@x.example>').take()[0], /S: 250/);
  t.match(commands.say('NOOP').take()[0], /S: 250/);
  t.match(commands.say('NOOP').take()[0], /S: 421/);

  const recipients = accepted({ recipients: 2 });
  recipients.say('RCPT TO:<c@local.example>').verdict().upstream('250 ok').take();
  t.same(recipients.say('RCPT TO:<d@local.example>').take(), [
    'S: 452 4.5.3 Too many recipients',
    '! recipient 452',
  ]);
  const size = greeted({ messageBytes: 1000 });
  t.match(size.say('MAIL FROM:<a@x.example> SIZE=1001').take()[0], /552 5\.3\.4/);
  t.match(size.say('MAIL FROM:<a@x.example> SIZE=1000').take()[0], /250/);
});

t.test('parameters go only where they are understood', async (t) => {
  const plain = greeted({ capabilities: NO_CAPABILITIES });
  t.match(plain.say('MAIL FROM:<a@x.example> RET=HDRS').take()[0], /555 5\.5\.4/);
  t.match(greeted().say('MAIL FROM:<a@x.example> SMTPUTF8').take()[0], /S: 5/);
  const session = greeted().say('MAIL FROM:<a@x.example> SIZE=10 BODY=8BITMIME AUTH=<>');
  session.say('RCPT TO:<b@local.example> NOTIFY=NEVER').verdict().take();
  t.same(session.ready(NO_CAPABILITIES).upstream('250 ok').take(), [
    'U: MAIL FROM:<a@x.example>',
    'U: RCPT TO:<b@local.example>',
  ]);
});

t.test('the client leaves', async (t) => {
  t.same(inData().happen({ type: 'client-gone' }).take(), [
    '! release close',
    '! message aborted 421',
    '! close client-gone',
  ]);
  t.same(accepted().happen({ type: 'client-gone' }).take(), ['! release reuse', '! close client-gone']);
  const afterDot = inData().happen({ type: 'data-end' }).happen({ type: 'client-gone' });
  t.same(afterDot.take(), ['U: .'], 'the reply is still awaited');
  t.same(afterDot.upstream('250 2.0.0 q1').take(), [
    '! message accepted 250',
    '! release reuse',
    '! close client-gone',
  ]);
});

t.test('shutdown lets the transaction in hand finish', async (t) => {
  t.same(greeted().happen({ type: 'shutdown' }).take(), [
    'S: 421 4.3.2 Service shutting down, closing connection',
    '! close shutdown',
  ]);
  const busy = inData().happen({ type: 'shutdown' });
  t.same(busy.take(), []);
  t.same(busy.happen({ type: 'data-end' }).upstream('250 2.0.0 q1').take(), [
    'U: .',
    '! message accepted 250',
    'S: 250 2.0.0 q1',
    '! release reuse',
    'S: 421 4.3.2 Service shutting down, closing connection',
    '! close shutdown',
  ]);
});

/** Whatever happens in whatever order, the points of "what must always hold" that the core can break. */
t.test('any sequence of events keeps the invariants', async () => {
  const line = fc.constantFrom(
    'EHLO c.example',
    'HELO c.example',
    'MAIL FROM:<a@x.example>',
    'MAIL FROM:<>',
    'RCPT TO:<b@local.example>',
    'RCPT TO:<y@victim.example>',
    'DATA',
    'RSET',
    'NOOP',
    'QUIT',
    'VRFY x',
    'BDAT 3 LAST',
    'XYZ',
  );
  const move = fc.oneof(
    { weight: 6, arbitrary: fc.record({ line, ahead: fc.boolean() }) },
    { weight: 2, arbitrary: fc.constantFrom('permit' as const, 'deny' as const) },
    { weight: 2, arbitrary: fc.constantFrom('250 ok', '354 go', '550 no', '451 later', '421 bye') },
    {
      weight: 3,
      arbitrary: fc.constantFrom<SessionEvent>(
        { type: 'upstream-ready', capabilities: ESMTP, reused: false },
        { type: 'upstream-ready', capabilities: ESMTP, reused: true },
        { type: 'upstream-unavailable', busy: true },
        { type: 'upstream-lost', deadline: false },
        { type: 'upstream-lost', deadline: true },
        { type: 'data-end' },
        { type: 'data-refused', reply: REPLIES.tooBig },
        { type: 'timeout', reply: REPLIES.idleTimeout },
        { type: 'framing', kind: 'bare-lf' },
        { type: 'long-line' },
        { type: 'client-gone' },
        { type: 'shutdown' },
      ),
    },
  );
  const permitted = new WeakMap<Recorder, number>();
  const apply = (session: Recorder, each: typeof move extends fc.Arbitrary<infer M> ? M : never): void => {
    const { phase } = session.state;
    if (typeof each === 'object' && 'line' in each) {
      // Whoever drives the machine hands commands over in this phase alone.
      if (phase === 'command') session.say(each.line, each.ahead);
    } else if (each === 'permit' || each === 'deny') {
      if (phase === 'judging' && each === 'permit') permitted.set(session, (permitted.get(session) ?? 0) + 1);
      session.verdict(each === 'permit' ? { permit: true } : DENIED);
    } else if (typeof each === 'string') {
      session.upstream(each);
    } else if (each.type !== 'upstream-ready' || phase === 'acquiring') {
      session.happen(each);
    }
  };
  fc.assert(
    fc.property(fc.array(move, { maxLength: 60 }), (moves) => {
      const session = new Recorder({ errors: 1_000 }).open();
      let dots = 0;
      let recipientsUp = 0;
      for (const each of moves) {
        const before = session.log.length;
        const wasWaiting = session.state.expected[0] === 'end';
        apply(session, each);
        const now = session.log.slice(before);
        // 1. The MTA alone accepts a message.
        for (const entry of now.filter((text) => text.startsWith('! message accepted'))) {
          if (!wasWaiting || each !== '250 ok') throw new Error(`false 250: ${entry}`);
        }
        // 8. Never a body before 354, never two commands at once.
        dots += now.filter((text) => text === 'U: .').length;
        if (session.state.expected.length > 1) throw new Error('two commands at once');
        // 4. No recipient without its own verdict.
        recipientsUp += now.filter((text) => text.startsWith('U: RCPT')).length;
        if (recipientsUp > (permitted.get(session) ?? 0)) throw new Error('a recipient without a verdict');
        if (session.state.phase === 'closed' && session.log.at(-1)?.startsWith('! close') !== true) {
          throw new Error('closed without closing');
        }
      }
      const starts = session.log.filter((text) => text === '! data forward').length;
      if (dots > starts) throw new Error('a final dot without data');
      const closes = session.log.filter((text) => text.startsWith('! close'));
      return closes.length <= 1;
    }),
    { numRuns: 3_000 },
  );
});
