/**
 * A real courier-pop that logs by a real rsyslogd into a file. Courier conflicts with other POP3 servers and has its
 * paths built in: it is unpacked, and runs in mount and process namespaces of its own, which end with it. Needs root.
 */
import { type ChildProcess, execFileSync, spawn } from 'node:child_process';
import { chmodSync, chownSync, mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import os from 'node:os';
import path from 'node:path';
import { freePort, install, unpack } from './packages.js';
import { eventually } from './sekisho.js';
import { SmtpClient } from './smtp-client.js';

const PACKAGES = ['courier-base', 'courier-authlib', 'courier-authlib-userdb', 'libcourier-unicode4'];
/** Who owns the mailbox. */
const MAIL = 8;

const script = (root: string, dir: string, port: number, user: string, hash: string): string => `
set -e
mkdir -p /usr/lib/courier /usr/lib/courier-authlib /etc/courier /run/courier ${dir}/dev
for f in null zero random urandom; do touch ${dir}/dev/$f; mount --bind /dev/$f ${dir}/dev/$f; done
mount --bind ${root}/usr/lib/courier /usr/lib/courier
mount --bind ${root}/usr/lib/courier-authlib /usr/lib/courier-authlib
mount -t tmpfs none /etc/courier
mount -t tmpfs none /run/courier
mkdir -p /run/courier/authdaemon
mount --rbind ${dir}/dev /dev
export LD_LIBRARY_PATH=${root}/usr/lib:${root}/usr/lib/x86_64-linux-gnu:${root}/usr/lib/aarch64-linux-gnu
export PATH=${root}/usr/sbin:${root}/usr/bin:$PATH
printf 'authmodulelist="authuserdb"\\nauthmodulelistorig="authuserdb"\\ndaemons=2\\nauthdaemonvar=/run/courier/authdaemon\\n' >/etc/courier/authdaemonrc
printf '%s\\tuid=${MAIL}|gid=${MAIL}|home=${dir}/box|shell=/bin/sh|mail=${dir}/box/Maildir|systempw=%s\\n' '${user}' '${hash}' >/etc/courier/userdb
chmod 700 /etc/courier/userdb
makeuserdb
rsyslogd -n -f ${dir}/rsyslog.conf -i ${dir}/rsyslog.pid &
for i in $(seq 100); do [ -S /dev/log ] && break; sleep 0.1; done
/usr/lib/courier/courier-authlib/authdaemond &
for i in $(seq 100); do [ -S /run/courier/authdaemon/socket ] && break; sleep 0.1; done
exec courierlogger -name=pop3d couriertcpd -address=127.0.0.1 -nodnslookup -noidentlookup ${port} \
  /usr/lib/courier/courier/courierpop3login /usr/lib/courier/courier/courierpop3d Maildir
`;

export class Courier {
  private constructor(
    readonly port: number,
    /** The file that rsyslogd writes. */
    readonly log: string,
    private readonly dir: string,
    private readonly child: ChildProcess,
  ) {}

  static async start(user: string, password: string): Promise<Courier> {
    await install(['rsyslogd=rsyslog', 'unshare=util-linux', 'openssl']);
    const root = await unpack('courier-pop', PACKAGES);
    const dir = mkdtempSync(path.join(os.tmpdir(), 'sekisho-courier-'));
    chmodSync(dir, 0o755);
    for (const each of ['box', 'box/Maildir', 'box/Maildir/cur', 'box/Maildir/new', 'box/Maildir/tmp']) {
      mkdirSync(path.join(dir, each));
      chownSync(path.join(dir, each), MAIL, MAIL);
    }
    const log = path.join(dir, 'mail.log');
    writeFileSync(
      path.join(dir, 'rsyslog.conf'),
      `module(load="imuxsock" SysSock.Use="off")
input(type="imuxsock" Socket="/dev/log" CreatePath="off")
*.* action(type="omfile" file="${log}" template="RSYSLOG_TraditionalFileFormat")
`,
    );
    const hash = execFileSync('openssl', ['passwd', '-1', password], { encoding: 'utf8' }).trim();
    const port = await freePort();
    const child = spawn(
      'unshare',
      [
        ...['--mount', '--pid', '--fork', '--kill-child', '--mount-proc'],
        ...['sh', '-c', script(root, dir, port, user, hash)],
      ],
      { stdio: ['ignore', 'pipe', 'pipe'] },
    );
    let said = '';
    for (const stream of [child.stdout, child.stderr]) stream.on('data', (chunk) => (said += String(chunk)));
    const courier = new Courier(port, log, dir, child);
    try {
      await eventually('courier answers', () => courier.#answers(said), 60_000);
    } catch (error) {
      await courier.stop();
      throw new Error(`${String(error)}: ${said}`);
    }
    return courier;
  }

  async #answers(said: string): Promise<boolean> {
    if (this.child.exitCode !== null) throw new Error(`courier ended: ${said}`);
    try {
      const client = await SmtpClient.connect(this.port);
      client.destroy();
      return true;
    } catch {
      return false;
    }
  }

  async stop(): Promise<void> {
    if (this.child.exitCode === null && this.child.signalCode === null) {
      const ended = new Promise((resolve) => this.child.once('close', resolve));
      this.child.kill('SIGKILL');
      await ended;
    }
    rmSync(this.dir, { recursive: true, force: true });
  }
}
