/**
 * Which mail servers a host has: what runs, what listens, what starts at boot, and how to end each and take that back.
 * Nothing is changed and nothing is run.
 */
import {
  type Audit,
  type Evidence,
  type Finding,
  type ProductId,
  type Reach,
  type Remedy,
  type SettingSeen,
  type StartSeen,
  type SystemId,
  type Tri,
  widest,
} from './evidence.js';
import { processesOfProc, processesOfPs } from './processes.js';
import { PRODUCTS, titleOf } from './products.js';
import { packagesOf, settingsOf } from './settings.js';
import { socketsOfListing, socketsOfProc } from './sockets.js';
import { freebsdStarts, netbsdStarts, openbsdStarts } from './starts/bsd.js';
import { inetdStarts, xinetdStarts } from './starts/inetd.js';
import {
  cronStarts,
  inittabStarts,
  launchdStarts,
  openrcStarts,
  serviceFolderStarts,
  smfStarts,
} from './starts/others.js';
import { startsOfScripts } from './starts/shell.js';
import { nativeUnits, systemdStarts } from './starts/systemd.js';
import { hpuxStarts, linuxStarts, solarisStarts, tru64Starts } from './starts/sysv.js';
import { systemOf } from './system.js';
import type { Tree } from './tree.js';

/** What else is known of the host. */
export interface Sources {
  /** The tree is this host's own: /proc tells what runs. */
  readonly live: boolean;
  /** What `ps` printed there. */
  readonly ps?: string;
  /** What `ss`, `netstat`, `sockstat` or `lsof` printed there. */
  readonly sockets?: string;
  /** What is known of a product's version, for people. */
  readonly known?: (product: ProductId, version: string) => readonly string[];
}

const STARTS: Readonly<Record<SystemId, (tree: Tree) => StartSeen[]>> = {
  linux: (tree) => [
    ...systemdStarts(tree),
    ...linuxStarts(tree, nativeUnits(tree)),
    ...openrcStarts(tree),
    ...startsOfScripts(
      tree,
      ['/etc/rc.local', '/etc/rc.d/rc.local', '/etc/rc.d/rc.M', '/etc/rc.d/rc.sendmail'],
      'rc script',
      '/var/run/sendmail.pid',
    ),
  ],
  sunos4: (tree) => startsOfScripts(tree, ['/etc/rc.local', '/etc/rc'], 'rc.local'),
  solaris: (tree) => [...solarisStarts(tree), ...smfStarts(tree)],
  hpux: hpuxStarts,
  tru64: tru64Starts,
  freebsd: (tree) => [
    ...freebsdStarts(tree),
    ...startsOfScripts(tree, ['/etc/rc.local'], 'rc.local', '/var/run/sendmail.pid'),
  ],
  openbsd: (tree) => [
    ...openbsdStarts(tree),
    ...startsOfScripts(tree, ['/etc/rc.local'], 'rc.local', '/var/run/sendmail.pid'),
  ],
  netbsd: (tree) => [
    ...netbsdStarts(tree),
    ...startsOfScripts(tree, ['/etc/rc.local'], 'rc.local', '/var/run/sendmail.pid'),
  ],
  macos: launchdStarts,
  unknown: (tree) => [
    ...solarisStarts(tree),
    ...startsOfScripts(tree, ['/etc/rc.local', '/etc/rc'], 'rc.local'),
  ],
};

const startsOf = (tree: Tree, system: SystemId): StartSeen[] => [
  ...STARTS[system](tree),
  ...inetdStarts(tree),
  ...xinetdStarts(tree),
  ...cronStarts(tree),
  ...serviceFolderStarts(tree),
  ...inittabStarts(tree),
];

const of = <K extends Evidence['kind']>(evidence: readonly Evidence[], kind: K) =>
  evidence.filter((each): each is Extract<Evidence, { kind: K }> => each.kind === kind);

/** A switch that says "no daemon" beside the start script wins over what the server's own file says. */
const configured = (settings: readonly SettingSeen[]): Reach | undefined => {
  if (settings.length === 0) return undefined;
  if (settings.some(({ reach }) => reach === 'nobody')) return 'nobody';
  const known = settings.filter(({ reach }) => reach !== 'unknown');
  return known.length === 0 ? undefined : widest(known.map(({ reach }) => reach));
};

/** What a start says by its arguments, and where it says nothing, what the server's configuration says. */
const reachOfStart = ({ reach }: StartSeen, settings: readonly SettingSeen[]): Reach =>
  reach === 'unknown' ? (configured(settings) ?? 'unknown') : reach;

const runsOf = (evidence: readonly Evidence[], looked: boolean): Tri => {
  if (of(evidence, 'socket').length > 0 || of(evidence, 'process').length > 0) return 'yes';
  return looked ? 'no' : 'unknown';
};

const bootsOf = (starts: readonly StartSeen[]): Tri => {
  if (starts.some(({ on }) => on === 'yes')) return 'yes';
  return starts.some(({ on }) => on === 'unknown') || starts.length === 0 ? 'unknown' : 'no';
};

const reachOf = (evidence: readonly Evidence[], runs: Tri, boots: Tri): Reach => {
  const sockets = of(evidence, 'socket');
  const live = sockets.map(({ reach }) => reach);
  const settings = of(evidence, 'setting');
  const coming = of(evidence, 'start')
    .filter(({ on }) => on !== 'no')
    .map((start) => reachOfStart(start, settings));
  if (live.length > 0 || coming.length > 0) return widest([...live, ...coming]);
  if (runs === 'yes' && of(evidence, 'process').some(({ listens }) => listens))
    return configured(settings) ?? 'unknown';
  return runs === 'no' && boots === 'no' ? 'nobody' : (configured(settings) ?? 'unknown');
};

const once = (lines: readonly string[]): string[] => [...new Set(lines)];

/** Windows has its own ways, and no start files that could be read here. */
const WINDOWS: Remedy = {
  stop: ['net stop MSExchangeTransport', '# IIS SMTP: net stop SMTPSVC'],
  keep: ['sc config MSExchangeTransport start= disabled', '# IIS SMTP: sc config SMTPSVC start= disabled'],
  undo: ['sc config MSExchangeTransport start= auto', 'net start MSExchangeTransport'],
};

/** A process that nothing is known to start can still be ended. */
const remedyOf = (product: ProductId, evidence: readonly Evidence[]): Remedy => {
  if (product === 'exchange') return WINDOWS;
  const starts = of(evidence, 'start').filter(({ on }) => on !== 'no');
  const remedies = starts.map(({ remedy }) => remedy);
  const pids = once(
    [...of(evidence, 'process').filter(({ listens }) => listens), ...of(evidence, 'socket')].flatMap(
      ({ pid }) => (pid === undefined || pid <= 1 ? [] : [String(pid)]),
    ),
  );
  const orphan = starts.length === 0 && pids.length > 0;
  return {
    stop: once([...remedies.flatMap(({ stop }) => stop), ...(orphan ? [`kill ${pids.join(' ')}`] : [])]),
    keep: once([
      ...remedies.flatMap(({ keep }) => keep),
      ...(orphan ? ['# what started it was not found: look for it before the next boot'] : []),
    ]),
    undo: once(remedies.flatMap(({ undo }) => undo)),
  };
};

const versionOf = (evidence: readonly Evidence[]): string | undefined =>
  of(evidence, 'package')[0]?.version ??
  of(evidence, 'setting').find(({ version }) => version !== undefined)?.version;

const findingOf = (
  product: ProductId,
  evidence: readonly Evidence[],
  looked: boolean,
  sources: Sources,
): Finding => {
  const runs = runsOf(evidence, looked);
  const starts = of(evidence, 'start');
  const boots = bootsOf(starts);
  const reach = reachOf(evidence, runs, boots);
  const version = versionOf(evidence);
  const lives = runs === 'yes' || boots !== 'no';
  const told = starts.length > 0 || runs === 'yes';
  return {
    product,
    title: titleOf(product),
    version,
    known: version === undefined ? [] : (sources.known?.(product, version) ?? []),
    runs,
    boots,
    reach,
    alarming: product !== 'sekisho' && told && lives && (reach === 'world' || reach === 'unknown'),
    evidence,
    remedy: remedyOf(product, evidence),
  };
};

/** A socket whose owner could not be seen belongs to the one daemon that is there, if there is only one. */
const adopt = (evidence: readonly Evidence[]): Evidence[] => {
  const daemons = new Set(
    of(evidence, 'process')
      .filter(({ listens, product }) => listens && product !== 'unknown')
      .map(({ product }) => product),
  );
  const byPid = new Map(of(evidence, 'process').map(({ pid, product }) => [pid, product]));
  const only = daemons.size === 1 ? [...daemons][0] : undefined;
  return evidence.map((each) => {
    if (each.kind !== 'socket' || each.product !== 'unknown') return each;
    const product = (each.pid === undefined ? only : byPid.get(each.pid)) ?? 'unknown';
    return { ...each, product };
  });
};

const ORDER: Readonly<Record<Reach, number>> = { world: 0, unknown: 1, loopback: 2, nobody: 3 };

/** Findings with the most alarming first. */
export const auditHost = (tree: Tree, sources: Sources): Audit => {
  const system = systemOf(tree);
  const looked = {
    processes: sources.live || sources.ps !== undefined,
    sockets: sources.live || sources.sockets !== undefined,
  };
  const evidence = adopt([
    ...(sources.live ? [...processesOfProc(tree), ...socketsOfProc(tree)] : []),
    ...(sources.ps === undefined ? [] : processesOfPs(sources.ps)),
    ...(sources.sockets === undefined ? [] : socketsOfListing(sources.sockets)),
    ...startsOf(tree, system.id),
    ...settingsOf(tree),
    ...packagesOf(tree),
  ]);
  const findings = PRODUCTS.map(({ id }) => ({ id, own: evidence.filter(({ product }) => product === id) }))
    .filter(({ own }) => own.length > 0)
    .map(({ id, own }) => findingOf(id, own, looked.processes && looked.sockets, sources))
    .sort((a, b) => Number(b.alarming) - Number(a.alarming) || ORDER[a.reach] - ORDER[b.reach]);
  const copied = [
    ...(looked.processes ? [] : ['what runs there: give the output of "ps -ef" or "ps ax" with --ps']),
    ...(looked.sockets
      ? []
      : ['what listens there: give the output of "netstat -an" or "ss -ltnp" with --sockets']),
  ];
  return { system: system.id, systemName: system.name, findings, blind: [...copied, ...tree.blind] };
};
