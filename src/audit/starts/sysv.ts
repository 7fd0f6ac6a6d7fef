/** System V start scripts: links `S80sendmail` in a folder for each run level, and what each vendor made of them. */
import type { ProductId, Remedy, StartSeen } from '../evidence.js';
import { productOfService } from '../products.js';
import type { Tree } from '../tree.js';
import { shellCommands } from './shell.js';

interface Layout {
  /** Where the scripts themselves are; the first that exists. */
  readonly scripts: readonly string[];
  /** The folder of a run level's links; the first that exists. */
  readonly level: (level: string) => readonly string[];
  /** Levels whose S links run at a boot into `target`. */
  readonly runs: (target: string) => readonly string[];
  /** The run level when /etc/inittab does not say. */
  readonly usual: string;
  readonly remedy: (script: string, links: readonly string[], tree: Tree) => Remedy;
}

/** Renaming is what Sun advises: only names that begin with S or K are run. */
const rename = (script: string, links: readonly string[]): Remedy => {
  const moved = links.map((link) => [link, link.replace(/\/S([^/]*)$/, '/_S$1')] as const);
  return {
    stop: [`${script} stop`],
    keep: moved.map(([from, to]) => `mv ${from} ${to}`),
    undo: [...moved.map(([from, to]) => `mv ${to} ${from}`), `${script} start`],
  };
};

const nameOf = (script: string): string => script.slice(script.lastIndexOf('/') + 1);

const ofLinux = (script: string, links: readonly string[], tree: Tree): Remedy => {
  const name = nameOf(script);
  if (tree.exists('/usr/sbin/update-rc.d'))
    return {
      stop: [`${script} stop`],
      keep: [`update-rc.d ${name} disable`],
      undo: [`update-rc.d ${name} enable`, `${script} start`],
    };
  if (tree.exists('/sbin/chkconfig') || tree.exists('/usr/sbin/chkconfig'))
    return {
      stop: [`${script} stop`],
      keep: [`chkconfig ${name} off`],
      undo: [`chkconfig ${name} on`, `${script} start`],
    };
  return rename(script, links);
};

const upTo =
  (levels: readonly string[]) =>
  (target: string): readonly string[] =>
    levels.filter((level) => level <= target);

const SUN: Layout = {
  scripts: ['/etc/init.d'],
  level: (level) => [`/etc/rc${level}.d`],
  runs: upTo(['S', '1', '2', '3'].filter((level) => level !== 'S')),
  usual: '3',
  remedy: rename,
};

const SBIN: Layout = {
  scripts: ['/sbin/init.d'],
  level: (level) => [`/sbin/rc${level}.d`],
  runs: upTo(['1', '2', '3', '4']),
  usual: '3',
  remedy: rename,
};

const LINUX: Layout = {
  scripts: ['/etc/init.d', '/etc/rc.d/init.d'],
  level: (level) => [`/etc/rc${level}.d`, `/etc/rc.d/rc${level}.d`],
  runs: (target) => [target],
  usual: '',
  remedy: ofLinux,
};

/** `id:3:initdefault:` */
export const defaultLevel = (tree: Tree): string | undefined =>
  tree
    .lines('/etc/inittab')
    .map((line) => /^[^#:]*:([0-6Ss])[0-9]*:initdefault:/.exec(line)?.[1])
    .find((level) => level !== undefined);

/** A script's product: by its name, else by a daemon that its text starts. */
const productOf = (tree: Tree, script: string): ProductId | undefined =>
  productOfService(nameOf(script)) ??
  shellCommands(tree.text(script) ?? '').find(({ listens, off }) => listens && !off)?.product;

const starts = (tree: Tree, layout: Layout, by: string, usual: string): StartSeen[] => {
  const folder = layout.scripts.find((each) => tree.list(each).length > 0);
  const level = defaultLevel(tree) ?? usual;
  const active = layout.runs(level).flatMap((each) => {
    const home = layout.level(each).find((dir) => tree.list(dir).length > 0);
    return home === undefined ? [] : tree.list(home).map((name) => ({ home, name }));
  });
  const links = (script: string): string[] =>
    active
      .filter(({ name }) => /^S\d*/.test(name) && name.replace(/^S\d*/, '') === nameOf(script))
      .map(({ home, name }) => `${home}/${name}`);
  // A script may stand in a run level's folder itself, with none in init.d.
  const scripts = new Set((folder === undefined ? [] : tree.list(folder)).map((name) => `${folder}/${name}`));
  for (const { home, name } of active)
    if (/^S\d/.test(name) && !scripts.has(`${folder}/${name.replace(/^S\d*/, '')}`))
      scripts.add(`${home}/${name}`);
  return [...scripts].flatMap((script): StartSeen[] => {
    const bare = script.replace(/\/S\d+([^/]*)$/, '/$1');
    const product = productOfService(nameOf(bare)) ?? productOf(tree, script);
    if (product === undefined) return [];
    const on = bare === script ? links(script) : [script];
    return [
      {
        kind: 'start',
        product,
        where: on[0] ?? script,
        text: on.length > 0 ? `started in run level ${level}` : `no start link in run level ${level}`,
        by,
        on: on.length > 0 ? 'yes' : 'no',
        reach: nameOf(bare) === 'sm-client' ? 'nobody' : 'unknown',
        remedy: layout.remedy(script, on, tree),
      },
    ];
  });
};

export const solarisStarts = (tree: Tree): StartSeen[] => starts(tree, SUN, 'rc script', SUN.usual);

export const tru64Starts = (tree: Tree): StartSeen[] => starts(tree, SBIN, 'rc script', SBIN.usual);

/** HP-UX asks a variable before it starts anything: SENDMAIL_SERVER in /etc/rc.config.d/mailservs. */
export const hpuxStarts = (tree: Tree): StartSeen[] =>
  starts(tree, SBIN, 'rc script', SBIN.usual).map((found) => {
    if (found.product !== 'sendmail') return found;
    const file = '/etc/rc.config.d/mailservs';
    const value = [...tree.lines(file)]
      .reverse()
      .find((line) => /^\s*(?:export\s+)?SENDMAIL_SERVER=/.test(line));
    const set = value !== undefined && /=["']?1\b/.test(value);
    return {
      ...found,
      on: found.on === 'yes' && set ? 'yes' : 'no',
      text: `${found.text}; ${value?.trim() ?? 'SENDMAIL_SERVER is not set'} (${file})`,
      remedy: {
        stop: ['/sbin/init.d/sendmail stop'],
        keep: [`/usr/sbin/ch_rc -a -p SENDMAIL_SERVER=0 ${file}`],
        undo: [`/usr/sbin/ch_rc -a -p SENDMAIL_SERVER=1 ${file}`, '/sbin/init.d/sendmail start'],
      },
    };
  });

/** `native`: units that systemd knows by themselves; it does not look at scripts of these names. */
export const linuxStarts = (tree: Tree, native: ReadonlySet<string>): StartSeen[] =>
  starts(tree, LINUX, 'rc script', tree.exists('/etc/debian_version') ? '2' : '3').filter(
    ({ where }) => !native.has(nameOf(where).replace(/^S\d+/, '')),
  );
