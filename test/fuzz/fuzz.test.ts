/** The fuzzer for a short while: with a seed that stays, with one that changes, and on every case that once failed. */
import { existsSync, readFileSync } from 'node:fs';
import path from 'node:path';
import t from 'tap';
import { certify, materialOf } from '../support/certificates.js';
import { folder } from '../support/process.js';
import { campaign, type Outcome, type Plan } from './campaign.js';
import type { FuzzCase } from './case.js';
import { runCase } from './run.js';

const CASES = path.join('test', 'corpus', 'fuzz-cases.json');

const certificate = materialOf(certify(folder(t), 'mail.local.example'));

const fuzz = (plan: Partial<Plan>, say: (text: string) => void): Promise<Outcome> =>
  campaign({
    seed: 1,
    from: 0,
    cases: 100_000,
    until: Date.now() + 12_000,
    atOnce: 12,
    sockets: true,
    core: true,
    tools: { certificate },
    say,
    ...plan,
  });

const told = ({ findings }: Outcome): string[] =>
  findings.map(({ again, faults, case: each }) => `${again}: ${faults.join('; ')} ${JSON.stringify(each)}`);

t.test('a seed that stays', async (t) => {
  const outcome = await fuzz({ cases: 300, until: Date.now() + 90_000 }, (text) => t.comment(text));
  t.strictSame(told(outcome), []);
  t.ok(
    outcome.cases >= 50,
    `${outcome.cases} cases, ${outcome.sessions} sessions, ${outcome.core} of the core`,
  );
});

t.test('a seed of today', async (t) => {
  const seed = Number(process.env.SEKISHO_FUZZ_SEED ?? Math.floor(Date.now() / 86_400_000));
  t.comment(`seed ${seed}: SEKISHO_FUZZ_SEED=${seed} repeats it`);
  const outcome = await fuzz({ seed }, (text) => t.comment(text));
  t.strictSame(told(outcome), [], `seed ${seed}`);
});

t.test('what was found once', async (t) => {
  const cases = existsSync(CASES) ? (JSON.parse(readFileSync(CASES, 'utf8')) as FuzzCase[]) : [];
  for (const each of cases) t.strictSame(await runCase(each, { certificate }), [], each.name);
});

t.test('the fuzzer can fail', async (t) => {
  // An upstream that takes the message and says so twice is dropped; one whose words are not its own is found out.
  const client = (moves: FuzzCase['clients'][number]['moves']): FuzzCase['clients'][number] => ({
    from: '127.0.0.2',
    orderly: true,
    cuts: [],
    moves,
  });
  const mail: FuzzCase = {
    name: 'test',
    ehlo: [],
    mta: { dot: [{ say: '250 Q9q not mine\r\n' }] },
    tls: false,
    small: false,
    bareLf: 'reject',
    clients: [
      client([
        ...['', 'EHLO c.example', 'MAIL FROM:<a@b.example>', 'RCPT TO:<bob@local.example>', 'DATA'].flatMap(
          (line) => (line === '' ? ['reply' as const] : [{ send: `${line}\r\n` }, 'reply' as const]),
        ),
        { message: ['X: y\r\n.\r\n', ''], pause: 0 },
        'reply',
        'fin',
      ]),
    ],
  };
  t.match(await runCase(mail, { certificate }), [/a false 250/]);
  t.strictSame(await runCase({ ...mail, mta: {} }, { certificate }), []);
});
