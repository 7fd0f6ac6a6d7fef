import fc from 'fast-check';
import t from 'tap';
import { mailDate, receivedLine } from '../../src/smtp/received.js';

const TRACE = {
  helo: 'pc1.example',
  name: undefined,
  address: '203.0.113.9',
  by: 'mail.local.example',
  protocol: 'ESMTP',
  id: 'abc-1.1',
  token: '0123456789',
  time: Date.UTC(2026, 10, 4, 7, 5, 9),
};

t.equal(mailDate(TRACE.time), 'Wed, 4 Nov 2026 07:05:09 +0000');

t.equal(
  receivedLine(TRACE),
  'Received: from pc1.example (unknown [203.0.113.9])\r\n' +
    '\tby mail.local.example (Sekisho) with ESMTP id abc-1.1\r\n' +
    '\t(sekisho-id=0123456789); Wed, 4 Nov 2026 07:05:09 +0000\r\n',
);

t.match(
  receivedLine({ ...TRACE, name: 'pc1.isp.example', address: '2001:db8::9' }),
  /^Received: from pc1\.example \(pc1\.isp\.example \[IPv6:2001:db8::9\]\)\r\n/,
);

const lastOf = (given: Partial<typeof TRACE>) =>
  receivedLine({ ...TRACE, ...given })
    .split('\r\n')
    .at(-2);
t.equal(lastOf({ time: TRACE.time + 999 }), '\t(sekisho-id=0123456789); Wed, 4 Nov 2026 07:05:09 +0000');
t.equal(lastOf({ token: 'abc' }), '\t(sekisho-id=abc); Wed, 4 Nov 2026 07:05:09 +0000', 'another instance');
t.equal(lastOf({ time: TRACE.time + 1_000 }), '\t(sekisho-id=0123456789); Wed, 4 Nov 2026 07:05:10 +0000');
t.match(
  receivedLine({ ...TRACE, helo: 'a b(c)\x80é', by: '' }),
  /^Received: from a\?b\?c\?\?\? \(.*\tby unknown \(/s,
);
t.match(receivedLine({ ...TRACE, helo: 'x'.repeat(999) }), /from x{255} /);

t.test('no text can break the line', async () => {
  const any = fc.string({ unit: 'binary', maxLength: 400 });
  fc.assert(
    fc.property(any, any, any, (helo, name, by) => {
      const lines = receivedLine({ ...TRACE, helo, name, by }).split('\r\n');
      return (
        lines.length === 4 &&
        lines[3] === '' &&
        lines.every((line) => line.length < 998 && /^[\x20-\x7e\t]*$/.test(line)) &&
        (lines[1] as string).startsWith('\tby ') &&
        (lines[2] as string).startsWith('\t(sekisho-id=')
      );
    }),
  );
});
