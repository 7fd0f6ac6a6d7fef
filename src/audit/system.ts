/** Which system a tree is of, by files that are its own. */
import type { SystemId } from './evidence.js';
import type { Tree } from './tree.js';

/** The value of a shell assignment `NAME=value`, quotes taken off; the last one holds. */
export const assigned = (lines: readonly string[], name: string): string | undefined => {
  let value: string | undefined;
  for (const line of lines) {
    const match = /^\s*(?:export\s+)?([A-Za-z_][A-Za-z0-9_]*)=(?:"([^"]*)"|'([^']*)'|([^\s#]*))/.exec(line);
    if (match?.[1] === name) value = match[2] ?? match[3] ?? match[4] ?? '';
  }
  return value;
};

interface Mark {
  readonly id: SystemId;
  /** Its name, undefined if the tree is of another system. */
  readonly name: (tree: Tree) => string | undefined;
}

const says = (tree: Tree, file: string, what: RegExp): boolean => what.test(tree.text(file) ?? '');

const MARKS: readonly Mark[] = [
  {
    id: 'macos',
    name: (tree) =>
      tree.exists('/System/Library/CoreServices/SystemVersion.plist') ||
      tree.exists('/System/Library/LaunchDaemons')
        ? 'macOS'
        : undefined,
  },
  {
    id: 'openbsd',
    name: (tree) =>
      tree.exists('/bsd') || says(tree, '/etc/rc', /\$OpenBSD\b/) || says(tree, '/etc/rc.conf', /\$OpenBSD\b/)
        ? 'OpenBSD'
        : undefined,
  },
  {
    id: 'netbsd',
    name: (tree) =>
      tree.exists('/netbsd') || says(tree, '/etc/rc', /\$NetBSD\b/) || says(tree, '/etc/release', /^NetBSD/)
        ? 'NetBSD'
        : undefined,
  },
  {
    id: 'freebsd',
    name: (tree) =>
      tree.exists('/bin/freebsd-version') ||
      tree.exists('/etc/freebsd-update.conf') ||
      says(tree, '/etc/defaults/rc.conf', /\$FreeBSD\b|FreeBSD/)
        ? 'FreeBSD'
        : undefined,
  },
  {
    id: 'linux',
    name: (tree) => {
      const release = assigned(tree.lines('/etc/os-release'), 'PRETTY_NAME');
      if (release !== undefined) return release;
      const told = [
        '/etc/redhat-release',
        '/etc/SuSE-release',
        '/etc/slackware-version',
        '/etc/gentoo-release',
      ]
        .map((file) => tree.lines(file)[0]?.trim())
        .find((line) => line !== undefined && line !== '');
      if (told !== undefined) return told;
      const debian = tree.lines('/etc/debian_version')[0]?.trim();
      if (debian !== undefined) return `Debian ${debian}`;
      return tree.exists('/proc/version') && says(tree, '/proc/version', /^Linux/) ? 'Linux' : undefined;
    },
  },
  {
    id: 'hpux',
    name: (tree) =>
      tree.list('/etc/rc.config.d').length > 0 && tree.exists('/sbin/init.d') ? 'HP-UX' : undefined,
  },
  {
    id: 'tru64',
    name: (tree) => (tree.exists('/sbin/init.d') && tree.exists('/etc/rc.config') ? 'Tru64 UNIX' : undefined),
  },
  {
    id: 'solaris',
    name: (tree) => {
      const release = tree.lines('/etc/release')[0]?.trim();
      if (release !== undefined && /solaris|sunos|illumos|omnios/i.test(release)) return release;
      return tree.exists('/etc/vfstab') && tree.list('/etc/rc2.d').length > 0 ? 'Solaris' : undefined;
    },
  },
  {
    id: 'sunos4',
    name: (tree) =>
      tree.exists('/etc/rc.local') &&
      !tree.exists('/etc/init.d') &&
      (tree.exists('/vmunix') || tree.exists('/etc/rc.boot') || tree.exists('/etc/rc.single'))
        ? 'SunOS 4'
        : undefined,
  },
  // Last: many a Linux has nothing but its start scripts to show.
  {
    id: 'linux',
    name: (tree) =>
      tree.exists('/etc/init.d') || tree.exists('/etc/rc.d') || tree.exists('/etc/systemd/system')
        ? 'a Linux or System V system'
        : undefined,
  },
];

export const systemOf = (tree: Tree): { readonly id: SystemId; readonly name: string } => {
  for (const { id, name } of MARKS) {
    const found = name(tree);
    if (found !== undefined) return { id, name: found };
  }
  return { id: 'unknown', name: 'a system the audit does not know' };
};
