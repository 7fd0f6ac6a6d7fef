/** The BSDs: variables in rc.conf, later files over earlier ones over the system's defaults. */
import type { ProductId, Reach, StartSeen, Tri } from '../evidence.js';
import { assigned } from '../system.js';
import type { Tree } from '../tree.js';

interface Found {
  readonly value: string;
  readonly where: string;
}

/** The value in force and where it stands. */
const lookUp = (tree: Tree, files: readonly string[], name: string): Found | undefined => {
  let found: Found | undefined;
  for (const file of files) {
    tree.lines(file).forEach((line, index) => {
      const value = assigned([line], name);
      if (value !== undefined) found = { value, where: `${file}:${index + 1}` };
    });
  }
  return found;
};

const isYes = (value: string): boolean => /^(?:YES|TRUE|ON|1)$/i.test(value);

const FREEBSD = ['/etc/defaults/rc.conf', '/etc/rc.conf', '/etc/rc.conf.local'];

/** Of ports and packages, with the name of their script. */
const FREEBSD_SERVICES: readonly (readonly [string, ProductId])[] = [
  ['postfix', 'postfix'],
  ['exim', 'exim'],
  ['qmail', 'qmail'],
  ['qmailsmtpd', 'qmail'],
  ['smtpd', 'opensmtpd'],
  ['courier', 'courier'],
  ['courier_esmtpd', 'courier'],
  ['sekisho', 'sekisho'],
];

/**
 * rc.sendmail(8): YES is a daemon for everybody; NO one for this host alone (sendmail_submit_enable), NONE none at all.
 * Without sendmail_submit_enable, sendmail_outbound_enable still runs the queue.
 */
const freebsdSendmail = (tree: Tree): StartSeen[] => {
  const files = [...FREEBSD, '/etc/rc.conf.d/sendmail'];
  const main = lookUp(tree, files, 'sendmail_enable') ?? {
    value: tree.exists('/etc/defaults/rc.conf') ? '' : 'NO',
    where: '/etc/rc.conf',
  };
  const sendmailThere =
    tree.exists('/etc/rc.d/sendmail') ||
    tree.exists('/etc/rc.sendmail') ||
    tree.exists('/etc/mail/sendmail.cf');
  if (main.value === '' || !(sendmailThere || lookUp(tree, files.slice(1), 'sendmail_enable'))) return [];
  const value = main.value.toUpperCase();
  const submit = lookUp(tree, files, 'sendmail_submit_enable');
  const outbound = lookUp(tree, files, 'sendmail_outbound_enable');
  let on: Tri = 'yes';
  let reach: Reach = 'world';
  let text = `sendmail_enable="${main.value}"`;
  if (value === 'NONE') on = 'no';
  else if (!isYes(value)) {
    const local = submit === undefined || isYes(submit.value);
    const queue = outbound === undefined || isYes(outbound.value);
    reach = local ? 'loopback' : 'nobody';
    if (!local && !queue) on = 'no';
    text += local
      ? ', so a daemon for this host alone (sendmail_submit_enable)'
      : queue
        ? ', sendmail_submit_enable="NO": only its queue is run (sendmail_outbound_enable)'
        : ', sendmail_submit_enable="NO", sendmail_outbound_enable="NO"';
  }
  return [
    {
      kind: 'start',
      product: 'sendmail',
      where: main.where,
      text,
      by: 'rc.conf',
      on,
      reach,
      remedy: {
        stop: ['service sendmail onestop', '# before FreeBSD 7: /etc/rc.d/sendmail stop'],
        keep: [
          'cp -p /etc/rc.conf /etc/rc.conf.before-sekisho',
          'echo \'sendmail_enable="NONE"\' >> /etc/rc.conf',
        ],
        undo: ['cp -p /etc/rc.conf.before-sekisho /etc/rc.conf', 'service sendmail start'],
      },
    },
  ];
};

export const freebsdStarts = (tree: Tree): StartSeen[] => [
  ...freebsdSendmail(tree),
  ...FREEBSD_SERVICES.flatMap(([name, product]): StartSeen[] => {
    const found = lookUp(tree, [...FREEBSD, `/etc/rc.conf.d/${name}`], `${name}_enable`);
    if (found === undefined) return [];
    return [
      {
        kind: 'start',
        product,
        where: found.where,
        text: `${name}_enable="${found.value}"`,
        by: 'rc.conf',
        on: isYes(found.value) ? 'yes' : 'no',
        reach: 'unknown',
        remedy: {
          stop: [`service ${name} onestop`],
          keep: [`sysrc ${name}_enable=NO`],
          undo: [`sysrc ${name}_enable=YES`, `service ${name} start`],
        },
      },
    ];
  }),
];

const OPENBSD = ['/etc/rc.conf', '/etc/rc.conf.local'];

/** rc.conf(8): `NO` is off, anything else are the daemon's flags. A package's script runs if `pkg_scripts` names it. */
export const openbsdStarts = (tree: Tree): StartSeen[] => {
  const base = (['sendmail', 'smtpd'] as const).flatMap((name): StartSeen[] => {
    const found = lookUp(tree, OPENBSD, `${name}_flags`);
    if (found === undefined) return [];
    const local = name === 'sendmail' && /localhost\.cf/.test(found.value);
    return [
      {
        kind: 'start',
        product: name === 'smtpd' ? 'opensmtpd' : 'sendmail',
        where: found.where,
        text: `${name}_flags="${found.value}"`,
        by: 'rc.conf',
        on: found.value === 'NO' ? 'no' : 'yes',
        reach: local ? 'loopback' : 'unknown',
        remedy: {
          stop: [`rcctl stop ${name}`, '# before OpenBSD 5.7: kill `head -1 /var/run/sendmail.pid`'],
          keep: [
            `rcctl disable ${name}`,
            `# before OpenBSD 5.7: echo '${name}_flags=NO' >> /etc/rc.conf.local`,
          ],
          undo: [`rcctl enable ${name}`, `rcctl start ${name}`],
        },
      },
    ];
  });
  const scripts = lookUp(tree, OPENBSD, 'pkg_scripts');
  const wanted = new Set(scripts?.value.split(/\s+/) ?? []);
  const packages = (['postfix', 'exim', 'courier', 'sendmail', 'opensmtpd'] as const)
    .filter((name) => tree.exists(`/etc/rc.d/${name}`) && name !== 'opensmtpd')
    .map(
      (name): StartSeen => ({
        kind: 'start',
        product: name,
        where: wanted.has(name) ? (scripts?.where ?? '') : `/etc/rc.d/${name}`,
        text: wanted.has(name) ? `pkg_scripts="${scripts?.value}"` : 'not in pkg_scripts',
        by: 'rc.conf',
        on: wanted.has(name) ? 'yes' : 'no',
        reach: 'unknown',
        remedy: {
          stop: [`rcctl stop ${name}`],
          keep: [`rcctl disable ${name}`],
          undo: [`rcctl enable ${name}`, `rcctl start ${name}`],
        },
      }),
    );
  return [...base, ...packages];
};

const NETBSD = ['/etc/defaults/rc.conf', '/etc/rc.conf'];

/** rc.conf(5): `sendmail=YES`. */
export const netbsdStarts = (tree: Tree): StartSeen[] =>
  (['sendmail', 'postfix', 'exim', 'qmailsmtpd', 'smtpd'] as const).flatMap((name): StartSeen[] => {
    const found = lookUp(tree, [...NETBSD, `/etc/rc.conf.d/${name}`], name);
    if (found === undefined) return [];
    const product = name === 'qmailsmtpd' ? 'qmail' : name === 'smtpd' ? 'opensmtpd' : name;
    return [
      {
        kind: 'start',
        product,
        where: found.where,
        text: `${name}=${found.value}`,
        by: 'rc.conf',
        on: isYes(found.value) ? 'yes' : 'no',
        reach: 'unknown',
        remedy: {
          stop: [`/etc/rc.d/${name} onestop`],
          keep: ['cp -p /etc/rc.conf /etc/rc.conf.before-sekisho', `echo '${name}=NO' >> /etc/rc.conf`],
          undo: ['cp -p /etc/rc.conf.before-sekisho /etc/rc.conf', `/etc/rc.d/${name} start`],
        },
      },
    ];
  });
