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
import type { Pair } from './certificates.js';
import type { Namespace } from './namespaces.js';
import { freePort, install, libraryPath, unpack } from './packages.js';
import { SmtpClient } from './smtp-client.js';
import { Syslog } from './syslog.js';

export interface QueuedMessage {
  readonly sender: string;
  readonly recipients: readonly string[];
  /** Header lines, unfolded to one string. */
  readonly header: string;
  readonly body: string;
}

/** Offers STARTTLS with a certificate. */
const startTls = ({ cert, key }: Pair): string => `define(\`confSERVER_CERT', \`${cert}')
define(\`confSERVER_KEY', \`${key}')
define(\`confCACERT', \`${cert}')
define(\`confCACERT_PATH', \`${path.dirname(cert)}')
`;

/** What an administrator keeps under /etc/mail, by file name: access, relay-domains, local-host-names. */
export type SendmailFiles = Readonly<Record<string, string>>;

export interface SendmailOptions {
  readonly port?: number;
  readonly tls?: Pair | undefined;
  /** Where it listens; 127.0.0.1 by default. */
  readonly addresses?: readonly string[];
  /** Taken over into its folder `mail`, where sendmail.mc and sendmail.cf lie too, as under /etc/mail. */
  readonly files?: SendmailFiles;
  /** The folder of its queue, for root alone; one in its own folder by default. */
  readonly queue?: string;
  /** False: what is said on its connections is not kept, for that takes time. */
  readonly traffic?: boolean;
  /** It asks the client's host by IDENT (RFC 1413) who the client is, as old ones do. */
  readonly ident?: boolean;
  /** A domain for which it takes nothing. */
  readonly refuses?: string;
}

const daemons = (port: number, addresses: readonly string[] = ['127.0.0.1']): string =>
  addresses
    .map((each, i) => {
      const family = each.includes(':') ? 'inet6' : 'inet';
      return `DAEMON_OPTIONS(\`Port=${port}, Addr=${each}, Family=${family}, Name=MTA${i}')`;
    })
    .join('\n');

/** A rule's two sides are parted by a tab. */
const refusing = (domain: string): string => `LOCAL_RULESETS
SLocal_check_rcpt
R$*@${domain}$*\t$#error $@ 5.7.1 $: "550 Relaying denied"
`;

/** Reads what lies in the folder `mail`. */
const siteFiles = (dir: string): string => `define(\`confCW_FILE', \`-o ${dir}/mail/local-host-names')
define(\`confCR_FILE', \`-o ${dir}/mail/relay-domains')
FEATURE(\`use_cw_file')
FEATURE(\`access_db', \`hash -o -T<TMPF> ${dir}/mail/access')
`;

const configuration = (
  root: string,
  dir: string,
  { port, tls, addresses, files, queue, refuses, ident = false }: SendmailOptions & { readonly port: number },
): string => `divert(-1)
include(\`${root}/usr/share/sendmail/cf/m4/cf.m4')
divert(0)
VERSIONID(\`sekisho test')
OSTYPE(\`linux')
define(\`confDELIVERY_MODE', \`queueonly')
define(\`confTO_IDENT', \`${ident ? '5s' : '0'}')
define(\`confREFUSE_LA', \`100')
define(\`confQUEUE_LA', \`100')
define(\`QUEUE_DIR', \`${queue ?? `${dir}/queue`}')
define(\`STATUS_FILE', \`${dir}/statistics')
define(\`confPID_FILE', \`${dir}/pid')
define(\`confSERVICE_SWITCH_FILE', \`${dir}/switch')
define(\`confHOSTS_FILE', \`${dir}/hosts')
define(\`confDONT_BLAME_SENDMAIL', \`GroupWritableDirPathSafe,WorldWritableAliasFile,GroupWritableAliasFile,TrustStickyBit')
define(\`ALIAS_FILE', \`')
undefine(\`ALIAS_FILE')
${tls === undefined ? '' : startTls(tls)}${files === undefined ? '' : siteFiles(dir)}FEATURE(\`promiscuous_relay')
FEATURE(\`accept_unresolvable_domains')
FEATURE(\`accept_unqualified_senders')
FEATURE(\`no_default_msa')
${daemons(port, addresses)}
MAILER(\`local')
MAILER(\`smtp')
${refuses === undefined ? '' : refusing(refuses)}`;

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

/** Everything that sendmail needs in a folder of its own, and the shell command that starts it in a host name of its own. */
export const prepareSendmail = async (
  port: number,
  options: SendmailOptions = {},
): Promise<{ dir: string; script: string; env: Record<string, string> }> => {
  await install(['m4', 'unshare=util-linux']);
  const root = await unpack('sendmail-bin', ['sendmail-base', 'sendmail-cf']);
  const dir = mkdtempSync(path.join(os.tmpdir(), 'sekisho-sendmail-'));
  mkdirSync(path.join(dir, 'queue'), { mode: 0o700 });
  writeFileSync(path.join(dir, 'switch'), 'hosts files\naliases files\n');
  writeFileSync(path.join(dir, 'hosts'), `127.0.0.1 ${HOST} legacy localhost\n`);
  const mail = path.join(dir, 'mail');
  mkdirSync(mail, { mode: 0o755 });
  for (const [name, text] of Object.entries(options.files ?? {})) writeFileSync(path.join(mail, name), text);
  writeFileSync(path.join(mail, 'sendmail.mc'), configuration(root, dir, { ...options, port }));
  const cf = path.join(mail, 'sendmail.cf');
  const macros = path.join(root, 'usr/share/sendmail/cf/');
  writeFileSync(
    cf,
    execFileSync('m4', [`-D_CF_DIR_=${macros}`, path.join(mail, 'sendmail.mc')], {
      encoding: 'utf8',
      // It warns of what the tests are about.
      stdio: ['ignore', 'pipe', 'pipe'],
    }),
  );
  const env = { LD_LIBRARY_PATH: libraryPath(root) };
  if (options.files?.access !== undefined)
    execFileSync(path.join(root, 'usr/libexec/sendmail/makemap'), ['-C', cf, 'hash', `${mail}/access.db`], {
      env: { ...process.env, ...env },
      input: options.files.access,
      // It warns of /tmp, which everybody may write to.
      stdio: ['pipe', 'ignore', 'ignore'],
    });
  return {
    dir,
    script: `hostname ${HOST}; exec ${binaryIn(root)} -bD -C ${cf}${options.traffic === false ? '' : ` -X ${dir}/traffic`}`,
    env,
  };
};

export class Sendmail {
  private constructor(
    readonly port: number,
    private readonly dir: string,
    private readonly child: ChildProcess,
    private readonly syslog?: Syslog,
  ) {}

  static async start(options: SendmailOptions = {}): Promise<Sendmail> {
    const port = options.port ?? (await freePort());
    const prepared = await prepareSendmail(port, options);
    return Sendmail.#run(port, prepared, ['unshare', '--uts'], () => SmtpClient.connect(port));
  }

  /** In a namespace. What it tells syslog is in `log`. */
  static async startIn(
    namespace: Namespace,
    port: number,
    options: SendmailOptions & { readonly addresses: readonly string[] },
  ): Promise<Sendmail> {
    const { script, ...prepared } = await prepareSendmail(port, options);
    const { dir } = prepared;
    const syslog = await Syslog.open(path.join(dir, 'log'));
    // A /dev of its own, in which the socket lies, and nobody to ask for names: he would not answer.
    writeFileSync(path.join(dir, 'resolv.conf'), 'nameserver 127.0.0.1\n');
    const own = [
      `mkdir ${dir}/dev`,
      `mount -t tmpfs none ${dir}/dev`,
      `for each in null zero random urandom; do touch ${dir}/dev/$each; mount --bind /dev/$each ${dir}/dev/$each; done`,
      `ln -s ${dir}/log ${dir}/dev/log`,
      `mount --rbind ${dir}/dev /dev`,
      `mount --bind ${dir}/resolv.conf /etc/resolv.conf`,
      script,
    ];
    const prefix = [...namespace.prefix, 'unshare', '--uts', '--mount'];
    const [host = ''] = options.addresses;
    const connect = (): Promise<SmtpClient> => namespace.client(host, port);
    return Sendmail.#run(port, { ...prepared, script: own.join('; ') }, prefix, connect, syslog);
  }

  static async #run(
    port: number,
    { dir, script, env }: { dir: string; script: string; env: Record<string, string> },
    [file = '', ...words]: readonly string[],
    connect: () => Promise<SmtpClient>,
    syslog?: Syslog,
  ): Promise<Sendmail> {
    const child = spawn(file, [...words, 'sh', '-c', script], {
      stdio: ['ignore', 'pipe', 'pipe'],
      env: { ...process.env, ...env },
    });
    let said = '';
    child.stdout?.on('data', (chunk) => (said += String(chunk)));
    child.stderr?.on('data', (chunk) => (said += String(chunk)));
    const sendmail = new Sendmail(port, dir, child, syslog);
    await sendmail.#ready(() => said, connect);
    return sendmail;
  }

  /** What it told syslog. */
  get log(): string {
    return this.syslog?.text ?? '';
  }

  async #ready(said: () => string, connect: () => Promise<SmtpClient>): Promise<void> {
    let why = '';
    for (let tries = 0; tries < 150; tries += 1) {
      if (this.child.exitCode !== null) throw new Error(`sendmail ended: ${said()}`);
      try {
        const client = await connect();
        const banner = await client.reply();
        client.destroy();
        if (/Sendmail/.test(banner)) return;
      } catch (error) {
        why = String(error);
        await new Promise((resolve) => setTimeout(resolve, 200));
      }
    }
    throw new Error(`sendmail does not answer: ${why} ${said()}`);
  }

  /** Where an administrator finds its files: another's /etc/mail. */
  get mailDir(): string {
    return path.join(this.dir, 'mail');
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
    this.syslog?.close();
    rmSync(this.dir, { recursive: true, force: true });
  }
}
