/** Compiles the generator and the fast sink, which are C so that they are not what is measured. */
import { execFileSync } from 'node:child_process';
import { createHash } from 'node:crypto';
import { existsSync, mkdirSync, readFileSync, renameSync } from 'node:fs';
import os from 'node:os';
import path from 'node:path';
import { install } from '../support/packages.js';

const HERE = path.join(import.meta.dirname ?? 'test/bench', 'native');
const CACHE = path.join(os.tmpdir(), 'sekisho-bench');

/** The path of the built program; it is built once for each text of its source. */
export const native = async (name: 'load' | 'sink'): Promise<string> => {
  const source = path.join(HERE, `${name}.c`);
  const hash = createHash('sha256').update(readFileSync(source)).digest('hex').slice(0, 16);
  const program = path.join(CACHE, `${name}-${hash}`);
  if (existsSync(program)) return program;
  await install(['gcc', '/usr/include/stdio.h=libc6-dev']);
  mkdirSync(CACHE, { recursive: true });
  // Another process may build it at the same time: what counts is whole when it has its name.
  const draft = `${program}.${process.pid}`;
  execFileSync('gcc', ['-O2', '-Wall', '-Wextra', '-o', draft, source], { stdio: 'pipe' });
  renameSync(draft, program);
  return program;
};
