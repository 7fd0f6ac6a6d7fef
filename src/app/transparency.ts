/** What clients' own addresses and intercepted connections need of this host: looked at when the service starts, and planned. */
import { lookup } from 'node:dns/promises';
import { networkInterfaces } from 'node:os';
import { parseCidr, parseIp } from '../base/ip.js';
import { err, ok, type Result } from '../base/result.js';
import { loadLibc } from '../host/libc.js';
import { staysHere } from '../host/routes.js';
import { FAMILIES, type Interception, MARK, type Plan } from '../host/rules.js';
import { mayBeTransparent } from '../host/transparent.js';
import type { ListenerOptions, UpstreamOptions } from '../proxy/options.js';

/** What is needed of a configuration. */
export interface Placed {
  readonly listeners: readonly Pick<ListenerOptions, 'name' | 'port' | 'intercept'>[];
  readonly upstreams: readonly Pick<
    UpstreamOptions,
    'name' | 'host' | 'port' | 'identity' | 'destinations'
  >[];
}

const transparentUpstreams = ({ upstreams }: Placed): Placed['upstreams'] =>
  upstreams.filter(({ identity }) => identity === 'tproxy');

const needsTransparency = (placed: Placed): boolean =>
  transparentUpstreams(placed).length > 0 || placed.listeners.some(({ intercept }) => intercept === 'tproxy');

/** Upstreams that are shown clients, but of one family alone: the others of their clients get no further. */
const halfShown = (placed: Placed): readonly string[] => {
  if (placed.upstreams.some(({ identity, host }) => identity !== 'tproxy' || parseIp(host) === undefined))
    return [];
  const families = new Set(placed.upstreams.map(({ host }) => parseIp(host)?.family));
  const missing = FAMILIES.filter((family) => !families.has(family));
  return missing.length !== 1
    ? []
    : [
        `identity: tproxy: clients with IPv${missing[0]} get 451: no upstream has an address of that family. Name one, or add an upstream with identity: received behind it`,
      ];
};

/**
 * Makes ready what `placed` needs: nothing is loaded where it needs nothing. The error is what cannot be done without;
 * the value is what is missing but may be somebody's own way of doing it.
 */
export const prepareTransparency = async (placed: Placed): Promise<Result<readonly string[], string>> => {
  const intercepts = placed.listeners.some(({ intercept }) => intercept !== undefined);
  if (!needsTransparency(placed) && !intercepts) return ok([]);
  const what = transparentUpstreams(placed)
    .map(({ name }) => `upstream ${name}: identity: tproxy`)
    .concat(
      placed.listeners.flatMap(({ name, intercept }) =>
        intercept === undefined ? [] : [`listener ${name}: intercept: ${intercept}`],
      ),
    )
    .join(', ');
  const libc = await loadLibc();
  if (!libc.ok) return err(`${what}: ${libc.error}.`);
  if (!needsTransparency(placed)) return ok([]);
  const allowed = mayBeTransparent(libc.value);
  if (!allowed.ok) return err(`${what}: ${allowed.error}.`);
  const half = halfShown(placed);
  const missing = FAMILIES.flatMap((family) => {
    const stays = staysHere(libc.value, family, MARK);
    return stays.ok && !stays.value ? [`IPv${family}`] : [];
  });
  if (missing.length === 0) return ok(half);
  return ok([
    ...half,
    `${what}: no route brings packets to clients' addresses back here (${missing.join(' and ')}): unless you have made one of your own, run "sekisho tproxy --apply" with the same configuration`,
  ]);
};

/** The addresses of this host. */
const ownAddresses = (): ReadonlySet<string> =>
  new Set(
    Object.values(networkInterfaces()).flatMap((all) =>
      (all ?? []).flatMap(({ address }) => parseIp(address)?.text ?? []),
    ),
  );

const addressesOf = async (host: string): Promise<readonly string[]> => {
  if (parseIp(host) !== undefined) return [host];
  try {
    return (await lookup(host, { all: true })).map(({ address }) => address);
  } catch {
    return [];
  }
};

const interceptionsOf = ({ listeners }: Placed, destinations: readonly string[]): readonly Interception[] => {
  const blocks = destinations.flatMap((each) => {
    const cidr = parseCidr(each);
    return cidr.ok ? [cidr.value] : [];
  });
  const texts = (family: 4 | 6): string[] => [
    ...new Set(blocks.filter((each) => each.family === family).map(({ text }) => text)),
  ];
  return listeners.flatMap(({ intercept, port }) =>
    intercept === undefined ? [] : [{ how: intercept, port, v4: texts(4), v6: texts(6) }],
  );
};

/**
 * The routes and rules for a configuration. `destinations`: for whom intercepted connections may be meant, as written. The
 * error says what cannot be told.
 */
export const planFor = async (
  placed: Placed,
  destinations: readonly string[],
): Promise<Result<Plan, string>> => {
  const ownPorts = new Set<number>();
  const own = ownAddresses();
  for (const { name, host, port } of transparentUpstreams(placed)) {
    const addresses = await addressesOf(host);
    if (addresses.length === 0) return err(`upstream ${name}: ${host} has no address that could be found.`);
    if (addresses.some((each) => own.has(parseIp(each)?.text ?? each))) ownPorts.add(port);
  }
  return ok({
    transparent: needsTransparency(placed),
    ownPorts: [...ownPorts],
    interceptions: interceptionsOf(placed, destinations),
  });
};
