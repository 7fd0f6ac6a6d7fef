/** What each server's own configuration says of where it listens, and of its version. */
import { parseIp } from '../base/ip.js';
import { type PackageSeen, type Reach, type SettingSeen, widest } from './evidence.js';
import { productOfPackage } from './products.js';
import { assigned } from './system.js';
import type { Tree } from './tree.js';

const LOOPBACK = /^(?:127\.\d+\.\d+\.\d+|::1|localhost|localhost6|loopback(?:-only)?|lo0?)$/i;

/** What an address, an interface or `*` in a configuration means. */
const reachOfWord = (word: string): Reach => {
  const bare = word.replace(/^\[|\]$/g, '').replace(/^IPv6:/i, '');
  const ip = parseIp(bare);
  return LOOPBACK.test(ip?.text ?? bare) ? 'loopback' : 'world';
};

const SENDMAIL_CF = [
  '/etc/mail/sendmail.cf',
  '/etc/sendmail.cf',
  '/usr/lib/sendmail.cf',
  '/var/adm/sendmail/sendmail.cf',
  '/etc/mail/sendmail/sendmail.cf',
];

/** `O DaemonPortOptions=Name=MTA, Addr=127.0.0.1`; without any, or without Addr, every address. `DZ` is the version. */
const sendmail = (tree: Tree): SettingSeen[] =>
  SENDMAIL_CF.filter((file) => tree.link(file) === undefined).flatMap((file): SettingSeen[] => {
    const text = tree.text(file);
    if (text === undefined) return [];
    const daemons = [...text.matchAll(/^(?:O\s*DaemonPortOptions\s*=|OO)\s*(\S.*)$/gim)].map(
      (match) => match[1] ?? '',
    );
    const reach = widest(
      (daemons.length === 0 ? [''] : daemons).map((options) => {
        const address = /(?:^|[,\s])A(?:ddr(?:ess)?)?=([^,\s]+)/i.exec(options)?.[1];
        return address === undefined ? 'world' : reachOfWord(address);
      }),
    );
    const version = /^DZ(\d[\w.+-]*)/m.exec(text)?.[1];
    return [
      {
        kind: 'setting',
        product: 'sendmail',
        where: file,
        text:
          daemons[0] === undefined
            ? 'no DaemonPortOptions: every address'
            : `DaemonPortOptions=${daemons.join('; ')}`,
        reach,
        ...(version === undefined ? {} : { version }),
      },
    ];
  });

const postfixParameter = (text: string, name: string): string | undefined =>
  [...text.replace(/\n[ \t]+/g, ' ').matchAll(/^([\w]+)[ \t]*=[ \t]*(.*)$/gm)]
    .filter((match) => match[1] === name)
    .at(-1)?.[2]
    ?.trim();

const postfix = (tree: Tree): SettingSeen[] =>
  ['/etc/postfix', '/usr/local/etc/postfix', '/usr/pkg/etc/postfix'].flatMap((folder): SettingSeen[] => {
    const main = tree.text(`${folder}/main.cf`);
    if (main === undefined) return [];
    const interfaces = postfixParameter(main, 'inet_interfaces') ?? 'all';
    const services = tree
      .lines(`${folder}/master.cf`)
      .flatMap((line) => /^(\S+)\s+(?:inet|pass)\s/.exec(line)?.[1] ?? [])
      .filter((name) => !name.startsWith('#') && /(?:^|:)(?:smtp|smtps|submissions?|25|465|587)$/.test(name));
    const reaches = services.map((name): Reach => {
      const host = /^(.*):/.exec(name)?.[1];
      return host === undefined
        ? widest(
            interfaces
              .split(/[\s,]+/)
              .filter(Boolean)
              .map((word) => (word === 'all' ? 'world' : reachOfWord(word))),
          )
        : reachOfWord(host);
    });
    const version = postfixParameter(main, 'mail_version');
    return [
      {
        kind: 'setting',
        product: 'postfix',
        where: `${folder}/main.cf`,
        text: `inet_interfaces = ${interfaces}`,
        reach:
          reaches.length === 0
            ? tree.exists(`${folder}/master.cf`)
              ? 'nobody'
              : 'unknown'
            : widest(reaches),
        ...(version === undefined ? {} : { version }),
      },
    ];
  });

const exim = (tree: Tree): SettingSeen[] => {
  const debian = '/etc/exim4/update-exim4.conf.conf';
  const interfaces = assigned(tree.lines(debian), 'dc_local_interfaces');
  if (interfaces !== undefined) {
    const words = interfaces.split(/\s*;\s*/).filter((word) => word !== '');
    const runner = assigned(tree.lines('/etc/default/exim4'), 'QUEUERUNNER');
    const silent = runner === 'no' || runner === 'queueonly';
    return [
      {
        kind: 'setting',
        product: 'exim',
        where: debian,
        text: `dc_local_interfaces='${interfaces}'${silent ? `, QUEUERUNNER='${runner}'` : ''}`,
        reach: silent
          ? 'nobody'
          : words.length === 0
            ? 'world'
            : widest(
                words.map((word) =>
                  reachOfWord(word.replace(/\.\d+$/, (tail) => (word.split('.').length > 4 ? '' : tail))),
                ),
              ),
      },
    ];
  }
  return [
    '/etc/exim4/exim4.conf',
    '/etc/exim/exim.conf',
    '/etc/exim.conf',
    '/usr/local/etc/exim/configure',
    '/usr/exim/configure',
  ].flatMap((file): SettingSeen[] => {
    const text = tree.text(file);
    if (text === undefined) return [];
    const value = /^\s*local_interfaces\s*=\s*(.*)$/m.exec(text)?.[1]?.trim();
    const words =
      value
        ?.replace(/^<;\s*/, '')
        .split(/\s*[;:]\s+|\s*;\s*|\s+:\s*/)
        .filter(Boolean) ?? [];
    return [
      {
        kind: 'setting',
        product: 'exim',
        where: file,
        text: value === undefined ? 'no local_interfaces: every address' : `local_interfaces = ${value}`,
        reach: words.length === 0 ? 'world' : widest(words.map(reachOfWord)),
      },
    ];
  });
};

const opensmtpd = (tree: Tree): SettingSeen[] =>
  [
    '/etc/mail/smtpd.conf',
    '/etc/smtpd.conf',
    '/etc/opensmtpd/smtpd.conf',
    '/usr/local/etc/mail/smtpd.conf',
  ].flatMap((file): SettingSeen[] => {
    const lines = tree.lines(file);
    const listens = lines.flatMap((line) => /^\s*listen\s+on\s+(\S+)/.exec(line)?.[1] ?? []);
    const network = listens.filter((word) => word !== 'socket');
    if (lines.length === 0) return [];
    return [
      {
        kind: 'setting',
        product: 'opensmtpd',
        where: file,
        text: network.length === 0 ? 'no listen on: this host alone' : `listen on ${network.join(', ')}`,
        // smtpd.conf(5): without a listen line it listens on the loopback addresses.
        reach: network.length === 0 ? 'loopback' : widest(network.map(reachOfWord)),
      },
    ];
  });

/** Switches beside the start scripts: Red Hat's DAEMON, Solaris' MODE, IRIX's and others' are the scripts' own. */
const switches = (tree: Tree): SettingSeen[] => {
  const found: SettingSeen[] = [];
  const daemon = assigned(tree.lines('/etc/sysconfig/sendmail'), 'DAEMON');
  if (daemon !== undefined)
    found.push({
      kind: 'setting',
      product: 'sendmail',
      where: '/etc/sysconfig/sendmail',
      text: `DAEMON=${daemon}`,
      reach: daemon === 'yes' ? 'unknown' : 'nobody',
    });
  const mode = assigned(tree.lines('/etc/default/sendmail'), 'MODE');
  if (mode !== undefined)
    found.push({
      kind: 'setting',
      product: 'sendmail',
      where: '/etc/default/sendmail',
      text: `MODE="${mode}"`,
      reach: /-bd\b/.test(mode) ? 'unknown' : 'nobody',
    });
  return found;
};

export const settingsOf = (tree: Tree): SettingSeen[] => [
  ...sendmail(tree),
  ...switches(tree),
  ...postfix(tree),
  ...exim(tree),
  ...opensmtpd(tree),
];

const packageSeen = (name: string, version: string, where: string): PackageSeen[] => {
  const product = productOfPackage(name);
  return product === undefined
    ? []
    : [{ kind: 'package', product, where, text: `${name} ${version}`, version }];
};

/** dpkg: paragraphs with Package, Status, Version. */
const dpkg = (tree: Tree): PackageSeen[] => {
  const file = '/var/lib/dpkg/status';
  return (tree.text(file) ?? '').split('\n\n').flatMap((paragraph) => {
    const name = /^Package: (\S+)/m.exec(paragraph)?.[1];
    const version = /^Version: (\S+)/m.exec(paragraph)?.[1];
    const installed = /^Status: .* installed$/m.test(paragraph);
    return name === undefined || version === undefined || !installed ? [] : packageSeen(name, version, file);
  });
};

/** Alpine: `P:name` and `V:version`. */
const apk = (tree: Tree): PackageSeen[] => {
  const file = '/lib/apk/db/installed';
  return (tree.text(file) ?? '').split('\n\n').flatMap((paragraph) => {
    const name = /^P:(\S+)/m.exec(paragraph)?.[1];
    const version = /^V:(\S+)/m.exec(paragraph)?.[1];
    return name === undefined || version === undefined ? [] : packageSeen(name, version, file);
  });
};

/** BSD's and Arch's package folders are named `postfix-2.4.5,1`. */
const folders = (tree: Tree): PackageSeen[] =>
  ['/var/db/pkg', '/usr/pkg/pkgdb', '/var/lib/pacman/local', '/var/log/packages'].flatMap((base) =>
    tree.list(base).flatMap((name) => {
      const match = /^([a-z]\w*(?:-[a-z]\w*)*)-(\d\S*)$/i.exec(name);
      return match === null ? [] : packageSeen(match[1] ?? '', match[2] ?? '', `${base}/${name}`);
    }),
  );

export const packagesOf = (tree: Tree): PackageSeen[] => [...dpkg(tree), ...apk(tree), ...folders(tree)];
