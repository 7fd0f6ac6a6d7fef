import { buildWindows } from '../../app/state.js';
import { type Ip, parseIp } from '../../base/ip.js';
import { userFault } from '../../identity/proof-fault.js';
import type { WindowResult } from '../../windows/keeper.js';
import { type Window, type WindowSource, windowKey } from '../../windows/window.js';
import { complain } from '../output.js';
import { LISTED, moment, type State, type StateOptions, tell, warnIfCut, withState } from '../state.js';

const shown = ({ login, address, source, since, until, used, budget }: Window) => ({
  ...{ login, address, source, since: moment(since), until: moment(until), used, budget },
});

const line = ({ login, address, source, until, used, budget }: Window): string =>
  `[${address}] <${login}> by ${source} until ${moment(until)}, ${used} recipients${budget > 0 ? ` of ${budget}` : ''}`;

/** The open windows. */
export const listWindows = (options: StateOptions): Promise<void> =>
  withState(options, async ({ store }) => {
    const windows = await store.list(LISTED, Date.now());
    tell(options, windows.map(shown), windows.length === 0 ? ['no window is open'] : windows.map(line));
    warnIfCut(windows);
  });

/** Both, or undefined after the complaint. */
const named = (login: string, address: string): Ip | undefined => {
  const ip = parseIp(address);
  const fault = userFault(login) ?? (ip === undefined ? `${address}: not an IP address` : undefined);
  if (fault !== undefined) complain([fault], 2);
  return fault === undefined ? ip : undefined;
};

const held = async ({ store }: State, login: string, ip: Ip): Promise<Window | undefined> =>
  (await store.lookup(windowKey(ip), Date.now())).find((each) => each.login === login);

const openAs = async (
  options: StateOptions,
  state: State,
  login: string,
  ip: Ip,
  source: WindowSource,
): Promise<void> => {
  const result: WindowResult = await buildWindows(state.setup, state.store, state.note).open(
    login,
    ip,
    source,
  );
  // Why, the keeper has said on standard error.
  if (result === 'unknown' || result === 'refused') process.exitCode = result === 'refused' ? 1 : 2;
  const window = result === 'unknown' || result === 'refused' ? undefined : await held(state, login, ip);
  const lines = window === undefined ? [] : [`${result}: ${line(window)}`];
  tell(options, { result, ...(window === undefined ? {} : { window: shown(window) }) }, lines);
};

/** By the rules of `roaming`; exit code 1 if these refuse it. */
export const openWindow = async (login: string, address: string, options: StateOptions): Promise<void> => {
  const ip = named(login, address);
  if (ip !== undefined) await withState(options, (state) => openAs(options, state, login, ip, 'api'));
};

/** Stays what it was opened by, so that a policy that asks for that still lets it pass. Exit code 1: there is none. */
export const renewWindow = async (login: string, address: string, options: StateOptions): Promise<void> => {
  const ip = named(login, address);
  if (ip === undefined) return;
  await withState(options, async (state) => {
    const window = await held(state, login, ip);
    if (window !== undefined) return openAs(options, state, login, ip, window.source);
    tell(options, { result: 'none' }, [`<${login}> has no open window at ${ip.text}`]);
    process.exitCode = 1;
  });
};

/** Those that match all that is given, and something must be. Exit code 1 if there were none. */
export const closeWindows = async (
  options: StateOptions & { readonly login?: string; readonly address?: string },
): Promise<void> => {
  const { login, address } = options;
  if (login === undefined && address === undefined)
    return complain(['windows close: say whose or where, --login LOGIN, --address IP or both'], 2);
  const ip = address === undefined ? undefined : parseIp(address);
  if (address !== undefined && ip === undefined)
    return complain([`--address ${address}: not an IP address`], 2);
  const fault = login === undefined ? undefined : userFault(login);
  if (fault !== undefined) return complain([`--login: ${fault}`], 2);
  await withState(options, async ({ setup, store, note }) => {
    const which = { ...(login === undefined ? {} : { login }), ...(ip === undefined ? {} : { ip }) };
    const closed = await buildWindows(setup, store, note).close(which, 'by hand');
    if (closed !== undefined) tell(options, { closed }, [`${closed} closed`]);
    if (closed !== undefined && closed > 0) return;
    process.exitCode = closed === undefined ? 2 : 1;
  });
};
