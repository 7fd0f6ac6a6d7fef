// Lints, type-checks and runs the tests given (all by default), then says how many passed, failed and were skipped.
import { spawn, spawnSync } from 'node:child_process';
import { createWriteStream, existsSync, mkdirSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';

const root = join(dirname(fileURLToPath(import.meta.url)), '..');
const bin = (...parts) => join(root, 'node_modules', ...parts);
const files = process.argv.slice(2);

const step = (what, args) => {
  const { status } = spawnSync(process.execPath, args, { cwd: root, stdio: 'inherit' });
  if (status !== 0) {
    console.error(`sekisho: ${what} failed`);
    process.exit(1);
  }
};
if (files.length === 0) {
  step('lint', [bin('@biomejs', 'biome', 'bin', 'biome'), 'check', '--error-on-warnings', '.']);
  for (const config of ['test/tsconfig.json', 'src/admin/dashboard/client/tsconfig.json'])
    step('type check', [bin('typescript', 'bin', 'tsc'), '-p', config, '--noEmit']);
}

const tap = bin('tap', 'dist', 'esm', 'run.mjs');
if (!existsSync(join(root, '.tap', 'plugins'))) {
  const { status, stderr } = spawnSync(process.execPath, [tap, 'build'], { cwd: root, encoding: 'utf8' });
  if (status !== 0) {
    process.stderr.write(stderr);
    process.exit(1);
  }
}

mkdirSync(join(root, '.tap'), { recursive: true });
const log = createWriteStream(join(root, '.tap', 'last-run.tap'));
const child = spawn(process.execPath, [tap, '--reporter=tap', ...files], {
  cwd: root,
  stdio: ['ignore', 'pipe', 'inherit'],
});

// The whole TAP goes to .tap/last-run.tap; the screen gets one line a file, the failures whole, the skips with their reasons.
const counts = { passed: 0, failed: 0, skipped: [] };
const failures = [];
let rest = '';
let inFailure = 0;
const line = (text) => {
  const point = /^(\s*)(not ok|ok) \d+(?: - (.*))?$/.exec(text);
  if (point === null) {
    if (inFailure > 0) {
      failures.push(text);
      if (/^\s*\.\.\.$/.test(text)) inFailure = 0;
    }
    return;
  }
  const [, indent, verdict, title = ''] = point;
  const skip = /# SKIP\b\s*(.*)$/i.exec(title);
  inFailure = 0;
  if (skip !== null) {
    counts.skipped.push(`${title.replace(/\s*#\s*SKIP.*/i, '')}: ${skip[1] || 'no reason given'}`);
    return;
  }
  if (indent === '') {
    console.log(`${verdict === 'ok' ? 'ok    ' : 'NOT OK'} ${title.replace(/ # time=/, '  ')}`);
    if (verdict === 'not ok') failures.push(text);
    return;
  }
  // A subtest's own closing point repeats what its points said: only leaves count.
  if (/# time=/.test(title)) {
    if (verdict === 'not ok') failures.push(text);
    return;
  }
  if (verdict === 'ok') counts.passed += 1;
  else {
    counts.failed += 1;
    failures.push(text);
    inFailure = 1;
  }
};
child.stdout.setEncoding('utf8');
child.stdout.on('data', (chunk) => {
  log.write(chunk);
  const lines = (rest + chunk).split('\n');
  rest = lines.pop() ?? '';
  for (const text of lines) line(text);
});
child.on('close', (code) => {
  if (rest !== '') line(rest);
  if (failures.length > 0) console.log(`\nfailures:\n${failures.join('\n')}`);
  if (counts.skipped.length > 0)
    console.log(`\nskipped:\n${counts.skipped.map((text) => `  ${text}`).join('\n')}`);
  const forbidden = process.env.SEKISHO_TEST_NO_SKIP === '1' && counts.skipped.length > 0;
  if (forbidden) console.log('sekisho: skipping is forbidden in this run');
  const failed = code !== 0 && counts.failed === 0 ? 1 : counts.failed;
  const skipped = counts.skipped.length > 0 ? `, ${counts.skipped.length} skipped` : '';
  console.log(
    `\n${counts.passed} passed, ${failed + (forbidden ? counts.skipped.length : 0)} failed${skipped}`,
  );
  process.exit(code !== 0 || forbidden || counts.passed === 0 ? 1 : 0);
});
