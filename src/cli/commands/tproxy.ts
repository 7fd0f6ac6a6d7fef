/** The routes and rules that let the mail server see clients' own addresses: shown, put in force, taken back. */
import { execFile } from 'node:child_process';
import { existsSync } from 'node:fs';
import { type Flags, loadSetup } from '../../app/config.js';
import { type Placed, planFor, prepareTransparency } from '../../app/transparency.js';
import { err, ok, type Result } from '../../base/result.js';
import {
  FAMILIES,
  NFT_TABLE,
  nftRules,
  type Plan,
  ROUTE,
  RULE,
  RULE_ORDER,
  script,
} from '../../host/rules.js';
import { complain, print } from '../output.js';

export interface TproxyFlags {
  readonly config?: string;
  readonly print?: boolean;
  readonly apply?: boolean;
  readonly remove?: boolean;
}

interface Ran {
  readonly out: string;
  /** Undefined: it went well. */
  readonly fault: string | undefined;
}

const PACKAGES: Readonly<Record<string, string>> = { ip: 'iproute2', nft: 'nftables' };

const run = (file: string, args: readonly string[], input = ''): Promise<Ran> =>
  new Promise((resolve) => {
    const child = execFile(file, args, { timeout: 30_000 }, (error, out, said) => {
      if (error === null) return resolve({ out, fault: undefined });
      const missing = error.code === 'ENOENT' ? `not found: install ${PACKAGES[file] ?? file}` : undefined;
      resolve({ out, fault: `${file} ${args.join(' ')}: ${missing ?? (said.trim() || error.message)}` });
    });
    // It may end without having read it.
    child.stdin?.on('error', () => undefined);
    child.stdin?.end(input);
  });

/** IPv6 is not there in every kernel. */
const families = (): readonly (4 | 6)[] =>
  FAMILIES.filter((each) => each === 4 || existsSync('/proc/net/if_inet6'));

/** Our routing rule is there. */
const hasRule = ({ out }: Ran): boolean =>
  out.split('\n').some((line) => line.startsWith(`${RULE_ORDER}:`) && line.includes('fwmark'));

const applied = async (plan: Plan): Promise<readonly string[]> => {
  const faults: (string | undefined)[] = [];
  for (const family of plan.transparent ? families() : []) {
    const rules = await run('ip', [`-${family}`, 'rule', 'show']);
    faults.push(rules.fault);
    if (!hasRule(rules)) faults.push((await run('ip', [`-${family}`, 'rule', 'add', ...RULE])).fault);
    faults.push((await run('ip', [`-${family}`, 'route', 'replace', ...ROUTE])).fault);
  }
  faults.push((await run('nft', ['-f', '-'], nftRules(plan))).fault);
  return faults.filter((each) => each !== undefined);
};

/** Takes back what `applied` made, and nothing else; what is not there is no fault. */
const removed = async (): Promise<{
  readonly what: readonly string[];
  readonly faults: readonly string[];
}> => {
  const what: string[] = [];
  const faults: string[] = [];
  const take = async (name: string, file: string, args: readonly string[]): Promise<void> => {
    const { fault } = await run(file, args);
    if (fault === undefined) what.push(name);
    else faults.push(fault);
  };
  const tables = await run('nft', ['list', 'tables']);
  if (tables.fault !== undefined) faults.push(tables.fault);
  if (tables.out.split('\n').includes(`table inet ${NFT_TABLE}`))
    await take(`table inet ${NFT_TABLE}`, 'nft', ['delete', 'table', 'inet', NFT_TABLE]);
  for (const family of families()) {
    const rules = await run('ip', [`-${family}`, 'rule', 'show']);
    if (rules.fault !== undefined) faults.push(rules.fault);
    if (hasRule(rules)) await take(`IPv${family} rule`, 'ip', [`-${family}`, 'rule', 'del', ...RULE]);
    // A table that nobody ever wrote to is an error to some versions of ip.
    const routes = await run('ip', [`-${family}`, 'route', 'show', ...ROUTE.slice(-2)]);
    if (routes.out.includes('local'))
      await take(`IPv${family} route`, 'ip', [`-${family}`, 'route', 'del', ...ROUTE]);
  }
  return { what, faults };
};

/** The configuration's listeners and upstreams, and the destinations as they are written there. */
const placedIn = (
  flags: Flags,
): Result<{ placed: Placed; destinations: readonly string[] }, readonly string[]> => {
  const setup = loadSetup({ ...flags, offline: true });
  if (!setup.ok) return err(setup.error.lines);
  const { proxy, destinations } = setup.value;
  return ok({ placed: proxy, destinations });
};

export const tproxy = async ({ config, ...how }: TproxyFlags): Promise<void> => {
  if (process.platform !== 'linux') return complain(['sekisho tproxy: this is not Linux.'], 2);
  if ([how.print, how.apply, how.remove].filter((each) => each === true).length > 1)
    return complain(['sekisho tproxy: one of --print, --apply and --remove.'], 2);
  if (how.remove === true) {
    const { what, faults } = await removed();
    if (faults.length > 0) return complain(faults, 1);
    return print(what.length === 0 ? 'nothing of ours was there' : `taken back: ${what.join(', ')}`);
  }
  if (config === undefined)
    return complain(
      ['sekisho tproxy: --config FILE says what rules are needed: the file that serve is given.'],
      2,
    );
  const found = placedIn({ config });
  if (!found.ok) return complain(found.error, 2);
  const { placed, destinations } = found.value;
  const plan = await planFor(placed, destinations);
  if (!plan.ok) return complain([plan.error], 2);
  if (!plan.value.transparent && plan.value.interceptions.length === 0)
    return complain(
      [`${config}: no upstream has identity: tproxy and no listener intercepts: nothing is needed.`],
      2,
    );
  if (how.print === true) return print(script(plan.value).trimEnd());
  if (how.apply === true) {
    const faults = await applied(plan.value);
    return faults.length > 0
      ? complain(faults, 1)
      : print('in force; "sekisho tproxy --remove" takes it back');
  }
  const state = await prepareTransparency(placed);
  if (!state.ok) return complain([state.error], 1);
  if (state.value.length > 0) return complain(state.value, 1);
  print('fine: sockets under foreign addresses can be had, and their packets come back here');
};
