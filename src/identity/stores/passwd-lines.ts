/**
 * The lines of a file of users, each `name:password` and perhaps more: Dovecot's passwd-file and Apache's htpasswd. Pure;
 * faults name the line and never quote it. Several lines of one name are one user with several secrets.
 */
import { type Cidr, IpSet, parseCidr } from '../../base/ip.js';
import { err, ok, type Result } from '../../base/result.js';
import { userFault } from '../proof-fault.js';
import { prepare } from '../sasl/saslprep.js';
import { parseSecret, type Secret } from './password-schemes.js';

/** Octets. 100,000 users with two lines each are about 30 MB. */
export const MAX_FILE = 64 * 1_024 * 1_024;
/** Characters. */
const MAX_LINE = 16_384;

export interface UserSecret extends Secret {
  /** The password field as it stands in the line. */
  readonly field: string;
  /** From 1. */
  readonly line: number;
}

/** What the extra fields of a line say. */
interface Extras {
  readonly barred: string | undefined;
  readonly senders: readonly string[] | undefined;
  readonly networks: IpSet | undefined;
  readonly rename: string | undefined;
}

export interface UserRecord {
  /** The one spelling of the name. */
  readonly name: string;
  readonly secrets: readonly UserSecret[];
  /** Why he may not log in, whatever he proves. */
  readonly barred: string | undefined;
  readonly senders: readonly string[] | undefined;
  /** Each has to have the client's address. */
  readonly networks: readonly IpSet[];
}

export interface LineFault {
  readonly line: number;
  readonly message: string;
}

export interface UserFile {
  /** By `keyOf` of the name. */
  readonly users: ReadonlyMap<string, UserRecord>;
  /** The file is broken. */
  readonly faults: readonly LineFault[];
  /** Lines that are of no use to Sekisho, or of doubtful use. */
  readonly warnings: readonly LineFault[];
}

/**
 * The one spelling of a login's name: the domain in lower case and, where there is none, the one of the option; the
 * local part as it is. Other than ASCII is prepared (RFC 4013), as it is in what a client sends.
 */
export const canonicalUser = (typed: string, domain: string | undefined): string => {
  const user = /^[ -~]*$/.test(typed) ? typed : (prepare(typed, 'query') ?? typed);
  const at = user.lastIndexOf('@');
  if (at < 0) return domain === undefined ? user : `${user}@${domain.toLowerCase()}`;
  return `${user.slice(0, at)}@${user.slice(at + 1).toLowerCase()}`;
};

/** Why this is not what may stand in `senders=`, or undefined. */
export const senderFault = (sender: string): string | undefined => {
  if (sender === '*') return undefined;
  const at = sender.lastIndexOf('@');
  const fits =
    at >= 0 &&
    /^[^@\s,:;<>()[\]\\"\u0000-\u001f\u007f]{1,253}$/.test(sender.slice(at + 1)) &&
    !/[\s,:]/.test(sender);
  return fits ? undefined : 'a sender must be a mailbox, @domain or *';
};

/** `no` after `nologin=` or `disabled=`; anything else, nothing included, is a yes. */
const isNo = (value: string): boolean => /^(?:n|no|0|false)$/i.test(value);

const networksOf = (value: string): Result<IpSet, string> => {
  const cidrs: Cidr[] = [];
  for (const text of value.split(',')) {
    // Dovecot's word for clients without an address: Sekisho's all have one.
    if (text === '' || text === 'local') continue;
    const cidr = parseCidr(text);
    if (!cidr.ok) return err(`allow_nets: ${cidr.error}`);
    cidrs.push(cidr.value);
  }
  return ok(IpSet.of(cidrs));
};

const NONE: Extras = { barred: undefined, senders: undefined, networks: undefined, rename: undefined };

/** One `key=value`. Keys that only concern Dovecot (home, proxy, userdb_…) are let be. */
const extra = (before: Extras, text: string): Result<Extras, string> => {
  const [, key = '', value = ''] = /^([^=]*)=?(.*)$/s.exec(text) ?? [];
  switch (key) {
    case 'nologin':
    case 'disabled':
    case 'fail':
      return ok(isNo(value) ? before : { ...before, barred: `${key} is set` });
    case 'nopassword':
      return err('nopassword would let anybody in: remove it');
    case 'allow_nets':
    case 'allow_real_nets': {
      const networks = networksOf(value);
      if (!networks.ok) return networks;
      if (before.networks !== undefined) return err('allow_nets and allow_real_nets are both set: keep one');
      return ok({ ...before, networks: networks.value });
    }
    case 'user':
      return ok({ ...before, rename: value });
    case 'senders': {
      const senders = value.split(',');
      const fault = senders.map(senderFault).find((each) => each !== undefined);
      return fault === undefined ? ok({ ...before, senders }) : err(`senders: ${fault}`);
    }
    default:
      return ok(before);
  }
};

const extrasOf = (text: string): Result<Extras, string> => {
  let found: Result<Extras, string> = ok(NONE);
  for (const each of text.split(/[ \t]+/)) if (found.ok && each !== '') found = extra(found.value, each);
  return found;
};

export interface Line {
  readonly user: string;
  readonly field: string;
  /** All that comes behind the password, without its colon; undefined if there is not even that. */
  readonly rest: string | undefined;
}

/** Splits a line at its colons. Undefined: a comment or an empty line. */
export const splitLine = (text: string): Line | undefined => {
  const line = text.endsWith('\r') ? text.slice(0, -1) : text;
  if (line.trim() === '' || line.startsWith('#')) return undefined;
  const [user = '', field = '', ...rest] = line.split(':');
  return { user, field, rest: rest.length > 0 ? rest.join(':') : undefined };
};

/** The extra fields: all behind the shell, colons of IPv6 addresses included. */
export const extraText = ({ rest }: Line): string => (rest ?? '').split(':').slice(5).join(':');

interface Draft {
  name: string;
  secrets: UserSecret[];
  barred: string | undefined;
  senders: string[] | undefined;
  networks: IpSet[];
}

class Reader {
  readonly users = new Map<string, Draft>();
  readonly faults: LineFault[] = [];
  readonly warnings: LineFault[] = [];

  constructor(readonly domain: string | undefined) {}

  read(text: string, number: number): void {
    const fault = (message: string): void => void this.faults.push({ line: number, message });
    if (text.length > MAX_LINE) return fault(`the line is longer than ${MAX_LINE} characters`);
    const line = splitLine(text);
    if (line === undefined) return;
    if (!text.includes(':')) return fault('there is no colon: a line is name:{SCHEME}password');
    const name = canonicalUser(line.user, this.domain);
    const bad =
      line.user !== line.user.trim()
        ? 'the user name begins or ends with a space'
        : (userFault(line.user) ?? userFault(name));
    if (bad !== undefined) return fault(bad);
    const extras = extrasOf(extraText(line));
    if (!extras.ok) return fault(extras.error);
    const secret = parseSecret(line.field);
    if (!secret.ok && !secret.error.unsupported)
      return fault(`the password of the line ${secret.error.message}`);
    const draft = this.#draft(name);
    if (!this.#add(draft, extras.value, number)) return;
    if (secret.ok) draft.secrets.push({ ...secret.value, field: line.field, line: number });
    else this.warnings.push({ line: number, message: `of no use to Sekisho: ${secret.error.message}` });
  }

  #draft(name: string): Draft {
    const known = this.users.get(name);
    if (known !== undefined) return known;
    const draft = { name, secrets: [], barred: undefined, senders: undefined, networks: [] };
    this.users.set(name, draft);
    return draft;
  }

  /** What any line says of a user holds for all of him. */
  #add(draft: Draft, { barred, senders, networks, rename }: Extras, line: number): boolean {
    draft.barred ??= barred;
    if (networks !== undefined) draft.networks.push(networks);
    if (senders !== undefined) draft.senders = [...new Set([...(draft.senders ?? []), ...senders])];
    if (rename === undefined) return true;
    const name = canonicalUser(rename, this.domain);
    if (rename.includes('%') || userFault(name) !== undefined) {
      this.faults.push({ line, message: 'user= must be a plain name: variables are not supported' });
      return false;
    }
    draft.name = name;
    return true;
  }
}

/** Never throws. `domain`: what a bare name belongs to. */
export const parseUsers = (text: string, domain?: string): UserFile => {
  const reader = new Reader(domain);
  const lines = text.replace(/^\ufeff/, '').split('\n');
  lines.forEach((line, index) => {
    reader.read(line, index + 1);
  });
  return reader;
};
