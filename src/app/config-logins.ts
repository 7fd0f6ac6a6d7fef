/** `logins:` and `failed_logins:` of the configuration: which stores judge credentials, and what guessers meet. */
import { z } from 'zod';
import type { CredentialStore } from '../identity/credentials.js';
import { DEFAULT_THROTTLE } from '../identity/throttle.js';
import { type ShapeFault, shapeFaults } from '../policy/shape.js';
import { count, Duration, duration, snake } from './config-fields.js';
import { LOGIN_SOURCES } from './logins/index.js';
import type { LoginSource, LoginTools } from './logins/source.js';

const KEYS = LOGIN_SOURCES.map(({ key }) => key).join(', ');

/** The kind that an entry is of: exactly one of the keys marks it. */
const sourceOf = (entry: unknown): LoginSource | undefined => {
  if (typeof entry !== 'object' || entry === null) return undefined;
  const marked = LOGIN_SOURCES.filter(({ key }) => Object.hasOwn(entry, key));
  return marked.length === 1 ? marked[0] : undefined;
};

/** Any of the kinds; which one it is, and whether it is right, `loginFaults` says. */
export const LoginEntry = z.unknown();

/** Faults of shape, each by the schema of the entry's own kind, so that they name the key and not all it could have been. */
export const loginFaults = (entries: readonly unknown[]): readonly ShapeFault[] =>
  entries.flatMap((entry, i) => {
    const source = sourceOf(entry);
    const at = ['logins', i];
    if (source === undefined)
      return [{ path: at, onKey: false, message: `must have exactly one of ${KEYS}`, remedy: '' }];
    const { error } = source.schema.safeParse(entry);
    if (error === undefined) return [];
    const keys = source.schema instanceof z.ZodObject ? Object.keys(source.schema.shape) : undefined;
    const faults = shapeFaults(error, entry, (path) => (path.length === 0 ? keys : undefined));
    return faults.map((fault) => ({ ...fault, path: [...at, ...fault.path] }));
  });

/** Numbers of failures, and times; the names are those of identity/throttle. */
export const FailedLogins = z.strictObject(
  Object.fromEntries(
    Object.keys(DEFAULT_THROTTLE).map((name) => {
      const time = name === 'period' ? Duration : duration(0);
      return [snake(name), (name === 'perAddress' || name === 'perLogin' ? count(1) : time).optional()];
    }),
  ),
  { error: 'must be a map with per_address, per_login, period, delay and most_delay' },
);

/** For editors: an entry is one of these. */
export const loginEntryJsonSchema = (): object => ({
  anyOf: LOGIN_SOURCES.map(({ schema }) => {
    const { $schema: _, ...rest } = z.toJSONSchema(schema);
    return rest;
  }),
});

/** Starts the store of one entry. */
export type StartStore = (tools: LoginTools) => CredentialStore;

/** What can be known of the entries without starting anything. Their shapes are right already. */
export const loginPlans = (
  entries: readonly unknown[],
  tools: Omit<LoginTools, 'note'>,
  faults: string[],
): readonly StartStore[] =>
  entries.flatMap((entry, i) => {
    const source = sourceOf(entry);
    if (source === undefined) return [];
    const found = source.check(entry, tools);
    faults.push(...found.map((fault) => `logins[${i}] ${source.key}: ${fault}`));
    return found.length > 0 ? [] : [(all) => source.create(entry, all)];
  });
