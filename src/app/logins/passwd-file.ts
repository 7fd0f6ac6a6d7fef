/** `passwd_file: /etc/sekisho/users`: a file of users in the manner of Dovecot or Apache. */
import { z } from 'zod';
import { err, ok, type Result } from '../../base/result.js';
import { DEFAULT_PASSWD_FILE, loadUsers, PasswdFileStore } from '../../identity/stores/passwd-file.js';
import { count, Duration, milliseconds, text } from '../config-fields.js';
import { readTextFile } from '../read-file.js';
import type { LoginSource } from './source.js';

const DOMAIN = /^(?=.{1,253}$)[a-z0-9](?:[a-z0-9-]*[a-z0-9])?(?:\.[a-z0-9](?:[a-z0-9-]*[a-z0-9])?)*$/i;

const domainError = 'must be a domain, such as example.org';

const schema = z.strictObject(
  {
    passwd_file: text('the path of a file of users'),
    domain: z.string({ error: domainError }).regex(DOMAIN, { error: domainError }).optional(),
    timeout: Duration.optional(),
    max_attempts: count(1, 10_000).optional(),
    threads: count(1, 64).optional(),
  },
  { error: 'must be a map with passwd_file, and perhaps domain, timeout, max_attempts and threads' },
);

/** The file, or what is wrong with it as a line for people. */
const load = (path: string, domain: string | undefined): Result<undefined, string> => {
  const file = loadUsers(path, readTextFile, domain);
  return file.ok ? ok(undefined) : err(`${path}: ${file.error}`);
};

/** The store watches its file itself: a changed password is no changed configuration. */
export const passwdFile: LoginSource<typeof schema> = {
  key: 'passwd_file',
  schema,
  check: ({ passwd_file, domain }, { resolve }) => {
    const loaded = load(resolve(passwd_file), domain);
    return loaded.ok ? [] : [loaded.error];
  },
  create: ({ passwd_file, domain, max_attempts, threads, timeout }, { resolve, note }) =>
    new PasswdFileStore({
      path: resolve(passwd_file),
      domain,
      maxAttempts: max_attempts ?? DEFAULT_PASSWD_FILE.maxAttempts,
      threads: threads ?? DEFAULT_PASSWD_FILE.threads,
      timeout: milliseconds(timeout ?? '') ?? DEFAULT_PASSWD_FILE.timeout,
      read: readTextFile,
      warn: (warning) => note({ type: 'warning', text: warning }),
    }),
};
