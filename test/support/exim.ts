/**
 * A real Exim that takes logins by AUTH PLAIN and LOGIN, with STARTTLS: a mail server of another make than the rest.
 * It is unpacked and runs in a mount namespace, for it insists on a user of its own in /etc/passwd.
 */
import { type ChildProcess, spawn } from 'node:child_process';
import { createHash } from 'node:crypto';
import { chmodSync, mkdirSync, mkdtempSync, readFileSync, renameSync, writeFileSync } from 'node:fs';
import os from 'node:os';
import path from 'node:path';
import { type Certified, certify } from './certificate.js';
import { Daemon } from './daemon.js';
import { freePort, install, libraryPath, unpack } from './packages.js';
import { SmtpClient } from './smtp-client.js';

export interface EximSetting {
  readonly users: readonly { readonly user: string; readonly password: string }[];
  /** Default: both. */
  readonly mechanisms?: readonly ('PLAIN' | 'LOGIN')[];
}

const USER = 'Debian-exim';

const hash = (text: string): string => createHash('sha256').update(text).digest('hex').toUpperCase();

/** The password file is looked up when a client logs in: without it, Exim says 435. */
const judged = (dir: string, user: string, password: string): string =>
  `\${if eq{\${lookup{\${sha256:${user}}}lsearch{${dir}/users}{$value}{none}}}{\${sha256:${password}}}}`;

const authenticators = (dir: string): Readonly<Record<'PLAIN' | 'LOGIN', string>> => ({
  PLAIN: `plain:
  driver = plaintext
  public_name = PLAIN
  server_prompts = :
  server_condition = ${judged(dir, '$auth2', '$auth3')}
  server_set_id = $auth2
`,
  LOGIN: `login:
  driver = plaintext
  public_name = LOGIN
  server_prompts = <| Username: | Password:
  server_condition = ${judged(dir, '$auth1', '$auth2')}
  server_set_id = $auth1
`,
});

const configuration = (
  dir: string,
  port: number,
  { mechanisms = ['PLAIN', 'LOGIN'] }: EximSetting,
): string => `
primary_hostname = exim.legacy.test
daemon_smtp_ports = ${port}
local_interfaces = 127.0.0.1
spool_directory = ${dir}/spool
log_file_path = ${dir}/log/%slog
pid_file_path = ${dir}/spool/pid
exim_user = ${USER}
exim_group = ${USER}
tls_advertise_hosts = *
tls_certificate = ${dir}/cert.pem
tls_privatekey = ${dir}/key.pem
auth_advertise_hosts = *
host_lookup =
helo_lookup_domains =
rfc1413_query_timeout = 0s
smtp_accept_max = 0
smtp_accept_queue_per_connection = 0
smtp_max_synprot_errors = 0
begin authenticators
${mechanisms.map((name) => authenticators(dir)[name]).join('')}`;

const START = `
for each in passwd group; do mount --bind "$0/$each" /etc/$each; done
LD_LIBRARY_PATH="$1" exec "$2" -C "$0/exim.conf" -bdf
`;

export class Exim extends Daemon {
  private constructor(
    readonly port: number,
    readonly certified: Certified,
    dir: string,
    root: string,
  ) {
    super('exim', dir, () => launch(dir, root));
  }

  static async start(setting: EximSetting): Promise<Exim> {
    await install(['unshare=util-linux']);
    const root = await unpack('exim4-daemon-light', ['exim4-base']);
    const dir = mkdtempSync(path.join(os.tmpdir(), 'sekisho-exim-'));
    chmodSync(dir, 0o755);
    for (const each of ['spool', 'log']) {
      mkdirSync(path.join(dir, each));
      chmodSync(path.join(dir, each), 0o777);
    }
    const certified = certify(['exim.legacy.test', 'localhost'], ['127.0.0.1']);
    const port = await freePort();
    const files: Readonly<Record<string, string>> = {
      passwd: `${readFileSync('/etc/passwd', 'utf8')}${USER}:x:8:8::/:/bin/false\n`,
      group: `${readFileSync('/etc/group', 'utf8')}${USER}:x:8:\n`,
      users: setting.users.map(({ user, password }) => `${hash(user)}: ${hash(password)}\n`).join(''),
      'cert.pem': certified.cert,
      'key.pem': certified.key,
      'exim.conf': configuration(dir, port, setting),
    };
    for (const [name, text] of Object.entries(files)) writeFileSync(path.join(dir, name), text);
    return new Exim(port, certified, dir, root).begun();
  }

  /** Takes the password file away, or puts it back: without it Exim cannot judge. */
  losePasswords(lose: boolean): void {
    const [here, away] = [path.join(this.dir, 'users'), path.join(this.dir, 'users.away')];
    renameSync(lose ? here : away, lose ? away : here);
  }

  protected async there(): Promise<boolean> {
    try {
      const client = await SmtpClient.connect(this.port);
      const banner = await client.reply();
      client.destroy();
      return /Exim/.test(banner);
    } catch {
      return false;
    }
  }
}

const launch = (dir: string, root: string): ChildProcess =>
  spawn(
    'unshare',
    ['--mount', 'sh', '-c', START, dir, libraryPath(root), path.join(root, 'usr/sbin/exim4')],
    { stdio: 'ignore' },
  );
