/** Names: does the resolver answer, do the DNS lists, and does the world's mail come here? */
import { Resolver } from 'node:dns/promises';
import type { Setup } from '../app/config.js';
import { isLoopback } from '../base/near.js';
import { meaningOf } from '../door/answer-codes.js';
import type { DnsList } from '../door/dnsbl.js';
import { type Finding, finding, type Here } from './finding.js';

/** A name of our own choice for asking; it exists nowhere (RFC 6761), and a resolver that answers says so. */
const NOWHERE = 'sekisho-doctor.invalid';
const ABSENT = new Set(['ENOTFOUND', 'ENODATA']);
/** Milliseconds from which on an answer is slow. */
const SLOW = 1_000;

const codeOf = (error: unknown): string =>
  error instanceof Error && 'code' in error ? String(error.code) : String(error);

const resolverOf = (servers: readonly string[], patience: number): Resolver => {
  const resolver = new Resolver({ timeout: Math.min(patience, 5_000), tries: 2 });
  if (servers.length > 0) resolver.setServers(servers);
  return resolver;
};

/** undefined: it answers. */
const silence = async (resolver: Resolver): Promise<string | undefined> => {
  try {
    await resolver.resolve4(NOWHERE);
    return undefined;
  } catch (error) {
    const code = codeOf(error);
    return ABSENT.has(code) ? undefined : code;
  }
};

const resolvers = async (setup: Setup, here: Here): Promise<readonly Finding[]> => {
  const { needs } = setup.proxy.policy;
  const wanted = needs.clientName || needs.listed || (setup.proxy.strangers?.dnsbl.lists.length ?? 0) > 0;
  const given = setup.proxy.resolvers.length > 0 ? setup.proxy.resolvers : new Resolver().getServers();
  return Promise.all(
    given.map(async (server) => {
      const began = performance.now();
      const why = await silence(resolverOf([server], here.patience));
      const took = performance.now() - began;
      if (why !== undefined)
        return finding(
          'resolver',
          wanted ? 'warn' : 'note',
          `the resolver ${server} does not answer (${why})`,
          'Name one that does under resolvers:. Rules that ask for names of clients put their mail off (451) until it answers.',
        );
      if (took > SLOW)
        return finding(
          'resolver',
          'warn',
          `the resolver ${server} took ${Math.round(took)} ms for an answer`,
          'A resolver on this host or next to it makes every look-up quick.',
        );
      return finding('resolver', 'ok', `the resolver ${server} answers`);
    }),
  );
};

/** A list has 127.0.0.2 on it, and never 127.0.0.1 (RFC 5782 5). */
const list = async ({ name, zone, codes }: DnsList, resolver: Resolver): Promise<Finding> => {
  const look = async (labels: string): Promise<readonly string[] | string> => {
    try {
      return await resolver.resolve4(`${labels}.${zone}`);
    } catch (error) {
      const code = codeOf(error);
      return ABSENT.has(code) ? [] : code;
    }
  };
  const [test, never] = await Promise.all([look('2.0.0.127'), look('1.0.0.127')]);
  const what = `the DNS list ${name} (${zone})`;
  if (typeof test === 'string' || typeof never === 'string')
    return finding(
      'resolver',
      'warn',
      `${what} does not answer (${typeof test === 'string' ? test : String(never)})`,
      'Nobody is on it then. Take it out if it is gone for good.',
    );
  const refused = [...test, ...never].some((each) => meaningOf(each, codes) === 'refused');
  if (refused)
    return finding(
      'resolver',
      'warn',
      `${what} does not serve your resolver`,
      'Public lists refuse public resolvers: ask through one of your own (strangers.dnsbl.servers), or get a key.',
    );
  if (never.length > 0)
    return finding(
      'resolver',
      'fault',
      `${what} has everybody on it (127.0.0.1 too)`,
      'It is broken, or its domain was sold. Take it out.',
    );
  if (!test.some((each) => meaningOf(each, codes) === 'listed'))
    return finding(
      'resolver',
      'warn',
      `${what} has not even its test entry 127.0.0.2: it may be gone, or codes: may be wrong`,
      'Take it out if it is gone for good.',
    );
  return finding('resolver', 'ok', `${what} works`);
};

const domainsOf = (setup: Setup): readonly string[] => [
  ...new Set(
    setup.proxy.policy.rules
      .filter(({ verdict }) => verdict.kind === 'allow')
      .flatMap(({ through }) => through)
      .filter((name) => /^[a-z0-9-]+(?:\.[a-z0-9-]+)+$/.test(name) && !name.startsWith('below.')),
  ),
];

/** MX records looked up; a policy may have a hundred thousand domains. */
const MOST_DOMAINS = 8;

/** Where the world's mail for a domain goes: to the server behind, past Sekisho? */
const exchange = async (domain: string, setup: Setup, resolver: Resolver): Promise<readonly Finding[]> => {
  let hosts: readonly string[];
  try {
    hosts = (await resolver.resolveMx(domain)).map((mx) => mx.exchange);
  } catch {
    return [];
  }
  const addresses = await Promise.all(
    hosts.map(async (host) => ({
      host,
      at: (
        await Promise.all([resolver.resolve4(host).catch(() => []), resolver.resolve6(host).catch(() => [])])
      ).flat(),
    })),
  );
  return setup.proxy.upstreams.flatMap((upstream) =>
    addresses
      .filter(
        ({ host, at }) =>
          !isLoopback(upstream.host) &&
          (at.includes(upstream.host) || host.replace(/\.$/, '') === upstream.host.toLowerCase()) &&
          !setup.proxy.listeners.some((each) => each.host === upstream.host),
      )
      .map(({ host }) =>
        finding(
          'resolver',
          'fault',
          `the MX of ${domain} is ${host}, the mail server behind (${upstream.host}): the world goes past Sekisho`,
          'Let the MX record name the host that Sekisho runs on, and keep others out of the server.',
        ),
      ),
  );
};

export const resolverFindings = async (setup: Setup, here: Here): Promise<readonly Finding[]> => {
  const resolver = resolverOf(setup.proxy.resolvers, here.patience);
  const dnsbl = setup.proxy.strangers?.dnsbl;
  const [answers, lists, exchanges] = await Promise.all([
    resolvers(setup, here),
    Promise.all(
      (dnsbl?.lists ?? []).map((each) => list(each, resolverOf(dnsbl?.servers ?? [], here.patience))),
    ),
    Promise.all(
      domainsOf(setup)
        .slice(0, MOST_DOMAINS)
        .map((domain) => exchange(domain, setup, resolver)),
    ),
  ]);
  return [...answers, ...lists, ...exchanges.flat()];
};
