/**
 * Do clients come with addresses of their own? By Sekisho's own log: where a NAT or a balancer stands in front, all of
 * them share one, and the policy judges them all alike.
 */
import { z } from 'zod';
import type { Setup } from '../app/config.js';
import { parseIp } from '../base/ip.js';
import { isNear } from '../base/near.js';
import { type Finding, finding, type Here } from './finding.js';

const Line = z.object({
  event: z.string(),
  session: z.string().optional(),
  pid: z.number().optional(),
  client: z.string().optional(),
  via: z.string().optional(),
  address: z.string().optional(),
  reason: z.string().optional(),
  why: z.string().optional(),
});

/** Sessions that have to be seen before one address means anything, and the share of one that is too much. */
const LEAST_SESSIONS = 50;
const MOST_SHARE = 0.9;
/** Connections of a balancer without a header, and none with one. */
const LEAST_SILENT = 3;
/** Sessions that are told apart; lines of one session come close together. */
const REMEMBERED = 100_000;

/** Counts that a log gives, line by line. */
export class LogClients {
  sessions = 0;
  readonly byClient = new Map<string, number>();
  /** Balancers that told who the client is, and those that did not, with the reason. */
  readonly speaking = new Set<string>();
  readonly silent = new Map<string, { count: number; why: string }>();
  readonly #seen = new Set<string>();

  add(line: string): void {
    const start = line.indexOf('{"');
    if (start < 0) return;
    let read: z.output<typeof Line>;
    try {
      read = Line.parse(JSON.parse(line.slice(start)));
    } catch {
      return;
    }
    const { event, client, session, pid, via, address, reason, why } = read;
    if (event === 'connection-refused' && reason === 'proxy-header' && address !== undefined) {
      const before = this.silent.get(address)?.count ?? 0;
      this.silent.set(address, { count: before + 1, why: why ?? '' });
    }
    if (via !== undefined) this.speaking.add(via);
    if (client === undefined || session === undefined) return;
    const key = `${pid} ${session}`;
    if (this.#seen.has(key)) return;
    if (this.#seen.size >= REMEMBERED) this.#seen.clear();
    this.#seen.add(key);
    this.sessions += 1;
    this.byClient.set(client, (this.byClient.get(client) ?? 0) + 1);
  }

  /** The address with the most sessions. */
  get busiest(): { readonly address: string; readonly sessions: number } | undefined {
    let most: { address: string; sessions: number } | undefined;
    for (const [address, sessions] of this.byClient)
      if (most === undefined || sessions > most.sessions) most = { address, sessions };
    return most;
  }
}

const shared = (setup: Setup, here: Here, log: LogClients): Finding => {
  const { busiest, sessions } = log;
  if (busiest === undefined || sessions < LEAST_SESSIONS)
    return finding(
      'clients',
      'note',
      `the log tells of ${sessions} sessions; whether clients share an address shows from ${LEAST_SESSIONS} on`,
    );
  const share = busiest.sessions / sessions;
  const seen = `${busiest.sessions} of ${sessions} sessions come from ${busiest.address}`;
  if (share < MOST_SHARE)
    return finding(
      'clients',
      'ok',
      `clients come from ${log.byClient.size} addresses; the busiest has ${busiest.sessions} of ${sessions} sessions`,
    );
  const ip = parseIp(busiest.address);
  const trusted = ip !== undefined && setup.proxy.policy.trusted.some((set) => set.has(ip));
  const near = ip !== undefined && (isNear(ip) || here.addresses.includes(busiest.address));
  const remedy = [
    'If that is a balancer, let it send the PROXY protocol and name it under proxy_from of the listener.',
    'If it is a router that hides the clients (source NAT, docker-proxy), let it keep their addresses.',
    'If it is a mail relay of yours, all is well: the policy judges it, and not those behind it.',
  ];
  if (trusted)
    return finding(
      'clients',
      'fault',
      `${seen}, which may send anywhere: if others are behind it, the relay is open to them all`,
      ...remedy,
    );
  return finding(
    'clients',
    near ? 'warn' : 'note',
    `${seen}: the policy takes all who are behind it for one`,
    ...remedy,
  );
};

const balancers = (setup: Setup, log: LogClients): readonly Finding[] =>
  [...log.silent].flatMap(([address, { count, why }]) => {
    const ip = parseIp(address);
    const listed = ip !== undefined && setup.proxy.listeners.some(({ proxyFrom }) => proxyFrom?.has(ip));
    if (!listed || count < LEAST_SILENT || log.speaking.has(address)) return [];
    return [
      finding(
        'clients',
        'warn',
        `${address} is named under proxy_from and has never sent a PROXY header in ${count} connections, all refused (${why})`,
        'Switch it on there (HAProxy: send-proxy-v2 on the server line; its health check: check-send-proxy),',
        'or take the address out of proxy_from: then it is a client like others.',
      ),
    ];
  });

/** `log`: undefined where there was none to read. */
export const clientFindings = (setup: Setup, here: Here, log: LogClients | undefined): readonly Finding[] =>
  log === undefined
    ? [
        finding(
          'clients',
          'note',
          'whether all clients share one address shows in the log, and none was given',
          'journalctl -u sekisho -o cat --since -1d | sekisho doctor --config FILE --log -',
        ),
      ]
    : [shared(setup, here, log), ...balancers(setup, log)];
