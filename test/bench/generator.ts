/** Runs the load generator (native/load.c, and tls-load.ts where TLS is spoken) and reads what it says. */
import { execFile, spawn } from 'node:child_process';
import { once } from 'node:events';
import path from 'node:path';
import { createInterface } from 'node:readline';
import { promisify } from 'node:util';
import { z } from 'zod';
import { native } from './native.js';

const SaidSchema = z.object({
  seconds: z.number(),
  sessions: z.number(),
  messages: z.number(),
  refused: z.number(),
  errors: z.number(),
  error: z.string(),
  /** Microseconds of a session, of legitimate ones where both kinds are sent. */
  p50: z.number(),
  p99: z.number(),
  /** Microseconds. */
  cpu: z.number(),
});
export type Said = z.infer<typeof SaidSchema>;

export type LoadOptions = Readonly<Record<string, number | string>>;

const words = (options: LoadOptions): string[] =>
  Object.entries(options).map(([name, value]) => `${name}=${value}`);

/** `tls`: with STARTTLS. `before`: what stands before the command, as `taskset -c 0`. */
export const load = async (
  { tls, ...options }: LoadOptions,
  before: readonly string[] = [],
): Promise<Said> => {
  const script = path.join(import.meta.dirname ?? 'test/bench', 'tls-load.ts');
  const program = tls === undefined ? [await native('load')] : [process.execPath, '--import=tsx', script];
  const [file = '', ...rest] = [...before, ...program, ...words(options)];
  const { stdout } = await promisify(execFile)(file, rest);
  return SaidSchema.parse(JSON.parse(stdout));
};

/** Opens sessions that stay; the returned function ends them and says how they fared. */
export const stay = async (options: LoadOptions): Promise<() => Promise<Said>> => {
  const child = spawn(await native('load'), words(options), { stdio: ['pipe', 'pipe', 'inherit'] });
  const lines = createInterface({ input: child.stdout })[Symbol.asyncIterator]();
  const said = await lines.next();
  if (said.value !== 'ready') throw new Error(`the generator ended: ${said.value}`);
  return async () => {
    child.stdin.end();
    const { value } = await lines.next();
    if (child.exitCode === null) await once(child, 'exit');
    return SaidSchema.parse(JSON.parse(String(value)));
  };
};
