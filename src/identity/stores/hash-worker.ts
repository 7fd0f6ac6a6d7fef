/** The inside of a worker of hash-pool: a password field and a password come in, whether they fit goes out. */
import { parentPort } from 'node:worker_threads';
import { matches } from './password-check.js';
import { parseSecret } from './password-schemes.js';

/** What a worker is asked. */
export interface HashJob {
  readonly field: string;
  readonly password: string;
}

/** What it answers; undefined: the work failed (out of memory, perhaps). */
export type HashAnswer = boolean | undefined;

const answer = async ({ field, password }: HashJob): Promise<HashAnswer> => {
  try {
    const secret = parseSecret(field);
    return secret.ok ? await matches(secret.value.stored, password) : undefined;
  } catch {
    return undefined;
  }
};

parentPort?.on('message', (job: HashJob) => {
  void answer(job).then((found) => parentPort?.postMessage(found));
});
