/** systemd: units by name or by what they start, switched on by links in `*.wants`, off for good by a link to /dev/null. */
import type { ProductId, StartSeen } from '../evidence.js';
import { productOfCommand, productOfService } from '../products.js';
import type { Tree } from '../tree.js';

/** In the order in which one hides another. */
const FOLDERS = [
  '/etc/systemd/system',
  '/run/systemd/system',
  '/usr/lib/systemd/system',
  '/lib/systemd/system',
];

const UNIT = /^(.+)\.(service|socket)$/;

const values = (text: string, key: string): string[] =>
  text
    .replace(/\\\n\s*/g, ' ')
    .split('\n')
    .flatMap((line) => {
      const match = /^\s*([A-Za-z]+)\s*=\s*(.*?)\s*$/.exec(line);
      return match?.[1] === key ? [match[2] ?? ''] : [];
    });

/** `ListenStream=25`, `0.0.0.0:587`, `[::]:465`. */
const mailPort = (text: string): boolean =>
  values(text, 'ListenStream').some((value) => /(?:^|[:\]])(?:25|465|587)$/.test(value));

const productOf = (name: string, kind: string, text: string): ProductId | undefined => {
  const byName = productOfService(name);
  if (byName !== undefined) return byName;
  const command = values(text, 'ExecStart')
    .map((value) => productOfCommand(value.replace(/^[-@:+!]+/, '')))
    .find((found) => found?.listens === true);
  if (command !== undefined) return command.id;
  return kind === 'socket' && mailPort(text) ? 'unknown' : undefined;
};

/** Names of units that something wants at boot. */
const wanted = (tree: Tree): Set<string> =>
  new Set(
    FOLDERS.flatMap((folder) =>
      tree
        .list(folder)
        .filter((name) => /\.(?:wants|requires)$/.test(name))
        .flatMap((name) => tree.list(`${folder}/${name}`)),
    ),
  );

export const systemdStarts = (tree: Tree): StartSeen[] => {
  const on = wanted(tree);
  const files = new Map<string, string>();
  for (const folder of FOLDERS)
    for (const name of tree.list(folder))
      if (UNIT.test(name) && !files.has(name)) files.set(name, `${folder}/${name}`);
  return [...files].flatMap(([unit, file]): StartSeen[] => {
    const [, name = '', kind = ''] = UNIT.exec(unit) ?? [];
    const text = tree.text(file) ?? '';
    const masked = tree.link(file) === '/dev/null';
    const product = productOf(name, kind, text);
    // A template is nothing by itself: its instances are.
    if (product === undefined || name.endsWith('@')) return [];
    const enabled = on.has(unit);
    return [
      {
        kind: 'start',
        product,
        where: file,
        text: masked ? 'masked' : enabled ? 'enabled' : 'not enabled',
        by: 'systemd',
        on: enabled && !masked ? 'yes' : 'no',
        reach: name === 'sm-client' ? 'nobody' : 'unknown',
        remedy: {
          stop: [`systemctl stop ${unit}`],
          keep: [`systemctl disable ${unit}`, `systemctl mask ${unit}`],
          undo: [`systemctl unmask ${unit}`, `systemctl enable --now ${unit}`],
        },
      },
    ];
  });
};

/** Names of services that systemd has a unit for, so that it ignores their System V scripts. */
export const nativeUnits = (tree: Tree): ReadonlySet<string> =>
  new Set(
    FOLDERS.flatMap((folder) => tree.list(folder)).flatMap((name) => {
      const match = UNIT.exec(name);
      return match === null || match[2] !== 'service' ? [] : [match[1] ?? ''];
    }),
  );
