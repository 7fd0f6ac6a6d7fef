/** Errors as RFC 9457 problem details. */
import { STATUS_CODES } from 'node:http';

/** Where in a request something is wrong, and what. */
export interface Fault {
  /** `body`, `querystring`, `params`, or a file. */
  readonly in: string;
  /** A JSON pointer, or the place in a policy such as `rules[2].allow`. */
  readonly at: string;
  readonly message: string;
  /** In a text, both from 1. */
  readonly line?: number;
  readonly column?: number;
}

export interface ProblemDetails {
  readonly type: string;
  readonly title: string;
  readonly status: number;
  readonly detail?: string;
  readonly errors?: readonly Fault[];
}

export const PROBLEM_TYPE = 'application/problem+json';

export class Problem extends Error {
  override readonly name = 'Problem';
  constructor(
    readonly statusCode: number,
    /** What is wrong and what would be right; never a secret. */
    readonly detail: string,
    readonly errors: readonly Fault[] = [],
  ) {
    super(detail);
  }
}

export const problemDetails = (
  status: number,
  detail?: string,
  errors: readonly Fault[] = [],
): ProblemDetails => ({
  type: 'about:blank',
  title: STATUS_CODES[status] ?? 'Error',
  status,
  ...(detail === undefined ? {} : { detail }),
  ...(errors.length === 0 ? {} : { errors }),
});
