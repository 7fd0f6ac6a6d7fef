/** The conditions on what a client has proven: its login, a window, TLS and its certificate. */

import type { Facts, WindowFact } from './facts.js';
import type { LoginSet } from './login-set.js';
import type { Condition, Truth } from './match.js';

const truth = (value: boolean): Truth => (value ? 'yes' : 'no');

export const loginCondition = (text: string, logins: LoginSet): Condition => ({
  key: 'login',
  text,
  holds: ({ login }) => truth(login !== undefined && logins.has(login)),
  why: ({ login }) => {
    if (login === undefined) return `nobody logged in, ${text} is asked for`;
    return `login ${login} ${logins.has(login) ? 'is in' : 'is not in'} ${text}`;
  },
});

/** Sources of windows; undefined: any. */
export type Sources = ReadonlySet<string> | undefined;

/** The window that lets a recipient pass: the first of a fitting source with something left to spend. */
export const fittingWindow = (windows: readonly WindowFact[], sources: Sources): WindowFact | undefined =>
  windows.find(
    ({ source, used, budget }) => (sources?.has(source) ?? true) && (budget === 0 || used < budget),
  );

const moment = (until: number): string =>
  Number.isFinite(until) ? `until ${new Date(until).toISOString()}` : 'without an end';

export const windowCondition = (text: string, sources: Sources): Condition => ({
  key: 'window',
  text,
  holds: ({ windows }) => {
    if (windows?.known !== true) return 'unknown';
    return truth(fittingWindow(windows.value, sources) !== undefined);
  },
  why: ({ windows }) => {
    if (windows === undefined) return 'window is not known: nobody looked it up';
    if (!windows.known) return `window is not known: ${windows.why}`;
    const window = fittingWindow(windows.value, sources);
    if (window !== undefined)
      return `the window of ${window.login} by ${window.source} holds ${moment(window.until)}`;
    return windows.value.length === 0
      ? `the client has no open window, ${text} is asked for`
      : `none of the client's windows fits ${text} and has recipients left`;
  },
});

/** What a `tls` condition asks for. Without `least`, any version; sets that are absent ask for no certificate. */
export interface TlsWanted {
  readonly secure: boolean;
  readonly least: number;
  /** Lower-case hex without colons. */
  readonly fingerprints?: ReadonlySet<string>;
  readonly subjects?: ReadonlySet<string>;
}

const version = (tls: string | undefined): number => (tls === undefined ? 0 : Number(tls.slice(4) || '1.0'));

const tlsHolds = ({ secure, least, fingerprints, subjects }: TlsWanted, facts: Facts): boolean => {
  const { tls, certificate } = facts;
  if (!secure) return tls === undefined;
  if (tls === undefined || version(tls) < least) return false;
  if (fingerprints !== undefined && !(certificate !== undefined && fingerprints.has(certificate.fingerprint)))
    return false;
  return subjects === undefined || (certificate?.subject !== undefined && subjects.has(certificate.subject));
};

const certificateText = ({ certificate }: Facts): string => {
  if (certificate === undefined) return 'no client certificate';
  return `certificate sha256:${certificate.fingerprint} (${certificate.subject ?? 'not verified'})`;
};

export const tlsCondition = (text: string, wanted: TlsWanted): Condition => ({
  key: 'tls',
  text,
  holds: (facts) => truth(tlsHolds(wanted, facts)),
  why: (facts) => {
    const state = facts.tls === undefined ? 'in clear text' : `under ${facts.tls}`;
    const proven = wanted.fingerprints ?? wanted.subjects;
    const with_ = proven === undefined ? '' : ` with ${certificateText(facts)}`;
    return `the connection is ${state}${with_}, ${text} is asked for`;
  },
});

/** True if whatever fulfils `later` fulfils `earlier`. */
export const tlsCovers = (earlier: TlsWanted, later: TlsWanted): boolean => {
  if (earlier.secure !== later.secure) return false;
  const within = (wide: ReadonlySet<string> | undefined, narrow: ReadonlySet<string> | undefined): boolean =>
    wide === undefined || (narrow !== undefined && [...narrow].every((one) => wide.has(one)));
  return (
    earlier.least <= later.least &&
    within(earlier.fingerprints, later.fingerprints) &&
    within(earlier.subjects, later.subjects)
  );
};
