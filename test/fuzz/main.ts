/**
 * `npm run fuzz -- --seed N --minutes M [--from K] [--cases C] [--at-once P] [--only sockets|core]`
 *
 * Each case follows from the seed and its number, so a run goes on where another stopped with `--from`, and a finding
 * is repeated with `--from K --cases 1`. Findings are cut down and written as cases for test/corpus/fuzz-cases.json.
 */
import { appendFileSync, mkdtempSync, rmSync } from 'node:fs';
import os from 'node:os';
import path from 'node:path';
import { parseArgs } from 'node:util';
import { certify, materialOf } from '../support/certificates.js';
import { CORE_TARGETS, campaign } from './campaign.js';

const { values } = parseArgs({
  options: {
    seed: { type: 'string' },
    minutes: { type: 'string', default: '1' },
    from: { type: 'string', default: '0' },
    cases: { type: 'string' },
    'at-once': { type: 'string', default: '24' },
    only: { type: 'string' },
    keep: { type: 'string', default: 'fuzz-findings.jsonl' },
  },
});

const seed = values.seed === undefined ? Date.now() % 1_000_000 : Number(values.seed);
const dir = mkdtempSync(path.join(os.tmpdir(), 'sekisho-fuzz-'));
const certificate = materialOf(certify(dir, 'mail.local.example'));
rmSync(dir, { recursive: true });

console.log(
  `fuzz: seed ${seed}, from case ${values.from}, ${Object.keys(CORE_TARGETS).length} targets of the core`,
);
const outcome = await campaign({
  seed,
  from: Number(values.from),
  cases: values.cases === undefined ? Number.POSITIVE_INFINITY : Number(values.cases),
  until: Date.now() + Number(values.minutes) * 60_000,
  atOnce: Number(values['at-once']),
  sockets: values.only !== 'core',
  core: values.only !== 'sockets',
  tools: { certificate },
  say: (text) => console.log(`fuzz: ${text}`),
  found: (finding) => appendFileSync(values.keep, `${JSON.stringify(finding)}\n`),
});
const { cases, sessions, core, findings, next, memory } = outcome;
console.log(
  `fuzz: ${cases} cases with ${sessions} sessions, ${core} runs of the core, ${findings.length} findings; memory ${memory} MB; go on with --seed ${seed} --from ${next}`,
);
// What a client of the harness left half closed must not keep it.
process.exit(findings.length === 0 ? 0 : 1);
