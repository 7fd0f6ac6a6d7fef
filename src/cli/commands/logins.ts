import { milliseconds } from '../../app/config-fields.js';
import { userFault } from '../../identity/proof-fault.js';
import { Suspensions } from '../../identity/suspensions.js';
import { complain } from '../output.js';
import { LISTED, moment, type StateOptions, tell, warnIfCut, withState } from '../state.js';

/** As long as the policy language lets a suspension last, ms. */
const LONGEST = 30 * 86_400_000;
const FOR_ERROR = 'must be a time from 1s to 720h, such as 24h; leave it out to suspend until lifted';

const until = (end: number): string => moment(end) ?? 'it is lifted';

/** Who is suspended, until when and why. */
export const suspendedLogins = (options: StateOptions): Promise<void> =>
  withState(options, async ({ store }) => {
    const marks = await store.marks('suspended', LISTED, Date.now());
    const found = marks.map(({ key, value, until }) => ({ login: key, until: moment(until), why: value }));
    const lines = marks.map(({ key, value, until: end }) => `<${key}> until ${until(end)}: ${value}`);
    tell(options, found, lines.length === 0 ? ['no login is suspended'] : lines);
    warnIfCut(marks);
  });

/** Its windows close, and open sessions lose what the login gave them. */
export const suspendLogin = async (
  login: string,
  options: StateOptions & { readonly for?: string; readonly why: string },
): Promise<void> => {
  const fault = userFault(login);
  if (fault !== undefined) return complain([fault], 2);
  const lasts = options.for === undefined ? Number.POSITIVE_INFINITY : milliseconds(options.for);
  if (lasts === undefined || (options.for !== undefined && (lasts < 1_000 || lasts > LONGEST)))
    return complain([`--for ${options.for}: ${FOR_ERROR}`], 2);
  await withState(options, async ({ store, note }) => {
    const now = Date.now();
    await new Suspensions(store, note).suspend(login, now + lasts, options.why, now);
    const fact = { login, until: moment(now + lasts), why: options.why };
    tell(options, fact, [`<${login}> is suspended until ${until(now + lasts)}`]);
  });
};

/** Exit code 1 if it was not suspended. */
export const liftLogin = async (login: string, options: StateOptions): Promise<void> => {
  const fault = userFault(login);
  if (fault !== undefined) return complain([fault], 2);
  await withState(options, async ({ store, note }) => {
    const lifted = await new Suspensions(store, note).lift(login, 'by hand', Date.now());
    tell(options, { login, lifted }, [`<${login}> ${lifted ? 'is no longer' : 'was not'} suspended`]);
    if (!lifted) process.exitCode = 1;
  });
};
