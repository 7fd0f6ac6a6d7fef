import t from 'tap';
import { ehloReply, lasting, printReply, REPLIES, type Reply, senderOk } from '../../src/smtp/reply.js';

/** RFC 5321 4.2.1, word for word. */
const spelled = ({ code, enhanced, lines }: Reply): string => {
  const text = lines.map((line) => (enhanced === undefined ? line : `${enhanced} ${line}`));
  return [...text.slice(0, -1).map((line) => `${code}-${line}`), `${code} ${text.at(-1)}`]
    .map((line) => `${line}\r\n`)
    .join('');
};

t.test('each reply has its own octets, however often and in whatever order they are printed', async (t) => {
  const replies: Reply[] = [
    ...Object.values(REPLIES),
    senderOk('<a@b.example>'),
    senderOk('<a@c.example>'),
    lasting(ehloReply('mail.local.example', ['PIPELINING', 'SIZE'])),
    ehloReply('mail.local.example', ['PIPELINING']),
    { code: 250, lines: ['OK'] },
  ];
  for (const [i, each] of replies.entries()) {
    const other = replies[(i * 7) % replies.length] as Reply;
    t.equal(printReply(each), spelled(each));
    t.equal(printReply(other), spelled(other));
    t.equal(printReply(each), spelled(each));
    t.equal(printReply(each), spelled(each));
  }
});
