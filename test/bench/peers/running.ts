/** A program that is started for the benchmark, and ended by it. */
import { type ChildProcess, spawn } from 'node:child_process';
import { closeSync, mkdtempSync, openSync, readFileSync, rmSync } from 'node:fs';
import os from 'node:os';
import path from 'node:path';
import { SmtpClient } from '../../support/smtp-client.js';
import { familyOf } from '../procfs.js';

/** Descriptors that a process of this one's may have at most. */
export const DESCRIPTORS = Number(
  /^Max open files +\S+ +(\d+)/m.exec(readFileSync('/proc/self/limits', 'utf8'))?.[1] ?? 1_024,
);

export interface Running {
  readonly port: number;
  /** Whose CPU and memory count, with all below it. */
  readonly pid: number;
  /** Throws away what it has gathered, between two measurements. */
  tidy?(): void;
  stop(): Promise<void>;
}

export interface Launch {
  readonly port: number;
  readonly command: readonly [string, ...string[]];
  readonly env?: Readonly<Record<string, string>>;
  /** Gone when it has been stopped. */
  readonly dir: string;
  /** False: it is no mail server, and ready when it takes connections. */
  readonly greets?: boolean;
}

/** In memory where there is such a place, so that no log waits for a disk. */
export const scratch = (): string => {
  for (const place of ['/dev/shm', os.tmpdir()]) {
    try {
      return mkdtempSync(path.join(place, 'sekisho-bench-'));
    } catch {
      // The next one.
    }
  }
  throw new Error('no folder for temporary files');
};

const answers = async (port: number, greets: boolean): Promise<boolean> => {
  try {
    const client = await SmtpClient.connect(port, '127.0.0.2');
    if (!greets) {
      client.destroy();
      return true;
    }
    const banner = await client.reply();
    client.send('QUIT\r\n');
    await client.end();
    return banner.startsWith('220');
  } catch {
    return false;
  }
};

export const ended = (child: ChildProcess): Promise<void> =>
  new Promise((resolve) => {
    if (child.exitCode !== null || child.signalCode !== null) resolve();
    else child.once('exit', () => resolve());
  });

/** Whoever runs now: an interrupted benchmark leaves nobody behind. */
const running = new Set<number>();

const kill = (pid: number): void => {
  try {
    process.kill(pid, 'SIGKILL');
  } catch {
    // It has ended by itself.
  }
};

process.once('exit', () => {
  for (const pid of running) familyOf(pid).forEach(kill);
});

/** Starts it and waits for its banner. */
export const launch = async (given: Launch): Promise<Running> => {
  const { port, command, env = {}, dir, greets = true } = given;
  const file = path.join(dir, 'output');
  const to = openSync(file, 'a');
  // The shell gives way to the program: its process is the program's.
  const most = `ulimit -n ${DESCRIPTORS}; exec "$@"`;
  const child = spawn('sh', ['-c', most, 'sh', ...command], {
    stdio: ['ignore', to, to],
    env: { ...process.env, ...env },
  });
  closeSync(to);
  const pid = child.pid ?? 0;
  if (pid > 0) running.add(pid);
  let failed = '';
  child.once('error', (error) => (failed = error.message));
  const stop = async (): Promise<void> => {
    // Some take long to say good-bye, and what descends from one that is killed would stay.
    const all = familyOf(pid);
    child.kill('SIGTERM');
    const hard = setTimeout(() => all.forEach(kill), 1_000);
    await ended(child);
    clearTimeout(hard);
    running.delete(pid);
    rmSync(dir, { recursive: true, force: true });
  };
  const patience = Date.now() + 30_000;
  while (!(await answers(port, greets))) {
    if (failed === '' && child.exitCode === null && Date.now() < patience) {
      await new Promise((resolve) => setTimeout(resolve, 100));
      continue;
    }
    const said = readFileSync(file, 'utf8').trim().slice(-500);
    await stop();
    throw new Error(`${path.basename(command[0])} does not answer on port ${port}: ${failed}${said}`);
  }
  return { port, pid, stop };
};
