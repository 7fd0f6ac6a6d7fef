/** A file of users as a credential store. Read again when it changes; passwords are hashed in threads of their own. */
import { createHmac, randomBytes } from 'node:crypto';
import { type BigIntStats, statSync } from 'node:fs';
import { stat } from 'node:fs/promises';
import { parseIp } from '../../base/ip.js';
import { err, ok, type Result } from '../../base/result.js';
import {
  type Attempt,
  type CredentialStore,
  type KeysOutcome,
  type Outcome,
  type Proof,
  type ProofKind,
  unavailable,
  wrong,
} from '../credentials.js';
import { userFault } from '../proof-fault.js';
import { DEFAULT_SCRAM_SHAPE, deriveScramKeys } from '../sasl/scram-keys.js';
import { Guard } from './guard.js';
import { HashPool } from './hash-pool.js';
import {
  canonicalUser,
  MAX_FILE,
  parseUsers,
  type UserFile,
  type UserRecord,
  type UserSecret,
} from './passwd-lines.js';
import { answersChallenge, isQuick, quickMatches } from './password-check.js';

export interface PasswdFileOptions {
  readonly path: string;
  /** What a bare name belongs to. */
  readonly domain?: string | undefined;
  /** Attempts in hand at once. */
  readonly maxAttempts: number;
  /** Hashing threads. */
  readonly threads: number;
  /** Milliseconds until an attempt has to be judged. */
  readonly timeout: number;
  /** Reads the file now; the error says why not. */
  readonly read: (path: string) => Result<string, string>;
  /** Takes warnings; none bears a secret or a user's line. */
  readonly warn: (text: string) => void;
}

export const DEFAULT_PASSWD_FILE = { maxAttempts: 100, threads: 2, timeout: 10_000 } as const;

/** Milliseconds between looks at the file. A change is believed to be complete once two looks saw the same. */
const INTERVAL = 500;
/** Lines that a warning names. */
const NAMED = 5;

interface Contents extends UserFile {
  readonly proves: ReadonlySet<ProofKind>;
  /** What passwords of unknown users are hashed against: the secrets of a user of the most common kind. */
  readonly dummy: readonly UserSecret[];
}

/** What a password is checked against: derived keys only where there is nothing else. */
export const passwordSecrets = (secrets: readonly UserSecret[]): readonly UserSecret[] => {
  const usable = secrets.filter(({ stored }) => stored.kind !== 'locked');
  const own = usable.filter(({ stored }) => stored.kind !== 'scram' && stored.kind !== 'cram-md5');
  return own.length > 0 ? own : usable.slice(0, 1);
};

const KINDS: Readonly<Record<UserSecret['stored']['kind'], readonly ProofKind[]>> = {
  plain: ['password', 'cram-md5', 'scram-sha-256'],
  'cram-md5': ['password', 'cram-md5'],
  scram: ['password', 'scram-sha-256'],
  digest: ['password'],
  crypt: ['password'],
  argon2: ['password'],
  pbkdf2: ['password'],
  locked: [],
};

/** What can be proven for a user with these secrets. */
export const provenBy = (secrets: readonly UserSecret[]): ReadonlySet<ProofKind> =>
  new Set(secrets.flatMap(({ stored }) => KINDS[stored.kind]));

const contentsOf = (file: UserFile): Contents => {
  const proves = new Set<ProofKind>();
  const common = new Map<string, { count: number; readonly secrets: readonly UserSecret[] }>();
  for (const { secrets } of file.users.values()) {
    for (const kind of provenBy(secrets)) proves.add(kind);
    const checked = passwordSecrets(secrets);
    const cost = checked.map((each) => each.cost).join();
    const found = common.get(cost) ?? { count: 0, secrets: checked };
    common.set(cost, { ...found, count: found.count + 1 });
  }
  let most = { count: 0, secrets: [] as readonly UserSecret[] };
  for (const each of common.values()) if (each.secrets.length > 0 && each.count > most.count) most = each;
  return { users: file.users, faults: file.faults, warnings: file.warnings, proves, dummy: most.secrets };
};

/** `line 3: …; line 9: …; and 2 more` */
export const linesText = (faults: UserFile['faults']): string => {
  const named = faults.slice(0, NAMED).map(({ line, message }) => `line ${line}: ${message}`);
  if (faults.length > NAMED) named.push(`and ${faults.length - NAMED} more`);
  return named.join('; ');
};

/** Reads and parses; the error says what is wrong, with lines. */
export const loadUsers = (
  path: string,
  read: PasswdFileOptions['read'],
  domain?: string,
): Result<UserFile, string> => {
  const text = read(path);
  if (!text.ok) return err(text.error);
  if (text.value.length > MAX_FILE) return err(`larger than ${MAX_FILE / 2 ** 20} MB`);
  const file = parseUsers(text.value, domain);
  return file.faults.length > 0 ? err(linesText(file.faults)) : ok(file);
};

/** By name, not by inode, and by all that tells one version from the next. */
const versionOf = ({ ino, size, mtimeNs, ctimeNs }: BigIntStats): string =>
  [ino, size, mtimeNs, ctimeNs].join();
const ABSENT = 'absent';

const versionNow = (path: string): string => {
  try {
    return versionOf(statSync(path, { bigint: true }));
  } catch {
    return ABSENT;
  }
};

/** What is worth a warning about who may read or write the file, or undefined. */
export const modeWarning = (path: string): string | undefined => {
  try {
    const { mode } = statSync(path);
    if ((mode & 0o022) !== 0) return `${path}: others may write this file: chmod go-w`;
    return (mode & 0o004) !== 0
      ? `${path}: everybody may read this file of passwords: chmod o-rwx`
      : undefined;
  } catch {
    return undefined;
  }
};

export class PasswdFileStore implements CredentialStore {
  readonly name: string;
  readonly #options: PasswdFileOptions;
  readonly #guard: Guard;
  readonly #pool: HashPool;
  /** Salts of users whose password is kept in clear: the same for as long as the process lives. */
  readonly #saltSecret = randomBytes(32);
  #contents: Contents;
  /** The version that was last read, or tried, and the one that was last seen. */
  #read = ABSENT;
  #seen = ABSENT;
  readonly #timer: NodeJS.Timeout;

  /** With a file that cannot be read yet, nobody can log in until it can. */
  constructor(options: PasswdFileOptions) {
    this.#options = options;
    this.name = `passwd_file ${options.path}`;
    this.#guard = new Guard(this.name, options.maxAttempts);
    this.#pool = new HashPool({
      threads: options.threads,
      // The guard's bound is the one that matters: each attempt waits for one hash at a time.
      waiting: options.maxAttempts,
      timeout: options.timeout,
    });
    this.#contents = contentsOf({ users: new Map(), faults: [], warnings: [] });
    this.reload();
    // fs.watchFile takes its first look later: what changes before it is never told.
    this.#timer = setInterval(() => void this.#look(), INTERVAL).unref();
  }

  get proves(): ReadonlySet<ProofKind> {
    return this.#contents.proves;
  }

  /** Reads the file anew; one that cannot be read, or has faults, changes nothing. True if it is in force. */
  reload(): boolean {
    const { path, read, warn, domain } = this.#options;
    this.#read = versionNow(path);
    const file = loadUsers(path, read, domain);
    if (!file.ok) {
      const had = this.#contents.users.size;
      warn(
        `${path}: ${file.error}; ${had === 0 ? 'nobody can log in by it' : `the ${had} users of before stay`}`,
      );
      return false;
    }
    this.#contents = contentsOf(file.value);
    if (file.value.warnings.length > 0) warn(`${path}: ${linesText(file.value.warnings)}`);
    const mode = modeWarning(path);
    if (mode !== undefined) warn(mode);
    return true;
  }

  verify(proof: Proof, attempt: Attempt): Promise<Outcome> {
    return this.#guard.judge(proof, async () => {
      if (proof.kind === 'password') return this.#password(proof, attempt);
      if (proof.kind === 'cram-md5') return this.#cramMd5(proof, attempt);
      return wrong(`a file of passwords cannot judge a ${proof.kind}`);
    });
  }

  async scramKeys(user: string, attempt: Attempt): Promise<KeysOutcome> {
    const fault = userFault(user);
    if (fault !== undefined) return wrong(fault);
    return this.#guard.run(() => this.#keys(user, attempt));
  }

  async close(): Promise<void> {
    clearInterval(this.#timer);
    const idle = this.#guard.close();
    await this.#pool.close();
    await idle;
  }

  async #look(): Promise<void> {
    const now = await stat(this.#options.path, { bigint: true }).then(versionOf, () => ABSENT);
    const settled = now === this.#seen;
    this.#seen = now;
    if (settled && now !== this.#read && !this.#guard.closed) this.reload();
  }

  #find(user: string): UserRecord | undefined {
    return this.#contents.users.get(canonicalUser(user, this.#options.domain));
  }

  async #password(
    { user, password }: Extract<Proof, { kind: 'password' }>,
    attempt: Attempt,
  ): Promise<Outcome> {
    const record = this.#find(user);
    const own = record === undefined ? [] : passwordSecrets(record.secrets);
    const secrets = own.length > 0 ? own : this.#contents.dummy;
    let right = false;
    // All of them, so that the time does not tell which one fits.
    for (const secret of secrets) {
      const fits = isQuick(secret.stored)
        ? quickMatches(secret.stored, password)
        : await this.#pool.check(secret.field, password);
      right = fits || right;
    }
    return this.#judge(record, own.length > 0 && right, attempt);
  }

  #cramMd5({ user, challenge, digest }: Extract<Proof, { kind: 'cram-md5' }>, attempt: Attempt): Outcome {
    const record = this.#find(user);
    let right = false;
    for (const { stored } of record?.secrets ?? [])
      right = answersChallenge(stored, challenge, digest) || right;
    return this.#judge(record, right, attempt);
  }

  #judge(record: UserRecord | undefined, right: boolean, attempt: Attempt): Outcome {
    if (record === undefined) return wrong('no such user');
    if (!right)
      return wrong(
        record.secrets.length === 0 ? 'he has no password that Sekisho can check' : 'wrong password',
      );
    const barred = this.#barred(record, attempt);
    return barred === undefined ? { kind: 'ok', login: loginOf(record) } : wrong(barred);
  }

  #barred({ barred, networks }: UserRecord, { client }: Attempt): string | undefined {
    if (barred !== undefined) return barred;
    if (networks.length === 0) return undefined;
    const ip = parseIp(client);
    const inside = ip !== undefined && networks.every((each) => each.has(ip));
    return inside ? undefined : 'not from this address (allow_nets)';
  }

  async #keys(user: string, attempt: Attempt): Promise<KeysOutcome> {
    const record = this.#find(user);
    if (record === undefined) return wrong('no such user');
    const barred = this.#barred(record, attempt);
    if (barred !== undefined) return wrong(barred);
    for (const { stored } of record.secrets)
      if (stored.kind === 'scram') return { kind: 'keys', keys: stored.keys, login: loginOf(record) };
    for (const { stored } of record.secrets) {
      if (stored.kind !== 'plain') continue;
      const { saltLength, iterations } = DEFAULT_SCRAM_SHAPE;
      const salt = createHmac('sha256', this.#saltSecret)
        .update(record.name)
        .digest()
        .subarray(0, saltLength);
      const keys = await deriveScramKeys(stored.password, salt, iterations);
      return keys.ok ? { kind: 'keys', keys: keys.value, login: loginOf(record) } : unavailable(keys.error);
    }
    return wrong('he has neither SCRAM keys nor a password in clear');
  }
}

const loginOf = ({ name, senders }: UserRecord): { name: string; senders?: readonly string[] } => ({
  name,
  ...(senders === undefined ? {} : { senders }),
});
