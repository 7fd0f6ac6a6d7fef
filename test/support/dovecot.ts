/**
 * A real Dovecot of the test's own: POP3, IMAP, their TLS ports and auth sockets on free loopback ports, users of a
 * passwd-file, everything else in one temporary folder. Needs root, as Dovecot's master process does.
 */
import { type ChildProcess, execFileSync, spawn } from 'node:child_process';
import { chmodSync, existsSync, mkdirSync, mkdtempSync, readFileSync, writeFileSync } from 'node:fs';
import net from 'node:net';
import os from 'node:os';
import path from 'node:path';
import { type Certified, certify } from './certificate.js';
import { Daemon } from './daemon.js';
import { freePort, install } from './packages.js';

export interface DovecotUser {
  /** Lower case (Dovecot folds what clients say), without colons. */
  readonly user: string;
  readonly password: string;
  /** Of the password file, such as `SHA512-CRYPT`; PLAIN (the default) serves every mechanism. */
  readonly scheme?: string;
  /** Further fields of the password file, such as `nologin` or `user=other`. */
  readonly extra?: string;
}

export interface DovecotSetting {
  readonly users: readonly DovecotUser[];
  /** Default: `plain login cram-md5 scram-sha-256`. */
  readonly mechanisms?: string;
  /** Passwords in clear text over POP3 and IMAP without TLS; default true. */
  readonly cleartext?: boolean;
  /** Ports to be used again, for one that is started anew. */
  readonly ports?: DovecotPorts;
  /** Further lines of dovecot.conf. */
  readonly lines?: string;
}

export interface DovecotPorts {
  readonly pop3: number;
  readonly pop3s: number;
  readonly imap: number;
  readonly imaps: number;
  readonly auth: number;
}

const PORTS = ['pop3', 'pop3s', 'imap', 'imaps', 'auth'] as const;

const configuration = (dir: string, setting: DovecotSetting, ports: DovecotPorts): string => `
base_dir = ${dir}/run
state_dir = ${dir}/run
log_path = ${dir}/log
instance_name = ${path.basename(dir)}
protocols = imap pop3
listen = 127.0.0.1
ssl = yes
ssl_cert = <${dir}/cert.pem
ssl_key = <${dir}/key.pem
disable_plaintext_auth = ${setting.cleartext === false ? 'yes' : 'no'}
login_trusted_networks =
auth_mechanisms = ${setting.mechanisms ?? 'plain login cram-md5 scram-sha-256'}
auth_username_chars =
auth_username_format = %Lu
auth_failure_delay = 0
auth_verbose = yes
mail_location = maildir:${dir}/mail
mail_max_userip_connections = 0
mail_debug = no
first_valid_uid = 1
default_client_limit = 2000
passdb {
  driver = passwd-file
  args = scheme=PLAIN username_format=%u ${dir}/users
}
userdb {
  driver = static
  args = uid=mail gid=mail home=${dir}/mail allow_all_users=yes
}
service anvil {
  unix_listener anvil-auth-penalty {
    mode = 0
  }
}
service auth {
  unix_listener auth-client {
    mode = 0666
  }
  inet_listener {
    address = 127.0.0.1
    port = ${ports.auth}
  }
}
service imap-login {
  chroot =
  inet_listener imap {
    port = ${ports.imap}
  }
  inet_listener imaps {
    port = ${ports.imaps}
  }
}
service pop3-login {
  chroot =
  inet_listener pop3 {
    port = ${ports.pop3}
  }
  inet_listener pop3s {
    port = ${ports.pop3s}
  }
}
${setting.lines ?? ''}
`;

const passwordLine = ({ user, password, scheme = 'PLAIN', extra = '' }: DovecotUser): string => {
  const hashed =
    scheme === 'PLAIN'
      ? `{PLAIN.b64}${Buffer.from(password).toString('base64')}`
      : execFileSync('doveadm', ['pw', '-s', scheme, '-p', password], { encoding: 'utf8' }).trim();
  return `${user}:${hashed}::::::${extra}\n`;
};

const answers = (port: number): Promise<boolean> =>
  new Promise((resolve) => {
    const socket = net.connect({ host: '127.0.0.1', port });
    const end = (good: boolean): void => {
      socket.destroy();
      resolve(good);
    };
    socket.setTimeout(20_000, () => end(false));
    socket.once('data', () => end(true));
    socket.once('error', () => end(false));
    socket.once('end', () => end(false));
  });

export class Dovecot extends Daemon {
  /** For `dovecot:` stores: the auth protocol over a UNIX socket. */
  readonly socket: string;
  /** The log file. */
  readonly log: string;

  private constructor(
    dir: string,
    readonly ports: DovecotPorts,
    readonly certified: Certified,
  ) {
    super('dovecot', dir, () => launch(dir));
    this.socket = path.join(dir, 'run', 'auth-client');
    this.log = path.join(dir, 'log');
  }

  static async start(setting: DovecotSetting): Promise<Dovecot> {
    await install([
      'dovecot=dovecot-core',
      '/usr/lib/dovecot/imap=dovecot-imapd',
      '/usr/lib/dovecot/pop3=dovecot-pop3d',
    ]);
    const dir = mkdtempSync(path.join(os.tmpdir(), 'sekisho-dovecot-'));
    // Dovecot's processes run as other users and have to get through.
    chmodSync(dir, 0o755);
    mkdirSync(path.join(dir, 'run'));
    mkdirSync(path.join(dir, 'mail'), { mode: 0o777 });
    chmodSync(path.join(dir, 'mail'), 0o777);
    const certified = certify(['dovecot.test', 'localhost'], ['127.0.0.1']);
    writeFileSync(path.join(dir, 'cert.pem'), certified.cert);
    writeFileSync(path.join(dir, 'key.pem'), certified.key);
    const ports = setting.ports ?? (await freePorts());
    writeFileSync(path.join(dir, 'dovecot.conf'), configuration(dir, setting, ports));
    const dovecot = new Dovecot(dir, ports, certified);
    dovecot.setUsers(setting.users);
    return dovecot.begun();
  }

  /** Replaces the password file; Dovecot sees it at the next login. */
  setUsers(users: readonly DovecotUser[]): void {
    writeFileSync(path.join(this.dir, 'users'), users.map(passwordLine).join(''));
  }

  /** The log so far. */
  logged(): string {
    return existsSync(this.log) ? readFileSync(this.log, 'utf8') : '';
  }

  /** All its processes. */
  override signal(signal: 'SIGSTOP' | 'SIGCONT'): void {
    for (const pid of this.#processes()) send(pid, signal);
  }

  override async halt(): Promise<void> {
    const processes = this.running ? this.#processes() : [];
    await super.halt();
    // The auth process goes on serving whoever is connected, even without its master.
    for (const pid of processes) send(pid, 'SIGKILL');
  }

  /** The master and all below it. */
  #processes(): number[] {
    const master = this.child.pid;
    if (master === undefined) return [];
    const listed = execFileSync('ps', ['-eo', 'pid=,ppid='], { encoding: 'utf8' });
    const pairs = listed
      .trim()
      .split('\n')
      .map((line) => line.trim().split(/\s+/).map(Number));
    return [master, ...pairs.filter(([, parent]) => parent === master).map(([pid = 0]) => pid)];
  }

  /** An answer of each: only then have the login processes found the auth process. */
  protected async there(): Promise<boolean> {
    const { pop3, imap, auth } = this.ports;
    const ready = await Promise.all([pop3, imap, auth].map(answers));
    return ready.every((each) => each);
  }

  protected override said(): string {
    return this.logged();
  }
}

const send = (pid: number, signal: NodeJS.Signals): void => {
  try {
    process.kill(pid, signal);
  } catch {
    // It has ended meanwhile.
  }
};

const launch = (dir: string): ChildProcess =>
  spawn('dovecot', ['-F', '-c', path.join(dir, 'dovecot.conf')], { stdio: 'ignore' });

const freePorts = async (): Promise<DovecotPorts> => {
  const ports = new Set<number>();
  while (ports.size < PORTS.length) ports.add(await freePort());
  const [pop3 = 0, pop3s = 0, imap = 0, imaps = 0, auth = 0] = ports;
  return { pop3, pop3s, imap, imaps, auth };
};
