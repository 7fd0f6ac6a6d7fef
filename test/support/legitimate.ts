/**
 * Legitimate messages as common mailers write them, made from a seed: the same seed, the same message. Each kind is a
 * habit that a filter could take for an attack. CRLF line ends, Latin-1 text that stands for octets.
 */

/** mulberry32: small, and good enough to vary mail. */
export class Dice {
  #state: number;
  constructor(seed: number) {
    this.#state = seed >>> 0;
  }
  /** From 0 up to, and not with, 1. */
  next(): number {
    this.#state = (this.#state + 0x6d2b79f5) >>> 0;
    let t = this.#state;
    t = Math.imul(t ^ (t >>> 15), t | 1);
    t ^= t + Math.imul(t ^ (t >>> 7), t | 61);
    return ((t ^ (t >>> 14)) >>> 0) / 4_294_967_296;
  }
  upTo(most: number): number {
    return Math.floor(this.next() * (most + 1));
  }
  from<T>(list: readonly T[]): T {
    return list[this.upTo(list.length - 1)] as T;
  }
  text(alphabet: string, length: number): string {
    const letters = [...alphabet];
    const piece = Array.from({ length: Math.min(length, 1_000) }, () => this.from(letters)).join('');
    return piece.repeat(Math.ceil(length / 1_000)).slice(0, length);
  }
  base64(length: number): string {
    return Buffer.from(this.text('abcdefghijklmnopqrstuvwxyz 0123456789', length)).toString('base64');
  }
  hex(length: number): string {
    return this.text('0123456789abcdef', length);
  }
}

const utf8 = (text: string): string => Buffer.from(text, 'utf8').toString('latin1');
const b = (text: string): string => `=?UTF-8?B?${Buffer.from(text, 'utf8').toString('base64')}?=`;
const q = (text: string): string =>
  `=?utf-8?Q?${[...Buffer.from(text, 'utf8')]
    .map((octet) =>
      /[A-Za-z0-9]/.test(String.fromCharCode(octet))
        ? String.fromCharCode(octet)
        : `=${octet.toString(16).toUpperCase().padStart(2, '0')}`,
    )
    .join('')}?=`;
const wrap = (text: string, width = 76): string =>
  text.replace(new RegExp(`(.{${width}})(?=.)`, 'g'), '$1\r\n');
const fold = (text: string): string => wrap(text, 72).replace(/\r\n/g, '\r\n\t');

const NAMES = [
  ...[
    'Alice Example',
    '"Example, Bob"',
    'J.R.R. Tolkien',
    "Conan O'Brien",
    '"Dr. Ed (the boss) <x>"',
    'x (y)',
  ],
  ...[
    '"quote \\" inside"',
    b('山田 太郎'),
    q('Jörg Müller'),
    '"\'single\' quoted"',
    '=?ISO-2022-JP?B?GyRCOzNFRBsoQg==?=',
  ],
  ...[
    'Frau Prof. Dr. Müller-Lüdenscheidt'.replace(/ü/g, 'ue'),
    'sales@example.com',
    '"sales@example.com"',
    '',
  ],
  ...[
    '=?iso-8859-1?Q?Andr=E9_?= Pirard',
    '"=?windows-1252?Q?Fran=E7ois?="',
    'Hans :-)'.replace(':-)', ''),
    'NO-REPLY',
  ],
];
const LOCALS = [
  ...['alice', 'bob.example', "o'brien", 'a+tag', 'x_y-z', '"quoted local"', 'bounces+123-abc=def.example'],
  ...['reply+AAAAABBBBBCCCCCDDDDDEEEEEFFFFFGGGGGHHHHHIIIIIJJJJJKKKKKLLLLLMMMMMNNNNNOOOOOPPPPP'],
  ...['SRS0=HHH=TT=example.net=user', 'msprvs1=18000abc=bounces-1234-5678', 'prvs=1234567890=user'],
  ...[
    'IMCEAEX-_O=EXCHANGELABS_OU=EXCHANGE+20ADMINISTRATIVE+20GROUP+20+28FYDIBOHF23SPDLT+29_CN=RECIPIENTS_CN=u',
  ],
];
const HOSTS = [
  'example.com',
  'mail.example.ac.jp',
  'xn--bcher-kva.example',
  '[192.0.2.1]',
  'a.b.c.d.example.org',
];

const address = (d: Dice): string => {
  const spec = `${d.from(LOCALS)}@${d.from(HOSTS)}`;
  const name = d.from(NAMES);
  return d.next() < 0.15 ? spec : `${name}${name === '' ? '' : ' '}<${spec}>`;
};
const list = (d: Dice, length: number): string => Array.from({ length }, () => address(d)).join(',\r\n ');

const received = (d: Dice): string =>
  `Received: from ${d.from(HOSTS)} (${d.from(HOSTS)} [192.0.2.${d.upTo(255)}])\r\n\t(using TLSv1.3 with cipher TLS_AES_256_GCM_SHA384 (256/256 bits)\r\n\t key-exchange X25519 server-signature RSA-PSS (2048 bits) server-digest SHA256)\r\n\t(No client certificate requested)\r\n\tby mx.example.net (Postfix) with ESMTPS id ${d.hex(12)}\r\n\tfor <alice@example.com>; Mon, 1 Jan 2024 00:00:00 +0900 (JST)\r\n`;

const dkim = (d: Dice): string =>
  `DKIM-Signature: v=1; a=rsa-sha256; c=relaxed/relaxed; d=example.com; s=s1;\r\n\th=from:to:subject:date:message-id:mime-version:content-type; t=1700000000;\r\n\tz=From:=20A=20<a@b>|Subject:=2050%=20off; bh=${d.base64(30)};\r\n\tb=${fold(d.base64(180))}\r\n`;

const arc = (d: Dice, i: number): string =>
  `ARC-Seal: i=${i}; a=rsa-sha256; t=1700000000; cv=pass; d=example.net; s=arc;\r\n\tb=${fold(d.base64(180))}\r\n` +
  `ARC-Message-Signature: i=${i}; a=rsa-sha256; c=relaxed/relaxed; d=example.net; h=from:to;\r\n\tbh=${d.base64(30)};\r\n\tb=${fold(d.base64(180))}\r\n` +
  `ARC-Authentication-Results: i=${i}; mx.example.net; dkim=pass header.i=@example.com header.s=s1\r\n\theader.b=${d.base64(6)}; spf=pass (example.net: domain of a@example.com designates 192.0.2.1\r\n\tas permitted sender) smtp.mailfrom=a@example.com; dmarc=pass (p=NONE) header.from=example.com\r\n`;

const SUBJECTS = [
  ...[
    'hello',
    '',
    'Re: Re: Fwd: AW: [list] x',
    b('会議のお知らせ'),
    q('Grüße'),
    utf8('rohes UTF-8: Grüße'),
    'f\xfcr Sie',
  ],
  ...[
    '\x1b$B4A;z\x1b(B',
    `${b('長い題名').concat('\r\n ').repeat(12)}x`,
    '100% off!!! $$$ <<>> (((',
    'a'.repeat(900),
  ],
];

const head = (d: Dice, more = ''): string =>
  `${Array.from({ length: d.upTo(6) }, () => received(d)).join('')}${d.next() < 0.4 ? dkim(d) : ''}From: ${address(d)}\r\nTo: ${list(d, 1 + d.upTo(3))}\r\nSubject: ${d.from(SUBJECTS)}\r\nDate: Mon, 1 Jan 2024 00:00:00 +0900\r\nMessage-ID: <${d.hex(32)}@example.com>\r\n${more}`;

const BOUNDARIES: readonly ((d: Dice) => string)[] = [
  (d) => `----=_NextPart_000_${d.hex(4)}_01D9${d.hex(4).toUpperCase()}.${d.hex(8).toUpperCase()}`,
  (d) => `Apple-Mail=_${d.hex(8).toUpperCase()}-${d.hex(4)}-${d.hex(4)}-${d.hex(12)}`,
  (d) => `=_alternative 00${d.hex(6)}C1257${d.hex(4)}_=`,
  (d) => `------------${d.text('ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijkl0123456789', 24)}`,
  (d) => `===============${d.text('0123456789', 19)}==`,
  (d) => `_000_${d.hex(60).toUpperCase()}_`.slice(0, 70),
  (d) => `Boundary_(ID_${d.text('abcdefghijklmnopqrstuvwxyz', 22)})`,
  (d) => `b1_${d.hex(32)}`,
  (d) => `--_com.example.android.email_${d.text('0123456789', 16)}`,
  (d) => `=-=${d.text("'()+_,-./:=?", 6)}=-=${d.hex(10)}`,
  (d) => `${d.hex(20)}/mx.example.com`,
  (d) => d.hex(1),
];

const boundary = (d: Dice): string => d.from(BOUNDARIES)(d);

interface Part {
  readonly head: string;
  readonly body: string;
}

const multipart = (d: Dice, kind: string, parts: readonly Part[], more = ''): Part => {
  const edge = boundary(d);
  const quoted = `"${edge}"`;
  const inner = parts
    .map(({ head: h, body }) => `--${edge}${d.next() < 0.1 ? ' ' : ''}\r\n${h}\r\n${body}\r\n`)
    .join('');
  const preamble = d.next() < 0.5 ? 'This is a multi-part message in MIME format.\r\n' : '';
  const epilogue = d.next() < 0.2 ? '\r\nepilogue\r\n' : '';
  return {
    head: `Content-Type: multipart/${kind};${more}\r\n\t${d.next() < 0.1 ? 'BOUNDARY' : 'boundary'}=${quoted}\r\n`,
    body: `${preamble}${inner}--${edge}--\r\n${epilogue}`,
  };
};

const TEXTS = [
  ...[
    'Hello,\r\n\r\n-- \r\nAlice\r\n',
    '',
    '> quoted\r\n> > more\r\n',
    '..dots\r\n..\r\n',
    '-----Original Message-----\r\nFrom: x\r\n',
  ],
  ...[
    '-----BEGIN PGP MESSAGE-----\r\n\r\nhQEMA\r\n-----END PGP MESSAGE-----\r\n',
    '--\r\n--- a/file\r\n+++ b/file\r\n@@ -1 +1 @@\r\n--x\r\n',
  ],
  ...[
    `${'-'.repeat(900)}\r\n`,
    utf8('Größe 10€\r\n日本語\r\n'),
    '<!-- comment --><style>--x: 1</style>\r\n',
    'x'.repeat(998).concat('\r\n'),
  ],
  ...[
    '_______________________________________________\r\nlist mailing list\r\nlist@lists.example.org\r\nhttps://lists.example.org/\r\n',
  ],
];
const text = (d: Dice, type = 'plain'): Part => ({
  head: `Content-Type: text/${type}; charset=${d.from(['utf-8', '"utf-8"', 'us-ascii', 'iso-8859-1; format=flowed; delsp=yes'])}\r\nContent-Transfer-Encoding: ${d.from(['7bit', '8bit', 'quoted-printable', 'QUOTED-PRINTABLE', 'binary'])}\r\n`,
  body: d.from(TEXTS),
});
const attachment = (d: Dice, type: string, params: string, length = 2_000): Part => ({
  head: `Content-Type: ${type};${params}\r\nContent-Transfer-Encoding: base64\r\nContent-Disposition: attachment;${params.replace(/\bname/g, 'filename')}\r\nContent-ID: <${d.hex(20)}@example.com>\r\n`,
  body: `${wrap(d.base64(d.upTo(length)))}\r\n`,
});
const rfc2231 = (name: string): string =>
  [...encodeURIComponent(name).matchAll(/(?:%..|[^%]){1,20}/g)]
    .map(([piece], i) => `\r\n\tname*${i}*=${i === 0 ? "utf-8''" : ''}${piece}`)
    .join(';');

const whole = ({ head: h, body }: Part, d: Dice, more = ''): string =>
  `${head(d, `${more}MIME-Version: 1.0\r\n`)}${h}\r\n${body}`;
const enclosed = (d: Dice, message: string): Part => ({
  head: `Content-Type: message/rfc822${d.next() < 0.5 ? '; name="fwd.eml"' : ''}\r\nContent-Disposition: inline\r\n`,
  body: message,
});

/** Each habit by name. */
export const HABITS: Readonly<Record<string, (d: Dice) => string>> = {
  plain: (d) => `${head(d)}\r\n${d.from(TEXTS)}`,
  'no header at all': (d) => d.from(['just text\r\n', '\r\nbody\r\n', '', '\r\n']),
  'header alone': (d) => head(d),
  'empty body': (d) => `${head(d)}\r\n`,
  'raw 8 bits': (d) =>
    `${head(d)}Content-Type: text/plain; charset=utf-8\r\n\r\n${utf8('日本語\r\n').repeat(20)}\xff\xfe\r\n`,
  'mbox line': (d) => `From alice@example.com Mon Jan  1 00:00:00 2024\r\n${head(d)}\r\nx\r\n`,
  'alternative of Outlook': (d) =>
    whole(
      multipart(d, 'alternative', [text(d), text(d, 'html')]),
      d,
      `Thread-Index: ${d.base64(20)}\r\nX-MS-Has-Attach: yes\r\nX-Microsoft-Antispam-Message-Info:\r\n ${fold(d.base64(3_000))}\r\n`,
    ),
  'mixed in related in alternative': (d) =>
    whole(
      multipart(d, 'mixed', [
        multipart(
          d,
          'related',
          [
            multipart(d, 'alternative', [text(d), text(d, 'html')]),
            attachment(d, 'image/png', '\r\n name="image001.png"'),
          ],
          ' type="multipart/alternative";',
        ),
        attachment(d, 'application/pdf', `\r\n name="${q('Übersicht für März').repeat(6)}"`),
      ]),
      d,
    ),
  'names of files in RFC 2231': (d) =>
    whole(
      multipart(d, 'mixed', [
        text(d),
        attachment(d, 'application/vnd.ms-excel', rfc2231(`${'会議資料'.repeat(1 + d.upTo(7))}.xlsx`)),
      ]),
      d,
    ),
  'winmail.dat': (d) =>
    whole(
      multipart(d, 'mixed', [text(d), attachment(d, 'application/ms-tnef', '\r\n name="winmail.dat"')]),
      d,
    ),
  calendar: (d) =>
    whole(
      multipart(d, 'mixed', [
        multipart(d, 'alternative', [
          text(d),
          {
            head: 'Content-Type: text/calendar; charset="utf-8"; method=REQUEST; component=VEVENT;\r\n x-microsoft-cdo-busystatus=BUSY\r\n',
            body: `BEGIN:VCALENDAR\r\nATTENDEE;CN="x";RSVP=TRUE:mailto:a@b.example\r\nEND:VCALENDAR\r\n`,
          },
        ]),
        attachment(d, 'application/ics', ' name="invite.ics"'),
      ]),
      d,
    ),
  'S/MIME signed': (d) =>
    whole(
      multipart(
        d,
        'signed',
        [text(d), attachment(d, 'application/pkcs7-signature', ' name="smime.p7s"')],
        ' protocol="application/pkcs7-signature";\r\n micalg="sha-256";',
      ),
      d,
    ),
  'S/MIME enveloped': (d) =>
    `${head(d)}MIME-Version: 1.0\r\nContent-Type: application/pkcs7-mime; smime-type=enveloped-data;\r\n\tname="smime.p7m"\r\nContent-Transfer-Encoding: base64\r\n\r\n${wrap(d.base64(4_000), 64)}\r\n`,
  'PGP encrypted': (d) =>
    whole(
      multipart(
        d,
        'encrypted',
        [
          { head: 'Content-Type: application/pgp-encrypted\r\n', body: 'Version: 1\r\n' },
          {
            head: 'Content-Type: application/octet-stream\r\n',
            body: '-----BEGIN PGP MESSAGE-----\r\n\r\nx\r\n-----END PGP MESSAGE-----\r\n',
          },
        ],
        ' protocol="application/pgp-encrypted";',
      ),
      d,
    ),
  'forwards within forwards': (d) => {
    let message = `${head(d)}\r\nthe first\r\n`;
    for (let i = 0; i < 1 + d.upTo(6); i += 1)
      message = whole(multipart(d, 'mixed', [text(d), enclosed(d, message)]), d);
    return message;
  },
  'a message in a message': (d) =>
    `${head(d)}MIME-Version: 1.0\r\nContent-Type: message/rfc822\r\n\r\n${head(d)}\r\nx\r\n`,
  digest: (d) =>
    whole(
      multipart(d, 'mixed', [
        text(d),
        multipart(
          d,
          'digest',
          Array.from({ length: 1 + d.upTo(30) }, () => ({ head: '', body: `${head(d)}\r\nx\r\n` })),
        ),
      ]),
      d,
      'List-Id: <l.example.org>\r\nPrecedence: list\r\n',
    ),
  'delivery report': (d) =>
    `Return-Path: <>\r\nFrom: MAILER-DAEMON@example.com (Mail Delivery System)\r\nTo: ${address(d)}\r\nAuto-Submitted: auto-replied\r\nMIME-Version: 1.0\r\n${(() => {
      const part = multipart(
        d,
        'report',
        [
          text(d),
          {
            head: 'Content-Type: message/delivery-status\r\n',
            body: 'Reporting-MTA: dns; x\r\n\r\nFinal-Recipient: rfc822; a@b\r\nAction: failed\r\nStatus: 5.1.1\r\n',
          },
          enclosed(d, `${head(d)}\r\nx\r\n`),
        ],
        ' report-type=delivery-status;',
      );
      return `${part.head}\r\n${part.body}`;
    })()}`,
  'many recipients': (d) => `${head(d, `Cc: ${list(d, 100 + d.upTo(200))}\r\n`)}\r\nx\r\n`,
  'groups and nobody': (d) =>
    `From: ${address(d)}\r\nTo: ${d.from(['undisclosed-recipients:;', 'Undisclosed recipients: ;', 'A group: a@b.example, "x" <c@d.example>;'])}\r\nBcc:\r\nSubject: x\r\n\r\nx\r\n`,
  'ARC and DKIM of several hops': (d) =>
    `${Array.from({ length: 1 + d.upTo(4) }, (_, i) => arc(d, i + 1)).join('')}${dkim(d)}${dkim(d)}${head(d)}\r\nx\r\n`,
  newsletter: (d) =>
    whole(
      multipart(d, 'alternative', [text(d), text(d, 'html')]),
      d,
      `List-Unsubscribe: <mailto:${d.hex(80)}@example.com>,\r\n <https://example.com/u?t=${d.hex(300)}>\r\nList-Unsubscribe-Post: List-Unsubscribe=One-Click\r\nFeedback-ID: 1:2:3:x\r\nX-Report-Abuse: Please report abuse here: http://x.example/${d.hex(100)}\r\nErrors-To: ${address(d)}\r\n`,
    ),
  'mailing list': (d) =>
    `${head(d, `List-Post: <mailto:l@example.org>\r\nSender: "L" <l-bounces@example.org>\r\nErrors-To: l-bounces@example.org\r\nX-BeenThere: l@example.org\r\nReferences: ${Array.from({ length: 1 + d.upTo(60) }, () => `<${d.hex(40)}@example.com>`).join('\r\n ')}\r\n`)}\r\n${d.from(TEXTS)}`,
  'encoded words everywhere': (d) =>
    `From: ${b('山田太郎')
      .concat(' ')
      .repeat(
        1 + d.upTo(4),
      )}<a@b.example>\r\nTo: ${q('Jürgen Größenwahn')}\r\n ${q(' Ä')} <c@d.example>, ${b('x')} (${q('Kommentar ü')}) <e@f.example>\r\nSubject: ${b('あ'.repeat(40))}\r\n\r\nx\r\n`,
  'notes of Lotus': (d) =>
    whole(
      multipart(d, 'mixed', [
        {
          head: `Content-Type: multipart/alternative; boundary="=_alternative ${d.hex(16)}"\r\n`,
          body: 'x\r\n',
        },
      ]),
      d,
      'X-Mailer: Lotus Notes Release 6.5 (C)\r\nX-MIMETrack: Serialize by Router on A/B/C(Release 6.5.1|January 21, 2004) at 01/01/2005 12:00:00\r\n',
    ),
  'receipts asked for': (d) =>
    `${head(d, `Disposition-Notification-To: ${address(d)}\r\nReturn-Receipt-To: ${address(d)}\r\nReply-To: ${list(d, 3)}\r\nX-Confirm-Reading-To: ${address(d)}\r\n`)}\r\nx\r\n`,
  'resent several times': (d) =>
    `${`Resent-From: ${address(d)}\r\nResent-To: ${list(d, 2)}\r\nResent-Date: Mon, 1 Jan 2024 00:00:00 +0900\r\n`.repeat(1 + d.upTo(3))}${head(d)}\r\nx\r\n`,
  'large attachment': (d) =>
    whole(multipart(d, 'mixed', [text(d), attachment(d, 'application/zip', ' name="a.zip"', 200_000)]), d),
  'many attachments': (d) =>
    whole(
      multipart(
        d,
        'mixed',
        Array.from({ length: 20 + d.upTo(60) }, (_, i) =>
          attachment(
            d,
            'image/jpeg',
            ` name="IMG_${i}.jpg"; x-unix-mode=0644;\r\n\tx-apple-part-url="${d.hex(60)}"`,
            100,
          ),
        ),
      ),
      d,
    ),
  'boundaries that begin alike': (d) =>
    `${head(d)}MIME-Version: 1.0\r\nContent-Type: multipart/mixed; boundary=abc\r\n\r\n--abc\r\nContent-Type: multipart/alternative; boundary=abcd\r\n\r\n--abcd\r\n\r\nx\r\n--abcd--\r\n--abc--\r\n`,
};

/** Message `n`: its habit and octets. Habits take turns. */
export const legitimate = (n: number, seed = 1): { habit: string; message: Buffer } => {
  const habits = Object.keys(HABITS);
  const habit = habits[n % habits.length] as string;
  const make = HABITS[habit] as (d: Dice) => string;
  return { habit, message: Buffer.from(make(new Dice(seed * 1_000_003 + n)), 'latin1') };
};
