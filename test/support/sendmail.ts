/** A real sendmail that relays for anyone and keeps everything in its queue. */
import { type ChildProcess, execFileSync, spawn } from 'node:child_process';
import {
  chmodSync,
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
import { freePort, install, libraryPath, unpack } from './packages.js';
import { SmtpClient } from './smtp-client.js';

export interface QueuedMessage {
  readonly sender: string;
  readonly recipients: readonly string[];
  /** Header lines, unfolded to one string. */
  readonly header: string;
  readonly body: string;
}

const configuration = (root: string, dir: string, port: number): string => `divert(-1)
include(\`${root}/usr/share/sendmail/cf/m4/cf.m4')
divert(0)
VERSIONID(\`sekisho test')
OSTYPE(\`linux')
define(\`confDELIVERY_MODE', \`queueonly')
define(\`confTO_IDENT', \`0')
define(\`confREFUSE_LA', \`100')
define(\`confQUEUE_LA', \`100')
define(\`QUEUE_DIR', \`${dir}/queue')
define(\`STATUS_FILE', \`${dir}/statistics')
define(\`confPID_FILE', \`${dir}/pid')
define(\`confSERVICE_SWITCH_FILE', \`${dir}/switch')
define(\`confHOSTS_FILE', \`${dir}/hosts')
define(\`confDONT_BLAME_SENDMAIL', \`GroupWritableDirPathSafe,WorldWritableAliasFile,GroupWritableAliasFile')
define(\`ALIAS_FILE', \`')
undefine(\`ALIAS_FILE')
FEATURE(\`promiscuous_relay')
FEATURE(\`accept_unresolvable_domains')
FEATURE(\`accept_unqualified_senders')
FEATURE(\`no_default_msa')
DAEMON_OPTIONS(\`Port=${port}, Addr=127.0.0.1, Name=MTA')
MAILER(\`local')
MAILER(\`smtp')
`;

const binaryIn = (root: string): string => {
  const places = [
    'usr/libexec/sendmail/sendmail',
    'usr/lib/sm.bin/sendmail',
    'usr/sbin/sendmail',
    'usr/sbin/sendmail-mta',
  ];
  const place = places.map((each) => path.join(root, each)).find(existsSync);
  if (place === undefined) throw new Error(`no sendmail in ${root}`);
  // A set-group-id program would be given no LD_LIBRARY_PATH.
  chmodSync(place, 0o755);
  return place;
};

const HOST = 'legacy.example.test';

export class Sendmail {
  private constructor(
    readonly port: number,
    private readonly dir: string,
    private readonly child: ChildProcess,
  ) {}

  static async start(): Promise<Sendmail> {
    await install(['m4', 'unshare=util-linux']);
    const root = await unpack('sendmail-bin', ['sendmail-base', 'sendmail-cf']);
    const dir = mkdtempSync(path.join(os.tmpdir(), 'sekisho-sendmail-'));
    mkdirSync(path.join(dir, 'queue'), { mode: 0o700 });
    const port = await freePort();
    writeFileSync(path.join(dir, 'switch'), 'hosts files\naliases files\n');
    writeFileSync(path.join(dir, 'hosts'), `127.0.0.1 ${HOST} legacy localhost\n`);
    writeFileSync(path.join(dir, 'sendmail.mc'), configuration(root, dir, port));
    const cf = path.join(dir, 'sendmail.cf');
    const macros = path.join(root, 'usr/share/sendmail/cf/');
    writeFileSync(
      cf,
      execFileSync('m4', [`-D_CF_DIR_=${macros}`, path.join(dir, 'sendmail.mc')], { encoding: 'utf8' }),
    );
    const script = `hostname ${HOST}; exec ${binaryIn(root)} -bD -C ${cf} -X ${dir}/traffic`;
    const child = spawn('unshare', ['--uts', 'sh', '-c', script], {
      stdio: ['ignore', 'pipe', 'pipe'],
      env: { ...process.env, LD_LIBRARY_PATH: libraryPath(root) },
    });
    let said = '';
    child.stdout?.on('data', (chunk) => (said += String(chunk)));
    child.stderr?.on('data', (chunk) => (said += String(chunk)));
    const sendmail = new Sendmail(port, dir, child);
    await sendmail.#ready(() => said);
    return sendmail;
  }

  async #ready(said: () => string): Promise<void> {
    for (let tries = 0; tries < 150; tries += 1) {
      if (this.child.exitCode !== null) throw new Error(`sendmail ended: ${said()}`);
      try {
        const client = await SmtpClient.connect(this.port);
        const banner = await client.reply();
        client.destroy();
        if (/Sendmail/.test(banner)) return;
      } catch {
        await new Promise((resolve) => setTimeout(resolve, 200));
      }
    }
    throw new Error(`sendmail does not answer: ${said()}`);
  }

  /** What it has taken, read from its queue files. */
  queue(): QueuedMessage[] {
    const dir = path.join(this.dir, 'queue');
    return readdirSync(dir)
      .filter((name) => name.startsWith('qf'))
      .map((name) => {
        const text = readFileSync(path.join(dir, name), 'latin1').replace(/\n[ \t]+/g, ' ');
        const lines = text.split('\n');
        const of = (letter: string): string[] =>
          lines.filter((line) => line.startsWith(letter)).map((line) => line.slice(1));
        const data = path.join(dir, name.replace(/^qf/, 'df'));
        return {
          sender: of('S')[0] ?? '',
          recipients: of('R').map((each) => each.slice(each.indexOf(':') + 1)),
          header: of('H')
            .map((each) => each.replace(/^\?[^?]*\?/, ''))
            .join('\n'),
          body: existsSync(data) ? readFileSync(data, 'latin1') : '',
        };
      });
  }

  async stop(): Promise<void> {
    if (this.child.exitCode === null) {
      const ended = new Promise((resolve) => this.child.once('close', resolve));
      this.child.kill('SIGTERM');
      await ended;
    }
    rmSync(this.dir, { recursive: true, force: true });
  }
}
