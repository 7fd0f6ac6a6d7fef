/** Messages at the limit of each virtual patch, and one past it. */
import type { PatchId } from '../../src/shield/patches.js';

/** A message of so many multiparts, each within the other. */
export const nested = (depth: number, inner = 'Content-Type: text/plain\n\nx\n'): string =>
  Array.from(
    { length: depth },
    (_, i) => `Content-Type: multipart/mixed; boundary="b${i}"\n\n--b${i}\n`,
  ).join('') +
  inner +
  Array.from({ length: depth }, (_, i) => `--b${depth - 1 - i}--\n`).join('');

/** For each patch what is just bearable, and what is just not. LF stands for CRLF, characters for octets (Latin-1). */
export const EDGES: Readonly<Record<PatchId, readonly (readonly [passes: string, refused: string])[]>> = {
  'header-size': [
    [
      `${'X-Filler: aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa\n'.repeat(744)}X-Last: ${'b'.repeat(20)}\n\nx\n`,
      `${'X-Filler: aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa\n'.repeat(744)}X-Last: ${'b'.repeat(21)}\n\nx\n`,
    ],
  ],
  'header-count': [['A: b\n'.repeat(1_000), 'A: b\n'.repeat(1_001)]],
  'header-name': [[`${'n'.repeat(76)}: x\n\n`, `${'n'.repeat(77)}: x\n\n`]],
  'header-field': [
    [`X: ${`${'v'.repeat(88)}\n `.repeat(92)}\n\n`, `X: ${`${'v'.repeat(88)}\n `.repeat(93)}\n\n`],
  ],
  'address-count': [[`To: ${'a@b,'.repeat(999)}\n\n`, `To: ${'a@b,'.repeat(1_000)}\n\n`]],
  'address-brackets': [
    [`Cc: ${'<>'.repeat(32)}\n\n`, `Cc: ${'<>'.repeat(33)}\n\n`],
    [`From: ${'<a@b>,'.repeat(32)}\n\n`, `From: ${'<a@b>,'.repeat(33)}\n\n`],
    [`To: ${'<a@b>, '.repeat(200)}\n\n`, `To: ${'<>, '.repeat(33)}\n\n`],
    [`Reply-To: ${'()'.repeat(32)}\n\n`, `Reply-To: ${'()'.repeat(33)}\n\n`],
  ],
  'address-balance': [
    ['From: "a (b" <c@d> (e)\n\n', 'From: "a <c@d>\n\n'],
    ['From: a \\" <c@d>\n\n', 'From: a " <c@d>\n\n'],
    ['To: g: a@b, <c@d>;\n\n', 'To: <c@d\n\n'],
    ['To: a@b ((c))\n\n', 'To: a@b (c))\n\n'],
    ['To: "x>" <a@b>\n\n', 'To: x> <a@b>\n\n'],
  ],
  'address-length': [
    [
      `To: ${`${'"a" '.repeat(22)}\n `.repeat(2)}a@b\n\n`,
      `To: ${`"${'a'.repeat(200)}" `.repeat(11)} a@b\n\n`.replace(/(" ")/g, '"\n "'),
    ],
  ],
  'address-comment': [
    [`Sender: a@b (${'c'.repeat(256)})\n\n`, `Sender: a@b (${'c'.repeat(257)})\n\n`],
    ['Sender: a@b (((c)))\n\n', 'Sender: a@b ((((c))))\n\n'],
  ],
  'address-octets': [
    ['Subject: \xff\nX: \x81\n\n', 'To: \xffa@b\n\n'],
    ['Received: \x85\n\n', 'Resent-Cc: a@b (\x81\x85)\n\n'],
    ['Subject: J\xf6rg\n\n', 'From: J\xf6rg <a@b>\n\n'],
  ],
  'address-backslashes': [[`To: ${'\\'.repeat(8)}a@b\n\n`, `To: ${'\\'.repeat(9)}a@b\n\n`]],
  'address-tokens': [
    [`To: ${'a.'.repeat(50)}\n\n`, `To: ${'a.'.repeat(50)}b\n\n`],
    [`To: ${'a'.repeat(256)}@b\n\n`, `To: ${'a'.repeat(257)}@b\n\n`],
    [`To: "${'a'.repeat(255)}" <a@b>\n\n`, `To: "${'a'.repeat(257)}" <a@b>\n\n`],
  ],
  'mime-boundary': [
    [
      `Content-Type: multipart/mixed; boundary=${'b'.repeat(70)}\n\n`,
      `Content-Type: multipart/mixed; boundary="${'b'.repeat(71)}"\n\n`,
    ],
    [
      'Content-Type: multipart/mixed; boundary="a \\" b"\n\n',
      'Content-Type: multipart/mixed; boundary="a\xe9"\n\n',
    ],
    [
      `Content-Type: multipart/mixed; ${'boundary=a; boundary=b; boundary=c; boundary=d'}\n\n`,
      `Content-Type: multipart/mixed; ${'boundary=a; boundary=b; boundary=c; boundary=d; boundary=e'}\n\n`,
    ],
    [
      `Content-Type: multipart/mixed; boundary*0=${'b'.repeat(35)};\n boundary*1=${'b'.repeat(35)}\n\n`,
      `Content-Type: multipart/mixed; boundary*0=${'b'.repeat(35)};\n boundary*1=${'b'.repeat(36)}\n\n`,
    ],
  ],
  'mime-parameters': [
    [
      `Content-Type: text/plain${'; a=b'.repeat(20)};\n\n`,
      `Content-Type: text/plain${'; a=b'.repeat(21)}\n\n`,
    ],
    [
      `Content-Type: text/plain; charset="${'c'.repeat(128)}"; name="${'n'.repeat(400)}"\n\n`,
      `Content-Type: text/plain; charset="${'c'.repeat(129)}"\n\n`,
    ],
  ],
  'mime-encoding': [
    [`Content-Transfer-Encoding: ${'e'.repeat(40)}\n\n`, `Content-Transfer-Encoding: ${'e'.repeat(41)}\n\n`],
    ['Content-Transfer-Encoding: 8bit (said so)\n\n', 'Content-Transfer-Encoding: 8bit and more\n\n'],
  ],
  'mime-depth': [
    [nested(15), nested(16)],
    [
      `${'Content-Type: message/rfc822\n\n'.repeat(20)}Subject: x\n\n`,
      `${'Content-Type: message/rfc822\n\n'.repeat(21)}Subject: x\n\n`,
    ],
    [nested(15).replace('b0"', 'b0"; a=("'), nested(16).replaceAll('multipart/', ' (x) MULTIPART / ')],
  ],
  'mime-parts': [
    [
      `Content-Type: multipart/mixed; boundary=b\n\n${'--b\n\nx\n'.repeat(1_000)}--b--\n`,
      `Content-Type: multipart/mixed; boundary=b\n\n${'--b\n\nx\n'.repeat(1_001)}--b--\n`,
    ],
  ],
  'dkim-format': [
    ['DKIM-Signature: v=1; h=from; z=From:50%; b=abc\n\n', 'DKIM-Signature: v=1; h=%n%n; b=abc\n\n'],
    [
      `DKIM-Signature: v=1; ${`${'a'.repeat(98)}\n `.repeat(41)}\n\n`,
      `DKIM-Signature: v=1; ${`${'a'.repeat(98)}\n `.repeat(42)}\n\n`,
    ],
  ],
  tnef: [
    ['Content-Type: application/pdf; name=winmail.dat\n\n', 'Content-Type: application/ms-tnef\n\n'],
    [
      nested(1, 'Content-Type: image/png\n\nx\n'),
      nested(1, 'Content-Type: Application/MS-TNEF; name="winmail.dat"\n\nx\n'),
    ],
  ],
};
