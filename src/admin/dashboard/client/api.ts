/** The admin API as the page uses it. A token, where one is needed, lives in this tab's session storage alone. */

const KEY = 'sekisho-token';

/** Why something could not be had. `lost`: nobody answered. `token`: none, or a wrong one. `role`: it may only read. */
export interface Failure {
  readonly kind: 'lost' | 'token' | 'role' | 'refused' | 'busy';
  readonly text: string;
  /** Faults one by one, where the answer has them. */
  readonly faults: readonly string[];
}

export class ApiError extends Error {
  constructor(readonly failure: Failure) {
    super(failure.text);
  }
}

export const failureOf = (error: unknown): Failure =>
  error instanceof ApiError
    ? error.failure
    : { kind: 'lost', text: error instanceof Error ? error.message : String(error), faults: [] };

let token: string | undefined;
try {
  token = sessionStorage.getItem(KEY) ?? undefined;
} catch {
  // No storage: the token is known until the page is left.
}

export const hasToken = (): boolean => token !== undefined;

/** Keeps the token for this tab; undefined forgets it. */
export const setToken = (value: string | undefined): void => {
  token = value;
  try {
    if (value === undefined) sessionStorage.removeItem(KEY);
    else sessionStorage.setItem(KEY, value);
  } catch {
    // As above.
  }
};

/** Is told when a token is needed, and whether one was shown that is not good. */
export let onTokenNeeded: (wrong: boolean) => void = () => undefined;
export const whenTokenNeeded = (ask: (wrong: boolean) => void): void => {
  onTokenNeeded = ask;
};

const headers = (more: Readonly<Record<string, string>> = {}): Record<string, string> => ({
  'x-sekisho': 'page',
  ...(token === undefined ? {} : { authorization: `Bearer ${token}` }),
  ...more,
});

interface Problem {
  readonly detail?: string;
  readonly title?: string;
  readonly errors?: readonly { message?: string; at?: string; line?: number; column?: number }[];
}

const faultText = ({
  message = '',
  at = '',
  line,
  column,
}: NonNullable<Problem['errors']>[number]): string => {
  const place = line === undefined ? at : `line ${line}${column === undefined ? '' : `, column ${column}`}`;
  return [place, message].filter((each) => each !== '').join(': ');
};

const problemOf = async (response: Response): Promise<Problem> => {
  try {
    return (await response.json()) as Problem;
  } catch {
    return {};
  }
};

const KINDS: Readonly<Record<number, Failure['kind']>> = {
  401: 'token',
  403: 'role',
  429: 'busy',
  503: 'busy',
};

/** Throws an ApiError for whatever is no success. `shown`: the token that went with the question. */
const check = async (response: Response, shown: string | undefined): Promise<Response> => {
  if (response.ok) return response;
  const { detail, title, errors = [] } = await problemOf(response);
  // What is said late of another token than the present one is no news.
  if (response.status === 401 && shown === token) onTokenNeeded(shown !== undefined);
  throw new ApiError({
    kind: KINDS[response.status] ?? 'refused',
    text: detail ?? title ?? `the answer was ${response.status}`,
    faults: errors.map(faultText),
  });
};

/** The raw answer of a path below `api/v1/`. */
export const request = async (path: string, init: RequestInit = {}): Promise<Response> => {
  const more = init.body === undefined ? {} : { 'content-type': 'application/json' };
  const given = init.headers as Record<string, string> | undefined;
  const shown = token;
  let response: Response;
  try {
    response = await fetch(`api/v1/${path}`, { ...init, headers: headers({ ...more, ...given }) });
  } catch (error) {
    if (error instanceof DOMException && error.name === 'AbortError') throw error;
    throw new ApiError({ kind: 'lost', text: 'Sekisho does not answer', faults: [] });
  }
  return check(response, shown);
};

/** The shape is the server's word: it is the same program. */
export const get = async <T>(path: string): Promise<T> => (await (await request(path)).json()) as T;

export const send = async <T>(method: string, path: string, body?: unknown): Promise<T | undefined> => {
  const init = body === undefined ? { method } : { method, body: JSON.stringify(body) };
  const text = await (await request(path, init)).text();
  return text === '' ? undefined : (JSON.parse(text) as T);
};
