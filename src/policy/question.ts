/** "Would this be let through?", asked by a person or a program, to the facts that a verdict depends on. */
import { parseIp } from '../base/ip.js';
import { err, ok, type Result } from '../base/result.js';
import { TLS_VERSIONS } from '../base/tls-versions.js';
import { describeAddress } from '../smtp/describe-address.js';
import type { Path } from '../smtp/path.js';
import { WINDOW_SOURCES } from '../windows/window.js';
import { fingerprintHex } from './conditions.js';
import { envelopeFacts } from './envelope.js';
import type { Facts, Known, WindowFact } from './facts.js';
import { FINGERPRINT } from './schema.js';

export interface Question {
  readonly client: string;
  /** `''` or `<>` for the null sender. */
  readonly from: string;
  readonly to: string;
  /** Forward-confirmed; absent: not known. */
  readonly clientName?: string | undefined;
  readonly listener?: string | undefined;
  readonly helo?: string | undefined;
  /** Version in force, such as `1.3`; absent: clear text. */
  readonly tls?: string | undefined;
  readonly login?: string | undefined;
  /** `SOURCE`, `SOURCE:LOGIN`, `none` or `unknown`; absent: whatever is open. */
  readonly window?: string | undefined;
  /** Fingerprint, `sha256:…`. */
  readonly certificate?: string | undefined;
  /** The certificate's subject, verified. */
  readonly subject?: string | undefined;
  /** The DNS lists that list the client; absent: none does. */
  readonly listed?: readonly string[] | undefined;
}

export interface QuestionFault {
  readonly field: keyof Question;
  readonly message: string;
}

/** What is asked about, or why mail with such an envelope is refused before any rule is looked at. */
export type Posed = { readonly facts: Facts } | { readonly refused: readonly string[] };

const windowsOf = (window: string, login = 'somebody'): Known<readonly WindowFact[]> | undefined => {
  if (window === 'none') return { known: true, value: [] };
  if (window === 'unknown') return { known: false, why: 'the question says so' };
  const colon = window.indexOf(':');
  const source = colon < 0 ? window : window.slice(0, colon);
  if (!WINDOW_SOURCES.some((one) => one === source)) return undefined;
  const owner = colon < 0 ? login : window.slice(colon + 1);
  const open = { login: owner, source, until: Number.POSITIVE_INFINITY, used: 0, budget: 0 };
  return { known: true, value: [open] };
};

const pathOf = (
  field: 'from' | 'to',
  text: string,
): { readonly path: Path } | { readonly refused: string } => {
  const found = describeAddress(text === '' && field === 'from' ? '<>' : text);
  if (found.outcome === 'fault') return { refused: `${field} ${text}: not an address (${found.fault})` };
  if (found.path.kind === 'null' && field === 'to') return { refused: 'to: a recipient cannot be empty' };
  if (found.outcome === 'hazard') return { refused: `${field} ${text}: never passed on (${found.hazard})` };
  if (field === 'from' && found.routedSender)
    return { refused: `from ${text}: a sender with a route is never passed on` };
  return { path: found.path };
};

const faultsOf = ({ client, tls, window, login, certificate, subject }: Question): QuestionFault[] => {
  const faults: QuestionFault[] = [];
  const fault = (field: keyof Question, message: string): void => void faults.push({ field, message });
  if (parseIp(client) === undefined) fault('client', 'not an IP address');
  if (tls !== undefined && !TLS_VERSIONS.some((version) => version === tls))
    fault('tls', `must be one of ${TLS_VERSIONS.join(', ')}`);
  if (window !== undefined && windowsOf(window, login) === undefined)
    fault(
      'window',
      `must be one of ${WINDOW_SOURCES.join(', ')}, with :LOGIN behind it if you like, none or unknown`,
    );
  if (certificate !== undefined && !FINGERPRINT.test(certificate))
    fault('certificate', 'must be "sha256:" and 64 hex digits');
  if (tls === undefined && certificate !== undefined) fault('certificate', 'goes only with tls');
  if (tls === undefined && subject !== undefined) fault('subject', 'goes only with tls');
  return faults;
};

/** The facts of a question; `windows` is absent among them where the question says nothing of them. */
export const pose = (question: Question): Result<Posed, readonly QuestionFault[]> => {
  const faults = faultsOf(question);
  const client = parseIp(question.client);
  if (faults.length > 0 || client === undefined) return err(faults);
  const from = pathOf('from', question.from);
  const to = pathOf('to', question.to);
  if (!('path' in from) || !('path' in to))
    return ok({ refused: [from, to].flatMap((each) => ('refused' in each ? [each.refused] : [])) });
  const { clientName, listener = 'mx', helo = '', tls, login, window, certificate, subject } = question;
  const lists = question.listed ?? [];
  const windows = window === undefined ? undefined : windowsOf(window, login);
  const fingerprint = certificate === undefined ? '' : fingerprintHex(certificate);
  return ok({
    facts: {
      client,
      clientName:
        clientName === undefined
          ? { known: false, why: 'the name of the client was not given' }
          : { known: true, value: clientName === '' ? undefined : clientName.toLowerCase() },
      listener,
      ...(tls === undefined ? {} : { tls: `TLSv${tls}` }),
      ...(login === undefined ? {} : { login }),
      ...(windows === undefined ? {} : { windows }),
      listed: { known: true, value: { lists, blocked: lists.length > 0 } },
      ...(certificate === undefined && subject === undefined
        ? {}
        : { certificate: { fingerprint, subject } }),
      helo: helo.toLowerCase(),
      ...envelopeFacts(from.path, to.path),
    },
  });
};
