/** The real `sekisho` as a process of its own. */
import { type ChildProcess, spawn } from 'node:child_process';
import { existsSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import os from 'node:os';
import path from 'node:path';
import type { Test } from 'tap';

const ROOT = path.resolve(import.meta.dirname ?? '.', '..', '..');
export const BUILT = path.join(ROOT, 'dist', 'cli', 'main.js');

export interface Outcome {
  readonly code: number | null;
  readonly out: string;
  readonly err: string;
}

/**
 * A program and its words. Tap has every Node process below it load what is for coverage: with that Sekisho takes more than
 * twice as long to start. What a test itself put into NODE_OPTIONS stays.
 */
export const sekishoCommand = (args: readonly string[]): readonly [string, ...string[]] => {
  if (!existsSync(BUILT)) throw new Error('not built: run npm run build first');
  const own = (process.env.NODE_OPTIONS ?? '').split(' ').filter((each) => !each.includes('@tapjs'));
  return ['env', `NODE_OPTIONS=${own.join(' ')}`, process.execPath, BUILT, ...args];
};

/** Runs a command to its end, with `input` as its standard input. */
export const runSekisho = (
  args: readonly string[],
  cwd = ROOT,
  input: string | Buffer = '',
): Promise<Outcome> =>
  new Promise((resolve) => {
    const [file, ...words] = sekishoCommand(args);
    const child = spawn(file, words, { cwd, stdio: ['pipe', 'pipe', 'pipe'] });
    // Most commands end without having read it.
    child.stdin.on('error', () => undefined);
    child.stdin.end(input);
    let out = '';
    let err = '';
    child.stdout.on('data', (chunk) => (out += String(chunk)));
    child.stderr.on('data', (chunk) => (err += String(chunk)));
    child.on('close', (code) => resolve({ code, out, err }));
  });

export class SekishoProcess {
  out = '';
  err = '';
  code: number | null | undefined;
  readonly ports: number[] = [];

  private constructor(readonly child: ChildProcess) {
    child.stdout?.on('data', (chunk) => {
      this.out += String(chunk);
    });
    child.stderr?.on('data', (chunk) => {
      this.err += String(chunk);
    });
    child.on('close', (code) => {
      this.code = code;
    });
  }

  /**
   * Starts `sekisho serve` and waits for its ready line; `--listen` is the test's affair. `prefix`: words before the
   * command, such as those of a namespace.
   */
  static async serve(args: readonly string[], prefix: readonly string[] = []): Promise<SekishoProcess> {
    const [file = '', ...words] = [...prefix, ...sekishoCommand(['serve', ...args])];
    const child = spawn(file, words, { stdio: ['ignore', 'pipe', 'pipe'] });
    const running = new SekishoProcess(child);
    await running.until('ready', () => /^sekisho: ready/m.test(running.out));
    const line = /^sekisho: ready, listening on (.*);/m.exec(running.out)?.[1] ?? '';
    running.ports.push(...[...line.matchAll(/:(\d+) \(/g)].map((match) => Number(match[1])));
    return running;
  }

  get port(): number {
    return this.ports[0] ?? 0;
  }

  async until(what: string, holds: () => boolean, patience = 60_000): Promise<void> {
    const end = Date.now() + patience;
    while (!holds()) {
      if (this.code !== undefined) throw new Error(`sekisho ended with ${this.code}: ${this.err}${this.out}`);
      if (Date.now() > end) throw new Error(`never came about: ${what}\n${this.out}${this.err}`);
      await new Promise((resolve) => setTimeout(resolve, 20));
    }
  }

  async ended(patience = 60_000): Promise<number | null> {
    const end = Date.now() + patience;
    while (this.code === undefined) {
      if (Date.now() > end) throw new Error('sekisho did not end');
      await new Promise((resolve) => setTimeout(resolve, 20));
    }
    return this.code;
  }

  async kill(signal: NodeJS.Signals = 'SIGKILL'): Promise<void> {
    if (this.code === undefined) this.child.kill(signal);
    await this.ended();
  }
}

/** A folder of the test's own with these files in it, gone after the test. */
export const folder = (t: Test, files: Readonly<Record<string, string>> = {}): string => {
  const dir = mkdtempSync(path.join(os.tmpdir(), 'sekisho-test-'));
  t.teardown(() => rmSync(dir, { recursive: true, force: true }));
  for (const [name, text] of Object.entries(files)) writeFileSync(path.join(dir, name), text);
  return dir;
};
