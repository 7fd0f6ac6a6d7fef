/**
 * The mail server behind: can it be reached around Sekisho, does it relay for whoever comes from where Sekisho comes
 * from, and do both clocks agree?
 */
import { lookup } from 'node:dns/promises';
import type { Setup } from '../app/config.js';
import { type ProbeResult, probe } from '../audit/relay-probe.js';
import { parseIp } from '../base/ip.js';
import { isLoopback } from '../base/near.js';
import { printProxyHeader } from '../base/proxy-header.js';
import type { ListenerOptions, UpstreamOptions } from '../proxy/options.js';
import { safeText } from '../smtp/reply.js';
import { firstLine, type Place, placeText } from './connect.js';
import { type Finding, finding, type Here } from './finding.js';

/** Where mail servers listen (RFC 5321, RFC 6409, RFC 8314). */
const MAIL_PORTS = [25, 587, 465];

/** Milliseconds by which the clocks of both may differ; a greeting's date has whole seconds. */
const CLOCKS = 120_000;

const listensAt = (listeners: readonly ListenerOptions[], { host, port }: Place): boolean =>
  listeners.some(
    (each) =>
      each.port === port &&
      (each.host === '' || each.host === '::' || each.host === '0.0.0.0' || each.host === host),
  );

const WAYS_IN = {
  local: [
    "sendmail (.mc): DAEMON_OPTIONS(`Port=2525,Addr=127.0.0.1,Name=MTA')dnl, and no other; make, restart.",
    'Postfix (main.cf): inet_interfaces = loopback-only. Exim: local_interfaces = 127.0.0.1.',
    'Where its configuration cannot be changed, keep others out by the firewall, such as',
  ],
} as const;

/** Doors of this host beside Sekisho's own. */
const besides = async (setup: Setup, here: Here): Promise<readonly Finding[]> => {
  const { listeners, upstreams } = setup.proxy;
  const ports = [...new Set([...upstreams.map(({ port }) => port), ...MAIL_PORTS])];
  const places = here.addresses.flatMap((host) => ports.map((port) => ({ host, port })));
  const others = places.filter((place) => !listensAt(listeners, place));
  const answers = await Promise.all(
    others.map(async (place) => ({ place, said: await firstLine(place, Math.min(here.patience, 5_000)) })),
  );
  return answers.flatMap(({ place, said }) => {
    if (!said.ok) return [];
    const greets = said.value === '' ? 'takes connections' : `greets with "${safeText(said.value)}"`;
    return [
      finding(
        'upstream',
        'fault',
        `${placeText(place)} ${greets}: a way around Sekisho, unless a firewall keeps others out`,
        ...WAYS_IN.local,
        `  nft add table inet mta; nft 'add chain inet mta in { type filter hook input priority 0; }'; nft add rule inet mta in iif != lo tcp dport ${place.port} drop`,
        'sekisho audit tells what listens there and how to stop it.',
      ),
    ];
  });
};

/** Of a host elsewhere nothing can be seen from here but what it says to us. */
const elsewhere = (place: Place, address: string): Finding =>
  finding(
    'upstream',
    'note',
    `whether other hosts reach ${placeText(place)} around Sekisho cannot be seen from here`,
    `Try from a host that is not Sekisho's, for as long as it takes: nc -w 10 ${address} ${place.port}`,
    'It should take connections from Sekisho alone: a firewall in front of it, or its own access list.',
  );

/** A stranger, for servers that are told who the client is. */
const STRANGER = '203.0.113.7';

const preface = ({ identity, port }: UpstreamOptions, address: string): Buffer | undefined => {
  const client = parseIp(STRANGER);
  const server = parseIp(address);
  if ((identity !== 'proxy-v1' && identity !== 'proxy-v2') || client === undefined || server === undefined)
    return undefined;
  const version = identity === 'proxy-v1' ? 'v1' : 'v2';
  return printProxyHeader(version, { ip: client, port: 40_000 }, { ip: server, port });
};

/** The plainest way, and three that old servers fell for; `sekisho probe` tries them all. */
const FORMS = [
  ['plain', '<relaytest@victim.example>'],
  ['percent', '<relaytest%victim.example@DOMAIN>'],
  ['bang', '<victim.example!relaytest@DOMAIN>'],
  ['quoted', '<"relaytest@victim.example"@DOMAIN>'],
] as const;
const MAIL = 'MAIL FROM:<>';

const relays = (
  upstream: UpstreamOptions,
  place: Place,
  results: readonly ProbeResult[],
  told: boolean,
): Finding => {
  const taken = results.filter(({ outcome }) => outcome === 'accepted');
  const where = placeText(place);
  if (taken.length === 0) {
    const asked = results.some(({ outcome, to }) => outcome === 'refused' && to === 'rcpt');
    return asked
      ? finding(
          'upstream',
          'ok',
          `${where} relays for nobody who comes from ${told ? 'a stranger' : "Sekisho's"} address`,
        )
      : finding(
          'upstream',
          'note',
          `whether ${where} relays could not be asked: ${safeText(results[0]?.said ?? '')}`,
        );
  }
  const [first] = taken;
  const what = told
    ? `${where} relays for strangers though it is told who they are (${first?.rcpt})`
    : `${where} relays for whoever connects from Sekisho's address (${first?.rcpt}): what passes Sekisho is sent anywhere`;
  return finding(
    'upstream',
    'note',
    what,
    'That is what Sekisho is there for, and it is the only barrier: nobody else may reach the server.',
    ...(told || upstream.identity !== 'received'
      ? []
      : [
          `A second barrier needs the client's own address there: sekisho upstream ${where} tells which ways it knows.`,
        ]),
    `All ways of relaying, one by one: sekisho probe ${where}`,
  );
};

/** `220 host ESMTP Sendmail 8.17; Wed, 25 Nov 2026 17:28:00 GMT`: many servers tell the time. */
const clock = (greeting: string, place: Place, now: number): readonly Finding[] => {
  const said = /;\s*([A-Z][a-z]{2}, \d{1,2} [A-Z][a-z]{2} \d{4} \d{2}:\d{2}:\d{2}[^;\n]*)/.exec(
    greeting,
  )?.[1];
  const time = said === undefined ? Number.NaN : Date.parse(said.replace(/\s*\([^)]*\)\s*$/, ''));
  if (Number.isNaN(time)) return [];
  const apart = Math.abs(now - time);
  if (apart <= CLOCKS)
    return [finding('clock', 'ok', `this host and ${placeText(place)} agree about the time`)];
  return [
    finding(
      'clock',
      'warn',
      `this host's clock and that of ${placeText(place)} are ${Math.round(apart / 1_000)} s apart`,
      'Let NTP set both: windows, limits and certificates go by the clock, and Received lines are evidence.',
    ),
  ];
};

const examine = async (upstream: UpstreamOptions, setup: Setup, here: Here): Promise<readonly Finding[]> => {
  const { host, port } = upstream;
  let address: string;
  try {
    ({ address } = await lookup(host));
  } catch (error) {
    return [
      finding(
        'upstream',
        'fault',
        `${host} cannot be found: ${error instanceof Error ? error.message : String(error)}`,
        'Write its address under upstream:, or mend the resolver.',
      ),
    ];
  }
  const place = { host: address, port };
  const shownPlace = { host, port };
  const head = preface(upstream, address);
  let greeting = '';
  try {
    const results = await probe(
      { ...place, patience: here.patience, helo: setup.proxy.ownName, preface: head },
      FORMS.map(([name, rcpt]) => ({
        name,
        mail: MAIL,
        rcpt: `RCPT TO:${rcpt.replace('DOMAIN', setup.proxy.ownName)}`,
      })),
      MAIL,
      (text) => {
        greeting = text;
      },
    );
    const remote =
      isLoopback(address) || here.addresses.includes(address) ? [] : [elsewhere(shownPlace, address)];
    return [
      relays(upstream, shownPlace, results, head !== undefined),
      ...remote,
      ...clock(greeting, shownPlace, here.now()),
    ];
  } catch (error) {
    return [
      finding(
        'upstream',
        'fault',
        `${placeText(shownPlace)} does not answer as a mail server does: ${safeText(error instanceof Error ? error.message : String(error))}`,
        `Is it running, and does it listen there? See with: nc -v ${host} ${port}. Mail waits (451) until it answers.`,
      ),
    ];
  }
};

export const upstreamFindings = async (setup: Setup, here: Here): Promise<readonly Finding[]> => {
  const each = await Promise.all(setup.proxy.upstreams.map((upstream) => examine(upstream, setup, here)));
  const around = await besides(setup, here);
  const none = finding(
    'upstream',
    'ok',
    here.addresses.length === 0
      ? 'this host has no address that others could reach'
      : 'no other way to a mail server was found at the addresses of this host',
  );
  return [...each.flat(), ...(around.length > 0 ? around : [none])];
};
