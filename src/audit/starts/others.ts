/** cron, launchd, OpenRC, daemontools and inittab. */
import type { ProductId, StartSeen } from '../evidence.js';
import { productOfCommand, productOfService } from '../products.js';
import type { Tree } from '../tree.js';
import { editFile, reachOfCommand, restoreFile, shellCommands } from './shell.js';

/** Crontabs with a column for the user, and those that are a user's own. */
const crontabs = (tree: Tree): { file: string; system: boolean }[] => [
  { file: '/etc/crontab', system: true },
  ...tree.list('/etc/cron.d').map((name) => ({ file: `/etc/cron.d/${name}`, system: true })),
  ...['/var/spool/cron', '/var/spool/cron/crontabs', '/var/cron/tabs', '/usr/lib/cron/tabs'].flatMap((dir) =>
    tree.list(dir).map((name) => ({ file: `${dir}/${name}`, system: false })),
  ),
];

const ENTRY = /^\s*(#\s*)?(@\w+|(?:[\d*,/a-zA-Z-]+\s+){4}[\d*,/a-zA-Z-]+)\s+(\S.*)$/;

export const cronStarts = (tree: Tree): StartSeen[] =>
  crontabs(tree).flatMap(({ file, system }) =>
    tree.lines(file).flatMap((line, index): StartSeen[] => {
      const match = ENTRY.exec(line);
      if (match === null) return [];
      const command = system ? (match[3] ?? '').replace(/^\S+\s+/, '') : (match[3] ?? '');
      const found = shellCommands(command)[0];
      if (found === undefined) return [];
      const nth = index + 1;
      return [
        {
          kind: 'start',
          product: found.product,
          where: `${file}:${nth}`,
          text: line.trim(),
          by: 'cron',
          on: match[1] === undefined ? 'yes' : 'no',
          reach: reachOfCommand(found.listens),
          remedy: {
            stop: ['# what cron started last may still run: see the processes'],
            keep: system
              ? editFile(file, `${nth}s/^/#/`, kept(file))
              : [
                  `crontab -l ${userOf(file)} > crontab.before-sekisho`,
                  `# put a # before the line "${line.trim()}": crontab -e ${userOf(file)}`,
                ],
            undo: system ? restoreFile(file, kept(file)) : [`crontab ${userOf(file)} crontab.before-sekisho`],
          },
        },
      ];
    }),
  );

/** cron runs whatever lies in /etc/cron.d, a copy too. */
const kept = (file: string): string => `/root/${file.slice(file.lastIndexOf('/') + 1)}.before-sekisho`;

const userOf = (file: string): string => `-u ${file.slice(file.lastIndexOf('/') + 1)}`;

const LAUNCH = ['/Library/LaunchDaemons', '/System/Library/LaunchDaemons'];

/** A property list as XML; a binary one says nothing here. */
export const launchdStarts = (tree: Tree): StartSeen[] =>
  LAUNCH.flatMap((folder) =>
    tree.list(folder).flatMap((name): StartSeen[] => {
      if (!name.endsWith('.plist')) return [];
      const file = `${folder}/${name}`;
      const text = tree.text(file) ?? '';
      const label = /<key>Label<\/key>\s*<string>([^<]*)</.exec(text)?.[1] ?? name.replace(/\.plist$/, '');
      const argv = /<key>ProgramArguments<\/key>\s*<array>([\s\S]*?)<\/array>/.exec(text)?.[1] ?? '';
      const program = /<key>Program<\/key>\s*<string>([^<]*)</.exec(text)?.[1];
      const words = [...argv.matchAll(/<string>([^<]*)<\/string>/g)].map((match) => match[1] ?? '');
      const whole = (program === undefined ? words : [program, ...words.slice(1)]).join(' ');
      // `master -e 60` ends by itself after 60 s: it only empties the queue.
      const shortly = / -e \d+\b/.test(whole);
      const sockets = /<key>SockServiceName<\/key>\s*<string>(?:smtps?|submission|25|465|587)</.test(text);
      const command = productOfCommand(whole.replace(/ -e \d+\b/, ''));
      const product: ProductId | undefined =
        productOfService(label) ?? command?.id ?? (sockets ? 'unknown' : undefined);
      if (product === undefined) return [];
      const overrides = tree.text('/var/db/com.apple.xpc.launchd/disabled.plist') ?? '';
      const told = new RegExp(`<key>${label.replace(/[.]/g, '\\.')}</key>\\s*<(true|false)/>`).exec(
        overrides,
      )?.[1];
      const off = told === undefined ? /<key>Disabled<\/key>\s*<true\/>/.test(text) : told === 'true';
      return [
        {
          kind: 'start',
          product,
          where: file,
          text: `${label}${off ? ', disabled' : ''}`,
          by: 'launchd',
          on: off ? 'no' : 'yes',
          reach: shortly && !sockets ? 'nobody' : 'unknown',
          remedy: {
            stop: [`launchctl bootout system/${label}`, `# before OS X 10.10: launchctl unload ${file}`],
            keep: [`launchctl disable system/${label}`, `# before OS X 10.10: launchctl unload -w ${file}`],
            undo: [
              `launchctl enable system/${label}`,
              `launchctl bootstrap system ${file}`,
              `# before OS X 10.10: launchctl load -w ${file}`,
            ],
          },
        },
      ];
    }),
  );

/** Gentoo and Alpine: links in /etc/runlevels. */
export const openrcStarts = (tree: Tree): StartSeen[] =>
  tree.list('/etc/runlevels').flatMap((level) =>
    tree.list(`/etc/runlevels/${level}`).flatMap((name): StartSeen[] => {
      const product = productOfService(name);
      if (product === undefined) return [];
      return [
        {
          kind: 'start',
          product,
          where: `/etc/runlevels/${level}/${name}`,
          text: `started in run level ${level}`,
          by: 'OpenRC',
          on: level === 'default' || level === 'boot' || level === 'sysinit' ? 'yes' : 'no',
          reach: 'unknown',
          remedy: {
            stop: [`rc-service ${name} stop`],
            keep: [`rc-update del ${name} ${level}`],
            undo: [`rc-update add ${name} ${level}`, `rc-service ${name} start`],
          },
        },
      ];
    }),
  );

/** daemontools and runit: a folder with a `run` script, off if there is a file `down`. */
export const serviceFolderStarts = (tree: Tree): StartSeen[] =>
  ['/service', '/var/service', '/etc/service'].flatMap((base) =>
    tree.list(base).flatMap((name): StartSeen[] => {
      const folder = `${base}/${name}`;
      const script = tree.text(`${folder}/run`);
      if (script === undefined) return [];
      const joined = script.replace(/\\\n\s*/g, ' ');
      const found = shellCommands(joined)[0];
      const product = found?.product ?? productOfService(name);
      if (product === undefined) return [];
      const down = tree.exists(`${folder}/down`);
      return [
        {
          kind: 'start',
          product,
          where: `${folder}/run`,
          text: down ? 'kept down by a file of that name' : (found?.text ?? 'run'),
          by: 'supervise',
          on: down ? 'no' : 'yes',
          reach: found === undefined ? 'unknown' : reachOfCommand(found.listens),
          remedy: {
            stop: [`svc -d ${folder}`, `# with runit: sv down ${folder}`],
            keep: [`touch ${folder}/down`],
            undo: [`rm ${folder}/down`, `svc -u ${folder}`],
          },
        },
      ];
    }),
  );

/** `SV:123456:respawn:/command/svscanboot`, or a mail server in person. */
export const inittabStarts = (tree: Tree): StartSeen[] =>
  tree.lines('/etc/inittab').flatMap((line, index): StartSeen[] => {
    const match = /^\s*(#\s*)?([^#:\s]+):(\w*):(respawn|once|wait|boot\w*):(\S.*)$/.exec(line);
    const found = match === null ? undefined : shellCommands(match[5] ?? '')[0];
    if (match === null || found === undefined) return [];
    const nth = index + 1;
    return [
      {
        kind: 'start',
        product: found.product,
        where: `/etc/inittab:${nth}`,
        text: line.trim(),
        by: 'inittab',
        on: match[1] === undefined ? 'yes' : 'no',
        reach: reachOfCommand(found.listens),
        remedy: {
          stop: ['# "keep" ends it: init does not start it again'],
          keep: [...editFile('/etc/inittab', `${nth}s/^/#/`), 'init q'],
          undo: [...restoreFile('/etc/inittab'), 'init q'],
        },
      },
    ];
  });

/** Solaris 10 and later: the manifest says that there is a service, its state lies in a database that only svcs reads. */
export const smfStarts = (tree: Tree): StartSeen[] =>
  [
    ['/var/svc/manifest/network/smtp-sendmail.xml', 'svc:/network/smtp:sendmail', 'unknown'],
    ['/lib/svc/manifest/network/smtp-sendmail.xml', 'svc:/network/smtp:sendmail', 'unknown'],
    ['/var/svc/manifest/network/sendmail-client.xml', 'svc:/network/sendmail-client:default', 'nobody'],
    ['/lib/svc/manifest/network/sendmail-client.xml', 'svc:/network/sendmail-client:default', 'nobody'],
  ].flatMap(([file = '', service = '', reach]): StartSeen[] => {
    const text = tree.text(file);
    if (text === undefined) return [];
    return [
      {
        kind: 'start',
        product: 'sendmail',
        where: file,
        text: `${service}; whether it is enabled is told by: svcs -a | grep sendmail`,
        by: 'SMF',
        on: 'unknown',
        reach: reach === 'nobody' ? 'nobody' : 'unknown',
        remedy: {
          stop: [`svcadm disable -t ${service}`],
          keep: [`svcadm disable ${service}`],
          undo: [`svcadm enable ${service}`],
        },
      },
    ];
  });
