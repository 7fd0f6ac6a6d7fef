// Installs and builds when stale, so that `npm start` and `npm test` work on a fresh clone.
// Uses Node's builtins only, since nothing may be installed yet.
import { spawnSync } from 'node:child_process';
import { createHash } from 'node:crypto';
import { existsSync, readdirSync, readFileSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';

const root = join(dirname(fileURLToPath(import.meta.url)), '..');
const at = (...parts) => join(root, ...parts);

const [major] = process.versions.node.split('.');
if (Number(major) < 20) {
  console.error(`sekisho: Node ${process.versions.node} is too old, version 20 or later is needed`);
  process.exit(2);
}

const run = (what, command, args) => {
  const { status, error, stdout, stderr } = spawnSync(command, args, { cwd: root, encoding: 'utf8' });
  if (status !== 0) {
    process.stderr.write(`${stdout ?? ''}${stderr ?? ''}${error ? `${error.message}\n` : ''}`);
    console.error(`sekisho: ${what} failed`);
    process.exit(1);
  }
};

const lock = createHash('sha256')
  .update(readFileSync(at('package-lock.json')))
  .digest('hex');
const installMark = at('node_modules', '.sekisho-installed');
const installed = existsSync(installMark) ? readFileSync(installMark, 'utf8') : '';
if (installed !== lock) {
  console.error('sekisho: installing dependencies (once)');
  // npm reads NODE_ENV=production as "leave out the compiler"; --include=dev keeps it.
  run('npm ci', process.platform === 'win32' ? 'npm.cmd' : 'npm', [
    'ci',
    '--include=dev',
    '--no-audit',
    '--no-fund',
  ]);
  // What tap built of its plugins went with the old packages.
  rmSync(at('.tap'), { recursive: true, force: true });
  writeFileSync(installMark, lock);
}

const newest = (folder) =>
  readdirSync(folder, { withFileTypes: true }).reduce((latest, entry) => {
    const path = join(folder, entry.name);
    return Math.max(latest, entry.isDirectory() ? newest(path) : statSync(path).mtimeMs);
  }, statSync(folder).mtimeMs);

const buildMark = at('dist', '.tsbuildinfo');
const built =
  existsSync(buildMark) && existsSync(at('dist', 'cli', 'main.js')) ? statSync(buildMark).mtimeMs : 0;
if (
  built < Math.max(newest(at('src')), statSync(at('tsconfig.json')).mtimeMs, statSync(installMark).mtimeMs)
) {
  run('build', process.execPath, [at('.ci', 'build.mjs')]);
}
