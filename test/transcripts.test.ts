/** Each transcript through the pure core, as written and octet by octet, and through real sockets. */
import { readdirSync } from 'node:fs';
import path from 'node:path';
import t from 'tap';
import { readTranscripts, type Transcript } from './support/transcript.js';
import { runCore } from './support/transcript-core.js';
import { runSockets } from './support/transcript-sockets.js';

const DIR = path.join('test', 'transcripts');
const transcripts = readdirSync(DIR)
  .filter((name) => name.endsWith('.txt'))
  .flatMap((name) => readTranscripts(path.join(DIR, name)));

const FINE = 'as written';

t.ok(transcripts.length >= 70, `${transcripts.length} transcripts were read`);

t.test('pure core', async (t) => {
  for (const transcript of transcripts) t.equal(runCore(transcript) ?? FINE, FINE, transcript.name);
});

t.test('pure core, octet by octet', async (t) => {
  for (const transcript of transcripts) {
    if (!transcript.scene.segmentsMatter) t.equal(runCore(transcript, true) ?? FINE, FINE, transcript.name);
  }
});

t.test('real sockets', async (t) => {
  await Promise.all(
    transcripts.map(async (transcript) => {
      t.equal((await runSockets(transcript)) ?? FINE, FINE, transcript.name);
    }),
  );
});

t.test('the runner can fail', async (t) => {
  const [first] = transcripts;
  if (first === undefined) return;
  const falsified = (mark: string): Transcript => ({
    ...first,
    lines: first.lines.map((line) => (line.mark === mark ? { ...line, text: '299 no' } : line)),
  });
  for (const mark of ['S', 'U', 'D']) {
    const says = new RegExp(`${first.file}:\\d+: ${first.name}: .*\n  expected 299 no\n  got {6}\\S`);
    t.match(runCore(falsified(mark)), says);
    t.match(await runSockets(falsified(mark)), says);
  }
  const unheard = {
    ...first,
    lines: first.lines
      .filter(({ mark }) => mark !== 'U' && mark !== 'M')
      .map((line) => (line.mark === 'S' && line.text !== '(closed)' ? { ...line, text: '*' } : line)),
  };
  t.match(runCore(unheard), /the MTA hears\n {2}expected \(nothing\)\n {2}got {6}MAIL/);
  t.match(await runSockets(unheard), /the MTA hears\n {2}expected \(nothing\)\n {2}got {6}MAIL/);
});
