import { milliseconds } from '../../app/config-fields.js';
import { parseIp } from '../../base/ip.js';
import { Bans } from '../../windows/bans.js';
import { windowKey } from '../../windows/window.js';
import { complain } from '../output.js';
import { LISTED, moment, type State, type StateOptions, tell, warnIfCut, withState } from '../state.js';

/** As long as the policy language lets a suspension last, ms. */
const LONGEST = 30 * 86_400_000;
const FOR_ERROR = 'must be a time from 1s to 720h, such as 24h; leave it out to ban until lifted';

const until = (end: number): string => moment(end) ?? 'it is lifted';

/** Nothing is counted from here. */
const bansOf = ({ store, note }: State): Bans => new Bans(store, undefined, note, Date.now);

/** Who is banned, until when and why. */
export const listBans = (options: StateOptions): Promise<void> =>
  withState(options, async (state) => {
    const marks = await bansOf(state).list(LISTED);
    const found = marks.map(({ key, value, until }) => ({ address: key, until: moment(until), why: value }));
    const lines = marks.map(({ key, value, until: end }) => `[${key}] until ${until(end)}: ${value}`);
    tell(options, found, lines.length === 0 ? ['nobody is banned'] : lines);
    warnIfCut(marks);
  });

/** From its next connection on; of an IPv6 address its /64. */
export const addBan = async (
  address: string,
  options: StateOptions & { readonly for?: string; readonly why: string },
): Promise<void> => {
  const ip = parseIp(address);
  if (ip === undefined) return complain([`${address}: not an IP address`], 2);
  const lasts = options.for === undefined ? Number.POSITIVE_INFINITY : milliseconds(options.for);
  if (lasts === undefined || (options.for !== undefined && (lasts < 1_000 || lasts > LONGEST)))
    return complain([`--for ${options.for}: ${FOR_ERROR}`], 2);
  await withState(options, async (state) => {
    const end = Date.now() + lasts;
    await bansOf(state).ban(ip, end, options.why);
    const fact = { address: windowKey(ip), until: moment(end), why: options.why };
    tell(options, fact, [`[${windowKey(ip)}] is banned until ${until(end)}`]);
  });
};

/** Exit code 1 if it was not banned. */
export const liftBan = async (address: string, options: StateOptions): Promise<void> => {
  const ip = parseIp(address.replace(/\/64$/, ''));
  if (ip === undefined) return complain([`${address}: not an IP address`], 2);
  await withState(options, async (state) => {
    const lifted = await bansOf(state).lift(ip, 'by hand');
    const key = windowKey(ip);
    tell(options, { address: key, lifted }, [`[${key}] ${lifted ? 'is no longer' : 'was not'} banned`]);
    if (!lifted) process.exitCode = 1;
  });
};
