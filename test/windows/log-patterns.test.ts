/** The table of log patterns: lines as real servers write them, and lines by which somebody tries to be let in. */
import fc from 'fast-check';
import t from 'tap';
import type { SekishoEvent } from '../../src/base/events.js';
import { csvFields } from '../../src/windows/sources/log-exchange.js';
import { LogLines, readLine } from '../../src/windows/sources/log-line.js';
import { LogLogins, type LogReading } from '../../src/windows/sources/log-logins.js';
import { LOG_FORMAT_NAMES, type LogFormatName } from '../../src/windows/sources/log-patterns.js';
import { sitePattern } from '../../src/windows/sources/log-site-pattern.js';
import { momentOf, timeAt, zoneOf } from '../../src/windows/sources/log-time.js';

const NOW = Date.parse('2026-11-25T14:20:00Z');
const LENGTH = 900_000;

interface Heard {
  /** `login address seconds-ago` */
  readonly opened: string[];
  readonly events: SekishoEvent[];
}

/** What some lines of one file lead to. */
const reads = async (
  lines: readonly string[],
  format: LogReading['format'],
  { zone = 'UTC', live = false, now = NOW } = {},
): Promise<Heard> => {
  const heard: Heard = { opened: [], events: [] };
  const logins = new LogLogins(
    { name: '/var/log/test', format, zone: zoneOf(zone) },
    {
      note: (event) => void heard.events.push(event),
      now: () => now,
      windowLength: LENGTH,
      open: (login, ip, at) => {
        heard.opened.push(`${login} ${ip.text} ${(now - at) / 1_000}`);
        return Promise.resolve('opened');
      },
    },
  );
  for (const line of lines) await logins.line(line, live);
  return heard;
};

interface Row {
  /** Each opens a window for bob at 192.0.2.7, a minute old. */
  readonly good: readonly (string | readonly string[])[];
  /** What else it opens: line, and what comes of it. */
  readonly also?: readonly (readonly [string | readonly string[], string])[];
  /** None opens anything: failures, and what hostile users can have written. `{n}`: the hostile name. */
  readonly bad: readonly (string | readonly string[])[];
  /** A successful login under a name of the client's choice: whatever it is, 6.6.6.6 gets nothing. */
  readonly named: (name: string) => readonly string[];
}

const S = 'Nov 25 14:19:00 mail';
const I = '2026-11-25T14:19:00.000000+00:00 mail';
const EXCHANGE =
  '#Fields: dateTime,sessionId,seqNumber,sIp,cIp,user,duration,rqsize,rpsize,command,parameters,context,puid';
const X = '2026-11-25T14:19:00.000Z,0000000000000002,2,10.0.0.1:995,192.0.2.7:50002';

const TABLE: Readonly<Record<LogFormatName, Row>> = {
  dovecot: {
    good: [
      `${S} dovecot: imap-login: Login: user=<bob>, method=PLAIN, rip=192.0.2.7, lip=192.0.2.1, mpid=1234, TLS, session=<KvH6mCk9oLrAAAQH>`,
      `${S} dovecot: pop3-login: Login: user=<bob>, method=PLAIN, rip=192.0.2.7, lip=192.0.2.1, mpid=1234, session=<KvH6mCk9oLrAAAQH>`,
      `${I} dovecot[2749896]: imap-login: Logged in: user=<bob>, method=SCRAM-SHA-256, rip=192.0.2.7, lip=192.0.2.1, mpid=7, TLS, session=<a+/=>`,
      `${S} dovecot: pop3-login: Login: user=<bob>, method=PLAIN, rip=192.0.2.7, lip=192.0.2.1, secured, session=<x>`,
      `${S} dovecot: imap-login: Login: user=<bob>, method=PLAIN, rip=::ffff:192.0.2.7, lip=::ffff:192.0.2.1, TLS`,
      'Nov 25 14:19:00 imap-login: Info: Login: user=<bob>, method=PLAIN, rip=192.0.2.7, lip=127.0.0.1, mpid=9, session=<x>',
      '2026-11-25 14:19:00 pop3-login(77): Info: Login: user=<bob>, method=PLAIN, rip=192.0.2.7, lip=127.0.0.1, mpid=9, session=<x>',
      '<22>Nov 25 14:19:00 mail dovecot: imap-login: Login: user=<bob>, method=PLAIN, rip=192.0.2.7, lip=192.0.2.1, session=<x>',
      '<22>1 2026-11-25T14:19:00Z mail dovecot 12 - - imap-login: Login: user=<bob>, method=PLAIN, rip=192.0.2.7, lip=192.0.2.1, session=<x>',
      '<22>1 2026-11-25T15:19:00+01:00 mail dovecot - ID47 [a b="c"] imap-login: Login: user=<bob>, method=PLAIN, rip=192.0.2.7, lip=192.0.2.1',
    ],
    also: [
      [
        `${S} dovecot: imap-login: Login: user=<Bob+x@example.org>, method=PLAIN, rip=2001:db8::7, lip=2001:db8::1, mpid=1, TLS, session=<x>`,
        'Bob+x@example.org 2001:db8::7 60',
      ],
    ],
    bad: [
      `${S} dovecot: imap-login: Disconnected: Connection closed (auth failed, 1 attempts in 2 secs): user=<bob>, method=PLAIN, rip=6.6.6.6, lip=192.0.2.1, session=<x>`,
      `${S} dovecot: imap-login: Aborted login (auth failed, 1 attempts): user=<Login: user=<bob>, method=PLAIN, rip=6.6.6.6, lip=1.1.1.1>, method=PLAIN, rip=6.6.6.6, lip=1.1.1.1`,
      `${S} dovecot: auth: passwd-file(imap-login: Login: user=<bob>, method=PLAIN, rip=6.6.6.6, lip=1.1.1.1,6.6.6.6): unknown user`,
      `${S} postfix/smtpd[9]: NOQUEUE: reject: helo=<dovecot: imap-login: Login: user=<bob>, method=PLAIN, rip=6.6.6.6, lip=1.1.1.1>`,
      `${S} postfix/smtpd[9]: warning: ${S} dovecot: imap-login: Login: user=<bob>, method=PLAIN, rip=6.6.6.6, lip=1.1.1.1`,
      `${S} dovecot: imap-login: Login: user=<bob>, method=PLAIN, rip=6.6.6.6, lip=1.1.1.1, client=<rip=6.6.6.6>`,
      `${S} dovecot: imap-login: Login: user=<bob>, method=PLAIN, rip=6.6.6.6, lip=1.1.1.1, name=" evil`,
      `x${S} dovecot: imap-login: Login: user=<bob>, method=PLAIN, rip=6.6.6.6, lip=1.1.1.1`,
      `${S} dovecot: imap-login: Login: user=<bob>, method=PLAIN, rip=, lip=1.1.1.1`,
      `${S} dovecot: imap-login: Login: user=<bob>, method=PLAIN, rip=6.6.6.6.6, lip=1.1.1.1`,
      `${S} dovecot: imap-login: Login: user=<bob>, method=PLAIN, rip=06.6.6.6, lip=1.1.1.1`,
      `${S} evil: dovecot: imap-login: Login: user=<bob>, method=PLAIN, rip=6.6.6.6, lip=1.1.1.1`,
      `${S} dovecot: imap(bob): Info: imap-login: Login: user=<bob>, method=PLAIN, rip=6.6.6.6, lip=1.1.1.1`,
    ],
    named: (n) => [
      `${S} dovecot: imap-login: Login: user=<${n}>, method=PLAIN, rip=192.0.2.7, lip=192.0.2.1, mpid=1234, TLS, session=<KvH6>`,
      `${S} dovecot: imap-login: Login: user=<${n}>, method=PLAIN, rip=192.0.2.7, lip=192.0.2.1`,
    ],
  },
  courier: {
    good: [
      `${S} pop3d: LOGIN, user=bob, ip=[::ffff:192.0.2.7], port=[50111]`,
      `${S} pop3d-ssl: LOGIN, user=bob, ip=[::ffff:192.0.2.7], port=[50111]`,
      `${S} imapd: LOGIN, user=bob, ip=[::ffff:192.0.2.7], port=[50111], protocol=IMAP`,
      `${S} imapd-ssl: LOGIN, user=bob, ip=[192.0.2.7], protocol=IMAP`,
      `${I} courierpop3login: LOGIN, user=bob, ip=[::ffff:192.0.2.7]`,
      `${S} imaplogin: LOGIN, user=bob, ip=[::ffff:192.0.2.7], port=[1], protocol=IMAP, starttls=1`,
    ],
    bad: [
      `${S} pop3d: LOGIN FAILED, user=bob, ip=[::ffff:6.6.6.6], port=[1]`,
      `${S} pop3d: LOGIN FAILED, user=LOGIN, user=bob, ip=[6.6.6.6], ip=[6.6.6.6]`,
      `${S} imapd: LOGIN FAILED, method=PLAIN, ip=[::ffff:6.6.6.6], port=[1]`,
      `${S} pop3d: LOGOUT, user=bob, ip=[::ffff:6.6.6.6], port=[1], top=0, retr=0, rcvd=12, sent=39, time=0`,
      `${S} imapd: DISCONNECTED, user=bob, ip=[::ffff:6.6.6.6], headers=0, body=0`,
      `${S} pop3d: Connection, ip=[::ffff:6.6.6.6]`,
      `${S} sqwebmaild: LOGIN, user=bob, ip=[6.6.6.6]`,
      `${S} pop3d: LOGIN, user=bob, ip=[6.6.6.6], port=[1], x`,
    ],
    named: (n) => [
      `${S} imapd: LOGIN, user=${n}, ip=[::ffff:192.0.2.7], port=[50111], protocol=IMAP`,
      `${S} pop3d: LOGIN, user=${n}, ip=[192.0.2.7]`,
    ],
  },
  cyrus: {
    good: [
      `${S} cyrus/imap[123]: login: host.example.net [192.0.2.7] bob plaintext+TLS User logged in SESSIONID=<cyrus-123-1614-1-77>`,
      `${S} imap[123]: login: [192.0.2.7] bob PLAIN User logged in`,
      `${S} pop3[9]: login: h-1.example [192.0.2.7] bob plaintext User logged in SESSIONID=<x>`,
      `${S} cyrus/pop3s[9]: login: h_1.example [::ffff:192.0.2.7] bob SCRAM-SHA-256+TLS User logged in`,
      `${S} cyrus/imaps[9]: login: [192.0.2.7] bob+folder CRAM-MD5+TLS User logged in SESSIONID=<x>`,
    ],
    also: [
      [
        `${S} imap[1]: login: [2001:db8::7] bob@example.org plaintext User logged in`,
        'bob@example.org 2001:db8::7 60',
      ],
    ],
    bad: [
      `${S} cyrus/imap[123]: badlogin: host.example [6.6.6.6] plaintext bob SASL(-13): authentication failure: checkpass failed`,
      `${S} cyrus/imap[123]: badlogin: login: [6.6.6.6] bob plaintext User logged in`,
      `${S} cyrus/imap[123]: login: a b [6.6.6.6] bob plaintext User logged in`,
      `${S} cyrus/imap[123]: login: [6.6.6.6] [192.0.2.7] bob plaintext User logged in x`,
      `${S} cyrus/nntp[1]: login: [6.6.6.6] bob plaintext User logged in`,
      `${S} cyrus/imap[1]: login: localhost [local] bob plaintext User logged in`,
    ],
    named: (n) => [
      `${S} imap[1]: login: host.example [192.0.2.7] ${n} plaintext User logged in SESSIONID=<x>`,
      `${S} imap[1]: login: [192.0.2.7] ${n} plaintext User logged in`,
    ],
  },
  uw: {
    good: [
      `${S} ipop3d[123]: Login user=bob host=client.example [192.0.2.7] nmsgs=0/0`,
      `${S} imapd[123]: Login user=bob host=[192.0.2.7]`,
      `${S} imapd[123]: Authenticated user=bob host=client.example [192.0.2.7]`,
      `${S} ipop3d[123]: APOP user=bob host=client.example [192.0.2.7] nmsgs=12/12`,
      `${S} ipop3d[123]: Auth user=bob host=client.example [192.0.2.7] no mailbox`,
      `${S} ipop3d[123]: [ID 123456 mail.info] Login user=bob host=client.example [192.0.2.7] nmsgs=0/0`,
    ],
    bad: [
      `${S} ipop3d[123]: Login failed user=bob auth=bob host=client.example [6.6.6.6]`,
      `${S} imapd[123]: Login failed user=Login user=bob host=[6.6.6.6] auth=x host=client.example [6.6.6.6]`,
      `${S} ipop3d[123]: Login excessive login failures user=bob auth=bob host=[6.6.6.6]`,
      `${S} ipop3d[123]: Logout user=bob host=client.example [6.6.6.6] nmsgs=0 ndele=0`,
      `${S} ipop3d[123]: Admin Login user=bob host=client.example [6.6.6.6] nmsgs=0/0`,
      `${S} ipop3d[123]: pop3 service init from 6.6.6.6`,
      // Cut off after 80 characters.
      `${S} imapd[123]: Login user=bob host=aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa.example [6.6.6.6`,
      `${S} imapd[123]: Login user=bob host=a b.example [6.6.6.6]`,
      `${S} imapd[123]: Login user=bob host=UNKNOWN`,
    ],
    named: (n) => [
      `${S} imapd[123]: Login user=${n} host=client.example [192.0.2.7]`,
      `${S} ipop3d[123]: Login user=${n} host=[192.0.2.7] nmsgs=0/0`,
    ],
  },
  qpopper: {
    good: [
      `${S} in.qpopper[7597]: (v4.0.9) POP login by user "bob" at (yw-out-2526.example.com) 192.0.2.7 [pop_log.c:244]`,
      `${S} popper[7597]: (v4.1.0) POP login by user "bob" at (192.0.2.7) 192.0.2.7`,
      `${S} qpopper[7597]: (v3.0b29) POP login by user "bob" at (h.example) 192.0.2.7`,
    ],
    bad: [
      `${S} qpopper[7597]: bob at h.example (6.6.6.6): -ERR [AUTH] Password supplied for "bob" is incorrect. [pop_pass.c:1295]`,
      `${S} qpopper[7597]: [AUTH] Failed attempted login to (v4.0.9) POP login by user "bob" at (x) 6.6.6.6 from host (h.example) 6.6.6.6 [pop_pass.c:1295]`,
      `${S} qpopper[7597]: Stats: bob 0 0 0 0 h.example 6.6.6.6 [pop_updt.c:296]`,
      `${S} qpopper[7597]: (v4.0.9) Unable to get canonical name of client 6.6.6.6: (0)`,
      `${S} qpopper[7597]: (v4.0.9) POP login by user "bob" at (a b) 6.6.6.6`,
    ],
    named: (n) => [
      `${S} qpopper[1]: (v4.0.9) POP login by user "${n}" at (h.example) 192.0.2.7 [pop_log.c:244]`,
      `${S} qpopper[1]: (v4.0.9) POP login by user "${n}" at (192.0.2.7) 192.0.2.7`,
    ],
  },
  popa3d: {
    good: [
      [`${S} popa3d[5]: Session from 192.0.2.7`, `${S} popa3d[5]: Authentication passed for bob`],
      [
        `${S} popa3d[4]: Session from 6.6.6.6`,
        `${S} popa3d[5]: Session from 192.0.2.7`,
        `${S} popa3d[4]: Authentication failed for bob`,
        `${S} popa3d[5]: Authentication passed for bob`,
        `${S} popa3d[5]: 0 messages (0 bytes) loaded`,
      ],
      // A process of the same number, later.
      [
        `${S} popa3d[5]: Session from 6.6.6.6`,
        `${S} popa3d[5]: Session from 192.0.2.7`,
        `${S} popa3d[5]: Authentication passed for bob`,
        `${S} popa3d[5]: Authentication passed for bob`,
      ],
    ],
    bad: [
      [`${S} popa3d[5]: Authentication passed for bob`],
      [`${S} popa3d[5]: Session from 6.6.6.6`, `${S} popa3d[6]: Authentication passed for bob`],
      [`${S} popa3d: Session from 6.6.6.6`, `${S} popa3d: Authentication passed for bob`],
      [`${S} popa3d[5]: Session from 6.6.6.6`, `${S} popa3d[5]: Authentication failed for bob`],
      [`${S} popa3d[5]: Session from 6.6.6.6`, `${S} popa3d[5]: Authentication failed for UNKNOWN USER`],
      [
        `${S} popa3d[5]: Session from 6.6.6.6`,
        `${S} popa3d[5]: Authentication failed for bob`,
        `${S} popa3d[5]: Authentication passed for bob`,
      ],
      [`${S} popa3d[5]: Session from 6.6.6.6`, `${S} evil[5]: Authentication passed for bob`],
    ],
    named: (n) => [
      `${S} popa3d[5]: Session from 192.0.2.7`,
      `${S} popa3d[5]: Authentication passed for ${n}`,
      `${S} popa3d[5]: Session from 192.0.2.7`,
      `${S} popa3d[5]: Authentication failed for ${n}`,
    ],
  },
  exchange: {
    good: [
      `${X},bob,205,48,24,login,bob@example.org *****,"R=OK;Msg=""Proxy:EXCH01.example.org:1993:SSL;ProxySuccess""",`,
      `${X},bob,93,4,39,pass,*****,R=ok`,
      `${X},bob,93,4,39,auth,PLAIN,"R=ok;Msg=""User:bob:x""",`,
      `${X},bob,93,4,39,authenticate,PLAIN,R=OK,`,
      [
        '#Software: Microsoft Exchange Server',
        EXCHANGE,
        '2026-11-25T14:19:00.000Z,1,2,10.0.0.1:995,[::ffff:192.0.2.7]:50002,bob,1,2,3,pass,*****,R=ok,',
      ],
      [
        '#Fields: dateTime,user,cIp,command,context',
        '2026-11-25T14:19:00.000Z,bob,192.0.2.7:50002,pass,R=ok',
      ],
    ],
    bad: [
      `2026-11-25T14:19:00.000Z,1,2,10.0.0.1:995,6.6.6.6:50002,,205,48,24,login, *****,"R=""a2 NO LOGIN failed.""",`,
      `2026-11-25T14:19:00.000Z,1,2,10.0.0.1:995,6.6.6.6:50002,,205,48,24,login,"x,R=OK *****","R=""a2 NO LOGIN failed.""",`,
      `2026-11-25T14:19:00.000Z,1,2,10.0.0.1:995,6.6.6.6:50002,,205,48,24,login,x",bob,205,48,24,login,y,R=OK,`,
      `2026-11-25T14:19:00.000Z,1,2,10.0.0.1:995,6.6.6.6:50002,bob,205,48,24,pass,*****,"R=""-ERR Logon failure: R=ok""",`,
      `2026-11-25T14:19:00.000Z,1,2,10.0.0.1:995,6.6.6.6:50002,bob,1,2,3,select,INBOX,R=OK;Rows=0,`,
      `2026-11-25T14:19:00.000Z,1,2,10.0.0.1:995,6.6.6.6:50002,bob,1,2,3,user,bob,R=ok,`,
      `2026-11-25T14:19:00.000Z,1,2,10.0.0.1:995,6.6.6.6,bob,1,2,3,pass,*****,R=ok,`,
      `2026-11-25T14:19:00.000Z,1,2,10.0.0.1:995,6.6.6.6:5,bob,1,2,3,pass,*****,R=ok,,,,`,
      `yesterday,1,2,10.0.0.1:995,6.6.6.6:5,bob,1,2,3,pass,*****,R=ok,`,
    ],
    named: (n) => [
      `${X},"${n.replaceAll('"', '""')}",205,48,24,login,"${n.replaceAll('"', '""')} *****",R=OK,`,
      `${X},,205,48,24,login,"${n.replaceAll('"', '""')}","R=""NO""",`,
    ],
  },
};

const HOSTILE = [
  'x>, method=PLAIN, rip=6.6.6.6, lip=1.1.1.1, session=<y',
  'x>, method=PLAIN, rip=6.6.6.6, lip=1.1.1.1',
  'rip=6.6.6.6',
  '6.6.6.6',
  'x, ip=[6.6.6.6]',
  'x, ip=[6.6.6.6], port=[1], protocol=IMAP',
  'x plaintext User logged in',
  '[6.6.6.6] x',
  'x] [6.6.6.6] bob plaintext User logged in SESSIONID=<z>',
  'x host=[6.6.6.6]',
  'x host=[6.6.6.6] nmsgs=0/0',
  'x" at (h) 6.6.6.6 [pop_log.c:244]',
  'x" at (h) 6.6.6.6',
  `x\n${S} dovecot: imap-login: Login: user=<bob>, method=PLAIN, rip=6.6.6.6, lip=1.1.1.1`,
  `x\r${S} pop3d: LOGIN, user=bob, ip=[6.6.6.6]`,
  'x\u2028y',
  'x\u0000y',
  'x\u001b[2Jy',
  'x\u202ey',
  '<6.6.6.6>',
  "o'brien@example.org,6.6.6.6:5,bob",
  'x,R=OK',
  '',
  ' ',
  `${S} dovecot: imap-login: Login: user=<bob>, method=PLAIN, rip=6.6.6.6, lip=1.1.1.1`,
  'Session from 6.6.6.6',
];

for (const format of LOG_FORMAT_NAMES) {
  t.test(format, async (t) => {
    const { good, also = [], bad, named } = TABLE[format];
    for (const lines of good) {
      const { opened } = await reads([lines].flat(), format);
      t.strictSame(opened, ['bob 192.0.2.7 60'], [lines].flat().join('\n'));
    }
    for (const [lines, what] of also)
      t.strictSame((await reads([lines].flat(), format)).opened, [what], String(lines));
    for (const lines of bad)
      t.strictSame((await reads([lines].flat(), format)).opened, [], [lines].flat().join('\n'));
    // No login of one format is one of another.
    for (const other of LOG_FORMAT_NAMES.filter((each) => each !== format))
      for (const lines of TABLE[other].good) t.strictSame((await reads([lines].flat(), format)).opened, []);
    for (const name of HOSTILE) {
      const { opened, events } = await reads(
        named(name).flatMap((line) => line.split('\n')),
        format,
      );
      for (const each of opened) t.match(each, / 192\.0\.2\.7 60$/, encodeURIComponent(`${name}: ${each}`));
      for (const event of events)
        t.match(
          event,
          { type: 'window-refused', address: '192.0.2.7', source: 'log' },
          encodeURIComponent(name),
        );
    }
    const refused = await reads(named('a>b'), format);
    t.strictSame(refused.opened, []);
    t.match(refused.events[0], {
      type: 'window-refused',
      login: 'a>b',
      why: /by which log lines are forged/,
    });
    // Whatever the name: only the true address, and only names without what could be read in two ways.
    const parts = [
      '6.6.6.6',
      '>',
      '<',
      ', ',
      ' ',
      '"',
      ']',
      '[',
      ')',
      '(',
      'rip=',
      'ip=[',
      'host=',
      'a',
      'ö',
    ];
    const name = fc
      .array(fc.oneof(fc.constantFrom(...parts), fc.string({ maxLength: 4 })), { maxLength: 12 })
      .map((each) => each.join('').replaceAll('\n', ''));
    await fc.assert(
      fc.asyncProperty(name, async (each) => {
        const { opened } = await reads(named(each), format);
        return opened.every((one) => one.endsWith(' 192.0.2.7 60') && !/[<>"[\]()]/.test(one));
      }),
      { numRuns: 150 },
    );
  });
}

const DOVECOT = (time: string): string =>
  `${time} mail dovecot: imap-login: Login: user=<bob>, method=PLAIN, rip=192.0.2.7, lip=192.0.2.1`;

t.test('the time of a line', async (t) => {
  const age = async (time: string, now: string, zone = 'UTC'): Promise<string[]> =>
    (await reads([DOVECOT(time)], 'dovecot', { zone, now: Date.parse(now) })).opened.map(
      (each) => each.split(' ')[2] ?? '',
    );
  t.strictSame(await age('Nov 25 14:10:00', '2026-11-25T14:20:00Z'), ['600'], 'ten minutes ago');
  t.strictSame(await age('Nov 25 14:05:01', '2026-11-25T14:20:00Z'), ['899']);
  t.strictSame(await age('Nov 25 14:05:00', '2026-11-25T14:20:00Z'), [], 'over');
  t.strictSame(await age('Nov 25 14:20:00', '2025-11-25T14:20:00Z'), ['0']);
  t.strictSame(await age('Nov  5 14:19:59', '2026-11-05T14:20:00Z'), ['1']);
  t.strictSame(await age('Dec 31 23:59:00', '2027-01-01T00:04:00Z'), ['300'], 'last year');
  t.strictSame(await age('Jan  1 00:00:10', '2026-12-31T23:59:50Z'), ['0'], 'a clock that is ahead');
  t.strictSame(await age('Feb 29 12:00:00', '2028-02-29T12:01:00Z'), ['60']);
  t.strictSame(await age('Feb 29 12:00:00', '2027-03-01T12:01:00Z'), []);
  t.strictSame(await age('Nov 31 14:19:00', '2026-12-01T14:20:00Z'), [], 'no such day');
  t.strictSame(await age('Nov 25 25:19:00', '2026-11-25T14:20:00Z'), [], 'no such hour');
  t.strictSame(await age('Nov 25 23:10:00', '2026-11-25T14:20:00Z', 'Asia/Tokyo'), ['600']);
  t.strictSame(await age('Nov 25 23:10:00', '2026-11-25T14:20:00Z', '+09:00'), ['600']);
  t.strictSame(await age('2026-11-25T23:10:00.5+09:00', '2026-11-25T14:20:00Z'), ['599.5']);
  t.strictSame(await age('2026-11-25T14:10:00Z', '2026-11-25T14:20:00Z', 'Asia/Tokyo'), ['600']);
  t.strictSame(await age('2026-11-25 23:10:00,250', '2026-11-25T14:20:00Z', 'Asia/Tokyo'), ['599.75']);
  // The hour that the end of summer time repeats is the earlier one.
  t.strictSame(await age('Oct 25 02:10:00', '2026-10-25T00:20:00Z', 'Europe/Berlin'), ['600']);
  t.strictSame(await age('Oct 25 02:10:00', '2026-10-25T01:20:00Z', 'Europe/Berlin'), []);
  t.strictSame(await age('Oct 25 03:10:00', '2026-10-25T02:20:00Z', 'Europe/Berlin'), ['600']);
  t.strictSame(await age('Mar 29 03:10:00', '2026-03-29T01:20:00Z', 'Europe/Berlin'), ['600']);
  const future = await reads([DOVECOT('Nov 25 23:10:00')], 'dovecot', {});
  t.strictSame(future.opened, []);
  t.match(future.events, [
    { type: 'window-refused', why: /yet to come: is zone right for \/var\/log\/test/ },
  ]);
  t.equal((await reads([DOVECOT('Nov 25 14:21:59')], 'dovecot')).opened.length, 1, 'two minutes ahead');
  t.equal((await reads([DOVECOT('Nov 25 14:22:01')], 'dovecot')).opened.length, 0, 'and more');
  t.equal(zoneOf('Mars/Olympus'), undefined);
  t.equal(zoneOf('+15:00'), undefined);
  const epoch = timeAt('1795616400.25 x');
  t.equal(epoch && momentOf(epoch.time, undefined, 0), 1_795_616_400_250);
  const here = timeAt('2026-11-25 14:10:00');
  t.equal(
    here && momentOf(here.time, undefined, NOW),
    new Date(2026, 10, 25, 14, 10).getTime(),
    "the host's zone",
  );
  fc.assert(
    fc.property(
      fc.date({ min: new Date('2025-12-01'), max: new Date('2026-11-25'), noInvalidDate: true }),
      (date) => {
        const at = Math.floor(date.getTime() / 1_000) * 1_000;
        const [, month, day, clock] =
          new Date(at)
            .toUTCString()
            .match(/ (\d+) (\w+) \d+ ([\d:]+)/)
            ?.slice(0) ?? [];
        const found = timeAt(`${day} ${month?.padStart(2)} ${clock}`);
        return found !== undefined && momentOf(found.time, zoneOf('UTC'), NOW) === at;
      },
    ),
  );
});

t.test('lines', async (t) => {
  const all = (octets: Buffer, size: number, limit: number, midway = false): string[] => {
    const lines = new LogLines(limit, midway);
    const found: string[] = [];
    for (let at = 0; at < octets.length; at += size)
      found.push(...lines.feed(octets.subarray(at, at + size)));
    return found;
  };
  const text = Buffer.from('part\nöne\r\n\ntwelve octet\nthirteen octet\nlast\nunfinished');
  for (const size of [1, 2, 3, 7, 100]) {
    t.strictSame(all(text, size, 12), ['part', 'öne', '', 'twelve octet', 'last']);
    t.strictSame(all(text, size, 12, true), ['öne', '', 'twelve octet', 'last']);
  }
  t.strictSame(all(Buffer.alloc(1_000_000, 'x'), 65_536, 8_192), []);
  fc.assert(
    fc.property(fc.array(fc.string({ maxLength: 20 })), fc.integer({ min: 1, max: 9 }), (lines, size) => {
      const clean = lines.map((each) => each.replaceAll(/[\r\n]/g, ''));
      const octets = Buffer.from(clean.map((each) => `${each}\n`).join(''));
      t.strictSame(all(octets, size, 100), clean);
    }),
    { numRuns: 50 },
  );
  t.match(readLine('Nov 25 14:19:00 2001:db8::1 dovecot[7]: x: y'), {
    program: 'dovecot',
    pid: '7',
    message: 'x: y',
  });
  t.match(readLine('Nov 25 14:19:00 mail kernel: x'), { program: 'kernel', message: 'x' });
  t.match(readLine('Nov 25 14:19:00 imap-login: Info: x'), {
    program: undefined,
    message: 'imap-login: Info: x',
  });
  t.equal(readLine('no time'), undefined);
  t.equal(readLine(''), undefined);
  fc.assert(fc.property(fc.string(), (line) => void readLine(line)));
  t.strictSame(csvFields('a,"b,""c""",,d'), ['a', 'b,"c"', '', 'd']);
  t.strictSame(csvFields(''), ['']);
  t.strictSame(csvFields('a,'), ['a', '']);
  for (const row of ['"a', 'a"b', '"a"b', 'a,"b', '"a""']) t.equal(csvFields(row), undefined, row);
  fc.assert(
    fc.property(fc.array(fc.string(), { minLength: 1 }), (fields) => {
      t.strictSame(csvFields(fields.map((each) => `"${each.replaceAll('"', '""')}"`).join(',')), fields);
    }),
    { numRuns: 50 },
  );
});

t.test("a site's own pattern", async (t) => {
  const format = (text: string): LogReading['format'] => {
    const pattern = sitePattern(text);
    if (!pattern.ok) throw new Error(pattern.error);
    return pattern.value;
  };
  const mine = format(
    '^\\S+ \\S+ \\S+ \\S+ teapop\\[\\d+\\]: Successful login for (?<user>\\S+) .* \\[(?<address>[^\\]]+)\\]$',
  );
  const line = `${S} teapop[1]: Successful login for bob from host [192.0.2.7]`;
  t.strictSame((await reads([line], mine)).opened, ['bob 192.0.2.7 60']);
  t.strictSame((await reads([`${line} `, `x ${line}`], mine)).opened, []);
  t.strictSame((await reads([line.replace('bob', 'b,b')], mine)).opened, [], 'names as everywhere');
  t.strictSame((await reads([line.replace('192.0.2.7', 'host')], mine)).opened, []);
  const timed = format('^login (?<user>[^ ]+) (?<address>[^ ]+) at (?<time>.+)$');
  t.strictSame((await reads(['login bob 192.0.2.7 at 2026-11-25T14:10:00Z'], timed)).opened, [
    'bob 192.0.2.7 600',
  ]);
  const noTime = format('^in (?<user>[^ ]+) (?<address>[^ ]+)$');
  t.strictSame((await reads(['in bob 192.0.2.7'], noTime)).opened, [], 'who knows how old it is');
  t.strictSame(
    (await reads(['in bob 192.0.2.7'], noTime, { live: true })).opened,
    ['bob 192.0.2.7 0'],
    'now',
  );
  const loose = format('^.*user=(?<user>.*) ip=(?<address>[0-9.]+).*$');
  const doubt = await reads([`${S} x: user=bob ip=6.6.6.6 user=eve ip=192.0.2.7 ok`], loose);
  t.strictSame(doubt.opened, []);
  t.match(doubt.events, [{ type: 'warning', text: /^\/var\/log\/test: a line can be read in two ways/ }]);
  for (const [text, why] of [
    ['(?<user>a)(?<address>b)$', /must begin with \^ and end with \$/],
    ['^(?<user>a)(?<address>b)', /must begin with/],
    ['^(?<user>a)(?<address>b)\\$', /must begin with/],
    ['^(?<user>a)$', /must have the group \(\?<address>…\)/],
    ['^(?<address>a)$', /must have the group \(\?<user>…\)/],
    ['^(?<user>a)(?<address>b)(?<host>c)$', /has a group "host"/],
    ['^(?<user>a(?<address>b)$', /is not a pattern of RE2: .*missing/],
    ['^(?<user>a)(?<address>b)(?=c)$', /is not a pattern of RE2/],
    ['^(?<user>a)(?<address>b)\\1$', /is not a pattern of RE2/],
    [`^(?<user>a)(?<address>b)${'c'.repeat(1_000)}$`, /longer than 1000/],
  ] as const) {
    const pattern = sitePattern(text);
    t.match(pattern.ok ? '' : pattern.error, why, text);
  }
  const slow = format('^(?<user>(a+)+) (?<address>b)$');
  const begun = performance.now();
  await reads(['a'.repeat(8_192)], slow);
  t.ok(performance.now() - begun < 10_000, 'linear: another engine would never be done');
});

t.test('a store that does not answer keeps the line', async (t) => {
  const asked: number[] = [];
  const logins = new LogLogins(
    { name: 'x', format: 'dovecot', zone: zoneOf('UTC') },
    {
      note: () => {},
      now: () => NOW,
      windowLength: LENGTH,
      open: (_, __, at) => {
        asked.push(at);
        return Promise.resolve(asked.length < 3 ? 'unknown' : 'opened');
      },
    },
  );
  await logins.line(DOVECOT('Nov 25 14:10:00'), true);
  t.strictSame(asked, [NOW - 600_000, NOW - 600_000, NOW - 600_000], 'the same login until it is there');
  asked.length = -0;
  const never = new LogLogins(
    { name: 'x', format: 'dovecot', zone: zoneOf('UTC') },
    { note: () => {}, now: () => NOW, windowLength: LENGTH, open: () => Promise.resolve('unknown') },
  );
  const waiting = never.line(DOVECOT('Nov 25 14:10:00'), true);
  await new Promise((resolve) => setTimeout(resolve, 20));
  never.stop();
  await waiting;
});
