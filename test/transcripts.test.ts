/** Each transcript twice: through the pure core, and through real sockets. */
import { readdirSync } from 'node:fs';
import path from 'node:path';
import t from 'tap';
import { readTranscripts, runCore, runSockets } from './support/transcript.js';

const DIR = path.join('test', 'transcripts');
const transcripts = readdirSync(DIR)
  .filter((name) => name.endsWith('.txt'))
  .flatMap((name) => readTranscripts(path.join(DIR, name)));

t.ok(transcripts.length >= 30, `${transcripts.length} transcripts were read`);

t.test('pure core', async (t) => {
  for (const transcript of transcripts)
    t.equal(runCore(transcript) ?? 'as written', 'as written', transcript.name);
});

t.test('real sockets', async (t) => {
  await Promise.all(
    transcripts.map(async (transcript) => {
      t.equal((await runSockets(transcript)) ?? 'as written', 'as written', transcript.name);
    }),
  );
});

t.test('the runner can fail', async (t) => {
  const [first] = transcripts;
  if (first === undefined) return;
  const wrong = {
    ...first,
    lines: first.lines.map((line) => (line.mark === 'S' ? { ...line, text: '299 no' } : line)),
  };
  t.match(runCore(wrong), /expected 299 no\n {2}got {6}250/);
  t.match(await runSockets(wrong), /expected 299 no\n {2}got {6}250/);
  const other = {
    ...first,
    lines: first.lines.map((line) => (line.mark === 'U' ? { ...line, text: 'NOPE' } : line)),
  };
  t.match(runCore(other), /upstream command 1\n {2}expected NOPE\n {2}got {6}MAIL/);
  t.match(await runSockets(other), /upstream command 1\n {2}expected NOPE\n {2}got {6}MAIL/);
});
