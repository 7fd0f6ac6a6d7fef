import t from 'tap';
import { HeaderGuard } from '../../src/shield/header-guard.js';
import { chunkings } from '../support/chunkings.js';

const octets = (text: string): Buffer => Buffer.from(text, 'latin1');

t.test('mail loops', async (t) => {
  const loops = (message: string, maxReceived = 25): string[] =>
    chunkings(octets(message)).map((chunks) => {
      const guard = new HeaderGuard({ maxReceived, mark: '(sekisho-id=me)', maxMarked: 3, maxBytes: 9_999 });
      return chunks.map((chunk) => guard.feed(chunk)).includes('loop') ? 'loop' : 'continue';
    });
  const all = (message: string, verdict: string, what: string): void => {
    for (const found of loops(message, 4)) t.equal(found, verdict, what);
  };
  const hop = 'Received: from a\r\n\tby b\r\n';
  const own = 'RECEIVED : from a\r\n\tby b (sekisho-id=me)\r\n';
  all(`${hop.repeat(3)}Subject: x\r\n\r\n`, 'continue', 'one less than the limit');
  all(`${hop.repeat(4)}Subject: x\r\n\r\n`, 'loop', 'at the limit');
  all(`${hop.repeat(3)}\r\n${hop.repeat(9)}`, 'continue', 'the body does not count');
  all(`${own.repeat(2)}Subject: (sekisho-id=me)\r\n\r\n`, 'continue', 'twice through here, and a subject');
  all(`${own.repeat(3)}\r\n`, 'loop', 'three times through here');
  all(`${own.repeat(3).replaceAll('=me', '=you')}\r\n`, 'continue', 'three times through another one');
  all(`plain text\r\n${hop.repeat(9)}`, 'continue', 'a line that is no field ends the header');
  all(`From a@b.example\r\n${hop.repeat(4)}`, 'loop', 'but not the line of an mbox file');
  all(`Received-SPF: x\r\n${'X-Received: x\r\n'.repeat(5)}`, 'continue', 'other fields');
});

t.test('a header section too long', async (t) => {
  const verdict = (message: string, maxBytes: number): string[] =>
    chunkings(octets(message)).map((chunks) => {
      const guard = new HeaderGuard({ maxReceived: 9, mark: '(x)', maxMarked: 9, maxBytes });
      return chunks.map((chunk) => guard.feed(chunk)).includes('header-too-long') ? 'too long' : 'fits';
    });
  const message = 'A: 1\r\nB: 2\r\n\r\nand a body that does not count\r\n';
  for (const found of verdict(message, 14)) t.equal(found, 'fits', 'at the limit');
  const bare = `just text, ${'x'.repeat(50)}\r\n`.repeat(50);
  for (const found of verdict(bare, 1_000)) t.equal(found, 'fits', 'a message without a header has none');
  for (const found of verdict(message, 13)) t.equal(found, 'too long', 'one past it');
});
