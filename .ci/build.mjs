// Compiles the program, then the page, which is for browsers and has a configuration of its own, and puts its files beside it.
import { spawnSync } from 'node:child_process';
import { cpSync, mkdirSync, readdirSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';

const root = join(dirname(fileURLToPath(import.meta.url)), '..');
const page = join(root, 'src', 'admin', 'dashboard', 'client');
const built = join(root, 'dist', 'admin', 'dashboard', 'client');

for (const config of [join(root, 'tsconfig.json'), join(page, 'tsconfig.json')]) {
  const args = [join(root, 'node_modules', 'typescript', 'bin', 'tsc'), '-p', config];
  const { status } = spawnSync(process.execPath, args, { cwd: root, stdio: 'inherit' });
  if (status !== 0) process.exit(1);
}
mkdirSync(built, { recursive: true });
for (const file of readdirSync(page).filter((name) => /\.(?:html|css|svg)$/.test(name)))
  cpSync(join(page, file), join(built, file));
