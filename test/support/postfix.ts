/**
 * A real Postfix with three ports: one that takes XCLIENT from this host, one that wants a PROXY header, one that knows of
 * neither. It is unpacked and runs in a mount namespace, for it insists on a user and a group of its own.
 */
import { type ChildProcess, spawn } from 'node:child_process';
import {
  chmodSync,
  chownSync,
  existsSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  writeFileSync,
} from 'node:fs';
import os from 'node:os';
import path from 'node:path';
import { certify } from './certificate.js';
import { freePort, install, libraryPath, unpack } from './packages.js';
import { SmtpClient } from './smtp-client.js';

const UID = 970;
const GID = 970;
const DROP = 971;

/** Mail for local.example, and relaying for 127.0.0.1 alone. */
export const mainCf = (root: string, dir: string): string => `
compatibility_level = 3.6
queue_directory = ${dir}/queue
data_directory = ${dir}/data
command_directory = ${root}/usr/sbin
daemon_directory = ${root}/usr/lib/postfix/sbin
mail_owner = postfix
setgid_group = postdrop
import_environment = MAIL_CONFIG MAIL_LOGTAG TZ LANG=C LD_LIBRARY_PATH
maillog_file = ${dir}/maillog
maillog_file_prefixes = ${dir}
myhostname = postfix.legacy.test
mydestination = local.example
mynetworks = 127.0.0.1/32
local_recipient_maps =
alias_maps =
alias_database =
default_database_type = inline
smtputf8_enable = no
inet_interfaces = 127.0.0.1
smtpd_peername_lookup = no
smtpd_relay_restrictions = permit_mynetworks, reject_unauth_destination
smtpd_tls_cert_file = ${dir}/cert.pem
smtpd_tls_key_file = ${dir}/key.pem
smtpd_tls_security_level = may
defer_transports = smtp, local
`;

const masterCf = ({ plain, xclient, proxy }: PostfixPorts): string => `
127.0.0.1:${plain} inet n - n - - smtpd
127.0.0.1:${xclient} inet n - n - - smtpd
  -o smtpd_authorized_xclient_hosts=127.0.0.1
127.0.0.1:${proxy} inet n - n - - smtpd
  -o smtpd_upstream_proxy_protocol=haproxy
  -o smtpd_upstream_proxy_timeout=5s
${SERVICES}`;

/** What smtpd needs beside it. */
export const SERVICES = `cleanup unix n - n - 0 cleanup
qmgr unix n - n 300 1 qmgr
rewrite unix - - n - - trivial-rewrite
tlsmgr unix - - n 1000? 1 tlsmgr
anvil unix - - n - 1 anvil
proxymap unix - - n - - proxymap
defer unix - - n - 0 bounce
bounce unix - - n - 0 bounce
trace unix - - n - 0 bounce
error unix - - n - - error
retry unix - - n - - error
postlog unix-dgram n - n - 1 postlogd
`;

const START = `
for each in passwd group; do mount --bind "$0/$each" /etc/$each; done
LD_LIBRARY_PATH="$1" exec "$2" -c "$0/config" -d
`;

export interface PostfixPorts {
  readonly plain: number;
  readonly xclient: number;
  readonly proxy: number;
}

const QUEUES = [
  'incoming',
  'active',
  'deferred',
  'defer',
  'bounce',
  'corrupt',
  'hold',
  'flush',
  'saved',
  'trace',
];

/** Everything that it needs, in a folder of its own. */
export const preparePostfix = (dir: string, main: string, master: string): void => {
  chmodSync(dir, 0o755);
  for (const each of ['config', 'queue', 'queue/pid']) mkdirSync(path.join(dir, each));
  for (const each of [
    'data',
    'queue/private',
    'queue/public',
    'queue/maildrop',
    ...QUEUES.map((q) => `queue/${q}`),
  ]) {
    mkdirSync(path.join(dir, each), { mode: 0o700 });
    chownSync(path.join(dir, each), UID, each.endsWith('public') || each.endsWith('maildrop') ? DROP : GID);
  }
  const { cert, key } = certify(['postfix.legacy.test'], ['127.0.0.1']);
  const files: Readonly<Record<string, string>> = {
    passwd: `${readFileSync('/etc/passwd', 'utf8')}postfix:x:${UID}:${GID}::/:/bin/false\n`,
    group: `${readFileSync('/etc/group', 'utf8')}postfix:x:${GID}:\npostdrop:x:${DROP}:\n`,
    'cert.pem': cert,
    'key.pem': key,
    'config/main.cf': main,
    'config/master.cf': master,
  };
  for (const [name, text] of Object.entries(files)) writeFileSync(path.join(dir, name), text);
};

/** Starts what was prepared in a mount namespace, in the foreground; its process becomes Postfix's master. */
export const postfixCommand = (root: string, dir: string): readonly [string, ...string[]] => [
  'unshare',
  ...['--mount', 'sh', '-c', START, dir, libraryPath(root), path.join(root, 'usr/lib/postfix/sbin/master')],
];

export class Postfix {
  private constructor(
    readonly ports: PostfixPorts,
    private readonly dir: string,
    private readonly child: ChildProcess,
  ) {}

  static async start(): Promise<Postfix> {
    await install(['unshare=util-linux']);
    const root = await unpack('postfix');
    const dir = mkdtempSync(path.join(os.tmpdir(), 'sekisho-postfix-'));
    const ports = { plain: await freePort(), xclient: await freePort(), proxy: await freePort() };
    preparePostfix(dir, mainCf(root, dir), masterCf(ports));
    const [program, ...args] = postfixCommand(root, dir);
    const postfix = new Postfix(ports, dir, spawn(program, args, { stdio: 'ignore' }));
    try {
      await postfix.#ready();
    } catch (error) {
      await postfix.stop();
      throw error;
    }
    return postfix;
  }

  get log(): string {
    const file = path.join(this.dir, 'maillog');
    return existsSync(file) ? readFileSync(file, 'latin1') : '';
  }

  /**
   * The messages that it has taken, as they lie in its queue: lines and other records, Latin-1. One that is on its way
   * from queue to queue may be missing, or be there twice.
   */
  queue(): string[] {
    return ['incoming', 'active', 'deferred'].flatMap((name) => {
      const folder = path.join(this.dir, 'queue', name);
      return readdirSync(folder, { recursive: true, withFileTypes: true })
        .filter((each) => each.isFile())
        .flatMap((each) => {
          try {
            return [readFileSync(path.join(each.parentPath ?? each.path, each.name), 'latin1')];
          } catch {
            // It went on into another queue meanwhile.
            return [];
          }
        });
    });
  }

  async stop(): Promise<void> {
    if (this.child.exitCode === null && this.child.signalCode === null) {
      const ended = new Promise((resolve) => this.child.once('close', resolve));
      this.child.kill('SIGTERM');
      await ended;
    }
    rmSync(this.dir, { recursive: true, force: true });
  }

  async #ready(): Promise<void> {
    const end = Date.now() + 60_000;
    while (Date.now() < end && this.child.exitCode === null) {
      try {
        const client = await SmtpClient.connect(this.ports.plain);
        const banner = await client.reply();
        client.destroy();
        if (/Postfix/.test(banner)) return;
      } catch {
        await new Promise((resolve) => setTimeout(resolve, 200));
      }
    }
    throw new Error(`postfix did not start: ${this.log}`);
  }
}
