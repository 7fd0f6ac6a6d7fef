/** GNU SASL's own client as a peer: its messages come over a pipe, none over a network. */
import { spawn } from 'node:child_process';
import path from 'node:path';
import { createInterface } from 'node:readline';
import { libraryPath, unpack } from './packages.js';

export interface GsaslOptions {
  readonly mechanism: string;
  readonly user: string;
  readonly password: string;
  readonly authzid?: string;
  /** What gsasl asks for before it speaks: channel bindings, in base64. */
  readonly answers?: readonly string[];
}

export interface Gsasl {
  /** The next message, undefined when gsasl has gone. One in which the server speaks first starts with an empty one. */
  hear(): Promise<Buffer | undefined>;
  say(challenge: Buffer): void;
  /** Ends it, however far it has come, and resolves when it is gone. */
  close(): Promise<void>;
}

/** Milliseconds after which a client that has not ended is ended. */
const PATIENCE = 60_000;

export const startGsasl = async (options: GsaslOptions): Promise<Gsasl> => {
  const root = await unpack('gsasl', ['libgsasl18', 'libgssglue1', 'libidn12', 'libntlm0']);
  const { mechanism, user, password, authzid, answers = [] } = options;
  const identity = authzid === undefined ? [] : ['-z', authzid];
  const child = spawn(
    path.join(root, 'usr/bin/gsasl'),
    ['--client', '--quiet', '-m', mechanism, '-a', user, '-p', password, ...identity],
    {
      env: { ...process.env, LD_LIBRARY_PATH: libraryPath(root) },
      stdio: ['pipe', 'pipe', 'ignore'],
    },
  );
  const deadline = setTimeout(() => child.kill(), PATIENCE);
  const ended = new Promise<void>((resolve) => child.once('close', () => resolve()));
  // It may go before it has read all that it was told.
  child.stdin.on('error', () => {});
  const lines = createInterface({ input: child.stdout })[Symbol.asyncIterator]();
  for (const answer of answers) child.stdin.write(`${answer}\n`);
  // First it says which mechanism it took.
  await lines.next();
  return {
    async hear() {
      const line = await lines.next();
      // Prompts stand in front of a message.
      return line.done === true ? undefined : Buffer.from(line.value.replace(/^.*: /, ''), 'base64');
    },
    say(challenge) {
      child.stdin.write(`${challenge.toString('base64')}\n`);
    },
    async close() {
      child.stdin.end();
      await ended;
      clearTimeout(deadline);
    },
  };
};
