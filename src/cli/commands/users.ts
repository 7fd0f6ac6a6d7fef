/** `sekisho users`: keeps a file of users, as `logins: [{ passwd_file: … }]` reads it. */
import { escapeText } from '../../app/log-classic.js';
import { readTextFile } from '../../app/read-file.js';
import { changeFile } from '../../app/replace-file.js';
import { withoutUser, withUser } from '../../app/users-edit.js';
import { err, ok, type Result } from '../../base/result.js';
import { userFault } from '../../identity/proof-fault.js';
import { makeSecret, preparedPassword } from '../../identity/stores/make-secret.js';
import type { NewScheme } from '../../identity/stores/new-schemes.js';
import { linesText, modeWarning, passwordSecrets, provenBy } from '../../identity/stores/passwd-file.js';
import {
  canonicalUser,
  parseUsers,
  senderFault,
  type UserFile,
  type UserRecord,
} from '../../identity/stores/passwd-lines.js';
import { matches } from '../../identity/stores/password-check.js';
import { askPassword } from '../ask-password.js';
import { complain, print } from '../output.js';

interface FileOption {
  readonly file: string;
  readonly domain?: string;
}

export interface AddOptions extends FileOption {
  readonly scheme: NewScheme;
  /** False: `--no-scram`. */
  readonly scram: boolean;
  readonly senders?: string;
  readonly replace?: boolean;
}

const warn = (text: string | undefined): void => {
  if (text !== undefined) process.stderr.write(`sekisho: warning: ${text}\n`);
};

/** Why this cannot be a name in such a file, or undefined. */
const nameFault = (name: string, domain: string | undefined): string | undefined => {
  const fault = userFault(name) ?? userFault(canonicalUser(name, domain));
  if (fault !== undefined) return fault;
  if (name.includes(':')) return 'the user name has a colon, which ends it in the file';
  return name.startsWith('#') || name !== name.trim()
    ? 'the user name begins with # or has spaces around it'
    : undefined;
};

const listOf = (senders: string | undefined): Result<readonly string[] | undefined, string> => {
  if (senders === undefined) return ok(undefined);
  const list = senders.split(',').map((each) => each.trim());
  const fault = list.map(senderFault).find((each) => each !== undefined);
  return fault === undefined ? ok(list) : err(`--senders: ${fault}, several with commas between them`);
};

/** The file parsed; faults in it are warnings here, for they are not of our making. */
const load = ({ file, domain }: FileOption): Result<UserFile, string> => {
  const text = readTextFile(file);
  if (!text.ok) return err(`${file}: ${text.error}`);
  const users = parseUsers(text.value, domain);
  if (users.faults.length > 0)
    warn(`${file}: ${linesText(users.faults)}. Sekisho will not take the file like that`);
  warn(modeWarning(file));
  return ok(users);
};

/** SCRAM keys stand beside a hash that cannot prove SCRAM by itself. */
const fieldsFor = async (
  { scheme, scram }: AddOptions,
  password: string,
): Promise<Result<string[], string>> => {
  const schemes: NewScheme[] = [scheme];
  if (scram && scheme !== 'PLAIN' && scheme !== 'SCRAM-SHA-256') schemes.push('SCRAM-SHA-256');
  const fields: string[] = [];
  for (const each of schemes) {
    const field = await makeSecret(each, password);
    if (!field.ok) return err(`${field.error}${each === scheme ? '' : ' (or leave it out with --no-scram)'}`);
    fields.push(field.value);
  }
  return ok(fields);
};

const known = (name: string, file: string): string =>
  `${escapeText(name)} is in ${file} already: --replace gives a new password`;

export const addUser = async (name: string, options: AddOptions): Promise<void> => {
  const { file, domain, replace = false } = options;
  const fault = nameFault(name, domain);
  if (fault !== undefined) return complain([`users add: ${fault}`], 2);
  const senders = listOf(options.senders);
  if (!senders.ok) return complain([`users add: ${senders.error}`], 2);
  // Before anybody types a password in vain; looked at again under the lock.
  const before = readTextFile(file);
  if (before.ok && !replace && parseUsers(before.value, domain).users.has(canonicalUser(name, domain)))
    return complain([known(name, file)], 1);
  const password = await askPassword(escapeText(name), true);
  if (!password.ok) return complain([`users add: ${password.error}`], 1);
  const fields = await fieldsFor(options, password.value);
  if (!fields.ok) return complain([`users add: ${fields.error}`], 1);
  const entry = { name, fields: fields.value, senders: senders.value, replace, domain };
  let exists = false;
  const done = await changeFile(file, (text) => {
    const changed = withUser(text ?? '', entry);
    exists = !changed.ok;
    return changed.ok ? changed : err(known(name, file));
  });
  if (!done.ok) return complain([done.error], exists ? 1 : 2);
  load(options);
  print(`${file}: ${escapeText(name)} ${replace ? 'has a new password' : 'added'}`);
};

export const removeUser = async (name: string, { file, domain }: FileOption): Promise<void> => {
  const unknown = `${escapeText(name)} is not in ${file}`;
  let missing = false;
  const done = await changeFile(file, (text) => {
    if (text === undefined) return err(`${file}: no such file`);
    const changed = withoutUser(text, name, domain);
    missing = !changed.ok;
    return changed.ok ? changed : err(unknown);
  });
  if (!done.ok) return complain([done.error], missing ? 1 : 2);
  print(`${file}: ${escapeText(name)} removed`);
};

const described = ({ name, secrets, senders, barred, networks }: UserRecord) => ({
  name,
  schemes: secrets.map(({ scheme, stored }) => (stored.kind === 'locked' ? 'locked' : scheme)),
  proves: [...provenBy(secrets)].sort(),
  ...(senders === undefined ? {} : { senders }),
  ...(barred === undefined ? {} : { barred }),
  ...(networks.length === 0 ? {} : { limited: 'allow_nets' }),
});

export const listUsers = (options: FileOption & { readonly json?: boolean }): void => {
  const users = load(options);
  if (!users.ok) return complain([users.error], 2);
  const all = [...users.value.users.values()].map(described);
  if (options.json === true) return print(JSON.stringify(all, null, 2));
  for (const { name, schemes, senders, barred, limited } of all) {
    const more = [senders === undefined ? '' : `senders ${senders.join(',')}`, barred ?? '', limited ?? ''];
    print(
      [escapeText(name), schemes.join('+'), ...more.filter((each) => each !== '').map(escapeText)].join('  '),
    );
  }
};

/** Exit code 0: whoever has this password may log in. */
export const verifyUser = async (name: string, options: FileOption): Promise<void> => {
  const users = load(options);
  if (!users.ok) return complain([users.error], 2);
  const password = await askPassword(escapeText(name), false);
  if (!password.ok) return complain([`users verify: ${password.error}`], 1);
  const record = users.value.users.get(canonicalUser(name, options.domain));
  if (record === undefined) return complain([`${escapeText(name)} is not in ${options.file}`], 1);
  let right = false;
  for (const { stored } of passwordSecrets(record.secrets))
    right = (await matches(stored, preparedPassword(password.value))) || right;
  if (!right) return complain([`${escapeText(name)}: wrong password`], 1);
  if (record.barred !== undefined)
    return complain([`${escapeText(name)}: the password is right, but ${record.barred}`], 1);
  print(`${escapeText(name)}: the password is right`);
};
