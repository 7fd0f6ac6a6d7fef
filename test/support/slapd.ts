/**
 * A real OpenLDAP server of the test's own: its directory, configuration and certificates in one temporary folder, on
 * free loopback ports. `people` are entries `cn=p<n>,ou=people,dc=example,dc=org`.
 */
import { type ChildProcess, execFileSync, spawn } from 'node:child_process';
import { createHash, randomBytes } from 'node:crypto';
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import net from 'node:net';
import os from 'node:os';
import path from 'node:path';
import { freePort, install } from './packages.js';

export const BASE = 'dc=example,dc=org';
export const PEOPLE = `ou=people,${BASE}`;
export const READER = { dn: `cn=reader,${BASE}`, password: 'Reader-Secret-1' };

export interface Person {
  readonly uid: string | readonly string[];
  /** In clear; absent: no password in the entry. */
  readonly password?: string;
  /** As stored, such as `{ARGON2}…`, instead of `password`. */
  readonly stored?: string;
  readonly mail?: readonly string[];
  readonly disabled?: boolean;
  /** The whole DN; default: `cn=p<n>` below PEOPLE. */
  readonly dn?: string;
}

export interface SlapdSetting {
  readonly people: readonly Person[];
  /** PEM files; with them there is StartTLS and an ldaps port. */
  readonly tls?: { readonly cert: string; readonly key: string; readonly ca: string };
  /** Further lines of the database's configuration. */
  readonly lines?: string;
}

const hashed = (password: string): string => {
  const salt = randomBytes(8);
  const digest = createHash('sha1').update(password).update(salt).digest();
  return `{SSHA}${Buffer.concat([digest, salt]).toString('base64')}`;
};

const line = (attribute: string, value: string): string =>
  `${attribute}:: ${Buffer.from(value).toString('base64')}\n`;

const entryOf = (person: Person, index: number): string => {
  const stored = person.stored ?? (person.password === undefined ? undefined : hashed(person.password));
  return [
    line('dn', person.dn ?? `cn=p${index},${PEOPLE}`),
    'objectClass: inetOrgPerson\n',
    `cn: p${index}\nsn: Person\n`,
    ...[person.uid].flat().map((uid) => line('uid', uid)),
    ...(person.mail ?? []).map((mail) => line('mail', mail)),
    ...(stored === undefined ? [] : [line('userPassword', stored)]),
    person.disabled === true ? 'pwdAccountLockedTime: 000001010000Z\n' : '',
    '\n',
  ].join('');
};

const ldifOf = (people: readonly Person[]): string => `dn: ${BASE}
objectClass: dcObject
objectClass: organization
dc: example
o: example

dn: ${PEOPLE}
objectClass: organizationalUnit
ou: people

dn: ${READER.dn}
objectClass: organizationalRole
objectClass: simpleSecurityObject
cn: reader
userPassword: ${hashed(READER.password)}

dn: cn=policy,${BASE}
objectClass: organizationalRole
objectClass: pwdPolicy
cn: policy
pwdAttribute: userPassword
pwdLockout: TRUE

${people.map(entryOf).join('')}`;

const configurationOf = (dir: string, { tls, lines = '' }: SlapdSetting): string => `
include /etc/ldap/schema/core.schema
include /etc/ldap/schema/cosine.schema
include /etc/ldap/schema/inetorgperson.schema
modulepath /usr/lib/ldap
moduleload back_mdb
moduleload ppolicy
moduleload argon2
pidfile ${dir}/pid
idletimeout 0
${tls === undefined ? '' : `TLSCertificateFile ${tls.cert}\nTLSCertificateKeyFile ${tls.key}\nTLSCACertificateFile ${tls.ca}`}
database mdb
suffix "${BASE}"
directory ${dir}/db
maxsize 33554432
dbnosync
index objectClass,uid eq
overlay ppolicy
ppolicy_default "cn=policy,${BASE}"
access to attrs=userPassword by anonymous auth by * none
access to dn.subtree="${PEOPLE}" by dn.exact="${READER.dn}" read by self read by anonymous auth by * none
access to * by dn.exact="${READER.dn}" read by * auth
${lines}
`;

const answers = (port: number): Promise<boolean> =>
  new Promise((resolve) => {
    const socket = net.connect({ host: '127.0.0.1', port });
    const end = (good: boolean) => (): void => {
      socket.destroy();
      resolve(good);
    };
    socket.once('connect', end(true));
    socket.once('error', end(false));
  });

export class Slapd {
  #child: ChildProcess | undefined;
  #output = '';

  private constructor(
    readonly dir: string,
    readonly port: number,
    readonly securePort: number,
    readonly url: string,
    private readonly secure: boolean,
  ) {}

  static async start(setting: SlapdSetting): Promise<Slapd> {
    await install(['/usr/sbin/slapd=slapd']);
    const dir = mkdtempSync(path.join(os.tmpdir(), 'sekisho-slapd-'));
    mkdirSync(path.join(dir, 'db'));
    const [port, securePort] = [await freePort(), await freePort()];
    writeFileSync(path.join(dir, 'slapd.conf'), configurationOf(dir, setting));
    writeFileSync(path.join(dir, 'people.ldif'), ldifOf(setting.people));
    // -s: values with spaces at their ends and locked accounts are no business of the schema check's.
    execFileSync('/usr/sbin/slapadd', ['-q', '-s', '-f', `${dir}/slapd.conf`, '-l', `${dir}/people.ldif`], {
      stdio: ['ignore', 'pipe', 'pipe'],
    });
    const slapd = new Slapd(dir, port, securePort, `ldap://127.0.0.1:${port}`, setting.tls !== undefined);
    await slapd.resume();
    return slapd;
  }

  /** Starts it, again on the same ports. */
  async resume(): Promise<void> {
    const urls = `${this.url}/${this.secure ? ` ldaps://127.0.0.1:${this.securePort}/` : ''}`;
    const child = spawn('/usr/sbin/slapd', ['-f', `${this.dir}/slapd.conf`, '-h', urls, '-d', '0'], {
      stdio: ['ignore', 'ignore', 'pipe'],
    });
    child.stderr.on('data', (chunk) => {
      this.#output += String(chunk);
    });
    this.#child = child;
    const end = Date.now() + 60_000;
    while (!(await answers(this.port))) {
      if (child.exitCode !== null || Date.now() > end)
        throw new Error(`slapd did not start: ${this.#output}`);
      await new Promise((resolve) => setTimeout(resolve, 20));
    }
  }

  signal(signal: NodeJS.Signals): void {
    this.#child?.kill(signal);
  }

  /** Ends the process; its directory stays. */
  async stop(): Promise<void> {
    const child = this.#child;
    this.#child = undefined;
    if (child === undefined || child.exitCode !== null || child.signalCode !== null) return;
    const ended = new Promise((resolve) => child.once('exit', resolve));
    child.kill('SIGCONT');
    child.kill('SIGKILL');
    await ended;
  }

  async end(): Promise<void> {
    await this.stop();
    rmSync(this.dir, { recursive: true, force: true });
  }
}
