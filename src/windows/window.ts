/**
 * A window says: this login was proven from this address at this time by this means, until then, for so many
 * recipients. Pure; the clock is an argument, milliseconds since 1970, since windows outlive processes.
 */
import { type Ip, IpSet } from '../base/ip.js';
import { CARRIER_BLOCKS } from '../base/near.js';

/** By what means a login was proven. Metric labels and words of the policy language. */
export const WINDOW_SOURCES = ['pop3', 'imap', 'smtp-auth', 'log', 'whoson', 'api'] as const;
export type WindowSource = (typeof WINDOW_SOURCES)[number];

export interface Window {
  /** `windowKey` of the client's address. */
  readonly key: string;
  /** Canonical text of the address from which the login came. */
  readonly address: string;
  readonly login: string;
  readonly source: WindowSource;
  /** Milliseconds since 1970. */
  readonly since: number;
  readonly until: number;
  /** Recipients used and how many there may be; 0 is no bound of its own. */
  readonly used: number;
  readonly budget: number;
}

/** An IPv4 address, or the /64 of an IPv6 one (`2001:db8:0:1::/64`). */
export const windowKey = (ip: Ip): string => {
  if (ip.family === 4) return ip.text;
  const [a = 0, b = 0] = ip.words;
  const groups = [a >>> 16, a & 0xffff, b >>> 16, b & 0xffff];
  return `${groups.map((group) => group.toString(16)).join(':')}::/64`;
};

const isRecord = (value: unknown): value is Record<string, unknown> =>
  typeof value === 'object' && value !== null;

const isNumber = (value: unknown): boolean => typeof value === 'number';
const isText = (value: unknown): boolean => typeof value === 'string';
const SOURCES: ReadonlySet<unknown> = new Set(WINDOW_SOURCES);

/** Whether something that was read back is a window of this version of Sekisho. */
export const isWindow = (value: unknown): value is Window =>
  isRecord(value) &&
  isText(value.key) &&
  isText(value.address) &&
  isText(value.login) &&
  isNumber(value.since) &&
  isNumber(value.until) &&
  isNumber(value.used) &&
  isNumber(value.budget) &&
  SOURCES.has(value.source);

/** The bounds of a login in a window, octets; what is longer is refused. */
export const LOGIN_OCTETS = 255;

export const isOpen = ({ until }: Window, now: number): boolean => until > now;

const NONE: readonly Window[] = [];

/** Those that are open, the one that lasts longest first. As a rule there is one. */
export const openOnes = (held: readonly Window[], now: number): readonly Window[] => {
  const [only] = held;
  if (only === undefined) return NONE;
  if (held.length === 1) return isOpen(only, now) ? held : NONE;
  return longestFirst(held.filter((each) => isOpen(each, now)));
};

const longestFirst = (windows: readonly Window[]): Window[] => [...windows].sort((a, b) => b.until - a.until);

export type Opening = 'opened' | 'renewed' | 'full';

/** What becomes of the windows of one key when another one is opened; see `StateStore.open`. */
export const openIn = (
  held: readonly Window[],
  window: Window,
  most: number,
  now: number,
): { readonly result: Opening; readonly windows: readonly Window[] } => {
  const open = held.filter((each) => isOpen(each, now));
  const others = open.filter(({ login }) => login !== window.login);
  if (others.length === open.length) {
    return others.length >= most
      ? { result: 'full', windows: open }
      : { result: 'opened', windows: [...others, window] };
  }
  const renewed = open.filter(({ login }) => login === window.login).map((old) => renew(old, window));
  return { result: 'renewed', windows: [...others, ...renewed] };
};

const renew = (old: Window, { until, source, address, budget }: Window): Window => ({
  ...old,
  ...{ source, address, budget },
  until: Math.max(old.until, until),
});

/** The windows after so many recipients were taken from one; undefined when they are not there. */
export const spendIn = (
  held: readonly Window[],
  login: string,
  amount: number,
  now: number,
): readonly Window[] | undefined => {
  const found = held.find((each) => each.login === login && isOpen(each, now));
  if (found === undefined || (found.budget > 0 && found.used + amount > found.budget)) return undefined;
  return held.map((each) => (each === found ? { ...found, used: found.used + amount } : each));
};

const CARRIER_NAT = IpSet.of(CARRIER_BLOCKS);

/** Why no window may be opened for an address, in words; undefined: it may. `shared`: networks of many people. */
export const refusal = (ip: Ip, login: string, shared: IpSet): string | undefined => {
  if (login === '') return 'the login has no name';
  if (Buffer.byteLength(login) > LOGIN_OCTETS) return `the login is longer than ${LOGIN_OCTETS} octets`;
  if (CARRIER_NAT.has(ip)) return 'the address is shared by the customers of a carrier (100.64.0.0/10)';
  if (shared.has(ip)) return 'the address lies in a network that is listed as shared';
  return undefined;
};
