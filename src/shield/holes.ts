/** Known holes of mail servers on the wire, and which patches keep them out of reach. Versions by each vendor's notes. */
import type { EnginePatchId, PatchId } from './patches.js';
import type { ProductName } from './product.js';

/** From `from` (undefined: the first) up to, and not with, `before` (undefined: all since). */
interface Range {
  readonly from?: string;
  readonly before?: string;
}

export interface Hole {
  readonly id: string;
  readonly cve: readonly string[];
  /** `filter`: a program beside the mail server, which no greeting tells of. */
  readonly product: ProductName | 'filter';
  readonly what: string;
  readonly affected: readonly Range[];
  /** What to say of the versions, where the ranges do not say it all. */
  readonly versions?: string;
  /** Empty: out of Sekisho's reach, and `why` says why. */
  readonly closedBy: readonly (PatchId | EnginePatchId)[];
  readonly why?: string;
}

const ALL: readonly Range[] = [{}];
const before = (version: string): readonly Range[] => [{ before: version }];
const LOCAL = 'needs an account on the mail server itself';

const sendmail = (
  id: string,
  cve: readonly string[],
  what: string,
  affected: readonly Range[],
  closedBy: Hole['closedBy'],
  rest: Pick<Hole, 'why' | 'versions'> = {},
): Hole => ({ id, cve, product: 'sendmail', what, affected, closedBy, ...rest });

const SENDMAIL: readonly Hole[] = [
  sendmail('sm-debug', ['CVE-1999-0095'], 'DEBUG runs commands', before('5.59'), ['verb-list']),
  sendmail('sm-wiz', ['CVE-1999-0145'], 'WIZ gives a shell', before('5.60'), ['verb-list']),
  sendmail(
    'sm-decode',
    ['CVE-1999-0096'],
    'mail to decode writes files',
    ALL,
    ['address-hazards', 'no-user-queries'],
    { versions: 'any with the alias decode' },
  ),
  sendmail('sm-pipe-sender', ['CVE-1999-0203'], 'a bounce to a program as sender runs it', before('8.6.10'), [
    'address-hazards',
  ]),
  sendmail('sm-pipe-rcpt', ['CVE-1999-0163'], 'mail to a program runs it', before('8.6.9'), [
    'address-hazards',
  ]),
  sendmail('sm-ident', ['CVE-1999-0204'], 'a newline in an IDENT answer gives root', before('8.6.10'), [
    'own-address',
  ]),
  sendmail(
    'sm-qf-newline',
    [],
    'a newline in a queue file gives root',
    [{ before: '8.6.13' }, { from: '8.7', before: '8.7.4' }],
    ['parameter-grammar', 'address-grammar', 'end-of-data'],
  ),
  sendmail(
    'sm-mime7to8',
    ['CVE-1999-0206'],
    'MIME conversion overflows',
    [{ from: '8.8', before: '8.8.2' }],
    ['message-lines', 'mime-encoding'],
  ),
  sendmail(
    'sm-mime-8.8.3',
    ['CVE-1999-0047'],
    'MIME conversion overflows',
    [{ from: '8.8.3', before: '8.8.5' }],
    ['mime-boundary', 'mime-parameters', 'message-lines'],
  ),
  sendmail('sm-helo-hide', ['CVE-1999-0098'], 'a long HELO hides the client', before('8.9'), [
    'hello-grammar',
  ]),
  sendmail('sm-hdr-dos', ['CVE-1999-0393'], 'huge headers take all its time', before('8.9.3'), [
    'header-size',
    'header-count',
    'address-count',
  ]),
  sendmail('sm-etrn-dos', ['CVE-1999-1109'], 'ETRN piles up processes', before('8.10'), ['no-user-queries']),
  sendmail(
    'sm-queue-info',
    ['CVE-2001-0714', 'CVE-2001-0713', 'CVE-2001-0715'],
    'queue tools leak and lose mail',
    [{ from: '8.10', before: '8.12.1' }],
    [],
    { why: LOCAL },
  ),
  sendmail(
    'sm-debug-idx',
    ['CVE-2001-0653'],
    'the debugger writes out of bounds',
    [{ from: '8.10', before: '8.11.6' }],
    [],
    { why: LOCAL },
  ),
  sendmail('sm-dnsmap-txt', ['CVE-2002-0906'], 'long TXT records overflow', before('8.12.5'), [], {
    why: 'comes by DNS; only with a dns map of TXT records',
  }),
  sendmail(
    'sm-crackaddr',
    ['CVE-2002-1337'],
    'crackaddr overflows on header addresses: root',
    [{ from: '5.79', before: '8.12.8' }],
    ['address-brackets', 'address-balance', 'address-length', 'address-comment', 'header-field'],
    { versions: '5.79 to 8.12.7; 8.11.7 and patched 8.9.3 to 8.11.6 are not' },
  ),
  sendmail('sm-prescan-char', ['CVE-2003-0161'], 'prescan overflows on 0xFF', before('8.12.9'), [
    'address-octets',
    'address-backslashes',
    'address-grammar',
  ]),
  sendmail('sm-prescan-2', ['CVE-2003-0694'], 'prescan overflows on long addresses', before('8.12.10'), [
    'address-tokens',
    'address-comment',
    'address-grammar',
  ]),
  sendmail(
    'sm-ruleset-parse',
    ['CVE-2003-0681'],
    'rulesets overflow',
    before('8.12.10'),
    ['address-grammar', 'address-tokens'],
    { versions: 'before 8.12.10, with rulesets of the site' },
  ),
  sendmail(
    'sm-signal-race',
    ['CVE-2006-0058'],
    'timeouts within a message race: root',
    before('8.13.6'),
    ['spool'],
    { versions: 'before 8.13.6; patched 8.12.11 are not' },
  ),
  sendmail('sm-mime-depth', ['CVE-2006-1173'], 'deep MIME crashes the queue', before('8.13.7'), [
    'mime-depth',
    'mime-parts',
  ]),
  sendmail('sm-header-long', ['CVE-2006-4434'], 'long header lines crash it', before('8.13.8'), [
    'header-field',
    'message-lines',
  ]),
  sendmail('sm-milter-x', ['CVE-2009-1490'], 'a long X- field overflows', before('8.13.2'), [
    'header-name',
    'header-field',
  ]),
  sendmail('sm-nul-cert', ['CVE-2009-4565'], 'a NUL in a certificate forges a name', before('8.14.4'), [
    'own-tls',
  ]),
  sendmail('sm-cloexec', ['CVE-2014-3956'], 'open files leak to mailers', before('8.14.9'), [], {
    why: LOCAL,
  }),
  sendmail('sm-alpaca', ['CVE-2021-3618'], 'another protocol over its TLS', before('8.17.1'), [
    'foreign-protocols',
    'own-tls',
  ]),
  sendmail('sm-smuggling', ['CVE-2023-51765'], 'messages smuggled by bare LF', before('8.18.1'), [
    'end-of-data',
  ]),
  sendmail('sm-stuffing', [], 'message text run as commands', before('8.12'), ['lock-step']),
  sendmail('sm-noreply', [], 'RCPT TO:(comment) is never answered', before('8.10'), [
    'address-grammar',
    'lock-step',
  ]),
  sendmail('sm-longline', [], 'the rest of a long command is a command', before('8.17.1'), ['command-lines']),
  sendmail('sm-http-body', [], 'mail in the body of an HTTP request', before('8.17.1'), [
    'foreign-protocols',
  ]),
  sendmail('sm-relay-default', ['CVE-1999-0512'], 'it relays for anyone', before('8.9'), [
    'address-readings',
  ]),
  sendmail('sm-vrfy-expn', ['CVE-1999-0531'], 'VRFY and EXPN tell who there is', ALL, ['no-user-queries'], {
    versions: 'any without novrfy, noexpn',
  }),
  sendmail('sm-relay-fallback', [], 'it relays by way of a fallback MX', before('8.12.7'), [
    'address-readings',
  ]),
  sendmail('sm-tls-inject', [], 'clear text from before STARTTLS is run', [], ['own-tls'], {
    versions: 'none known; others of its class were',
  }),
];

const other = (
  product: Hole['product'],
  id: string,
  cve: readonly string[],
  what: string,
  affected: readonly Range[],
  closedBy: Hole['closedBy'],
  versions?: string,
): Hole => ({
  id,
  cve,
  product,
  what,
  affected,
  closedBy,
  ...(versions === undefined ? {} : { versions }),
});

const NAILS = ['17', '18', '20', '21', '22', '23', '24', '26'].map((each) => `CVE-2020-280${each}`);

export const HOLES: readonly Hole[] = [
  ...SENDMAIL,
  other(
    'Exim',
    'exim-run',
    ['CVE-2019-10149'],
    'an expansion in a recipient is run',
    [{ from: '4.87', before: '4.92' }],
    ['address-hazards'],
  ),
  other('Exim', 'exim-sni', ['CVE-2019-15846'], 'a backslash at the end of SNI: root', before('4.92.2'), [
    'own-tls',
  ]),
  other(
    'Exim',
    'exim-ehlo',
    ['CVE-2019-16928'],
    'a long EHLO overflows',
    [{ from: '4.92', before: '4.92.3' }],
    ['hello-grammar'],
  ),
  other(
    'Exim',
    'exim-hdr',
    ['CVE-2010-4344', 'CVE-2010-4345'],
    'headers of a large message overflow',
    before('4.70'),
    ['header-size'],
  ),
  other(
    'Exim',
    'exim-dkim',
    ['CVE-2011-1764', 'CVE-2012-5671'],
    'DKIM signatures as formats',
    [
      { from: '4.70', before: '4.76' },
      { from: '4.80', before: '4.80.1' },
    ],
    ['dkim-format'],
    '4.70 to 4.75; of 4.80 the part that comes by DNS stays open',
  ),
  other('Exim', 'exim-base64', ['CVE-2018-6789'], 'base64 in AUTH overflows', before('4.90.1'), ['own-auth']),
  other(
    'Exim',
    'exim-bdat',
    ['CVE-2017-16943', 'CVE-2017-16944'],
    'BDAT after free',
    [{ from: '4.88', before: '4.90' }],
    ['no-chunking'],
  ),
  other('Exim', 'exim-21nails', NAILS, '21Nails, the part on the wire', before('4.94.2'), [
    'parameter-grammar',
    'recipient-limit',
    'header-size',
    'own-tls',
  ]),
  other('Exim', 'exim-smug', ['CVE-2023-51766'], 'messages smuggled by bare LF', before('4.97.1'), [
    'end-of-data',
  ]),
  other('Postfix', 'postfix-smug', ['CVE-2023-51764'], 'messages smuggled by bare LF', before('3.8.5'), [
    'end-of-data',
  ]),
  other(
    'Postfix',
    'postfix-sasl',
    ['CVE-2011-1720'],
    'a change of AUTH mechanism corrupts memory',
    before('2.8.3'),
    ['own-auth'],
  ),
  other(
    'Postfix',
    'postfix-starttls',
    ['CVE-2011-0411'],
    'clear text from before STARTTLS is run',
    before('2.8.2'),
    ['own-tls'],
  ),
  other(
    'qmail',
    'qmail-long',
    ['CVE-2005-1513', 'CVE-2005-1514', 'CVE-2005-1515'],
    'endless lines overflow',
    ALL,
    ['command-lines', 'message-lines', 'recipient-limit'],
    'all that are not patched, on 64 bits',
  ),
  other(
    'qmail',
    'qmail-shellshock',
    ['CVE-2014-6271'],
    'a sender is run by bash',
    ALL,
    ['address-grammar'],
    'with an old bash',
  ),
  other(
    'OpenSMTPD',
    'opensmtpd',
    ['CVE-2020-7247'],
    'a sender is run by the shell: root',
    [{ from: '6.4', before: '6.6.2' }],
    ['address-hazards', 'address-grammar'],
  ),
  other(
    'Exchange',
    'exch-xexch50',
    ['CVE-2003-0714'],
    'XEXCH50 overflows',
    before('6.0.3790'),
    ['verb-list'],
    '5.5 and 2000 before MS03-046',
  ),
  other(
    'Exchange',
    'exch-linkstate',
    ['CVE-2005-0560'],
    'X-LINK2STATE overflows',
    [{ from: '5.0.2195', before: '6.0.6000' }],
    ['verb-list'],
    '2000 and 2003 before MS05-021',
  ),
  other(
    'Exchange',
    'exch-imcea',
    ['CVE-1999-0682'],
    'IMCEA addresses relay',
    before('5.5.2653'),
    ['address-readings'],
    '5.5 before MS99-027',
  ),
  other(
    'Exchange',
    'exch-tnef',
    ['CVE-2006-0002', 'CVE-2007-0213'],
    'winmail.dat runs code',
    before('8.0'),
    ['tnef'],
    'before MS06-003 and MS07-026; the patch is in shadow unless told otherwise',
  ),
  other(
    'Exchange',
    'iis-smtp-auth',
    ['CVE-2002-0054'],
    'AUTH NTLM without a name relays',
    before('5.0.2195.4905'),
    ['own-auth'],
    'IIS 5.0 and Exchange before MS02-011',
  ),
  other('Lotus Domino', 'lotus-quote', [], 'quoted and percent addresses relay', before('5.0.12'), [
    'address-readings',
  ]),
  other(
    'filter',
    'spamassassin-milter',
    ['CVE-2010-1132'],
    'a recipient is run by the shell',
    before('0.3.2'),
    ['address-hazards'],
    'spamass-milter before 0.3.2',
  ),
  other(
    'filter',
    'clamav-milter',
    ['CVE-2007-4560'],
    'a recipient is run by the shell',
    before('0.91.2'),
    ['address-hazards'],
    'clamav-milter before 0.91.2',
  ),
];

/** In words. */
export const versionsOf = ({ affected, versions }: Hole): string =>
  versions ??
  affected
    .map(({ from, before: end }) =>
      end === undefined ? 'all' : from === undefined ? `before ${end}` : `${from} up to, not with, ${end}`,
    )
    .join('; ');
