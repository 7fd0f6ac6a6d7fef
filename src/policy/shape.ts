/** Faults of shape: what zod found, told in the words of the policy file. */
import type { z } from 'zod';
import { didYouMean, type KeyPath } from './errors.js';
import { keysAt } from './schema.js';

/** The keys that may stand where a path leads; undefined where any may. */
export type KeysAt = (path: KeyPath) => readonly string[] | undefined;

type Issue = z.core.$ZodIssue;

export interface ShapeFault {
  readonly path: KeyPath;
  /** The fault is in the key itself, not in its value. */
  readonly onKey: boolean;
  readonly message: string;
  readonly remedy: string;
}

const valueAt = (root: unknown, path: KeyPath): unknown =>
  path.reduce<unknown>(
    (value, key) =>
      typeof value === 'object' && value !== null ? (value as Record<string, unknown>)[key] : undefined,
    root,
  );

const lowerFirst = (message: string): string => message.charAt(0).toLowerCase() + message.slice(1);

/** The branch of a union that the value was meant for: the only one whose type fits at all. */
const meantBranch = (branches: readonly (readonly Issue[])[]): readonly Issue[] | undefined => {
  const fitting = branches.filter(
    (issues) => !issues.some(({ code, path }) => code === 'invalid_type' && path.length === 0),
  );
  return fitting.length === 1 ? fitting[0] : undefined;
};

const missingRemedy = ({ message }: Issue): string => (message.startsWith('must ') ? `It ${message}.` : '');

const issueFaults = (issue: Issue, base: KeyPath, root: unknown, keys: KeysAt): readonly ShapeFault[] => {
  const path = [...base, ...(issue.path as (string | number)[])];
  if (issue.code === 'unrecognized_keys') {
    const known = keys(path) ?? [];
    const otherwise = known.length === 0 ? '' : `Keys here: ${known.join(', ')}.`;
    return issue.keys.map((key) => ({
      path: [...path, key],
      onKey: true,
      message: 'unknown key',
      remedy: didYouMean(key, known, otherwise),
    }));
  }
  if (issue.code === 'invalid_key') {
    const message = issue.issues[0]?.message ?? issue.message;
    return [
      {
        path,
        onKey: true,
        message: 'bad name',
        remedy: `${message.charAt(0).toUpperCase()}${message.slice(1)}.`,
      },
    ];
  }
  if (issue.code === 'invalid_union') {
    const branch = meantBranch(issue.errors);
    if (branch !== undefined && branch.length > 0)
      return branch.flatMap((inner) => issueFaults(inner, path, root, keys));
  }
  if (valueAt(root, path) === undefined)
    return [{ path, onKey: false, message: 'missing', remedy: missingRemedy(issue) }];
  return [{ path, onKey: false, message: lowerFirst(issue.message), remedy: '' }];
};

/** All faults of shape in `root`; `keys` knows the policy's keys unless told otherwise. */
export const shapeFaults = (
  error: z.core.$ZodError,
  root: unknown,
  keys: KeysAt = keysAt,
): readonly ShapeFault[] => error.issues.flatMap((issue) => issueFaults(issue, [], root, keys));
