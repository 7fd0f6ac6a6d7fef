/** SMTP AUTH in the session machine: what may come when, and what each outcome does. */
import t from 'tap';
import { Recorder } from '../support/recorder.js';

const logins = { logins: true } as const;

const greeted = (settings = {}, auth: readonly string[] = ['PLAIN', 'LOGIN']): Recorder => {
  const core = new Recorder({ ...logins, ...settings }).open(auth).say('EHLO c.example');
  core.take();
  return core;
};

const loggedIn = (settings = {}): Recorder => {
  const core = greeted(settings).say('AUTH PLAIN AGEAYg==').auth({ kind: 'done', login: 'a' });
  core.take();
  return core;
};

t.test('the offer', async (t) => {
  const offered = (core: Recorder): string[] => core.take().filter((line) => /AUTH/.test(line));
  t.same(offered(new Recorder(logins).open(['PLAIN']).say('EHLO c')), ['S: 250 AUTH PLAIN']);
  t.same(offered(new Recorder(logins).open([]).say('EHLO c')), []);
  t.same(offered(new Recorder(logins).open(['PLAIN']).say('HELO c')), [], 'not to HELO');
  t.same(offered(loggedIn().say('EHLO c')), [], 'RFC 4954 4: not again');
  const tls = new Recorder({ ...logins, starttls: true }).open([]).say('EHLO c').say('STARTTLS');
  tls.happen({ type: 'secured', auth: ['SCRAM-SHA-256', 'PLAIN'] }).take();
  t.same(offered(tls.say('EHLO c')), ['S: 250 AUTH SCRAM-SHA-256 PLAIN']);
});

t.test('an exchange', async (t) => {
  const core = greeted().say('AUTH PLAIN AGEAYg==');
  t.same(core.take(), ['! authenticate PLAIN [\0a\0b]']);
  t.same(core.say('NOOP').take(), [], 'no command is taken meanwhile');
  t.same(core.auth({ kind: 'done', login: 'a' }).take(), ['S: 235 2.7.0 Authentication successful']);
  t.equal(core.state.login, 'a');
  t.same(core.say('AUTH PLAIN AGEAYg==').take(), ['S: 503 5.5.1 Already authenticated'], 'only once');
  t.same(greeted().say('auth plain =').take(), ['! authenticate PLAIN []'], '= is an empty response');
  const asked = greeted().say('AUTH LOGIN');
  t.same(asked.take(), ['! authenticate LOGIN'], 'without an initial response');
  t.same(asked.auth({ kind: 'challenge', text: 'VXNlcm5hbWU6' }).take(), ['S: 334 VXNlcm5hbWU6']);
  t.same(asked.authLine('YQ==').take(), ['! respond [a]']);
  t.same(asked.auth({ kind: 'challenge', text: '' }).take(), ['S: 334']);
  t.same(asked.authLine('').take(), ['! respond []'], 'an empty line is an empty response');
  t.same(asked.auth({ kind: 'failed', failure: 'wrong' }).take(), [
    'S: 535 5.7.8 Authentication credentials invalid',
  ]);
  t.equal(asked.state.login, undefined);
  t.same(asked.say('AUTH LOGIN').take(), ['! authenticate LOGIN'], 'and may try again');
});

t.test('failures', async (t) => {
  const outcome = (failure: 'wrong' | 'unavailable' | 'malformed' | 'locked'): string[] => {
    const core = greeted().say('AUTH LOGIN');
    core.take();
    return core.auth({ kind: 'failed', failure }).take();
  };
  t.match(outcome('unavailable'), [/^S: 454 4\.7\.0 /], 'cannot tell now is never 535');
  t.match(outcome('malformed'), [/^S: 501 5\.5\.2 /]);
  t.match(outcome('locked'), [/^S: 421 4\.7\.0 Too many failed logins/, /^! close limit/]);
  const core = greeted({ errors: 3 });
  for (let i = 0; i < 3; i += 1) core.say('AUTH LOGIN').auth({ kind: 'failed', failure: 'wrong' });
  core.take();
  t.match(core.say('AUTH LOGIN').take(), [/^S: 421 4\.7\.0 Too many errors/, /close errors/], 'one past it');
});

t.test('a line that is none', async (t) => {
  const inExchange = (): Recorder => {
    const core = greeted().say('AUTH LOGIN').auth({ kind: 'challenge', text: 'eA==' });
    core.take();
    return core;
  };
  t.same(inExchange().authLine('*').take(), ['! abandon cancelled', 'S: 501 5.7.0 Authentication cancelled']);
  for (const text of ['a', 'YQ', 'YQ=', 'Y=Q=', 'YQ== ', ' YQ==', 'Y Q=', '****', 'YQ==YQ==', '=', 'ab\xffd'])
    t.match(
      inExchange().authLine(text).take(),
      ['! abandon malformed', /^S: 501 5\.5\.2 /],
      JSON.stringify(text),
    );
  t.match(inExchange().authLine('YQ==', true).take(), [
    /^S: 421 4\.5\.1/,
    '! abandon gone',
    '! close framing',
  ]);
  t.match(inExchange().happen({ type: 'auth-line-too-long' }).take(), [
    /^S: 500 5\.5\.6 /,
    '! abandon gone',
    /close/,
  ]);
  t.same(inExchange().happen({ type: 'client-gone' }).take(), ['! abandon gone', '! close client-gone']);
  t.match(
    inExchange()
      .happen({ type: 'timeout', reply: { code: 421, lines: ['x'] } })
      .take(),
    ['S: 421 x', '! abandon gone', '! close timeout'],
  );
  const stale = inExchange().authLine('*');
  stale.take();
  t.same(
    stale.auth({ kind: 'done', login: 'a' }).take(),
    [],
    'an outcome that comes too late changes nothing',
  );
  t.equal(stale.state.login, undefined);
});

t.test('not now', async (t) => {
  const said = (core: Recorder, line = 'AUTH PLAIN AGEAYg=='): string => core.say(line).take().at(-1) ?? '';
  t.match(said(new Recorder(logins).open(['PLAIN'])), /^S: 503 5\.5\.1 Send HELO/);
  const helo = new Recorder(logins).open(['PLAIN']).say('HELO c');
  helo.take();
  t.match(said(helo), /^S: 503 5\.5\.1 AUTH needs EHLO/);
  const mail = greeted().say('MAIL FROM:<a@b.example>');
  mail.take();
  t.match(said(mail), /^S: 503 5\.5\.1 AUTH not permitted during/);
  t.match(said(greeted({ starttls: true }, [])), /^S: 538 5\.7\.11 /);
  t.match(said(greeted({ starttls: true }, ['CRAM-MD5'])), /^S: 538 5\.7\.11 /, 'not this one in clear text');
  t.match(said(greeted({}, ['CRAM-MD5'])), /^S: 504 5\.5\.4 /);
  t.match(said(greeted(), 'AUTH ../../x'), /^S: 504 5\.5\.4 /);
  t.match(said(greeted(), 'AUTH'), /^S: 501 5\.5\.4 /);
  t.match(said(greeted(), 'AUTH PLAIN a'), /^S: 501 5\.5\.2 /);
  t.match(
    said(new Recorder().open([]).say('EHLO c')),
    /S: 502 5\.5\.1 Command not available$/,
    'no logins at all',
  );
  const ahead = greeted();
  t.match(ahead.say('AUTH LOGIN', true).take(), [/^S: 421 4\.5\.1/, '! close framing']);
});

t.test('STARTTLS forgets who logged in', async (t) => {
  const core = loggedIn({ starttls: true });
  core.say('STARTTLS').happen({ type: 'secured', auth: ['PLAIN'] });
  t.equal(core.state.login, undefined);
});

t.test('require: login', async (t) => {
  const core = greeted({ requireLogin: true });
  t.same(core.say('MAIL FROM:<a@b.example>').take(), ['S: 530 5.7.0 Authentication required']);
  const clear = greeted({ requireLogin: true, starttls: true }, []);
  t.match(clear.say('MAIL FROM:<a@b.example>').take(), [/^S: 530 5\.7\.0 Must issue a STARTTLS/]);
  const known = loggedIn({ requireLogin: true }).say('MAIL FROM:<a@b.example>');
  t.same(known.take(), ['! ask sender']);
  t.match(known.senderVerdict().take(), [/^S: 250 2\.1\.0 /]);
});

t.test('the sender of somebody who logged in', async (t) => {
  const core = loggedIn().say('MAIL FROM:<x@b.example>');
  t.same(core.take(), ['! ask sender']);
  const refusal = { code: 553, enhanced: '5.7.1', lines: ['no'] };
  t.same(core.senderVerdict(refusal).take(), ['S: 553 5.7.1 no']);
  t.match(core.say('RCPT TO:<y@c.example>').take(), [/^S: 503 5\.5\.1 Need MAIL/], 'there is no transaction');
  core.say('MAIL FROM:<a@b.example>');
  const stale = core.senderTicket - 1;
  t.same(core.take(), ['! ask sender']);
  core.happen({ type: 'sender-verdict', ticket: stale, refusal });
  t.same(core.take(), [], 'a stale ticket changes nothing');
  t.match(core.senderVerdict().take(), [/^S: 250 /]);
  t.match(core.say('RCPT TO:<y@c.example>').take(), ['! ask']);
});
